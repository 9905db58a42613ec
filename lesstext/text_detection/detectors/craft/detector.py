"""`craft`: EasyOCR's CRAFT weights, fixed input shapes, word boxes left as they are.

Unlike `easyocr.Reader.detect` it neither merges words into lines nor adds margins, which inflate
areas by a fifth to a third, and it batches images of mixed sizes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesstext.errors import UsageError
from lesstext.text_detection.detectors.computing import Computing, choose_computing
from lesstext.text_detection.detectors.craft.boxes import BoxThresholds, word_boxes
from lesstext.text_detection.detectors.craft.weights import SHA256, find_weights
from lesstext.text_detection.detectors.maps import MapDetector, MapStages, batch_option
from lesstext.text_detection.processor import cpu_has_bfloat16
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, refuse_unknown_options

if TYPE_CHECKING:
    import torch

Maps = NDArray[np.float32]

DEFAULT_SIZE_PX = 384
_GPU_BATCH = 16
_OPTIONS = ("text", "link", "low_text", "runtime", "batch")
_PRECISIONS = ("float32", "bfloat16", "float16")


def identify(settings: DetectorSettings) -> str:
    """Weights, input size, precision and thresholds: all that can change a result."""
    refuse_unknown_options(settings, _OPTIONS)
    size_px, thresholds = settings.size_px or DEFAULT_SIZE_PX, _thresholds(settings)
    computing = _computing(settings)
    # Torch, the reference, is not named.
    precision = computing.id.removeprefix("runtime=torch ")
    return (
        f"craft weights={SHA256[:16]} size={size_px} {precision} "
        f"text={thresholds.text:g} link={thresholds.link:g} low_text={thresholds.low_text:g}"
    )


def load(settings: DetectorSettings) -> CraftDetector:
    """Load CRAFT as `settings` ask; options `text`, `link`, `low_text` (thresholds), `runtime`
    (torch or openvino) and `batch`."""
    return CraftDetector(
        id=identify(settings),
        weights=find_weights(settings.weights),
        computing=_computing(settings),
        stages=CraftStages(settings.size_px or DEFAULT_SIZE_PX, _thresholds(settings)),
        batch_size=batch_option(settings, _GPU_BATCH),
    )


def default_precision(device: str) -> str:
    """bfloat16 on CUDA devices and on processors that compute in it; float32 elsewhere."""
    return "bfloat16" if device.startswith("cuda") or cpu_has_bfloat16() else "float32"


def precision_of(settings: DetectorSettings) -> str:
    """The one that is asked for, else the device's default. Raises UsageError for others."""
    precision = settings.precision or default_precision(settings.device)
    if precision not in _PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(_PRECISIONS)}, got {precision!r}")
    return precision


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
        computing: Computing,
        stages: CraftStages,
        batch_size: int,
    ) -> None:
        from lesstext.text_detection.detectors.craft.runtimes import compute_by

        super().__init__(id=id, stages=stages, device=computing.device, batch_size=batch_size)
        self._compute = compute_by(weights, computing)

    def maps(self, canvases: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 on the device to (B, 2, H/2, W/2) float32 scores."""
        return self._compute(canvases)

    def hold_text(self, maps: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = maps[:, 0].amax(dim=(1, 2)) >= self.stages.thresholds.text
        return found


def _computing(settings: DetectorSettings) -> Computing:
    return choose_computing(settings, default="torch", precision=precision_of(settings))


def _thresholds(settings: DetectorSettings) -> BoxThresholds:
    names = [name for name in ("text", "link", "low_text") if name in settings.options]
    try:
        return BoxThresholds(**{name: float(settings.options[name]) for name in names})
    except ValueError as error:
        raise UsageError(f"detector craft: {error}") from error
