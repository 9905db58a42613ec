"""A detector that costs nothing, to measure what feeding a device costs its process.

Canvases are stacked as a real one stacks them, nothing is computed, and for a chosen share of the
images the answer is CRAFT's: score maps in which the post-processing finds words. Which images
these are depends on their pixels alone, so tables are the same whatever the batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.annotators.base import Placement, Worker
from lesstext.annotators.text_area import TextArea, TextAreaWorker
from lesstext.images import Pixels
from lesstext.text_detection.detectors.craft.boxes import BoxThresholds
from lesstext.text_detection.detectors.craft.detector import CraftStages
from lesstext.text_detection.helpers import helpers_for
from lesstext.text_detection.protocol import TextRegions
from lesstext.text_detection.stages import detect_in_stages

Maps = NDArray[np.float32]

_SIZE_PX = 384
_GRID_PX = 48  # pixels that far apart decide whether an image has text
_PARTS = 1000
_WORDS = ((20, 30, 60, 12), (90, 100, 50, 10), (30, 60, 24, 24))  # x, y, w, h in the maps


class NullDetector:
    """The stages of CRAFT at 384 px around a network that does nothing."""

    input_px, max_canvas_bytes = _SIZE_PX, _SIZE_PX * _SIZE_PX * 3

    def __init__(self, text_share: float, batch_size: int) -> None:
        self.id = f"null text_share={text_share:g}"
        self.stages = CraftStages(_SIZE_PX, BoxThresholds())
        self.batch_size = batch_size
        self._n_parts_with_text = round(text_share * _PARTS)
        self._buffers: dict[tuple[int, ...], Pixels] = {}
        self._maps: dict[tuple[int, ...], Maps] = {}

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        return detect_in_stages(self, images)

    def submit(self, canvases: Sequence[Pixels]) -> NullBatch:
        """Stack the canvases, and choose those with text."""
        shape = canvases[0].shape
        buffer = self._buffers.get(shape)
        if buffer is None or len(buffer) < len(canvases):
            buffer = self._buffers[shape] = np.empty((self.batch_size, *shape), dtype=np.uint8)
        stacked = np.stack(canvases, out=buffer[: len(canvases)])
        if not self._n_parts_with_text:
            return NullBatch([None] * len(canvases))
        sums = stacked[:, ::_GRID_PX, ::_GRID_PX].sum(axis=(1, 2, 3)) % _PARTS
        maps = self._maps_of(shape)
        return NullBatch([maps if found < self._n_parts_with_text else None for found in sums])

    def _maps_of(self, shape: tuple[int, ...]) -> Maps:
        if shape not in self._maps:
            self._maps[shape] = _maps_with_words(shape[0] // 2, shape[1] // 2)
        return self._maps[shape]


@dataclass(frozen=True, slots=True)
class NullBatch:
    """A batch that was done when it began."""

    maps: list[Maps | None]

    def result(self) -> list[Maps | None]:
        return self.maps


@dataclass(frozen=True, kw_only=True)
class NullTextArea(TextArea):
    """Text areas as the null detector finds them, by the path that those of a real one take."""

    text_share: float = 0.0
    batch_size: int = 16

    def identify(self, placement: Placement) -> str:
        return NullDetector(self.text_share, self.batch_size).id

    @contextmanager
    def load(self, placement: Placement) -> Iterator[Worker]:
        detector = NullDetector(self.text_share, self.batch_size)
        with helpers_for(detector, placement.helpers) as helpers:
            yield TextAreaWorker(self, detector, helpers)


def _maps_with_words(height_px: int, width_px: int) -> Maps:
    """CRAFT's region and affinity maps (2, h, w) of three words, or what of them lies inside."""
    maps = np.zeros((2, height_px, width_px), dtype=np.float32)
    for x, y, w, h in _WORDS:
        maps[0, y : y + h, x : x + w] = 1
    maps[0] = cv2.blur(maps[0], (5, 5))
    return maps
