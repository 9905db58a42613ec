"""Labels joined to the samples of a shard, by shard and key."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import ArrowException

from lesstext.entities.labels.reading import Labels, read_labels
from lesstext.errors import TableError
from lesstext.storage.paths import location
from lesstext.tables.selection import read_rows
from train_clip.data.flat.classes import ClassStore
from train_clip.data.index import ShardTable
from train_clip.data.labels.vocabulary import Vocabulary
from train_clip.data.table_columns import check_version
from train_clip.errors import DataError

_SCHEMA = {"key": pa.string(), "entity_ids": pa.list_(pa.string())}


def open_labels(path: str) -> Labels:
    """What a labels file says of itself; raises TableError for anything else."""
    return read_labels(location(path))


def join_labels(labels: Labels, tables: Sequence[ShardTable], vocabulary: Vocabulary) -> ClassStore:
    """The classes of all samples of `tables`, in their order; none where a sample has no label.

    Raises ConfigError for labels of other shards, or of other versions of them, DataError for
    rows that are no labels.
    """
    samples = [classes for table in tables for classes in _of_shard(labels, table, vocabulary)]
    return ClassStore.of(samples, f"{labels.selection.id}:{vocabulary.digest}")


def _of_shard(labels: Labels, table: ShardTable, vocabulary: Vocabulary) -> list[list[int]]:
    check_version(labels.selection, table)
    found = _read(labels, table.name)
    numbers, none = vocabulary.numbers, list[str]()
    try:
        return [sorted({numbers[one] for one in found.get(key, none)}) for key in table.keys]
    except KeyError as error:
        raise DataError(
            f"{labels.selection.path}: shard {table.name} has a label of entity {error}, which its "
            "vocabulary lacks: label again"
        ) from error


def _read(labels: Labels, shard: str) -> dict[str, list[str]]:
    """The entities of each key of a shard."""
    path = labels.selection.path
    try:
        rows = read_rows(path, labels.selection.id, shard)
    except (OSError, ArrowException, TableError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for name, kind in _SCHEMA.items():
        if name not in rows.schema.names or rows.schema.field(name).type != kind:
            raise DataError(f"{path} is damaged: no column {name} of type {kind}")
    keys, entities = (rows.column(name).to_pylist() for name in _SCHEMA)
    if None in keys or None in entities or len(set(keys)) < len(keys):
        raise DataError(f"{path} is damaged: shard {shard} has a key twice, or a row without")
    return dict(zip(keys, entities, strict=True))
