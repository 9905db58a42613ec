"""The frontier: figures worked by hand, findings that survive a cut, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from detector_eval import frontier, frontier_page
from detector_eval.cache import Finding, Findings
from detector_eval.frontier import Frontier, measure, parse
from detector_eval.photos import photos_of, present
from detector_eval.tables import about

from lesstext.errors import UsageError
from lesstext.text_detection.protocol import DetectorSettings, load_detector
from tests.lesstext.conftest import install_plugin
from tests.scripts.test_eval_detector import _draw, data

__all__ = ["data"]

ANIMAL = "imagenet_sample/val/n01440764/a.JPEG"
THING = "imagenet_sample/val/n03000001/b.JPEG"


@pytest.fixture
def photos(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two unlabelled photos beside the labelled ones: one holds none, and one holds text."""
    _draw(data / ANIMAL)
    _draw(data / THING, (0, 0, 20, 20))
    (data / "text_free.txt").write_text(f"{ANIMAL}\n{THING}\n")
    monkeypatch.setattr(frontier, "TEXT_FREE", data / "text_free.txt")
    return data


@pytest.fixture
def doubting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the detector that doubts wherever the fake one is sure."""
    module = "tests.lesstext.text_detection.doubting_fake"
    install_plugin(tmp_path, monkeypatch, "doubting", module)


def test_figures_of_a_perfect_reader_and_of_a_blind_one(
    photos: Path, tmp_path: Path, doubting: None
) -> None:
    candidates = [parse("fake@64"), parse("doubting@64"), parse("-fake@64")]
    seeing, blind, labelled = measure(photos, tmp_path / "cache", candidates, None)
    # scam: 0.04 and 0.02 against 0 and 0.02, the unpaired photo left out
    assert seeing.scam == {"auc": 0.875, "paired_wins": 0.75, "recall": 1.0, "noscam": 0.5}
    assert seeing.icdar["recall"] == 0.5
    assert seeing.icdar["mean_absolute_error"] == pytest.approx(0.005)
    assert seeing.false_positives == {"animals": (0, 1), "things, food, places": (1, 1)}
    assert blind.false_positives == {"animals": (0, 1), "things, food, places": (0, 1)}
    assert seeing.agreement == {"imagenet_sample": 1.0}
    assert blind.agreement == {"imagenet_sample": 0.5}
    assert blind.alone == {"imagenet_sample": (1, 0)}
    assert labelled.scam == seeing.scam and labelled.agreement == {}
    assert all(point.cpu_ms > 0 for point in (seeing, blind))
    assert seeing.times_first == 1.0


def test_the_share_handed_over_is_of_the_unlabelled(
    photos: Path, tmp_path: Path, doubting: None
) -> None:
    cascade = parse("cascade@64::first=doubting,second=fake")
    (point,) = measure(photos, tmp_path / "cache", [cascade], None)
    assert point.handed_over == 0.5


def test_a_cut_run_goes_on(photos: Path, tmp_path: Path) -> None:
    detector = load_detector(DetectorSettings(name="fake"))
    whole = Findings(tmp_path, detector.id, "imagenet_sample")
    whole.complete(detector, photos_of(photos, "imagenet_sample"))
    (file,) = tmp_path.glob("fake-*/imagenet_sample.jsonl")
    lines = file.read_text().splitlines()
    assert len(lines) == 3
    told = {**json.loads(lines[1]), "ratio": 0.9}
    file.write_text("\n".join([lines[0], json.dumps(told), lines[2][:10]]))
    again = Findings(tmp_path, detector.id, "imagenet_sample")
    assert list(again.ratios.values()) == [0.9]  # what is whole is believed, what is cut is not
    again.complete(detector, photos_of(photos, "imagenet_sample"))
    assert len(file.read_text().splitlines()) == 3
    assert sorted(again.ratios) == sorted(whole.ratios)


def test_findings_of_another_set_are_refused(photos: Path, tmp_path: Path) -> None:
    detector = load_detector(DetectorSettings(name="fake"))
    Findings(tmp_path, detector.id, "scam").complete(detector, photos_of(photos, "scam"))
    (file,) = tmp_path.glob("fake-*/scam.jsonl")
    file.rename(file.with_name("icdar2015.jsonl"))
    with pytest.raises(UsageError, match=r"icdar2015\.jsonl is of something else"):
        Findings(tmp_path, detector.id, "icdar2015")


def test_a_finding_is_in_the_full_frame(tmp_path: Path) -> None:
    _draw(tmp_path / "scam/SCAM/a.webp", (10, 10, 20, 10))
    detector = load_detector(DetectorSettings(name="fake"))
    found = Findings(tmp_path / "cache", detector.id, "scam")
    found.complete(detector, photos_of(tmp_path, "scam"))
    (finding,) = found.by_key.values()
    assert isinstance(finding, Finding)
    assert finding.regions == [[10, 10, 30, 10, 30, 20, 10, 20]]
    assert finding.ratio == 0.04 and not finding.handed_over


def test_only_sets_that_are_there_are_looked_at(photos: Path) -> None:
    names = ("scam", "grocery_val", "imagenet_sample", "cc12m_shards")
    assert present(photos, names) == ["scam", "imagenet_sample"]
    with pytest.raises(UsageError, match="unknown set of photos 'other'"):
        photos_of(photos, "other")


@pytest.mark.parametrize("text", ["craft", "@384", "craft@", "craft@big"])
def test_a_detector_needs_name_and_size(text: str) -> None:
    with pytest.raises(UsageError, match="a detector is NAME@SIZE"):
        parse(text)


def test_the_page_and_the_plot(photos: Path, tmp_path: Path) -> None:
    points = measure(photos, tmp_path / "cache", [parse("fake@64"), parse("-fake@32")], None)
    told = Frontier(about=about(threads=1, device="cpu", note="Idle."), points=points)
    page = frontier_page.markdown(told)
    assert "| 0.875 | 0.750 | 1.000 | 0.500 |" in page
    assert "| `fake@64` | – | – | 100.0% (0, 0) | – |" in page
    assert "| `fake@64` | 0 of 1 | 1 of 1 |" in page
    assert page.count("`fake@32`") == 1
    assert page.endswith("Idle.\n")
    frontier_page.draw(points, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_list_of_photos_without_text() -> None:
    keys = frontier.TEXT_FREE.read_text(encoding="utf-8").split()
    assert len(keys) == len(set(keys)) >= 1000
    assert {key.partition("/")[0] for key in keys} == {"flickr8k_shards", "imagenet_sample"}
