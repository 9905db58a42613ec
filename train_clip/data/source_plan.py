"""A source ready to be read: the samples left after filtering, as flat arrays on disk.

Data workers map these arrays into memory, so that a pool of any size costs each of them nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesstext.storage.files import atomic_path
from train_clip.data.flat.arrays import map_array, save_array
from train_clip.data.flat.classes import ClassStore
from train_clip.data.flat.regions import RegionStore, TextRegion
from train_clip.data.index import SPAN_COLUMNS, ShardTable


class SourcePlan:
    """One source of a run, ready to be read: flat arrays over all its samples, shard by shard.

    Sample i lies in shard `shard_of(i)`; its key is `key(i)`, its bytes at `spans[i]`. `regions`
    are only present when the run hides text, `labels` when the source has some.
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
        origin: str | None = meta["labels"]
        self.labels = None if origin is None else ClassStore.open(folder, origin)

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

    def regions(self, index: int) -> list[TextRegion]:
        """The text regions of a sample; empty without any."""
        return [] if self._regions is None else self._regions.get(index)


def write_plan(
    folder: Path,
    data: str,
    tables: Sequence[ShardTable],
    pool_size: int,
    regions: Sequence[Sequence[tuple[Sequence[float], str]]] | None = None,
    labels: ClassStore | None = None,
) -> SourcePlan:
    """Join filtered shard tables into `folder`; shards without samples leave no trace.

    `pool_size` is the number of samples before filtering; `regions` holds each sample's polygons
    and their words, `labels` its classes, in the order of `in_order`.
    """
    used = in_order(tables)
    keys = [key.encode() for table in used for key in table.keys]
    digest = hashlib.blake2b(digest_size=16)
    for table in used:
        digest.update(f"{table.name}\0{table.fingerprint.as_json()}\0".encode())
        digest.update("\0".join(table.keys).encode())
    if labels is not None:
        digest.update(labels.origin.encode() + labels.ends.tobytes() + labels.classes.tobytes())
    meta = {
        "data": data,
        "shards": [table.name for table in used],
        "paths": [str(table.path) for table in used],
        "counts": [len(table.keys) for table in used],
        "pool_size": pool_size,
        "digest": digest.hexdigest(),
        "labels": None if labels is None else labels.origin,
    }
    spans = [table.spans for table in used] or [np.empty((0, SPAN_COLUMNS), dtype=np.int64)]
    save_array(folder / "spans.npy", np.concatenate(spans))
    save_array(folder / "key_bytes.npy", np.frombuffer(b"".join(keys), dtype=np.uint8))
    save_array(folder / "key_ends.npy", np.cumsum([len(key) for key in keys], dtype=np.int64))
    if regions is not None:
        RegionStore.save(folder, regions)
    if labels is not None:
        labels.save(folder)
    with atomic_path(folder / "plan.json") as partial:
        partial.write_text(json.dumps(meta), encoding="utf-8")
    return SourcePlan(folder)


def in_order(tables: Sequence[ShardTable]) -> list[ShardTable]:
    """The shards that have samples, in the order in which a plan holds them."""
    return sorted((table for table in tables if table.keys), key=lambda table: table.name)
