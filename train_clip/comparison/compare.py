"""Arms that differ in data only, each trained with the same seeds, and one table of the outcome."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesstext.storage.files import write_text
from train_clip.config import TrainConfig, from_dict
from train_clip.errors import ConfigError, TrainError
from train_clip.statistics import Difference, Spread, compare_outcomes, spread
from train_clip.training.runlog import read_rows

log = logging.getLogger(__name__)

# What may differ between arms: which pairs are seen, and how they are shown.
DATA_SETTINGS = ("sources", "image", "caption")
COMPARISON = "comparison.json"
# Metrics that rest on one outcome per item, and the names of outcomes and items.
PAIRED = {
    "clean_top1": ("clean_right", "clean_item"),
    "attacked_top1": ("attacked_right", "attacked_item"),
    "attacked_attack_success": ("attacked_fooled", "attacked_item"),
    "i2t_R@1": ("i2t_right", "i2t_item"),
    "t2i_R@1": ("t2i_right", "t2i_item"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonConfig:
    """What to compare: one TrainConfig per arm (its seed is replaced by each of `seeds`)."""

    arms: dict[str, TrainConfig]
    seeds: tuple[int, ...]
    baseline: str

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise ConfigError(f"a comparison needs at least two arms, got {', '.join(self.arms)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds must be given, each once: {self.seeds}")
        if self.baseline not in self.arms:
            raise ConfigError(f"the baseline {self.baseline!r} is no arm: {', '.join(self.arms)}")
        first = self.arms[self.baseline]
        for name, arm in self.arms.items():
            if differing := settings_that_differ(first, arm):
                raise ConfigError(
                    f"arm {name!r} differs from {self.baseline!r} in more than data: "
                    f"{', '.join(differing)}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """One arm and seed: its folder, `result.json`, log rows and outcomes per item."""

    arm: str
    seed: int
    folder: Path
    result: dict[str, Any]
    rows: list[dict[str, Any]]
    outcomes: dict[str, NDArray[Any]]


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


def settings_that_differ(a: TrainConfig, b: TrainConfig) -> list[str]:
    """Names of the settings, data aside, in which two arms differ."""
    names = [f.name for f in fields(TrainConfig) if f.name not in DATA_SETTINGS]
    return [name for name in names if getattr(a, name) != getattr(b, name)]


def load_comparison(path: Path) -> ComparisonConfig:
    """Read a TOML (or JSON) file with `seeds`, `[common]` and one `[arms.NAME]` per arm.

    Raises ConfigError for an arm that sets anything but data.
    """
    values = _read_settings(path)
    unknown = sorted(set(values) - {"seeds", "baseline", "common", "arms"})
    if unknown or not isinstance(values.get("arms"), dict):
        raise ConfigError(
            f"{path}: expected seeds, baseline, [common] and [arms.NAME], got {', '.join(values)}"
        )
    common = values.get("common", {})
    if "passes" in common:
        raise ConfigError(f"{path}: arms of different size pass at different speed; give steps")
    arms = {name: _arm(path, name, arm, common) for name, arm in values["arms"].items()}
    return ComparisonConfig(
        arms=arms,
        seeds=tuple(values.get("seeds", (0,))),
        baseline=values.get("baseline", next(iter(arms), "")),
    )


def compare(config: ComparisonConfig, out: Path, jobs: int = 1) -> Comparison:
    """Train what is not trained yet, then write the table, the curves and the page into `out`.

    `jobs` runs are trained at a time. On CPUs they share the cores, so that `threads` must be set;
    raises ConfigError where it is not.
    """
    from train_clip.comparison.page import write_report

    _train_missing(config, out, jobs)
    runs = [load_run(arm, seed, _folder(out, arm, seed)) for seed, arm in _plan(config)]
    _check_same_start(runs)
    comparison = summarise(runs, config.baseline)
    write_text(out / COMPARISON, json.dumps(as_dict(comparison, out), indent=2))
    write_report(comparison, out)
    return comparison


def load_run(arm: str, seed: int, folder: Path) -> FinishedRun:
    """Read a finished run's folder."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    stored = folder / "evaluation" / f"step_{result['step']:08d}.npz"
    outcomes: dict[str, NDArray[Any]] = {}
    if stored.exists():
        with np.load(stored) as archive:
            outcomes = {name: archive[name] for name in archive.files}
    rows = read_rows(folder / "metrics.jsonl")
    return FinishedRun(
        arm=arm, seed=seed, folder=folder, result=result, rows=rows, outcomes=outcomes
    )


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
            {"arm": run.arm, "seed": run.seed, "folder": _relative(run.folder, out), **run.result}
            for run in comparison.runs
        ],
    }


def _arm(path: Path, name: str, arm: dict[str, Any], common: dict[str, Any]) -> TrainConfig:
    foreign = sorted(set(arm) - set(DATA_SETTINGS))
    if foreign:
        raise ConfigError(
            f"{path}: arm {name!r} sets {', '.join(foreign)}; arms differ in data only "
            f"({', '.join(DATA_SETTINGS)}), all else belongs under [common]"
        )
    try:
        return from_dict({**common, **arm})
    except ConfigError as error:
        raise ConfigError(f"{path}: arm {name!r}: {error}") from error


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else _parse_toml(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the comparison {path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a table of settings")
    return values


def _parse_toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _plan(config: ComparisonConfig) -> list[tuple[int, str]]:
    return [(seed, arm) for seed in config.seeds for arm in config.arms]


def _folder(out: Path, arm: str, seed: int) -> Path:
    return out / arm / f"seed{seed}"


def _train_missing(config: ComparisonConfig, out: Path, jobs: int) -> None:
    from train_clip.comparison.side_by_side import train_side_by_side, visible_gpus
    from train_clip.training.loop import train

    wanted = [
        (replace(config.arms[arm], seed=seed), _folder(out, arm, seed))
        for seed, arm in _plan(config)
    ]
    missing = [(run, folder) for run, folder in wanted if not _is_finished(folder, run)]
    common = config.arms[config.baseline]
    if jobs > 1 and common.threads is None and not visible_gpus(common.device):
        raise ConfigError(
            f"{jobs} runs at a time share the CPU's cores: set threads under [common], for "
            "example threads = 1 (the number of threads is part of a CPU result)"
        )
    if jobs > 1 and len(missing) > 1:
        train_side_by_side(missing, jobs)
        return
    for run, folder in missing:
        log.info("%s", folder)
        train(run, folder)


def _is_finished(folder: Path, wanted: TrainConfig) -> bool:
    """Whether the folder holds the result of exactly this run, evaluation included."""
    if not (folder / "result.json").exists():
        return False
    stored = TrainConfig.from_json((folder / "config.json").read_text(encoding="utf-8"))
    if wanted.samples is not None:
        wanted = wanted.resolve_steps(0)
    return stored == wanted


def _check_same_start(runs: Sequence[FinishedRun]) -> None:
    """Refuse runs of one seed that began with different weights, or ran for different steps."""
    for seed in dict.fromkeys(run.seed for run in runs):
        mine = [run for run in runs if run.seed == seed]
        for what in ("initial_weights", "n_steps"):
            found = {str(run.result[what]) for run in mine}
            if len(found) > 1:
                raise TrainError(f"the runs of seed {seed} differ in {what}: {sorted(found)}")


def _metrics(runs: Sequence[FinishedRun]) -> list[str]:
    """Real-valued metrics that every run has."""
    first = runs[0].result["evaluation"]
    names = [name for name, value in first.items() if isinstance(value, float)]
    return [name for name in names if all(name in run.result["evaluation"] for run in runs)]


def _values(runs: Sequence[FinishedRun], arm: str, metric: str) -> list[float]:
    return [run.result["evaluation"][metric] for run in runs if run.arm == arm]


def _of(runs: Sequence[FinishedRun], arm: str, seed: int) -> FinishedRun:
    return next(run for run in runs if run.arm == arm and run.seed == seed)


def _relative(folder: Path, out: Path) -> str:
    return folder.relative_to(out).as_posix()
