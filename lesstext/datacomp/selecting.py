"""From DataComp's metadata, with no shards and no tables, to a subset list."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesstext.datacomp.multisets import UID, Uids
from lesstext.datacomp.subset_file import BLOCK, Record, refuse_outputs, write_subset
from lesstext.errors import UsageError
from lesstext.storage.scratch import scratch_folder
from lesstext.tables.columns import METADATA, Columns, first_line, is_number, literal, quoted
from lesstext.tables.metadata import Metadata, open_metadata
from lesstext.tables.predicate import label, parse_predicate
from lesstext.tables.rule import Rule

if TYPE_CHECKING:
    import duckdb

_MEMORY = "512MB"  # what is more is spilled to disk
_THREADS = 8  # each needs memory of its own


def select_uids(
    metadata: Path, rule: Rule, out: Path, joined: Mapping[str, Path] | None = None
) -> Record:
    """Write the uids of those rows of a metadata folder that a rule keeps, and their record.

    `joined` are further folders of parquet with a column uid, by name; a row of the metadata has
    NULL in their columns, `name.column`, where they do not know its uid. A uid is listed as often
    as the metadata lists it. `where` keeps rows for which it is true. A fraction F keeps, as
    DataComp's baselines do, every row whose value is no worse than that at place int(F * n) of
    the n rows in order, the first being place 0: one more than F, and all ties. NaN counts as NULL.
    Raises UsageError for a rule that cannot be used, a uid that is none, or one that a joined
    folder holds twice.
    """
    folders = {METADATA: metadata, **(joined or {})}
    if len(folders) <= len(joined or {}):
        raise UsageError(f"--join {METADATA}=…: that is what the metadata itself is called")
    refuse_outputs(out, list(folders.values()))
    sources = {name: open_metadata(folder, _flag(name)) for name, folder in folders.items()}
    for name, source in sources.items():
        if not source.has_uid:
            raise UsageError(f"{_flag(name)} {folders[name]} has no column uid")
    pool = _Pool(sources, rule)
    with scratch_folder() as scratch, _connected(scratch) as connection:
        pool.read(connection)
        threshold = pool.threshold(connection)
        told = {
            **_as_json(rule),
            "threshold": threshold,
            "rows": _one(connection, "SELECT count(*) FROM pool"),
            "metadata": {name: str(folder) for name, folder in folders.items()},
        }
        return write_subset(out, pool.kept(connection, threshold), told)


class _Pool:
    """The metadata's rows as the table `pool`: f0 and f1, the halves of the uid, and `value`:
    whether to keep the row, or the number that the rule goes by."""

    def __init__(self, sources: Mapping[str, Metadata], rule: Rule) -> None:
        self._sources, self._rule = sources, rule
        columns = Columns({name: source.types for name, source in sources.items()})
        if rule.where is not None:
            predicate = parse_predicate(rule.where, columns)
            self._value, self._used = predicate.sql, predicate.columns
            self._shown = label(rule.where)
        else:
            self._shown = f"--by {rule.by}"
            with _named(self._shown):
                by = columns.resolve(str(rule.by))
            self._value, self._used = quoted(by), frozenset({by})
        self._order = "DESC" if rule.highest else "ASC"

    def read(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the table; raises UsageError for what cannot be read or joined."""
        places = {name: f"s{place}" for place, name in enumerate(self._sources)}
        for name, source in self._sources.items():
            own = [it.partition(".")[2] for it in self._used if it.partition(".")[0] == name]
            connection.execute(
                f"""CREATE VIEW {places[name]} AS SELECT {_half(1)} AS f0, {_half(17)} AS f1,
                m.* FROM ({source.by_uid(own, name)}) AS m"""
            )
        pool, *others = places.values()
        joins = "".join(
            f" LEFT JOIN {one} ON {pool}.f0 = {one}.f0 AND {pool}.f1 = {one}.f1" for one in others
        )
        known = ["f0", "f1", "uid"]
        columns = [*(f"{pool}.{name} AS {name}" for name in known), *map(quoted, self._used)]
        connection.execute(f"CREATE VIEW s AS SELECT {', '.join(columns)} FROM {pool}{joins}")
        with _explained(self._shown):
            self._refuse_type(connection)
            connection.execute(f"CREATE TABLE pool AS SELECT f0, f1, {self._value} AS value FROM s")
            self._refuse_rows(connection, pool)

    def threshold(self, connection: duckdb.DuckDBPyConnection) -> float | None:
        """Make the table `cut` of the value at the rule's place, empty where all are kept."""
        if self._rule.keep_fraction is None:
            return None
        place = int(_one(connection, "SELECT count(*) FROM pool") * self._rule.keep_fraction)
        connection.execute(
            f"""CREATE TABLE cut AS SELECT value FROM pool
            ORDER BY value {self._order} NULLS LAST LIMIT 1 OFFSET {place}"""
        )
        cut = connection.execute("SELECT value FROM cut WHERE value IS NOT NULL").fetchone()
        return None if cut is None else float(cut[0])

    def kept(
        self, connection: duckdb.DuckDBPyConnection, threshold: float | None
    ) -> Iterator[Uids]:
        """The uids that are kept, sorted, in blocks."""
        if self._rule.where is not None:
            keep = "value"
        elif threshold is None:
            keep = "value IS NOT NULL"
        else:  # compared with the value itself: a number written out might be another
            keep = f"value {'>=' if self._rule.highest else '<='} (SELECT value FROM cut)"
        rows = connection.sql(f"SELECT f0, f1 FROM pool WHERE {keep} ORDER BY f0, f1")
        for batch in rows.to_arrow_reader(BLOCK):
            block = np.empty(batch.num_rows, UID)
            block["f0"], block["f1"] = batch.column(0).to_numpy(), batch.column(1).to_numpy()
            yield block

    def _refuse_type(self, connection: duckdb.DuckDBPyConnection) -> None:
        kind = connection.execute(f"DESCRIBE SELECT {self._value} FROM s").fetchall()[0][1]
        if self._rule.where is not None and kind != "BOOLEAN":
            raise UsageError(f"{self._shown} is {kind}, neither true nor false")
        if self._rule.where is None and not is_number(kind):
            raise UsageError(f"{self._shown}: it is {kind}, not a number")

    def _refuse_rows(self, connection: duckdb.DuckDBPyConnection, pool: str) -> None:
        n_bad = _one(connection, "SELECT count(*) FROM pool WHERE f0 IS NULL OR f1 IS NULL")
        if n_bad:
            folder = self._sources[METADATA].folder
            raise UsageError(f"--metadata {folder}: {n_bad} rows have no 32-digit hexadecimal uid")
        n_rows, n_joined = (
            _one(connection, f"SELECT count(*) FROM {table}") for table in (pool, "pool")
        )
        if n_joined != n_rows:
            names = " or ".join(name for name in self._sources if name != METADATA)
            raise UsageError(
                f"--join: {names} has several rows of one uid, of which none can count"
            )


@contextmanager
def _connected(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    with duckdb.connect(scratch / "pool.duckdb") as connection:
        threads = min(_THREADS, os.cpu_count() or 1)
        connection.execute(f"SET temp_directory = {literal(str(scratch / 'spill'))}")
        connection.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = {threads}")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET autoload_known_extensions = false")  # nothing is ever downloaded
        # It takes a column for free of NaN when the largest value in its statistics is finite.
        connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        yield connection


@contextmanager
def _explained(shown: str) -> Iterator[None]:
    """What DuckDB finds wrong with a rule or its files, in one line."""
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise UsageError(f"the metadata cannot be read: {first_line(error)}") from error
    except duckdb.Error as error:
        raise UsageError(f"{shown}: {first_line(error)}") from error


@contextmanager
def _named(shown: str) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{shown}: {error}") from error


def _half(start: int) -> str:
    """SQL for sixteen digits of a uid as a number, NULL where the uid is none."""
    return f"""CASE WHEN regexp_full_match(m.uid, '[0-9a-fA-F]{{32}}')
        THEN CAST('0x' || substr(m.uid, {start}, 16) AS UBIGINT) END"""


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    [(answer,)] = connection.execute(sql).fetchall()
    return int(answer)


def _flag(name: str) -> str:
    return "--metadata" if name == METADATA else f"--join {name}="


def _as_json(rule: Rule) -> dict[str, Any]:
    """What of a rule decides which uids are kept."""
    if rule.where is not None:
        return {"where": rule.where}
    return {"keep_fraction": rule.keep_fraction, "by": rule.by, "highest": rule.highest}
