"""From tables and a rule to a selection file.

Everything runs inside DuckDB over the parquet files, so that thousands of tables need neither
much memory nor a second look at any image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.errors import UsageError
from lesstext.storage.files import atomic_path
from lesstext.storage.guard import refuse_overlap
from lesstext.storage.paths import Location, location
from lesstext.tables.checks import Totals, check_rows, count_joined
from lesstext.tables.columns import BASE, METADATA, PLACE, Columns
from lesstext.tables.folder import TableFolder, TableSource, open_tables
from lesstext.tables.metadata import JoinCounts, Metadata, open_metadata
from lesstext.tables.rule import BoundRule, Keep, Rule, bind, lowest_hashes
from lesstext.tables.selection import Counts, Selection
from lesstext.tables.together import check_names, check_together
from lesstext.tables.view import TableView, open_view

if TYPE_CHECKING:
    import pyarrow as pa


def select(
    tables: TableSource | Location | str | Sequence[TableSource | Location | str],
    out: Location | str,
    rule: Rule,
    *,
    metadata: Path | str | None = None,
    control: Location | None = None,
    npy: Location | None = None,
) -> Selection:
    """Apply `rule` to the tables below one or several folders and write the selection to `out`.

    Several are joined sample by sample; each must have a table of every shard. `metadata` is a
    folder of img2dataset or DataComp parquet files to join; `control` is where to write a random
    selection of equal size; `npy` where to write DataComp's subset file.
    Raises TableError for tables that are missing, damaged or do not belong together, UsageError
    for a rule that cannot be used.
    """
    sources = _sources(tables)
    _refuse_targets(
        [target for target in (location(out), control, npy) if target is not None],
        [*(source.folder for source in sources), *([metadata] if metadata is not None else [])],
    )
    with ExitStack() as stack:
        folders = [stack.enter_context(open_tables(source)) for source in sources]
        check_names(folders, (*PLACE, *BASE, METADATA))
        check_together(folders)
        joined = None if metadata is None else open_metadata(Path(metadata))
        bound = bind(rule, _columns(folders, joined))
        needs_uid = npy is not None or (joined is not None and joined.has_uid)
        used = bound.columns | ({"uid"} if needs_uid else set())
        view = stack.enter_context(open_view(folders, used, joined))
        return _Selecting(view, bound, check_rows(view), count_joined(view)).write(
            location(out), control=control, npy=npy
        )


@dataclass(frozen=True, slots=True)
class _Selecting:
    """A rule about to be applied to rows that were checked."""

    view: TableView
    bound: BoundRule
    totals: Totals
    joined: JoinCounts | None

    def write(self, out: Location, *, control: Location | None, npy: Location | None) -> Selection:
        keep = self.bound.keep(self.view, self.totals.ok)
        with self.bound.explained():
            selection = self._write(out, "rule", keep)
            if control is not None:
                n_ok_kept = selection.counts.kept - selection.counts.failed_but_kept
                among = lowest_hashes(self.view, "status = 'ok'", n_ok_kept, self.bound.rule.seed)
                self._write(control, "control", Keep(among, among))
            if npy is not None:
                _write_subset_file(self.view, keep.all, npy)
        return selection

    def _write(self, out: Location, kind: str, keep: Keep) -> Selection:
        """Write the rows, count them, and describe them at the end of the file."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        schema = pa.schema([("shard", pa.string()), ("key", pa.string())])
        query = f"""SELECT shard, key, status <> 'ok' AS has_failed FROM s WHERE {keep.all}
            ORDER BY nr, row_number"""
        n_kept = n_failed = 0
        digest = _RowsDigest()
        with atomic_path(out, "selection") as partial, pq.ParquetWriter(partial, schema) as writer:
            for batch in self.view.batches(query):
                rows = pa.Table.from_batches([batch]).select(["shard", "key"]).cast(schema)
                n_kept += rows.num_rows
                n_failed += pc.sum(batch.column("has_failed")).as_py() or 0
                digest.update(rows)
                writer.write_table(rows)
            counts = self._counts(n_kept, n_failed)
            selection = self._describe(out, kind, keep, counts, digest.hexdigest())
            writer.add_key_value_metadata(selection.as_metadata())
        return selection

    def _counts(self, n_kept: int, n_failed: int) -> Counts:
        return Counts(
            read=self.totals.read,
            kept=n_kept,
            dropped=self.totals.ok - (n_kept - n_failed),
            failed=self.totals.read - self.totals.ok - n_failed,
            failed_but_kept=n_failed,
        )

    def _describe(
        self, out: Location, kind: str, keep: Keep, counts: Counts, rows_digest: str
    ) -> Selection:
        folders, metadata = self.view.folders, self.view.metadata
        return Selection(
            path=out,
            kind=kind,
            rule=self.bound.rule.as_json(),
            threshold=keep.threshold,
            counts=counts,
            annotators={folder.name: folder.annotator for folder in folders},
            tables_digest=_digest(folders),
            rows_digest=rows_digest,
            fingerprints={footer.shard: footer.fingerprint for footer in folders[0].footers},
            metadata=None if metadata is None else str(metadata.folder),
            joined=self.joined,
        )


class _RowsDigest:
    """BLAKE2 of shards and keys, whatever the batches that they come in."""

    def __init__(self) -> None:
        parts = ("shard lengths", "shard", "key lengths", "key")
        self._parts = {part: hashlib.blake2b(digest_size=16) for part in parts}

    def update(self, rows: pa.Table) -> None:
        import numpy as np

        for name in ("shard", "key"):
            for texts in rows.column(name).chunks:
                _, offsets, data = texts.buffers()
                ends = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
                self._parts[f"{name} lengths"].update(np.diff(ends).tobytes())
                self._parts[name].update(memoryview(data or b"")[ends[0] : ends[-1]])

    def hexdigest(self) -> str:
        whole = b"".join(part.digest() for part in self._parts.values())
        return hashlib.blake2b(whole, digest_size=16).hexdigest()


def _sources(
    tables: TableSource | Location | str | Sequence[TableSource | Location | str],
) -> list[TableSource]:
    given = [tables] if isinstance(tables, TableSource | Location | str) else tables
    if not given:
        raise UsageError("no tables given")
    return [it if isinstance(it, TableSource) else TableSource(location(it)) for it in given]


def _refuse_targets(targets: Sequence[Location], inputs: Sequence[Location | str]) -> None:
    """Raise UsageError for files that would lie among the inputs, or be one another."""
    for number, target in enumerate(targets):
        refuse_overlap(target, [*inputs, *targets[:number]])


def _columns(folders: Sequence[TableFolder], metadata: Metadata | None) -> Columns:
    own = {folder.name: folder.columns for folder in folders}
    return Columns(own, None if metadata is None else metadata.types)


def _digest(folders: Sequence[TableFolder]) -> str:
    """Identifies the tables of all folders and what each is called."""
    text = json.dumps([[folder.name, folder.digest] for folder in folders])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _write_subset_file(view: TableView, keep: str, out: Location) -> None:
    """DataComp's subset file: uids as sorted `u8,u8` pairs of their first and last 16 hex digits.

    Raises UsageError when a kept sample has no 32-digit hexadecimal uid.
    """
    import numpy as np

    (n_bad, n_kept) = view.one(
        f"""SELECT count_if(uid IS NULL OR NOT regexp_full_match(uid, '[0-9a-fA-F]{{32}}')),
        count(*) FROM s WHERE {keep}"""
    )
    if n_bad:
        raise UsageError(
            f"--npy: {n_bad} of {n_kept} kept samples have no 32-digit hexadecimal uid"
        )
    batches = view.batches(f"SELECT uid FROM s WHERE {keep}")
    parts = [bytes.fromhex("".join(batch.column(0).to_pylist())) for batch in batches]
    pairs = np.frombuffer(b"".join(parts), dtype=np.dtype(">u8,>u8")).astype("u8,u8")
    with atomic_path(out, "subset") as partial, partial.open("wb") as file:
        np.save(file, np.sort(pairs))
