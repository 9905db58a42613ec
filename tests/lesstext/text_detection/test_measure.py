"""The numbers of a row, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lesstext.text_detection.measure import complete
from lesstext.text_detection.protocol import TextRegions, Word


def box(left: float, top: float, right: float, bottom: float) -> NDArray[np.float32]:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float32)


def regions(
    polygons: Sequence[NDArray[np.float32]], scores: Sequence[float], **more: Any
) -> TextRegions:
    return TextRegions(tuple(polygons), np.array(scores, dtype=np.float32), **more)


def measured(found: TextRegions, *, keep_regions: bool = False) -> dict[str, Any]:
    row: dict[str, Any] = {"width": 20, "height": 10}
    complete(row, found, keep_regions=keep_regions)
    return row


def test_boxes_that_overlap() -> None:
    polygons = [box(0, 0, 10, 10), box(5, 0, 10, 10), box(18, 8, 30, 30)]
    row = measured(regions(polygons, [0.5, 0.75, 0.2]), keep_regions=True)
    assert row["text_area_ratio"] == pytest.approx(104 / 200)
    assert row["text_area_sum_ratio"] == pytest.approx(154 / 200)
    assert row["max_region_ratio"] == 0.5
    assert (row["n_regions"], row["max_score"]) == (3, 0.75)
    assert row["regions"][1] == [5, 0, 10, 0, 10, 10, 5, 10]
    assert "words" not in row


def test_nothing_was_found() -> None:
    row = measured(regions([], []))
    ratios = [row[f"{name}_ratio"] for name in ("text_area", "text_area_sum", "max_region")]
    assert (ratios, row["n_regions"], row["max_score"]) == ([0, 0, 0], 0, None)
    assert "regions" not in row


def test_more_regions_than_the_column_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lesstext.text_detection.measure._MAX_REGIONS", 2)
    row = measured(regions([box(0, 0, 1, 1)] * 3, [0.5] * 3))
    assert row["n_regions"] == 2
    assert row["text_area_ratio"] == pytest.approx(1 / 200)


def test_words_stand_in_columns_of_their_own() -> None:
    words = (Word(text="sale", score=0.8, region=box(1, 2, 3, 4)),)
    row = measured(regions([box(1, 2, 3, 4)], [0.8], words=words))
    assert row["n_words"] == 1
    assert row["words"] == [{"text": "sale", "score": 0.8, "region": [1, 2, 3, 2, 3, 4, 1, 4]}]
