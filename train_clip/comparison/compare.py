"""Every arm trained with the same seeds, and one table of the outcome."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.storage.files import remove_leftovers, write_text
from lesstext.storage.guard import claim_folder
from train_clip.comparison.arms import ComparisonConfig
from train_clip.comparison.page import write_report
from train_clip.comparison.results import Comparison, FinishedRun, as_dict, load_run, summarise
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError, TrainError

if TYPE_CHECKING:
    from train_clip.objectives.base import Objective

log = logging.getLogger(__name__)

COMPARISON = "comparison.json"


def compare(config: ComparisonConfig, out: Path, jobs: int = 1) -> Comparison:
    """Train what is not trained yet, then write the table, the curves and the page into `out`.

    `jobs` runs are trained at a time. On CPUs they share the cores, so that `threads` must be set;
    raises ConfigError where it is not.
    """
    from train_clip.objectives.registry import make_objective

    objectives = {arm: make_objective(one) for arm, one in config.arms.items()}
    claim_folder(out, "comparison")
    remove_leftovers(out)
    _train_missing(config, out, jobs)
    runs = [load_run(arm, seed, _folder(out, arm, seed)) for seed, arm in _plan(config)]
    _check_same_start(config, objectives, runs)
    comparison = summarise(runs, config.baseline)
    write_text(out / COMPARISON, json.dumps(as_dict(comparison, out), indent=2))
    write_report(comparison, out)
    return comparison


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
    path = folder / "config.json"
    stored = TrainConfig.from_json(path.read_text(encoding="utf-8"), str(path))
    if wanted.samples is not None:
        wanted = wanted.resolve_steps(0)
    return stored == wanted


def _check_same_start(
    config: ComparisonConfig, objectives: Mapping[str, Objective], runs: Sequence[FinishedRun]
) -> None:
    """Refuse runs of one seed that began with different weights, or ran for different steps.

    Where objectives vary, what they set of the model at its start is left out.
    """
    starts = {(run.seed, run.arm): str(run.result["initial_weights"]) for run in runs}
    if "objective" in config.vary:
        starts = _shared_starts(config, objectives, starts)
    lengths = {(run.seed, run.arm): str(run.result["n_steps"]) for run in runs}
    for what, values in (("initial_weights", starts), ("n_steps", lengths)):
        for seed in config.seeds:
            found = {value for (of_seed, _), value in values.items() if of_seed == seed}
            if len(found) > 1:
                raise TrainError(f"the runs of seed {seed} differ in {what}: {sorted(found)}")


def _shared_starts(
    config: ComparisonConfig,
    objectives: Mapping[str, Objective],
    starts: Mapping[tuple[int, str], str],
) -> dict[tuple[int, str], str]:
    """Digests of the weights that all arms share, from models built anew as the runs' were."""
    from lesstext.clip import weights_digest
    from train_clip.models.build import build_model, parameters_set_by

    set_by_any = {n for one in objectives.values() for n in parameters_set_by(one.model_start)}
    found = {}
    for (seed, arm), start in starts.items():
        mine = replace(config.arms[arm], seed=seed)
        model = build_model(mine, objectives[arm].model_start).model
        if weights_digest(model) != start:
            raise TrainError(
                f"{arm!r} with seed {seed} differs in initial_weights from a model that is built "
                "now: another version of torch or open_clip trained it"
            )
        found[seed, arm] = weights_digest(model, leave_out=set_by_any)
    return found
