"""The example objective of the page on extending: by hand, split, stopped and resumed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from tests.docs.conftest import RunScript, install_examples
from tests.train_clip.conftest import NANO, make_config, write_shards
from tests.train_clip.runs import assert_same, newest, rows
from train_clip.errors import ConfigError
from train_clip.objectives.registry import make_objective
from train_clip.training.loop import train


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The examples as an installed package, and the smallest model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(install_examples(tmp_path_factory.mktemp("packages") / "site"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        torch.set_num_threads(1)
        open_clip.add_model_config(NANO)
        yield


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards", (12, 7))


def loss_of(beta: float, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    config = make_config("unused", loss="hard-negatives", loss_options={"beta": beta})
    scale = torch.tensor(4.0, dtype=torch.float64)
    outputs = {"image_features": images, "text_features": texts, "logit_scale": scale}
    return make_objective(config).loss(outputs, None)


def unit_rows(seed: int) -> torch.Tensor:
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows)


def test_beta_0_is_clips_loss() -> None:
    images, texts = unit_rows(0), unit_rows(1)
    expected = open_clip.ClipLoss()(images, texts, torch.tensor(4.0))
    assert torch.allclose(loss_of(0.0, images, texts), expected, atol=1e-12)


def test_one_row_by_hand() -> None:
    """Of the wrong captions of each image one is alike, one is not: weights 2w and 2(1 - w)."""
    images, texts = unit_rows(2)[:3], unit_rows(3)[:3]
    total = 0.0
    for logits in (4 * images @ texts.T, 4 * texts @ images.T):
        for i, row in enumerate(logits.tolist()):
            wrong = [value for j, value in enumerate(row) if j != i]
            hardness = [math.exp(0.5 * value) for value in wrong]
            weights = [2 * one / sum(hardness) for one in hardness]
            others = sum(w * math.exp(v) for w, v in zip(weights, wrong, strict=True))
            total += math.log(1 + others / math.exp(row[i]))
    assert float(loss_of(0.5, images, texts)) == pytest.approx(total / 6, rel=1e-12)


def test_it_trains_and_goes_on_bit_for_bit(shards: Path, tmp_path: Path) -> None:
    """Three steps, once without a stop and once with two checkpoints lost after the first."""
    config = make_config(
        shards, steps=3, save_every=1, keep=9, loss="hard-negatives", loss_options={"beta": 0.5}
    )
    train(config, tmp_path / "whole")
    train(config, tmp_path / "cut")
    for step in (2, 3):
        (tmp_path / f"cut/checkpoints/step_{step:08d}.pt").unlink()
    train(config, tmp_path / "cut")
    assert_same(tmp_path / "whole", tmp_path / "cut")
    train(make_config(shards, steps=3), tmp_path / "clip")
    assert rows(tmp_path / "clip")[0]["loss"] != rows(tmp_path / "whole")[0]["loss"]


def test_micro_batches_give_the_gradient_of_the_whole_batch(shards: Path, tmp_path: Path) -> None:
    """After one step, AdamW's first moment is 0.1 times the gradient."""
    settings: dict[str, Any] = {"steps": 1, "precision": "fp64", "clip_grad_norm": None}
    for name, parts in (("whole", 1), ("split", 4)):
        config = make_config(shards, loss="hard-negatives", accumulate=parts, **settings)
        train(config, tmp_path / name)
    one, two = (newest(tmp_path / name).optimizer["state"] for name in ("whole", "split"))
    for number, state in one.items():
        assert (state["exp_avg"] - two[number]["exp_avg"]).abs().max() < 1e-13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, "objective 'hard-negatives': beta must be at least 0, got -1.0"),
        ({"beta": "much"}, "beta: input should be a valid number, got 'much'"),
        ({"bta": 1.0}, r"unknown setting bta; did you mean beta\?"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_objective(make_config("unused", loss="hard-negatives", loss_options=options))


def test_the_command_line_finds_it(playground: Path, run_script: RunScript) -> None:
    command = "train-clip train --data laion/ --loss hard-negatives --loss-option beta=0.3"
    run_script("bash", f"{command} --model tiny --steps 300 --batch-size 64 --out runs/hard")
    assert '"beta": 0.3' in (playground / "runs/hard/config.json").read_text(encoding="utf-8")
