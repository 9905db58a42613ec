"""Flat things with or without writing: notes, labels, signs, screens, and bare lettering.

A sticker lives in its own upright frame, in pixels; `scenes` puts it into a photo by a homography.
Everything is a function of the generator passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from distillation.fonts import Font, sized
from lesstext.images import Pixels

Quad = NDArray[np.float32]
Colour = tuple[int, int, int]

_NOTE_COLOURS = (
    (250, 240, 110), (255, 235, 130), (245, 150, 190), (150, 220, 120), (140, 200, 240),
    (255, 180, 90), (250, 250, 245), (235, 225, 205), (225, 225, 225), (200, 170, 130),
)  # fmt: skip
_INKS = ((15, 15, 20), (25, 30, 90), (150, 20, 25), (20, 70, 40), (60, 60, 60), (90, 40, 110))
_BLANKS = ("note", "note", "note", "ruled", "sign", "label", "screen", "picture", "keys", "plate")
_WORD_MARGIN = 0.06  # of the font's height, around the ink of a word


@dataclass(slots=True)
class Sticker:
    """Colour (h, w, 3), opacity (h, w) in [0, 1], and the quads (4, 2) of the words on it."""

    colour: Pixels
    opacity: NDArray[np.float32]
    words: list[Quad] = field(default_factory=list)
    faint: bool = False


def blank(rng: np.random.Generator, size: tuple[int, int], picture: Pixels | None) -> Sticker:
    """Something flat of `size` (width, height) that people write on, with nothing on it."""
    width, height = size
    kind = str(rng.choice(_BLANKS))
    base = _NOTE_COLOURS[int(rng.integers(len(_NOTE_COLOURS)))]
    if kind in ("sign", "label", "screen", "plate"):
        base = _any_colour(rng)
    colour = np.full((height, width, 3), base, dtype=np.float32)
    if kind == "picture" and picture is not None:
        colour[:] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    if kind == "ruled":
        _rule(colour, rng)
    if kind == "keys":
        _keys(colour, rng)
    if kind in ("sign", "label", "plate") or rng.random() < 0.15:
        _frame(colour, rng)
    _shade(colour, rng)
    opacity = np.ones((height, width), dtype=np.float32)
    if kind in ("sign", "label") and rng.random() < 0.4:
        opacity[:] = 0
        cv2.ellipse(opacity, (width // 2, height // 2), (width // 2, height // 2), 0, 0, 360, 1, -1)
    return Sticker(np.clip(colour, 0, 255).astype(np.uint8), opacity)


def write_on(sticker: Sticker, fonts: Sequence[Font], rng: np.random.Generator) -> None:
    """Write one to four lines across most of the sticker, in a colour that shows."""
    height, width = sticker.opacity.shape
    font = fonts[int(rng.integers(len(fonts)))]
    n_lines = int(rng.choice([1, 1, 1, 2, 2, 3, 4]))
    lines = [_line(font, rng, most=1 if n_lines == 1 else 3) for _ in range(n_lines)]
    ink = _visible_ink(sticker.colour.reshape(-1, 3).mean(axis=0), rng)
    size_px = int(min(width, height) * rng.uniform(0.3, 0.9))
    while True:
        mask, quads = _lettering(font, lines, size_px, rng)
        free_x, free_y = width - mask.shape[1], height - mask.shape[0]
        if (free_x >= 0 and free_y >= 0) or size_px < 8:
            break
        size_px = int(0.8 * size_px)
    left, top = (int(max(free, 0) * rng.uniform(0.1, 0.9)) for free in (free_x, free_y))
    area = np.s_[top : top + mask.shape[0], left : left + mask.shape[1]]
    under = sticker.colour[area]
    strength = (mask[: under.shape[0], : under.shape[1]] * rng.uniform(0.75, 1.0))[..., None]
    sticker.colour[area] = (under * (1 - strength) + np.array(ink) * strength).astype(np.uint8)
    sticker.words += [quad + np.array((left, top), dtype=np.float32) for quad in quads]


def lettering(
    fonts: Sequence[Font], rng: np.random.Generator, size_px: int, behind: NDArray[np.float64]
) -> Sticker:
    """Bare letters of `size_px`, in a colour that shows before `behind`, with or without outline.

    One in ten is hardly visible and marked `faint`.
    """
    font = fonts[int(rng.integers(len(fonts)))]
    n_lines = int(rng.choice([1, 1, 1, 2, 3]))
    lines = [_line(font, rng, most=4) for _ in range(n_lines)]
    mask, quads = _lettering(font, lines, size_px, rng)
    ink = _visible_ink(behind, rng, vivid=True)
    colour = np.full((*mask.shape, 3), ink, dtype=np.uint8)
    opacity = mask
    if rng.random() < 0.35:
        around = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=1 + size_px // 40)
        outline = 255 - np.array(ink)
        colour = np.where(mask[..., None] > 0.5, colour, outline.astype(np.uint8))
        opacity = np.asarray(around, dtype=np.float32)
    faint = rng.random() < 0.1
    return Sticker(
        colour, opacity * (rng.uniform(0.1, 0.3) if faint else rng.uniform(0.7, 1)), quads, faint
    )


def _line(font: Font, rng: np.random.Generator, most: int) -> list[str]:
    return [font.word(rng) for _ in range(int(rng.integers(1, most + 1)))]


def _lettering(
    font: Font, lines: list[list[str]], size_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[Quad]]:
    """Coverage (h, w) in [0, 1] of lines of words, and each word's quad."""
    face = sized(font.path, size_px)
    line_px = int(size_px * rng.uniform(1.15, 1.5))
    gap = max(face.getlength(" "), size_px * 0.25)
    widths = [[face.getlength(word) for word in line] for line in lines]
    totals = [sum(w) + gap * (len(w) - 1) for w in widths]
    pad = size_px // 2 + 2  # swashes reach beyond what a font says of its letters
    image = Image.new("L", (int(max(totals)) + 2 * pad, line_px * len(lines) + 2 * pad))
    pen, quads = ImageDraw.Draw(image), []
    stroke = int(rng.choice([0, 0, 1, 2])) * (size_px // 24)
    for row, (line, line_widths) in enumerate(zip(lines, widths, strict=True)):
        x = pad + (max(totals) - totals[row]) * rng.choice([0.0, 0.5])
        y = pad + row * line_px
        for word, width in zip(line, line_widths, strict=True):
            pen.text((x, y), word, fill=255, font=face, stroke_width=stroke)
            box = pen.textbbox((x, y), word, font=face, stroke_width=stroke)
            quads.append(_grown(box, _WORD_MARGIN * size_px))
            x += width + gap
    left, top, right, bottom = image.getbbox() or (0, 0, *image.size)
    shift = np.array((left, top), dtype=np.float32)
    mask = np.asarray(image, dtype=np.float32)[top:bottom, left:right] / np.float32(255)
    return mask, [quad - shift for quad in quads]


def _grown(box: tuple[float, ...], margin: float) -> Quad:
    left, top, right, bottom = box
    left, top, right, bottom = left - margin, top - margin, right + margin, bottom + margin
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float32)


def _visible_ink(
    behind: NDArray[np.float64], rng: np.random.Generator, *, vivid: bool = False
) -> Colour:
    """A colour at least 90 from the mean of what is behind it, in some channel's mean."""
    for _ in range(20):
        ink = _INKS[int(rng.integers(len(_INKS)))]
        if vivid or behind.mean() < 100:
            ink = _any_colour(rng)
        if rng.random() < 0.3:
            ink = (245, 245, 245) if behind.mean() < 128 else (15, 15, 15)
        if abs(float(np.mean(ink)) - float(behind.mean())) > 60:
            return ink
    return (250, 250, 250) if behind.mean() < 128 else (10, 10, 10)


def _any_colour(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _rule(colour: NDArray[np.float32], rng: np.random.Generator) -> None:
    step = max(4, int(colour.shape[0] * rng.uniform(0.06, 0.16)))
    ink = rng.uniform(90, 210, 3)
    colour[step::step] = ink
    if rng.random() < 0.5:
        colour[:, step::step] = ink


def _keys(colour: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A grid of plain caps, windows or tiles."""
    height, width = colour.shape[:2]
    rows, columns = int(rng.integers(2, 7)), int(rng.integers(3, 13))
    tile, gap = rng.uniform(0, 255, 3), rng.uniform(0.1, 0.4)
    for row in range(rows):
        for column in range(columns):
            top, left = row * height / rows, column * width / columns
            cv2.rectangle(
                colour,
                (int(left + gap * width / columns / 2), int(top + gap * height / rows / 2)),
                (
                    int(left + width / columns * (1 - gap / 2)),
                    int(top + height / rows * (1 - gap / 2)),
                ),
                (tile + rng.uniform(-25, 25)).tolist(),
                -1 if rng.random() < 0.9 else 1,
            )


def _frame(colour: NDArray[np.float32], rng: np.random.Generator) -> None:
    height, width = colour.shape[:2]
    inset = int(min(height, width) * rng.uniform(0, 0.12))
    thickness = 1 + int(min(height, width) * rng.uniform(0, 0.05))
    ink = rng.uniform(0, 255, 3).tolist()
    cv2.rectangle(colour, (inset, inset), (width - 1 - inset, height - 1 - inset), ink, thickness)


def _shade(colour: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Light from one side, a fold or a stripe of tape, and the grain of paper."""
    height, width = colour.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * x / width + np.sin(angle) * y / height) * rng.uniform(0, 0.35)
    colour *= (1 - ramp + ramp.mean())[..., None].astype(np.float32)
    if rng.random() < 0.3:
        at = int(height * rng.uniform(0.05, 0.95))
        colour[at : at + 1 + height // 40] *= rng.uniform(0.7, 1.2)
    if rng.random() < 0.3:
        band = int(height * rng.uniform(0.05, 0.2))
        colour[:band] = 0.6 * colour[:band] + 0.4 * rng.uniform(60, 255)
    colour += rng.normal(0, rng.uniform(0, 5), (height, width, 1)).astype(np.float32)
