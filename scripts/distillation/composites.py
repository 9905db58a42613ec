"""Training examples on disk: parquet files of JPEG windows and PNG targets, made once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distillation.fonts import Font, split
from distillation.photos import Photo
from distillation.scenes import Example, examples
from distillation.teacher import Labels
from lesstext.errors import ImageError

_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 96]
_PHOTO_PX = 640
_log = logging.getLogger(__name__)


def compose(
    photos: Sequence[Photo],
    labels: Labels,
    fonts: Sequence[Font],
    folder: Path,
    *,
    n_files: int,
    per_file: int,
    seed: int,
) -> None:
    """Write what is missing of `n_files` files for training and one, `validation`, to validate.

    Photos and fonts that validate are in that one file only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ["validation", *(f"{index:05d}" for index in range(n_files))]
    for index, name in enumerate(names):
        file = folder / f"{name}.parquet"
        if file.exists():
            continue
        validates = name == "validation"
        chosen = [p for p in photos if p.key in labels.by_key and p.validates == validates]
        stream = _examples(
            chosen or photos,
            labels,
            split(fonts, validation=validates),
            np.random.default_rng([seed, index]),
        )
        _write(file, [next(stream) for _ in range(per_file)])
        _log.info("composed %s", file.name)


def read_examples(file: Path) -> list[Example]:
    """The examples of one file, in order."""
    table = pq.read_table(file, columns=["image", "target"])
    rows = zip(table["image"].to_pylist(), table["target"].to_pylist(), strict=True)
    return [
        Example(
            _decoded(image, cv2.IMREAD_COLOR)[..., ::-1], _decoded(target, cv2.IMREAD_GRAYSCALE)
        )
        for image, target in rows
    ]


def _examples(
    photos: Sequence[Photo], labels: Labels, fonts: Sequence[Font], rng: np.random.Generator
) -> Iterator[Example]:
    with_text = [photo for photo in photos if labels.by_key[photo.key].words]
    while True:
        # Photos with text of their own are few and teach most of what streets look like.
        pool = with_text if with_text and rng.random() < 0.4 else photos
        photo, other = pool[int(rng.integers(len(pool)))], photos[int(rng.integers(len(photos)))]
        try:
            pixels, picture = photo.pixels(_PHOTO_PX), other.pixels(_PHOTO_PX)
        except ImageError:
            continue
        yield from examples(pixels, labels.by_key[photo.key], fonts, picture, rng)


def _write(file: Path, made: Sequence[Example]) -> None:
    table = pa.table(
        {
            "image": [_encoded(".jpg", e.image[..., ::-1], _QUALITY) for e in made],
            "target": [_encoded(".png", e.target, []) for e in made],
        }
    )
    partial = file.with_suffix(".partial")
    pq.write_table(table, partial)
    os.replace(partial, file)


def _encoded(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    _, data = cv2.imencode(suffix, pixels, options)
    return bytes(data)


def _decoded(data: bytes, flag: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flag)
    assert image is not None, "composites are written by us"
    return image
