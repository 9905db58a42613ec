"""Tables: one parquet per shard, one row per sample including failures, in tar order.

The footer says what the table was made from, so that a table is *done* exactly when its footer
matches the shard, the annotator, the tables that it read and the schema. What the columns of an
annotator mean is not known here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext import __version__
from lesstext.errors import StorageError, TableError
from lesstext.shards.fingerprint import Fingerprint, fingerprint
from lesstext.storage.files import atomic_path
from lesstext.storage.paths import Location
from lesstext.storage.validation import validated

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SCHEMA_VERSION = 2
TABLE_SUFFIX = ".parquet"
STATS_SUFFIX = "_stats.json"
_FOOTER_KEY = b"lesstext"
_ROWS_PER_GROUP = 4096
_COMPRESSION = "zstd"
_END_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a table says about itself.

    `name` is the annotator's name; `annotator` its id and `settings` its options, which together
    decide the contents for a given shard and `inputs`: by name, the tables of other annotators
    that were read, each with its `annotator` id and `digest`.
    """

    shard: str
    fingerprint: Fingerprint
    sha256: str
    name: str
    annotator: str
    settings: dict[str, Any]
    inputs: dict[str, dict[str, str]]
    counts: dict[str, int]
    problems: list[str]
    schema_version: int = SCHEMA_VERSION
    tool_version: str = __version__

    def as_bytes(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["fingerprint"] = self.fingerprint.as_json()
        return json.dumps(fields, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes, path: Location) -> Footer:
        """What `as_bytes` wrote; raises TableError that names the table and the field."""
        where = f"{path} is not a table"
        version = validated(_Version, data, where, TableError, word="field").schema_version
        if version != SCHEMA_VERSION:
            raise TableError(
                f"{path} has schema {version}, this version writes and reads {SCHEMA_VERSION}: "
                "annotate again into another folder"
            )
        stored = validated(_StoredFooter, data, where, TableError, word="field")
        fields = {f.name: getattr(stored, f.name) for f in dataclass_fields(stored)}
        fields["fingerprint"] = Fingerprint.from_json(stored.fingerprint, where)
        return cls(**fields)

    @property
    def n_samples(self) -> int:
        return sum(self.counts.values())

    @property
    def n_failed(self) -> int:
        return self.n_samples - self.counts.get("ok", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    schema_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredFooter:
    """A Footer as it stands in the file."""

    shard: str
    fingerprint: str
    sha256: str
    name: str
    annotator: str
    settings: dict[str, Any]
    inputs: dict[str, dict[str, str]]
    counts: dict[str, int]
    problems: list[str]
    schema_version: int
    tool_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The annotator's name, id and settings; `inputs` are the ids of those whose tables it read."""

    name: str
    annotator: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    @classmethod
    def of(cls, footer: Footer) -> Origin:
        return cls(
            name=footer.name,
            annotator=footer.annotator,
            settings=footer.settings,
            inputs={name: made["annotator"] for name, made in footer.inputs.items()},
        )

    def difference(self, other: Origin) -> str | None:
        """In words, how this one differs from the other; None where they are the same."""
        if self.name != other.name:
            return f"annotator {self.name}, not {other.name}"
        if self.annotator != other.annotator:
            return f"annotator id {self.annotator!r}, not {other.annotator!r}"
        settings = _differences("setting", self.settings, other.settings)
        return "; ".join(settings + _differences("input", self.inputs, other.inputs)) or None


def _differences(what: str, mine: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    return [
        f"{what} {name}={_shown(mine, name)}, not {_shown(others, name)}"
        for name in sorted(mine.keys() | others.keys())
        if _shown(mine, name) != _shown(others, name)
    ]


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "(absent)"


def note_mixed(footer: Footer, first: Footer) -> list[str]:
    """What to say of a table that was made otherwise than the first one of its folder."""
    differs = Origin.of(footer).difference(Origin.of(first))
    if differs is None:
        return []
    return [f"its table was made otherwise than that of shard {first.shard}: {differs}"]


def table_path(folder: Location, shard: str) -> Location:
    """Where a shard's table lies below a folder of tables."""
    return folder / f"{shard}{TABLE_SUFFIX}"


def stats_path(folder: Location, shard: str) -> Location:
    """Where timings and other facts that may differ between equal runs lie."""
    return folder / f"{shard}{STATS_SUFFIX}"


class TableWriter:
    """Streams rows into one parquet; its bytes depend on the rows and the footer alone.

    The file becomes visible under its final name when the `with` block ends without an exception,
    and `finish` must have been called by then.
    """

    def __init__(
        self, path: Location, schema: pa.Schema, before: Callable[[Path], object] | None = None
    ) -> None:
        """`before` is called with the finished file, which then becomes visible."""
        self._path = path
        self._schema = schema
        self._before = before
        self._rows: list[Mapping[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._footer: Footer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> TableWriter:
        import pyarrow.parquet as pq

        self._partial = self._stack.enter_context(atomic_path(self._path))
        writer = pq.ParquetWriter(self._partial, self._schema, compression=_COMPRESSION)
        self._writer = self._stack.enter_context(writer)
        return self

    def __exit__(self, *exc_info: Any) -> bool | None:
        if exc_info[0] is not None:
            return self._stack.__exit__(*exc_info)
        with self._stack:
            if self._footer is None:
                raise RuntimeError("a table was closed before finish() was called")
            self._take_rows()
            self._write_groups(least=1)
            self._writer.add_key_value_metadata({_FOOTER_KEY: self._footer.as_bytes()})
            self._writer.close()
            if self._before is not None:
                self._before(self._partial)
        return None

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row; columns that are missing become null."""
        self._rows.append(row)
        if len(self._rows) == _ROWS_PER_GROUP:
            self._take_rows()
            self._write_groups(least=_ROWS_PER_GROUP)

    def add_table(self, table: pa.Table) -> None:
        """Append the rows of a table that has at least the columns of this one."""
        self._take_rows()
        self._tables.append(table.select(self._schema.names))
        self._write_groups(least=_ROWS_PER_GROUP)

    def finish(self, footer: Footer) -> None:
        """Set the footer that the file will carry."""
        self._footer = footer

    def _take_rows(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._tables.append(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def _write_groups(self, least: int) -> None:
        """Write row groups as long as there are `least` rows; however they came, the same bytes."""
        import pyarrow as pa

        while sum(table.num_rows for table in self._tables) >= least:
            together = pa.concat_tables(self._tables).combine_chunks()
            self._writer.write_table(together.slice(0, _ROWS_PER_GROUP))
            self._tables = [together.slice(_ROWS_PER_GROUP)]


def read_footer(path: Location, metadata: Mapping[bytes, bytes] | None = None) -> Footer:
    """Read a table's footer, from its parquet `metadata` where that was read already.

    Raises TableError where there is none that we understand.
    """
    from pyarrow import ArrowException

    try:
        end = None if metadata is not None else _read_metadata(path)
    except (OSError, ArrowException) as error:
        raise TableError(f"{path} is not a table: {error!r}") from error
    if end is not None:
        metadata = end.metadata
    if not metadata or _FOOTER_KEY not in metadata:
        raise TableError(f"{path} is not a table: it carries no footer of ours")
    footer = Footer.from_bytes(metadata[_FOOTER_KEY], path)
    if end is not None and end.num_rows != footer.n_samples:
        raise TableError(f"{path}: {end.num_rows} rows, but its footer counts {footer.n_samples}")
    return footer


@contextmanager
def reading(path: Location) -> Iterator[None]:
    """Raise TableError that names the file where a block cannot read rows of it."""
    from pyarrow import ArrowException

    try:
        yield
    except StorageError:
        raise
    except (OSError, ArrowException, KeyError) as error:
        words = " ".join(str(error).split())[:200]
        raise TableError(f"{path} is damaged: {words}; make it again") from error


def read_parquet_metadata(path: Location) -> dict[bytes, bytes]:
    """The key-value metadata of a parquet file; of a remote one only the end is read.

    Raises OSError and ArrowException.
    """
    return dict(_read_metadata(path).metadata or {})


def _read_metadata(path: Location) -> pq.FileMetaData:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(path, Path):
        return pq.read_metadata(path)
    end = path.read_bytes(start=-_END_BYTES)
    n_missing = int.from_bytes(end[-8:-4], "little") + 8 - len(end)
    if n_missing > 0 and end.endswith(b"PAR1"):
        end = path.read_bytes(start=-(len(end) + n_missing))
    return pq.read_metadata(pa.BufferReader(end))


def table_digest(path: Location) -> str:
    """Recognises a table: its size, and BLAKE2 of its first and last 64 KiB.

    The end of a parquet file holds the sizes and statistics of all its columns. Raises OSError.
    """
    if isinstance(path, Path):
        return _digest(fingerprint(path))
    size = int(path.info()["size"])
    edges = path.read_bytes(stop=_END_BYTES)
    if size > _END_BYTES:
        edges += path.read_bytes(start=max(_END_BYTES, size - _END_BYTES))
    return _digest(Fingerprint(size, hashlib.blake2b(edges, digest_size=16).hexdigest()))


def _digest(table: Fingerprint) -> str:
    return f"{table.size_bytes}-{table.edges_blake2}"


def find_tables(folder: Path) -> list[Path]:
    """All tables below a folder, sorted; raises TableError when there are none."""
    if not folder.is_dir():
        raise TableError(f"{folder} is not a folder of tables")
    tables = sorted(p for p in folder.rglob(f"*{TABLE_SUFFIX}") if not p.name.startswith("."))
    if not tables:
        raise TableError(f"{folder} holds no tables ({TABLE_SUFFIX})")
    return tables


def table_names(folder: Location) -> set[str]:
    """The shards of the tables below a folder, by where the tables lie; often none."""
    start = len(f"{str(folder).rstrip('/')}/")
    paths = folder.rglob(f"*{TABLE_SUFFIX}")
    return {str(path)[start:].removesuffix(TABLE_SUFFIX) for path in paths}
