"""WCAG contrast between drawn glyphs and what directly surrounds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
_STEPS = np.arange(256) / 255.0
_LINEAR = np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)
_WEIGHTS = np.array([[0.2126, 0.7152, 0.0722]], dtype=np.float32)
Luminances = NDArray[np.float32]
LOW_QUANTILE = 0.05


@dataclass(frozen=True, slots=True)
class Contrast:
    """Contrast in [1, 21] with the surround's mean luminance, and with its worst 5% pixel."""

    mean: float
    low: float

    @property
    def worst(self) -> float:
        """The lower of both: what a threshold has to hold for."""
        return min(self.mean, self.low)


@lru_cache(maxsize=1024)
def luminance(color: Color) -> float:
    """Relative luminance in [0, 1] (WCAG 2.x).

    >>> luminance((255, 255, 255)), luminance((0, 0, 0))
    (1.0, 0.0)
    """
    return round(float(_LINEAR[list(color)] @ _WEIGHTS[0]), 6)


def ratio(a: float, b: float) -> float:
    """WCAG contrast of two luminances: (lighter + 0.05) / (darker + 0.05).

    >>> round(ratio(1.0, 0.0), 6)
    21.0
    """
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def surround_luminance(
    pixels: NDArray[np.uint8], glyphs: NDArray[np.uint8], reach_px: int
) -> Luminances:
    """Luminance of the pixels within `reach_px` of a glyph but not under one, in no set order.

    `pixels` (h, w, 3) is the untouched image around the text, `glyphs` (h, w) the coverage 0-255
    of the text in the same frame. Empty where no such pixel lies in the image.
    """
    if pixels.size == 0:
        return np.empty(0, dtype=np.float32)
    kernel = np.ones((2 * reach_px + 1, 2 * reach_px + 1), dtype=np.uint8)
    ring = cv2.dilate(glyphs, kernel).astype(bool)
    ring &= glyphs == 0
    linear = cv2.transform(cv2.LUT(pixels, _LINEAR), _WEIGHTS)
    return np.asarray(linear[ring], dtype=np.float32)


def contrast_with(color: Color, surround: Luminances) -> Contrast:
    """Contrast of one colour with a surround; NaN where there is none in the image."""
    if len(surround) == 0:
        return Contrast(math.nan, math.nan)
    own = luminance(color)
    mean = ratio(own, float(surround.mean()))
    worst = int(LOW_QUANTILE * (len(surround) - 1))
    if own <= 0 or own >= 1:  # black's worst pixels are the darkest, white's the lightest
        place = worst if own <= 0 else len(surround) - 1 - worst
        return Contrast(mean, ratio(own, float(np.partition(surround, place)[place])))
    ratios, darker = np.maximum(surround, own), np.minimum(surround, own)
    ratios += 0.05
    darker += 0.05
    ratios /= darker
    ratios.partition(worst)
    return Contrast(mean, float(ratios[worst]))
