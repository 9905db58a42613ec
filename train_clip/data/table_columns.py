"""What tables say of a shard's samples: which of them a source uses, and where text lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesstext.tables.table import read_footer, table_path
from train_clip.data.index import ShardTable
from train_clip.errors import ConfigError, DataError
from train_clip.settings import MaskedRegions, SourceConfig

if TYPE_CHECKING:
    from lesstext.tables.selection import Selection

Keep = Callable[[ShardTable], NDArray[np.bool_]]
Region = tuple[list[float], str]
"""A polygon x0, y0, x1, y1, …, and the word read in it; empty where none was."""
Regions = list[Region]


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
        check_version(selection, table)
        kept = set(kept_keys[table.name].to_pylist())
        return np.array([key in kept for key in table.keys], dtype=bool)

    return keep


def check_version(selection: Selection, table: ShardTable) -> None:
    """Raise ConfigError unless the selection was made for exactly this shard."""
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


def _same_file(size_bytes: int, edges_blake2: str, table: ShardTable) -> bool:
    """Whether a fingerprint is the shard's; ETags are left out, copies of one file have none."""
    mine = table.fingerprint
    return (size_bytes, edges_blake2) == (mine.size_bytes, mine.edges_blake2)


def read_regions(source: SourceConfig, kind: MaskedRegions, table: ShardTable) -> list[Regions]:
    """Where text lies in a shard's samples, in their order: what of it a run may hide.

    `repeated` needs words, and so the regions that words were read in; `all` takes the score
    table's where there is one. Raises DataError when a table is of another shard, or was written
    without regions.
    """
    if kind == "all" and source.scores is not None:
        return _read_by_key(source.scores, "regions", table, lambda polygon: (polygon, ""))
    assert source.words is not None
    return _read_by_key(source.words, "words", table, lambda word: (word["region"], word["text"]))


def _read_by_key(
    tables: str, column: str, shard: ShardTable, as_region: Callable[[Any], Region]
) -> list[Regions]:
    import pyarrow.parquet as pq

    path = table_path(Path(tables), shard.name)
    known = read_footer(path).fingerprint
    if not _same_file(known.size_bytes, known.edges_blake2, shard):
        raise DataError(f"{path} is of another version of shard {shard.name} than {shard.path}")
    if column not in pq.read_schema(path).names:
        raise DataError(f"{path} holds no {column}, so that text cannot be hidden")
    rows = pq.read_table(path, columns=["key", column])
    found: dict[str, Regions] = {}
    for key, values in zip(
        rows.column("key").to_pylist(), rows.column(column).to_pylist(), strict=True
    ):
        found.setdefault(key, [as_region(value) for value in values or ()])
    missing = next((key for key in shard.keys if key not in found), None)
    if missing is not None:
        raise DataError(f"{path} has no row for key {missing}")
    return [found[key] for key in shard.keys]
