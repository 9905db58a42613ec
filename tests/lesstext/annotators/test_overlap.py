"""Overlap: a row for every sample of the words table, and no image is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lesstext.annotators.overlap import Overlap
from lesstext.annotators.words import Words
from lesstext.errors import UsageError
from tests.lesstext.builders import encoded, picture, sample, write_tar
from tests.lesstext.conftest import Score


@pytest.fixture
def rows(tmp_path: Path, score: Score) -> list[dict[str, Any]]:
    """The fake detector reads `64x12` where the upper quarter of 64 x 48 is magenta."""
    magenta, blank = encoded(picture(64, 48, 0.25)), encoded(picture(64, 48, 0.0))
    members = sample("repeated", magenta, caption="sign 64x12 64x12")
    members += sample("other", magenta, caption="a dog")
    members += sample("none", magenta, caption=None)
    members += sample("blank", blank, caption="sign 64x12")
    members += sample("broken", b"no image", caption="64x12")
    write_tar(tmp_path / "in/00000.tar", members)
    score(tmp_path / "in", out=tmp_path / "words", annotator=Words(detector="fake"))
    score(
        tmp_path / "in",
        out=tmp_path / "overlap",
        annotator=Overlap(),
        inputs={"words": tmp_path / "words"},
    )
    found: list[dict[str, Any]] = pq.read_table(tmp_path / "overlap/00000.parquet").to_pylist()
    return found


def test_every_sample_has_a_row(rows: list[dict[str, Any]]) -> None:
    repeated, other, none, blank, broken = rows
    assert repeated["caption_overlap"] == 0.5 and repeated["n_caption_words"] == 2
    assert repeated["overlaps"] == [{"exact": True, "similarity": 0.0}]  # one letter: not compared
    assert other["caption_overlap"] == other["fuzzy_caption_overlap"] == 0
    assert none["caption_overlap"] is None and none["status"] == "ok"
    assert (blank["caption_overlap"], blank["overlaps"]) == (0, [])
    assert broken["status"] == "decode_error" and broken["error"].startswith("words: ")
    assert broken["caption_overlap"] is None


def test_words_are_needed(tmp_path: Path, score: Score) -> None:
    write_tar(tmp_path / "in/00000.tar", sample("a", encoded(picture(64, 48, 0.25))))
    with pytest.raises(UsageError, match="words"):
        score(tmp_path / "in", out=tmp_path / "o", annotator=Overlap())
