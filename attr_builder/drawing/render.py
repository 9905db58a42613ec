"""Draw a word on an image: pixels in, pixels and a placement record out; no files, no choice of
words. All randomness comes from the `Draw` that is passed in."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from attr_builder.drawing.contrast import (
    Color,
    Contrast,
    Luminances,
    contrast_with,
    luminance,
    ratio,
    surround_luminance,
)
from attr_builder.drawing.fonts import FontFile, outline, render_glyphs, require_glyphs
from attr_builder.drawing.layout import TextBlock, place_text
from attr_builder.drawing.presets import RenderOptions, parse_color
from attr_builder.drawing.seeding import Draw
from attr_builder.drawing.visibility import MODEL_PX, Box, visible_in_crop, visible_in_image
from lesstext.images import DEFAULT_MAX_PIXELS, decode, open_image

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
REACH_RATIO = 0.08
STROKE_RATIO = 0.1
Surround = Literal["image", "stroke", "box"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What was drawn and where.

    `box` holds everything drawn (glyphs, stroke, box), in pixels of the stored image, right and
    bottom exclusive; it may reach outside the image. `contrast` is the lower of the WCAG contrast
    between the glyphs and the mean luminance of their surround, and its 5th percentile over the
    surround's pixels; `contrast_mean` is the former alone. NaN where no glyph touches the image.
    """

    text: str
    box: Box
    font_px: int
    fill: Color
    surround: Surround
    surround_color: Color | None
    contrast: float
    contrast_mean: float
    visible_in_image: float
    visible_in_crop: float


@dataclass(frozen=True, slots=True)
class _Style:
    fill: Color
    surround: Surround
    color: Color | None
    contrast: Contrast


def load_image(data: bytes, *, exif: bool, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Decode to RGB; with `exif` False the stored orientation is ignored, as the paper did.

    Raises ImageError.
    """
    if exif:
        return Image.fromarray(decode(data, max_pixels=max_pixels).pixels)
    with open_image(data, max_pixels=max_pixels) as image:
        return image.convert("RGB")


def encode_image(image: Image.Image, options: RenderOptions) -> bytes:
    """PIL's default JPEG (4:2:0) at the options' quality, or PNG; no metadata."""
    buffer = io.BytesIO()
    if options.encoding == "png":
        image.save(buffer, format="PNG")
    else:
        image.save(buffer, format="JPEG", quality=options.quality)
    return buffer.getvalue()


def draw_text(
    image: Image.Image,
    text: str,
    font: FontFile,
    options: RenderOptions,
    draw: Draw,
    *,
    in_place: bool = False,
) -> tuple[Image.Image, Placement]:
    """Draw `text` on a copy of an RGB image, or on the image itself with `in_place`.

    Raises RowError `missing_glyphs` or `text_does_not_fit`.
    """
    require_glyphs(font, text)
    block, origin = place_text(text, font, options, image.width, image.height, draw)
    style = _choose_style(image, block, origin, font, options)
    canvas = image if in_place else image.copy()
    box = _paint(canvas, block, origin, font, style)
    return canvas, Placement(
        text=block.text,
        box=box,
        font_px=block.font_px,
        fill=style.fill,
        surround=style.surround,
        surround_color=style.color,
        contrast=style.contrast.worst,
        contrast_mean=style.contrast.mean,
        visible_in_image=visible_in_image(box, image.width, image.height),
        visible_in_crop=visible_in_crop(box, image.width, image.height),
    )


def _choose_style(
    image: Image.Image,
    block: TextBlock,
    origin: tuple[int, int],
    font: FontFile,
    options: RenderOptions,
) -> _Style:
    """Bare glyphs where their contrast suffices, else a stroke, else a box."""
    surround = _measure_surround(image, block, origin, font)
    fill, contrast = _choose_fill(surround, options)
    suffices = contrast.worst >= options.min_contrast or math.isnan(contrast.worst)
    if options.box == "always":
        return _opaque("box", fill, options.box_color)
    if options.stroke == "always" or (options.stroke == "auto" and not suffices):
        stroked = _opaque("stroke", fill, options.stroke_color)
        if options.box == "never" or _stroke_suffices(stroked, image, block, options):
            return stroked
        return _opaque("box", fill, options.box_color)
    if options.box == "auto" and not suffices:
        return _opaque("box", fill, options.box_color)
    return _Style(fill, "image", None, contrast)


def _measure_surround(
    image: Image.Image, block: TextBlock, origin: tuple[int, int], font: FontFile
) -> Luminances:
    """Luminance of what lies directly around the glyphs, inside the image."""
    reach = max(2, round(REACH_RATIO * block.font_px))
    glyphs = render_glyphs(font.path, block.font_px, block.text)
    x0, y0, x1, y1 = glyphs.box_at(origin)
    left, top = max(0, x0 - reach), max(0, y0 - reach)
    right, bottom = min(image.width, x1 + reach), min(image.height, y1 + reach)
    right, bottom = max(left, right), max(top, bottom)
    coverage = glyphs.mask.crop((left - x0, top - y0, right - x0, bottom - y0))
    pixels = np.asarray(image.crop((left, top, right, bottom)))
    return surround_luminance(pixels, np.asarray(coverage), reach)


def _choose_fill(surround: Luminances, options: RenderOptions) -> tuple[Color, Contrast]:
    chosen = parse_color(options.color)
    if chosen is not None:
        return chosen, contrast_with(chosen, surround)
    white, black = contrast_with(WHITE, surround), contrast_with(BLACK, surround)
    return (WHITE, white) if white.worst >= black.worst else (BLACK, black)


def _opaque(kind: Surround, fill: Color, color: str) -> _Style:
    """A stroke or box of the given colour; `auto` is black or white, whichever contrasts more."""
    chosen = parse_color(color)
    if chosen is None:
        own = luminance(fill)
        chosen = WHITE if ratio(own, 1.0) >= ratio(own, 0.0) else BLACK
    value = ratio(luminance(fill), luminance(chosen))
    return _Style(fill, kind, chosen, Contrast(value, value))


def _stroke_suffices(
    style: _Style, image: Image.Image, block: TextBlock, options: RenderOptions
) -> bool:
    """Whether the stroke contrasts, and is not thinner than a pixel of what a model sees."""
    seen_px = stroke_px(block.font_px) * MODEL_PX / min(image.size)
    return style.contrast.worst >= options.min_contrast and seen_px >= 1


def stroke_px(font_px: int) -> int:
    """Stroke width for a font size, in pixels."""
    return max(1, round(STROKE_RATIO * font_px))


def _paint(
    canvas: Image.Image,
    block: TextBlock,
    origin: tuple[int, int],
    font: FontFile,
    style: _Style,
) -> Box:
    """Draw onto `canvas` as PIL's ImageDraw.text would; returns the box of everything drawn."""
    glyphs = render_glyphs(font.path, block.font_px, block.text)
    ink = box = glyphs.box_at(origin)
    if style.surround == "box" and style.color is not None:
        pad = block.pad_px
        box = (ink[0] - pad, ink[1] - pad, ink[2] + pad, ink[3] + pad)
        canvas.paste(style.color, box)
    elif style.surround == "stroke" and style.color is not None:
        wider = outline(glyphs, stroke_px(block.font_px))
        box = wider.box_at(origin)
        canvas.paste(style.color, box, wider.mask)
    canvas.paste(style.fill, ink, glyphs.mask)
    return box
