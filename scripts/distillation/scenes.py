"""Training examples: a window of a photo, with or without stickers, and where its text lies.

Half of what carries a sticker comes in pairs that are equal but for the writing, because that is
the difference to be learnt. Everything is a function of the photo, its label and the generator.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from distillation.fonts import Font
from distillation.stickers import Sticker, blank, lettering, write_on
from distillation.teacher import PhotoLabel, Polygons
from lesstext.images import Pixels
from lesstext.text_detection.detectors.small.network import MAP_STRIDE

SIDE_PX = 320
FILL = 127  # zero for the network
IGNORED = 255
TEXT = 254
_KINDS = {"plain": 0.26, "pair": 0.34, "scene": 0.28, "clutter": 0.12}
_LONGER_PX = (300, 620)  # the photo's longer side before the window is cut
_MIN_HEIGHT_PX = 5.5  # words of less than this many pixels of height are ignored
_SUPERSAMPLED = 2


@dataclass(slots=True)
class Example:
    """An RGB window (320, 320, 3) and its target (160, 160): 0 none, 254 text, 255 ignored."""

    image: Pixels
    target: NDArray[np.uint8]


def examples(
    photo: Pixels,
    label: PhotoLabel,
    fonts: Sequence[Font],
    other: Pixels,
    rng: np.random.Generator,
) -> Iterator[Example]:
    """One example, or a pair with and without writing; `other` is a picture to paste."""
    example = _window(photo, label, rng)
    kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
    if kind == "plain":
        yield _finished(example, rng)
    elif kind == "pair":
        yield from _pair(example, fonts, other, rng)
    elif kind == "scene":
        for _ in range(int(rng.choice([1, 1, 2, 3, 5]))):
            _letter(example, fonts, rng)
        yield _finished(example, rng)
    else:
        for _ in range(int(rng.integers(1, 4))):
            sticker = blank(rng, _sticker_size(rng), other)
            _paste(example, sticker, _placement(sticker, rng, (0.1, 0.9)))
        if rng.random() < 0.4:
            _lines(example.image, rng)
        yield _finished(example, rng)


def _window(photo: Pixels, label: PhotoLabel, rng: np.random.Generator) -> Example:
    """A random square of the photo at a random scale, filled where the photo ends."""
    height, width = photo.shape[:2]
    scale = np.exp(rng.uniform(*np.log(_LONGER_PX))) / max(height, width)
    size = max(16, round(width * scale)), max(16, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(photo, size, interpolation=method)
    left = int(rng.integers(0, max(size[0] - SIDE_PX, 0) + 1))
    top = int(rng.integers(0, max(size[1] - SIDE_PX, 0) + 1))
    image = np.full((SIDE_PX, SIDE_PX, 3), FILL, dtype=np.uint8)
    part = resized[top : top + SIDE_PX, left : left + SIDE_PX]
    image[: part.shape[0], : part.shape[1]] = part
    target = np.zeros((SIDE_PX // MAP_STRIDE,) * 2, dtype=np.uint8)
    shift = np.array((left, top), dtype=np.float32)
    doubtful = [box * np.array(size, dtype=np.float32) - shift for box in label.doubtful]
    words = [box * np.array(size, dtype=np.float32) - shift for box in label.words]
    _mark(target, doubtful, IGNORED)
    _mark_words(target, words)
    return Example(image, target)


def _pair(
    example: Example, fonts: Sequence[Font], other: Pixels, rng: np.random.Generator
) -> Iterator[Example]:
    sticker = blank(rng, _sticker_size(rng), other)
    written = copy.deepcopy(sticker)
    write_on(written, fonts, rng)
    place = _placement(sticker, rng, (0.15, 0.75))
    finish = int(rng.integers(2**31))
    for version in (sticker, written):
        pasted = copy.deepcopy(example)
        _paste(pasted, version, place)
        yield _finished(pasted, np.random.default_rng(finish))


def _letter(example: Example, fonts: Sequence[Font], rng: np.random.Generator) -> None:
    """Lettering somewhere, mostly small as in streets, at times as large as a title."""
    size_px = int(np.exp(rng.uniform(np.log(7), np.log(24 if rng.random() < 0.65 else 80))))
    at = rng.uniform(0.1, 0.9, 2) * SIDE_PX
    x, y = int(at[0]), int(at[1])
    behind = example.image[max(y - 20, 0) : y + 20, max(x - 20, 0) : x + 20].reshape(-1, 3)
    sticker = lettering(fonts, rng, size_px * _SUPERSAMPLED, behind.mean(axis=0))
    board = rng.random()
    if board < 0.4:  # on a board of its own, as signs are
        colour = rng.uniform(0, 255, 3)
        if np.abs(colour.mean() - sticker.colour.reshape(-1, 3).mean()) > 50:
            solid = sticker.opacity[..., None]
            sticker.colour = (sticker.colour * solid + colour * (1 - solid)).astype(np.uint8)
            sticker.opacity = np.ones_like(sticker.opacity)
            sticker.faint = False
    height, width = sticker.opacity.shape
    extent = max(width, height) / _SUPERSAMPLED / SIDE_PX
    _paste(example, sticker, _placement(sticker, rng, (extent, extent), tilt=8, centre=at))


def _sticker_size(rng: np.random.Generator) -> tuple[int, int]:
    longer = int(rng.integers(150, 420))
    shorter = int(longer * rng.choice([1.0, rng.uniform(0.25, 1)]))
    return (longer, shorter) if rng.random() < 0.75 else (shorter, longer)


def _placement(
    sticker: Sticker,
    rng: np.random.Generator,
    extent: tuple[float, float],
    *,
    tilt: float = 20,
    centre: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """A homography: turned by up to `tilt` degrees (normal), in perspective, `extent` wide."""
    height, width = sticker.opacity.shape
    longer_px = rng.uniform(*extent) * SIDE_PX
    scale = longer_px / max(width, height)
    corners = (
        np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
        * (width, height)
        * scale
        / 2
    )
    corners += rng.normal(0, 0.04, (4, 2)) * longer_px * (0.4 if tilt < 10 else 1)
    angle = np.radians(rng.normal(0, tilt / 2)) + (np.pi / 2 * rng.choice([0, 0, 0, 0, 0, 1, 3]))
    if tilt < 10:
        angle = np.radians(rng.normal(0, tilt))
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    if centre is None:
        centre = rng.uniform(0.2, 0.8, 2) * SIDE_PX
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(source, (corners @ turn + centre).astype(np.float32))
    return np.asarray(matrix, dtype=np.float64)


def _paste(example: Example, sticker: Sticker, place: NDArray[np.float64]) -> None:
    """Blend the sticker in, take away what it covers, and mark its words."""
    size = (SIDE_PX, SIDE_PX)
    # Shrunk in one step, fine strokes would alias: smooth in proportion first.
    shrink = 1 / max(np.sqrt(abs(np.linalg.det(place[:2, :2]))), 1e-3)
    colour, opacity = sticker.colour, sticker.opacity
    if shrink > 1.2:
        sigma = 0.4 * shrink
        colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), sigma), dtype=np.uint8)
        opacity = np.asarray(cv2.GaussianBlur(opacity, (0, 0), sigma), dtype=np.float32)
    warped = cv2.warpPerspective(
        colour, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    alpha = cv2.warpPerspective(opacity, place, size, flags=cv2.INTER_LINEAR)[..., None]
    example.image = (example.image * (1 - alpha) + warped * alpha).astype(np.uint8)
    covered = alpha[::MAP_STRIDE, ::MAP_STRIDE, 0] > 0.6
    example.target[covered] = 0
    words = [cv2.perspectiveTransform(word[None], place)[0] for word in sticker.words]
    if sticker.faint:
        _mark(example.target, words, IGNORED)
    else:
        _mark_words(example.target, words)


def _mark_words(target: NDArray[np.uint8], words: Polygons) -> None:
    small = [word for word in words if _height_px(word) < _MIN_HEIGHT_PX]
    _mark(target, small, IGNORED)
    _mark(target, [word for word in words if _height_px(word) >= _MIN_HEIGHT_PX], TEXT)


def _mark(target: NDArray[np.uint8], boxes: Polygons, value: int) -> None:
    """Fill boxes, given in the window's pixels, on its map; subpixel, by fixed-point corners."""
    for box in boxes:
        points = np.round((box / MAP_STRIDE - 0.5) * 16).astype(np.int32)
        cv2.fillConvexPoly(target, points, value, lineType=cv2.LINE_8, shift=4)


def _height_px(word: NDArray[np.float32]) -> float:
    return float(min(cv2.minAreaRect(word.astype(np.float32))[1]))


def _lines(image: Pixels, rng: np.random.Generator) -> None:
    """A fence, a grille or wires: straight strokes at even distances."""
    angle, step = rng.uniform(0, np.pi), rng.uniform(5, 40)
    direction = np.array([np.cos(angle), np.sin(angle)])
    normal = np.array([-direction[1], direction[0]])
    ink, width = rng.uniform(0, 255, 3).tolist(), int(rng.integers(1, 4))
    centre = rng.uniform(0, SIDE_PX, 2)
    for index in range(int(rng.integers(3, 16))):
        middle = centre + normal * step * index
        ends = [middle - direction * 400, middle + direction * 400]
        (x0, y0), (x1, y1) = (tuple(int(v) for v in end) for end in ends)
        cv2.line(image, (x0, y0), (x1, y1), ink, width, cv2.LINE_AA)


def _finished(example: Example, rng: np.random.Generator) -> Example:
    """What cameras and web sites do: light, colour, blur, noise and JPEG."""
    image = example.image.astype(np.float32)
    image = (image - 127) * rng.uniform(0.7, 1.25) + 127 + rng.uniform(-30, 30)
    image *= rng.uniform(0.92, 1.08, 3).astype(np.float32)
    if rng.random() < 0.1:
        image[:] = image.mean(axis=2, keepdims=True)
    if rng.random() < 0.35:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3)), dtype=np.float32)
    if rng.random() < 0.4:
        image += rng.normal(0, rng.uniform(1, 9), image.shape[:2])[..., None].astype(np.float32)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
        _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], quality)
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1]
    return Example(pixels, example.target)
