"""What the report asks of many score tables at once, answered by DuckDB in bounded memory.

Every query streams over the tables and keeps only counts or the few best rows. Every choice of
rows goes by a hash of their identity, so that equal tables give equal answers; the hash is
DuckDB's own, ten times as fast as MD5, and may differ between its versions.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lesstext.errors import TableError, UsageError
from lesstext.tables.checks import find_damage
from lesstext.tables.folder import TableFolder

_STRATA_PER_DECADE = 30
_LOWEST_DECADE = -4
_FAILURE = "status <> 'ok'"
_NOTE = "status = 'ok' AND error IS NOT NULL"
_COUNTED = ("key", "status", "error", "text_area_ratio")
_SHOWN = (
    *("key", "text_area_ratio", "width", "height", "n_regions", "regions"),
    *("image_offset", "image_size"),
)
_USABLE = "status = 'ok' AND text_area_ratio IS NOT NULL"


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


class ScoreRows:
    """The rows of all text-area tables of a folder."""

    def __init__(self, folder: TableFolder) -> None:
        import duckdb

        if "text_area_ratio" not in folder.columns:
            raise UsageError(
                f"{folder.source.folder} holds tables of {folder.annotator_name}; "
                "the report shows those of text_area"
            )
        self.folder = folder
        folder.fetch(_COUNTED)
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
            RowId(*found)
            for side in (below, above)
            for found in self._ask(f"{query} {side}, lot LIMIT {n:d}", threshold=threshold)
        ]

    def stratified(self, n: int) -> list[list[RowId]]:
        """Up to `n` samples drawn by lot from each narrow band of ratios, lowest band first.

        The first band is the ratio 0; the others are 1/30 of a decade wide.
        """
        query = f"""
            SELECT min_by({{'nr': nr, 'row': row}}, lot, {n:d})
            FROM lots WHERE {_USABLE} GROUP BY {_stratum()} ORDER BY {_stratum()}"""
        return [[RowId(row["nr"], row["row"]) for row in band] for (band,) in self._ask(query)]

    def details(self, wanted: Sequence[RowId]) -> dict[RowId, dict[str, Any]]:
        """What is shown of some rows; a table without regions has no such column."""
        by_table: dict[int, set[int]] = {}
        for row_id in wanted:
            by_table.setdefault(row_id.table, set()).add(row_id.row)
        found = self.folder.read_rows(by_table, _SHOWN)
        return {RowId(*place): row for place, row in found.items()}

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

        source = """
            WITH rows AS (
                SELECT file_index AS nr, file_row_number AS row, key, status, error, text_area_ratio
                FROM read_parquet($files, file_row_number = true, hive_partitioning = false)
            ), lots AS (
                SELECT rows.*, name, hash(name, key, row) AS lot
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
