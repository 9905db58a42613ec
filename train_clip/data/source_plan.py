"""A source ready to be read: the samples left after filtering, as flat arrays on disk.

Data workers map these arrays into memory, so that a pool of any size costs each of them nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesstext.storage.files import atomic_path
from train_clip.data.index import SPAN_COLUMNS, ShardTable


class SourcePlan:
    """One source of a run, ready to be read: flat arrays over all its samples, shard by shard.

    Sample i lies in shard `shard_of(i)`; its key is `key(i)`, its bytes at `spans[i]`. `regions`
    are only present when the run hides text.
    """

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        self.data: str = meta["data"]
        self.shards: list[str] = meta["shards"]
        self.paths: list[str] = meta["paths"]
        self.pool_size: int = meta["pool_size"]
        self.digest: str = meta["digest"]
        self.counts: NDArray[np.int64] = np.array(meta["counts"], dtype=np.int64)
        self.ends: NDArray[np.int64] = np.cumsum(self.counts)
        self.spans: NDArray[np.int64] = map_array(folder / "spans.npy")
        self._key_bytes = map_array(folder / "key_bytes.npy")
        self._key_ends = map_array(folder / "key_ends.npy")
        self._regions = RegionStore.open(folder)

    @property
    def size(self) -> int:
        return len(self.spans)

    def shard_of(self, index: int) -> int:
        return int(np.searchsorted(self.ends, index, side="right"))

    def key(self, index: int) -> str:
        start = self._key_ends[index - 1] if index else 0
        return bytes(self._key_bytes[start : self._key_ends[index]]).decode()

    def name(self, index: int) -> str:
        """How messages call a sample: `shard/key`."""
        return f"{self.shards[self.shard_of(index)]}/{self.key(index)}"

    def regions(self, index: int) -> list[NDArray[np.float32]]:
        """The text regions of a sample, float32 (k, 2) in full-size pixels; empty without any."""
        return [] if self._regions is None else self._regions.get(index)


def write_plan(
    folder: Path,
    data: str,
    tables: Sequence[ShardTable],
    pool_size: int,
    regions: Sequence[Sequence[Sequence[float]]] | None = None,
) -> SourcePlan:
    """Join filtered shard tables into `folder`; shards without samples leave no trace.

    `pool_size` is the number of samples before filtering; `regions` holds each sample's polygons.
    """
    used = sorted((table for table in tables if table.keys), key=lambda table: table.name)
    keys = [key.encode() for table in used for key in table.keys]
    digest = hashlib.blake2b(digest_size=16)
    for table in used:
        digest.update(f"{table.name}\0{table.fingerprint.as_json()}\0".encode())
        digest.update("\0".join(table.keys).encode())
    meta = {
        "data": data,
        "shards": [table.name for table in used],
        "paths": [str(table.path) for table in used],
        "counts": [len(table.keys) for table in used],
        "pool_size": pool_size,
        "digest": digest.hexdigest(),
    }
    spans = [table.spans for table in used] or [np.empty((0, SPAN_COLUMNS), dtype=np.int64)]
    save_array(folder / "spans.npy", np.concatenate(spans))
    save_array(folder / "key_bytes.npy", np.frombuffer(b"".join(keys), dtype=np.uint8))
    save_array(folder / "key_ends.npy", np.cumsum([len(key) for key in keys], dtype=np.int64))
    if regions is not None:
        RegionStore.save(folder, regions)
    with atomic_path(folder / "plan.json") as partial:
        partial.write_text(json.dumps(meta), encoding="utf-8")
    return SourcePlan(folder)


class RegionStore:
    """Polygons of many samples in two flat arrays: all points, and where each polygon ends."""

    def __init__(self, points: Any, polygon_ends: Any, sample_ends: Any) -> None:
        self._points = points
        self._polygon_ends = polygon_ends
        self._sample_ends = sample_ends

    @classmethod
    def open(cls, folder: Path) -> RegionStore | None:
        names = ("region_points.npy", "region_ends.npy", "region_sample_ends.npy")
        if not (folder / names[0]).exists():
            return None
        return cls(*(map_array(folder / name) for name in names))

    @staticmethod
    def save(folder: Path, samples: Sequence[Sequence[Sequence[float]]]) -> None:
        flat = [np.asarray(p, dtype=np.float32).reshape(-1, 2) for s in samples for p in s]
        points = np.concatenate(flat) if flat else np.empty((0, 2), dtype=np.float32)
        ends = np.cumsum([len(polygon) for polygon in flat], dtype=np.int64)
        save_array(folder / "region_ends.npy", ends)
        sample_ends = np.cumsum([len(sample) for sample in samples], dtype=np.int64)
        save_array(folder / "region_sample_ends.npy", sample_ends)
        save_array(folder / "region_points.npy", points)

    def get(self, index: int) -> list[NDArray[np.float32]]:
        first = int(self._sample_ends[index - 1]) if index else 0
        last = int(self._sample_ends[index])
        starts = [int(self._polygon_ends[p - 1]) if p else 0 for p in range(first, last)]
        ends = self._polygon_ends[first:last]
        return [np.array(self._points[s:e]) for s, e in zip(starts, ends, strict=True)]


def map_array(path: Path) -> NDArray[Any]:
    """A `.npy` in memory-mapped form, as a plain array (np.memmap's own indexing is slow)."""
    return np.asarray(np.load(path, mmap_mode="r"))


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write one `.npy`, atomically. An empty array is stored too, but maps as an ordinary one."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, array)
