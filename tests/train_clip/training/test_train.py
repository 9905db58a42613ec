"""Whole runs of a very small model: N means N, resume is exact, errors are clear."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from lesstext.storage.guard import claim_folder
from tests.train_clip.conftest import make_config, write_shards
from tests.train_clip.runs import ROOT, RUNNER, assert_same, newest, rows, weights
from train_clip.config import TrainConfig
from train_clip.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    NonFiniteError,
)
from train_clip.models.checkpoint import CheckpointStore, load_snapshot
from train_clip.models.export import export_checkpoint
from train_clip.objectives.exact_gradient import ExactGradient
from train_clip.settings import CaptionAugment, EvalConfig, ImageAugment
from train_clip.training import loop
from train_clip.training.loop import train
from train_clip.training.run_state import Run
from train_clip.training.runlog import read_rows


@pytest.mark.parametrize("batch", [4, 64])
def test_n_means_n_whatever_the_size(shards: Path, tmp_path: Path, batch: int) -> None:
    out = tmp_path / "run"
    result = train(make_config(shards, steps=5, batch_size=batch), out)
    assert (result["step"], result["updates"], result["samples"]) == (5, 5, 5 * batch)
    assert [row["step"] for row in rows(out)] == [1, 2, 3, 4, 5]
    states = newest(out).optimizer["state"].values()
    assert {int(state["step"]) for state in states} == {5}
    (entry,) = result["ledger"]
    assert entry["n_drawn"] == 5 * batch
    assert entry["max_repeats"] == -(-5 * batch // 40)
    assert json.loads((out / "result.json").read_text())["step"] == 5


def test_samples_and_passes_become_steps(shards: Path, tmp_path: Path) -> None:
    by_samples = train(make_config(shards, samples=33, warmup="25%"), tmp_path / "samples")
    assert by_samples["n_steps"] == 5  # 33 samples in batches of 8
    by_passes = train(make_config(shards, passes=0.5), tmp_path / "passes")
    assert by_passes["n_steps"] == 3  # 20 of 40 samples
    assert TrainConfig.from_json((tmp_path / "samples/config.json").read_text()).steps == 5


def test_the_loss_falls_when_there_is_something_to_learn(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (8,))
    train(make_config(folder, steps=60, lr=1e-2), tmp_path / "run")
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert losses[-1] < 0.5 * losses[0]


def test_workers_do_not_change_a_bit(shards: Path, tmp_path: Path) -> None:
    augmented = {
        "image": ImageAugment(crop_scale=(0.3, 1.0), flip_prob=0.5, randaugment=(1, 5.0)),
        "caption": CaptionAugment(templates=("a photo of {}",)),
        "patch_dropout": 0.25,
    }
    for workers in (0, 1, 2, 4):
        train(make_config(shards, workers=workers, **augmented), tmp_path / str(workers))
    for workers in (1, 2, 4):
        assert_same(tmp_path / "0", tmp_path / str(workers))


def test_a_killed_run_goes_on_bit_for_bit(shards: Path, tmp_path: Path) -> None:
    """SIGKILL at a random moment, then the same command again."""
    config = make_config(
        shards,
        steps=40,
        workers=1,
        save_every=3,
        ema=0.9,
        patch_dropout=0.5,
        evaluation=EvalConfig(every=7, retrieval=str(shards), limit=10),
    )
    train(replace(config, workers=0), tmp_path / "whole")
    out = tmp_path / "cut"
    settings = tmp_path / "cut.json"
    settings.write_text(config.as_json())
    command = [*RUNNER, str(settings), str(out)]
    stop_after = random.randrange(2, 30)
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while len(rows(out)) < stop_after:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    last = CheckpointStore(out / "checkpoints", 9).paths()
    assert not last or load_snapshot(last[-1]).step < 40
    train(replace(config, workers=2), out)
    assert_same(tmp_path / "whole", out)


def test_sigterm_saves_the_place(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(shards, steps=12)
    train(config, tmp_path / "whole")
    report = Run.report

    def terminate_in_step_5(run: Run, step: int, *values: float) -> None:
        report(run, step, *values)
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "report", terminate_in_step_5)
    with pytest.raises(Interrupted, match="saved after step 6 of 12"):
        train(config, tmp_path / "cut")
    monkeypatch.undo()
    train(config, tmp_path / "cut")
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_the_clock_saves_too_and_old_ones_go(shards: Path, tmp_path: Path) -> None:
    train(make_config(shards, steps=6, save_minutes=1e-9, keep=2), tmp_path / "run")
    names = [path.name for path in CheckpointStore(tmp_path / "run/checkpoints", 2).paths()]
    assert names == ["step_00000005.pt", "step_00000006.pt"]


def test_a_finished_run_trains_no_further(shards: Path, tmp_path: Path) -> None:
    config = make_config(shards)
    first = train(config, tmp_path / "run")
    again = train(config, tmp_path / "run")
    assert again == first
    assert len(rows(tmp_path / "run")) == 4


def test_another_config_is_refused(shards: Path, tmp_path: Path) -> None:
    config = make_config(shards)
    train(config, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"another config \(lr: 0.1 != 0.0005\)"):
        train(replace(config, lr=0.1), tmp_path / "run")
    train(replace(config, workers=1, keep=3), tmp_path / "run")


def test_changed_data_is_refused(shards: Path, tmp_path: Path) -> None:
    train(make_config(shards), tmp_path / "run")
    write_shards(shards, (12, 7, 9, 11))
    with pytest.raises(CheckpointError, match=r"the data of .*run changed since"):
        train(make_config(shards), tmp_path / "run")


def test_a_checkpoint_of_something_else_is_refused(shards: Path, tmp_path: Path) -> None:
    claim_folder(tmp_path / "run", "run")
    folder = tmp_path / "run/checkpoints"
    folder.mkdir()
    (folder / "step_00000002.pt").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"step_00000002\.pt is not a readable checkpoint"):
        train(make_config(shards), tmp_path / "run")
    torch.save({"weights": 1}, folder / "step_00000002.pt")
    with pytest.raises(CheckpointError, match="is not a checkpoint of this trainer"):
        train(make_config(shards), tmp_path / "run")


def test_a_run_of_an_older_version_is_refused_with_what_to_do(shards: Path, tmp_path: Path) -> None:
    train(make_config(shards), tmp_path / "run")
    (path,) = (tmp_path / "run/checkpoints").iterdir()
    torch.save({**torch.load(path), "format": 1}, path)
    with pytest.raises(CheckpointError, match=r"pt has format 1, this version .* another --out"):
        train(make_config(shards), tmp_path / "run")


def test_a_damaged_checkpoint_is_passed_over(shards: Path, tmp_path: Path) -> None:
    """The newest of three is cut short; the run goes on from the one before, and mends it."""
    config = make_config(shards, steps=6, save_every=2, keep=1)
    train(replace(config, keep=3), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    newest_path = tmp_path / "cut/checkpoints/step_00000006.pt"
    newest_path.write_bytes(newest_path.read_bytes()[:1000])
    (tmp_path / "cut/checkpoints/step_00000002.pt").unlink()
    train(config, tmp_path / "cut")
    assert_same(tmp_path / "whole", tmp_path / "cut")
    kept = [path.name for path in (tmp_path / "cut/checkpoints").iterdir()]
    assert kept == ["step_00000006.pt"]


@pytest.mark.parametrize("change", [{"counters": {"updats": 1}}, {"counters": 3}, {"more": 1}])
def test_a_checkpoint_with_foreign_parts_is_refused(
    shards: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    train(make_config(shards, steps=1), tmp_path / "run")
    path = tmp_path / "run/checkpoints/step_00000001.pt"
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(CheckpointError, match=r"step_00000001\.pt lacks a part, or holds"):
        load_snapshot(path)


def test_the_previous_checkpoint_survives_a_full_disk(shards: Path, tmp_path: Path) -> None:
    """A limit on file size stands in for the full disk: writing fails half-way."""
    out = tmp_path / "run"
    train(make_config(shards, steps=2), out)
    before = (out / "checkpoints/step_00000002.pt").read_bytes()
    store = CheckpointStore(out / "checkpoints", 1)
    snapshot = newest(out)
    snapshot.step = 3
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old_limit[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot write .*the last good .*00000002.pt"):
            store.save(snapshot)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step_00000002.pt"]
    assert (out / "checkpoints/step_00000002.pt").read_bytes() == before


def test_a_loss_that_is_no_number_stops_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(shards, save_every=2)
    backward = ExactGradient.backward
    calls = iter(range(100))

    def poisoned(self: ExactGradient, model: Any, batches: Any, *rest: Any) -> torch.Tensor:
        loss = backward(self, model, batches, *rest)
        return loss * float("nan") if next(calls) == 2 else loss

    monkeypatch.setattr(ExactGradient, "backward", poisoned)
    with pytest.raises(NonFiniteError, match=r"step 2: loss nan.*last checkpoint is of step 2"):
        train(config, tmp_path / "run")
    told = json.loads((tmp_path / "run/non_finite_step_2.json").read_text())
    assert told["step"] == 2
    assert len(told["samples"]) == 8
    assert all(
        name.split("/")[0] in ("00000", "00001", "00002", "00003") for name in told["samples"]
    )
    assert newest(tmp_path / "run").counters.updates == 2


def test_bad_samples_are_replaced_named_and_bounded(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (10, 10), bad=lambda n: n in (3, 14))
    config = make_config(folder, steps=5, batch_size=8)
    result = train(config, tmp_path / "run")
    (entry,) = result["ledger"]
    assert (result["updates"], result["bad_samples"]) == (5, 4)  # two passes see each twice
    assert (entry["n_drawn"], entry["n_unique"]) == (40, 18)
    assert entry["unseen_ratio"] == pytest.approx(0.1)
    named = {row["sample"] for row in read_rows(tmp_path / "run/bad.jsonl")}
    assert named == {"00000/00003", "00001/00014"}
    with pytest.raises(DataError, match=r"2 of 10 samples drawn were bad.*latest: 0000"):
        train(replace(config, max_bad_fraction=0.0), tmp_path / "strict")


def test_a_shard_corrupted_in_mid_run_is_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "in", (20, 20))
    report = Run.report

    def corrupt(run: Run, step: int, *values: float) -> None:
        report(run, step, *values)
        if step == 1:
            path = folder / "00001.tar"
            with path.open("r+b") as file:
                file.write(bytes(path.stat().st_size))

    monkeypatch.setattr(Run, "report", corrupt)
    config = make_config(folder, steps=20, prefetch=1, max_bad_fraction=0.9)
    result = train(config, tmp_path / "run")
    assert result["updates"] == 20
    assert result["bad_samples"] > 10
    named = {row["sample"].split("/")[0] for row in read_rows(tmp_path / "run/bad.jsonl")}
    assert named == {"00001"}


def test_accumulation_gives_the_gradient_of_the_whole_batch(shards: Path, tmp_path: Path) -> None:
    """After one step, AdamW's first moment is 0.1 times the gradient."""
    config = make_config(shards, steps=1, batch_size=64, precision="fp64", clip_grad_norm=None)
    train(config, tmp_path / "whole")
    train(replace(config, accumulate=4), tmp_path / "split")
    whole, split = (newest(tmp_path / name).optimizer["state"] for name in ("whole", "split"))
    for number, state in whole.items():
        difference = state["exp_avg"] - split[number]["exp_avg"]
        assert state["exp_avg"].abs().max() > 0
        assert difference.abs().max() < 1e-13
    one, two = rows(tmp_path / "whole")[0], rows(tmp_path / "split")[0]
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-12)


@pytest.mark.parametrize("changes", [{}, {"loss": "siglip"}, {"ema": 0.5}, {"context_length": 9}])
def test_the_exported_model_is_the_trained_one(
    shards: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    out = tmp_path / "run"
    train(make_config(shards, **changes), out)
    snapshot = newest(out)
    images = torch.randn(3, 3, 16, 16)
    loaded = open_clip.create_model(f"local-dir:{out / 'open_clip'}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{out / 'open_clip'}")(["a red dog", "b"])
    own = open_clip.create_model(
        "nano",
        force_context_length=changes.get("context_length"),
        **({"init_logit_bias": 0.0} if "loss" in changes else {}),
    ).eval()
    own.load_state_dict(snapshot.averaged or snapshot.state_dict)
    with torch.no_grad():
        assert torch.equal(loaded.encode_image(images), own.encode_image(images))
        assert torch.equal(loaded.encode_text(tokens), own.encode_text(tokens))
    if not changes:
        path = CheckpointStore(out / "checkpoints", 1).paths()[-1]
        direct = open_clip.create_model("nano", pretrained=str(path)).eval()
        export_checkpoint(path, tmp_path / "export")
        bare = tmp_path / "export/open_clip_pytorch_model.bin"
        exported = open_clip.create_model("nano", pretrained=str(bare)).eval()
        with torch.no_grad():
            for model in (direct, exported):
                assert torch.equal(model.encode_image(images), own.encode_image(images))


def test_fp16_overflow_repeats_the_step(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first scale of 2^24 overflows fp16; the step is done again, never skipped."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda device, enabled: scaler(device, 2.0**24, enabled=enabled)
    )
    result = train(make_config(shards, precision="amp"), tmp_path / "run")
    assert result["updates"] == 4
    assert newest(tmp_path / "run").scaler["scale"] < 2.0**24


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"grad_checkpointing": True},
        {"loss": "siglip", "accumulate": 2},
        {"decay_shape": "linear", "warmup": "50%", "decay": "2"},
    ],
)
def test_other_settings_run_to_the_end(
    shards: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert train(make_config(shards, **changes), tmp_path / "run")["updates"] == 4


@pytest.mark.parametrize(
    ("precision", "has_bfloat16", "warned"),
    [("bf16", False, True), ("bf16", True, False), ("fp32", False, False)],
)
def test_a_precision_that_the_processor_only_imitates_is_told(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    precision: Any,
    has_bfloat16: bool,
    warned: bool,
) -> None:
    monkeypatch.setattr(loop, "cpu_has_bfloat16", lambda: has_bfloat16)
    train(make_config(shards, steps=1, precision=precision), tmp_path / "run")
    assert ("no instructions for bfloat16" in caplog.text) == warned


def test_gradient_checkpointing_changes_no_bit(shards: Path, tmp_path: Path) -> None:
    train(make_config(shards), tmp_path / "plain")
    train(make_config(shards, grad_checkpointing=True), tmp_path / "checkpointed")
    for name, value in weights(tmp_path / "plain").items():
        assert torch.allclose(value, weights(tmp_path / "checkpointed")[name], atol=1e-7), name


def test_averaged_weights_by_hand(shards: Path, tmp_path: Path) -> None:
    """EMA after two steps: d²·w0 + d(1-d)·w1 + (1-d)·w2."""
    config = make_config(shards, steps=2, ema=0.75, save_every=1, keep=9, decay_shape="constant")
    train(config, tmp_path / "run")
    first, second = (
        load_snapshot(p) for p in CheckpointStore(tmp_path / "run/checkpoints", 9).paths()
    )
    assert first.averaged is not None
    assert second.averaged is not None
    start = (first.averaged["visual.proj"] - 0.25 * first.state_dict["visual.proj"]) / 0.75
    expected = (
        0.75**2 * start
        + 0.75 * 0.25 * first.state_dict["visual.proj"]
        + 0.25 * second.state_dict["visual.proj"]
    )
    assert torch.allclose(second.averaged["visual.proj"], expected, atol=1e-6)


def test_unknown_models_get_a_suggestion(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'ViT-B-23'; did you mean .*ViT-B-32"):
        train(make_config(shards, model="ViT-B-23"), tmp_path / "run")


def test_batches_must_split_evenly(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not split into 1 ranks x 3 micro-batches"):
        train(make_config(shards, accumulate=3), tmp_path / "run")
