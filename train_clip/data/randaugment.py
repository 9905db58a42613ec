"""RandAugment (Cubuk et al. 2019) on uint8 RGB pixels, with the operations and ranges of the paper.

Magnitude runs from 0 (no change) to 10 (the strongest). Geometric operations fill with grey.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.images import Pixels

_FILL = (124, 116, 104)
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def randaugment(view: Pixels, n: int, magnitude: float, rng: np.random.Generator) -> Pixels:
    """Apply `n` randomly chosen operations at `magnitude` (0 to 10), signs chosen at random."""
    for which in rng.integers(len(OPERATIONS), size=n):
        strength = magnitude / 10 * (1 if rng.random() < 0.5 else -1)
        view = OPERATIONS[int(which)](view, strength)
    return view


def adjust_brightness(view: Pixels, factor: float) -> Pixels:
    """Scale all values; 1 changes nothing."""
    return cv2.convertScaleAbs(view, alpha=factor)  # type: ignore[return-value]


def adjust_contrast(view: Pixels, factor: float) -> Pixels:
    """Move all values away from (or towards) the mean grey value; 1 changes nothing."""
    mean = float(view.mean(axis=(0, 1)) @ _GREY)
    return _table(view, mean + (np.arange(256) - mean) * factor)


def adjust_colour(view: Pixels, factor: float) -> Pixels:
    """Blend with the grey image; 0 is grey, 1 changes nothing."""
    grey = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(view, factor, grey, 1 - factor, 0)  # type: ignore[return-value]


def adjust_sharpness(view: Pixels, factor: float) -> Pixels:
    """Blend with a smoothed image; 1 changes nothing."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13
    smooth = cv2.filter2D(view, -1, kernel)
    return cv2.addWeighted(view, factor, smooth, 1 - factor, 0)  # type: ignore[return-value]


def autocontrast(view: Pixels, _: float) -> Pixels:
    """Stretch each channel to the full range."""
    low = view.min(axis=(0, 1)).astype(np.float32)
    span = np.maximum(view.max(axis=(0, 1)) - low, 1)
    stretched: Pixels = np.rint((view - low) * (255 / span)).astype(np.uint8)
    return stretched


def equalize(view: Pixels, _: float) -> Pixels:
    """Flatten each channel's histogram."""
    return np.dstack([cv2.equalizeHist(np.ascontiguousarray(view[..., c])) for c in range(3)])


def posterize(view: Pixels, strength: float) -> Pixels:
    """Keep 8 down to 4 bits of every value."""
    dropped = round(abs(strength) * 4)
    return view & np.uint8(256 - (1 << dropped))


def solarize(view: Pixels, strength: float) -> Pixels:
    """Invert all values at or above a threshold, 256 down to 0."""
    values = np.arange(256)
    return _table(view, np.where(values >= 256 * (1 - abs(strength)), 255 - values, values))


def rotate(view: Pixels, strength: float) -> Pixels:
    """Turn by up to 30 degrees about the centre."""
    height, width = view.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    return _warp(view, np.asarray(cv2.getRotationMatrix2D(centre, strength * 30, 1.0)))


def shear_x(view: Pixels, strength: float) -> Pixels:
    return _warp(view, np.array([[1, strength * 0.3, 0], [0, 1, 0]]))


def shear_y(view: Pixels, strength: float) -> Pixels:
    return _warp(view, np.array([[1, 0, 0], [strength * 0.3, 1, 0]]))


def translate_x(view: Pixels, strength: float) -> Pixels:
    return _warp(view, np.array([[1, 0, strength * 0.45 * view.shape[1]], [0, 1, 0]]))


def translate_y(view: Pixels, strength: float) -> Pixels:
    return _warp(view, np.array([[1, 0, 0], [0, 1, strength * 0.45 * view.shape[0]]]))


def _identity(view: Pixels, _: float) -> Pixels:
    return view


def _enhance(adjust: Callable[[Pixels, float], Pixels]) -> Callable[[Pixels, float], Pixels]:
    return lambda view, strength: adjust(view, 1 + 0.9 * strength)


def _table(view: Pixels, values: NDArray[np.generic]) -> Pixels:
    table = np.clip(np.rint(np.asarray(values, dtype=np.float64)), 0, 255).astype(np.uint8)
    return cv2.LUT(view, table)  # type: ignore[return-value]


def _warp(view: Pixels, matrix: NDArray[np.generic]) -> Pixels:
    height, width = view.shape[:2]
    return cv2.warpAffine(  # type: ignore[return-value]
        view, np.asarray(matrix, dtype=np.float64), (width, height), borderValue=_FILL
    )


OPERATIONS: tuple[Callable[[Pixels, float], Pixels], ...] = (
    _identity,
    autocontrast,
    equalize,
    posterize,
    solarize,
    rotate,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
    _enhance(adjust_colour),
    _enhance(adjust_contrast),
    _enhance(adjust_brightness),
    _enhance(adjust_sharpness),
)
