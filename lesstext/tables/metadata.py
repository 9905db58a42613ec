"""Foreign parquet files, such as img2dataset's or DataComp's, to be joined to tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.errors import UsageError
from lesstext.tables.columns import METADATA, TAKEN, first_line, parquet_list, quoted

if TYPE_CHECKING:
    import duckdb

_SUFFIX = ".parquet"
_FLOATS = ("FLOAT", "DOUBLE")


@dataclass(frozen=True, slots=True)
class JoinCounts:
    """What was joined to the samples: how many of them found a row, how many did not, and how many
    rows no sample found. Of a table, `ok` says in how many rows the sample is."""

    matched: int
    unmatched: int
    unmatched_rows: int
    ok: int | None = None


@dataclass(frozen=True, slots=True)
class Metadata:
    """All parquet files below a folder; each is named after the shard that it speaks of, unless
    both sides have uids. `types` are DuckDB's words for its columns' types."""

    folder: Path
    paths: list[Path]
    types: dict[str, str]

    @property
    def has_uid(self) -> bool:
        return "uid" in self.types

    def create_view(
        self,
        connection: duckdb.DuckDBPyConnection,
        columns: Collection[str],
        shards: Mapping[str, int],
        by_uid: bool,
    ) -> str:
        """Create the view `m` of these columns, as `meta.NAME`; returns the condition that joins
        it to a view `t` with the columns nr, key, and uid.

        A NaN becomes NULL: most that write parquet mean an unknown value by it.
        Raises UsageError when there is nothing to join on.
        """
        if not by_uid and "key" not in self.types:
            raise UsageError(f"--metadata {self.folder} has neither a uid nor a key column")
        numbers = [shards.get(self._shard(path), -1) for path in self.paths]
        listed = ", ".join(f"({place}, {number})" for place, number in enumerate(numbers))
        own = self._named(columns, METADATA)
        identity = "f.uid AS meta_uid" if by_uid else "n.nr AS meta_nr, f.key AS meta_key"
        connection.execute(
            f"""CREATE VIEW m AS SELECT true AS is_joined, {", ".join([identity, *own])}
            FROM {_reader(self.paths)} AS f JOIN (VALUES {listed}) AS n(place, nr)
            ON f.file_index = n.place"""
        )
        return "t.uid = m.meta_uid" if by_uid else "t.nr = m.meta_nr AND t.key = m.meta_key"

    def by_uid(self, columns: Collection[str], name: str) -> str:
        """A query for uid and these columns, as `name.column`; NaN becomes NULL here, too."""
        own = self._named(columns, name)
        return f"SELECT {', '.join(['f.uid AS uid', *own])} FROM {_reader(self.paths)} AS f"

    def _named(self, columns: Collection[str], name: str) -> list[str]:
        return [f"{self._value(own)} AS {quoted(f'{name}.{own}')}" for own in sorted(columns)]

    def _shard(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix().removesuffix(_SUFFIX)

    def _value(self, name: str) -> str:
        column = f"f.{quoted(name)}"
        is_float = self.types[name] in _FLOATS
        return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END" if is_float else column


def open_metadata(folder: Path, flag: str = "--metadata") -> Metadata:
    """Find the files and their columns; raises UsageError, which names the `flag`, when there are
    none to be read."""
    import duckdb

    root = folder.expanduser().resolve()
    paths = sorted(path for path in root.rglob(f"*{_SUFFIX}") if not path.name.startswith("."))
    if not paths:
        raise UsageError(f"{flag} {folder} holds no parquet files")
    try:
        with duckdb.connect() as connection:
            found = connection.execute(f"DESCRIBE SELECT * FROM {_reader(paths)}").fetchall()
    except duckdb.Error as error:
        raise UsageError(f"{flag} {folder}: {first_line(error)}") from error
    if {row[0] for row in found} & {*TAKEN}:
        raise UsageError(f"{flag} {folder}: no column can be named {' or '.join(TAKEN)}")
    return Metadata(root, paths, {row[0]: row[1] for row in found})


def _reader(paths: list[Path]) -> str:
    return f"read_parquet({parquet_list(paths)}, union_by_name=true, hive_partitioning=false)"
