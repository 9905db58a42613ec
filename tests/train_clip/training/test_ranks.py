"""Two gloo ranks at half the batch each are one rank at the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.train_clip.conftest import make_config, write_shards
from tests.train_clip.runs import ROOT, RUNNER, newest, rows
from train_clip.config import TrainConfig
from train_clip.models.checkpoint import load_snapshot
from train_clip.training.loop import train


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def train_on_two_ranks(runs: dict[Path, TrainConfig]) -> None:
    """Start what torchrun would start, and train every run on both ranks."""
    arguments = []
    for out, config in runs.items():
        path = out.with_suffix(".json")
        path.write_text(config.as_json())
        arguments += [str(path), str(out)]
    port = free_port()
    processes = []
    for rank in (0, 1):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        command = [*RUNNER, *arguments]
        processes.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        )
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """Gradients of the first step and weights after ten AdamW steps, in float64, to 1e-9.

    After one step AdamW's first moment is 0.1 times the gradient. Some samples are bad, to be
    replaced on either rank; one run splits each rank's half into two micro-batches.
    """
    folder = write_shards(tmp_path / "in", (20, 11, 20), bad=lambda n: n in (4, 30))
    config = make_config(
        folder, steps=10, batch_size=16, precision="fp64", save_every=1, keep=99, workers=1
    )
    changes: dict[str, dict[str, Any]] = {
        "clip": {},
        "siglip": {"loss": "siglip"},
        "split": {"accumulate": 2},
    }
    two = {tmp_path / f"two_{name}": replace(config, **c) for name, c in changes.items()}
    train_on_two_ranks(two)
    for name, change in changes.items():
        whole = tmp_path / f"one_{name}"
        train(replace(config, workers=0, **{**change, "accumulate": 1}), whole)
        assert_nearly_same(whole, tmp_path / f"two_{name}")


def assert_nearly_same(a: Path, b: Path) -> None:
    for name in ("step_00000001.pt", "step_00000010.pt"):
        one, two = (load_snapshot(out / "checkpoints" / name) for out in (a, b))
        for number, state in one.optimizer["state"].items():
            other = two.optimizer["state"][number]["exp_avg"]
            assert state["exp_avg"].abs().max() > 0
            assert (state["exp_avg"] - other).abs().max() < 1e-9
        for key, value in one.state_dict.items():
            assert (value - two.state_dict[key]).abs().max() < 1e-9, key
    first, second = rows(a), rows(b)
    assert [r["loss"] for r in first] == pytest.approx([r["loss"] for r in second], abs=1e-9)
    assert [r["bad_samples"] for r in first] == [r["bad_samples"] for r in second]
    assert first[-1]["bad_samples"] > 0
    assert newest(a).counters.updates == newest(b).counters.updates == 10
    assert newest(a).counters.adjustments == newest(b).counters.adjustments
