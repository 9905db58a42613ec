"""What was measured of finished runs: means over seeds, and paired differences of arms."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reproduction.measures import Estimate

from attr_builder.evaluation.statistics import bootstrap_interval
from mofi.plan import Trial
from train_clip.comparison.results import PAIRED, load_run

Rows = tuple[NDArray[np.float64], list[str]]
PRECISIONS = {"mAP": "with_query", "mAP_without": "without_query"}
"""mAP on the classes that no arm sees, with the query in the index and without."""
ZERO_SHOT, BY_TEXT = "zero_shot", "by_text"
ACCURACIES = ("knn", "linear_probe")


def estimate(trial: Trial, metric: str, arm: str) -> Estimate:
    """Mean over seeds; the interval resamples classes (mAP) or photos, and seeds."""
    rows, items = _all_rows(trial, metric, arm)
    return _estimate(rows, items)


def difference(trial: Trial, metric: str, base: str, arm: str) -> Estimate:
    """Arm minus base, paired by class or photo, and by seed."""
    rows, items = _all_rows(trial, metric, arm)
    base_rows, base_items = _all_rows(trial, metric, base)
    if items != base_items:
        raise ValueError(f"{arm} and {base} were measured on other items")
    return _estimate(rows - base_rows, items)


def spread(trial: Trial, metric: str, arm: str) -> Estimate:
    """One of ACCURACIES: mean over seeds, and the lowest and highest seed."""
    values = [retrieval(trial, arm, seed)["accuracy"][metric] for seed in trial.seeds]
    found = tuple(float("nan") if value is None else float(value) for value in values)
    return Estimate(float(np.mean(found)), min(found), max(found), found)


def random_floors(trial: Trial) -> dict[str, float]:
    """mAP of random features."""
    overall = retrieval(trial, trial.arms[0], trial.seeds[0])["overall"]
    return {metric: overall[f"{name}_random"] for metric, name in PRECISIONS.items()}


def retrieval(trial: Trial, arm: str, seed: int) -> dict[str, Any]:
    """What `attr-builder evaluate` wrote of a run."""
    return _read(trial.retrieval(arm, seed) / "image_retrieval.json")


def _estimate(rows: NDArray[np.float64], items: list[str]) -> Estimate:
    low, high = bootstrap_interval(rows, items)
    return Estimate(float(rows.mean()), low, high, tuple(rows.mean(axis=1).tolist()))


def _all_rows(trial: Trial, metric: str, arm: str) -> Rows:
    """A metric (seeds, n) of n classes or photos, and their names."""
    found = [_rows(trial, metric, arm, seed) for seed in trial.seeds]
    if any(items != found[0][1] for _, items in found):
        raise ValueError(f"the seeds of {arm} were measured on other items")
    return np.stack([values for values, _ in found]), found[0][1]


def _rows(trial: Trial, metric: str, arm: str, seed: int) -> Rows:
    if metric in PRECISIONS:  # all classes have as many images: their mean is that of the queries
        classes = retrieval(trial, arm, seed)["classes"]
        return np.array([one[PRECISIONS[metric]] for one in classes.values()]), list(classes)
    if metric == BY_TEXT:
        with np.load(trial.by_text(arm, seed)) as stored:
            return stored["right"].astype(float), [str(name) for name in stored["item"]]
    right, item = PAIRED["clean_top1"]
    outcomes = load_run(arm, seed, trial.run(arm, seed)).outcomes
    return outcomes[right].astype(float), [str(name) for name in outcomes[item]]


@cache
def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
