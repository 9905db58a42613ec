"""Ray: the same units of work in actors of a cluster, given out and counted here."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from lesstext.annotators.base import Annotator, Placement, WorkerBrokenError
from lesstext.engines.base import Job, run_task
from lesstext.engines.ray_cluster import connect, find_workers, resources
from lesstext.engines.task import MAX_ATTEMPTS, InShard, OnSamples, ShardReport, Task
from lesstext.errors import AnnotatorError, LesstextError

__all__ = ["RayEngine", "engine_for", "find_workers"]

_POLL_S = 0.5


def engine_for(
    annotator: Annotator,
    workers: Sequence[Placement],
    annotator_id: str,
    stall_timeout_s: float | None,
) -> RayEngine:
    """Actors of the cluster with these placements."""
    return RayEngine(annotator, workers, annotator_id, stall_timeout_s)


class RayEngine:
    """One actor for each of `workers`; an actor that dies is replaced, its shard given out again.

    Every actor must find the id `annotator_id`: processors of different kinds may choose different
    precisions, which must not mix in one folder.
    """

    def __init__(
        self,
        annotator: Annotator,
        workers: Sequence[Placement],
        annotator_id: str,
        stall_timeout_s: float | None = None,
    ) -> None:
        self._annotator = annotator
        self._stall_timeout_s = stall_timeout_s
        self._workers = list(workers)
        self._id = annotator_id

    def run(
        self, tasks: Sequence[Task], on_samples: OnSamples | None = None
    ) -> Iterator[ShardReport]:
        ray = connect()
        n_gpus = int(ray.cluster_resources().get("GPU", 0))
        waiting = deque(Job(task) for task in tasks)
        workers = [
            _Worker(ray, self._annotator, p, self._id, resources(p, len(self._workers), n_gpus))
            for p in self._workers[: len(tasks)]
        ]
        try:
            for worker in workers:
                worker.start()
            while waiting or any(worker.job for worker in workers):
                for worker in workers:
                    if worker.pending is None and waiting:
                        worker.give(waiting.popleft())
                yield from _collect(ray, workers, waiting, on_samples)
                yield from _replace_stalled(workers, waiting, self._stall_timeout_s)
        finally:
            for worker in workers:
                worker.stop()


class _Actor:
    """What runs on a node: a loaded annotator, and one task at a time; how far it is can be asked
    meanwhile."""

    def __init__(self) -> None:
        self._far: InShard | None = None

    def load(
        self, annotator: Annotator, placement: Placement, wanted_id: str
    ) -> LesstextError | None:
        import cv2

        cv2.setNumThreads(1)
        self._loaded = ExitStack()  # what it holds ends with this process
        try:
            self._worker = self._loaded.enter_context(annotator.load(placement))
        except LesstextError as error:
            return error
        if self._worker.id != wanted_id:
            return AnnotatorError(
                f"a node would work with {self._worker.id!r}, others with {wanted_id!r}: "
                "give --precision"
            )
        return None

    def annotate(self, task: Task) -> ShardReport:
        self._far = None
        try:
            return run_task(task, self._worker, self._go_on)
        except WorkerBrokenError:
            os._exit(1)  # end, and be replaced

    def far(self) -> InShard | None:
        """How far the current task is; `n_new` are all samples of this attempt."""
        return self._far

    def _go_on(self, far: InShard) -> None:
        n_before = 0 if self._far is None else self._far.n_new
        self._far = replace(far, n_new=n_before + far.n_new)


@dataclass(slots=True)
class _Worker:
    """An actor, what it was asked last, and the job it is on."""

    ray: Any
    annotator: Annotator
    placement: Placement
    annotator_id: str
    resources: dict[str, float]
    actor: Any = None
    pending: Any = None
    asked: Any = None
    told: InShard | None = None
    job: Job | None = None
    last_news: float = 0.0
    deaths_before_ready: int = 0

    def start(self) -> None:
        # Two calls at once: the second is for asking how far the first has come.
        made = self.ray.remote(_Actor).options(max_concurrency=2, **self.resources)
        self.actor = made.remote()
        self.pending = self.actor.load.remote(self.annotator, self.placement, self.annotator_id)

    def give(self, job: Job) -> None:
        self.job, self.told, self.asked = job, None, None
        self.last_news = time.monotonic()
        self.pending = self.actor.annotate.remote(job.task)

    def news(self) -> InShard | None:
        """How far its task has come since the last question; does not wait for the actor."""
        if self.asked is None:
            self.asked = self.actor.far.remote()
        if not self.ray.wait([self.asked], timeout=0)[0]:
            return None
        far, answer = None, self.asked
        self.asked = None
        with suppress(self.ray.exceptions.RayError):  # a dead actor is found by its task
            far = self.ray.get(answer)
        if far is None or far == self.told:
            return None
        before, self.told = self.told, far
        return cast("InShard", far).since(before)

    def stop(self) -> None:
        if self.actor is not None:
            self.ray.kill(self.actor)


def _collect(
    ray: Any, workers: list[_Worker], waiting: deque[Job], on_samples: OnSamples | None
) -> Iterator[ShardReport]:
    """Wait a moment for news from any actor and act on it; yields the reports among it."""
    by_ref = {worker.pending: worker for worker in workers if worker.pending is not None}
    for ref in ray.wait(list(by_ref), timeout=_POLL_S)[0]:
        worker = by_ref[ref]
        try:
            value = ray.get(ref)
        except ray.exceptions.RayActorError as error:
            report = _replace_dead(worker, waiting, error)
            if report is not None:
                yield report
            continue
        worker.pending, job = None, worker.job
        worker.job = None
        if job is None and value is not None:
            raise value
        if job is not None:
            if on_samples is not None and value.n_samples and not value.was_done:
                on_samples(job.task.source.name, _the_rest(value, worker.told))
            yield value
    for worker in workers:
        if worker.job is not None and (far := worker.news()) is not None:
            worker.last_news = time.monotonic()
            if on_samples is not None:
                on_samples(worker.job.task.source.name, far)


def _the_rest(report: ShardReport, told: InShard | None) -> InShard:
    """What was not heard of while the shard was worked on."""
    n_done = 0 if told is None else told.n_done
    return InShard(report.n_samples - n_done, report.n_samples, report.n_samples)


def _replace_stalled(
    workers: list[_Worker], waiting: deque[Job], timeout_s: float | None
) -> Iterator[ShardReport]:
    """Kill and replace actors that have made no progress for too long; yields what was lost."""
    now = time.monotonic()
    for worker in workers:
        if timeout_s is not None and worker.job and now - worker.last_news > timeout_s:
            worker.stop()
            stalled = TimeoutError(f"timed out: no progress in {timeout_s:g} s")
            report = _replace_dead(worker, waiting, stalled)
            if report is not None:
                yield report


def _replace_dead(worker: _Worker, waiting: deque[Job], error: Exception) -> ShardReport | None:
    """Start another actor and put the shard back; a shard that keeps killing is given up."""
    job, worker.job = worker.job, None
    if job is None:
        worker.deaths_before_ready += 1
        if worker.deaths_before_ready >= MAX_ATTEMPTS:
            name = worker.annotator.name
            raise AnnotatorError(f"Ray actors die while loading {name}: {error}") from error
    worker.start()
    if job is None:
        return None
    stalled = isinstance(error, TimeoutError)
    return job.give_back(waiting, str(error) if stalled else f"its Ray actor died: {error}")
