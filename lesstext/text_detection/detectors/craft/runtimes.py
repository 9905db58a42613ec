"""CRAFT on torch, on any device, and on OpenVINO, on processors.

Both take canvases as they are and give scores in float32.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lesstext.errors import DetectorError
from lesstext.text_detection.detectors.computing import Computing
from lesstext.text_detection.detectors.craft import network as network_module
from lesstext.text_detection.detectors.craft.network import CraftNetwork
from lesstext.text_detection.detectors.craft.weights import SHA256
from lesstext.text_detection.detectors.openvino import Compute, Convertible, on_openvino

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def compute_by(weights: Path, computing: Computing) -> Compute:
    """The network of EasyOCR's checkpoint ready to run, its maps float32 (B, 2, H/2, W/2).

    Raises DetectorError where the checkpoint holds something else or the device is not there.
    """
    try:
        if computing.runtime == "openvino":
            return on_openvino(_convertible(weights), computing)
        torch.set_num_threads(computing.threads)
        dtype: torch.dtype = getattr(torch, computing.precision)
        network = _network(weights).to_precision(dtype).to(computing.device)
        return _FromCanvas(network.to(memory_format=torch.channels_last), dtype)
    except (RuntimeError, KeyError) as error:
        raise DetectorError(f"CRAFT cannot be loaded on {computing.device}: {error}") from error


def _network(weights: Path) -> CraftNetwork:
    checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    return CraftNetwork(checkpoint).eval().requires_grad_(False)


def _convertible(weights: Path) -> Convertible:
    return Convertible(
        name="craft",
        weights=SHA256,  # the only weights that `find_weights` lets through
        sources=(network_module.__file__, __file__),
        build=lambda: _FromCanvas(_network(weights), torch.float32),
    )


class _FromCanvas(nn.Module):
    """The network behind its normalisation."""

    def __init__(self, network: CraftNetwork, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network, dtype
        device = network.last.weight.device
        self._mean = torch.tensor(_MEAN, device=device) * 255
        self._std = torch.tensor(_STD, device=device) * 255

    def forward(self, canvases: Tensor) -> Tensor:
        # NHWC memory seen as NCHW is channels-last by construction.
        normal = ((canvases.float() - self._mean) / self._std).to(self._dtype)
        scores: Tensor = self.network(normal.permute(0, 3, 1, 2)).float()
        return scores
