"""CRAFT's score maps to word boxes: numpy and OpenCV only, so that worker processes stay light.

The rule is that of CRAFT's own post-processing (and EasyOCR's `getDetBoxes_core`), but each
component is handled in its own window after one labelling pass over the map, instead of one pass
over the whole map for each component.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.text_detection.protocol import TextRegions

_MIN_COMPONENT_PX = 10
_SQUARE_TOLERANCE = 0.1

ScoreMap = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxThresholds:
    """Score thresholds, each in (0, 1).

    `low_text` and `link` decide which pixels belong to a word, `text`, which must exceed
    `low_text`, whether its best pixel is good enough. The defaults are those of CRAFT and EasyOCR.
    """

    text: float = 0.7
    link: float = 0.4
    low_text: float = 0.4

    def __post_init__(self) -> None:
        for name in ("text", "link", "low_text"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"threshold {name} must be within (0, 1), got {getattr(self, name)}"
                )
        if self.text <= self.low_text:
            raise ValueError(
                f"threshold text ({self.text:g}) must exceed low_text ({self.low_text:g})"
            )


def word_boxes(region: ScoreMap, affinity: ScoreMap, thresholds: BoxThresholds) -> TextRegions:
    """Word boxes (4, 2), clockwise from the top left, in map pixels, with their best score.

    `region` and `affinity` are float32 (h, w), CRAFT's two channels.
    """
    is_text = region > thresholds.low_text
    is_link = affinity > thresholds.link
    n_labels, labels_any, stats, _ = cv2.connectedComponentsWithStats(
        (is_text | is_link).astype(np.uint8), connectivity=4
    )
    labels = np.asarray(labels_any, dtype=np.int32)
    boxes: list[NDArray[np.float32]] = []
    scores: list[float] = []
    for label in range(1, n_labels):
        x, y, w, h, size = (int(value) for value in stats[label])
        if size < _MIN_COMPONENT_PX:
            continue
        tight = np.s_[y : y + h, x : x + w]
        best = float(region[tight].max(where=labels[tight] == label, initial=-np.inf))
        if best < thresholds.text:
            continue
        boxes.append(_component_box(labels, is_text, label, (x, y, w, h), size))
        scores.append(min(best, 1.0))
    return TextRegions(tuple(boxes), np.array(scores, dtype=np.float32))


def _component_box(
    labels: NDArray[np.int32],
    is_text: NDArray[np.bool_],
    label: int,
    bounds: tuple[int, int, int, int],
    size: int,
) -> NDArray[np.float32]:
    """The smallest rotated rectangle around a component, grown by its estimated margin."""
    x, y, w, h = bounds
    margin = int(math.sqrt(size * min(w, h) / (w * h)) * 2)
    left, top = max(x - margin, 0), max(y - margin, 0)
    window = np.s_[top : y + h + margin + 1, left : x + w + margin + 1]
    # Pixels that only the affinity map holds connect characters but are no text themselves.
    mask = ((labels[window] == label) & is_text[window]).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (1 + margin, 1 + margin))
    grown = cv2.dilate(mask, kernel)
    inside = np.asarray(cv2.findNonZero(grown), dtype=np.int32).reshape(-1, 2)
    points = inside + np.array([left, top], dtype=np.int32)
    box = np.asarray(cv2.boxPoints(cv2.minAreaRect(points)), dtype=np.float32)
    return _clockwise(_align_if_square(box, points))


def _align_if_square(box: NDArray[np.float32], points: NDArray[np.int32]) -> NDArray[np.float32]:
    """A nearly square box has no direction of its own: take the upright one instead."""
    width, height = np.linalg.norm(box[0] - box[1]), np.linalg.norm(box[1] - box[2])
    ratio = max(width, height) / (min(width, height) + 1e-5)
    if abs(1 - ratio) > _SQUARE_TOLERANCE:
        return box
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32)


def _clockwise(box: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.roll(box, 4 - int(box.sum(axis=1).argmin()), axis=0)
