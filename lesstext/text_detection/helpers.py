"""Who does the work beside the network: this process, or processes of their own.

Canvases go through shared memory, and so do the network's outputs on their way back; what is
pickled is small, and goes in chunks by a pipe for each process, without queues and their threads.
The memory has no name: nothing of it is left, however its owner ends.
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from lesstext.errors import DetectorError
from lesstext.images import Pixels
from lesstext.processes import interrupts_held_back, settle_in
from lesstext.text_detection.requests import (
    CanvasShape,
    CloseRequest,
    Opened,
    OpenRequest,
    closed,
    opened,
)
from lesstext.text_detection.slot_memory import SlotMemory
from lesstext.text_detection.stages import Layout, StagedDetector

T = TypeVar("T")
_Request: TypeAlias = OpenRequest | CloseRequest | Callable[[], Any]

_END_GRACE_S = 2.0
_PROTOCOL = pickle.HIGHEST_PROTOCOL


class Answer(NamedTuple):
    """What became of the request with that number, and the seconds that somebody was busy."""

    number: int
    value: Any
    seconds: float


class HelperLostError(DetectorError):
    """A helper process ended before its work was done."""


class Helpers(Protocol):
    """Does the work beside the network, in any order.

    `n_ahead` is how many samples may wait for the network, `n_slots`, which is more, how many
    may be anywhere between being opened and being closed, and `chunk` how many to hand over at
    once. `n_pending` requests are not answered yet.
    """

    n_ahead: int
    n_slots: int
    chunk: int

    @property
    def n_pending(self) -> int: ...

    def open(self, request: OpenRequest) -> int:
        """Begin to read; the number of the request, whose answer holds a list of `Opened`."""
        ...

    def close(self, request: CloseRequest) -> int:
        """Begin to measure; the number of the request, whose answer holds a list of rows."""
        ...

    def answers(self, *, wait: bool) -> list[Answer]:
        """What is done; with `wait` at least one, where any is pending.

        Raises what the work raised, and HelperLostError.
        """
        ...

    def canvas(self, slot: int, shape: CanvasShape) -> Pixels:
        """The canvas of a sample that was opened; its own until the sample is closed."""
        ...

    def do(self, work: Callable[[], T]) -> T:
        """Wait for work of any kind, which can be pickled, while nothing else is pending."""
        ...


class InlineHelpers:
    """Everything in this process, at once: best where the network itself is on the CPU."""

    chunk = 1

    def __init__(self, batch_size: int) -> None:
        self.n_ahead = 2 * batch_size
        self.n_slots = 6 * batch_size
        self._canvases: dict[int, Pixels] = {}
        self._answers: list[Answer] = []
        self._n_requests = 0

    @property
    def n_pending(self) -> int:
        return len(self._answers)

    def open(self, request: OpenRequest) -> int:
        return self._answer(lambda: list(opened(request, self._new_canvas)))

    def close(self, request: CloseRequest) -> int:
        for slot in request.slots:
            del self._canvases[slot]
        return self._answer(lambda: closed(request))

    def answers(self, *, wait: bool) -> list[Answer]:
        found, self._answers = self._answers, []
        return found

    def canvas(self, slot: int, shape: CanvasShape) -> Pixels:
        return self._canvases[slot]

    def do(self, work: Callable[[], T]) -> T:
        return work()

    def _new_canvas(self, slot: int, layout: Layout) -> Pixels:
        canvas = self._canvases[slot] = np.empty(layout.canvas_shape, dtype=np.uint8)
        return canvas

    def _answer(self, work: Callable[[], Any]) -> int:
        start = time.perf_counter()
        value = work()
        self._n_requests += 1
        self._answers.append(Answer(self._n_requests, value, time.perf_counter() - start))
        return self._n_requests


class ProcessHelpers:
    """`n_processes` helper processes; use as a context manager, which frees everything."""

    chunk = 16

    def __init__(self, n_processes: int, batch_size: int, max_canvas_bytes: int) -> None:
        self.n_ahead = 8 * batch_size + 2 * self.chunk * n_processes
        self.n_slots = self.n_ahead + 4 * batch_size
        self.n_pending = 0
        self._n_requests = 0
        self._memory = SlotMemory(self.n_slots, max_canvas_bytes)
        self._helpers = [_Helper(self._memory) for _ in range(n_processes)]
        self._by_file = {helper.pipe.fileno(): helper for helper in self._helpers}
        self._poll = select.poll()
        for file in self._by_file:
            self._poll.register(file, select.POLLIN)

    def __enter__(self) -> ProcessHelpers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for helper in self._helpers:
            helper.pipe.close()  # which ends it, whatever it is at
        for helper in self._helpers:
            helper.end()
        self._memory.free()

    def open(self, request: OpenRequest) -> int:
        return self._ask(request, len(request.slots))

    def close(self, request: CloseRequest) -> int:
        outputs = tuple(map(self._memory.put, request.slots, request.outputs))
        return self._ask(replace(request, outputs=outputs), len(request.slots))

    def answers(self, *, wait: bool) -> list[Answer]:
        found: list[Answer] = []
        if self.n_pending:
            for file, _ in self._poll.poll(None if wait else 0):
                self.n_pending -= 1
                found.append(self._by_file[file].answer())
        return found

    def canvas(self, slot: int, shape: CanvasShape) -> Pixels:
        return self._memory.view(slot, shape)

    def do(self, work: Callable[[], T]) -> T:
        number = self._ask(work, 0)
        while True:
            for answer in self.answers(wait=True):
                if answer.number == number:
                    value: T = answer.value
                    return value

    def _ask(self, request: _Request, n_samples: int) -> int:
        self._n_requests += 1
        self.n_pending += 1
        helper = min(self._helpers, key=lambda one: one.n_samples)
        helper.ask(self._n_requests, request, n_samples)
        return self._n_requests


@contextmanager
def helpers_for(detector: StagedDetector, n_processes: int) -> Iterator[Helpers]:
    """Helper processes where they are wanted and the canvases are bounded; else inline ones."""
    if n_processes and detector.max_canvas_bytes is not None:
        with ProcessHelpers(n_processes, detector.batch_size, detector.max_canvas_bytes) as helpers:
            yield helpers
    else:
        yield InlineHelpers(detector.batch_size)


class _Helper:
    """A helper process and the pipe to it; `n_samples` is how many it has still to do."""

    def __init__(self, memory: SlotMemory) -> None:
        self.n_samples = 0
        self._sizes: dict[int, int] = {}
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, memory, os.getpid())
        self._process: BaseProcess = context.Process(target=_serve, args=arguments, daemon=True)
        with interrupts_held_back():
            self._process.start()
        theirs.close()

    def ask(self, number: int, request: _Request, n_samples: int) -> None:
        """Hand over a request; the helper takes it in whatever it is at, so this never blocks."""
        try:
            self.pipe.send_bytes(pickle.dumps((number, request), _PROTOCOL))
        except OSError as error:
            raise self._lost() from error
        self._sizes[number] = n_samples
        self.n_samples += n_samples

    def answer(self) -> Answer:
        """The next answer; raises what the work raised, and HelperLostError."""
        try:
            data = self.pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        number, value, seconds, raised = pickle.loads(data)
        self.n_samples -= self._sizes.pop(number)
        if raised is not None:
            raise raised
        return Answer(number, value, seconds)

    def end(self) -> None:
        """Wait for the process to end, which it does when its pipe is closed."""
        self._process.join(_END_GRACE_S)
        self._process.kill()
        self._process.join()
        self._process.close()

    def _lost(self) -> HelperLostError:
        self._process.join(_END_GRACE_S)
        return HelperLostError(f"a helper process died (exit code {self._process.exitcode})")


def _serve(pipe: Connection, memory: SlotMemory, parent: int) -> None:
    """A helper's life: one request after another, until its owner closes the pipe."""
    settle_in(parent)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_take_in, args=(pipe, requests), daemon=True).start()
    with suppress(OSError):  # the owner has closed the pipe
        while True:
            number, request = pickle.loads(requests.get())
            pipe.send_bytes(_answered(number, request, memory))


def _take_in(pipe: Connection, requests: queue.SimpleQueue[bytes]) -> None:
    """Keep the pipe empty, so that its owner never waits for a helper that waits for its owner."""
    with suppress(EOFError, OSError):
        while True:
            requests.put(pipe.recv_bytes())
    os._exit(0)  # nobody wants what it is at, and it holds nothing that must be put in order


def _answered(number: int, request: _Request, memory: SlotMemory) -> bytes:
    """The answer, pickled; what the work raised is part of it."""
    start = time.perf_counter()
    value: Any = None
    raised: Exception | None = None
    try:
        value = _done(request, memory)
    except Exception as error:  # handed to whoever asks for the answer
        raised = error
    seconds = time.perf_counter() - start
    try:
        return pickle.dumps((number, value, seconds, raised), _PROTOCOL)
    except Exception:  # errors hold all kinds of things
        return pickle.dumps((number, None, seconds, RuntimeError(repr(raised))), _PROTOCOL)


def _done(request: _Request, memory: SlotMemory) -> Any:
    if isinstance(request, OpenRequest):
        return _opened(request, memory)
    if isinstance(request, CloseRequest):
        outputs = tuple(map(memory.get, request.slots, request.outputs))
        return closed(replace(request, outputs=outputs))
    return request()


def _opened(request: OpenRequest, memory: SlotMemory) -> list[Opened]:
    def canvas_of(slot: int, layout: Layout) -> Pixels:
        return memory.view(slot, layout.canvas_shape)

    return [
        one if isinstance(one, dict) else (one[0], pickle.dumps(one[1], _PROTOCOL))
        for one in opened(request, canvas_of)
    ]
