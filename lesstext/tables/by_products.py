"""What is written beside a selection for others to read: csv, key lists, DataComp's subset file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.errors import UsageError
from lesstext.storage.files import atomic_path
from lesstext.storage.paths import Location, location

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.tables.view import TableView

SUBSET = "npy"
_SUFFIXES = ("csv", "txt", SUBSET)


def suffix_of(place: Location) -> str:
    """What follows the last dot of a file's name."""
    return place.name.rpartition(".")[2]


def by_products(out: Location, names: Sequence[Location | str]) -> list[Location]:
    """Where by-products of the selection `out` lie: one of a bare name beside it.

    Raises UsageError for a selection that would be no parquet file, and for a suffix that none has.
    """
    if suffix_of(out) != "parquet":
        raise UsageError(
            f"--out {out}: a selection is a parquet file; give --out NAME.parquet and, for a list "
            "of its keys beside it, --also keys.csv or --also keys.txt"
        )
    places = [_beside(out, name) for name in names]
    for place in places:
        if suffix_of(place) not in _SUFFIXES:
            raise UsageError(
                f"--also {place.name}: by its suffix it is none of .csv (all columns), .txt "
                "(shard/key, a line each) and .npy (DataComp's subset file)"
            )
    return places


def refuse_without_uids(view: TableView, keep: str) -> None:
    """Raise UsageError where a sample that is kept has no 32-digit hexadecimal uid."""
    (n_bad, n_kept) = view.one(
        f"""SELECT count_if(uid IS NULL OR NOT regexp_full_match(uid, '[0-9a-fA-F]{{32}}')),
        count(*) FROM s WHERE {keep}"""
    )
    if n_bad:
        raise UsageError(
            f"--also of .npy: {n_bad} of {n_kept} kept samples have no 32-digit hexadecimal uid"
        )


def write_by_product(place: Location, rows: pa.RecordBatchReader) -> None:
    """Write one, of a selection's rows."""
    kind = suffix_of(place)
    with atomic_path(place, "subset" if kind == SUBSET else "keys") as partial:
        if kind == SUBSET:
            _write_subset(rows, partial)
        elif kind == "csv":
            _write_csv(rows, partial)
        else:
            _write_lines(rows, partial)


def _beside(out: Location, name: Location | str) -> Location:
    if isinstance(name, str) and "/" not in name:
        return out.with_name(name)
    return location(name)


def _write_csv(rows: pa.RecordBatchReader, partial: Path) -> None:
    from pyarrow import csv

    with csv.CSVWriter(partial, rows.schema) as writer:
        for batch in rows:
            writer.write(batch)


def _write_lines(rows: pa.RecordBatchReader, partial: Path) -> None:
    with partial.open("w", encoding="utf-8") as file:
        for batch in rows:
            for row in batch.select(["shard", "key"]).to_pylist():
                file.write(f"{row['shard']}/{row['key']}\n")


def _write_subset(rows: pa.RecordBatchReader, partial: Path) -> None:
    """DataComp's: uids as sorted `u8,u8` pairs of their first and last 16 hex digits."""
    import numpy as np

    parts = [bytes.fromhex("".join(batch.column("uid").to_pylist())) for batch in rows]
    pairs = np.frombuffer(b"".join(parts), dtype=np.dtype(">u8,>u8")).astype("u8,u8")
    with partial.open("wb") as file:
        np.save(file, np.sort(pairs))
