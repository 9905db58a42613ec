"""The report of picks: what all rows come to, and the page in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import find_chromium, open_browser

from lesstext.report import write_report
from lesstext.shards.specs import expand_specs
from lesstext.tables.folder import TableSource
from tests.lesstext.annotators.test_picks import Scene
from tests.lesstext.conftest import Score


@pytest.fixture
def page_of_picks(tmp_path: Path, score: Score, colours: None) -> Path:
    scene = Scene(tmp_path, score)
    scene.pick()
    out = tmp_path / "report.html"
    sources = expand_specs([str(tmp_path / "in")])
    write_report([TableSource(tmp_path / "picks")], sources, out, max_text_area=0.02)
    return out


@pytest.mark.skipif(find_chromium() is None, reason="needs chromium or google-chrome")
def test_the_page_tells_of_entities_without_a_complaint(
    page_of_picks: Path, tmp_path: Path
) -> None:
    chromium = find_chromium()
    assert chromium is not None
    with open_browser(chromium, tmp_path / "profile") as page:
        page.open(page_of_picks)
        text = page.evaluate("document.body.innerText")
        assert page.console == []
    # Of the three shards, each has the first six samples; two of them have no mentions.
    assert "6 images whose captions mention nothing" in text
    assert "3 whose mentions are linked to nothing, 6 with candidates." in text
    assert "Most confused pairs" in text and "pink\tred" in text
    assert "red (red)\t3\t1.000\t1.000\t1.000" in text
