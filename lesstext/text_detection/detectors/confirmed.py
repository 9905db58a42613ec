"""`confirmed`: `small` tells where to look, and `craft` looks there and nowhere else.

Both see one canvas, so that an image is decoded and drawn once. `craft` is given windows of it, the
marks of `small` with some surroundings: most images have none, and few are full of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from lesstext.errors import UsageError
from lesstext.text_detection.detectors.computing import fastest_runtime
from lesstext.text_detection.detectors.craft import detector as craft
from lesstext.text_detection.detectors.craft.detector import CraftDetector
from lesstext.text_detection.detectors.maps import (
    MAP_STRIDE,
    MULTIPLE_PX,
    CanvasDetector,
    Look,
    batch_option,
)
from lesstext.text_detection.detectors.small import detector as small
from lesstext.text_detection.detectors.small.detector import SmallDetector
from lesstext.text_detection.detectors.small.regions import ProbabilityMap, marks_of
from lesstext.text_detection.protocol import DetectorSettings, refuse_unknown_options

if TYPE_CHECKING:
    import torch

_OF_FIRST, _OF_SECOND = ("low", "seed"), ("text", "link", "low_text")
_OPTIONS = (*_OF_FIRST, *_OF_SECOND, "margin", "runtime", "batch")
# Ours, chosen on photos of ImageNet, Flickr8k and CC12M. A low threshold costs little where `craft`
# decides, and gives it more of what surrounds a word than a wider margin for the same pixels.
_RULE = 2
FIRST = {"low": "0.1", "seed": "0.2"}
MARGIN_PX = 32
_GPU_BATCH = 32
_GPU_WINDOWS = 4  # of one shape; always full, for the kernel follows it


def identify(settings: DetectorSettings) -> str:
    """The ids of both detectors, and how much around a mark the second sees."""
    first, second = _both(settings)
    return (
        f"confirmed rule={_RULE} margin={_margin_px(settings)} "
        f"first=[{small.identify(first)}] second=[{craft.identify(second)}]"
    )


def load(settings: DetectorSettings) -> ConfirmedDetector:
    """Load both; options `margin` (pixels of the canvas), `runtime`, `batch`, and the thresholds of
    `small` and of `craft`. The settings' weights are `craft`'s."""
    first, second = _both(settings)
    return ConfirmedDetector(
        id=identify(settings),
        first=small.load(first),
        second=craft.load(second),
        margin_px=_margin_px(settings),
        device=settings.device,
        batch_size=batch_option(settings, _GPU_BATCH),
    )


class Window(NamedTuple):
    """Pixels of a canvas, from the first two up to but without the last two."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area_px(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def around(self, other: Window) -> Window:
        """The smallest window that holds both."""
        return Window(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))

    def of(self, canvas: torch.Tensor, stride: int = 1) -> torch.Tensor:
        """This part of (H, W, ...), of which one place stands for `stride` pixels."""
        top, left, bottom, right = (side // stride for side in self)
        return canvas[top:bottom, left:right]


class ConfirmedDetector(CanvasDetector):
    """Two networks at one size. `tallies` counts the images that both looked at."""

    def __init__(
        self,
        *,
        id: str,
        first: SmallDetector,
        second: CraftDetector,
        margin_px: int,
        device: str,
        batch_size: int,
    ) -> None:
        super().__init__(id=id, stages=second.stages, device=device, batch_size=batch_size)
        self._first, self._second, self._margin_px = first, second, margin_px
        self.tallies = {"looked at twice": 0}

    def looks(self, canvases: torch.Tensor) -> list[Look]:
        n = len(canvases)
        first = self._first.look(canvases, range(n), max(self.batch_size, n))
        seen: list[int] = first.has_text.nonzero()[:, 0].tolist()
        marked = zip(seen, first.maps[first.has_text].cpu().numpy(), strict=True)
        size_px = (int(canvases.shape[1]), int(canvases.shape[2]))
        found = {
            place: windows
            for place, probabilities in marked
            if (windows := self._windows(probabilities, size_px))
        }
        if not found:
            return []
        self.tallies["looked at twice"] += len(found)
        maps = self._second_maps(canvases, found)
        return [Look(list(found), maps, self._second.hold_text(maps))]

    def _windows(self, probabilities: ProbabilityMap, size_px: tuple[int, int]) -> list[Window]:
        marks = marks_of(probabilities, self._first.stages.thresholds)
        boxes = [
            Window(mark.top, mark.left, mark.top + rows, mark.left + columns)
            for mark in marks
            for rows, columns in [mark.inside.shape]
        ]
        return windows_around(boxes, size_px, self._margin_px)

    def _second_maps(self, canvases: torch.Tensor, found: dict[int, list[Window]]) -> torch.Tensor:
        """Maps (k, 2, H/2, W/2) of the canvases at those places, zero outside of the windows."""
        import torch

        k, (height, width) = len(found), canvases.shape[1:3]
        maps = torch.zeros(
            (k, height // MAP_STRIDE, width // MAP_STRIDE, 2), device=canvases.device
        )
        by_shape: defaultdict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]]
        by_shape = defaultdict(list)
        for rows, (place, windows) in zip(maps, found.items(), strict=True):
            for window in windows:
                pixels = window.of(canvases[place])
                by_shape[pixels.shape].append((pixels, window.of(rows, MAP_STRIDE)))
        for some in by_shape.values():
            pixels = torch.stack([pixels for pixels, _ in some])
            seen = self._second.look(pixels, range(len(some)), _GPU_WINDOWS).maps
            for (_, rows), one in zip(some, seen, strict=True):
                torch.maximum(rows, one.permute(1, 2, 0), out=rows)
        return maps.permute(0, 3, 1, 2)


def windows_around(
    boxes: Sequence[Window], size_px: tuple[int, int], margin_px: int
) -> list[Window]:
    """Windows of a canvas of so many pixels (height, width) that hold each box of its map with a
    margin, in multiples of `MULTIPLE_PX`; joined where one costs no more than two."""
    height, width = (side // MULTIPLE_PX for side in size_px)
    cells = np.zeros((height, width), dtype=np.uint8)
    for box in boxes:
        top, left = (max(side * MAP_STRIDE - margin_px, 0) // MULTIPLE_PX for side in box[:2])
        bottom, right = (-(-(side * MAP_STRIDE + margin_px) // MULTIPLE_PX) for side in box[2:])
        cells[top:bottom, left:right] = 1
    _, _, stats, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
    found = (stats[1:, :4] * MULTIPLE_PX).tolist()
    return _joined([Window(y, x, y + h, x + w) for x, y, w, h in found])


def _joined(windows: Sequence[Window]) -> list[Window]:
    done: list[Window] = []
    for window in windows:
        while partner := next((w for w in done if _is_cheaper(w, window)), None):
            done.remove(partner)
            window = window.around(partner)
        done.append(window)
    return done


def _is_cheaper(one: Window, other: Window) -> bool:
    return one.around(other).area_px <= one.area_px + other.area_px


def _both(settings: DetectorSettings) -> tuple[DetectorSettings, DetectorSettings]:
    refuse_unknown_options(settings, _OPTIONS)
    chosen = settings.options
    runtime = {"runtime": chosen.get("runtime", fastest_runtime(settings.device))}
    second = replace(
        settings,
        name="craft",
        size_px=settings.size_px or craft.DEFAULT_SIZE_PX,
        options=runtime | {name: chosen[name] for name in _OF_SECOND if name in chosen},
    )
    precision = craft.precision_of(second)
    first = replace(
        second,
        name="small",
        weights=None,
        options=runtime | {name: chosen.get(name, FIRST[name]) for name in _OF_FIRST},
        precision="float32" if precision == "float16" else precision,
    )
    return first, second


def _margin_px(settings: DetectorSettings) -> int:
    text = settings.options.get("margin", str(MARGIN_PX))
    if not text.isdigit():
        raise UsageError(f"detector confirmed: margin is a whole number of pixels, got {text!r}")
    return int(text)
