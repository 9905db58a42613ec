"""What the tests of whole runs look at: metrics without times, checkpoints, bit-equality."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from train_clip.models.checkpoint import CheckpointStore, Snapshot, load_snapshot
from train_clip.training.runlog import read_rows

RUNNER = [sys.executable, "-m", "tests.train_clip.runner"]
ROOT = Path(__file__).parents[2]


def rows(out: Path) -> list[dict[str, Any]]:
    """The metrics without wall-clock times."""
    found = read_rows(out / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "timing"} for row in found]


def weights(out: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = newest(out).state_dict
    return state


def newest(out: Path) -> Snapshot:
    """The run's last checkpoint."""
    return load_snapshot(CheckpointStore(out / "checkpoints", 9).paths()[-1])


def assert_same(a: Path, b: Path) -> None:
    """Bit-equal weights, averaged weights and optimiser state, and equal metrics."""
    one, two = newest(a), newest(b)
    assert one.step == two.step
    for name, value in one.state_dict.items():
        assert torch.equal(value, two.state_dict[name]), name
    for number, state in one.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(value, two.optimizer["state"][number][name]), name
    assert (one.averaged is None) == (two.averaged is None)
    for name, value in (one.averaged or {}).items():
        assert torch.equal(value, (two.averaged or {})[name]), name
    assert rows(a) == rows(b)
