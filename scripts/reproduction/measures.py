"""The figures: arms with intervals, differences, controls, and the filter against the truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from attr_builder.evaluation.statistics import bootstrap_interval
from lesstext.tables.table import find_tables
from reproduction.plan import Plan
from train_clip.comparison.results import PAIRED, FinishedRun, difference, load_run

# Metrics of the table, in its order, by train_clip's names.
METRICS = {
    "clean": "clean_top1",
    "attacked": "attacked_top1",
    "success": "attacked_attack_success",
    "i2t": "i2t_R@5",
    "t2i": "t2i_R@5",
}
CONTROLS = ("none", "correct", "nonsense")
THRESHOLDS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
# Height of the letters over the image's height; the hard tenth has names of its own.
_BUCKET = """CASE WHEN NOT t.has_text THEN 'none'
    WHEN t.hard = 'rotated' THEN 'rotated 20 to 70 degrees'
    WHEN t.hard = 'faint' THEN 'faint (opacity .18 to .30)'
    WHEN t.hard = 'small' THEN 'small (letters below 6% of the height)'
    WHEN t.height_ratio < 0.14 THEN 'letters 6 to 14%'
    WHEN t.height_ratio < 0.2 THEN 'letters 14 to 20%'
    ELSE 'letters 20% and more' END"""
BUCKETS = (
    "letters 20% and more",
    "letters 14 to 20%",
    "letters 6 to 14%",
    "small (letters below 6% of the height)",
    "faint (opacity .18 to .30)",
    "rotated 20 to 70 degrees",
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds in [-1, 1] with its 95% interval over photos and seeds, and each seed's."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm: pairs it may draw, how often each was drawn, and its metrics."""

    arm: str
    pairs: int
    repeats: float
    metrics: dict[str, Estimate]
    controls: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Removal:
    """What the filter does to one group of samples. `precision` sets the group's removals against
    all false ones; it is None for the group without text, NaN where nothing was removed."""

    group: str
    n: int
    removed: int
    recall: float
    precision: float | None


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """The filter at one threshold: share kept, and precision and recall of what it removes."""

    threshold: float
    kept: float
    precision: float
    recall: float


def read_runs(plan: Plan) -> list[FinishedRun]:
    """All finished runs of the comparison."""
    folders = [(arm, seed) for arm in plan.size.arms for seed in plan.size.seeds]
    return [load_run(arm, seed, plan.runs / arm / f"seed{seed}") for arm, seed in folders]


def arm_rows(plan: Plan, runs: Sequence[FinishedRun]) -> list[ArmRow]:
    """One row per arm."""
    rows = []
    for arm in plan.size.arms:
        mine = [run for run in runs if run.arm == arm]
        ledger = mine[0].result["ledger"]
        pairs = sum(entry["n_usable"] for entry in ledger)
        drawn = sum(entry["n_drawn"] for entry in ledger)
        metrics = {name: estimate(mine, metric) for name, metric in METRICS.items()}
        controls = {name: _control(plan, mine, name) for name in CONTROLS}
        rows.append(ArmRow(arm, pairs, drawn / pairs, metrics, controls))
    return rows


def compared(runs: Sequence[FinishedRun], baseline: str, arm: str, name: str) -> Estimate:
    """Arm minus baseline in one of METRICS, paired by photo and seed."""
    found = difference(runs, baseline, arm, METRICS[name])
    seeds = tuple(0.0 - test.value for test in found.tests)
    return Estimate(found.mean, found.low, found.high, seeds)


def removals(plan: Plan, threshold: float) -> list[Removal]:
    """The filter at `threshold` against what was drawn: all text, by size, by kind, and clean."""
    rows = _joined(plan, f"{_BUCKET} AS bucket, t.kind", threshold)
    false = sum(n_removed for bucket, _, _, n_removed in rows if bucket == "none")

    def group(name: str, chosen: Sequence[tuple[str, str, int, int]]) -> Removal:
        n, removed = sum(row[2] for row in chosen), sum(row[3] for row in chosen)
        return Removal(name, n, removed, _share(removed, n), _share(removed, removed + false))

    with_text = [row for row in rows if row[0] != "none"]
    found = [group("all text", with_text)]
    found += [group(name, [row for row in rows if row[0] == name]) for name in BUCKETS]
    kinds = ("parrot", "swapped", "unrelated")
    found += [group(f"caption: {k}", [r for r in with_text if r[1] == k]) for k in kinds]
    n_clean = sum(row[2] for row in rows if row[0] == "none")
    found.append(Removal("no text (removed wrongly)", n_clean, false, _share(false, n_clean), None))
    return found


def threshold_points(plan: Plan) -> list[ThresholdPoint]:
    """The filter at each of THRESHOLDS."""
    points = []
    for threshold in THRESHOLDS:
        text, clean = (
            _counts(_joined(plan, "t.has_text, 0", threshold), has_text)
            for has_text in (True, False)
        )
        removed = text[1] + clean[1]
        points.append(
            ThresholdPoint(
                threshold,
                kept=1 - _share(removed, text[0] + clean[0]),
                precision=_share(text[1], removed),
                recall=_share(text[1], text[0]),
            )
        )
    return points


def estimate(runs: Sequence[FinishedRun], metric: str) -> Estimate:
    """Mean over seeds; the interval resamples photos (all rows of one together) and seeds."""
    values = tuple(run.result["evaluation"][metric] for run in runs)
    if metric not in PAIRED:  # no single outcomes are stored: the spread over seeds alone
        return Estimate(float(np.mean(values)), min(values), max(values), values)
    outcome, item = PAIRED[metric]
    rows = np.stack([run.outcomes[outcome].astype(float) for run in runs])
    low, high = bootstrap_interval(rows, [str(name) for name in runs[0].outcomes[item]])
    return Estimate(float(rows.mean()), low, high, values)


def _control(plan: Plan, runs: Sequence[FinishedRun], variant: str) -> Estimate:
    """Top-1 on a control, with attr_builder's interval averaged over seeds."""
    tops = []
    for run in runs:
        text = _evaluation_file(plan.control(run.arm, run.seed)).read_text(encoding="utf-8")
        tops.append(json.loads(text)["variants"][variant]["top1"])
    low, high = (float(np.mean([top[end] for top in tops])) for end in ("low", "high"))
    values = tuple(top["value"] for top in tops)
    return Estimate(float(np.mean(values)), low, high, values)


def _evaluation_file(folder: Path) -> Path:
    return folder / "results.json"


def _joined(plan: Plan, columns: str, threshold: float) -> list[tuple[Any, Any, int, int]]:
    """(column, column, samples, removed ones) for each combination of two columns."""
    tables = [str(path) for path in find_tables(plan.scores / "train")]
    sql = f"""SELECT {columns}, count(*),
            count(*) FILTER (s.status <> 'ok' OR s.text_area_ratio > ?)
        FROM read_parquet(?) s JOIN read_parquet(?) t ON s.key = t.key
        GROUP BY ALL ORDER BY ALL"""
    truth = [str(path) for path in sorted(plan.truth.glob("train-*.parquet"))]
    return duckdb.execute(sql, [threshold, tables, truth]).fetchall()


def _counts(rows: Sequence[tuple[Any, Any, int, int]], has_text: bool) -> tuple[int, int]:
    mine = [row for row in rows if row[0] == has_text]
    return sum(row[2] for row in mine), sum(row[3] for row in mine)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def curve(runs: Sequence[FinishedRun], arm: str, metric: str) -> tuple[Any, NDArray[np.float64]]:
    """Steps (n,) and an arm's metric (seeds, n) there."""
    from train_clip.comparison.page import curve as logged

    steps, values = logged([run for run in runs if run.arm == arm], "evaluation", metric)
    return steps, values
