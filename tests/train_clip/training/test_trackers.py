"""Metrics that go to a tracker: the right numbers, one identity over all sittings of a run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.train_clip.conftest import make_config
from train_clip.errors import ConfigError
from train_clip.training.loop import train
from train_clip.training.runlog import METRICS, read_rows


class FakeService:
    """Stands in for wandb's and trackio's module: remembers what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.inits: list[dict[str, Any]] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.n_finished = 0
        run = SimpleNamespace(log=self._log, finish=self._finish)
        module: Any = SimpleNamespace(init=self._init(run), log=self._log, finish=self._finish)
        module.__spec__ = SimpleNamespace()
        monkeypatch.setitem(sys.modules, name, module)

    def _init(self, run: Any) -> Any:
        def init(**options: Any) -> Any:
            self.inits.append(options)
            return run

        return init

    def _log(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))

    def _finish(self) -> None:
        self.n_finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_hears_what_the_metrics_file_holds(
    name: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = FakeService(monkeypatch, name)
    out = tmp_path / "my-run"
    train(make_config(shards, tracker=name), out)
    told = {step: values["train/loss"] for step, values in service.rows if "train/loss" in values}
    rows = [row for row in read_rows(out / METRICS) if row["kind"] == "train"]
    assert told == {row["step"]: row["loss"] for row in rows}
    assert len(told) == 4
    assert service.n_finished == 1
    (options,) = service.inits
    assert options["name"].startswith("my-run")
    assert options["config"]["batch_size"] == 8


def test_a_resumed_run_is_the_same_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = FakeService(monkeypatch, "wandb")
    for sitting in ("run", "run", "other"):
        train(make_config(shards, tracker="wandb"), tmp_path / sitting)
    first, again, other = (options["id"] for options in service.inits)
    assert first == again != other


def test_a_missing_package_is_told_before_anything_is_written(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "train_clip.training.trackers.find_spec",
        lambda name: None if name == "trackio" else find_spec(name),
    )
    with pytest.raises(ConfigError, match=r"pip install 'lesstext\[trackio\]'"):
        train(make_config(shards, tracker="trackio"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
