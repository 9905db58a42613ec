"""Fonts that a user gives, what they can write, and words for them to write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from open_clip import IMAGENET_CLASSNAMES
from PIL import ImageFont

from attr_builder.labelled_images.classes import DATA
from lesstext.errors import UsageError

SUFFIXES = (".ttf", ".otf", ".woff")
_HELD_BACK = 8  # one font in so many trains nothing and validates
# The Unicode ranges whose letters make a font count as one of a script.
_SCRIPTS = {
    "latin": ((0x41, 0x5A), (0x61, 0x7A)),
    "cyrillic": ((0x410, 0x44F),),
    "greek": ((0x3B1, 0x3C9),),
    "hebrew": ((0x5D0, 0x5EA),),
    "arabic": ((0x627, 0x64A),),
    "devanagari": ((0x905, 0x939),),
    "thai": ((0xE01, 0xE2E),),
    "kana": ((0x3042, 0x3093), (0x30A2, 0x30F3)),
    "hangul": ((0xAC00, 0xB000),),
    "han": ((0x4E00, 0x5F00),),
}
_NO_SPACES = {"kana", "hangul", "han", "thai"}
_ENOUGH = 0.7
_SHORT = ("the", "of", "and", "sale", "open", "stop", "exit", "no", "hot", "new", "bar", "café")


@dataclass(frozen=True, slots=True)
class Font:
    """A font file and the letters that it writes, by script."""

    path: str
    letters: dict[str, tuple[str, ...]]

    @property
    def validates(self) -> bool:
        digest = hashlib.sha256(Path(self.path).name.encode()).digest()
        return digest[0] % _HELD_BACK == 0

    def word(self, rng: np.random.Generator) -> str:
        """A word of a script that the font writes."""
        script = str(rng.choice(sorted(self.letters)))
        if script != "latin":
            letters = self.letters[script]
            length = int(rng.integers(1, 6 if script in _NO_SPACES else 10))
            return "".join(letters[i] for i in rng.integers(0, len(letters), length))
        return _latin_word(rng)


def find_fonts(folder: Path | None) -> list[Font]:
    """The usable fonts below a folder, by name; without one, the font that the project ships.

    Raises UsageError when the folder has none.
    """
    if folder is None:
        return [_font(Path(str(DATA)) / "LiberationSans-Regular.ttf")]
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    fonts = [font for font in map(_font, files) if font.letters]
    if not fonts:
        raise UsageError(f"{folder}: no usable font ({', '.join(SUFFIXES)}) there")
    return fonts


def split(fonts: Sequence[Font], *, validation: bool) -> list[Font]:
    """The fonts for training or those for validation; all of them where that leaves none."""
    return [font for font in fonts if font.validates == validation] or list(fonts)


@lru_cache(maxsize=256)
def sized(path: str, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size_px)


def _font(file: Path) -> Font:
    with TTFont(str(file), lazy=True) as font:
        known = font.getBestCmap() or {}
    letters = {}
    for script, ranges in _SCRIPTS.items():
        wanted = [code for first, last in ranges for code in range(first, last + 1)]
        found = tuple(chr(code) for code in wanted if code in known)
        if len(found) >= _ENOUGH * len(wanted) or (script in ("han", "hangul") and found[500:]):
            letters[script] = found
    return Font(str(file), letters)


def _latin_word(rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.12:
        return "".join(str(d) for d in rng.integers(0, 10, int(rng.integers(1, 6))))
    if kind < 0.2:
        letters = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
        return "".join(letters[i] for i in rng.integers(0, len(letters), int(rng.integers(2, 8))))
    words = [*_SHORT, *str(rng.choice(IMAGENET_CLASSNAMES)).split()]
    word = (
        words[-1 - int(rng.integers(0, len(words) - len(_SHORT)))]
        if kind < 0.8
        else str(rng.choice(_SHORT))
    )
    case = rng.random()
    return word.upper() if case < 0.35 else word.capitalize() if case < 0.6 else word
