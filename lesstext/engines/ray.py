"""A Ray cluster, or a local one: the same units of work in actors, given out and counted here.

Every node needs lesstext installed and sees the same paths (a shared disk, or URLs). Ray finds the
cluster by RAY_ADDRESS or the node that it runs on, and starts a local one where there is none.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from lesstext.annotators.base import Annotator, Placement, WorkerBrokenError
from lesstext.engines.base import MAX_ATTEMPTS, Job, OnSamples, run_task
from lesstext.engines.devices import check_counts
from lesstext.engines.one_shard import ShardReport, Task
from lesstext.errors import AnnotatorError, LesstextError, UsageError

_POLL_S = 0.5

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def connect() -> Any:
    """Join a Ray cluster, once per process; returns the ray module.

    Raises UsageError when ray is not installed or the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray needs the extra `ray`: pip install 'lesstext[ray]'"
        ) from error
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(f"no Ray cluster can be reached or started: {error}") from error
    return ray


def find_workers(
    annotator: Annotator, device: str, threads: int, workers: int | None, helpers: int | None
) -> tuple[list[Placement], str]:
    """One placement per actor, for all of the cluster's GPUs or CPUs, and the annotator's id there.

    Raises UsageError for impossible requests, AnnotatorError for GPUs that the cluster lacks.
    """
    check_counts(threads, workers, helpers)
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"with --engine ray, --device must be auto, cpu or cuda, got {device!r}")
    ray = connect()
    resources = ray.cluster_resources()
    n_cpus, n_gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if device == "cuda" and not n_gpus:
        raise AnnotatorError("device cuda was asked for, but the Ray cluster has no GPU")
    if device == "cpu" or not n_gpus:
        n_actors = workers or max(1, n_cpus // threads)
        placed = Placement(device="cpu", threads=threads, helpers=helpers or 0)
    else:
        n_actors = n_gpus * (workers or 1)
        share = max(1, n_cpus // n_actors - 1) if helpers is None else helpers
        # The only device that an actor sees has the number 0.
        placed = Placement(device="cuda:0", threads=threads, helpers=share)
    identify = ray.remote(_identify).options(**_resources(placed, n_actors, n_gpus))
    try:
        return [placed] * n_actors, str(ray.get(identify.remote(annotator, placed)))
    except ray.exceptions.RayTaskError as error:
        raise _cause(error) from error


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
            _Worker(ray, self._annotator, p, self._id, _resources(p, len(self._workers), n_gpus))
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


def run_each(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    on_death: Callable[[_Item, Exception], _Result],
    n_at_once: int | None = None,
) -> Iterator[_Result]:
    """`function` of each item on one CPU each, in the order of completion.

    `n_at_once` is the cluster's number of CPUs unless given. An item whose worker dies three times
    yields `on_death(item, error)`.
    """
    ray = connect()
    n_at_once = n_at_once or max(1, int(ray.cluster_resources().get("CPU", 1)))
    remote = ray.remote(num_cpus=1, max_retries=MAX_ATTEMPTS - 1)(function)
    waiting, running = deque(items), dict[Any, _Item]()
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once:
                item = waiting.popleft()
                running[remote.remote(item)] = item
            for ref in ray.wait(list(running))[0]:
                item = running.pop(ref)
                try:
                    yield ray.get(ref)
                except ray.exceptions.RayError as error:
                    yield on_death(item, error)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


class _Actor:
    """What runs on a node: a loaded annotator, and one task at a time; counts can be asked
    meanwhile."""

    def __init__(self) -> None:
        self._n_samples = 0

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
        self._n_samples = 0
        try:
            return run_task(task, self._worker, self._count)
        except WorkerBrokenError:
            os._exit(1)  # end, and be replaced

    def n_samples(self) -> int:
        """Samples of the current task done so far."""
        return self._n_samples

    def _count(self, n: int) -> None:
        self._n_samples += n


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
    counting: Any = None
    n_counted: int = 0
    job: Job | None = None
    last_news: float = 0.0
    deaths_before_ready: int = 0

    def start(self) -> None:
        # Two calls at once: the second is for asking how far the first has come.
        made = self.ray.remote(_Actor).options(max_concurrency=2, **self.resources)
        self.actor = made.remote()
        self.pending = self.actor.load.remote(self.annotator, self.placement, self.annotator_id)

    def give(self, job: Job) -> None:
        self.job, self.n_counted, self.counting = job, 0, None
        self.last_news = time.monotonic()
        self.pending = self.actor.annotate.remote(job.task)

    def new_samples(self) -> int:
        """Samples done since the last question; does not wait for the actor."""
        if self.counting is None:
            self.counting = self.actor.n_samples.remote()
        if not self.ray.wait([self.counting], timeout=0)[0]:
            return 0
        n_total, self.counting = self.n_counted, self.counting
        with suppress(self.ray.exceptions.RayError):  # a dead actor is found by its task
            n_total = self.ray.get(self.counting)
        self.counting = None
        n_new, self.n_counted = n_total - self.n_counted, n_total
        return n_new

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
            if on_samples is not None:
                on_samples(job.task.source.name, value.n_samples - worker.n_counted)
            yield value
    for worker in workers:
        if worker.job is not None and (n := worker.new_samples()):
            worker.last_news = time.monotonic()
            if on_samples is not None:
                on_samples(worker.job.task.source.name, n)


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


def _identify(annotator: Annotator, placement: Placement) -> str:
    return annotator.identify(placement)


def _resources(placement: Placement, n_actors: int, n_gpus: int) -> dict[str, float]:
    """What one of `n_actors` takes of the cluster."""
    if placement.device == "cpu":
        return {"num_cpus": placement.threads}
    return {"num_cpus": 1, "num_gpus": min(1.0, n_gpus / n_actors)}


def _cause(error: Any) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, LesstextError) else AnnotatorError(str(error))
