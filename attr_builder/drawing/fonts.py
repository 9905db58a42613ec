"""The font that is drawn with: found, identified by its hash, and asked whether it can."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attr_builder.errors import RowError, UsageError

SHIPPED_FONT = "LiberationSans-Regular.ttf"
_NOT_A_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class FontFile:
    """A font file, its family and style, and its SHA-256; `note` says what it stands in for."""

    path: str
    name: str
    sha256: str
    note: str


@cache
def resolve_font(path: str | None) -> FontFile:
    """The user's font, or the shipped Liberation Sans; raises UsageError when it is no font."""
    if path is None:
        with as_file(files("attr_builder") / "data" / SHIPPED_FONT) as shipped:
            location = shipped
        note = "metrically equal to Arial; the paper drew with Arial Unicode"
    else:
        location, note = Path(path).expanduser(), ""
    try:
        data = location.read_bytes()
        family, style = ImageFont.truetype(str(location), 10).getname()
    except OSError as error:
        raise UsageError(f"font {location}: cannot be read: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    return FontFile(str(location), f"{family} {style}", digest, note)


@lru_cache(maxsize=512)
def load_font(path: str, size_px: int) -> ImageFont.FreeTypeFont:
    """The font at one size. Basic layout: the same glyph positions on every installation."""
    return ImageFont.truetype(path, size_px, layout_engine=ImageFont.Layout.BASIC)


def require_glyphs(font: FontFile, text: str) -> None:
    """Raise RowError `missing_glyphs` where the font would draw an empty box."""
    missing = sorted({c for c in text if not c.isspace() and not _has_glyph(font.path, c)})
    if missing:
        signs = " ".join(f"{c} (U+{ord(c):04X})" for c in missing)
        raise RowError("missing_glyphs", f"the font {font.name} lacks {signs} of {text!r}")


SPACING_RATIO = 0.08
Box = tuple[int, int, int, int]
_ruler = ImageDraw.Draw(Image.new("L", (1, 1)))


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Rendered text: `box` is PIL's text box for an origin at (0, 0), rounded outwards to whole
    pixels, and `mask` (mode L, of the box's size) the coverage inside it."""

    box: Box
    mask: Image.Image

    def box_at(self, origin: tuple[int, int]) -> Box:
        """The box for another origin."""
        x, y = origin
        return self.box[0] + x, self.box[1] + y, self.box[2] + x, self.box[3] + y


@lru_cache(maxsize=256)
def render_glyphs(path: str, font_px: int, text: str) -> Glyphs:
    """Render text once, for layout, measuring and painting."""
    font, spacing = load_font(path, font_px), round(SPACING_RATIO * font_px)
    x0, y0, x1, y1 = _ruler.multiline_textbbox((0, 0), text, font=font, spacing=spacing)
    box = (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))
    mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
    origin = (-box[0], -box[1])
    ImageDraw.Draw(mask).multiline_text(origin, text, 255, font, spacing=spacing)
    return Glyphs(box, mask)


def outline(glyphs: Glyphs, width_px: int) -> Glyphs:
    """The glyphs widened by a round stroke of `width_px` on all sides."""
    size = 2 * width_px + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    padded = np.pad(np.asarray(glyphs.mask), width_px)
    x0, y0, x1, y1 = glyphs.box
    box = (x0 - width_px, y0 - width_px, x1 + width_px, y1 + width_px)
    return Glyphs(box, Image.fromarray(cv2.dilate(padded, kernel)))


@lru_cache(maxsize=4096)
def _has_glyph(path: str, character: str) -> bool:
    return _glyph(path, character) != _glyph(path, _NOT_A_CHARACTER)


@lru_cache(maxsize=4096)
def _glyph(path: str, character: str) -> tuple[tuple[int, int], bytes]:
    mask = load_font(path, 40).getmask(character, mode="L")
    return mask.size, bytes(mask)
