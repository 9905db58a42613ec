"""`confirmed`: `small` tells where to look, and what is found there is `craft`'s.

Both see one canvas, so that an image is decoded and drawn once, and the second look is taken where
the first one's maps are, on the device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lesstext.errors import UsageError
from lesstext.text_detection.detectors import craft
from lesstext.text_detection.detectors.craft import CraftDetector
from lesstext.text_detection.detectors.maps import CanvasDetector, Look, batch_option
from lesstext.text_detection.detectors.small import detector as small
from lesstext.text_detection.detectors.small.detector import SmallDetector
from lesstext.text_detection.detectors.small.regions import SURE
from lesstext.text_detection.protocol import DetectorSettings, refuse_unknown_options

if TYPE_CHECKING:
    import torch

_OPTIONS = ("near", "runtime", "batch")
# Ours, chosen on photos of ImageNet and Flickr8k: what `small` must be sure of (by these it invents
# half as much as by its own), and the share of the canvas that it must mark more than.
_RULE = 1
_FIRST = {"low": "0.9", "seed": "0.97"}
_NEAR = 0.002
_GPU_BATCH = 32
_GPU_SECOND_BATCH = 4  # always full, for the kernel follows it; what is left of it computes nothing


def identify(settings: DetectorSettings) -> str:
    """The ids of both detectors, and which images both look at."""
    first, second = _both(settings)
    return (
        f"confirmed rule={_RULE} near={_near(settings):g} "
        f"first=[{small.identify(first)}] second=[{craft.identify(second)}]"
    )


def load(settings: DetectorSettings) -> ConfirmedDetector:
    """Load both; options `near`, `batch`, and `runtime` for the first."""
    first, second = _both(settings)
    return ConfirmedDetector(
        id=identify(settings),
        first=small.load(first),
        second=craft.load(second),
        near=_near(settings),
        device=settings.device,
        batch_size=batch_option(settings, _GPU_BATCH),
    )


class ConfirmedDetector(CanvasDetector):
    """Two networks at one size. `tallies` counts the images that both looked at."""

    def __init__(
        self,
        *,
        id: str,
        first: SmallDetector,
        second: CraftDetector,
        near: float,
        device: str,
        batch_size: int,
    ) -> None:
        super().__init__(id=id, stages=second.stages, device=device, batch_size=batch_size)
        self._first, self._second, self._near = first, second, near
        self._low = SURE * first.stages.thresholds.low
        self.tallies = {"looked at twice": 0}

    def looks(self, canvases: torch.Tensor) -> list[Look]:
        n = len(canvases)
        first = self._first.look(canvases, range(n), max(self.batch_size, n))
        shares = (first.maps > self._low).float().mean(dim=(1, 2))
        seen = first.has_text & (shares > self._near)
        places: list[int] = seen.nonzero()[:, 0].tolist()
        if not places:
            return []
        second = self._second.look(canvases[seen], places, _GPU_SECOND_BATCH)
        self.tallies["looked at twice"] += len(places)
        return [second]


def _both(settings: DetectorSettings) -> tuple[DetectorSettings, DetectorSettings]:
    refuse_unknown_options(settings, _OPTIONS)
    if settings.weights is not None:
        raise UsageError("detector confirmed takes no --weights: its detectors find their own")
    size_px = settings.size_px or craft.DEFAULT_SIZE_PX
    options = _FIRST | {k: v for k, v in settings.options.items() if k == "runtime"}
    first = replace(settings, name="small", size_px=size_px, options=options, precision="float32")
    return first, replace(settings, name="craft", size_px=size_px, options={})


def _near(settings: DetectorSettings) -> float:
    text = settings.options.get("near", str(_NEAR))
    try:
        near = float(text)
    except ValueError:
        near = -1
    if not 0 <= near <= 1:
        raise UsageError(f"detector confirmed: near is a share of the image, got {text!r}")
    return near
