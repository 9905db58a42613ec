"""Text drawn on photos as web images carry it, together with where it lies.

Everything is a function of the generator passed in; positions and sizes are in pixels.
"""

from __future__ import annotations

import math
import random
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import matplotlib
from PIL import Image, ImageDraw

from attr_builder.drawing.fonts import outline, render_glyphs
from attr_builder.labelled_images.classes import DATA

Hard = Literal["none", "small", "faint", "rotated"]
Colour = tuple[int, int, int]

STYLES = ("title", "label", "logo", "watermark", "plain")
# Heights of letters as shares of the image's height: what is usual, and the hard tenth.
USUAL_HEIGHT, SMALL_HEIGHT = (0.16, 0.34), (0.03, 0.06)
USUAL_ALPHA, WATERMARK_ALPHA, FAINT_ALPHA = (1.0, 1.0), (0.65, 0.9), (0.18, 0.3)
ROTATED_DEGREES = (20.0, 70.0)
_MARGIN = 0.03
_MAX_WIDTH = 0.92
_MIN_FONT_PX = 4
_LINE_CHARACTERS = 11
_COLOUR_DISTANCE = 300  # in RGB; 442 is black on white
_DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FONT_FILES = (
    Path(str(DATA)) / "LiberationSans-Regular.ttf",
    _DEJAVU / "DejaVuSans-Bold.ttf",
    _DEJAVU / "DejaVuSerif.ttf",
    _DEJAVU / "DejaVuSans.ttf",
    _DEJAVU / "DejaVuSerif-Bold.ttf",
    _DEJAVU / "DejaVuSansMono-Bold.ttf",
)
_PALETTE: tuple[Colour, ...] = (
    (255, 255, 255),
    (0, 0, 0),
    (220, 30, 30),
    (255, 215, 0),
    (20, 60, 160),
    (20, 110, 50),
    (245, 240, 225),
    (60, 60, 60),
)


@dataclass(frozen=True, slots=True)
class DrawnText:
    """What was drawn: `polygon` is the text's box (4 corners), `height_ratio` the letters' height
    over the image's, `area_ratio` the box's share of the image."""

    text: str
    style: str
    hard: Hard
    font: str
    height_ratio: float
    area_ratio: float
    polygon: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    style: str
    hard: Hard
    alpha: float
    degrees: float
    height: float


def draw_text(
    image: Image.Image, text: str, rng: random.Random, *, hard: Hard, n_fonts: int
) -> tuple[Image.Image, DrawnText]:
    """Draw `text` on an RGB image in a random style; `n_fonts` of FONT_FILES are used.

    Text too large for the image is made smaller, so that all of it is on the image.
    """
    look = _choose_look(rng, hard)
    if look.style == "logo":
        text = text.upper()
    text = "\n".join(textwrap.wrap(text, _LINE_CHARACTERS))
    path = FONT_FILES[rng.randrange(n_fonts)]
    ink, paper = _choose_colours(rng)
    font_px = _fitting_size(path, text, look.height * image.height, image.width)
    layer, size = _layer(path, font_px, text, look, ink, paper)
    while layer.width > image.width or layer.height > image.height:
        font_px -= 1
        layer, size = _layer(path, font_px, text, look, ink, paper)
    left, top = _place(rng, look.style, image.size, layer.size)
    painted = image.convert("RGBA")
    painted.alpha_composite(layer, (left, top))
    centre = (left + layer.width / 2, top + layer.height / 2)
    corners = _rotated_box(centre, size, look.degrees)
    return painted.convert("RGB"), DrawnText(
        text=text.replace("\n", " "),
        style=look.style,
        hard=hard,
        font=path.stem,
        height_ratio=_line_height(path, font_px, text) / image.height,
        area_ratio=size[0] * size[1] / (image.width * image.height),
        polygon=tuple(round(value, 1) for corner in corners for value in corner),
    )


def _choose_look(rng: random.Random, hard: Hard) -> _Look:
    style = rng.choice(STYLES)
    alpha = rng.uniform(*(WATERMARK_ALPHA if style == "watermark" else USUAL_ALPHA))
    look = _Look(style, hard, alpha, 0.0, rng.uniform(*USUAL_HEIGHT))
    if hard == "small":
        return replace(look, height=rng.uniform(*SMALL_HEIGHT))
    if hard == "faint":
        return replace(look, style="watermark", alpha=rng.uniform(*FAINT_ALPHA))
    if hard == "rotated":
        return replace(look, degrees=rng.choice((-1, 1)) * rng.uniform(*ROTATED_DEGREES))
    return look


def _choose_colours(rng: random.Random) -> tuple[Colour, Colour]:
    """Ink, and a paper (or stroke) colour that it stands out from."""
    ink = rng.choice(_PALETTE)
    return ink, rng.choice([c for c in _PALETTE if math.dist(c, ink) > _COLOUR_DISTANCE])


def _fitting_size(path: Path, text: str, height_px: float, image_width: int) -> int:
    """The font size at which the letters are `height_px` high, or less where they are too wide."""
    width = render_glyphs(str(path), 100, text).mask.width
    height = _line_height(path, 100, text)
    size = 100 * min(height_px / height, _MAX_WIDTH * image_width / width)
    return max(_MIN_FONT_PX, round(size))


def _line_height(path: Path, font_px: int, text: str) -> float:
    return render_glyphs(str(path), font_px, text).mask.height / len(text.splitlines())


def _layer(
    path: Path, font_px: int, text: str, look: _Look, ink: Colour, paper: Colour
) -> tuple[Image.Image, tuple[int, int]]:
    """A transparent layer with the text (and what lies behind it) in its middle, and the text's
    width and height, stroke included."""
    glyphs = render_glyphs(str(path), font_px, text)
    stroke = max(1, round(0.08 * font_px)) if look.style in ("title", "plain") else 0
    wide = outline(glyphs, stroke) if stroke else glyphs
    pad = max(1, round(0.2 * font_px))
    layer = Image.new("RGBA", (wide.mask.width + 2 * pad, wide.mask.height + 2 * pad))
    draw = ImageDraw.Draw(layer)
    edges = (0, 0, layer.width - 1, layer.height - 1)
    if look.style == "label":
        draw.rectangle(edges, fill=paper, outline=ink)
    elif look.style == "logo":
        draw.rounded_rectangle(edges, radius=min(layer.size) // 3, fill=paper)
    if stroke:
        draw.bitmap((pad, pad), wide.mask, fill=paper)
    draw.bitmap((pad + stroke, pad + stroke), glyphs.mask, fill=ink)
    if look.alpha < 1:
        layer.putalpha(layer.getchannel("A").point(lambda value: round(value * look.alpha)))
    if look.degrees:
        layer = layer.rotate(look.degrees, expand=True, resample=Image.Resampling.BICUBIC)
    return layer, wide.mask.size


def _place(
    rng: random.Random, style: str, image: tuple[int, int], layer: tuple[int, int]
) -> tuple[int, int]:
    """The upper left corner: titles centred at an edge, logos in corners, others anywhere."""
    room_x, room_y = max(0, image[0] - layer[0]), max(0, image[1] - layer[1])
    margin = min(round(_MARGIN * image[1]), room_y // 2)
    if style == "title":
        return room_x // 2, rng.choice((margin, room_y - margin))
    if style == "logo":
        return rng.choice((min(margin, room_x), max(0, room_x - margin))), rng.choice(
            (margin, room_y - margin)
        )
    return rng.randint(0, room_x), rng.randint(0, room_y)


def _rotated_box(
    centre: tuple[float, float], size: tuple[float, float], degrees: float
) -> list[tuple[float, float]]:
    # PIL turns counter-clockwise in an image whose y points down.
    cos, sin = math.cos(math.radians(-degrees)), math.sin(math.radians(-degrees))
    halves = (size[0] / 2, size[1] / 2)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return [
        (
            centre[0] + sx * halves[0] * cos - sy * halves[1] * sin,
            centre[1] + sx * halves[0] * sin + sy * halves[1] * cos,
        )
        for sx, sy in corners
    ]
