"""A detector that doubts wherever the fake one is sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesstext.images import Pixels
from lesstext.text_detection.detectors.fake import FakeDetector
from lesstext.text_detection.protocol import DetectorSettings, TextRegions


class DoubtingFake:
    id = "doubting"
    input_px: int | None = None

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        found = FakeDetector().detect(images)
        none = np.zeros(0, dtype=np.float32)
        return [TextRegions((), none, None, regions.polygons) for regions in found]


def identify(settings: DetectorSettings) -> str:
    return DoubtingFake.id


def load(settings: DetectorSettings) -> DoubtingFake:
    return DoubtingFake()


def square(side_px: float, left_px: float = 0) -> NDArray[np.float32]:
    """A square whose left upper corner lies at (left, left)."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)
    return corners * side_px + left_px
