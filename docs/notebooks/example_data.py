"""A little data for the notebooks: crops of photos that scikit-image ships, half with a word."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont

PHOTOS = {"astronaut": "an astronaut", "chelsea": "a cat", "coffee": "a cup of coffee"}
N_SAMPLES = 24


def draw_shards(folder: Path) -> Path:
    """One WebDataset shard of 24 samples; every second one carries its word in large letters."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "00000.tar").exists():
        with tarfile.open(folder / "00000.tar", "w") as tar:
            for number in range(N_SAMPLES):
                name, caption = list(PHOTOS.items())[number % len(PHOTOS)]
                picture = _crop(name, number, word=name if number % 2 else "")
                _add(tar, f"{number:04d}.jpg", _jpeg(picture))
                _add(tar, f"{number:04d}.txt", caption.encode())
    return folder


def draw_photos(folder: Path) -> tuple[Path, Path]:
    """A labelled set of three classes, and the file that names the classes."""
    rows = ["wnid,name"]
    for number, (name, caption) in enumerate(PHOTOS.items()):
        (folder / f"n{number:08d}").mkdir(parents=True, exist_ok=True)
        rows.append(f"n{number:08d},{caption.split(' ', 1)[1]}")
        for crop in range(4):
            picture = _crop(name, crop, word="")
            (folder / f"n{number:08d}" / f"{crop}.jpg").write_bytes(_jpeg(picture))
    classes = folder.parent / "classes.csv"
    classes.write_text("\n".join(rows) + "\n")
    return folder, classes


def _crop(name: str, seed: int, word: str) -> Image.Image:
    picture = Image.fromarray(getattr(skimage.data, name)())
    rng = np.random.default_rng(seed)
    left, top = rng.integers(0, 60, 2)
    picture = picture.crop((left, top, left + 240, top + 240))
    if word:
        font = ImageFont.load_default(size=40)
        place = (10, int(rng.integers(20, 180)))
        ImageDraw.Draw(picture).text(
            place, word, fill="white", font=font, stroke_width=3, stroke_fill="black"
        )
    return picture


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
