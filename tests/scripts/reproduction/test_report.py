"""The report on an experiment whose figures are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reproduction.measures import arm_rows, compared, read_runs, removals, threshold_points
from reproduction.plan import Gate, Plan, load_size
from reproduction.report import write_results

from tests.scripts.reproduction.test_plan import SIZES

N_PHOTOS, N_WORDS = 40, 3
ARMS = ("all", "filtered", "control", "oracle")
# Share of the photos that each arm gets right, clean and attacked, and of the words that fool it.
RATES = {
    "all": (0.5, 0.2, 0.6),
    "filtered": (0.5, 0.5, 0.1),
    "control": (0.5, 0.2, 0.6),
    "oracle": (0.5, 0.5, 0.1),
}
GATE = Gate(0.5, 0.2, 0.6, 0.1)


def first(share: float, n: int) -> Any:
    return np.arange(n) < share * n


def write_run(plan: Plan, arm: str, seed: int) -> None:
    folder = plan.runs / arm / f"seed{seed}"
    (folder / "evaluation").mkdir(parents=True)
    clean, attacked, success = RATES[arm]
    values = {
        "clean_top1": clean,
        "attacked_top1": attacked,
        "attacked_attack_success": success,
        "clean_n": N_PHOTOS,
        "i2t_R@5": 0.3,
        "t2i_R@5": 0.4,
    }
    ledger = [{"n_usable": 100 if arm == "all" else 60, "n_drawn": 600}]
    result = {
        "step": 10,
        "n_steps": 10,
        "initial_weights": "equal",
        "evaluation": values,
        "ledger": ledger,
    }
    (folder / "result.json").write_text(json.dumps(result))
    rows = [{"kind": "evaluation", "step": step, **values} for step in (5, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    photos = np.array([f"photo{i}" for i in range(N_PHOTOS)])
    np.savez(
        folder / "evaluation" / "step_00000010.npz",
        clean_right=first(clean, N_PHOTOS),
        clean_item=photos,
        attacked_right=first(attacked, N_PHOTOS * N_WORDS),
        attacked_fooled=first(success, N_PHOTOS * N_WORDS),
        attacked_item=np.repeat(photos, N_WORDS),
    )
    control = plan.control(arm, seed)
    control.mkdir(parents=True)
    top1 = {"top1": {"value": clean, "low": clean - 0.1, "high": clean + 0.1}}
    variants = dict.fromkeys(("none", "correct", "nonsense"), top1)
    (control / "results.json").write_text(json.dumps({"variants": variants}))


def write_scores(plan: Plan) -> None:
    """Of 40 with large text 36 are found, of 10 with small text 2, of 50 clean ones 1 is blamed."""
    truth, scores = [], []
    cases = [("none", 0.25, 40, 36), ("small", 0.04, 10, 2), (None, None, 50, 1)]
    for hard, height, n, found in cases:
        for i in range(n):
            key = f"{hard}{i:03d}"
            kind = "clean" if hard is None else ("parrot" if i % 2 else "swapped")
            row = {"key": key, "has_text": hard is not None, "hard": hard, "kind": kind}
            truth.append({**row, "height_ratio": height})
            ratio = 0.1 if i < found else 0.0
            scores.append({"key": key, "status": "ok", "text_area_ratio": ratio})
    for folder, rows in ((plan.truth, truth), (plan.scores / "train", scores)):
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000.parquet")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    size = replace(load_size(SIZES, "small"), arms=ARMS, seeds=(0, 1))
    plan = Plan(size, tmp_path)
    for arm in ARMS:
        for seed in (0, 1):
            write_run(plan, arm, seed)
    write_scores(plan)
    plan.classes.write_text("label,wnid,name\n" + "".join(f"{i},n{i},c{i}\n" for i in range(10)))
    row = {"command": "lesstext score", "seconds": 1.0, "commit": "abc"}
    (plan.out / "commands.jsonl").write_text(2 * (json.dumps(row) + "\n"))
    return plan


def test_arms(plan: Plan) -> None:
    rows = {row.arm: row for row in arm_rows(plan, read_runs(plan))}
    assert (rows["all"].pairs, rows["all"].repeats) == (100, 6)
    assert (rows["filtered"].pairs, rows["filtered"].repeats) == (60, 10)
    success = rows["all"].metrics["success"]
    assert success.mean == pytest.approx(0.6) and success.seeds == (0.6, 0.6)
    # 24 of 40 photos are fooled by every word: photos, not words, are what was drawn.
    assert success.low == pytest.approx(0.6 - 1.96 * (0.24 / N_PHOTOS) ** 0.5, abs=0.03)
    assert rows["all"].controls["none"].mean == 0.5


def test_differences_are_paired(plan: Plan) -> None:
    runs = read_runs(plan)
    gain = compared(runs, "all", "filtered", "attacked")
    assert gain.mean == pytest.approx(0.3) and gain.seeds == pytest.approx((0.3, 0.3))
    assert 0.1 < gain.low < 0.3 < gain.high < 0.5
    same = compared(runs, "all", "filtered", "clean")
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_the_filter_against_the_truth(plan: Plan) -> None:
    found = {row.group: row for row in removals(plan, 0.005)}
    everything = found["all text"]
    assert (everything.n, everything.removed) == (50, 38)
    assert everything.recall == 38 / 50 and everything.precision == 38 / 39
    assert found["letters 20% and more"].recall == 0.9
    assert found["small (letters below 6% of the height)"].recall == 0.2
    assert found["small (letters below 6% of the height)"].precision == 2 / 3
    assert found["no text (removed wrongly)"].removed == 1
    points = {point.threshold: point for point in threshold_points(plan)}
    assert points[0.005].recall == 38 / 50 and points[0.005].kept == 1 - 39 / 100
    assert points[0.2].recall == 0 and points[0.2].kept == 1


def test_the_page_and_the_table(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reproduction.report.draw_examples", lambda plan, target: None)
    page = write_results(plan, GATE).read_text()
    table = (plan.results / "table.md").read_text()
    assert "| all | 100 | 50.0 [" in table and "| 60.0 [" in table
    assert "| does filtered beat all under attack? | +30.0 [" in table
    answers = {
        row["question"]: row["answer"]
        for row in json.loads((plan.results / "results.json").read_text())["answers"]
    }
    assert answers["does filtered beat all under attack?"] == "yes"
    assert answers["is filtered fooled less than all?"] == "yes"
    assert answers["is filtered no worse than all on clean?"] == "yes (within 3 points)"
    assert answers["does control lose against all on clean?"] == "no"
    assert "Void" not in table and "Void" not in page
    assert "<b>oracle</b>" in page and "<b>pool</b>" not in page
    assert "lesstext score" in page and page.count("data:image/png;base64,") == 3


def test_two_reports_on_one_experiment_are_equal(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reproduction.report.draw_examples", lambda plan, target: None)
    write_results(plan, GATE)
    before = {path.name: path.read_bytes() for path in plan.results.iterdir()}
    write_results(plan, GATE)
    assert {path.name: path.read_bytes() for path in plan.results.iterdir()} == before


def test_an_arm_that_cannot_read_makes_the_experiment_void(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reproduction.report.draw_examples", lambda plan, target: None)
    plan.classes.write_text("label,wnid,name\n" + "".join(f"{i},n{i},c{i}\n" for i in range(3)))
    write_results(plan, GATE)
    assert "Void: `all` was not surely fooled twice" in (plan.results / "table.md").read_text()
