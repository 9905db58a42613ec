"""The small network on torch, on any device, and on OpenVINO, on processors.

Both take canvases as they are and give bytes, so that all they can differ in lies inside.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lesstext.errors import DetectorError
from lesstext.shards.fingerprint import sha256_of
from lesstext.text_detection.detectors.computing import Computing
from lesstext.text_detection.detectors.openvino import Compute, Convertible, on_openvino
from lesstext.text_detection.detectors.small import network as network_module
from lesstext.text_detection.detectors.small.network import SmallNetwork
from lesstext.text_detection.detectors.small.regions import SURE


def load_network(weights: Path) -> SmallNetwork:
    """The network with the weights of a safetensors file, in float32.

    Raises DetectorError where the file is missing or holds something else.
    """
    network = SmallNetwork().eval()
    try:
        stored = load_file(weights)
        network.load_state_dict({name: value.float() for name, value in stored.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DetectorError(f"weights of small: {weights} cannot be loaded: {error}") from error
    return network.requires_grad_(False)


def compute_by(weights: Path, computing: Computing) -> Compute:
    """The network ready to run, its maps uint8 (B, H/2, W/2), 255 for a probability of 1.

    Raises DetectorError where the weights hold something else or the device is not there.
    """
    if computing.runtime == "openvino":
        return on_openvino(_convertible(weights), computing)
    torch.set_num_threads(computing.threads)
    dtype: torch.dtype = getattr(torch, computing.precision)
    network = load_network(weights)
    try:
        network = network.to(computing.device, dtype).to(memory_format=torch.channels_last)
    except RuntimeError as error:
        raise DetectorError(f"small cannot be loaded on {computing.device}: {error}") from error
    return _FromCanvas(network, dtype)


def _convertible(weights: Path) -> Convertible:
    return Convertible(
        name="small",
        weights=sha256_of(weights),
        sources=(network_module.__file__, __file__),
        build=lambda: _FromCanvas(load_network(weights), torch.float32),
    )


class _FromCanvas(nn.Module):
    """The network between bytes and bytes."""

    def __init__(self, network: SmallNetwork, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network, dtype

    def forward(self, canvases: Tensor) -> Tensor:
        # NHWC memory seen as NCHW is channels-last by construction.
        normal = (canvases.float() / 127.5 - 1).to(self._dtype).permute(0, 3, 1, 2)
        probability = torch.sigmoid(self.network(normal).float())
        return (probability[:, 0] * SURE).round().to(torch.uint8)
