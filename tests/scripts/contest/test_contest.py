"""The tournament on an experiment whose figures are known: what was kept, found and answered."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import eval_overlap
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from contest import questions
from contest.plan import ContestPlan, load_contest
from contest.questions import Forgetting, keeps_more
from contest.report import write_contest
from contest.truth import kept_by_kind, parrot_truth
from reproduction.measures import Estimate
from reproduction.plan import Gate, write_arms
from reproduction.report import Answer

from lesstext.cli.select import SelectConfig
from lesstext.dataclass_options import build
from tests.lesstext.tables.table_builders import made_table
from tests.scripts.reproduction import test_report
from train_clip.comparison.arms import load_comparison

SEEDS = (0, 1)
# Share of the photos that each arm gets right, clean and attacked, and of the words that fool it.
RATES = {
    "all": (0.5, 0.2, 0.6),
    "less-is-more": (0.5, 0.5, 0.0),
    "t-mars": (0.5, 0.2, 0.6),
    "parrot": (0.5, 0.5, 0.0),
    "clip-score": (0.5, 0.2, 0.6),
    "oracle": (0.5, 0.5, 0.0),
    "random": (0.5, 0.2, 0.6),
    "masked": (0.2, 0.2, 0.0),
    "masked-parrot": (0.5, 0.5, 0.0),
}
# Share of the cards that each arm reads.
READS = dict.fromkeys(RATES, 0.1) | {"all": 1.0, "parrot": 0.9, "masked": 0.9}
GATE = Gate(0.5, 0.2, 0.6, 0.1)
KINDS = [("clean", None), ("misfit", None), ("parrot", "title"), ("swapped", "logo"),
         ("unrelated", "plain"), ("parrot", "rotated")]  # fmt: skip


def write_truth(plan: ContestPlan, found: dict[int, float]) -> None:
    """Sixty samples, ten of each of KINDS in turn; `found` are the overlaps above 0 by number."""
    rows = [
        {
            "key": f"k{i:02}",
            "photo": f"photo{i}",
            "kind": KINDS[i % 6][0],
            "has_text": KINDS[i % 6][1] is not None,
            "style": "title" if KINDS[i % 6][1] == "rotated" else KINDS[i % 6][1],
            "hard": "rotated" if KINDS[i % 6][1] == "rotated" else "none",
            "height_ratio": 0.2,
        }
        for i in range(60)
    ]
    plan.truth.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), plan.truth / "train-00000.parquet")
    columns = ("caption_overlap", "fuzzy_caption_overlap")
    overlaps = [{"key": f"k{i:02}", **dict.fromkeys(columns, found.get(i, 0.0))} for i in range(60)]
    overlaps[59] |= {"status": "decode_error", "error": "broken"}
    overlaps[59] |= dict.fromkeys(columns)
    types = dict.fromkeys(columns, pa.float32())
    made_table(plan.table("overlap"), "train-00000", overlaps, name="overlap", types=types)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ContestPlan:
    size = replace(load_contest("small"), seeds=SEEDS)
    plan = ContestPlan(size, tmp_path)
    for arm, rates in RATES.items():
        monkeypatch.setitem(test_report.RATES, arm, rates)
        for seed in SEEDS:
            test_report.write_run(plan, arm, seed)
            plan.reading(arm, seed).parent.mkdir(parents=True, exist_ok=True)
            names = np.repeat([f"name{i}" for i in range(20)], 10)
            right = np.tile(np.arange(10) < 10 * READS[arm], 20)
            np.savez(plan.reading(arm, seed), right=right, name=names)
    # Of the 20 upright ones 18 are found, of 10 rotated ones 3, and 2 unrelated ones by mistake.
    upright = [i for i in range(60) if i % 6 in (2, 3)][:18]
    rotated = [i for i in range(60) if i % 6 == 5][:3]
    write_truth(plan, dict.fromkeys([*upright, *rotated, 4, 10], 0.25))
    for arm in plan.selecting:
        plan.selection(arm).parent.mkdir(exist_ok=True)
        keys = [f"k{i:02}" for i in range(60) if i % 6 in (0, 4) or i < 6]
        pq.write_table(pa.table({"key": keys}), plan.selection(arm))
    plan.classes.write_text("label,wnid,name\n" + "".join(f"{i},n{i},c{i}\n" for i in range(10)))
    row = {"command": "lesstext score", "seconds": 1.0, "commit": "abc"}
    (plan.out / "commands.jsonl").write_text(json.dumps(row) + "\n")
    return plan


@pytest.mark.parametrize("name", ["smoke", "small"])
def test_every_size_compares_at_most_ten_arms_by_rules_that_select_takes(
    name: str, tmp_path: Path
) -> None:
    plan = ContestPlan(load_contest(name), tmp_path)
    write_arms(plan)
    comparison = load_comparison(plan.arms)
    assert tuple(comparison.arms) == plan.size.arms and len(plan.size.arms) <= 10
    assert plan.size.pilot_seed not in comparison.seeds
    for arm, options in plan.selecting.items():
        (source,) = comparison.arms[arm].sources
        assert source.selection == str(plan.selection(arm))
        values: dict[str, Any] = {}
        for flag, value in zip(options, [*options[1:], ""], strict=True):
            if flag.startswith("--"):
                values[flag[2:].replace("-", "_")] = value
        values = {k: {"keep_fraction": 0.6, "fuzzy": True}.get(k, v) for k, v in values.items()}
        rule = build(SelectConfig, values, tables=["x"], out="y").rule
        assert rule.policy == (None if arm == "oracle" else arm)
    if plan.size.claims:
        assert len(comparison.seeds) >= 3 and plan.size.cards_per_class >= 30


def test_what_was_found_against_what_was_drawn(plan: ContestPlan) -> None:
    found = parrot_truth(plan.table("overlap"), plan.truth, "fuzzy_caption_overlap")
    assert found.n_samples == 60
    assert (found.precision.value, found.precision.n) == (21 / 23, 23)
    assert (found.legible.n, found.legible.recall.value) == (20, 18 / 20)
    assert 0.69 < found.legible.recall.low < 0.9 < found.legible.recall.high < 0.98
    kinds = {row.text: (row.n, row.recall.value) for row in found.kinds}
    assert kinds["rotated 20 to 70 degrees"] == (10, 0.3)
    assert kinds["upright: title"] == (10, 0.9)
    assert kinds["upright: plain"][0] == 0  # unrelated text stands in no caption
    assert found.n_found_of == {
        "clean": 0, "misfit": 0, "parrot": 12, "swapped": 9, "unrelated": 2
    }  # fmt: skip


def test_the_command_that_holds_tables_against_the_truth(
    plan: ContestPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    out = plan.out / "found"
    eval_overlap.main(plan.table("overlap"), plan.truth, out)
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert "`caption_overlap` above 0 (60 samples): precision 91.3 [" in table
    assert [row["n_samples"] for row in json.loads((out / "results.json").read_text())] == [60, 60]
    with pytest.raises(typer.Exit) as ended:
        eval_overlap.main(plan.out / "none", plan.truth, out)
    assert ended.value.exit_code == 2 and "eval_overlap: " in capsys.readouterr().err


def test_what_was_kept(plan: ContestPlan) -> None:
    kept = kept_by_kind(plan.selection("parrot"), plan.truth)
    assert kept == {"clean": 1, "misfit": 0.1, "parrot": 0.1, "swapped": 0.1, "unrelated": 1}
    assert set(kept_by_kind(None, plan.truth).values()) == {1}


def test_the_answers_and_the_table(plan: ContestPlan) -> None:
    table = write_contest(plan, GATE)
    stored = json.loads((plan.results / "results.json").read_text())
    answers = {row["question"]: row["answer"] for row in stored["answers"]}
    assert answers["does parrot beat all under attack?"] == "yes"
    assert answers["does t-mars beat random under attack?"] == "no"
    assert answers["is less-is-more fooled less than all?"] == "yes"
    assert answers["is parrot as good as oracle under attack?"] == "yes (within 3 points)"
    assert answers["is masked no worse than all on clean?"] == "no"
    verdicts = {row["arm"]: row for row in stored["forgetting"]}
    assert (verdicts["parrot"]["repelled"], verdicts["parrot"]["reads"]) == ("yes", "yes")
    assert verdicts["less-is-more"]["reads"] == "no"
    assert "Ignores without forgetting: parrot; cannot be told: none." in table
    assert "| parrot | 60 | 50.0 [" in table and "| masked | yes | yes: +10.0 [" in table
    assert "Void" not in table and "precision 91.3 [" in table
    before = {path.name: path.read_bytes() for path in plan.results.iterdir()}
    write_contest(plan, GATE)
    assert {path.name: path.read_bytes() for path in plan.results.iterdir()} == before


def test_an_arm_that_cannot_read_makes_it_void(plan: ContestPlan) -> None:
    plan.classes.write_text("label,wnid,name\n" + "".join(f"{i},n{i},c{i}\n" for i in range(3)))
    assert "**Void: `all` was not surely fooled twice" in write_contest(plan, GATE)


@pytest.mark.parametrize(
    ("pairs", "robust", "expected"),
    [
        (70, "yes (within 3 points)", "yes"),
        (60, "yes (within 3 points)", "no"),
        (70, "no", "no"),
        (70, "cannot tell", "cannot tell"),
    ],
)
def test_more_data_as_robustly(pairs: int, robust: str, expected: str) -> None:
    question = "is parrot as robust as less-is-more under attack?"
    given = [Answer(question, robust, Estimate(0, 0, 0))]
    assert keeps_more({"parrot": pairs, "less-is-more": 60}, given, "parrot") == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("yes", "yes", "yes (within 3 points)"), "yes"),
        (("yes", "cannot tell", "yes"), "cannot tell"),
        (("yes", "cannot tell", "no"), "no"),
    ],
)
def test_a_verdict_needs_all_three(parts: tuple[str, str, str], expected: str) -> None:
    kept: Any = Estimate(0, 0, 0)
    assert Forgetting("arm", *parts, kept).verdict == expected


def test_examples() -> None:
    failed, attempted = doctest.testmod(questions)
    assert attempted > 0 and failed == 0
