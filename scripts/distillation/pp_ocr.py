"""PP-OCRv6's small text detector (Apache-2.0, in RapidOCR's wheel) as a start for the small one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lesstext.text_detection.detectors.small.network import SmallNetwork

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def starting_network(model: Path) -> SmallNetwork:
    """The small network with the weights of an ONNX file of PP-OCRv6's small detector.

    Its last layer, which doubles the resolution once more, becomes the mean of its four taps.
    Raises ValueError when the file is another network.
    """
    network = SmallNetwork().eval()
    layers = list(_in_graph_order(network))
    found = list(_weights(model))
    if len(found) != len(layers):
        raise ValueError(f"{model}: {len(found)} convolutions, expected {len(layers)}")
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, found, strict=True):
            if layer is network.stem.first:
                weight = weight.flip(1)  # the original sees BGR
            if layer is network.head[-1]:
                weight = weight.mean(dim=(2, 3), keepdim=True).transpose(0, 1)
            if weight.shape != layer.weight.shape or (bias is None) != (layer.bias is None):
                raise ValueError(
                    f"{model}: a convolution is {tuple(weight.shape)}, "
                    f"expected {tuple(layer.weight.shape)}"
                )
            layer.weight.copy_(weight)
            if bias is not None and layer.bias is not None:
                layer.bias.copy_(bias.flatten())
    return network


def _in_graph_order(network: SmallNetwork) -> Iterator[nn.Conv2d | nn.ConvTranspose2d]:
    """The network's convolutions in the order of the ONNX graph: pyramid levels deep first."""
    parts: list[nn.Module] = [network.stem, *network.stages]
    parts += [*reversed(network.lateral), *reversed(network.smooth), network.head]
    for part in parts:
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                yield layer


def _weights(model: Path) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Weight and bias of every convolution, in graph order; a bias is an `Add` behind it."""
    graph = onnx.load(str(model)).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    source = {node.output[0]: node for node in graph.node}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def constant(name: str) -> np.ndarray | None:
        while name not in constants and name in source and source[name].op_type == "Identity":
            name = source[name].input[0]
        return constants.get(name)

    for node in graph.node:
        if node.op_type not in _CONVOLUTIONS:
            continue
        weight = constant(node.input[1])
        assert weight is not None
        output = node.output[0]
        while [user.op_type for user in users[output]] == ["Identity"]:
            output = users[output][0].output[0]
        biases = [
            constant(n)
            for user in users[output]
            if user.op_type == "Add"
            for n in user.input
            if n != output
        ]
        known = [bias for bias in biases if bias is not None]
        yield torch.tensor(weight), torch.tensor(known[0]) if known else None
