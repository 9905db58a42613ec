"""Which samples of a shard a source uses, and where text lies in them: selections and scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesstext.scores import read_footer, table_path
from train_clip.config import SourceConfig
from train_clip.errors import DataError
from train_clip.index import ShardTable

Keep = Callable[[ShardTable], NDArray[np.bool_]]
Regions = list[list[float]]


def choose_filter(source: SourceConfig) -> Keep:
    """The rule that says which samples of a shard are used."""
    return keep_all


def keep_all(table: ShardTable) -> NDArray[np.bool_]:
    return np.ones(len(table.keys), dtype=bool)


def read_regions(scores: str, table: ShardTable) -> list[Regions]:
    """The text regions of a shard's samples from its score table, in the samples' order.

    Raises DataError when the table is of another shard, or was written without regions.
    """
    import pyarrow.parquet as pq

    path = table_path(Path(scores), table.name)
    footer = read_footer(path)
    if footer.fingerprint != table.fingerprint:
        raise DataError(f"{path} scores another version of shard {table.name} than {table.path}")
    if "regions" not in pq.read_schema(path).names:
        raise DataError(
            f"{path} holds no regions (scored with --no-regions); text cannot be hidden"
        )
    rows = pq.read_table(path, columns=["key", "regions"])
    keys, regions = rows.column("key").to_pylist(), rows.column("regions").to_pylist()
    found: dict[str, Regions] = {}
    for key, polygons in zip(keys, regions, strict=True):
        found.setdefault(key, polygons or [])
    missing = next((key for key in table.keys if key not in found), None)
    if missing is not None:
        raise DataError(f"{path} has no row for key {missing}")
    return [found[key] for key in table.keys]
