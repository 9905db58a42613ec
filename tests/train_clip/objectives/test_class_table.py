"""The table of classes: sampling, lazy Adam, shards, and any number of ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.train_clip.objectives.prototypes import ALONE, premises
from tests.train_clip.objectives.test_entities import config_of, unit
from tests.train_clip.runs import assert_same, newest, rows
from tests.train_clip.training.test_ranks import train_on_two_ranks
from train_clip.config import TrainConfig
from train_clip.distributed import Ranks
from train_clip.errors import CheckpointError, ConfigError
from train_clip.models.checkpoint import CheckpointStore, load_snapshot
from train_clip.objectives.class_table import ClassTable
from train_clip.objectives.entity import EntitySoftmax
from train_clip.training.loop import train


def of_rank(rank: int, world: int, n_classes: int = 11, sampled: int | None = None) -> ClassTable:
    ranks = Ranks(rank, world, torch.device("cpu"))
    return ClassTable(premises(4, ranks, n_classes), sampled).double()


def loss_of(own: ClassTable, labels: list[list[int]], **options: Any) -> Tensor:
    outputs = {"image_features": unit(1, len(labels), 4), "labels": torch.tensor(labels)}
    return EntitySoftmax(**options).loss(outputs, own)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_start_with_the_rows_of_one(world: int) -> None:
    whole = of_rank(0, 1).rows
    for rank in range(world):
        assert torch.equal(of_rank(rank, world).rows, whole[rank::world])


def test_blocks_of_the_start_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train_clip.objectives.class_table._BLOCK", 4)
    whole = of_rank(0, 1).rows
    assert len(set(map(tuple, whole.tolist()))) == 11
    for rank in range(3):
        assert torch.equal(of_rank(rank, 3).rows, whole[rank::3])
    assert whole.std() == pytest.approx(0.5, abs=0.15)


def test_a_sample_depends_on_seed_and_step_alone() -> None:
    one, two = of_rank(0, 1, sampled=5), of_rank(1, 4, sampled=5)
    for step in range(20):
        drawn = one.sample(step).tolist()
        assert drawn == two.sample(step).tolist() == sorted(set(drawn)) and len(drawn) == 5
    assert len({tuple(one.sample(step).tolist()) for step in range(20)}) > 15
    other = ClassTable(replace(premises(4, ALONE, 11), seed=1), 5)
    assert one.sample(0).tolist() != other.sample(0).tolist()
    counts = np.bincount(np.concatenate([one.sample(step) for step in range(2200)]), minlength=11)
    assert (abs(counts - 1000) < 120).all()


def test_all_classes_sampled_are_the_full_softmax() -> None:
    labels = [[3, -1], [0, 7], [10, -1], [-1, -1]]
    full = float(loss_of(of_rank(0, 1), labels).detach())
    for n in (11, 50):
        sampled = float(loss_of(of_rank(0, 1, sampled=n), labels, negatives=n).detach())
        assert sampled == pytest.approx(full, abs=1e-12)


def test_a_sampled_class_stands_for_those_left_out() -> None:
    """By hand: classes of the batch weigh 1, sampled ones 11 / 4."""
    own, labels = of_rank(0, 1, sampled=4), [[3], [0]]
    drawn = set(own.sample(0).tolist())
    logits = 6 * unit(1, 2, 4) @ normalize(own.rows, dim=1).T
    found = float(loss_of(own, labels, scale=6.0).detach())
    expected = 0.0
    for row, (right,) in enumerate(labels):
        weights = {n: 11 / 4 for n in drawn} | {3: 1.0, 0: 1.0}
        total = sum(w * float(logits[row, n].exp()) for n, w in weights.items())
        expected -= float(logits[row, right]) - np.log(total)
    assert found == pytest.approx(expected / 2, abs=1e-12)


def test_the_sum_over_sampled_classes_is_right_on_average() -> None:
    own, labels = of_rank(0, 1, sampled=4), [[3]]
    right = float((8 * unit(1, 1, 4) @ normalize(own.rows, dim=1).T)[0, 3])
    full = np.exp(float(loss_of(of_rank(0, 1), labels, scale=8.0).detach()) + right)
    sums = []
    for step in range(4000):
        own.n_updates = step
        sums.append(np.exp(float(loss_of(own, labels, scale=8.0).detach()) + right))
    assert np.mean(sums) == pytest.approx(full, rel=0.06)


def test_with_all_classes_the_optimiser_is_torchs() -> None:
    own = of_rank(0, 1)
    weights = torch.nn.Parameter(own.rows.clone())
    adam = torch.optim.AdamW([weights], lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        own.take(torch.tensor([[0]]))
        own.taken.grad = torch.randn(11, 4, generator=generator, dtype=torch.float64)
        weights.grad = own.taken.grad.clone()
        own.update(0.01, (0.9, 0.98), 1e-6)
        adam.step()
        assert (own.rows - weights).abs().max() < 1e-12
    assert torch.equal(own.n_row_updates, torch.full((11,), 30))


def test_rows_that_were_not_taken_stay_and_a_later_step_is_their_first() -> None:
    own = of_rank(0, 1, sampled=3)
    before = own.rows.clone()
    loss_of(own, [[3]]).backward()  # type: ignore[no-untyped-call]
    moved = sorted({3, *own.sample(0).tolist()})
    own.update(0.01, (0.9, 0.98), 1e-6)
    left = [n for n in range(11) if n not in moved]
    assert torch.equal(own.rows[left], before[left])
    assert not (own.rows[moved] == before[moved]).all(1).any()
    assert own.n_row_updates[left].sum() == own.exp_avg_sq[left].abs().sum() == 0
    assert len(own.taken) == 0 and own.n_updates == 1


@pytest.mark.parametrize(("stored", "world"), [(2, 1), (1, 3), (4, 2), (3, 3)])
def test_shards_of_any_ranks_are_found_by_any_others(stored: int, world: int) -> None:
    whole = of_rank(0, 1)
    whole.exp_avg.copy_(torch.randn(11, 4))
    whole.n_row_updates.copy_(torch.arange(11))
    whole.n_updates = 9
    names = ("rows", "exp_avg", "exp_avg_sq", "n_row_updates")
    shards = [
        {"n_updates": 9, **{name: getattr(whole, name)[rank::stored] for name in names}}
        for rank in range(stored)
    ]
    for rank in range(world):
        mine = of_rank(rank, world)
        mine.rows.zero_()
        mine.load_shards(shards)
        for name in names:
            assert torch.equal(getattr(mine, name), getattr(whole, name)[rank::world]), name
        assert mine.n_updates == 9
    with pytest.raises(CheckpointError, match="holds 11 classes, the labels have 12"):
        of_rank(0, 1, 12).load_shards(shards)


def test_scaled_gradients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no scaled gradients; use --precision bf16"):
        train(config_of(tmp_path, "entity", precision="amp"), tmp_path / "run")


RUNS: dict[str, dict[str, Any]] = {
    "entity": {"loss_options": {"negatives": 3, "margin": 0.1}},
    "multitask": {"loss_options": {"text": "mix:0.5", "negatives": 3}, "accumulate": 2},
}


def run_config(folder: Path, name: str) -> TrainConfig:
    changes = {"steps": 5, "precision": "fp64", "save_every": 1, "keep": 99, "clip_grad_norm": 0.1}
    return config_of(folder, name, lr=1e-2, **{**RUNS[name], **changes})


def table_of(out: Path, step: int = 5) -> dict[str, Tensor]:
    """All rows of a checkpoint, in the order of the classes."""
    store = CheckpointStore(out / "checkpoints", 99)
    snapshot = load_snapshot(out / f"checkpoints/step_{step:08d}.pt")
    shards = store.load_shards(snapshot)
    assert snapshot.shards is not None and len(shards) == snapshot.shards["n"]
    whole = of_rank(0, 1, sum(len(shard["rows"]) for shard in shards))
    whole = ClassTable(premises(shards[0]["rows"].shape[1], ALONE, whole.n_classes)).double()
    whole.load_shards(shards)
    return {name: getattr(whole, name) for name in ("rows", "exp_avg", "exp_avg_sq")}


def assert_near(a: Path, b: Path, bound: float) -> None:
    one, two = table_of(a), table_of(b)
    for name, value in one.items():
        assert (value - two[name]).abs().max() <= bound, name
    for key, value in newest(a).state_dict.items():
        assert (value - newest(b).state_dict[key]).abs().max() <= bound, key
    for mine, other in zip(rows(a), rows(b), strict=True):
        for name in ("loss", "gradient_norm"):
            assert mine[name] == pytest.approx(other[name], abs=bound), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs on 1, 2 and 4 ranks, in folders `entity1` … `multitask4`."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        configs = {name: run_config(folder / name, name) for name in RUNS}
        for world in (2, 4):
            # A rank of four has two rows: as one micro-batch each.
            runs = {folder / f"{name}{world}": config for name, config in configs.items()}
            train_on_two_ranks(runs, world=world)
        for name, config in configs.items():
            train(replace(config, accumulate=1), folder / f"{name}1")
    return folder


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", RUNS)
def test_gradients_on_several_ranks_are_those_of_one(trained: Path, name: str, world: int) -> None:
    """The first moments after five steps are sums of gradients."""
    assert_near(trained / f"{name}1", trained / f"{name}{world}", 1e-9)


def cut(run: Path, folder: Path) -> Path:
    """The run as it was after step 3."""
    import shutil

    shutil.copytree(run, folder)
    for path in (folder / "checkpoints").glob("step_0000000[45]*"):
        path.unlink()
    (folder / "result.json").unlink()
    return folder


def test_a_run_of_two_ranks_goes_on_with_two_bit_for_bit(trained: Path, tmp_path: Path) -> None:
    again = cut(trained / "multitask2", tmp_path / "again")
    train_on_two_ranks({again: run_config(trained / "multitask", "multitask")})
    assert_same(trained / "multitask2", again)
    assert_near(trained / "multitask2", again, 0.0)


def test_a_run_of_two_ranks_goes_on_with_one(trained: Path, tmp_path: Path) -> None:
    again = cut(trained / "entity2", tmp_path / "again")
    train(run_config(trained / "entity", "entity"), again)
    for name, value in table_of(trained / "entity2", 3).items():
        assert torch.equal(value, table_of(again, 3)[name]), name
    assert_near(trained / "entity2", again, 1e-9)
    assert newest(again).shards == {"n": 1, "mark": newest(again).shards["mark"]}  # type: ignore[index]


def test_a_missing_or_foreign_shard_sends_the_run_back_to_the_checkpoint_before(
    trained: Path, tmp_path: Path
) -> None:
    again = cut(trained / "entity1", tmp_path / "again")
    folder = again / "checkpoints"
    third = folder / "step_00000003.rank_0_of_1.shard"
    third.unlink()
    store = CheckpointStore(folder, 9)
    found = store.load_latest()
    assert found is not None and found.step == 2
    (folder / "step_00000002.rank_0_of_1.shard").rename(third)
    found = store.load_latest()
    assert found is not None and found.step == 1
    config = run_config(trained / "entity", "entity")
    train(replace(config, accumulate=1), again)
    assert_near(trained / "entity1", again, 0.0)


def test_old_and_stray_shards_go_with_their_checkpoints(tmp_path: Path) -> None:
    config = config_of(tmp_path, "entity", steps=5, save_every=1, keep=2)
    train(config, tmp_path / "run")
    folder = tmp_path / "run/checkpoints"
    (folder / "step_00000005.pt").unlink()  # as if killed before it
    for name in ("step_00000005.rank_1_of_2.shard", "step_00000009.rank_0_of_1.shard"):
        (folder / name).touch()
    train(config, tmp_path / "run")
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "step_00000004.pt",
        "step_00000004.rank_0_of_1.shard",
        "step_00000005.pt",
        "step_00000005.rank_0_of_1.shard",
    ]
