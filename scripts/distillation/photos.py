"""Photographs that a user gives: folders of images, or tables with an `image` column."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from lesstext.errors import UsageError
from lesstext.images import Pixels, decode
from lesstext.shards.tar_reading import IMAGE_SUFFIXES

_HELD_BACK = 12  # one photo in so many trains nothing and validates


@dataclass(frozen=True, slots=True)
class Photo:
    """One encoded image. `key` is the start of its SHA-256, so that equal photos are one photo."""

    key: str
    source: str
    data: bytes

    @property
    def validates(self) -> bool:
        return int(self.key[:8], 16) % _HELD_BACK == 0

    def pixels(self, target_px: int | None = None) -> Pixels:
        """RGB (H, W, 3). Raises ImageError when it cannot be decoded."""
        return decode(self.data, target_px=target_px).pixels


def find_photos(paths: Sequence[Path], limit: int | None = None) -> list[Photo]:
    """The photos below `paths`, each once, in the order of their keys, at most `limit`.

    Raises UsageError where there is none.
    """
    found = {photo.key: photo for path in paths for photo in _photos_in(path)}
    if not found:
        names = ", ".join(map(str, paths))
        raise UsageError(f"no photos in {names}: give folders of images, or parquet files")
    return [found[key] for key in sorted(found)][:limit]


def _photos_in(path: Path) -> Iterator[Photo]:
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(columns=["image"], batch_size=256):
            for image in batch.column("image").to_pylist():
                yield _photo(image["bytes"], path.stem)
        return
    for file in sorted(path.rglob("*")):
        if file.suffix.lower().lstrip(".") in IMAGE_SUFFIXES and file.is_file():
            yield _photo(file.read_bytes(), file.parent.name)


def _photo(data: bytes, source: str) -> Photo:
    return Photo(hashlib.sha256(data).hexdigest()[:24], source, data)
