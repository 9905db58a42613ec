"""Objectives by name, their options, and what of a run asks for them."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest

from lesstext.clip import weights_digest
from lesstext.errors import UsageError
from tests.train_clip.conftest import make_config
from tests.train_clip.objectives.prototypes import install
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError
from train_clip.models.build import build_model, parameters_set_by
from train_clip.models.checkpoint import CheckpointStore
from train_clip.models.export import export_checkpoint
from train_clip.objectives.contrastive import Contrastive, SigLip
from train_clip.objectives.registry import make_objective
from train_clip.training.loop import train


def test_own_names() -> None:
    assert make_objective(make_config("unused")) == Contrastive()
    assert make_objective(make_config("unused", loss="siglip")) == SigLip()


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("mse", {}, "unknown objective 'mse'; known: clip, contrastive, entity, gone, multitask"),
        ("gone", {}, "objective 'gone' cannot be imported: .*Gone"),
        ("no-objective", {}, r"prototypes.Table'> is no Objective"),
        ("clip", {"n": 3}, "objective 'clip': unknown setting n"),
        ("prototypes", {"n": "many"}, "n: input should be a valid integer, got 'many'"),
        ("prototypes", {"n": True}, "n: input should be a valid integer, got True"),
    ],
)
def test_names_and_options_that_mean_nothing_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss: str,
    options: dict[str, str],
    message: str,
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    with pytest.raises(UsageError, match=message):
        make_objective(make_config("unused", loss=loss, loss_options=options))


def test_options_are_stored_where_there_are_some() -> None:
    config = make_config("unused", loss="prototypes", loss_options={"n": 3})
    assert '"loss_options"' not in make_config("unused").as_json()
    assert TrainConfig.from_json(config.as_json()) == config
    changed = make_config("unused", loss="prototypes", loss_options={"n": 4})
    assert changed.differences(config) == ["loss_options: {'n': 4} != {'n': 3}"]


def test_a_column_that_nothing_makes_is_refused(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Contrastive, "columns", ("tokens", "regions"))
    with pytest.raises(
        ConfigError, match="needs the batch columns regions; there are: tokens, labels"
    ):
        train(make_config(shards), tmp_path / "run")


def test_objectives_start_from_equal_towers() -> None:
    """SigLIP adds a bias and sets the scale; all else is the seed's."""
    config = make_config("unused", seed=3)
    models = [build_model(config, one.model_start).model for one in (Contrastive(), SigLip())]
    set_by = parameters_set_by(SigLip.model_start)
    assert weights_digest(models[0]) != weights_digest(models[1])
    assert len({weights_digest(model, leave_out=set_by) for model in models}) == 1


def test_a_checkpoint_is_opened_without_its_objective(
    monkeypatch: pytest.MonkeyPatch, shards: Path, tmp_path: Path
) -> None:
    with monkeypatch.context() as installed:
        installed.syspath_prepend(install(tmp_path / "site"))
        train(make_config(shards, loss="prototypes"), tmp_path / "run")
    (path,) = CheckpointStore(tmp_path / "run/checkpoints", 1).paths()
    export_checkpoint(path, tmp_path / "model")
    open_clip.create_model(f"local-dir:{tmp_path / 'model'}")
    with pytest.raises(UsageError, match="unknown objective 'prototypes'"):
        train(make_config(shards, loss="prototypes"), tmp_path / "run")
