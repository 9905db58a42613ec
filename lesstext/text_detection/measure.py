"""From detected regions to the numbers of a score table's row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lesstext.geometry import area_ratios
from lesstext.shards.samples import Row
from lesstext.text_detection.protocol import TextRegions, Word

_MAX_REGIONS = int(np.iinfo(np.int16).max)


def complete(row: Row, regions: TextRegions, *, keep_regions: bool) -> None:
    """Fill in what the regions, in the full image's frame, say about the image."""
    ratios = area_ratios(regions.polygons, row["width"], row["height"])
    row.update(
        text_area_ratio=ratios.union,
        text_area_sum_ratio=ratios.sum,
        n_regions=min(len(regions.polygons), _MAX_REGIONS),
        max_region_ratio=ratios.max_region,
        max_score=float(regions.scores.max()) if len(regions.scores) else None,
    )
    if keep_regions:
        row["regions"] = [polygon.ravel().tolist() for polygon in regions.polygons]
    if regions.words is not None:
        row.update(words_columns(regions.words))


def words_columns(words: Sequence[Word]) -> Row:
    """The columns `n_words` and `words` of a table of words; regions are in the full frame."""
    return {
        "n_words": len(words),
        "words": [
            {"text": word.text, "score": word.score, "region": word.region.ravel().tolist()}
            for word in words
        ],
    }
