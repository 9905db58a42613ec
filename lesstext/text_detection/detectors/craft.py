"""The default detector: EasyOCR's CRAFT weights, fixed input shapes, word boxes left as they are.

Unlike `easyocr.Reader.detect` it neither merges words into lines nor adds margins, which inflate
areas by a fifth to a third, and it batches images of mixed sizes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesstext.errors import DetectorError, UsageError
from lesstext.text_detection.detectors.craft_boxes import BoxThresholds, word_boxes
from lesstext.text_detection.detectors.craft_weights import SHA256, find_weights
from lesstext.text_detection.detectors.maps import MapDetector, MapStages, batch_option
from lesstext.text_detection.processor import cpu_has_bfloat16
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, refuse_unknown_options

if TYPE_CHECKING:
    import torch

Maps = NDArray[np.float32]

DEFAULT_SIZE_PX = 384
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_GPU_BATCH = 16
_OPTIONS = ("text", "link", "low_text", "batch")
_PRECISIONS = ("float32", "bfloat16", "float16")


def identify(settings: DetectorSettings) -> str:
    """Weights, input size, precision and thresholds: all that can change a result."""
    refuse_unknown_options(settings, _OPTIONS)
    size_px, thresholds = settings.size_px or DEFAULT_SIZE_PX, _thresholds(settings)
    return (
        f"craft weights={SHA256[:16]} size={size_px} precision={_precision(settings)} "
        f"text={thresholds.text:g} link={thresholds.link:g} low_text={thresholds.low_text:g}"
    )


def load(settings: DetectorSettings) -> CraftDetector:
    """Load CRAFT as `settings` ask; options `text`, `link`, `low_text` (thresholds) and `batch`."""
    import torch

    torch.set_num_threads(settings.threads)
    return CraftDetector(
        id=identify(settings),
        weights=find_weights(settings.weights),
        device=settings.device,
        precision=_precision(settings),
        stages=CraftStages(settings.size_px or DEFAULT_SIZE_PX, _thresholds(settings)),
        batch_size=batch_option(settings, _GPU_BATCH),
    )


def default_precision(device: str) -> str:
    """bfloat16 on CUDA devices and on processors that compute in it; float32 elsewhere."""
    return "bfloat16" if device.startswith("cuda") or cpu_has_bfloat16() else "float32"


class CraftStages(MapStages):
    """Word boxes (4, 2) from a region and an affinity map; `thresholds` are `BoxThresholds`."""

    __slots__ = ()
    fill = (124, 116, 104)  # the mean colour

    def find(self, maps: Maps) -> TextRegions:
        region, affinity = maps
        return word_boxes(region, affinity, self.thresholds)


class CraftDetector(MapDetector):
    """CRAFT at one longer side, in one precision."""

    def __init__(
        self,
        *,
        id: str,
        weights: Path,
        device: str,
        precision: str,
        stages: CraftStages,
        batch_size: int,
    ) -> None:
        import torch

        from lesstext.text_detection.detectors.craft_network import CraftNetwork

        super().__init__(id=id, stages=stages, device=device, batch_size=batch_size)
        self._dtype: torch.dtype = getattr(torch, precision)
        self._mean = torch.tensor(_MEAN, device=self._device) * 255
        self._std = torch.tensor(_STD, device=self._device) * 255
        try:
            checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
            network = CraftNetwork(checkpoint).eval().to_precision(self._dtype)
            self._network = network.to(self._device).to(memory_format=torch.channels_last)
        except (RuntimeError, KeyError) as error:
            raise DetectorError(f"CRAFT cannot be loaded on {device}: {error}") from error

    def maps(self, canvases: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 on the device to (B, 2, H/2, W/2) float32 scores."""
        # NHWC memory seen as NCHW is channels-last by construction.
        normal = ((canvases.float() - self._mean) / self._std).to(self._dtype)
        scores: torch.Tensor = self._network(normal.permute(0, 3, 1, 2)).float()
        return scores

    def hold_text(self, maps: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = maps[:, 0].amax(dim=(1, 2)) >= self.stages.thresholds.text
        return found


def _precision(settings: DetectorSettings) -> str:
    precision = settings.precision or default_precision(settings.device)
    if precision not in _PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(_PRECISIONS)}, got {precision!r}")
    return precision


def _thresholds(settings: DetectorSettings) -> BoxThresholds:
    names = [name for name in ("text", "link", "low_text") if name in settings.options]
    try:
        return BoxThresholds(**{name: float(settings.options[name]) for name in names})
    except ValueError as error:
        raise UsageError(f"detector craft: {error}") from error
