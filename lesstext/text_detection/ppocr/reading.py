"""PP-OCR's recognition network: a line of text to its characters."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.images import Pixels, resize
from lesstext.text_detection.ppocr.lines import as_input
from lesstext.text_detection.ppocr.models import Computing, Network, load_network, model_id
from lesstext.text_detection.protocol import Word

MIN_SCORE = 0.5

_HEIGHT_PX = 48
_WIDTH_MULTIPLE_PX = 32
_MAX_WIDTH_PX = 2048
_TALL = 1.5  # a line so many times as high as it is wide is read from its side
_BLANK = 0


def reader_id() -> str:
    """The model and all else that can change what is read."""
    return f"rec={model_id('rec')} min_score={MIN_SCORE:g}"


def is_read(word: Word) -> bool:
    """Whether a guess counts as read."""
    return bool(word.text) and word.score >= MIN_SCORE


class Reader:
    """A loaded recogniser."""

    def __init__(self, computing: Computing) -> None:
        self._network: Network = load_network("rec", computing)
        self._characters = (None, *self._network.characters, " ")

    def read(self, pixels: Pixels, polygons: Sequence[NDArray[np.float32]]) -> list[Word]:
        """What stands in these regions of an RGB image (H, W, 3), as far as something does.

        Polygons are (k, 2) in the image's frame; of one that is no quad, the smallest rectangle
        around it is read. A word's score is the mean probability of its characters; those below
        `MIN_SCORE` are left out.
        """
        return [word for word in self.guess(pixels, polygons) if is_read(word)]

    def guess(self, pixels: Pixels, polygons: Sequence[NDArray[np.float32]]) -> list[Word]:
        """As `read`, but the best guess for every region, however unsure, and even if empty."""
        return [Word(*self._read_one(pixels, polygon), polygon) for polygon in polygons]

    def _read_one(self, pixels: Pixels, polygon: NDArray[np.float32]) -> tuple[str, float]:
        line = straightened(pixels, as_quad(polygon))
        if line is None:
            return "", 0.0
        if line.shape[0] < _TALL * line.shape[1]:
            return self._decode(line)
        sides = [self._decode(np.rot90(line, turns)) for turns in (1, 3)]
        return max(sides, key=lambda found: found[1])

    def _decode(self, line: Pixels) -> tuple[str, float]:
        probabilities = self._network(as_input(_canvas(line)))[0]
        return decode(probabilities, self._characters)


def decode(
    probabilities: NDArray[np.float32], characters: Sequence[str | None]
) -> tuple[str, float]:
    """The text of (steps, classes) by best-path CTC: repeats merged, blanks (class 0) dropped.

    The score is the mean probability of the steps that give a character, in [0, 1].
    """
    best = probabilities.argmax(axis=1)
    is_new = np.concatenate([[True], best[1:] != best[:-1]]) & (best != _BLANK)
    text = "".join(characters[i] or "" for i in best[is_new])
    if not text.strip():
        return "", 0.0
    score = probabilities.max(axis=1)[is_new].astype(np.float64).mean()
    return text.strip(), min(float(score), 1.0)


def straightened(pixels: Pixels, quad: NDArray[np.float32]) -> Pixels | None:
    """The content of a quad (4, 2), clockwise from where its line begins, as an upright image.

    None for one without an inside.
    """
    sides = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    width, height = int(max(sides[0], sides[2])), int(max(sides[1], sides[3]))
    if width < 1 or height < 1:
        return None
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    transform = cv2.getPerspectiveTransform(np.ascontiguousarray(quad, dtype=np.float32), target)
    line = cv2.warpPerspective(
        pixels,
        transform,
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(line, dtype=np.uint8)


def as_quad(polygon: NDArray[np.float32]) -> NDArray[np.float32]:
    """Four corners, clockwise: the polygon's own, or those of the smallest rectangle around it."""
    if len(polygon) == 4:
        return polygon
    box = np.asarray(cv2.boxPoints(cv2.minAreaRect(polygon)), dtype=np.float32)
    return np.roll(box, -int(box.sum(axis=1).argmin()), axis=0)


def _canvas(line: Pixels) -> Pixels:
    """A line at the height that the network takes, and at one of few widths."""
    height, width = line.shape[:2]
    width_px = min(max(round(width * _HEIGHT_PX / height), 1), _MAX_WIDTH_PX)
    padded_px = -(-width_px // _WIDTH_MULTIPLE_PX) * _WIDTH_MULTIPLE_PX
    canvas = np.full((_HEIGHT_PX, padded_px, 3), 127, dtype=np.uint8)
    canvas[:, :width_px] = resize(np.ascontiguousarray(line), width_px, _HEIGHT_PX)
    return canvas
