"""Parameters beside the model's: their start, their rate, their part of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train_clip.conftest import make_config
from tests.train_clip.objectives.prototypes import ShardedPrototypes, install
from tests.train_clip.runs import assert_same, newest
from train_clip.distributed import Ranks
from train_clip.errors import ConfigError
from train_clip.models.checkpoint import load_snapshot
from train_clip.objectives.own_parameters import OwnParameters
from train_clip.training.loop import train


@pytest.fixture(autouse=True)
def installed(tmp_path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(install(tmp_path / "site"))
        yield


def rows_of(path: Path) -> torch.Tensor:
    part = load_snapshot(path).objective
    assert part is not None
    (one,) = part["ranks"]
    rows: torch.Tensor = one["weights"]["rows"]
    return rows


@pytest.mark.parametrize("loss", ["prototypes", "sharded"])
def test_a_cut_run_goes_on_bit_for_bit(shards: Path, tmp_path: Path, loss: str) -> None:
    config = make_config(shards, steps=6, save_every=1, keep=9, loss=loss, accumulate=2)
    train(config, tmp_path / "whole")
    train(config, tmp_path / "cut")
    for step in (4, 5, 6):
        (tmp_path / f"cut/checkpoints/step_{step:08d}.pt").unlink()
    train(config, tmp_path / "cut")
    assert_same(tmp_path / "whole", tmp_path / "cut")
    last = "checkpoints/step_00000006.pt"
    assert torch.equal(rows_of(tmp_path / "whole" / last), rows_of(tmp_path / "cut" / last))


def test_they_start_by_the_seed_and_learn_at_their_own_rate(shards: Path, tmp_path: Path) -> None:
    """AdamW's first update is the rate, here ten times that of the schedule, and no decay."""
    config = make_config(
        shards, steps=1, lr=1e-4, decay_shape="constant", loss="prototypes", clip_grad_norm=None
    )
    one = train(config, tmp_path / "one")
    torch.manual_seed(config.seed)
    start = torch.randn(6, 16)
    moved = rows_of(tmp_path / "one/checkpoints/step_00000001.pt") - start
    assert moved.abs().max() == pytest.approx(1e-3, rel=1e-2)
    other = train(replace(config, loss="clip"), tmp_path / "clip")
    assert one["initial_weights"] == other["initial_weights"]
    assert newest(tmp_path / "clip").objective is None
    assert "objective" not in torch.load(
        tmp_path / "clip/checkpoints/step_00000001.pt", weights_only=True
    )


def test_parts_on_several_ranks_take_no_scaler() -> None:
    here = Ranks(0, 2, torch.device("cpu"))
    own = OwnParameters(ShardedPrototypes(), 4, 0, here, torch.float32)
    assert own.is_on_several_ranks
    own.refuse_scaler("bf16")
    with pytest.raises(ConfigError, match="use --precision bf16 instead of amp"):
        own.refuse_scaler("amp")
