"""From the small network's map to text regions: numpy and OpenCV only.

Connected places above a low threshold are one region if their best place reaches a higher one
(hysteresis, as edge detectors use it). A region is the smallest rotated rectangle where that
describes it well, and its outline where it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.text_detection.protocol import TextRegions

ProbabilityMap = NDArray[np.uint8]
SURE = 255

_MIN_PLACES = 6  # of the map: about 24 pixels of the input
_RECTANGULAR = 0.75  # of the rectangle's area
_ENLARGED = 4  # for outlines, which OpenCV draws through the middle of what lies at the border


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Probabilities in (0, 1): `low` for what belongs to a region, `seed` for its best place."""

    low: float = 0.5
    seed: float = 0.7

    def __post_init__(self) -> None:
        for name in ("low", "seed"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"threshold {name} must be within (0, 1), got {getattr(self, name)}"
                )
        if self.seed < self.low:
            raise ValueError(f"threshold seed ({self.seed:g}) must be at least low ({self.low:g})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Connected places of a map: `inside` (h, w) tells which of the window at (left, top) belong
    to it, `size` how many they are, `best` the highest probability among them."""

    left: int
    top: int
    inside: NDArray[np.bool_]
    size: int
    best: float


def marks_of(probabilities: ProbabilityMap, thresholds: Thresholds) -> Iterator[Mark]:
    """What is text in a map (h, w), 255 standing for a probability of 1."""
    mask = (probabilities > SURE * thresholds.low).astype(np.uint8)
    n_labels, labels_any, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    labels = np.asarray(labels_any, dtype=np.int32)
    for label in range(1, n_labels):
        x, y, w, h, size = (int(value) for value in stats[label])
        if size < _MIN_PLACES:
            continue
        window = np.s_[y : y + h, x : x + w]
        inside = labels[window] == label
        best = float(probabilities[window].max(where=inside, initial=0)) / SURE
        if best >= thresholds.seed:
            yield Mark(left=x, top=y, inside=inside, size=size, best=best)


def text_regions(probabilities: ProbabilityMap, thresholds: Thresholds) -> TextRegions:
    """Regions of a map (h, w), 255 standing for a probability of 1, in the map's own frame.

    Scores are the best probability in each region.
    """
    marks = list(marks_of(probabilities, thresholds))
    polygons = [
        _polygon(mark.inside, mark.size) + np.array((mark.left, mark.top), dtype=np.float32)
        for mark in marks
    ]
    scores = np.array([mark.best for mark in marks], dtype=np.float32)
    return TextRegions(tuple(polygons), scores)


def _polygon(inside: NDArray[np.bool_], size: int) -> NDArray[np.float32]:
    """A polygon (k, 2) around `size` places of a window, from corner to corner of the places.

    >>> _polygon(np.ones((2, 3), dtype=bool), 6).astype(int).tolist()
    [[0, 0], [3, 0], [3, 2], [0, 2]]
    """
    rows, columns = np.nonzero(
        inside & (cv2.erode(inside.astype(np.uint8), _CROSS, borderValue=0) == 0)
    )
    corners = np.concatenate([np.stack([columns + dx, rows + dy], 1) for dx, dy in _CORNERS])
    rectangle = cv2.minAreaRect(corners.astype(np.float32))
    if size >= _RECTANGULAR * rectangle[1][0] * rectangle[1][1]:
        box = np.asarray(cv2.boxPoints(rectangle), dtype=np.float32)
        return np.roll(box, -int(box.sum(axis=1).argmin()), axis=0)
    return _outline(inside)


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    large = cv2.resize(
        inside.astype(np.uint8), None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_NEAREST
    )
    outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = cv2.approxPolyDP(max(outlines, key=len), _ENLARGED / 2, closed=True)
    return ((outline[:, 0].astype(np.float32) + 0.5) / _ENLARGED).astype(np.float32)


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))
