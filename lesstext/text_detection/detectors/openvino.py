"""Any network from canvases to maps on OpenVINO, on processors."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lesstext.text_detection.detectors.computing import Computing
from lesstext.text_detection.detectors.maps import MULTIPLE_PX
from lesstext.text_detection.processor import openvino_request

Compute = Callable[[Tensor], Tensor]
"""RGB canvases uint8 (B, H, W, 3) to maps (B, ..., H/2, W/2)."""


def on_openvino(network: nn.Module, computing: Computing) -> Compute:
    """`network`, a `Compute` in float32 itself, in the precision that is asked for."""
    import openvino

    example = torch.zeros((1, 2 * MULTIPLE_PX, 2 * MULTIPLE_PX, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about the tracing that OpenVINO relies on
        model = openvino.convert_model(network, example_input=example, input=[-1, -1, -1, 3])
    request = openvino_request(model, precision=computing.precision, threads=computing.threads)

    def compute(canvases: Tensor) -> Tensor:
        (maps,) = request.infer({0: np.ascontiguousarray(canvases.numpy())}).values()
        return torch.from_numpy(maps.copy())

    return compute
