"""The page's data as its script reads it: samples by column, all of it as JSON knows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lesstext.report.samples import Shown
    from lesstext.report.sheets import Placed, Sheets
    from lesstext.tables.table import Footer


MAX_CAPTION_CHARS = 1000


def sample_columns(
    samples: Sequence[Shown], placed: Sequence[Placed], footers: Sequence[Footer]
) -> dict[str, list[Any]]:
    """What the page knows of its samples, one list per field.

    A caption may be cut, `captionLength` is its full length; `regions` is None where the table has
    none; a ratio is the shortest decimal number that is the table's float32.
    """
    shards = list(dict.fromkeys(footers[one.id.table].shard for one in samples))
    places = {shard: place for place, shard in enumerate(shards)}
    captions = [place.caption for place in placed]
    columns: dict[str, list[Any]] = {
        "shards": shards,
        "shard": [places[footers[one.id.table].shard] for one in samples],
        "place": [one.id.row for one in samples],
        "key": [one.key for one in samples],
        "status": [one.status for one in samples],
        "error": [one.error for one in samples],
        "ratio": [short(one.ratio) for one in samples],
        "largest": [short(one.largest) for one in samples],
        "width": [one.width for one in samples],
        "height": [one.height for one in samples],
        "nRegions": [one.n_regions for one in samples],
        "regions": [one.regions for one in samples],
        "tile": [[place.width, place.height] for place in placed],
        "missing": [place.missing for place in placed],
        "caption": [None if text is None else text[:MAX_CAPTION_CHARS] for text in captions],
        "captionLength": [len(text or "") for text in captions],
    }
    return columns


def sheet_data(sheets: Sheets) -> dict[str, Any]:
    """Where the thumbnails are."""
    return {
        "folder": sheets.folder,
        "embedded": sheets.embedded,
        "tilePx": sheets.tile_px,
        "tilesPerRow": sheets.tiles_per_row,
        "nTiles": len(sheets.placed),
    }


def short(value: float | None) -> float | None:
    """A float32 as the shortest number that rounds to it.

    >>> short(float(np.float32(0.005)))
    0.005
    """
    if value is None or not math.isfinite(value):
        return None
    return float(str(np.float32(value)))


def panel_data(samples: Sequence[Shown], wholes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By panel: the values of the samples that have one, by their place on the page."""
    return {
        name: {
            "whole": whole,
            "samples": {
                str(place): one.panels[name]
                for place, one in enumerate(samples)
                if name in one.panels
            },
        }
        for name, whole in wholes.items()
    }
