"""The report of picks: what all rows come to, and the page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Page, find_chromium, open_browser
from typer.testing import CliRunner

from lesstext.cli.app import app
from tests.lesstext.annotators.test_picks import Scene
from tests.lesstext.conftest import Score
from tests.lesstext.entities.colours import write_pictures

_REDS = [("pink", "red"), ("red", "red"), ("lime", "red"), ("pink", "pink")]


@pytest.fixture
def scene(tmp_path: Path, score: Score, colours: None) -> Scene:
    scene = Scene(tmp_path, score)
    scene.pick()
    return scene


def _label(scene: Scene, *options: str) -> tuple[int, str]:
    """Write labels and the report of all picks in one command."""
    folder = scene.folder
    line = ["entities", "label", f"{folder}/picks", "--kb", scene.kb, "--threshold", "0.5"]
    page = ["--report", f"{folder}/report.html", "--shards", f"{folder}/in", *options]
    result = CliRunner().invoke(app, [*line, "--out", f"{folder}/labels.parquet", *page])
    return result.exit_code, result.output


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("needs chromium or google-chrome")
    with open_browser(chromium, tmp_path / "profile") as page:
        yield page
    assert page.console == []


def test_the_page_tells_of_entities_and_what_became_labels(scene: Scene, page: Page) -> None:
    assert _label(scene, "--min-images", "4")[0] == 0
    page.open(scene.folder / "report.html")
    text = page.evaluate("document.body.innerText")
    # Of the three shards, each has the first six samples; two of them have no mentions.
    assert "6 images whose captions mention nothing" in text
    assert "3 whose mentions are linked to nothing, 6 with candidates." in text
    assert "Most confused pairs" in text and "pink\tred" in text
    assert "red (red)\t3\t1.000\t1.000\t1.000" in text
    # Red is in six images above the threshold, pink in three and so rare.
    assert "21 read = 6 with labels of 1 entity + 9 without + 6 failed." in text
    for reason in ("no mention\t6", "not linked\t3", "below the threshold\t0", "rare entity\t0"):
        assert reason in text


def test_an_entity_that_is_clicked_leaves_its_images_the_most_similar_first(
    scene: Scene, page: Page
) -> None:
    write_pictures(scene.folder / "in/00001.tar", _REDS, prefix="r")
    scene.find()
    scene.pick()
    assert _label(scene)[0] == 0
    page.open(scene.folder / "report.html")
    page.click("#panels button")
    page.settle()
    assert page.evaluate("document.querySelector('#panels button').textContent") == "red (red)"
    assert _cards(page) == [
        ("k0", "red: 1.000", "red lime red blue"),
        ("r1", "red: 1.000", "red"),
        ("k0", "red: 1.000", "red lime red blue"),
        ("r0", "red: 0.672", "red"),
        ("r2", "red: 0.000", "red"),
    ]
    page.evaluate("byId('order').focus(); 1")
    page.press("End")
    page.settle()
    assert [key for key, *_ in _cards(page)][:2] == ["r2", "r0"]
    page.click("#panels tr:nth-child(3) button")
    page.settle()
    assert {similarity for _, similarity, _ in _cards(page)} == {"pink: 1.000"}
    page.click("#groups button:last-child")
    page.settle()
    assert len(_cards(page)) > 5


def _cards(page: Page) -> list[tuple[str, ...]]:
    """Key, panel's line and alt-text of the cards in the document, as they are read."""
    found = page.evaluate(
        """[...document.querySelectorAll('#grid .card')].map((card) => [
            card.querySelector('.name').textContent.split(' / ')[1],
            card.querySelector('.panels').textContent.trim(),
            card.querySelector('.caption').textContent])"""
    )
    return [tuple(card) for card in found]


def test_labels_of_other_tables_and_shards_without_a_page_are_refused(scene: Scene) -> None:
    assert _label(scene)[0] == 0
    other, labels = scene.folder / "mentions", scene.folder / "labels.parquet"
    line = ["report", str(other), "--out", f"{scene.folder}/other.html", "--labels", str(labels)]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 2 and "not made of any of these tables" in _flat(result.output)
    line = ["entities", "label", "p", "--out", "l", "--threshold", "0", "--shards", "in"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 2 and "give --report too" in _flat(result.output)


def _flat(output: str) -> str:
    return " ".join(output.split())
