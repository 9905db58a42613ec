"""Which samples of a shard a source uses, and where text lies in them: selections and scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesstext.tables.table import read_footer, table_path
from train_clip.data.index import ShardTable
from train_clip.errors import ConfigError, DataError
from train_clip.settings import SourceConfig

if TYPE_CHECKING:
    from lesstext.tables.selection import Selection

Keep = Callable[[ShardTable], NDArray[np.bool_]]
Regions = list[list[float]]


def choose_filter(source: SourceConfig, folder: Path) -> Keep:
    """The rule that says which samples of a shard are used, as a bool array (n,) per shard.

    A `where` rule is turned into a selection file in `folder` first.
    """
    from lesstext.tables.rule import Rule
    from lesstext.tables.selecting import select
    from lesstext.tables.selection import read_selection

    if source.selection is not None:
        return _by_selection(read_selection(Path(source.selection)))
    if source.where is not None and source.scores is not None:
        out = folder / "selection.parquet"
        return _by_selection(select([Path(source.scores)], out, Rule(where=source.where)))
    return lambda table: np.ones(len(table.keys), dtype=bool)


def _by_selection(selection: Selection) -> Keep:
    kept_keys = selection.keys_by_shard()

    def keep(table: ShardTable) -> NDArray[np.bool_]:
        known = selection.fingerprints.get(table.name)
        if known is None:
            some = ", ".join(sorted(selection.fingerprints)[:3])
            raise ConfigError(
                f"{selection.path} is a selection of other shards: it says nothing about "
                f"{table.name} ({table.path}); it knows {some}, …"
            )
        if not _same_file(known.size_bytes, known.edges_blake2, table):
            raise ConfigError(
                f"{selection.path} was made for another version of shard {table.name} than "
                f"{table.path} (its size or content differ)"
            )
        kept = set(kept_keys[table.name].to_pylist())
        return np.array([key in kept for key in table.keys], dtype=bool)

    return keep


def _same_file(size_bytes: int, edges_blake2: str, table: ShardTable) -> bool:
    """Whether a fingerprint is the shard's; ETags are left out, copies of one file have none."""
    mine = table.fingerprint
    return (size_bytes, edges_blake2) == (mine.size_bytes, mine.edges_blake2)


def read_regions(scores: str, table: ShardTable) -> list[Regions]:
    """The text regions of a shard's samples from its score table, in the samples' order.

    Raises DataError when the table is of another shard, or was written without regions.
    """
    import pyarrow.parquet as pq

    path = table_path(Path(scores), table.name)
    known = read_footer(path).fingerprint
    if not _same_file(known.size_bytes, known.edges_blake2, table):
        raise DataError(f"{path} scores another version of shard {table.name} than {table.path}")
    if "regions" not in pq.read_schema(path).names:
        raise DataError(f"{path} holds no regions (scored without them); text cannot be hidden")
    rows = pq.read_table(path, columns=["key", "regions"])
    keys, regions = rows.column("key").to_pylist(), rows.column("regions").to_pylist()
    found: dict[str, Regions] = {}
    for key, polygons in zip(keys, regions, strict=True):
        found.setdefault(key, polygons or [])
    missing = next((key for key in table.keys if key not in found), None)
    if missing is not None:
        raise DataError(f"{path} has no row for key {missing}")
    return [found[key] for key in table.keys]
