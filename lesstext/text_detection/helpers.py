"""The stages beside the network: reading and decoding before it, regions and areas after it.

Inline, or in processes of their own that import numpy and OpenCV only. Canvases go through shared
memory; what is pickled is small.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from lesstext.images import Pixels
from lesstext.processes import settle_in
from lesstext.shards.samples import Row, fail, open_sample
from lesstext.shards.tar_reading import SampleEntry
from lesstext.text_detection.measure import complete
from lesstext.text_detection.stages import Layout, StagedDetector, Stages


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Samples of one shard to read, and the slots for their canvases."""

    path: Path
    entries: tuple[SampleEntry, ...]
    slots: tuple[int, ...]
    stages: Stages
    max_pixels: int
    target_px: int | None


@dataclass(slots=True)
class Opened:
    """A sample that was read. `layout` is None when it failed; then there is no canvas."""

    row: Row
    slot: int
    layout: Layout | None = None
    canvas: Pixels | None = None


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """Rows to complete, with the network's output for each."""

    rows: tuple[Row, ...]
    layouts: tuple[Layout, ...]
    outputs: tuple[Any, ...]
    stages: Stages
    keep_regions: bool


@dataclass(frozen=True, slots=True)
class Timed:
    """A stage's result and the seconds that its process was busy with it."""

    value: Any
    seconds: float


class Helpers(Protocol):
    """Runs the outer stages; `n_ahead` is how many samples to keep in flight, `chunk` how many
    to hand over at once."""

    n_ahead: int
    chunk: int

    def open(self, request: OpenRequest) -> Future[Timed]: ...

    def close(self, request: CloseRequest) -> Future[Timed]: ...

    def canvas(self, opened: Opened) -> Pixels:
        """The canvas of a sample that has one; valid until its slot is used again."""
        ...


class InlineHelpers:
    """Everything in this process, at once: best where the network itself is on the CPU."""

    chunk = 1

    def __init__(self, batch_size: int) -> None:
        self.n_ahead = 2 * batch_size

    def open(self, request: OpenRequest) -> Future[Timed]:
        return _done(_open, request, _own_canvas)

    def close(self, request: CloseRequest) -> Future[Timed]:
        return _done(_close, request)

    def canvas(self, opened: Opened) -> Pixels:
        assert opened.canvas is not None
        return opened.canvas


class ProcessHelpers:
    """`n_processes` helper processes; use as a context manager, which frees everything."""

    chunk = 8

    def __init__(self, n_processes: int, batch_size: int, max_canvas_bytes: int) -> None:
        self.n_ahead = 8 * batch_size + 4 * self.chunk * n_processes
        self._slot_bytes = max_canvas_bytes
        self._memory = SharedMemory(create=True, size=self.n_ahead * max_canvas_bytes)
        self._pool = ProcessPoolExecutor(
            n_processes,
            mp_context=get_context("spawn"),
            initializer=_start_helper,
            initargs=(self._memory.name, max_canvas_bytes, os.getpid()),
        )

    def __enter__(self) -> ProcessHelpers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._memory.close()
        self._memory.unlink()

    def open(self, request: OpenRequest) -> Future[Timed]:
        return self._pool.submit(_open_in_helper, request)

    def close(self, request: CloseRequest) -> Future[Timed]:
        return self._pool.submit(_close, request)

    def canvas(self, opened: Opened) -> Pixels:
        assert opened.layout is not None
        return _slot_view(self._memory, self._slot_bytes, opened.slot, opened.layout)


@contextmanager
def helpers_for(detector: StagedDetector, n_processes: int) -> Iterator[Helpers]:
    """Helper processes where they are wanted and the canvases are bounded; else inline ones."""
    if n_processes and detector.max_canvas_bytes is not None:
        with ProcessHelpers(n_processes, detector.batch_size, detector.max_canvas_bytes) as helpers:
            yield helpers
    else:
        yield InlineHelpers(detector.batch_size)


def _open(request: OpenRequest, canvas_of: Callable[[int, Layout], Pixels]) -> Timed:
    """Read, decode and draw; a sample that cannot be drawn becomes a failed row."""
    start = time.perf_counter()
    opened = []
    with request.path.open("rb") as file:
        for entry, slot in zip(request.entries, request.slots, strict=True):
            sample = open_sample(
                file, entry, max_pixels=request.max_pixels, target_px=request.target_px
            )
            item = Opened(sample.row, slot)
            if sample.image is not None:
                item.layout = request.stages.layout(sample.image)
                item.canvas = canvas_of(slot, item.layout)
                request.stages.draw(sample.image, item.layout, item.canvas)
            opened.append(item)
    return Timed(opened, time.perf_counter() - start)


def _close(request: CloseRequest) -> Timed:
    start = time.perf_counter()
    for row, layout, output in zip(request.rows, request.layouts, request.outputs, strict=True):
        try:
            regions = request.stages.regions(output, layout)
            complete(row, regions, keep_regions=request.keep_regions)
        except Exception as error:  # the one-sample boundary: recorded in the row
            fail(row, "detector_error", repr(error))
    return Timed(list(request.rows), time.perf_counter() - start)


def _own_canvas(slot: int, layout: Layout) -> Pixels:
    return np.empty(layout.canvas_shape, dtype=np.uint8)


def _done(function: Callable[..., Timed], *arguments: Any) -> Future[Timed]:
    future: Future[Timed] = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:  # handed to whoever asks for the result, as a process pool does
        future.set_exception(error)
    return future


def _slot_view(memory: SharedMemory, slot_bytes: int, slot: int, layout: Layout) -> Pixels:
    return np.ndarray(
        layout.canvas_shape, dtype=np.uint8, buffer=memory.buf, offset=slot * slot_bytes
    )


@dataclass(slots=True)
class _HelperState:
    """What a helper process holds: the canvases that it shares with its parent."""

    memory: SharedMemory | None = None
    slot_bytes: int = 0


_state = _HelperState()


def _start_helper(memory_name: str, slot_bytes: int, parent: int) -> None:
    settle_in(parent)
    _state.memory = SharedMemory(memory_name)
    _state.slot_bytes = slot_bytes


def _open_in_helper(request: OpenRequest) -> Timed:
    memory = _state.memory
    assert memory is not None
    timed = _open(request, lambda slot, layout: _slot_view(memory, _state.slot_bytes, slot, layout))
    for item in timed.value:
        item.canvas = None  # it is in shared memory; do not pickle it too
    return timed
