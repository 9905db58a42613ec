"""Parameters beside the model's: their start, their rate, their part of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train_clip.conftest import make_config
from tests.train_clip.objectives.prototypes import (
    ALONE,
    Prototypes,
    ShardedPrototypes,
    install,
    premises,
)
from tests.train_clip.runs import assert_same, newest
from train_clip.distributed import Ranks
from train_clip.errors import CheckpointError, ConfigError
from train_clip.models.checkpoint import load_snapshot
from train_clip.objectives.contrastive import Contrastive
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
    own = OwnParameters(ShardedPrototypes(), premises(4, here), torch.float32)
    assert own.is_on_several_ranks
    own.refuse_scaler("bf16")
    with pytest.raises(ConfigError, match="use --precision bf16 instead of amp"):
        own.refuse_scaler("amp")


def owned_by(rank: int, world: int, sharded: bool = True) -> OwnParameters:
    objective = ShardedPrototypes() if sharded else Prototypes()
    ranks = Ranks(rank, world, torch.device("cpu"))
    return OwnParameters(objective, premises(4, ranks), torch.float32)


def test_each_rank_takes_its_own_part_of_a_checkpoint() -> None:
    ranks = [{"weights": {"rows": torch.full((3, 4), n)}, "states": {7 + n: n}} for n in (0.0, 1.0)]
    for rank in (0, 1):
        own, state = owned_by(rank, 2), {"state": {0: "shared"}}
        own.restore({"ranks": ranks}, state)
        (rows,) = own.parameters()
        assert rows.tolist() == [[rank] * 4] * 3
        assert state == {"state": {0: "shared", 7 + rank: rank}}


def test_copies_are_the_same_on_every_rank() -> None:
    one = {"ranks": [{"weights": {"rows": torch.ones(6, 4)}}]}
    for rank in (0, 1):
        own, state = owned_by(rank, 2, sharded=False), {"state": {0: "shared"}}
        assert not own.is_on_several_ranks
        own.restore(one, state)
        assert own.parameters()[0].tolist() == [[1.0] * 4] * 6
        assert state == {"state": {0: "shared"}}


def test_a_checkpoint_of_other_ranks_or_of_another_objective_is_refused() -> None:
    own = owned_by(0, 2)
    with pytest.raises(CheckpointError, match="stored by 3 ranks; go on with as many, not with 2"):
        own.restore({"ranks": [{}] * 3}, {"state": {}})
    with pytest.raises(CheckpointError, match="holds no parameters of the objective's own"):
        own.restore(None, {"state": {}})


def test_a_part_stored_on_one_rank_holds_weights_and_states_apart_from_the_run() -> None:
    for sharded in (True, False):
        own = owned_by(0, 1, sharded)
        optimizer = torch.optim.AdamW(own.groups(0.1))
        (rows,) = own.parameters()
        rows.grad = torch.ones(6, 4)
        optimizer.step()
        part = own.part(optimizer)
        assert part is not None
        (mine,) = part["ranks"]
        assert torch.equal(mine["weights"]["rows"], rows)
        assert set(mine) == ({"weights", "states"} if sharded else {"weights"})
        if sharded:
            assert torch.equal(mine["states"][0]["exp_avg"], torch.full((6, 4), 0.1))


def test_where_nothing_is_owned_nothing_is_stored_or_asked_for() -> None:
    own = OwnParameters(Contrastive(), premises(4, ALONE), torch.float32)
    assert (own.module, own.parameters(), own.groups(0.1)) == (None, [], [])
    state: dict[str, Any] = {"state": {}}
    own.restore(None, state)
    own.settle_gradients()
    own.refuse_scaler("amp")
    assert state == {"state": {}} and not own.is_sharded and not own.is_on_several_ranks
    assert own.part(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])) is None


def test_making_them_leaves_the_random_state_of_the_run() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    owned_by(0, 1)
    assert torch.equal(torch.rand(1), expected)
