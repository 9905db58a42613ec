"""PP-OCR's detection network: an image to rotated boxes around its lines of text.

The network gives each pixel the probability of lying in the shrunken core of a line (Liao et al.
2020, "Real-time Scene Text Detection with Differentiable Binarization"). What lies above a
threshold falls into components; each becomes its smallest rectangle, grown back by what the core
was shrunken by.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.images import Pixels, input_shape, letterbox
from lesstext.text_detection.ppocr.models import Network
from lesstext.text_detection.protocol import TextRegions

ProbabilityMap = NDArray[np.float32]

_MULTIPLE_PX = 32
_GREY = (127, 127, 127)  # nearly zero after normalisation, as a convolution pads
_MIN_SIDE_PX = 3
_DILATION = np.ones((2, 2), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineThresholds:
    """PP-OCR's defaults: `pixel` decides which pixels belong to a line, `line` how probable they
    must be on average, both in (0, 1); `unclip` is how far a core is grown back, as the area of
    the core over its circumference."""

    pixel: float = 0.3
    line: float = 0.5
    unclip: float = 1.6


def find_lines(
    network: Network, pixels: Pixels, size_px: int, thresholds: LineThresholds
) -> TextRegions:
    """Boxes (4, 2) around the lines of text in RGB (H, W, 3), in its frame, from the top left on.

    `size_px` is the longer side at which they are sought.
    """
    height, width = pixels.shape[:2]
    shape = input_shape(width, height, longer_px=size_px, multiple_px=_MULTIPLE_PX)
    canvas = np.empty((shape.padded_height_px, shape.padded_width_px, 3), dtype=np.uint8)
    letterbox(pixels, shape, canvas, fill=_GREY)
    probability = network(as_input(canvas))[0, 0, : shape.height_px, : shape.width_px]
    found = line_boxes(np.ascontiguousarray(probability), thresholds)
    return found.scaled(width / shape.width_px, height / shape.height_px)


def as_input(pixels: Pixels) -> NDArray[np.float32]:
    """RGB (H, W, 3) to what both networks take: BGR (1, 3, H, W), -1 to 1."""
    blob = cv2.dnn.blobFromImage(
        pixels, scalefactor=1 / 127.5, mean=(127.5, 127.5, 127.5), swapRB=True
    )
    return np.asarray(blob, dtype=np.float32)


def line_boxes(probability: ProbabilityMap, thresholds: LineThresholds) -> TextRegions:
    """Boxes (4, 2), clockwise from the top left, in the map's pixels; a score is the mean
    probability inside the core."""
    # PP-OCR widens every component by one pixel to the right and downwards.
    core = cv2.dilate((probability > thresholds.pixel).astype(np.uint8), _DILATION)
    contours, _ = cv2.findContours(core, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes: list[NDArray[np.float32]] = []
    scores: list[float] = []
    for contour in contours:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < _MIN_SIDE_PX:
            continue
        corners = cv2.boxPoints((centre, (width, height), angle))
        score = _mean_inside(probability, np.asarray(corners, dtype=np.float32))
        if score < thresholds.line:
            continue
        margin = 2 * width * height * thresholds.unclip / (2 * (width + height))
        grown = cv2.boxPoints((centre, (width + margin, height + margin), angle))
        boxes.append(_from_top_left(np.asarray(grown, dtype=np.float32)))
        scores.append(min(score, 1.0))
    return TextRegions(tuple(boxes), np.array(scores, dtype=np.float32))


def _mean_inside(probability: ProbabilityMap, box: NDArray[np.float32]) -> float:
    height, width = probability.shape
    limits = np.array([width - 1, height - 1])
    left, top = np.clip(np.floor(box.min(axis=0)), 0, limits).astype(int)
    right, bottom = np.clip(np.ceil(box.max(axis=0)), 0, limits).astype(int)
    mask = np.zeros((bottom - top + 1, right - left + 1), dtype=np.uint8)
    cv2.fillPoly(mask, [(box - (left, top)).astype(np.int32)], (1,))
    return float(cv2.mean(probability[top : bottom + 1, left : right + 1], mask)[0])


def _from_top_left(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners clockwise, from the upper of the two on the left: where a line begins."""
    left = sorted(box.tolist())[:2]
    first = min(left, key=lambda corner: corner[1])
    start = next(i for i, corner in enumerate(box.tolist()) if corner == first)
    return np.roll(box, -start, axis=0)
