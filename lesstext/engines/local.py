"""Local processes: one worker for each placement, each with what its annotator loads.

A worker that dies (killed, out of memory) or makes no progress is replaced and its shard given out
again; what keeps costing workers is narrowed down to a sample. Workers end when their parent does.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from lesstext.annotators.base import Annotator, Placement, WorkerBrokenError
from lesstext.engines.base import Job, run_task
from lesstext.engines.devices import placements
from lesstext.engines.task import MAX_ATTEMPTS, OnSamples, ShardReport, Task
from lesstext.errors import AnnotatorError, LesstextError
from lesstext.processes import interrupts_held_back, settle_in
from lesstext.shards.specs import ShardSource, fetch_ahead

_STOP_GRACE_S = 2.0
_LOOK_S = 1.0


def find_workers(
    annotator: Annotator, device: str, threads: int, workers: int | None, helpers: int | None
) -> tuple[list[Placement], str]:
    """One placement per process of this machine, and the annotator's id there.

    Raises UsageError for impossible requests, AnnotatorError for an absent device.
    """
    found = placements(device, threads, workers, helpers)
    return found, annotator.identify(found[0])


def engine_for(
    annotator: Annotator,
    workers: Sequence[Placement],
    annotator_id: str,
    stall_timeout_s: float | None,
) -> LocalEngine:
    """Processes of this machine, which cannot differ in `annotator_id`."""
    return LocalEngine(annotator, workers, stall_timeout_s)


class InlineEngine:
    """Runs everything in this process, one shard after another."""

    def __init__(self, annotator: Annotator, placement: Placement | None = None) -> None:
        self._annotator = annotator
        self._placement = placement or Placement()

    def run(
        self, tasks: Sequence[Task], on_samples: OnSamples | None = None
    ) -> Iterator[ShardReport]:
        if not tasks:
            return
        with self._annotator.load(self._placement) as worker:
            for task in tasks:
                yield run_task(task, worker, _progress_of(task, on_samples))


class LocalEngine:
    """One worker process for each of `placements` (device and threads included)."""

    def __init__(
        self,
        annotator: Annotator,
        placements: Sequence[Placement],
        stall_timeout_s: float | None = None,
    ) -> None:
        self._annotator = annotator
        self._placements = list(placements)
        self._stall_timeout_s = stall_timeout_s

    def run(
        self, tasks: Sequence[Task], on_samples: OnSamples | None = None
    ) -> Iterator[ShardReport]:
        waiting = deque(Job(task) for task in tasks)
        workers = [_Worker(self._annotator, p) for p in self._placements[: len(tasks)]]
        try:
            for worker in workers:
                worker.start()
            while waiting or any(worker.job or worker.upcoming for worker in workers):
                for worker in workers:
                    if worker.ready:
                        worker.take_from(waiting, len(workers))
                yield from _collect(workers, waiting, on_samples)
                yield from _replace_stalled(workers, waiting, self._stall_timeout_s)
        finally:
            for worker in workers:
                worker.ask_to_stop()
            for worker in workers:
                worker.stop()


@dataclass(slots=True)
class _Worker:
    """A child process, the pipe to it, the job it is on, and the one it fetches meanwhile."""

    annotator: Annotator
    placement: Placement
    job: Job | None = None
    upcoming: Job | None = None
    ready: bool = False
    last_news: float = 0.0
    deaths_before_ready: int = 0
    process: BaseProcess | None = field(default=None, init=False)
    pipe: Connection | None = field(default=None, init=False)

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self.annotator, self.placement)
        self.process = context.Process(target=_serve, args=arguments, daemon=False)
        with interrupts_held_back():
            self.process.start()
        theirs.close()
        self.ready = False

    def take_from(self, waiting: deque[Job], n_workers: int) -> None:
        """Start on the next job, and put a remote one by as long as others will not lack it."""
        job = self.upcoming or (waiting.popleft() if waiting else None)
        self.upcoming = None
        if job is None:
            return
        if len(waiting) >= n_workers and waiting[0].task.source.is_url:
            self.upcoming = waiting.popleft()
        self._give(job)

    def _give(self, job: Job) -> None:
        assert self.pipe is not None
        self.job, self.ready, self.last_news = job, False, time.monotonic()
        upcoming = None if self.upcoming is None else self.upcoming.task.source
        self.pipe.send((job.task, upcoming))

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.is_alive():
            self.process.terminate()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()  # SIGTERM does nothing to a stopped process

    def stop(self) -> None:
        if self.process is not None:
            self.process.join(_STOP_GRACE_S)
            if self.process.is_alive():
                self.process.kill()
            self.process.join()
        if self.pipe is not None:
            self.pipe.close()


def _collect(
    workers: list[_Worker], waiting: deque[Job], on_samples: OnSamples | None
) -> Iterator[ShardReport]:
    """Wait for news from any worker and act on it; yields the reports among it."""
    by_pipe = {worker.pipe: worker for worker in workers if worker.pipe is not None}
    for pipe in cast(list[Connection], wait(list(by_pipe), timeout=_LOOK_S)):
        worker = by_pipe[pipe]
        worker.last_news = time.monotonic()
        try:
            kind, value = cast(tuple[str, Any], pipe.recv())
        except (EOFError, OSError):
            report = _replace_dead(worker, waiting)
            if report is not None:
                yield report
            continue
        if kind == "ready":
            worker.ready, worker.deaths_before_ready = True, 0
        elif kind == "samples" and on_samples is not None and worker.job is not None:
            on_samples(worker.job.task.source.name, value)
        elif kind == "report":
            worker.job, worker.ready = None, True
            yield value
        elif kind == "failed to load":
            raise value


def _replace_stalled(
    workers: list[_Worker], waiting: deque[Job], timeout_s: float | None
) -> Iterator[ShardReport]:
    """Kill and replace workers that have not been heard of for too long; yields what was lost."""
    now = time.monotonic()
    for worker in workers:
        if timeout_s is not None and worker.job and now - worker.last_news > timeout_s:
            worker.kill()
            report = _replace_dead(worker, waiting, f"timed out: no progress in {timeout_s:g} s")
            if report is not None:
                yield report


def _replace_dead(
    worker: _Worker, waiting: deque[Job], reason: str | None = None
) -> ShardReport | None:
    """Restart a dead worker and put its shard back; a shard that keeps killing is given up."""
    job, worker.job = worker.job, None
    if worker.upcoming is not None:
        waiting.appendleft(worker.upcoming)
        worker.upcoming = None
    worker.stop()
    code = worker.process.exitcode if worker.process is not None else None
    if job is None:
        worker.deaths_before_ready += 1
        if worker.deaths_before_ready >= MAX_ATTEMPTS:
            raise AnnotatorError(
                f"worker processes die while loading {worker.annotator.name} (exit {code})"
            )
    worker.start()
    if job is None:
        return None
    return job.give_back(waiting, reason or f"its worker process died (exit code {code})")


def _serve(pipe: Any, annotator: Annotator, placement: Placement) -> None:
    """A worker's life: load the annotator, then one task after another until told to stop."""
    settle_in(os.getppid(), placement.threads)
    with ExitStack() as stack:
        try:
            worker = stack.enter_context(annotator.load(placement))
        except LesstextError as error:
            pipe.send(("failed to load", error))
            return
        pipe.send(("ready", None))
        while True:
            try:
                task, upcoming = cast(tuple[Task, ShardSource | None], pipe.recv())
            except EOFError:
                return
            fetch_ahead(upcoming, keep=task.source)
            try:
                report = run_task(task, worker, lambda far: pipe.send(("samples", far)))
            except WorkerBrokenError as error:
                sys.exit(str(error))
            pipe.send(("report", report))


def _progress_of(task: Task, on_samples: OnSamples | None) -> Any:
    if on_samples is None:
        return None
    return lambda far: on_samples(task.source.name, far)
