"""Boards with words on them, for detectors and readers that need real letters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lesstext.images import Pixels

_FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"

Line = tuple[str, int, int, int]  # text, left, top, font size in pixels


def board(lines: Sequence[Line], width: int = 384, height: int = 256) -> Pixels:
    """Dark lines of text on a light board."""
    image = Image.new("RGB", (width, height), (225, 228, 222))
    draw = ImageDraw.Draw(image)
    for text, left, top, size in lines:
        draw.text((left, top), text, (30, 30, 90), ImageFont.truetype(str(_FONT), size))
    return np.asarray(image, dtype=np.uint8).copy()
