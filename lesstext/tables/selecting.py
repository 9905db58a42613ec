"""From tables and a rule to a selection file.

Everything runs inside DuckDB over the parquet files, so that thousands of tables need neither
much memory nor a second look at any image.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.errors import UsageError
from lesstext.storage.files import atomic_path
from lesstext.storage.guard import refuse_overlap
from lesstext.storage.paths import Location, location
from lesstext.tables.by_products import (
    SUBSET,
    by_products,
    refuse_without_uids,
    suffix_of,
    write_by_product,
)
from lesstext.tables.checks import Totals, check_rows, count_joined
from lesstext.tables.columns import BASE, METADATA, PLACE, Columns, quoted
from lesstext.tables.folder import TableFolder, TableSource, open_tables
from lesstext.tables.metadata import JoinCounts, Metadata, open_metadata
from lesstext.tables.rule import BoundRule, Keep, Rule, bind, lowest_hashes
from lesstext.tables.selection import Counts, Selection
from lesstext.tables.together import check_names, check_together
from lesstext.tables.view import TableView, open_view

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


def select(
    tables: TableSource | Location | str | Sequence[TableSource | Location | str],
    out: Location | str,
    rule: Rule,
    *,
    metadata: Path | str | None = None,
    control: Location | None = None,
    also: Sequence[Location | str] = (),
    carry: Sequence[str] = (),
) -> Selection:
    """Apply `rule` to the tables below one or several folders and write the selection to `out`.

    Several are joined sample by sample; each must have a table of every shard. `metadata` is a
    folder of img2dataset or DataComp parquet files to join; `control` is where to write a random
    selection of equal size; `also` what to write beside it (.csv, .txt, DataComp's .npy). Beside
    each sample stand its uid and status, and the columns named in `carry` that the tables have.
    What is odd, as that nothing is kept, is logged as a warning.
    Raises TableError for tables that are missing, damaged or do not belong together, UsageError
    for a rule that cannot be used.
    """
    sources, out = _sources(tables), location(out)
    beside = by_products(out, also)
    _refuse_targets(
        [out, *([control] if control is not None else []), *beside],
        [*(source.folder for source in sources), *([metadata] if metadata is not None else [])],
    )
    with ExitStack() as stack:
        folders = [stack.enter_context(open_tables(source)) for source in sources]
        check_names(folders, (*PLACE, *BASE, METADATA))
        check_together(folders)
        joined = None if metadata is None else open_metadata(Path(metadata))
        bound = bind(rule, _columns(folders, joined))
        carried = _carried(folders, carry)
        view = stack.enter_context(open_view(folders, bound.columns | {*carried.values()}, joined))
        totals = check_rows(view)
        writing = _Selecting(view, bound, totals, count_joined(view), carried)
        selection = writing.write(out, control=control, also=beside)
    _warn(selection)
    return selection


@dataclass(frozen=True, slots=True)
class _Selecting:
    """A rule about to be applied to rows that were checked; `carried` are the columns that stand
    beside shard and key, by name, as the view calls them."""

    view: TableView
    bound: BoundRule
    totals: Totals
    joined: dict[str, JoinCounts]
    carried: Mapping[str, str]

    def write(
        self, out: Location, *, control: Location | None, also: Sequence[Location]
    ) -> Selection:
        keep = self.bound.keep(self.view, self.totals.ok)
        with self.bound.explained():
            if any(suffix_of(place) == SUBSET for place in also):
                refuse_without_uids(self.view, keep.all)
            selection = self._write(out, "rule", keep)
            if control is not None:
                n_ok_kept = selection.counts.kept - selection.counts.failed_but_kept
                among = lowest_hashes(self.view, "status = 'ok'", n_ok_kept, self.bound.rule.seed)
                self._write(control, "control", Keep(among, among))
            for place in also:
                with self.view.reader(self._query(keep)) as rows:
                    write_by_product(place, rows)
        return selection

    def _query(self, keep: Keep) -> str:
        columns = [f"{quoted(name)} AS {quoted(shown)}" for shown, name in self.carried.items()]
        return f"""SELECT {", ".join(["shard", "key", *columns])} FROM s WHERE {keep.all}
            ORDER BY nr, row_number"""

    def _write(self, out: Location, kind: str, keep: Keep) -> Selection:
        """Write the rows, count them, and describe them at the end of the file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        n_kept = n_ok = 0
        digest = RowsDigest()
        with ExitStack() as stack:
            found = stack.enter_context(self.view.reader(self._query(keep)))
            schema = _plain(found.schema)
            partial = stack.enter_context(atomic_path(out, "selection"))
            writer = stack.enter_context(pq.ParquetWriter(partial, schema))
            for batch in found:
                rows = pa.Table.from_batches([batch]).cast(schema)
                n_kept += rows.num_rows
                n_ok += _count_ok(batch)
                digest.update(rows)
                writer.write_table(rows)
            counts = self._counts(n_kept, n_kept - n_ok)
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
            tables_digest=tables_digest(folders),
            rows_digest=rows_digest,
            fingerprints={footer.shard: footer.fingerprint for footer in folders[0].footers},
            metadata=None if metadata is None else str(metadata.folder),
            joined=self.joined,
            sql=keep.all,
        )


def _count_ok(rows: pa.RecordBatch) -> int:
    import pyarrow.compute as pc

    # Comparing with a text would make pyarrow import pandas where it is installed.
    counts: dict[str, int] = {
        it["values"]: it["counts"] for it in pc.value_counts(rows["status"]).to_pylist()
    }
    return counts.get("ok", 0)


class RowsDigest:
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


def tables_digest(folders: Sequence[TableFolder]) -> str:
    """Identifies the tables of all folders and what each is called."""
    text = json.dumps([[folder.name, folder.digest] for folder in folders])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema with one kind of text, whichever DuckDB gives."""
    import pyarrow as pa

    return pa.schema(
        [
            field.with_type(pa.string()) if field.name in ("shard", "key", *BASE) else field
            for field in schema
        ]
    )


def _carried(folders: Sequence[TableFolder], wanted: Sequence[str]) -> dict[str, str]:
    """The view's columns that stand beside shard and key, by the names that they have there:
    the plain one, or `annotator.column` where several tables have it."""
    carried = {name: name for name in ("uid", "status") if _any_has(folders, name)}
    for column in wanted:
        having = [folder.name for folder in folders if column in folder.columns]
        for name in having:
            shown = column if len(having) == 1 else f"{name}.{column}"
            carried[shown] = f"{name}.{column}"
    return carried


def _any_has(folders: Sequence[TableFolder], column: str) -> bool:
    return any(column in folder.columns for folder in folders)


def _warn(selection: Selection) -> None:
    joined = selection.joined.get(METADATA)
    if joined is not None and joined.matched == 0:
        _log.warning("no sample has a row in --metadata %s", selection.metadata)
    if selection.counts.kept == 0:
        _log.warning("nothing is kept of %d samples", selection.counts.read)
