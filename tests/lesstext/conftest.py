"""Fixtures: a folder of small shards, and scoring with the fake detector."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lesstext.annotators.base import Annotator
from lesstext.annotators.text_area import TextArea
from lesstext.engines.local import InlineEngine
from lesstext.engines.whole_run import RunConfig, RunSummary, execute, plan
from tests.lesstext.builders import ratio_samples, write_tar

FAKE = TextArea(detector="fake")

Score = Callable[..., RunSummary]
Plugin = Callable[[str, str], None]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """Install a test module as a detector, for this process and those that it starts."""

    return partial(install_plugin, tmp_path, monkeypatch)


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the selector of colours."""
    module = "tests.lesstext.entities.colours"
    install_plugin(tmp_path, monkeypatch, "colours", module, group="lesstext.selectors")


def install_plugin(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    module: str,
    group: str = "lesstext.detectors",
) -> None:
    """What the fixture `plugin` gives, for other scopes; `folder` holds the distribution."""
    described = folder / "site" / "plugin-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Name: plugin\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    root = str(Path(__file__).parent.parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(described.parent), root]))
    monkeypatch.syspath_prepend(str(described.parent))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards in two folders, 30 samples, ratios 0, 0.02, 0.04, … in each."""
    for name in ("a/00000", "a/00001", "b/00000"):
        ratios = [i / 50 for i in range(10)]
        write_tar(tmp_path / "in" / f"{name}.tar", ratio_samples(ratios, name.replace("/", "_")))
    return tmp_path / "in"


@pytest.fixture
def score(tmp_path: Path) -> Score:
    """Score specs inline with the fake detector into tmp_path/scores."""

    def run(
        *specs: object, out: Path | None = None, annotator: Annotator = FAKE, **options: object
    ) -> RunSummary:
        config = RunConfig(
            shards=tuple(str(spec) for spec in specs),
            out=out or tmp_path / "scores",
            annotator=annotator,
            workers=1,
            **options,  # type: ignore[arg-type]
        )
        return execute(config, plan(config), InlineEngine(annotator))

    return run
