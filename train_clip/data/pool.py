"""What the loader and its workers share: memory, tasks, and the processes with their sockets."""

from __future__ import annotations

import mmap
import socket
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from multiprocessing import connection as mp_connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesstext.images import Pixels
from train_clip.data.stream import Stream

if TYPE_CHECKING:
    from train_clip.data.reader import Produced, ReadSettings

# Not `-m`: the messages' classes must live in one module on both sides.
_WORKER = "from train_clip.data.worker import main; main()"
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Layout:
    """The shared memory: one progress counter per worker, then `slots` local batches of images."""

    workers: int
    slots: int
    batch: int
    size_px: int

    @property
    def n_bytes(self) -> int:
        return self._images_start + self.slots * self.batch * self.size_px**2 * 3

    @property
    def _images_start(self) -> int:
        return -(-8 * max(1, self.workers) // _PAGE) * _PAGE

    def map(self, descriptor: int) -> tuple[NDArray[np.int64], Pixels]:
        """The counters, int64 (workers,), and the images, uint8 (slots, batch, px, px, 3)."""
        memory = mmap.mmap(descriptor, self.n_bytes)
        counters = np.frombuffer(memory, dtype=np.int64, count=max(1, self.workers))
        images = np.frombuffer(memory, dtype=np.uint8, offset=self._images_start)
        return counters, images.reshape(self.slots, self.batch, self.size_px, self.size_px, 3)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker must know before its first task."""

    number: int
    layout: Layout
    plans: tuple[Path, ...]
    settings: ReadSettings


@dataclass(frozen=True, slots=True)
class Task:
    """A run of rows of one local batch; `position` is the batch position of the first row."""

    step: int
    slot: int
    first_row: int
    position: int
    sources: NDArray[np.int64]
    indices: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Done:
    """A finished task; `error` replaces the samples when the source itself is unusable."""

    step: int
    first_row: int
    produced: list[Produced]
    error: str | None = None
    traceback: str | None = None


class TaskQueue:
    """The tasks of all steps, in order, made when they are taken."""

    def __init__(
        self,
        stream: Stream,
        first: int,
        rows: int,
        rows_per_task: int,
        slots: int,
        start: int,
        end: int,
    ) -> None:
        self._stream, self._first, self._rows = stream, first, rows
        self._rows_per_task, self._slots = rows_per_task, slots
        self._step, self._end = start, end
        self._ready: deque[Task] = deque()

    def take(self, before: int) -> Task | None:
        """The next task of a step below `before`, or None."""
        if not self._ready and self._step < min(before, self._end):
            self._ready.extend(self._of_step(self._step))
            self._step += 1
        return self._ready.popleft() if self._ready else None

    def _of_step(self, step: int) -> list[Task]:
        samples = self._stream.step(step)
        start = step * self._stream.batch_size + self._first
        tasks = []
        for row in range(0, self._rows, self._rows_per_task):
            mine = slice(
                self._first + row, self._first + min(row + self._rows_per_task, self._rows)
            )
            sources, indices = samples.sources[mine], samples.indices[mine]
            tasks.append(Task(step, step % self._slots, row, start + row, sources, indices))
        return tasks


class WorkerProcess:
    """One worker process and the loader's end of its socket."""

    def __init__(self, setup: Setup, memory: int) -> None:
        self.number = setup.number
        self.n_tasks = 0
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-c", _WORKER, str(theirs.fileno()), str(memory)]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(), memory))
        self.connection = mp_connection.Connection(ours.detach())
        self.connection.send(setup)

    def send(self, task: Task) -> None:
        self.connection.send(task)
        self.n_tasks += 1

    def receive(self) -> Done:
        done: Done = self.connection.recv()
        self.n_tasks -= 1
        return done

    def obituary(self) -> str:
        """Say how the process ended."""
        try:
            status: int | str = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = "unknown"
        hint = " (killed; out of memory?)" if status == -9 else ""
        return f"data worker {self.number} ended with status {status}{hint}"

    def stop(self) -> None:
        self.connection.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
