"""Entities in any order become a sorted knowledge base, in bounded memory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.entities.knowledge_base import KIND, Entity, Origin, schema
from lesstext.errors import UsageError
from lesstext.storage.files import atomic_path
from lesstext.storage.paths import Location
from lesstext.storage.scratch import scratch_folder

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_ROWS_AT_ONCE = 8192
_SORT_MEMORY = "256MB"


def write_kb(
    entities: Iterable[Entity],
    out: Location,
    *,
    format: str,
    source: str,
    version: str | Callable[[], str],
    counts: Counter[str],
    notice: str = "",
    keep_first: bool = False,
) -> Origin:
    """Write the knowledge base; `counts` and `version` are asked for when all entities have come.

    Of several entities of one id, one is taken with `keep_first`, and the others are counted as
    `repeated`; without, they are refused. Raises UsageError, also where there are no entities.
    """
    import pyarrow.parquet as pq

    digest, n_entities = hashlib.blake2b(digest_size=16), 0
    with scratch_folder() as folder:
        unsorted = folder / "unsorted.parquet"
        _write_batches(unsorted, _batches(entities))
        with (
            atomic_path(out, KIND) as partial,
            pq.ParquetWriter(partial, schema(), compression="zstd", compression_level=12) as writer,
        ):
            for rows in _once(_sorted_rows(unsorted), source, counts if keep_first else None):
                for row in rows:
                    digest.update(json.dumps(row, ensure_ascii=False).encode())
                n_entities += len(rows)
                writer.write_batch(_batch(rows))
            if not n_entities:
                raise UsageError(f"{source} holds no entities")
            origin = Origin(
                format=format,
                source=source,
                version=version if isinstance(version, str) else version(),
                digest=digest.hexdigest(),
                n_entities=n_entities,
                counts=dict(counts),
                notice=notice,
            )
            writer.add_key_value_metadata(origin.as_metadata())
    return origin


def _once(
    some: Iterable[list[tuple[Any, ...]]], source: str, counts: Counter[str] | None
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of one id each; others are counted, or refused where nothing counts them."""
    before = None
    for rows in some:
        kept = []
        for row in rows:
            if row[0] != before:
                before = row[0]
                kept.append(row)
            elif counts is None:
                raise UsageError(f"{source}: two entities have the id {before!r}")
            else:
                counts["repeated"] += 1
        if kept:
            yield kept


def _batches(entities: Iterable[Entity]) -> Iterator[pa.RecordBatch]:
    every, names = iter(entities), schema().names
    while some := [[getattr(e, name) for name in names] for e in islice(every, _ROWS_AT_ONCE)]:
        yield _batch(some)


def _batch(rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, f.type) for values, f in zip(columns, schema(), strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema())


def _write_batches(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema(), compression="lz4") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _sorted_rows(unsorted: Path) -> Iterator[list[tuple[Any, ...]]]:
    import duckdb

    with duckdb.connect() as connection:
        limit_memory(connection, unsorted.parent)
        query = "SELECT * FROM read_parquet($path) ORDER BY ALL"
        connection.execute(query, {"path": str(unsorted)})
        while rows := connection.fetchmany(_ROWS_AT_ONCE):
            yield rows


def limit_memory(connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
    """Let DuckDB sort on disk what does not fit."""
    connection.execute(f"SET memory_limit = '{_SORT_MEMORY}'")
    connection.execute("SET threads = 2")
    connection.execute(f"SET temp_directory = '{scratch / 'spill'}'")
