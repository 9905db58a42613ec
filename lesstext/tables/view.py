"""Tables of several annotators, and metadata where asked for, as one DuckDB view of samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lesstext.errors import TableError
from lesstext.storage.scratch import scratch_folder
from lesstext.tables.columns import (
    BASE,
    DUPLICATE,
    METADATA,
    TAKEN,
    is_number,
    literal,
    parquet_list,
    quoted,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from lesstext.tables.folder import TableFolder
    from lesstext.tables.metadata import Metadata

NEEDED = frozenset({"key", "status"})
_LOADED_ROWS = 5_000_000  # half a gigabyte at most


class TableView:
    """The view `s`: shard, row_number, key, status, and what else is used: uid, error, and columns
    named `name.column`.

    Row by row, the tables of one shard speak of one sample: it is `ok` where it is in all of them,
    else its status is that of the first in which it is not. Rows are in no order, unless a query
    orders them by `nr` (the shard's place) and `row_number`. With metadata, `is_joined` is true
    where a row of it was found. Made by `open_view`.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        folders: Sequence[TableFolder],
        used: Collection[str],
        metadata: Metadata | None,
    ) -> None:
        self.folders = folders
        self.metadata = metadata
        self._connection = connection
        self.used = sorted(name for name in used if "." in name)
        self._base = [name for name in BASE if name in {*used, *NEEDED}]
        self._shards = [footer.shard for footer in folders[0].footers]
        self.join_condition = "false"
        self._create()
        self.types = {row[0]: row[1] for row in self.rows("DESCRIBE s")}

    def load(self) -> None:
        """Read the rows into memory where they are few: opening thousands of files takes longer
        than anything that is asked of them."""
        if sum(file.n_rows for file in self.folders[0].files) <= _LOADED_ROWS:
            self._connection.execute("CREATE TABLE loaded AS FROM s")
            self._connection.execute("CREATE OR REPLACE VIEW s AS FROM loaded")

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a query."""
        (row,) = self.rows(sql)
        return row

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query, which are to be few."""
        found: list[tuple[Any, ...]] = self._connection.cursor().execute(sql).fetchall()
        return found

    @contextmanager
    def reader(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """The rows of a query, a bounded number at a time."""
        import pyarrow as pa

        cursor = self._connection.cursor()  # held: duckdb < 2 closes the stream with it
        yield pa.RecordBatchReader.from_stream(cursor.sql(sql))
        cursor.close()

    def is_number(self, column: str) -> bool:
        return is_number(self.types[column])

    def _create(self) -> None:
        names = ", ".join(f"({nr}, {literal(shard)})" for nr, shard in enumerate(self._shards))
        self._connection.execute(
            f"CREATE TABLE shards AS SELECT * FROM (VALUES {names}) AS v(nr, shard)"
        )
        for place, folder in enumerate(self.folders):
            self._connection.execute(f"CREATE VIEW t{place} AS {self._one_folder(folder)}")
        joins = "".join(f" JOIN t{i} USING (nr, row_number)" for i in range(1, len(self.folders)))
        self._connection.execute(f"CREATE VIEW t AS SELECT {self._combined()} FROM t0{joins}")
        columns = ["nr", "shard", "row_number", *self._base, "keys_differ", "is_void"]
        columns += [quoted(name) for name in self.used]
        source = "t JOIN shards USING (nr)"
        if self.metadata is not None:
            self.join_condition = self._create_metadata()
            source += f" LEFT JOIN m ON {self.join_condition}"
            columns.append("m.is_joined")
        self._connection.execute(f"CREATE VIEW s AS SELECT {', '.join(columns)} FROM {source}")

    def _one_folder(self, folder: TableFolder) -> str:
        """One annotator's tables: the base columns, and those columns of it that are used."""
        paths = parquet_list(file.path for file in folder.files)
        base = [
            name if name in folder.columns else f"NULL::VARCHAR AS {name}" for name in self._base
        ]
        own = [
            f"{quoted(name)} AS {quoted(f'{folder.name}.{name}')}"
            for name in folder.columns
            if f"{folder.name}.{name}" in self.used
        ]
        return f"""SELECT file_index::BIGINT AS nr, file_row_number::BIGINT AS row_number,
            {", ".join(base + own)} FROM read_parquet({paths}, file_row_number=true,
            hive_partitioning=false, union_by_name={not folder.is_uniform})"""

    def _combined(self) -> str:
        """The base columns of a sample, of those that each folder has for it, and all others."""
        tables = [f"t{i}" for i in range(len(self.folders))]
        statuses = ", ".join(f"{table}.status" for table in tables)
        failures = [f"WHEN {table}.status <> 'ok' THEN {table}" for table in tables]
        base = {
            "key": "t0.key",
            "uid": f"coalesce({', '.join(f'{table}.uid' for table in tables)})",
            "status": f"""CASE WHEN '{DUPLICATE}' IN ({statuses}) THEN '{DUPLICATE}'
            {" ".join(f"{failure}.status" for failure in failures)} ELSE t0.status END""",
            "error": f"""CASE {" ".join(f"{failure}.error" for failure in failures)}
            ELSE coalesce({", ".join(f"{table}.error" for table in tables)}) END""",
        }
        differ = [f"{table}.key IS DISTINCT FROM t0.key" for table in tables[1:]]
        void = [f"{table}.key IS NULL OR {table}.status IS NULL" for table in tables]
        columns = [f"{base[name]} AS {name}" for name in self._base]
        columns.append(f"{' OR '.join(differ) or 'false'} AS keys_differ")
        columns.append(f"{' OR '.join(void)} AS is_void")
        columns += [quoted(name) for name in self.used if not name.startswith(f"{METADATA}.")]
        return f"nr, row_number, {', '.join(columns)}"

    def _create_metadata(self) -> str:
        assert self.metadata is not None
        (n_uids,) = self.one("SELECT count(uid) FROM t") if self.metadata.has_uid else (0,)
        used = [name.partition(".")[2] for name in self.used if name.startswith(f"{METADATA}.")]
        numbers = {shard: nr for nr, shard in enumerate(self._shards)}
        return self.metadata.create_view(self._connection, used, numbers, by_uid=n_uids > 0)


@contextmanager
def open_view(
    folders: Sequence[TableFolder], used: Collection[str], metadata: Metadata | None
) -> Iterator[TableView]:
    """Fetch the columns of the view that are `used`, and open it.

    Raises TableError when a folder's tables lack what every table has.
    """
    import duckdb

    for folder in folders:
        if not set(folder.columns) >= NEEDED:
            raise TableError(f"{folder.source.folder}: the tables have no columns key and status")
        if {*folder.columns} & {*TAKEN}:
            where = folder.source.folder
            raise TableError(f"{where}: no column can be named {' or '.join(TAKEN)}")
        own = {name for name in folder.columns if f"{folder.name}.{name}" in used}
        folder.fetch(own | NEEDED | (set(BASE) & set(used) & set(folder.columns)))
    with scratch_folder() as spill, duckdb.connect() as connection:
        connection.execute(f"SET temp_directory = {literal(str(spill))}")
        connection.execute("SET parquet_metadata_cache = true")  # every query opens all files
        connection.execute("SET autoload_known_extensions = false")  # nothing is ever downloaded
        # It takes a column for free of NaN when the largest value in its statistics is finite.
        connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        yield TableView(connection, folders, used, metadata)
