"""Which samples the page shows, so that every threshold has neighbours on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesstext.report.pictures import Picture, PictureReader
    from lesstext.report.rows import RowId, ScoreRows

N_SHOWN = 12
MAX_CAPTION_CHARS = 1000
MAX_DRAWN_REGIONS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One sample on the page; regions are flat x, y lists in pixels of the full image.

    `regions` holds the largest ones only and is None where the table has none; `caption` may be
    cut to its first characters, `caption_length` is its full length.
    """

    shard: str
    key: str
    ratio: float
    width: int
    height: int
    n_regions: int
    regions: list[list[float]] | None
    image: str | None
    missing: str | None
    caption: str | None
    caption_length: int


def choose(rows: ScoreRows, max_text_area: float, n_examples: int) -> list[RowId]:
    """Pick samples: the nearest ones around the threshold, some without text, then every band.

    Bands of ratios take turns until `n_examples` are found, so that rare ratios show up too.
    """
    n_near = min(N_SHOWN, n_examples // 2)
    bands = rows.stratified(max(N_SHOWN, n_examples // 8))
    without_text = bands[0][:N_SHOWN] if bands else []
    in_turns = (row for turn in zip_longest(*bands) for row in turn if row is not None)
    wanted = [*rows.nearest(max_text_area, n_near), *without_text, *in_turns]
    return list(islice(_unique(wanted), n_examples))


def load(
    rows: ScoreRows,
    chosen: Sequence[RowId],
    pictures: PictureReader,
) -> list[Example]:
    """Read the chosen samples; ordered by ratio, equal ratios (most are 0) as they were chosen."""
    details = sorted(rows.details(chosen).items())
    examples: dict[RowId, Example] = {}
    for table, group in groupby(details, key=lambda item: item[0].table):
        footer = rows.folder.footers[table]
        of_shard = dict(group)
        found = pictures.read_all(footer, list(of_shard.values()))
        for (row_id, row), picture in zip(of_shard.items(), found, strict=True):
            examples[row_id] = _example(footer.shard, row, picture)
    return sorted((examples[row_id] for row_id in chosen), key=lambda example: example.ratio)


def _example(shard: str, row: dict[str, Any], picture: Picture) -> Example:
    caption = picture.caption
    return Example(
        shard=shard,
        key=row["key"],
        ratio=row["text_area_ratio"],
        width=row["width"],
        height=row["height"],
        n_regions=row["n_regions"],
        regions=_drawable(row.get("regions")),
        image=picture.image,
        missing=picture.missing,
        caption=None if caption is None else caption[:MAX_CAPTION_CHARS],
        caption_length=len(caption or ""),
    )


def _drawable(regions: list[list[float]] | None) -> list[list[float]] | None:
    if regions is None:
        return None
    largest = sorted(regions, key=_extent, reverse=True)[:MAX_DRAWN_REGIONS]
    return [[round(value, 1) for value in region] for region in largest]


def _extent(region: list[float]) -> float:
    """Area of the region's bounding box, in square pixels."""
    xs, ys = region[::2], region[1::2]
    return (max(xs) - min(xs)) * (max(ys) - min(ys))


def _unique(rows: Iterable[RowId]) -> Iterable[RowId]:
    return dict.fromkeys(rows)
