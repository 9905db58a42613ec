"""What the page of a comparison says first, and which images it shows for it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attr_builder.evaluation.retrieval import CaptionedImages
from attr_builder.evaluation.statistics import Difference
from tests.train_clip.conftest import make_config, write_shards
from train_clip.comparison.examples import find_examples
from train_clip.comparison.results import Comparison, FinishedRun, summarise
from train_clip.comparison.verdict import verdicts
from train_clip.settings import EvalConfig


def _comparison(**found: tuple[float, float, float]) -> Comparison:
    runs = [
        FinishedRun(arm=arm, seed=0, folder=Path(arm), result={}, rows=[], outcomes={})
        for arm in ("all", "less")
    ]
    differences = {
        metric.replace("R1", "R@1"): {"less": Difference(*values, tests=())}
        for metric, values in found.items()
    }
    return Comparison(baseline="all", runs=runs, table={}, differences=differences)


def test_says_in_what_an_arm_is_better_and_by_how_much() -> None:
    (found,) = verdicts(
        _comparison(
            attacked_top1=(0.1, 0.05, 0.15),
            attacked_attack_success=(-0.2, -0.3, -0.1),
            clean_top1=(-0.03, -0.05, -0.01),
            i2t_R1=(0.01, -0.02, 0.04),
        )
    )
    assert found.sentence() == (
        "less is better than all in top-1 accuracy on attacked images (+10.0 points, 95%: "
        "+5.0 points to +15.0 points), attack success (−20.0 points, 95%: −30.0 points to "
        "−10.0 points) and is worse than all in top-1 accuracy on clean images (−3.0 points, "
        "95%: −5.0 points to −1.0 points); cannot tell in finding the caption of an image (R@1) "
        "(+1.0 points, 95%: −2.0 points to +4.0 points)."
    )


@pytest.mark.parametrize("low", [-0.1, 0.0, float("nan")])
def test_cannot_tell_where_the_interval_holds_0(low: float) -> None:
    (found,) = verdicts(_comparison(clean_top1=(0.02, low, 0.1)))
    assert found.sentence().startswith("Cannot tell less from all: every interval holds 0")


def test_cannot_tell_without_figures() -> None:
    (found,) = verdicts(_comparison())
    assert found.sentence() == "Cannot tell whether less is better than all: no figures."


@pytest.fixture
def runs(tmp_path: Path) -> list[FinishedRun]:
    """Two arms, two seeds, six images; `less` gains the second twice and the third once, and
    loses the last."""
    shards = write_shards(tmp_path / "pool", (6,))
    images = CaptionedImages(str(shards))
    names = [images.name(i) for i in range(6)]
    config = make_config(shards, evaluation=EvalConfig(retrieval=str(shards)))
    right = {
        ("all", 0): [1, 0, 0, 1, 0, 1],
        ("all", 1): [1, 0, 1, 1, 0, 1],
        ("less", 0): [1, 1, 1, 1, 0, 0],
        ("less", 1): [1, 1, 1, 1, 0, 0],
    }
    found = []
    for (arm, seed), values in right.items():
        folder = tmp_path / arm / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(config.as_json())
        outcomes = {"i2t_right": np.array(values, dtype=bool), "i2t_item": np.array(names)}
        result = {"evaluation": {"i2t_R@1": float(np.mean(values))}}
        found.append(
            FinishedRun(
                arm=arm, seed=seed, folder=folder, result=result, rows=[], outcomes=outcomes
            )
        )
    return found


def test_shows_what_one_arm_gets_right_and_the_other_wrong(runs: list[FinishedRun]) -> None:
    (found,) = find_examples(summarise(runs, "all"))
    names = list(runs[0].outcomes["i2t_item"])
    assert (found.n_gained, found.n_lost, found.missing) == (2, 1, None)
    gained = [(one.name, one.n_right, one.n_baseline_right) for one in found.gained]
    assert gained == [(names[1], 2, 0), (names[2], 2, 1)]
    assert [one.name for one in found.lost] == [names[5]]
    picture = found.lost[0].picture
    assert picture is not None
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as image:
        assert max(image.size) <= 160


def test_says_why_the_pictures_are_gone(runs: list[FinishedRun], tmp_path: Path) -> None:
    (tmp_path / "pool" / "00000.tar").unlink()
    (found,) = find_examples(summarise(runs, "all"))
    assert found.missing is not None
    assert "pool" in found.missing
    assert [one.picture for one in found.gained] == [None, None]
