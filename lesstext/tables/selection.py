"""A selection: the set of (shard, key) that a rule keeps, with the rule and its accounting."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from lesstext import __version__
from lesstext.errors import TableError
from lesstext.shards.fingerprint import Fingerprint
from lesstext.storage.paths import Location, cached
from lesstext.storage.validation import validated
from lesstext.tables.metadata import JoinCounts
from lesstext.tables.table import read_parquet_metadata, reading

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 3
_METADATA_KEY = b"lesstext_selection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Samples read = kept + dropped + failed; `failed` counts failures that are not kept."""

    read: int
    kept: int
    dropped: int
    failed: int
    failed_but_kept: int = 0

    def __post_init__(self) -> None:
        adds_up = self.read == self.kept + self.dropped + self.failed
        if not adds_up or min(asdict(self).values()) < 0:
            raise AssertionError(f"the accounting does not add up: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A selection file: its rule, counts, and the fingerprints of the shards it speaks of.

    `annotators` are the ids of those whose tables were read, by name; `tables_digest` recognises
    the tables and `rows_digest` the rows kept; `metadata` is the folder that was joined, if any.
    `joined` counts what found each other, by table, and as `meta` of metadata. `sql` is the
    condition on the joined tables that the rule comes to, where it is one.
    """

    path: Location
    kind: str
    rule: dict[str, Any]
    threshold: float | None
    counts: Counts
    annotators: dict[str, str]
    tables_digest: str
    rows_digest: str
    fingerprints: dict[str, Fingerprint]
    metadata: str | None = None
    joined: dict[str, JoinCounts] = field(default_factory=dict)
    sql: str | None = None

    @property
    def id(self) -> str:
        """Recognises the selection by what it was made from, and by what it keeps."""
        made_from = [self.kind, self.rule, self.tables_digest, self.rows_digest]
        text = json.dumps(made_from, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def as_metadata(self) -> dict[bytes, bytes]:
        """What the file says about itself, as parquet metadata."""
        stored = {name: getattr(self, name) for name in self.__slots__ if name != "path"}
        stored.update(
            counts=asdict(self.counts),
            fingerprints={shard: found.as_json() for shard, found in self.fingerprints.items()},
            joined={name: asdict(counts) for name, counts in self.joined.items()},
            schema_version=SCHEMA_VERSION,
            tool_version=__version__,
        )
        return {_METADATA_KEY: json.dumps(stored, sort_keys=True).encode()}

    def keys_by_shard(self) -> dict[str, pa.ChunkedArray]:
        """Keys kept in each shard that the selection knows, in tar order; read in one pass.

        They stay in memory as Arrow strings: a key's length and about 8 bytes for each.
        """
        import pyarrow.parquet as pq

        columns = ["shard", "key"]
        path = cached(self.path, self.id)
        with reading(self.path):
            rows = pq.read_table(path, columns=columns, read_dictionary=["shard"])
        keys, start = rows.column("key"), 0
        found = dict.fromkeys(self.fingerprints, keys.slice(0, 0))
        for run in rows.column("shard").value_counts().to_pylist():  # rows are sorted by shard
            found[run["values"]] = keys.slice(start, run["counts"])
            start += run["counts"]
        return found

    def n_kept_by_shard(self) -> Counter[str]:
        """How many samples are kept in each shard, in one pass over the rows.

        Raises TableError for rows that no selection has: of a shard that it does not describe, of
        one shard in two places, of one key twice, or not as many as are kept.
        """
        import pyarrow.compute as pc

        counts: Counter[str] = Counter()
        for shard, keys in self._runs():
            if shard not in self.fingerprints:
                raise TableError(
                    f"{self.path}: rows of shard {shard!r}, which it does not describe"
                )
            if shard in counts:
                raise TableError(f"{self.path}: the rows of shard {shard} lie apart")
            n_twice = len(keys) - pc.count_distinct(keys).as_py()
            if n_twice:
                raise TableError(f"{self.path}: {n_twice} keys of shard {shard} stand there twice")
            counts[shard] = len(keys)
        if counts.total() != self.counts.kept:
            raise TableError(
                f"{self.path}: {counts.total()} rows, but it says that {self.counts.kept} are kept"
            )
        return counts

    def _runs(self) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Each run of rows of one shard: its name and the keys."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        shard, chunks = None, list[Any]()
        path = cached(self.path, self.id)
        with reading(self.path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["shard", "key"]):
                start, runs = 0, pc.run_end_encode(batch.column("shard"))
                for name, stop in zip(
                    runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True
                ):
                    if name != shard and chunks:
                        yield str(shard), pa.chunked_array(chunks)
                        chunks = []
                    shard = name
                    chunks.append(batch.column("key").slice(start, stop - start))
                    start = stop
        if chunks:
            yield str(shard), pa.chunked_array(chunks)


def read_keys(path: Location, selection_id: str, shard: str) -> list[str]:
    """Keys that the selection at `path` keeps in one shard, in tar order; reads no description."""
    import pyarrow.parquet as pq

    file = cached(path, selection_id)
    with reading(path):
        table = pq.read_table(file, columns=["key"], filters=[("shard", "=", shard)])
    keys: list[str] = table.column("key").to_pylist()
    return keys


def read_rows(path: Location, selection_id: str, shard: str) -> pa.Table:
    """All columns but `shard` of what the selection at `path` keeps in one shard, in tar order."""
    import pyarrow.parquet as pq

    file = cached(path, selection_id)
    with reading(path):
        rows = pq.read_table(file, filters=[("shard", "=", shard)])
    return rows.drop_columns(["shard"]).replace_schema_metadata(None)


def read_selection(path: Location) -> Selection:
    """Read a selection's description; its rows stay on disk until they are asked for.

    Raises TableError when the file is no selection, or one of another schema version.
    """
    from pyarrow import ArrowException

    where = f"{path} is not a selection"
    try:
        metadata = read_parquet_metadata(path)
    except (OSError, ArrowException) as error:
        raise TableError(f"{where}: {error!r}") from error
    if _METADATA_KEY not in metadata:
        raise TableError(f"{where}: it carries no description of ours")
    text = metadata[_METADATA_KEY]
    version = validated(_Version, text, where, TableError, word="field").schema_version
    if version != SCHEMA_VERSION:
        raise TableError(
            f"{path} is a selection of schema {version}, this version writes and reads "
            f"{SCHEMA_VERSION}: make it again by `lesstext select TABLES --out {path}`"
        )
    stored = validated(_Stored, text, where, TableError, word="field")
    found = {f.name: getattr(stored, f.name) for f in fields(stored) if f.name != "tool_version"}
    found["fingerprints"] = {
        shard: Fingerprint.from_json(text, f"{where}: shard {shard}")
        for shard, text in stored.fingerprints.items()
    }
    return Selection(path=path, **found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    schema_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A Selection as it stands in the file."""

    kind: str
    rule: dict[str, Any]
    threshold: float | None
    counts: Counts
    annotators: dict[str, str]
    tables_digest: str
    rows_digest: str
    fingerprints: dict[str, str]
    metadata: str | None
    joined: dict[str, JoinCounts]
    tool_version: str
    sql: str | None = None
