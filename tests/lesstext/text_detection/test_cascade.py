"""A cascade hands over what its first detector cannot decide, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesstext.annotators.text_area import TextArea
from lesstext.cli.terminal import tallies
from lesstext.errors import UsageError
from lesstext.images import Pixels
from lesstext.text_detection.detectors.cascade import CascadeDetector, identify, load, reads
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, identify_detector
from tests.lesstext.builders import ratio_samples, write_tar
from tests.lesstext.conftest import Plugin, Score
from tests.lesstext.text_detection.doubting_fake import square

BLANK = np.zeros((100, 100, 3), dtype=np.uint8)


class Told:
    """A detector that gives what it was told, image by image, and remembers what it saw."""

    id = "told"
    input_px = 64

    def __init__(self, *found: TextRegions) -> None:
        self.found = found
        self.seen: list[int] = []

    def detect(self, images: list[Pixels]) -> list[TextRegions]:
        self.seen += [int(image[0, 0, 0]) for image in images]
        return [self.found[image[0, 0, 0]] for image in images]


def images(n: int) -> list[Pixels]:
    """Images whose first pixel is their number."""
    made = [BLANK.copy() for _ in range(n)]
    for i, image in enumerate(made):
        image[0, 0, 0] = i
    return made


def found(*sides_px: float, doubts: tuple[float, ...] = ()) -> TextRegions:
    """Squares of these sides, and doubtful ones."""
    polygons = tuple(square(side) for side in sides_px)
    scores = np.ones(len(polygons), dtype=np.float32)
    return TextRegions(polygons, scores, (), tuple(square(side, 50) for side in doubts))


def test_only_what_doubts_could_decide_is_handed_over() -> None:
    first = Told(
        found(),  # nothing at all
        found(20),  # clear text
        found(20, doubts=(20,)),  # doubts make no difference
        found(doubts=(4,)),  # doubts too small to make one
        found(doubts=(20,)),  # handed over
        found(5, doubts=(6,)),  # handed over: both together are enough
    )
    second = Told(*[found(10, 30)] * 6)
    cascade = CascadeDetector("c", first, second, threshold=0.005, near=0.005)  # type: ignore[arg-type]
    result = cascade.detect(images(6))
    assert second.seen == [4, 5]
    assert cascade.tallies == {"handed over": 2}
    assert [len(one.polygons) for one in result] == [0, 1, 1, 0, 2, 3]
    assert all(len(one.scores) == len(one.polygons) and one.words == () for one in result)


def test_near_lets_smaller_doubts_count() -> None:
    first = Told(found(doubts=(6,)))
    for near, n in ((0.005, 0), (0.003, 1)):
        cascade = CascadeDetector("c", first, Told(found(9)), 0.005, near)  # type: ignore[arg-type]
        assert len(cascade.detect(images(1))[0].polygons) == n


def test_the_id_names_both_and_the_thresholds() -> None:
    options = {"first": "fake", "second": "fake"}
    settings = DetectorSettings(name="cascade", options=options)
    assert load(settings).id == identify(settings) == identify_detector(settings)
    assert identify(settings).count("fake magenta=1") == 2
    other = DetectorSettings(name="cascade", options={**options, "near": "0.004"})
    assert identify(other) != identify(settings)


def test_it_reads_if_its_first_does() -> None:
    def cascade(first: str) -> DetectorSettings:
        return DetectorSettings(name="cascade", options={"first": first})

    assert reads(cascade("fake")) and reads(DetectorSettings(name="cascade"))
    assert not reads(cascade("rapidocr"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"third": "craft"}, "has no option third"),
        ({"first": "cascade"}, "cannot stand inside another"),
        ({"near": "-1"}, "are shares of an image"),
        ({"threshold": "low"}, "detector cascade: .*low"),
        ({"first": "none"}, "unknown detector 'none'"),
        ({"first": "fake", "second": "fake", "runtime": "x"}, "has no option runtime"),
    ],
)
def test_refuses_what_it_cannot_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        identify(DetectorSettings(name="cascade", options=options))


def test_the_share_is_told_by_the_run(tmp_path: Path, plugin: Plugin, score: Score) -> None:
    plugin("doubting", "tests.lesstext.text_detection.doubting_fake")
    write_tar(tmp_path / "in/00000.tar", ratio_samples([0, 0.1, 0.2, 0.3, 0]))
    cascade = TextArea(detector="cascade", options={"first": "doubting", "second": "fake"})
    summary = score(tmp_path / "in", annotator=cascade)
    assert tallies(summary.reports) == ["handed over: 3 of 5 samples (60.0%)"]
    stats = (tmp_path / "scores/00000_stats.json").read_text()
    assert '"tallies": {\n    "handed over": 3\n  }' in stats
    assert tallies(score(tmp_path / "in", annotator=cascade).reports) == []
