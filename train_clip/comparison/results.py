"""Finished runs read back, and their metrics set side by side."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attr_builder.evaluation.statistics import Difference, Spread, compare_outcomes, spread
from lesstext.storage.validation import validated
from train_clip.errors import TrainError
from train_clip.training.runlog import read_rows

# Metrics that rest on one outcome per item, and the names of outcomes and items. Images of a class
# find one another: they are one item.
PAIRED = {
    "clean_top1": ("clean_right", "clean_item"),
    "attacked_top1": ("attacked_right", "attacked_item"),
    "attacked_attack_success": ("attacked_fooled", "attacked_item"),
    "i2t_R@1": ("i2t_right", "i2t_item"),
    "t2i_R@1": ("t2i_right", "t2i_item"),
    "image_map": ("image_precision", "image_class"),
    "image_knn": ("image_knn_right", "image_class"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """One arm and seed: its folder, `result.json`, log rows and outcomes per item."""

    arm: str
    seed: int
    folder: Path
    result: dict[str, Any]
    rows: list[dict[str, Any]]
    outcomes: dict[str, NDArray[Any]]

    def folder_in(self, out: Path) -> str:
        """The folder as the comparison in `out` links it."""
        return self.folder.relative_to(out).as_posix()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The finished comparison; `table[metric][arm]`, and differences from the baseline."""

    baseline: str
    runs: list[FinishedRun]
    table: dict[str, dict[str, Spread]]
    differences: dict[str, dict[str, Difference]]

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(run.arm for run in self.runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """What a comparison needs of `result.json`."""

    step: int
    n_steps: int
    initial_weights: str
    evaluation: dict[str, Any]

    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "ignore"}


def load_run(arm: str, seed: int, folder: Path) -> FinishedRun:
    """Read a finished run's folder; raises TrainError that names a damaged file of it."""
    path = folder / "result.json"
    text = path.read_text(encoding="utf-8", errors="replace")
    step = validated(_Result, text, f"{path} is damaged", TrainError).step
    result = json.loads(text)
    outcomes = _read_outcomes(folder / "evaluation" / f"step_{step:08d}.npz")
    rows = read_rows(folder / "metrics.jsonl")
    return FinishedRun(
        arm=arm, seed=seed, folder=folder, result=result, rows=rows, outcomes=outcomes
    )


def _read_outcomes(path: Path) -> dict[str, NDArray[Any]]:
    """The outcomes of single items by name; none where the run measured nothing."""
    if not path.exists():
        return {}
    try:
        with np.load(path) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise TrainError(f"{path} is damaged: {error}") from error


def summarise(runs: Sequence[FinishedRun], baseline: str) -> Comparison:
    """Means and spreads of every metric of every arm, and paired differences from the baseline."""
    arms = list(dict.fromkeys(run.arm for run in runs))
    table: dict[str, dict[str, Spread]] = {}
    for metric in _metrics(runs):
        table[metric] = {arm: spread(_values(runs, arm, metric)) for arm in arms}
    differences = {
        metric: {arm: difference(runs, baseline, arm, metric) for arm in arms if arm != baseline}
        for metric, (outcome, _) in PAIRED.items()
        if metric in table and all(outcome in run.outcomes for run in runs)
    }
    return Comparison(baseline=baseline, runs=list(runs), table=table, differences=differences)


def difference(runs: Sequence[FinishedRun], baseline: str, arm: str, metric: str) -> Difference:
    """Arm minus baseline in one of PAIRED's metrics, seed by seed on the same items.

    Raises TrainError where the two were not evaluated on the same items.
    """
    right, item = PAIRED[metric]
    pairs = [(_of(runs, baseline, run.seed), run) for run in runs if run.arm == arm]
    items = pairs[0][0].outcomes[item]
    for pair in pairs:
        for run in pair:
            if not np.array_equal(run.outcomes[item], items):
                raise TrainError(f"{run.folder} was evaluated on other items than {arm}'s twin")
    return compare_outcomes(
        [base.outcomes[right] for base, _ in pairs],
        [run.outcomes[right] for _, run in pairs],
        [str(name) for name in items],
    )


def as_dict(comparison: Comparison, out: Path) -> dict[str, Any]:
    """The comparison as plain values, each run under its folder."""
    return {
        "baseline": comparison.baseline,
        "table": {m: {a: asdict(s) for a, s in r.items()} for m, r in comparison.table.items()},
        "differences": {
            metric: {arm: asdict(difference) for arm, difference in row.items()}
            for metric, row in comparison.differences.items()
        },
        "runs": [
            {
                "arm": run.arm,
                "seed": run.seed,
                "folder": run.folder.relative_to(out).as_posix(),
                **run.result,
            }
            for run in comparison.runs
        ],
    }


def _metrics(runs: Sequence[FinishedRun]) -> list[str]:
    """Real-valued metrics that every run has."""
    first = runs[0].result["evaluation"]
    names = [name for name, value in first.items() if isinstance(value, float)]
    return [name for name in names if all(name in run.result["evaluation"] for run in runs)]


def _values(runs: Sequence[FinishedRun], arm: str, metric: str) -> list[float]:
    return [run.result["evaluation"][metric] for run in runs if run.arm == arm]


def _of(runs: Sequence[FinishedRun], arm: str, seed: int) -> FinishedRun:
    return next(run for run in runs if run.arm == arm and run.seed == seed)
