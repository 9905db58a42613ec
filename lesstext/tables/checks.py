"""What must hold of rows before a rule is applied to them; what does not is named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.errors import TableError, UsageError
from lesstext.tables.columns import DUPLICATE, METADATA, first_line, quoted
from lesstext.tables.metadata import JoinCounts

if TYPE_CHECKING:
    from lesstext.tables.folder import TableFolder
    from lesstext.tables.view import TableView

_FLOATS = frozenset({"FLOAT", "DOUBLE"})


@dataclass(frozen=True, slots=True)
class Totals:
    """Samples in all tables; `duplicates` are those failures whose key is another sample's."""

    read: int
    ok: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class _Fault:
    """Rows that must not be, as a SQL condition; `column` is shown with the message."""

    condition: str
    message: str
    column: str = "key"


def check_rows(view: TableView) -> Totals:
    """Look at every row of the columns in use once.

    Raises TableError, naming table and key, for what cannot be read, for rows that no annotator
    writes (NaN, a `*_ratio` outside [0, 1], one key twice) and for tables of one shard that list
    other samples; UsageError for metadata with several rows for one sample.
    """
    import duckdb

    faults = _faults(view)
    counted = "".join(f", count_if({fault.condition})" for fault in faults)
    try:
        view.load()
        found = view.one(
            f"""SELECT count(*), count_if(status = 'ok'), count_if(status = '{DUPLICATE}'),
            count(DISTINCT hash(nr, key)) FILTER (status <> '{DUPLICATE}'){counted} FROM s"""
        )
    except duckdb.Error as error:
        raise _unreadable(view, error) from error
    read, ok, duplicates, n_keys, *n_faulty = (n or 0 for n in found)  # NULL where no row is
    if read != sum(file.n_rows for file in view.folders[0].files):
        if view.metadata is None:
            raise TableError("the tables changed while they were read; select again")
        raise UsageError(f"--metadata {view.metadata.folder} has several rows for one sample")
    for fault, n in zip(faults, n_faulty, strict=True):
        if n:
            raise _at_fault(view, fault)
    if n_keys != read - duplicates:
        _refuse_repeated_keys(view)
    return Totals(read, ok, duplicates)


def count_joined(view: TableView) -> dict[str, JoinCounts]:
    """How many samples and rows found each other, by table and, as `meta`, of metadata.

    Tables that do not have a row for each sample were refused before.
    """
    joined = {folder.name: _count_table(folder) for folder in view.folders}
    if view.metadata is not None:
        matched, unmatched = view.one("SELECT count(is_joined), count(*) - count(is_joined) FROM s")
        (n_lonely,) = view.one("SELECT count(*) FROM m ANTI JOIN s AS t ON " + view.join_condition)
        joined[METADATA] = JoinCounts(matched, unmatched, n_lonely)
    return joined


def _count_table(folder: TableFolder) -> JoinCounts:
    n_ok = sum(footer.counts.get("ok", 0) for footer in folder.footers)
    return JoinCounts(sum(file.n_rows for file in folder.files), 0, 0, n_ok)


def _faults(view: TableView) -> list[_Fault]:
    """By the convention of names a `*_ratio` lies in [0, 1]; a sum of ratios may exceed 1."""
    faults = [
        _Fault("is_void", "the key or the status is null"),
        _Fault("keys_differ", "the tables disagree about the samples of the shard"),
    ]
    for name in view.used:
        column, is_ours = quoted(name), not name.startswith(f"{METADATA}.")
        if is_ours and view.types[name] in _FLOATS:
            faults.append(_Fault(f"isnan({column})", f"{name} is not a number", name))
        if is_ours and view.is_number(name) and name.endswith("_ratio"):
            limit = "" if name.endswith("_sum_ratio") else f" OR {column} > 1"
            words = "is negative" if name.endswith("_sum_ratio") else "is outside [0, 1]"
            faults.append(_Fault(f"({column} < 0{limit})", f"{name} {words}", name))
    return faults


def _at_fault(view: TableView, fault: _Fault) -> TableError:
    # No WHERE: it would let row groups be skipped whose statistics know of no NaN.
    ((shard, key, value),) = view.one(
        f"""SELECT arg_min((shard, key, {quoted(fault.column)}), (nr, row_number))
        FILTER ({fault.condition}) FROM s"""
    )
    named = fault.column.partition(".")[0]
    folders = [folder for folder in view.folders if folder.name == named] or view.folders
    where = " and ".join(str(folder.origin(shard)) for folder in folders)
    what = fault.message if fault.column == "key" else f"{fault.message}: {value}"
    return TableError(f"{where}: key {key}: {what}; annotate the shard again")


def _refuse_repeated_keys(view: TableView) -> None:
    """Raise TableError for the first key that two samples of a shard have, if there is one."""
    found = view.rows(
        f"""SELECT shard, key, count(*) FROM s WHERE status <> '{DUPLICATE}'
        GROUP BY nr, shard, key HAVING count(*) > 1 ORDER BY nr, key LIMIT 1"""
    )
    for shard, key, n in found:  # none where two keys have one hash
        where = " and ".join(str(folder.origin(shard)) for folder in view.folders)
        raise TableError(f"{where}: {n} rows for key {key}; annotate the shard again")


def find_damage(folder: TableFolder, columns: Collection[str]) -> TableError | None:
    """The first table of which these columns cannot be read, as an error."""
    for file in folder.files:
        present = [name for name in file.schema.names if name in columns]
        reason = why_unreadable(file.path, present)
        if reason is not None:
            origin = folder.origin(file.footer.shard)
            return TableError(f"{origin} is damaged: {reason}; annotate the shard again")
    return None


def _unreadable(view: TableView, error: Exception) -> TableError | UsageError:
    """Which table, or whose metadata, it was that DuckDB could not read."""
    for folder in view.folders:
        damage = find_damage(folder, _columns_of(view, folder.name, folder.columns))
        if damage is not None:
            return damage
    if view.metadata is not None:
        return UsageError(f"--metadata {view.metadata.folder}: {first_line(error)}")
    return TableError(f"the tables cannot be read: {first_line(error)}")


def _columns_of(view: TableView, name: str, columns: Sequence[str]) -> list[str]:
    own = [column for column in columns if f"{name}.{column}" in view.used]
    return list(dict.fromkeys(["key", "status", *own]))


def why_unreadable(path: Path, columns: Sequence[str] | None = None) -> str | None:
    """Why a local table, or these columns of it, cannot be read; None where it can."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=columns):
                batch.validate(full=True)
    except (OSError, ArrowException) as error:
        return first_line(error)
    return None
