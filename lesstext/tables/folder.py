"""A folder of tables opened for reading: what the ends of all its files say, checked once.

Of tables on object storage the ends are fetched, and later those columns that somebody names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.errors import TableError, UsageError
from lesstext.storage.paths import Location, in_parallel, location
from lesstext.storage.remote.partial import PartialMirror, Range, partial_mirror
from lesstext.tables.table import (
    TABLE_SUFFIX,
    Footer,
    find_tables,
    read_footer,
    reading,
    table_path,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_END_BYTES = 16 * 1024  # holds the footer of a table of some ten thousand rows
_MAGIC = b"PAR1"
_NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TableSource:
    """A folder of one annotator's tables; `name` calls its columns by another name than its own."""

    folder: Location
    name: str | None = None


@dataclass(frozen=True, slots=True)
class TableFile:
    """One shard's table: a file of this machine, of which a remote one's columns may be absent."""

    path: Path
    footer: Footer
    n_rows: int
    schema: pa.Schema


@dataclass(frozen=True)
class TableFolder:
    """All tables of a folder, sorted by shard; made by `open_tables`."""

    source: TableSource
    files: Sequence[TableFile]
    mirror: PartialMirror | None = None

    @property
    def annotator_name(self) -> str:
        """The annotator that makes these tables, as `lesstext annotate` knows it."""
        return self.files[0].footer.name

    @property
    def name(self) -> str:
        """What its columns are reached by, as `name.column`."""
        return self.source.name or self.annotator_name

    @property
    def annotator(self) -> str:
        """The annotator's id."""
        return self.files[0].footer.annotator

    @property
    def footers(self) -> list[Footer]:
        return [file.footer for file in self.files]

    @cached_property
    def columns(self) -> list[str]:
        """Columns that any of the tables has, in their order."""
        return list(dict.fromkeys(name for schema in self._schemas() for name in schema.names))

    @property
    def is_uniform(self) -> bool:
        """Whether all tables have the same columns, of the same types, in the same order."""
        return len(self._schemas()) == 1

    @property
    def digest(self) -> str:
        """Identifies the tables: which shards, annotated by what."""
        digest = hashlib.blake2b(digest_size=16)
        for file in self.files:
            digest.update(file.footer.as_bytes())
        return digest.hexdigest()

    def origin(self, shard: str) -> Location:
        """Where a shard's table lies, for messages."""
        return table_path(self.source.folder, shard)

    def fetch(self, columns: Collection[str]) -> None:
        """Make these columns of all tables readable; local ones always are.

        Raises StorageError, also when a table has changed since the folder was opened.
        """
        if self.mirror is not None:
            in_parallel(lambda file: self._fill(file, columns), self.files)
            self.mirror.check_unchanged()

    def read_rows(
        self, wanted: Mapping[int, Collection[int]], columns: Collection[str]
    ) -> dict[tuple[int, int], dict[str, Any]]:
        """Some rows, by the table's place and the row's; columns that a table lacks are left out.

        Of remote tables the row groups that hold them are fetched. Raises StorageError, TableError.
        """
        if self.mirror is not None:
            in_parallel(lambda nr: self._fill(self.files[nr], columns, wanted[nr]), list(wanted))
            self.mirror.check_unchanged()
        return {
            (nr, place): row
            for nr, places in wanted.items()
            for place, row in _read_rows(self.files[nr], places, columns)
        }

    def _fill(
        self, file: TableFile, columns: Collection[str], rows: Collection[int] | None = None
    ) -> None:
        import pyarrow.parquet as pq

        assert self.mirror is not None
        ranges = _column_ranges(pq.read_metadata(file.path), columns, rows)
        self.mirror.fill(f"{file.footer.shard}{TABLE_SUFFIX}", ranges)

    def _schemas(self) -> list[pa.Schema]:
        return list({id(file.schema): file.schema for file in self.files}.values())


def parse_source(text: str) -> TableSource:
    """`FOLDER` or `NAME=FOLDER`, as a user gives it; raises UsageError for a URL of no use.

    >>> parse_source("mine=s3://bucket/tables").name
    'mine'
    """
    named = _NAMED.fullmatch(text)
    if named is None or Path(text).exists():
        return TableSource(location(text))
    return TableSource(location(named[2]), named[1])


@contextmanager
def open_tables(source: TableSource) -> Iterator[TableFolder]:
    """Read the footers of all tables below a folder; nothing else of remote ones is fetched yet.

    Raises TableError when there are no tables, when tables of different annotators lie together,
    when two speak of one shard, and when one was renamed or does not hold what it promises.
    """
    if isinstance(source.folder, Path):
        root = source.folder.expanduser().resolve()
        yield _opened(TableSource(root, source.name), root, find_tables(root), None)
        return
    with partial_mirror(source.folder, TABLE_SUFFIX) as mirror:
        if not mirror.names:
            raise TableError(f"{source.folder} holds no tables ({TABLE_SUFFIX})")
        copies = in_parallel(lambda name: _with_end(mirror, name), mirror.names)
        yield _opened(source, mirror.copies, copies, mirror)


def read_tables(folder: Location | str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of all tables below a folder, by shard, in tar order; `shard` is their first column.

    They stay in memory, for a notebook; rules over millions of rows are `select`'s.
    `columns` are those that are read (None: all). Raises UsageError for a column that is not there,
    TableError for tables that are missing or of different annotators.
    """
    import pyarrow as pa

    with open_tables(TableSource(location(folder))) as opened:
        unknown = [name for name in columns or () if name not in opened.columns]
        if unknown:
            raise UsageError(f"{folder} has no column {unknown[0]!r}; {', '.join(opened.columns)}")
        opened.fetch(opened.columns if columns is None else columns)
        return pa.concat_tables(
            [_all_rows(file.path, file.footer.shard, columns) for file in opened.files]
        )


def _opened(
    source: TableSource, root: Path, paths: Sequence[Path], mirror: PartialMirror | None
) -> TableFolder:
    known: dict[pq.ParquetSchema, pa.Schema] = {}
    files = [_describe(path, known) for path in paths]
    _check_one_annotator(root, files)
    _check_shards(root, files)
    files.sort(key=lambda file: file.footer.shard)
    return TableFolder(source, files, mirror)


def _describe(path: Path, known: dict[pq.ParquetSchema, pa.Schema]) -> TableFile:
    """Read one table's end; equal schemas become one object, which `known` collects."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        metadata = pq.read_metadata(path)
        found = next((other for other in known if other.equals(metadata.schema)), metadata.schema)
        if found not in known:
            known[found] = found.to_arrow_schema().remove_metadata()
    except (OSError, ArrowException) as error:
        raise TableError(f"{path} is not a table: {error!r}") from error
    footer = read_footer(path, dict(metadata.metadata or {}))
    return TableFile(path, footer, metadata.num_rows, known[found])


def _check_one_annotator(root: Path, files: Iterable[TableFile]) -> None:
    found = sorted({f"{file.footer.name} ({file.footer.annotator})" for file in files})
    if len(found) > 1:
        raise TableError(
            f"{root} mixes tables of different annotators: {'; '.join(found)}; "
            "annotate again into another folder"
        )


def _check_shards(root: Path, files: Iterable[TableFile]) -> None:
    """Each table must speak of the shard that it is named after, and hold what it promises."""
    seen: dict[str, Path] = {}
    for file in files:
        path, shard, n_promised = file.path, file.footer.shard, file.footer.n_samples
        if shard in seen:
            raise TableError(f"{path} and {seen[shard]} both speak of shard {shard}")
        seen[shard] = path
        if path != root / f"{shard}{TABLE_SUFFIX}":
            raise TableError(f"{path} speaks of shard {shard}: it was moved or renamed")
        if file.n_rows != n_promised:
            raise TableError(
                f"{path} holds {file.n_rows} rows, but its footer speaks of {n_promised}: "
                "it is damaged; annotate its shard again"
            )


def _with_end(mirror: PartialMirror, name: str) -> Path:
    """Fetch the end of a remote table, which says where everything else lies."""
    size = mirror.size_bytes(name)
    path = mirror.fill(name, [(max(0, size - _END_BYTES), size)])
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        last = file.read()
    n_footer = int.from_bytes(last[:4], "little") + 8
    if last.endswith(_MAGIC) and _END_BYTES < n_footer <= size:
        mirror.fill(name, [(size - n_footer, size - _END_BYTES)])
    return path


def _column_ranges(
    metadata: pq.FileMetaData, columns: Collection[str], rows: Collection[int] | None
) -> Iterator[Range]:
    """Where the chunks of columns lie, in the row groups that hold any of `rows` (None: in all)."""
    for number, here in enumerate(_row_groups(metadata)):
        group = metadata.row_group(number)
        if rows is not None and not any(row in here for row in rows):
            continue
        for place in range(group.num_columns):
            chunk = group.column(place)
            if _belongs_to(chunk.path_in_schema, columns):
                start = min(chunk.dictionary_page_offset or chunk.data_page_offset,
                            chunk.data_page_offset)  # fmt: skip
                yield start, start + chunk.total_compressed_size


def _belongs_to(path: str, columns: Collection[str]) -> bool:
    """Whether a leaf of the schema is one of the columns, or lies inside one."""
    return any(path == name or path.startswith(f"{name}.") for name in columns)


def _read_rows(
    file: TableFile, rows: Collection[int], columns: Collection[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by their place in a table, from the row groups that hold any of them."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    present = [name for name in columns if name in file.schema.names]
    try:
        with pq.ParquetFile(file.path) as opened:
            for number, here in enumerate(_row_groups(opened.metadata)):
                places = [row for row in sorted(rows) if row in here]
                if places:
                    group = opened.read_row_group(number, columns=present)
                    found = group.take([place - here.start for place in places]).to_pylist()
                    yield from zip(places, found, strict=True)
    except (OSError, ArrowException) as error:
        raise TableError(f"{file.path} is damaged: {error}; annotate the shard again") from error


def _row_groups(metadata: pq.FileMetaData) -> Iterator[range]:
    """The rows of each row group."""
    start = 0
    for number in range(metadata.num_row_groups):
        stop = start + metadata.row_group(number).num_rows
        yield range(start, stop)
        start = stop


def _all_rows(path: Path, shard: str, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path):
        rows = pq.read_table(path, columns=None if columns is None else list(columns))
    names = pa.array([shard] * len(rows), pa.string())
    return rows.replace_schema_metadata(None).add_column(0, "shard", names)
