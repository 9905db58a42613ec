"""All tables of a folder in memory, for a notebook; rules over millions of rows are `select`'s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.storage.paths import Location, location
from lesstext.tables.folder import TableSource, open_tables
from lesstext.tables.table import reading

if TYPE_CHECKING:
    import pyarrow as pa


def read_tables(folder: Location | str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of all tables below a folder, by shard, in tar order; `shard` is their first column.

    `columns` are those that are read (None: all). Raises TableError for tables that are missing or
    of different annotators.
    """
    import pyarrow as pa

    with open_tables(TableSource(location(folder))) as opened:
        opened.fetch(opened.columns if columns is None else columns)
        return pa.concat_tables(
            [_rows(file.path, file.footer.shard, columns) for file in opened.files]
        )


def _rows(path: Path, shard: str, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path):
        rows = pq.read_table(path, columns=None if columns is None else list(columns))
    names = pa.array([shard] * len(rows), pa.string())
    return rows.replace_schema_metadata(None).add_column(0, "shard", names)
