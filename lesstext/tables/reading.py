"""All tables of a folder in memory, for a notebook; rules over millions of rows are `select`'s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.storage.paths import Location, local_mirror, location
from lesstext.tables.table import TABLE_SUFFIX, read_footers

if TYPE_CHECKING:
    import pyarrow as pa


def read_tables(folder: Location | str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of all tables below a folder, by shard, in tar order; `shard` is their first column.

    `columns` are those that are read (None: all). Raises TableError for tables that are missing or
    of different annotators.
    """
    import pyarrow as pa

    with local_mirror(location(folder), [f"*{TABLE_SUFFIX}"]) as tables:
        found = read_footers(tables)
        return pa.concat_tables([_rows(path, footer.shard, columns) for path, footer in found])


def _rows(path: Path, shard: str, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=None if columns is None else list(columns))
    names = pa.array([shard] * len(rows), pa.string())
    return rows.replace_schema_metadata(None).add_column(0, "shard", names)
