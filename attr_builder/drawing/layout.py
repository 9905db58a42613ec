"""Where text goes and how large: wrapping, shrinking and placement, before anything is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attr_builder.drawing.fonts import FontFile, load_font, render_glyphs
from attr_builder.drawing.presets import RenderOptions, parse_placement, parse_size
from attr_builder.drawing.seeding import Draw
from attr_builder.drawing.visibility import Box, crop_window
from attr_builder.errors import RowError

PAD_RATIO = 0.14
MARGIN_RATIO = 0.02
MIN_FONT_PX = 6
_SHRINK = 0.94


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Wrapped text at one size. `ink` is its box for an origin at (0, 0); `pad_px` is kept free
    around it for a stroke or a box."""

    text: str
    font_px: int
    ink: Box
    pad_px: int

    @property
    def width(self) -> int:
        """Width with padding, in pixels."""
        return self.ink[2] - self.ink[0] + 2 * self.pad_px

    @property
    def height(self) -> int:
        """Height with padding, in pixels."""
        return self.ink[3] - self.ink[1] + 2 * self.pad_px


def place_text(
    text: str, font: FontFile, options: RenderOptions, width: int, height: int, draw: Draw
) -> tuple[TextBlock, tuple[int, int]]:
    """Lay out `text` for an image of `width` x `height` pixels; returns it with its origin.

    Raises RowError `text_does_not_fit` where even the smallest size is too large.
    """
    shorter = min(width, height)
    number, is_ratio = parse_size(options.size)
    font_px = max(1, round(number * shorter if is_ratio else number))
    fixed = parse_placement(options.placement)
    area = _area(options.placement, width, height)
    if fixed is not None:
        area = (fixed[0], fixed[1], width, height)
    if not options.fit:
        pad_px = 0 if options.stroke == options.box == "never" else _pad(font_px)
        block = TextBlock(text, font_px, render_glyphs(font.path, font_px, text).box, pad_px)
    else:
        smallest = max(MIN_FONT_PX, math.ceil(options.min_size_ratio * shorter))
        block = _fit(text, font, font_px, smallest, area)
    if fixed is not None:
        return block, fixed
    u, v = draw.uniform(), draw.uniform()
    x = area[0] + math.floor(u * max(0, area[2] - area[0] - block.width + 1))
    y = area[1] + math.floor(v * max(0, area[3] - area[1] - block.height + 1))
    return block, (x + block.pad_px - block.ink[0], y + block.pad_px - block.ink[1])


def _area(placement: str, width: int, height: int) -> Box:
    """Where varying placements may put text: whole pixels, a margin inside the frame."""
    window = (
        crop_window(width, height)
        if placement == "crop"
        else (0.0, 0.0, float(width), float(height))
    )
    margin = MARGIN_RATIO * min(width, height)
    return (
        math.ceil(window[0] + margin),
        math.ceil(window[1] + margin),
        math.floor(window[2] - margin),
        math.floor(window[3] - margin),
    )


def _pad(font_px: int) -> int:
    return max(2, math.ceil(PAD_RATIO * font_px))


def _fit(text: str, font: FontFile, font_px: int, smallest_px: int, area: Box) -> TextBlock:
    """The largest size, from `font_px` down to `smallest_px`, at which wrapped text fits."""
    area_w, area_h = area[2] - area[0], area[3] - area[1]
    size = max(font_px, smallest_px)
    while True:
        pad_px = _pad(size)
        wrapped = _wrap(text, font, size, area_w - 2 * pad_px)
        if wrapped is not None:
            box = render_glyphs(font.path, size, wrapped).box
            block = TextBlock(wrapped, size, box, pad_px)
            if block.width <= area_w and block.height <= area_h:
                return block
        if size == smallest_px:
            raise RowError(
                "text_does_not_fit",
                f"{text!r} at {smallest_px} px, the smallest size, does not fit into "
                f"{area_w} x {area_h} px",
            )
        size = max(smallest_px, min(size - 1, round(size * _SHRINK)))


def _wrap(text: str, font: FontFile, font_px: int, limit_px: int) -> str | None:
    """Break at spaces so that no line is wider than `limit_px`; None if a word alone is."""
    face = load_font(font.path, font_px)
    if face.getlength(text) <= limit_px:
        return " ".join(text.split())
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= limit_px:
            lines[-1] = longer
        elif face.getlength(word) <= limit_px:
            lines.append(word)
        else:
            return None
    return "\n".join(lines)
