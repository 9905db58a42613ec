"""Which samples the page shows, and what it knows of each beside its picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from lesstext.errors import TableError
from lesstext.report.panels import Panel, drawable
from lesstext.report.rows import ReportRows, RowId

_NEAR_SHARE, _FAILED_SHARE, _SEEN_SHARE, _NO_TEXT_SHARE = 0.1, 0.05, 0.1, 0.1
_ROWS_AT_A_TIME = 2000
_TEXTS = ("key", "status", "error")
_NUMBERS = ("text_area_ratio", "max_region_ratio", "width", "height")
_WHOLES = ("n_regions", "image_offset", "image_size")
_COLUMNS = (*_TEXTS, *_NUMBERS, *_WHOLES, "regions")

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.tables.folder import TableFolder
_MAX_ERROR_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One sample on the page; regions are flat x, y lists in whole pixels of the full image.

    `regions` holds the largest ones only and is None where the table has none.
    """

    id: RowId
    key: str
    status: str
    error: str | None
    ratio: float | None
    largest: float | None
    width: int | None
    height: int | None
    n_regions: int
    regions: list[list[int]] | None
    image_offset: int | None
    image_size: int | None
    panels: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShownPanel:
    """A panel, and the tables that it shows."""

    folder: TableFolder
    panel: Panel


@dataclass(frozen=True, slots=True)
class Choice:
    """The samples to be shown, each once; `n_seen` says by table how many samples have a ratio of
    exactly 0 though that table saw text."""

    ids: list[RowId]
    n_seen: dict[str, int]


def choose(
    rows: ReportRows, others: Sequence[ShownPanel], max_text_area: float, n_samples: int
) -> Choice:
    """Pick samples: all of them where they are few, else by lot from each band of ratios in turn.

    Before the bands come the samples nearest to the threshold, up to a tenth of `n_samples` on
    each side, up to as many of exactly 0 in which another table saw text, and up to a twentieth
    that failed: so that what people look for first is there, and rare ratios show up too.
    Bands that are all there leave room, which goes to any samples by lot.
    """
    n_seen: dict[str, int] = {}
    seen: list[RowId] = []
    if rows.has_ratio:
        for other in others:
            if other.panel.text_seen is not None:
                n = round(_SEEN_SHARE * n_samples)
                n_seen[other.folder.name], found = rows.seen_by(
                    other.folder, other.panel.text_seen, n
                )
                seen += found
    if not rows.has_ratio or sum(rows.counts().values()) <= n_samples:
        return Choice(rows.by_lot(n_samples), n_seen)
    bands = rows.stratified(max(12, n_samples // 8))
    without_text = bands[0] if bands else []
    wanted = [
        *rows.nearest(max_text_area, round(_NEAR_SHARE * n_samples)),
        *seen[: round(_SEEN_SHARE * n_samples)],
        *rows.failed(round(_FAILED_SHARE * n_samples)),
        *without_text[: round(_NO_TEXT_SHARE * n_samples)],
        *(row for turn in zip_longest(*bands) for row in turn if row is not None),
        *rows.by_lot(n_samples),
    ]
    return Choice(list(islice(_unique(wanted), n_samples)), n_seen)


def load(rows: ReportRows, chosen: Iterable[RowId], others: Sequence[ShownPanel]) -> list[Shown]:
    """Read the chosen rows; ordered by ratio, failures last, equal ratios in table order."""
    _check_types(rows.folder)
    found: list[Shown] = []
    for lot in _lots(sorted(chosen)):
        panels = {other.folder.name: _panel_values(other, lot) for other in others}
        for place, row in rows.folder.read_rows(lot, _COLUMNS).items():
            values = {name: of[place] for name, of in panels.items() if of.get(place) is not None}
            found.append(_shown(RowId(*place), row, values))
    return sorted(found, key=lambda one: (one.ratio is None, one.ratio or 0.0, one.id))


def _check_types(folder: TableFolder) -> None:
    """Raise TableError for a table that holds something else where text or a number is to be."""
    from pyarrow import types

    def is_text(kind: pa.DataType) -> bool:
        return bool(types.is_string(kind) or types.is_large_string(kind))

    def is_number(kind: pa.DataType) -> bool:
        return bool(types.is_integer(kind) or types.is_floating(kind))

    wanted = (
        (_TEXTS, is_text, "text"),
        (_NUMBERS, is_number, "numbers"),
        (_WHOLES, types.is_integer, "whole numbers"),
    )
    for file in folder.files:
        kinds = dict(zip(file.schema.names, file.schema.types, strict=True))
        for names, fits, words in wanted:
            for name in names:
                if name in kinds and not fits(kinds[name]) and not types.is_null(kinds[name]):
                    raise TableError(
                        f"{folder.origin(file.footer.shard)}: {name} holds {kinds[name]}, not "
                        f"{words}; annotate the shard again"
                    )


def _lots(chosen: Sequence[RowId]) -> Iterator[dict[int, set[int]]]:
    """Rows by table, a bounded number at a time."""
    for start in range(0, len(chosen), _ROWS_AT_A_TIME):
        lot: dict[int, set[int]] = {}
        for row_id in chosen[start : start + _ROWS_AT_A_TIME]:
            lot.setdefault(row_id.table, set()).add(row_id.row)
        yield lot


def _panel_values(other: ShownPanel, lot: Mapping[int, set[int]]) -> dict[tuple[int, int], Any]:
    found = other.folder.read_rows(lot, ("status", *other.panel.columns))
    return {place: other.panel.sample(row) for place, row in found.items() if row["status"] == "ok"}


def _shown(row_id: RowId, row: Mapping[str, Any], panels: dict[str, Any]) -> Shown:
    error = row.get("error")
    return Shown(
        id=row_id,
        key=row["key"],
        status=row["status"],
        error=None if error is None else error[:_MAX_ERROR_CHARS],
        ratio=row.get("text_area_ratio"),
        largest=row.get("max_region_ratio"),
        width=row.get("width"),
        height=row.get("height"),
        n_regions=row.get("n_regions") or 0,
        regions=drawable(row.get("regions")),
        image_offset=row.get("image_offset"),
        image_size=row.get("image_size"),
        panels=panels,
    )


def _unique(rows: Iterable[RowId]) -> Iterable[RowId]:
    return dict.fromkeys(rows)
