"""All score tables of a folder as one DuckDB view, with metadata joined where asked for."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.errors import TableError, UsageError
from lesstext.tables.table import TABLE_SUFFIX, Footer, read_footers

if TYPE_CHECKING:
    import pyarrow as pa


class ScoreView:
    """All score tables of a folder as one DuckDB view `s`, in shard order, then tar order."""

    def __init__(self, folder: Path, metadata: Path | None) -> None:
        import duckdb

        self.folder = folder
        found = read_footers(folder)
        self.footers: list[Footer] = [footer for _, footer in found]
        for path, footer in found:
            if path != folder / f"{footer.shard}{TABLE_SUFFIX}":
                raise TableError(f"{path} scores shard {footer.shard}: it was moved or renamed")
        self.db = duckdb.connect()
        self._create_view([str(path) for path, _ in found])
        self.columns = self._column_names("s")
        self.ordered = "s"
        if metadata is not None:
            self._join(metadata)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The only row of a query."""
        (row,) = self.db.cursor().execute(sql, list(parameters)).fetchall()
        return tuple(row)

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The rows of a query, a bounded number at a time."""
        import pyarrow as pa

        cursor = self.db.cursor()  # held: duckdb < 2 closes the stream with it
        yield from pa.RecordBatchReader.from_stream(cursor.sql(sql))

    @property
    def digest(self) -> str:
        """Identifies the tables: which shards, scored by what."""
        digest = hashlib.blake2b(digest_size=16)
        for footer in self.footers:
            digest.update(footer.as_bytes())
        return digest.hexdigest()

    def _create_view(self, paths: list[str]) -> None:
        self.db.execute(
            f"""CREATE VIEW s AS SELECT * EXCLUDE (filename, file_row_number),
            {_shard_of(self.folder)} AS shard, file_row_number AS row_number
            FROM read_parquet({_literal_list(paths)}, filename=true, file_row_number=true,
                              union_by_name=true, hive_partitioning=false)"""
        )

    def _column_names(self, view: str) -> list[str]:
        return [row[0] for row in self.db.execute(f"DESCRIBE {view}").fetchall()]

    def _join(self, metadata: Path) -> None:
        """Join metadata on uid where both sides have one, else on (shard, key)."""
        paths = sorted(str(path) for path in metadata.rglob("*.parquet"))
        if not paths:
            raise UsageError(f"--metadata {metadata} holds no parquet files")
        self.db.execute(
            f"""CREATE VIEW m AS SELECT * EXCLUDE (filename), {_shard_of(metadata)} AS meta_shard
            FROM read_parquet({_literal_list(paths)}, filename=true, union_by_name=true,
                              hive_partitioning=false)"""
        )
        names = self._column_names("m")
        (n_uids,) = self.one("SELECT count(uid) FROM s")
        if "uid" in names and n_uids:
            condition = "s.uid = meta.uid"
        elif "key" in names:
            condition = "s.shard = meta.meta_shard AND s.key = meta.key"
        else:
            raise UsageError(f"--metadata {metadata} has neither a uid nor a key column")
        self.db.execute(
            f"CREATE VIEW joined AS SELECT s.*, meta FROM s LEFT JOIN m AS meta ON {condition}"
        )
        (n_joined, n_rows) = self.one(
            "SELECT (SELECT count(*) FROM joined), (SELECT count(*) FROM s)"
        )
        if n_joined != n_rows:
            raise UsageError(f"--metadata {metadata} has several rows for one sample")
        self.columns += [f"meta.{name}" for name in names]
        self.ordered = "joined"


def _shard_of(folder: Path) -> str:
    """SQL for the shard that a parquet file below `folder` is named after."""
    prefix = len(str(folder)) + 1
    return f"substr(filename, {prefix + 1}, length(filename) - {prefix + len(TABLE_SUFFIX)})"


def _literal_list(paths: Sequence[str]) -> str:
    """A SQL list of paths, in which DuckDB shall see no patterns."""
    quoted = ", ".join("'" + glob.escape(path).replace("'", "''") + "'" for path in paths)
    return f"[{quoted}]"
