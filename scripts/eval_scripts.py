"""Which scripts are found and read: words drawn on photos without text, by two rules.

    python scripts/eval_scripts.py --data $LESSTEXT_DATA --markdown scripts.md \\
        --font cjk=NotoSansCJK.otf --font arabic=NotoSansArabic.ttf \\
        --font devanagari=NotoSansDevanagari.ttf

Latin, Greek and Cyrillic are drawn in DejaVu Sans. Each word stands once on each of a number of
photos, at three heights, dark on light or light on dark.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer
from detector_eval.frontier import TEXT_FREE, THRESHOLD
from detector_eval.photos import photos_of
from PIL import Image, ImageDraw, ImageFont

from lesstext.geometry import area_ratios
from lesstext.images import Pixels, decode
from lesstext.storage.files import write_text
from lesstext.text_detection.protocol import (
    Detector,
    DetectorSettings,
    TextRegions,
    load_detector,
)

DEJAVU = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
WORDS = {
    "latin": ("Breakfast", "Garten", "open", "école", "Straße", "mañana"),
    "greek": ("Καφενείο", "θάλασσα", "Ελλάδα"),
    "cyrillic": ("Аптека", "хлеб", "Продукты", "выход"),
    "arabic": ("مطعم", "مكتبة", "السلام"),
    "devanagari": ("भोजनालय", "नमस्ते", "पुस्तक"),
    "chinese": ("中国银行", "咖啡店", "出口"),
    "japanese": ("ラーメン", "東京駅", "おにぎり"),
    "korean": ("커피숍", "한국어", "서울역"),
}
FONT_OF = {"chinese": "cjk", "japanese": "cjk", "korean": "cjk"}
_HEIGHTS_PX = (18, 28, 44)


def drawn(photo: Pixels, word: str, font: Path, height_px: int, place: int) -> Pixels:
    """The photo, 384 px on its longer side, with a word at one of nine places."""
    image = Image.fromarray(photo)
    scale = 384 / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    draw = ImageDraw.Draw(image)
    face = ImageFont.truetype(str(font), height_px)
    left, top, right, bottom = draw.textbbox((0, 0), word, font=face)
    x = (image.width - (right - left)) * (place % 3 + 0.5) / 3
    y = (image.height - (bottom - top)) * (place // 3 + 0.5) / 3
    dark, light = (20, 20, 40), (250, 250, 240)
    fill, edge = (dark, light) if place % 2 else (light, dark)
    draw.text((x - left, y - top), word, fill, face, stroke_width=2, stroke_fill=edge)
    return np.asarray(image, dtype=np.uint8)


def cases(photos: list[Pixels], words: tuple[str, ...], font: Path) -> Iterator[tuple[str, Pixels]]:
    """Each word on every photo, at each height."""
    for number, photo in enumerate(photos):
        for place, word in enumerate(words):
            for height_px in _HEIGHTS_PX:
                yield word, drawn(photo, word, font, height_px, (number + place) % 9)


def ratio_under(found: TextRegions, image: Pixels, *, ascii_only: bool) -> float:
    """The share of text; with `ascii_only`, of regions in which two ASCII letters were read."""
    kept = [
        polygon
        for polygon in found.polygons
        if not ascii_only
        or any(
            word.region is polygon and sum(c.isascii() and c.isalpha() for c in word.text) > 1
            for word in found.words or ()
        )
    ]
    return area_ratios(kept, image.shape[1], image.shape[0]).union


def measure(detector: Detector, all_cases: Iterator[tuple[str, Pixels]]) -> list[float]:
    """Shares found by any letters, found by ASCII letters, and read with at most a fifth wrong."""
    rows = []
    for word, image in all_cases:
        (found,) = detector.detect([image])
        likeness = [
            difflib.SequenceMatcher(None, word.lower(), read.text.lower()).ratio()
            for read in found.words or ()
        ]
        rows.append(
            (
                ratio_under(found, image, ascii_only=False) > THRESHOLD,
                ratio_under(found, image, ascii_only=True) > THRESHOLD,
                max(likeness, default=0.0) >= 0.8,
            )
        )
    return [float(share) for share in np.mean(rows, axis=0)]


def main(
    data: Annotated[Path, typer.Option(help="Folder with flickr8k_shards/.")],
    markdown: Annotated[Path, typer.Option(help="The table.")],
    font: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE for arabic, devanagari, cjk.")
    ] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Detectors (checked, craft).")] = None,
    size: Annotated[int, typer.Option(help="Longer side in px.")] = 384,
    photos: Annotated[int, typer.Option(help="Photos to draw on.")] = 12,
) -> None:
    """Draw words of many scripts on photos without text, and tell which are found and read."""
    fonts = {name: Path(file) for name, _, file in (pair.partition("=") for pair in font or [])}
    text_free = set(TEXT_FREE.read_text(encoding="utf-8").split())
    free = (bytes_ for key, bytes_ in photos_of(data, "flickr8k_shards") if key in text_free)
    backgrounds = [decode(encoded).pixels for encoded in islice(free, photos)]
    lines = [
        "| script | detector | found | found by ASCII letters alone | read |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in detector or ["checked", "craft"]:
        loaded = load_detector(DetectorSettings(name=name, size_px=size))
        for script, words in WORDS.items():
            file = fonts.get(FONT_OF.get(script, script), DEJAVU)
            if file is DEJAVU and script not in ("latin", "greek", "cyrillic"):
                print(f"{script}: left out, for no --font draws it", file=sys.stderr)
                continue
            found, by_ascii, read = measure(loaded, cases(backgrounds, words, file))
            others = f"{by_ascii:.0%} | {read:.0%}" if name != "craft" else "– | –"
            lines.append(f"| {script} | {name} {size} | {found:.0%} | {others} |")
            print(lines[-1], file=sys.stderr, flush=True)
    write_text(markdown, "\n".join(lines) + "\n", unguarded=True)


if __name__ == "__main__":
    typer.run(main)
