"""A detector for tests and dry runs: text is wherever a pixel is magenta. Needs no weights.

What it reads there is the patch's size in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lesstext.images import Pixels
from lesstext.text_detection.protocol import (
    DetectorSettings,
    TextRegions,
    Word,
    refuse_unknown_options,
)

_MIN_PX = 4


_ID = "fake magenta=1"


class FakeDetector:
    """Each connected patch of magenta pixels is one upright rectangular region."""

    id = _ID
    input_px: int | None = None

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        return [_magenta_patches(image) for image in images]


def identify(settings: DetectorSettings) -> str:
    """Always the same: it has no settings."""
    refuse_unknown_options(settings, ())
    return _ID


def reads(settings: DetectorSettings) -> bool:
    """It does."""
    return True


def load(settings: DetectorSettings) -> FakeDetector:
    """Load it; it has no options."""
    refuse_unknown_options(settings, ())
    return FakeDetector()


def _magenta_patches(image: Pixels) -> TextRegions:
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    mask = ((red > 180) & (green < 90) & (blue > 180)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    patches = [(x, y, w, h) for x, y, w, h, size in stats[1:].tolist() if size >= _MIN_PX]
    boxes = [
        np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], dtype=np.float32)
        for x, y, w, h in patches
    ]
    words = [Word(f"{w}x{h}", 1.0, box) for (_, _, w, h), box in zip(patches, boxes, strict=True)]
    return TextRegions(tuple(boxes), np.ones(len(boxes), dtype=np.float32), tuple(words))
