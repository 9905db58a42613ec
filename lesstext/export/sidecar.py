"""The parquet beside an exported shard: the input's rows of what is kept, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.errors import ShardError, UsageError
from lesstext.storage.paths import Location, location
from lesstext.storage.scratch import scratch_folder
from lesstext.tables.table import read_footer, reading, table_path

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.shards.fingerprint import Fingerprint

SIDECAR_SUFFIX = ".parquet"
_PREFIX = "lesstext_"
_IDENTITY = ("key", "uid")


@dataclass(frozen=True, slots=True)
class Carry:
    """Columns of a folder of tables that go along into the sidecars."""

    folder: Location
    columns: tuple[str, ...]

    def rows(self, shard: str, scored: Fingerprint) -> pa.Table:
        """The columns of one shard's table, and `key`.

        Raises TableError, and ShardError where it is of other bytes or lacks a column.
        """
        import pyarrow.parquet as pq

        path = table_path(self.folder, shard)
        if read_footer(path).fingerprint != scored:
            raise ShardError(shard, f"--carry: {path} was made from another version of it")
        with _here(path) as local, reading(path):
            present = pq.read_schema(local).names
            lacking = [name for name in self.columns if name not in present]
            if lacking:
                known = ", ".join(present)
                reason = f"--carry: {path} has no column {', '.join(lacking)}; columns: {known}"
                raise ShardError(shard, reason)
            return pq.read_table(local, columns=["key", *self.columns])


def parse_carry(text: str) -> Carry:
    """`FOLDER:column,column` as a user gives it; raises UsageError for anything else.

    >>> parse_carry("s3://bucket/sharp:sharpness").columns
    ('sharpness',)
    """
    folder, _, names = text.rpartition(":")
    columns = tuple(name.strip() for name in names.split(","))
    if not folder or "/" in names or not all(columns):
        raise UsageError(f"--carry takes TABLES:column,column, got {text!r}")
    return Carry(location(folder), columns)


@dataclass(slots=True)
class Sidecar:
    """The rows of one output shard, gathered part by part.

    `joined` counts, for each thing joined, the kept samples that found a row there and those that
    did not; `notes` tell what of the input could not be used.
    """

    joined: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _theirs: list[pa.Table] = field(default_factory=list)
    _ours: list[pa.Table] = field(default_factory=list)

    def add(self, selected: pa.Table, beside: Location | None, others: dict[str, pa.Table]) -> None:
        """Add a part: its rows of the selection, the parquet beside its input, and what else is
        joined on the key, by what it is called."""
        keys = selected.column("key")
        ours = selected.drop_columns(["key"])
        for name, rows in others.items():
            found = self._joined(name, rows, keys)
            for column in found.column_names:
                ours = ours.append_column(_free(column, ours.column_names), found.column(column))
        theirs = selected.select(["key"])
        rows = None if beside is None else self._read_input(beside)
        if rows is not None:
            found = self._joined("input's rows", rows, keys)
            for column in found.column_names:
                theirs = theirs.append_column(column, found.column(column))
        self._theirs.append(theirs.replace_schema_metadata(None))
        self._ours.append(ours.replace_schema_metadata(None))

    def table(self) -> pa.Table:
        """All rows: the input's columns under their names, then ours under names that are free.

        `uid` is the sample's identity: the input's, where it has one.
        """
        import pyarrow as pa

        ours = pa.concat_tables(self._ours, promote_options="default")
        try:
            whole = pa.concat_tables(self._theirs, promote_options="permissive")
        except pa.ArrowException as error:
            self.notes.append(f"the inputs' rows do not go together and are left out: {error}")
            whole = pa.concat_tables([table.select(["key"]) for table in self._theirs])
        for name in ours.column_names:
            if name not in _IDENTITY or name not in whole.column_names:
                whole = whole.append_column(_free(name, whole.column_names), ours.column(name))
        return whole

    def _joined(self, name: str, rows: pa.Table, keys: pa.ChunkedArray) -> pa.Table:
        """The rows of these keys, in their order, nulls where there is none, without the key."""
        import pyarrow as pa
        import pyarrow.compute as pc

        own = rows.column("key").cast(pa.string()).combine_chunks()
        places = pc.index_in(keys.combine_chunks(), value_set=own)
        counts = self.joined.setdefault(name, [0, 0])
        counts[0] += len(places) - places.null_count
        counts[1] += places.null_count
        return rows.drop_columns(["key"]).take(places)

    def _read_input(self, path: Location) -> pa.Table | None:
        """The parquet beside an input; what is none, or has no key, is left out with a note."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with _here(path) as local:
                rows = pq.ParquetFile(local).read()
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            self.notes.append(f"{path} cannot be read and is left out: {reason}")
            return None
        if "key" not in rows.column_names or len(set(rows.column_names)) != rows.num_columns:
            self.notes.append(f"{path} is left out: it has no column key, or one name twice")
            return None
        return rows


def write_sidecar(rows: pa.Table, partial: Path) -> None:
    """Write the rows; the same rows give the same bytes."""
    import pyarrow.parquet as pq

    pq.write_table(rows, partial, compression="zstd")


def as_words(joined: dict[str, list[int]]) -> list[str]:
    """One line for each thing that was joined."""
    return [
        f"{name}: {n_found} of the kept samples have a row, {n_lacking} have none"
        for name, (n_found, n_lacking) in sorted(joined.items())
    ]


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or one that begins with `lesstext_` where it is taken.

    >>> _free("status", ["key", "status"]), _free("a", ["a", "lesstext_a"])
    ('lesstext_status', 'lesstext_a_2')
    """
    tried, number = name, 1
    while tried in taken:
        tried = f"{_PREFIX}{name}" + (f"_{number}" if number > 1 else "")
        number += 1
    return tried


@contextmanager
def _here(path: Location) -> Iterator[Any]:
    if isinstance(path, Path):
        yield path
        return
    with scratch_folder() as folder:
        path.download(folder / path.name)
        yield folder / path.name
