"""The arms and the pilot's verdict, for every size that is offered."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import reproduce
import typer
from reproduction import report
from reproduction.plan import Gate, Plan, load_size, with_arms, write_arms

from train_clip.comparison.arms import load_comparison

SIZES = Path(reproduce.__file__).parent / "reproduction" / "sizes.toml"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(load_size(SIZES, "smoke"), tmp_path)


@pytest.mark.parametrize("size", ["smoke", "small", "gpu"])
def test_every_size_is_a_comparison_of_arms_that_differ_in_data_only(
    size: str, tmp_path: Path
) -> None:
    plan = Plan(load_size(SIZES, size), tmp_path)
    write_arms(plan)
    comparison = load_comparison(plan.arms)
    assert tuple(comparison.arms) == plan.size.arms
    assert comparison.seeds == plan.size.seeds
    assert plan.size.pilot_seed not in comparison.seeds
    if plan.size.claims:
        assert len(comparison.seeds) >= 3
        assert plan.size.attack["attacks-per-image"] >= 9


def test_arms_are_what_they_are_called(plan: Plan) -> None:
    write_arms(plan)
    arms = load_comparison(plan.arms).arms
    selections = {name: [s.selection for s in arm.sources] for name, arm in arms.items()}
    base = str(plan.out / "selections")
    assert selections == {
        "all": [None],
        "filtered": [f"{base}/filtered.parquet"],
        "control": [f"{base}/filtered.control.parquet"],
        "oracle": [f"{base}/oracle.parquet"],
        "masked": [None],
        "pool": [f"{base}/filtered.parquet", f"{base}/extra.parquet"],
        "augment": [None],
    }
    assert arms["masked"].image.text_mask == "mean"
    assert arms["augment"].image.randaugment[0] > 0


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(SystemExit, match="--size must be one of smoke, small, gpu, got 'big'"):
        load_size(SIZES, "big")


@pytest.mark.parametrize(
    ("clean", "success", "passed"),
    [(0.5, 0.3, True), (0.5, 0.29, False), (0.19, 0.9, False), (0.2, 0.3, True)],
)
def test_the_pilot_must_see_and_be_fooled(clean: float, success: float, passed: bool) -> None:
    assert Gate(clean, 0.1, success, chance=0.1).passed is passed


def test_a_folder_is_never_gone_on_with_under_other_settings(plan: Plan) -> None:
    reproduce.freeze(plan.out, plan.size.as_dict())
    reproduce.freeze(plan.out, plan.size.as_dict())
    other = replace(plan.size, max_text_area=0.1)
    with pytest.raises(typer.Exit):
        reproduce.freeze(plan.out, other.as_dict())


def test_arms_can_be_added_to_a_folder(plan: Plan) -> None:
    small = load_size(SIZES, "small")
    more = with_arms(small, "masked, augment,masked")
    assert more.arms == (*small.arms, "masked", "augment")
    reproduce.freeze(plan.out, small.as_dict())
    reproduce.freeze(plan.out, more.as_dict())
    assert with_arms(small, "") == small


@pytest.mark.parametrize("name", ["pool", "mask"])
def test_an_arm_that_cannot_be_trained_is_refused(name: str) -> None:
    with pytest.raises(SystemExit, match=f"masked, augment at size small, got '{name}'"):
        with_arms(load_size(SIZES, "small"), f"augment,{name}")


def test_commands_are_logged_and_failures_end_the_program(tmp_path: Path) -> None:
    log = reproduce.CommandLog(tmp_path / "commands.jsonl")
    log.run([sys.executable, "-c", "pass"])
    row = json.loads((tmp_path / "commands.jsonl").read_text())
    assert row["command"] == "python -c pass" and row["commit"]
    with pytest.raises(typer.Exit) as ended:
        log.run([sys.executable, "-c", "raise SystemExit(7)"])
    assert ended.value.exit_code == 7


def test_told_to_stop_it_tells_its_command_and_waits_for_it(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    child = f"""
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.5)
    pathlib.Path({str(ended)!r}).touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
pathlib.Path({str(begun)!r}).touch()
time.sleep(60)
"""
    parent = f"""
import signal, sys, typer, pathlib
import reproduce
log = reproduce.CommandLog(pathlib.Path({str(tmp_path / "log")!r}))
signal.signal(signal.SIGTERM, lambda *_: log.stop())
try:
    log.run([sys.executable, "-c", {child!r}])
except typer.Exit as error:
    sys.exit(error.exit_code)
"""
    scripts = str(Path(reproduce.__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=scripts)
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=60) == reproduce.TERMINATED
    assert ended.exists()


@pytest.mark.parametrize("module", [report, reproduce])
def test_examples(module: object) -> None:
    failed, attempted = doctest.testmod(module)  # type: ignore[arg-type]
    assert attempted > 0
    assert failed == 0
