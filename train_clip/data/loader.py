"""Batches in step order, prepared ahead by worker processes, with a watchdog over all of them.

One background thread hands tasks to the workers, gathers their rows and makes their columns;
with no workers it does their work too. What a batch holds depends on its step alone.

The workers are plain child processes on a socket pair rather than a multiprocessing pool: nothing
of the training process is imported in them, and a killed one is noticed at once.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection as mp_connection
from pathlib import Path
from typing import Any

import numpy as np

from lesstext.images import Pixels
from lesstext.processes import nameless_memory
from train_clip.data.pool import Layout, Setup, Task, TaskQueue, WorkerProcess
from train_clip.data.reader import BadSample, Produced, ReadSettings, SampleReader
from train_clip.data.source_plan import SourcePlan
from train_clip.data.stream import Ints, StepSamples, Stream
from train_clip.data.worker import perform
from train_clip.errors import DataError, LoaderError

log = logging.getLogger(__name__)

# A column of a batch, made from the local rows: anything that can be cut into runs of rows.
Column = Callable[[Sequence[Produced]], Any]
_MAX_ROWS_PER_TASK = 32
_TASKS_PER_WORKER = 2
_POLL_S = 0.1
_WARN_AFTER = 0.2  # of the stall timeout


@dataclass(frozen=True, slots=True)
class Batch:
    """This rank's rows of one step.

    `images` (b, px, px, 3) uint8 lie in shared memory and are valid until the next batch is asked
    for; `columns` hold what else there is of each row. `samples` are the planned samples of all
    ranks, `used` the local ones finally used.
    """

    samples: StepSamples
    images: Pixels
    columns: dict[str, Any]
    used: Ints
    bad: list[BadSample]
    n_text_hidden: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSettings:
    """How batches are prepared: none of it changes what they hold."""

    workers: int
    prefetch: int
    stall_timeout_s: float
    rank: int = 0
    world: int = 1


class Loader:
    """Yields the batches of steps `start` .. `end` - 1; close it, or use it in a `with`."""

    def __init__(
        self,
        stream: Stream,
        plan_folders: Sequence[Path],
        read: ReadSettings,
        settings: LoaderSettings,
        columns: Mapping[str, Column],
        *,
        start: int,
        end: int,
    ) -> None:
        self._stream, self._settings, self._columns = stream, settings, columns
        self._plans = [SourcePlan(folder) for folder in plan_folders]
        self._next, self._end = start, end
        self._rows = stream.batch_size // settings.world
        layout = Layout(settings.workers, settings.prefetch + 2, self._rows, read.size_px)
        self._memory = nameless_memory(layout.n_bytes, "train-clip")
        self._progress, self._images = layout.map(self._memory)
        self._progress[:] = -1
        self._slots = layout.slots
        self._tasks = self._all_tasks(start)
        self._waiting: Task | None = None
        self._arrived: dict[int, dict[int, list[Produced]]] = {}
        setups = [Setup(n, layout, tuple(plan_folders), read) for n in range(settings.workers)]
        self._workers = [WorkerProcess(setup, self._memory) for setup in setups]
        self._reader = SampleReader(self._plans, read)
        self._released = start
        self._closed = threading.Event()
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(settings.prefetch)
        self._thread = threading.Thread(target=self._run, args=(start,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next(self) -> Batch:
        """The next step's batch; raises DataError for unusable data, LoaderError for a stall."""
        self._released = self._next
        begun = time.monotonic()
        warned = False
        while True:
            try:
                item = self._queue.get(timeout=_POLL_S)
                break
            except queue.Empty:
                warned = self._watch(time.monotonic() - begun, warned)
        if isinstance(item, BaseException):
            raise item
        self._next += 1
        return item

    def close(self) -> None:
        """Stop the thread and the workers; safe to call twice."""
        self._closed.set()
        self._thread.join(timeout=10)
        for worker in self._workers:
            worker.stop()
        if not self._thread.is_alive():
            self._reader.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _watch(self, waited_s: float, warned: bool) -> bool:
        limit = self._settings.stall_timeout_s
        if waited_s > limit:
            raise LoaderError(f"no batch for {waited_s:.0f} s; {self._whereabouts()}")
        if waited_s > limit * _WARN_AFTER and not warned:
            log.warning("waiting for data since %.0f s; %s", waited_s, self._whereabouts())
            return True
        return warned

    def _whereabouts(self) -> str:
        busy = [
            f"worker {number} is at {self._name(int(position))}"
            for number, position in enumerate(self._progress)
            if position >= 0
        ]
        return f"step {self._next}: {'; '.join(busy) or 'no worker is reading a sample'}"

    def _name(self, position: int) -> str:
        step, place = divmod(position, self._stream.batch_size)
        samples = self._stream.step(step)
        plan = self._plans[int(samples.sources[place])]
        return plan.name(int(samples.indices[place]))

    def _run(self, start: int) -> None:
        """The background thread: batches or the error that ended them, into the queue."""
        gather = self._gather if self._workers else self._work
        try:
            for step in range(start, self._end):
                produced = gather(step)
                if produced is None or not self._put(self._batch(step, produced)):
                    return
        except BaseException as error:  # carried over to the training thread, which raises it
            self._put(error)

    def _put(self, item: Batch | BaseException) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def _batch(self, step: int, produced: list[Produced]) -> Batch:
        return Batch(
            samples=self._stream.step(step),
            images=self._images[step % self._slots],
            columns={name: column(produced) for name, column in self._columns.items()},
            used=np.array([one.index for one in produced], dtype=np.int64),
            bad=[bad for one in produced for bad in one.bad],
            n_text_hidden=sum(one.text_hidden for one in produced),
        )

    def _all_tasks(self, start: int) -> TaskQueue:
        per_worker = -(-self._rows // max(1, self._settings.workers))
        first = self._settings.rank * self._rows
        rows = min(_MAX_ROWS_PER_TASK, per_worker)
        return TaskQueue(self._stream, first, self._rows, rows, self._slots, start, self._end)

    def _work(self, step: int) -> list[Produced] | None:
        """Prepare a batch in this thread."""
        produced: list[Produced] = []
        while (task := self._tasks.take(step + 1)) is not None:
            while not self._slot_is_free(task.step):
                if self._closed.wait(0.001):
                    return None
            produced += perform(task, self._reader, self._images, self._progress[:1])
        return produced

    def _gather(self, step: int) -> list[Produced] | None:
        """Keep the workers busy until all rows of `step` have arrived."""
        rows = self._arrived.setdefault(step, {})
        while sum(map(len, rows.values())) < self._rows:
            if self._closed.is_set():
                return None
            self._dispatch()
            sockets = [worker.connection for worker in self._workers]
            for ready in mp_connection.wait(sockets, timeout=_POLL_S):
                self._receive(self._workers[sockets.index(ready)])  # type: ignore[arg-type]
        del self._arrived[step]
        return [one for first in sorted(rows) for one in rows[first]]

    def _dispatch(self) -> None:
        for worker in sorted(self._workers, key=lambda w: w.n_tasks):
            while worker.n_tasks < _TASKS_PER_WORKER:
                task = self._tasks.take(self._released + self._slots)
                if task is None:
                    return
                try:
                    worker.send(task)
                except ConnectionError as error:
                    raise self._death(worker) from error

    def _receive(self, worker: WorkerProcess) -> None:
        try:
            done = worker.receive()
        except (EOFError, ConnectionError) as error:
            raise self._death(worker) from error
        if done.traceback is not None:
            raise LoaderError(f"worker {worker.number} failed: {done.error}\n{done.traceback}")
        if done.error is not None:
            raise DataError(done.error)
        self._arrived.setdefault(done.step, {})[done.first_row] = done.produced

    def _death(self, worker: WorkerProcess) -> LoaderError:
        position = int(self._progress[worker.number])
        where = self._name(position) if position >= 0 else "no sample"
        return LoaderError(f"{worker.obituary()} while reading {where}")

    def _slot_is_free(self, step: int) -> bool:
        return step < self._released + self._slots
