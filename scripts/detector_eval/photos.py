"""Named sets of real photos: the key of each, and its encoded bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from lesstext.errors import UsageError
from lesstext.shards.tar_reading import index_shard, read_member

T = TypeVar("T")
Photos = Iterator[tuple[str, bytes]]

_SHUFFLED_WITH = 20260101


def present(data: Path, names: Sequence[str]) -> list[str]:
    """Those of the sets that lie below `data`."""
    return [name for name in names if next(photos_of(data, name), None) is not None]


def photos_of(data: Path, name: str) -> Photos:
    """The photos of one set below `data`, in an order that is the same everywhere.

    The large sets are shuffled once, so that those done so far are a fair sample of them.
    Raises UsageError for an unknown name.
    """
    if name not in SETS:
        raise UsageError(f"unknown set of photos {name!r}; known: {', '.join(SETS)}")
    return SETS[name](data)


def _files(*patterns: str, shuffled: bool = False) -> Callable[[Path], Photos]:
    def photos(data: Path) -> Photos:
        found = sorted(path for pattern in patterns for path in data.glob(pattern))
        for path in _shuffle(found) if shuffled else found:
            yield path.relative_to(data).as_posix(), path.read_bytes()

    return photos


def _shards(folder: str) -> Callable[[Path], Photos]:
    def photos(data: Path) -> Photos:
        for shard in sorted((data / folder).glob("*.tar")):
            members = [(sample.key, sample.image) for sample in index_shard(shard).samples]
            with shard.open("rb") as file:
                for key, member in members:
                    if member is not None:
                        yield f"{folder}/{shard.stem}/{key}", read_member(file, member)

    return photos


def _parquet(name: str) -> Callable[[Path], Photos]:
    def photos(data: Path) -> Photos:
        import pyarrow.parquet as pq

        path = data / f"{name}.parquet"
        if not path.exists():
            return
        images = pq.read_table(path, columns=["image"])["image"]
        for row in _shuffle(list(range(len(images)))):
            yield f"{name}/{row:06d}", images[row]["bytes"].as_py()

    return photos


def _shuffle(items: list[T]) -> list[T]:
    return random.Random(_SHUFFLED_WITH).sample(items, len(items))


SETS: dict[str, Callable[[Path], Photos]] = {
    "scam": _files("scam/SCAM/*.webp", "scam/NoSCAM/*.webp"),
    "icdar2015": _files("icdar2015/images/*.jpg"),
    "cc12m_shards": _shards("cc12m_shards"),
    "flickr8k_shards": _shards("flickr8k_shards"),
    "imagenet_sample": _files("imagenet_sample/val/*/*.JPEG", shuffled=True),
    "grocery_val": _parquet("grocery/val"),
    "grocery_train": _parquet("grocery/train"),
}
