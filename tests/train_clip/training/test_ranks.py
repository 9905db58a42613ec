"""Two gloo ranks at half the batch each are one rank at the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train_clip.conftest import make_config, write_shards
from tests.train_clip.objectives.prototypes import install
from tests.train_clip.runs import ROOT, RUNNER, newest, rows
from train_clip.config import TrainConfig
from train_clip.errors import CheckpointError
from train_clip.models.checkpoint import load_snapshot
from train_clip.training.loop import train


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def train_on_two_ranks(runs: dict[Path, TrainConfig], site: str = "", world: int = 2) -> None:
    """Start what torchrun would start, and train every run on both (or `world`) ranks.

    `site` is a folder of further packages.
    """
    arguments = []
    for out, config in runs.items():
        path = out.with_suffix(".json")
        path.write_text(config.as_json())
        arguments += [str(path), str(out)]
    port = free_port()
    processes = []
    for rank in range(world):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), site]),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        command = [*RUNNER, *arguments]
        processes.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        )
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * world, told


OBJECTIVES: dict[str, dict[str, Any]] = {
    "clip": {},
    "siglip": {"loss": "siglip"},
    "split": {"accumulate": 2},
}
# A table held by both ranks, and one of which each holds a half.
OWNERS: dict[str, dict[str, Any]] = {
    "copies": {"loss": "prototypes"},
    "split_copies": {"loss": "prototypes", "accumulate": 2},
    "parts": {"loss": "sharded"},
    "split_parts": {"loss": "sharded", "accumulate": 2},
}


@dataclass(frozen=True, slots=True)
class Trained:
    """Runs of two ranks, by name, and the folder of the packages that they needed."""

    configs: dict[str, TrainConfig]
    folder: Path
    site: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Some samples are bad, to be replaced on either rank; `accumulate` splits each rank's half.

    Gradients of own parameters are clipped, so that the norm over all ranks is seen.
    """
    folder = tmp_path_factory.mktemp("two")
    shards = write_shards(folder / "in", (20, 11, 20), bad=lambda n: n in (4, 30))
    config = make_config(
        shards, steps=10, batch_size=16, precision="fp64", save_every=1, keep=99, workers=1
    )
    configs = {name: replace(config, **change) for name, change in OBJECTIVES.items()}
    for name, change in OWNERS.items():
        configs[name] = replace(config, steps=5, clip_grad_norm=0.1, workers=0, **change)
    site = install(folder / "site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.syspath_prepend(site)
        train_on_two_ranks({folder / name: one for name, one in configs.items()}, site)
        yield Trained(configs, folder, site)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_ranks_equal_one(two: Trained, tmp_path: Path, name: str) -> None:
    """Gradients of the first step and weights after ten AdamW steps, in float64, to 1e-9.

    After one step AdamW's first moment is 0.1 times the gradient.
    """
    train(replace(two.configs[name], workers=0, accumulate=1), tmp_path / "one")
    assert_nearly_same(tmp_path / "one", two.folder / name)


def test_own_parameters_on_two_ranks_are_those_of_one(two: Trained, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(two.configs["copies"], whole)
    for out in (two.folder / name for name in OWNERS):
        for key, value in newest(whole).state_dict.items():
            assert (value - newest(out).state_dict[key]).abs().max() < 1e-9, key
        assert (table(whole) - table(out)).abs().max() < 1e-9
        norms = [row["gradient_norm"] for row in rows(out)]
        assert norms == pytest.approx([row["gradient_norm"] for row in rows(whole)], abs=1e-9)


def test_parts_on_two_ranks_go_on_bit_for_bit(two: Trained) -> None:
    out, config = two.folder / "split_parts", two.configs["split_parts"]
    before = newest(out)
    for number in (3, 4, 5):
        (out / f"checkpoints/step_{number:08d}.pt").unlink()
    with pytest.raises(CheckpointError, match="stored by 2 ranks"):
        train(config, out)
    train_on_two_ranks({out: config}, two.site)
    after = newest(out)
    for name, value in before.state_dict.items():
        assert torch.equal(value, after.state_dict[name]), name
    assert before.objective is not None and after.objective is not None
    for one, other in zip(before.objective["ranks"], after.objective["ranks"], strict=True):
        assert torch.equal(one["weights"]["rows"], other["weights"]["rows"])
        for number, state in one["states"].items():
            assert torch.equal(state["exp_avg"], other["states"][number]["exp_avg"])


def table(out: Path) -> torch.Tensor:
    """All prototypes of a run's last checkpoint."""
    part = newest(out).objective
    assert part is not None
    return torch.cat([rank["weights"]["rows"] for rank in part["ranks"]])


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
