"""`--dry-run`: how long a run would take, from a few real samples of the shards themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lesstext.annotators.base import Part, Worker
from lesstext.engines.inputs import find_inputs
from lesstext.engines.task import Task
from lesstext.shards.specs import fetched

if TYPE_CHECKING:
    from lesstext.engines.whole_run import Plan

_MAX_SHARDS = 3
_N_WARM_UP = 2
_N_SAMPLES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Samples left, samples/s of one worker, and the number of workers."""

    n_samples: int
    samples_per_s: float
    n_workers: int

    @property
    def seconds(self) -> float:
        if not self.n_samples:
            return 0.0
        return self.n_samples / (self.samples_per_s * self.n_workers)

    def as_text(self) -> str:
        if not self.n_samples:
            return "nothing to do"
        hours, rest = divmod(round(self.seconds), 3600)
        minutes, seconds = divmod(rest, 60)
        return (
            f"about {self.n_samples} samples left; measured {self.samples_per_s:.1f} samples/s "
            f"in one worker, {self.n_workers} workers: about {hours} h {minutes:02} min "
            f"{seconds:02} s (if the workers do not slow one another down)"
        )


def measure(plan: Plan) -> Estimate:
    """Annotate a dozen samples of the first shards left; remote shards are fetched for it."""
    if not plan.tasks:
        return Estimate(n_samples=0, samples_per_s=0.0, n_workers=0)
    sampled = plan.tasks[:_MAX_SHARDS]
    n_samples, n_timed, seconds = 0, 0, 0.0
    with plan.annotator.load(plan.placements[0]) as worker:
        for task in sampled:
            found, timed, spent = _look_into(task, worker, _N_SAMPLES - n_timed)
            n_samples, n_timed, seconds = n_samples + found, n_timed + timed, seconds + spent
    return Estimate(
        n_samples=round(n_samples * len(plan.tasks) / len(sampled)),
        samples_per_s=n_timed / max(seconds, 1e-9) if n_timed else 1.0,
        n_workers=min(len(plan.placements), len(plan.tasks)),
    )


def _look_into(task: Task, worker: Worker, n_wanted: int) -> tuple[int, int, float]:
    """Count a shard's samples; annotate some of them, and return how many and the seconds."""
    with fetched(task.source) as local:
        entries = local.index(task.source.name).samples
        found = find_inputs(task.inputs, task.source.name, local.fingerprint())
        inputs = {name: table.rows(entries) for name, table in found.items()}

        def seconds_for(first: int, last: int) -> float:
            rows = {name: rows[first:last] for name, rows in inputs.items()}
            part = Part(
                shard=task.source.name, path=local.path, entries=entries[first:last], inputs=rows
            )
            start = time.perf_counter()
            list(worker.annotate(part))
            return time.perf_counter() - start

        n_warm_up = min(_N_WARM_UP, len(entries) // 2)
        n_timed = min(n_wanted, len(entries) - n_warm_up)
        seconds_for(0, n_warm_up)
        return len(entries), n_timed, seconds_for(n_warm_up, n_warm_up + n_timed)
