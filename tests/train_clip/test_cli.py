"""The command line: options, exit codes, and the run of a stranger on real data."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import pytest
import torch

from tests.train_clip.conftest import make_config, write_shards
from tests.train_clip.runs import ROOT, newest, rows
from train_clip import cli
from train_clip.config import TrainConfig
from train_clip.models.build import OWN_MODELS, build_model
from train_clip.training.loop import train

NANO = ["--model", "nano", "--batch-size", "8", "--workers", "0", "--device", "cpu"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["train-clip", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    code = exit_info.value.code
    return 0 if code is None else int(code)


def test_help_is_fast() -> None:
    command = [sys.executable, "-c", "import sys; from train_clip.cli import main; "
               "sys.argv = ['train-clip', 'train', '--help']; main()"]  # fmt: skip
    begun = time.process_time(), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--steps" in done.stdout
    assert time.monotonic() - begun[1] < 5
    heavy = "{'torch', 'open_clip', 'pyarrow', 'cv2'}"
    loaded = f"import sys; import train_clip.cli; print({heavy} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"


def test_data_workers_import_no_torch() -> None:
    code = "import sys; import train_clip.data.worker; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_train_evaluate_export(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    code = call(
        monkeypatch, "train", "--data", str(shards), "--steps", "4", "--out", str(out), *NANO,
        "--eval-retrieval", str(shards), "--caption-pick", "random", "--captions", "captions",
        "--template", "a photo of {}", "--jitter", "0.4", "0.4", "0.4", "0.1", "--flip", "0.5",
        "--randaugment", "2", "9", "--erase", "0.25", "--warmup", "25%",
    )  # fmt: skip
    told = capsys.readouterr()
    assert code == 0
    assert "step == N: 4 == 4" in told.out
    assert "32 drawn, 32 unique of 40 usable in 40; repeats mean 1.00, max 1" in told.out
    assert "never seen 20.0%" in told.out
    assert "R@1" in told.out
    assert "R@10" in told.out
    assert "step 4/4  loss" in told.err
    config = TrainConfig.from_json((out / "config.json").read_text())
    assert config.image.jitter == (0.4, 0.4, 0.4, 0.1)
    assert config.caption.templates == ("a photo of {}",)
    assert list((out / "tensorboard").iterdir())

    assert call(monkeypatch, "evaluate", str(out), "--retrieval", str(shards), "--device", "cpu",
                "--out", str(tmp_path / "measured")) == 0  # fmt: skip
    again = json.loads((tmp_path / "measured/metrics.json").read_text())
    final = json.loads((out / "result.json").read_text())["evaluation"]
    assert {name: again[name] for name in final} == final

    assert call(monkeypatch, "export", str(out), "--out", str(tmp_path / "model")) == 0
    told = capsys.readouterr()
    assert f'open_clip.create_model("local-dir:{tmp_path / "model"}")' in told.out
    model = open_clip.create_model(f"local-dir:{tmp_path / 'model'}")
    assert torch.equal(model.state_dict()["visual.proj"], newest(out).state_dict["visual.proj"])


def test_several_sources_with_weights(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_shards(tmp_path / "other", (6,))
    out = tmp_path / "run"
    assert call(
        monkeypatch, "train", "--data", str(shards), "--weight", "3", "--data", str(other),
        "--weight", "1", "--steps", "25", "--out", str(out), *NANO, "--tracker", "none",
    ) == 0  # fmt: skip
    first, second = json.loads((out / "result.json").read_text())["ledger"]
    assert first["n_drawn"] + second["n_drawn"] == 200
    assert 130 <= first["n_drawn"] <= 170
    assert second["max_repeats"] >= 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "4", "--model", "nanno"], "unknown model 'nanno'; did you mean nano?"),
        (["--steps", "4", "--warmup", "4"], "warm-up of 4 steps never ends"),
        (["--steps", "4", "--samples", "9"], "exactly one of --steps, --samples and --passes"),
        ([], "exactly one of --steps, --samples and --passes, got none"),
        (["--steps", "0"], "--steps must be above 0"),
        (["--passes", "nan"], "--passes must be above 0, got nan"),
        (["--steps", "4", "--beta1", "2"], "betas must lie in [0, 1), got (2.0, 0.98)"),
        (["--steps", "4", "--precision", "fp8"], "--precision must be one of fp32, bf16"),
        (["--steps", "4", "--threads", "0"], "threads must be at least 1, got 0"),
        (["--steps", "4", "--clip-grad-norm", "nan"], "clip_grad_norm must be above 0, got nan"),
        (["--steps", "4", "--where", "x > 1"], "name their --scores"),
        (["--steps", "4", "--device", "cuda:99"], "GPU"),
        (["--steps", "4", "--mask-text", "blur"], "name their --scores or --words"),
        (["--steps", "4", "--masked-regions", "repeated"], "give that as well"),
        (
            ["--steps", "4", "--mask-text", "blur", "--masked-regions", "repeated"],
            "needs the --words of every --data",
        ),
        (
            ["--steps", "4", "--weight", "1", "--weight", "2"],
            "--weight was given 2 times for 1 --data",
        ),
        (["--steps", "4", "--template", "no place"], "exactly one {}"),
        (["--steps", "4", "--selection", "missing.parquet"], "missing.parquet is not a selection"),
    ],
)
def test_wrong_use_is_told(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    code = call(
        monkeypatch, "train", "--data", str(shards), "--out", str(tmp_path / "run"), *NANO,
        *arguments,
    )  # fmt: skip
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert code == (1 if "selection" in message else 2)


def test_a_spec_that_matches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = call(monkeypatch, "train", "--data", str(tmp_path / "none"), "--steps", "1",
                "--out", str(tmp_path / "run"), *NANO)  # fmt: skip
    assert code == 2
    assert "does not exist" in capsys.readouterr().err


def test_every_own_model_trains_a_step(shards: Path, tmp_path: Path) -> None:
    assert OWN_MODELS == ("small", "tiny", "tiny-vit")
    for name in ("tiny", "tiny-vit"):
        result = train(make_config(shards, model=name, steps=1, batch_size=4), tmp_path / name)
        assert result["updates"] == 1
        open_clip.create_model(f"local-dir:{result['model_folder']}")
    small = build_model(make_config(shards, model="small"), {})
    with torch.no_grad():
        features = small.model.encode_image(torch.zeros(1, 3, small.image_px, small.image_px))  # type: ignore[operator]
    assert (small.image_px, features.shape) == (128, (1, 384))


def test_on_real_photos(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss falls on Flickr8k, and retrieval is measured with five captions per photo."""
    out = tmp_path / "run"
    code = call(
        monkeypatch, "train", "--data", str(real_data / "flickr8k_shards/{00000..00003}.tar"),
        "--captions", "captions", "--caption-pick", "random", "--model", "tiny-vit",
        "--steps", "24", "--batch-size", "32", "--workers", "1", "--device", "cpu",
        "--warmup", "4", "--out", str(out), "--tracker", "none",
        "--eval-retrieval", str(real_data / "flickr8k_shards/00004.tar"), "--eval-limit", "40",
    )  # fmt: skip
    assert code == 0
    losses = [row["loss"] for row in rows(out) if row["kind"] == "train"]
    assert sum(losses[-6:]) / 6 < sum(losses[:3]) / 3 - 0.1
    final = json.loads((out / "result.json").read_text())["evaluation"]
    assert (final["retrieval_images"], final["retrieval_captions"]) == (40, 200)
    assert final["retrieval_failed"] == 0


def test_zero_shot_with_an_attacked_twin(
    real_data: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert call(
        monkeypatch, "train", "--data", str(shards), "--steps", "2", "--out", str(out), *NANO,
        "--tracker", "none", "--eval-zeroshot", str(real_data / "scam/NoSCAM"),
        "--eval-attacked", str(real_data / "scam/SCAM"), "--eval-templates", "1",
        "--eval-limit", "20",
    ) == 0  # fmt: skip
    final = json.loads((out / "result.json").read_text())["evaluation"]
    assert final["clean_n"] == final["attacked_n"] == 20
    assert 0 <= final["attacked_attack_success"] <= 1
    assert final["attacked_drop"] == pytest.approx(final["clean_top1"] - final["attacked_top1"])
