"""The training loop: exactly N optimiser updates, readable from top to bottom."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch

from lesstext.storage.files import ensure_writable, remove_leftovers, write_text
from lesstext.text_detection.processor import cpu_has_bfloat16
from train_clip.config import TrainConfig
from train_clip.data.loader import Batch
from train_clip.data.sources import open_data, prepare_data
from train_clip.distributed import join_ranks, set_threads
from train_clip.errors import DataError, Interrupted, NonFiniteError
from train_clip.models.checkpoint import seed_step
from train_clip.objectives.registry import make_objective
from train_clip.training.optim import clamp_logit_scale, set_rate
from train_clip.training.run_state import Run
from train_clip.training.signals import StopSignals
from train_clip.training.trackers import check_tracker

log = logging.getLogger(__name__)

RESULT = "result.json"
# A gradient scaler may need several attempts until no gradient overflows.
_MAX_SCALE_TRIES = 24
# The bad share is judged against at least this many draws, so that an early one is no verdict.
_MIN_DRAWS = 1000


def train(config: TrainConfig, out: Path) -> dict[str, Any]:
    """Train, or go on with the run in `out`; returns what is stored as `result.json`.

    Raises UsageError for a run that cannot be meant, TrainError for one that cannot go on.
    """
    objective = make_objective(config)
    check_tracker(config.tracker)
    with join_ranks(config.device) as ranks:
        set_threads(ranks.device, config.threads)
        if ranks.is_main:
            _warn_of_slow_precision(config, ranks.device)
            ensure_writable(out)
            remove_leftovers(out)
            prepare_data(config, out)
        ranks.barrier()
        data = open_data(config, out)
        config = _count_steps(config, data.n_usable)
        run = Run.open(config, objective, out, data, ranks)
        try:
            return _train(run)
        finally:
            run.close()


def _warn_of_slow_precision(config: TrainConfig, device: torch.device) -> None:
    if config.precision == "bf16" and device.type == "cpu" and not cpu_has_bfloat16():
        log.warning(
            "this processor has no instructions for bfloat16: a step may take ten times as long "
            "as with --precision fp32"
        )


def _count_steps(config: TrainConfig, n_usable: int) -> TrainConfig:
    """Turn --samples or --passes into steps, and say so."""
    resolved = config.resolve_steps(n_usable)
    if config.steps is None:
        given = f"--samples {config.samples}" if config.samples else f"--passes {config.passes:g}"
        log.info(
            "%s: %d steps of %d pairs (the sources hold %d usable samples)",
            given,
            resolved.n_steps,
            config.batch_size,
            n_usable,
        )
    return resolved


def _train(run: Run) -> dict[str, Any]:
    config, ranks = run.config, run.ranks
    schedule = config.schedule()
    if run.evaluation_is_due():  # the run was stopped between saving and evaluating
        run.evaluate()
    with run.loader() as loader, StopSignals() as stop:
        for step in range(run.step, config.n_steps):
            begun = time.perf_counter()
            batch = loader.next()
            wait_s = time.perf_counter() - begun

            seed_step(config.seed, step, ranks.rank)
            set_rate(run.optimizer, schedule.rate(step))
            local_loss, norm = _gradients(run, batch)
            loss, bad, hidden, stopping, saving = ranks.sum(
                [
                    local_loss / ranks.world,
                    len(batch.bad),
                    batch.n_text_hidden,
                    stop.received,
                    run.save_is_due(step),
                ]
            )
            if not (math.isfinite(loss) and math.isfinite(norm)):
                _stop_non_finite(run, step, batch, loss, norm)
            _update(run)

            run.account(step, batch, n_bad=int(bad), n_hidden=int(hidden))
            _check_bad(run)
            run.report(step, loss, norm, time.perf_counter() - begun, wait_s)
            if stopping or saving:
                run.save()
            if stopping and run.step < config.n_steps:
                raise Interrupted(
                    f"told to stop; saved after step {run.step} of {config.n_steps}; "
                    "the same command goes on from there"
                )
            if run.evaluation_is_due():
                run.evaluate()
    return _finish(run)


def _gradients(run: Run, batch: Batch) -> tuple[float, float]:
    """Leave the step's gradient in the parameters; returns this rank's loss and the norm.

    Under a gradient scaler an overflow lowers the scale and repeats the step: it is never skipped.
    """
    micro_batches = run.to_device(batch)
    for attempt in range(_MAX_SCALE_TRIES):
        run.optimizer.zero_grad(set_to_none=True)
        loss = run.gradient.backward(run.ddp_model, micro_batches, run.scaler.scale)
        run.scaler.unscale_(run.optimizer)
        norm = run.gradient_norm()
        overflow = run.scaler.is_enabled() and not math.isfinite(norm)
        if not overflow or not torch.isfinite(loss) or attempt + 1 == _MAX_SCALE_TRIES:
            break
        run.scaler.update()
    return float(loss), norm


def _update(run: Run) -> None:
    """One optimiser update, and what hangs on it."""
    config = run.config
    run.scaler.step(run.optimizer)
    run.own.update(run.optimizer.param_groups[0]["lr"], config.betas, config.eps)
    run.scaler.update()
    clamp_logit_scale(run.model)
    if run.averaged is not None:
        run.averaged.update(run.model)
    run.step += 1


def _stop_non_finite(run: Run, step: int, batch: Batch, loss: float, norm: float) -> None:
    keys = [name for names in run.ranks.gather(run.sample_names(batch)) for name in names]
    path = run.out / f"non_finite_step_{step}.json"
    if run.ranks.is_main:
        told = {"step": step, "loss": repr(loss), "gradient_norm": repr(norm), "samples": keys}
        write_text(path, json.dumps(told, indent=2))
    raise NonFiniteError(
        f"step {step}: loss {loss}, gradient norm {norm}; the weights were not updated; the "
        f"step's samples are in {path}, the last checkpoint is of step {run.saved_step}"
    )


def _check_bad(run: Run) -> None:
    counters = run.counters
    drawn = counters.samples + counters.bad
    if counters.bad > run.config.max_bad_fraction * max(drawn, _MIN_DRAWS):
        raise DataError(
            f"{counters.bad} of {drawn} samples drawn were bad, more than --max-bad-fraction "
            f"{run.config.max_bad_fraction} allows; they are named in {run.out / 'bad.jsonl'}, "
            f"the latest: {run.latest_bad}"
        )


def _finish(run: Run) -> dict[str, Any]:
    """Check that N means N, then save, evaluate, export and write `result.json`."""
    run.check_updates()
    if run.saved_step != run.step:
        run.save()
    final = run.evaluate()
    result: dict[str, Any] = {}
    if run.ranks.is_main:
        result = {
            "step": run.step,
            "updates": run.counters.updates,
            "n_steps": run.config.n_steps,
            "samples": run.counters.samples,
            "bad_samples": run.counters.bad,
            "text_hidden": run.counters.text_hidden,
            "train_s": round(run.counters.train_s, 3),
            "wait_s": round(run.counters.wait_s, 3),
            "initial_weights": run.initial_weights,
            "final_weights": run.final_weights(),
            "data_digests": run.data.digests,
            "evaluation": final,
            **run.ledgers(),
            "model_folder": str(run.export()),
        }
        write_text(run.out / RESULT, json.dumps(result, indent=2))
    run.ranks.barrier()
    return result
