"""Arms that differ in data only."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lesstext.errors import UsageError
from tests.train_clip.conftest import write_class_folders, write_shards
from train_clip.comparison.arms import load_comparison
from train_clip.comparison.compare import compare
from train_clip.comparison.page import curve, markdown_table
from train_clip.errors import ConfigError, TrainError

COMMON = """
seeds = [0, 1]
baseline = "all"
[common]
model = "nano"
steps = 4
batch_size = 8
workers = 0
warmup = "0"
tracker = "none"
device = "cpu"
"""


def write_config(path: Path, common: str, **arms: str) -> Path:
    text = common + "".join(f"[arms.{name}]\n{body}\n" for name, body in arms.items())
    path.write_text(text)
    return path


def source(folder: Path) -> str:
    return f'sources = [{{data = "{folder}"}}]'


@pytest.fixture
def pools(tmp_path: Path) -> tuple[Path, Path]:
    """A pool of 20 pairs, and one of 8."""
    return write_shards(tmp_path / "big", (10, 10)), write_shards(tmp_path / "small", (8,))


def test_a_comparison_from_beginning_to_end(pools: tuple[Path, Path], tmp_path: Path) -> None:
    big, small = pools
    photos = write_class_folders(tmp_path / "photos")
    evaluation = f'[common.evaluation]\nevery = 2\nretrieval = "{big}"\nlimit = 12\n'
    evaluation += f'image_retrieval = "{photos}"\n'
    path = write_config(
        tmp_path / "c.toml", COMMON + evaluation, all=source(big), less=source(small)
    )
    out = tmp_path / "out"
    found = compare(load_comparison(path), out)
    assert found.arms == ["all", "less"]
    assert [(run.seed, run.arm) for run in found.runs] == [
        (0, "all"),
        (0, "less"),
        (1, "all"),
        (1, "less"),
    ]
    starts = {(run.seed, run.result["initial_weights"]) for run in found.runs}
    assert len(starts) == 2  # one start per seed, shared by the arms
    assert len({run.result["final_weights"] for run in found.runs}) == 4

    row = found.table["i2t_R@1"]["less"]
    by_hand = [r.result["evaluation"]["i2t_R@1"] for r in found.runs if r.arm == "less"]
    assert row.mean == pytest.approx(np.mean(by_hand))
    assert row.deviation == pytest.approx(abs(by_hand[0] - by_hand[1]) / np.sqrt(2))
    difference = found.differences["i2t_R@1"]["less"]
    assert difference.mean == pytest.approx(row.mean - found.table["i2t_R@1"]["all"].mean)
    assert len(difference.tests) == 2
    arms = found.table["image_map"]
    by_classes = found.differences["image_map"]["less"]
    assert by_classes.mean == pytest.approx(arms["less"].mean - arms["all"].mean)
    assert by_classes.low <= by_classes.mean <= by_classes.high
    assert [test.test for test in by_classes.tests] == ["cluster-robust z"] * 2
    assert found.table["image_map_random"]["less"].deviation == 0

    steps, values = curve([r for r in found.runs if r.arm == "all"], "evaluation", "i2t_R@1")
    assert steps.tolist() == [2, 4]
    assert values.shape == (2, 2)
    assert (out / "table.md").read_text() == markdown_table(found)
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "comparison.html").read_text()
    for run in found.runs:
        assert f'href="{run.arm}/seed{run.seed}/result.json"' in page
        assert (out / run.arm / f"seed{run.seed}/result.json").exists()
    assert 'class="verdict"' in page
    assert "less right, all wrong" in page
    assert "finding the images of a class (mAP)" in page
    assert "| image_map |" in (out / "table.md").read_text()
    stored = json.loads((out / "comparison.json").read_text())
    assert stored["table"]["i2t_R@1"]["less"]["mean"] == row.mean


def test_a_rerun_trains_nothing_again(pools: tuple[Path, Path], tmp_path: Path) -> None:
    big, small = pools
    path = write_config(tmp_path / "c.toml", COMMON, all=source(big), less=source(small))
    compare(load_comparison(path), tmp_path / "out")
    metrics = tmp_path / "out/all/seed0/metrics.jsonl"
    before = metrics.read_text()
    compare(load_comparison(path), tmp_path / "out")
    assert metrics.read_text() == before


def test_anything_but_data_is_refused(pools: tuple[Path, Path], tmp_path: Path) -> None:
    big, small = pools
    for extra, named in (("lr = 0.1", "lr"), ("steps = 9", "steps"), ("seed = 4", "seed")):
        path = write_config(
            tmp_path / "c.toml", COMMON, all=source(big), less=f"{source(small)}\n{extra}"
        )
        with pytest.raises(ConfigError, match=f"arm 'less' sets {named}; arms differ in data only"):
            load_comparison(path)


def test_augmentation_counts_as_data(pools: tuple[Path, Path], tmp_path: Path) -> None:
    big, _ = pools
    augmented = f"{source(big)}\nimage = {{flip_prob = 0.5}}"
    path = write_config(tmp_path / "c.toml", COMMON, all=source(big), flipped=augmented)
    assert load_comparison(path).arms["flipped"].image.flip_prob == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 4", "passes = 2"), "arms of different size pass at different speed"),
        (('baseline = "all"', 'baseline = "some"'), "baseline 'some' is no arm"),
        (("seeds = [0, 1]", "seeds = [1, 1]"), "each once"),
        (
            ("workers = 0", "worker = 0"),
            r"arm 'all': unknown setting worker; did you mean workers\?",
        ),
        (("seeds", "seed"), r"c\.toml: unknown setting seed"),
        (("steps = 4", "steps = ["), "cannot read the comparison"),
        (("steps = 4", 'steps = "four"'), "arm 'all': steps: input should be a valid integer"),
        (("steps = 4", "steps = true"), "steps: input should be a valid integer, got True"),
        (("steps = 4", "steps = 4.0"), "steps: input should be a valid integer, got 4.0"),
        (("steps = 4", "steps = 4\nlr = nan"), "the learning rate must be above 0, got nan"),
        (("steps = 4", "steps = 4\nbetas = [0.9, 2]"), r"betas must lie in \[0, 1\)"),
        (("steps = 4", "steps = 4\nbetas = [0.9]"), r"the setting betas\.1 is missing"),
        (("steps = 4", "steps = 1979-05-27"), "steps: input should be a valid integer"),
        (("[common]", "[common]\nflip = 0.5"), r"setting flip; did you mean image\.flip_prob\?"),
        (("[common]", "[common]\nimage = 3"), "image: input should be an object, got 3"),
        (("[common]", "arms = 3\n[common]"), "cannot read the comparison"),
    ],
)
def test_configs_that_mean_nothing_are_refused(
    pools: tuple[Path, Path], tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    big, small = pools
    path = write_config(
        tmp_path / "c.toml", COMMON.replace(*change), all=source(big), less=source(small)
    )
    with pytest.raises(ConfigError, match=message):
        load_comparison(path)


@pytest.mark.parametrize("name", ["../out", "/tmp/out", ".", ""])
def test_an_arm_stays_in_the_comparisons_folder(
    pools: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    arms = {"all": source(pools[0]), f'"{name}"': source(pools[1])}
    with pytest.raises(ConfigError, match="an arm's name becomes a folder's"):
        load_comparison(write_config(tmp_path / "c.toml", COMMON, **arms))


def test_one_arm_is_no_comparison(pools: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.toml", COMMON, all=source(pools[0]))
    with pytest.raises(ConfigError, match="at least two arms"):
        load_comparison(path)


def test_runs_that_began_differently_are_refused(pools: tuple[Path, Path], tmp_path: Path) -> None:
    big, small = pools
    path = write_config(tmp_path / "c.toml", COMMON, all=source(big), less=source(small))
    out = tmp_path / "out"
    compare(load_comparison(path), out)
    path_of_one = out / "less/seed0/result.json"
    result = json.loads(path_of_one.read_text())
    path_of_one.write_text(json.dumps({**result, "initial_weights": "another"}))
    with pytest.raises(TrainError, match="the runs of seed 0 differ in initial_weights"):
        compare(load_comparison(path), out)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("result.json", b'{"step": 4', r"result\.json is damaged: invalid JSON"),
        ("result.json", b"\xff\xfe", r"result\.json is damaged"),
        ("result.json", b"[]", r"result\.json is damaged: input should be an object"),
        ("result.json", b"{}", r"result\.json is damaged: the setting step is missing"),
        ("config.json", b"[]", r"config\.json: input should be an object"),
        ("evaluation/step_00000004.npz", b"PK\3\4", r"step_00000004\.npz is damaged"),
        ("evaluation/step_00000004.npz", b"junk", r"step_00000004\.npz is damaged"),
    ],
)
def test_damaged_files_of_a_run_are_named(
    finished: tuple[Path, Path], tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path, out = finished
    shutil.copytree(out, tmp_path / "copy")
    (tmp_path / "copy/all/seed0" / name).write_bytes(data)
    with pytest.raises((TrainError, ConfigError), match=message):
        compare(load_comparison(path), tmp_path / "copy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A comparison's file, and the folder where it was carried out."""
    folder = tmp_path_factory.mktemp("finished")
    big = write_shards(folder / "big", (10, 10))
    cached = f'cache = "{folder}/cache"\n[common.evaluation]\nretrieval = "{big}"\n'
    arms = {"all": source(big), "less": source(write_shards(folder / "small", (8,)))}
    path = write_config(folder / "c.toml", COMMON.replace("[0, 1]", "[0]") + cached, **arms)
    compare(load_comparison(path), folder / "out")
    return path, folder / "out"


SIDE_BY_SIDE = """
seeds = [0]
baseline = "all"
[common]
model = "tiny-vit"
context_length = 8
steps = 3
batch_size = 4
workers = 0
warmup = "0"
tracker = "none"
device = "cpu"
threads = 1
"""


def final_weights(out: Path) -> dict[str, str]:
    found = json.loads((out / "comparison.json").read_text())["runs"]
    return {f"{run['arm']}/{run['seed']}": run["final_weights"] for run in found}


def test_runs_side_by_side_give_what_one_after_another_gives(
    pools: tuple[Path, Path], tmp_path: Path
) -> None:
    big, small = pools
    path = write_config(tmp_path / "c.toml", SIDE_BY_SIDE, all=source(big), less=source(small))
    compare(load_comparison(path), tmp_path / "together", jobs=2)
    compare(load_comparison(path), tmp_path / "alone")
    assert final_weights(tmp_path / "together") == final_weights(tmp_path / "alone")
    assert "step 3/3" in (tmp_path / "together/less/seed0/train.log").read_text()


def test_a_failing_run_is_named_and_stops_the_others(
    pools: tuple[Path, Path], tmp_path: Path
) -> None:
    big, _ = pools
    settings = SIDE_BY_SIDE.replace("steps = 3", "steps = 100000")
    empty = f'sources = [{{data = "{big}", scores = "{tmp_path}/no", where = "width > 0"}}]'
    path = write_config(tmp_path / "c.toml", settings, all=source(big), less=empty)
    with pytest.raises(TrainError, match=r"less/seed0 failed .*see train\.log there"):
        compare(load_comparison(path), tmp_path / "out", jobs=2)
    assert str(tmp_path / "no") in (tmp_path / "out/less/seed0/train.log").read_text()


def test_runs_told_to_stop_go_on_where_they_were(pools: tuple[Path, Path], tmp_path: Path) -> None:
    big, small = pools
    settings = SIDE_BY_SIDE.replace("steps = 3", "steps = 40")
    path = write_config(tmp_path / "c.toml", settings, all=source(big), less=source(small))
    command = [sys.executable, "-m", "train_clip.cli", "compare", str(path), "--jobs", "2"]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE)
    metrics = [tmp_path / "out" / arm / "seed0/metrics.jsonl" for arm in ("all", "less")]
    deadline = time.monotonic() + 120
    while not all(path.exists() and '"step": 2' in path.read_text() for path in metrics):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert b"saved its place" in errors
    assert list((tmp_path / "out/all/seed0/checkpoints").glob("*.pt"))
    assert not (tmp_path / "out/all/seed0/result.json").exists()
    subprocess.run([*command, "--out", str(tmp_path / "out")], check=True)
    compare(load_comparison(path), tmp_path / "alone")
    assert final_weights(tmp_path / "out") == final_weights(tmp_path / "alone")


def test_cores_are_shared_on_purpose(pools: tuple[Path, Path], tmp_path: Path) -> None:
    big, small = pools
    settings = SIDE_BY_SIDE.replace("threads = 1\n", "")
    path = write_config(tmp_path / "c.toml", settings, all=source(big), less=source(small))
    with pytest.raises(ConfigError, match=r"set threads under \[common\]"):
        compare(load_comparison(path), tmp_path / "out", jobs=2)


def objective(folder: Path, loss: str) -> str:
    return f'{source(folder)}\nloss = "{loss}"'


def test_objectives_are_compared_when_asked_for(pools: tuple[Path, Path], tmp_path: Path) -> None:
    """Arms of one pool, CLIP against SigLIP: the towers start as equals, the logit scale apart."""
    big, _ = pools
    asked = 'vary = ["objective"]\n' + COMMON.replace("[common]", f"[common]\n{source(big)}")
    path = write_config(tmp_path / "c.toml", asked, all='loss = "clip"', sigmoid='loss = "siglip"')
    found = compare(load_comparison(path), tmp_path / "out")
    starts = {run.result["initial_weights"] for run in found.runs}
    assert len(starts) == 4  # two seeds, and two logit scales for each
    other = tmp_path / "out/sigmoid/seed1/result.json"
    other.write_text(other.read_text().replace(found.runs[-1].result["initial_weights"], "another"))
    with pytest.raises(TrainError, match="'sigmoid' with seed 1 differs in initial_weights"):
        compare(load_comparison(path), tmp_path / "out")


def test_objectives_are_not_compared_unasked(pools: tuple[Path, Path], tmp_path: Path) -> None:
    big, small = pools
    arms = {"all": objective(big, "clip"), "sigmoid": objective(big, "siglip")}
    path = write_config(tmp_path / "c.toml", COMMON, **arms)
    with pytest.raises(ConfigError, match="arm 'all' sets loss; arms differ in data only"):
        load_comparison(path)
    path = write_config(tmp_path / "c.toml", 'vary = ["objective"]\n' + COMMON, **arms)
    with pytest.raises(ConfigError, match="sets sources; arms differ in objective only"):
        load_comparison(path)
    arms["less"] = objective(small, "siglip")
    path = write_config(tmp_path / "c.toml", 'vary = ["data", "objective"]\n' + COMMON, **arms)
    assert [arm.loss for arm in load_comparison(path).arms.values()] == ["clip", "siglip", "siglip"]
    path = write_config(tmp_path / "c.toml", 'vary = ["lr"]\n' + COMMON, **arms)
    with pytest.raises(ConfigError, match=r"vary\.0: input should be 'data' or 'objective'"):
        load_comparison(path)


def test_an_unknown_objective_is_told_before_anything_is_trained(
    pools: tuple[Path, Path], tmp_path: Path
) -> None:
    big, _ = pools
    asked = 'vary = ["objective"]\n' + COMMON.replace("[common]", f"[common]\n{source(big)}")
    path = write_config(tmp_path / "c.toml", asked, all='loss = "clip"', other='loss = "mse"')
    with pytest.raises(UsageError, match="unknown objective 'mse'; known: clip, contrastive, "):
        compare(load_comparison(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
