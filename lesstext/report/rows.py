"""What the report asks of many tables at once, answered by DuckDB in bounded memory.

Every query streams over the tables and keeps only counts or the few best rows. Every choice of
rows goes by a hash of their identity and the seed, so that equal tables give equal answers; the
hash is DuckDB's own, ten times as fast as MD5, and may differ between its versions.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lesstext.errors import TableError
from lesstext.tables.checks import find_damage
from lesstext.tables.columns import parquet_list
from lesstext.tables.folder import TableFolder

_STRATA_PER_DECADE = 30
_LOWEST_DECADE = -4
_FAILURE = "status <> 'ok'"
_NOTE = "status = 'ok' AND error IS NOT NULL"
_RATIO = "text_area_ratio"
_COUNTED = ("key", "status", "error", _RATIO)
_USABLE = f"status = 'ok' AND {_RATIO} IS NOT NULL"


@dataclass(frozen=True, slots=True, order=True)
class RowId:
    """One row: the table's place in the list of tables, and the row's place in the table."""

    table: int
    row: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """One sample with an error text: why it failed, or what is odd about a usable one."""

    shard: str
    key: str
    error: str


@dataclass(frozen=True, slots=True)
class TroubleGroup:
    """Samples that share a status, with a few of them."""

    status: str
    count: int
    examples: list[Trouble]


class ReportRows:
    """The rows of the report's tables: those of its first folder, joined to others where asked."""

    def __init__(self, folder: TableFolder, seed: int = 0) -> None:
        import duckdb

        self.folder = folder
        self.has_ratio = _RATIO in folder.columns
        self._seed = seed
        folder.fetch([name for name in _COUNTED if name in folder.columns])
        self._connection = duckdb.connect(config={"preserve_insertion_order": False})
        self._connection.execute(
            """CREATE TEMP TABLE shards AS
               SELECT unnest($names::VARCHAR[]) AS name, unnest(range(len($names::VARCHAR[]))) AS nr
            """,
            {"names": [footer.shard for footer in folder.footers]},
        )
        self._files = [glob.escape(str(file.path)) for file in folder.files]

    def counts(self) -> dict[str, int]:
        """Samples by status."""
        found = self._ask("SELECT status, count(*) FROM rows GROUP BY status ORDER BY status")
        return dict(found)

    def at_or_below(self, thresholds: Sequence[float]) -> list[int]:
        """For each of the ascending thresholds, exactly how many usable samples are <= it.

        Thresholds count as float32, as the ratios in the tables and the selections do.
        """
        query = f"""SELECT map_values(histogram(text_area_ratio, $thresholds::FLOAT[]))
                    FROM rows WHERE {_USABLE}"""
        [(in_bins,)] = self._ask(query, thresholds=list(thresholds))
        total, cumulative = 0, []
        for n_in_bin in in_bins[: len(thresholds)] if in_bins else [0] * len(thresholds):
            total += n_in_bin
            cumulative.append(total)
        return cumulative

    def failures(self, n: int) -> list[TroubleGroup]:
        """Failed samples by status, the commonest first, with `n` examples of each."""
        return self._troubles(_FAILURE, n)

    def notes(self, n: int) -> list[TroubleGroup]:
        """Usable samples with something to say about them, such as an unreadable caption."""
        return self._troubles(_NOTE, n)

    def nearest(self, threshold: float, n: int) -> list[RowId]:
        """The `n` usable samples closest to the threshold on each side of it."""
        below = "<= $threshold::FLOAT ORDER BY text_area_ratio DESC"
        above = "> $threshold::FLOAT ORDER BY text_area_ratio"
        query = f"SELECT nr, row FROM lots WHERE {_USABLE} AND text_area_ratio"
        return [
            row_id
            for side in (below, above)
            for row_id in self._row_ids(f"{query} {side}, lot LIMIT {n:d}", threshold=threshold)
        ]

    def stratified(self, n: int) -> list[list[RowId]]:
        """Up to `n` samples drawn by lot from each narrow band of ratios, lowest band first.

        The first band is the ratio 0; the others are 1/30 of a decade wide.
        """
        query = f"""
            SELECT min_by({{'nr': nr, 'row': row}}, lot, {n:d})
            FROM lots WHERE {_USABLE} GROUP BY {_stratum()} ORDER BY {_stratum()}"""
        return [[RowId(row["nr"], row["row"]) for row in band] for (band,) in self._ask(query)]

    def failed(self, n: int) -> list[RowId]:
        """Up to `n` failed samples, drawn by lot."""
        return self._drawn(_FAILURE, n)

    def by_lot(self, n: int) -> list[RowId]:
        """Up to `n` of all samples, drawn by lot."""
        return self._drawn("true", n)

    def seen_by(self, other: TableFolder, condition: str, n: int) -> tuple[int, list[RowId]]:
        """Samples whose ratio is exactly 0 while `condition` holds in another folder's tables: how
        many there are, and up to `n` of them by lot."""
        _fetch_all(other)
        source = f"""lots JOIN (
            SELECT file_index AS nr, file_row_number AS row FROM {_scan(other)} WHERE {condition}
        ) AS seen USING (nr, row) WHERE {_USABLE} AND {_RATIO} = 0"""
        [(count,)] = self._ask(f"SELECT count(*) FROM {source}")
        return count, self._row_ids(f"SELECT nr, row FROM {source} ORDER BY lot LIMIT {n:d}")

    def ask(self, folder: TableFolder, query: str) -> list[tuple[Any, ...]]:
        """A query over the view `rows` of one folder's tables, every column of them."""
        import duckdb

        _fetch_all(folder)
        rows = f"""WITH rows AS (
            SELECT tables.* EXCLUDE (file_row_number), name AS shard,
                   file_index AS nr, file_row_number AS row
            FROM {_scan(folder)} AS tables JOIN shards ON file_index = shards.nr) """
        try:
            found: list[tuple[Any, ...]] = self._connection.execute(rows + query).fetchall()
        except duckdb.Error as error:
            damage = find_damage(folder, ("key", "status"))
            message = f"{folder.source.folder}: the tables cannot be read: {error}"
            raise damage or TableError(message) from error
        return found

    def _drawn(self, condition: str, n: int) -> list[RowId]:
        return self._row_ids(f"SELECT nr, row FROM lots WHERE {condition} ORDER BY lot LIMIT {n:d}")

    def _row_ids(self, query: str, **parameters: Any) -> list[RowId]:
        return [RowId(*found) for found in self._ask(query, **parameters)]

    def _troubles(self, condition: str, n: int) -> list[TroubleGroup]:
        query = f"""
            SELECT status, count(*) AS n,
                   min_by({{'shard': name, 'key': key, 'error': error}}, lot, {n:d})
            FROM lots WHERE {condition} GROUP BY status ORDER BY n DESC, status"""
        return [
            TroubleGroup(
                status, count, [Trouble(x["shard"], x["key"], x["error"] or "") for x in examples]
            )
            for status, count, examples in self._ask(query)
        ]

    def _ask(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query over `rows`, or over `lots`: rows with their shard and a stable hash."""
        import duckdb

        ratio = _RATIO if self.has_ratio else f"NULL::FLOAT AS {_RATIO}"
        source = f"""
            WITH rows AS (
                SELECT file_index AS nr, file_row_number AS row, key, status, error, {ratio}
                FROM read_parquet($files, file_row_number = true, hive_partitioning = false)
            ), lots AS (
                SELECT rows.*, name, hash(name, concat('{self._seed:d} ', key), row) AS lot
                FROM rows JOIN shards ON rows.nr = shards.nr
            ) """
        try:
            cursor = self._connection.execute(source + query, {"files": self._files, **parameters})
            found: list[tuple[Any, ...]] = cursor.fetchall()
        except duckdb.Error as error:
            damage = find_damage(self.folder, _COUNTED)
            raise damage or TableError(f"the tables cannot be read: {error}") from error
        return found


def _stratum() -> str:
    """SQL for a sample's band of ratios, in 1/30 decades; samples without text come first."""
    lowest = _STRATA_PER_DECADE * _LOWEST_DECADE
    band = f"floor({_STRATA_PER_DECADE} * log10(greatest(text_area_ratio, 1e{_LOWEST_DECADE})))"
    return f"CASE WHEN text_area_ratio <= 0 THEN {lowest - 1} ELSE {band} END"


def _scan(folder: TableFolder) -> str:
    """SQL that reads all of a folder's tables, their places in its order in `file_index`."""
    paths = parquet_list(file.path for file in folder.files)
    return f"""read_parquet({paths}, file_row_number = true, hive_partitioning = false,
        union_by_name = {not folder.is_uniform})"""


def _fetch_all(folder: TableFolder) -> None:
    folder.fetch(folder.columns)
