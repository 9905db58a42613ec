"""One shard's samples through reading, the network and measuring, overlapped, in tar order.

Samples are opened ahead, grouped by canvas shape, and sent through the network in batches; rows
come out in tar order. What is in flight is bounded by the helpers' `n_ahead`, so memory is flat.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesstext.errors import DetectorError, ShardError
from lesstext.shards.samples import Row, fail
from lesstext.shards.tar_reading import SampleEntry
from lesstext.text_detection.helpers import CloseRequest, Helpers, Opened, OpenRequest, Timed
from lesstext.text_detection.stages import Batch, StagedDetector
from lesstext.timing import StageClock

_log = logging.getLogger(__name__)

_BATCHES_ON_DEVICE = 2
_FAILURES_THAT_CONDEMN_A_DETECTOR = 8


@dataclass(slots=True)
class _Item:
    """A sample in flight: its place in the tar, and what was opened."""

    index: int
    opened: Opened


@dataclass(slots=True)
class Pipeline:
    """The samples of one shard on their way to rows."""

    shard: str
    path: Path
    entries: Sequence[SampleEntry]
    detector: StagedDetector
    helpers: Helpers
    clock: StageClock
    max_pixels: int
    keep_regions: bool

    _next_to_open: int = field(default=0, init=False)
    _next_to_yield: int = field(default=0, init=False)
    _free_slots: list[int] = field(default_factory=list, init=False)
    _opening: dict[Future[Timed], int] = field(default_factory=dict, init=False)
    _closing: dict[Future[Timed], list[int]] = field(default_factory=dict, init=False)
    _buckets: defaultdict[tuple[int, ...], list[_Item]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )
    _on_device: deque[tuple[Batch, list[_Item]]] = field(default_factory=deque, init=False)
    _rows: dict[int, Row] = field(default_factory=dict, init=False)
    _failures_in_a_row: int = field(default=0, init=False)

    def rows(self) -> Iterator[Row]:
        """One complete row per sample, in tar order.

        Raises ShardError when the detector fails on one image after another.
        """
        self._free_slots = list(range(self.helpers.n_ahead))
        while self._next_to_yield < len(self.entries):
            may_open_more = self._open_ahead()
            self._send_full_batches()
            if not may_open_more and len(self._on_device) < _BATCHES_ON_DEVICE:
                self._send_oldest()
            if not self._advance():
                self._send_oldest()
            while self._next_to_yield in self._rows:
                yield self._rows.pop(self._next_to_yield)
                self._next_to_yield += 1

    def _open_ahead(self) -> bool:
        """Start reading as long as there are free slots and rows are not too far behind.

        False when samples are left that may not be opened yet.
        """
        chunk = self.helpers.chunk
        while self._next_to_open < len(self.entries):
            entries = tuple(self.entries[self._next_to_open : self._next_to_open + chunk])
            far_ahead = self._next_to_open - self._next_to_yield >= 4 * self.helpers.n_ahead
            if far_ahead or len(entries) > len(self._free_slots):
                return False
            slots = tuple(self._free_slots.pop() for _ in entries)
            request = OpenRequest(
                self.path,
                entries,
                slots,
                self.detector.stages,
                self.max_pixels,
                self.detector.input_px,
            )
            self._opening[self.helpers.open(request)] = self._next_to_open
            self._next_to_open += len(entries)
        return True

    def _advance(self) -> bool:
        """Take in whatever is ready, waiting if need be; False when only a batch can help."""
        pending = [*self._opening, *self._closing]
        ready = [future for future in pending if future.done()]
        if not ready and self._on_device and not self._room_on_device(pending):
            self._receive()
            return True
        if not ready and pending:
            with self.clock.stage("wait"):
                ready = list(wait(pending, return_when=FIRST_COMPLETED).done)
        for future in ready:
            if future in self._opening:
                self._take_opened(self._opening.pop(future), self._timed("decode", future))
            else:
                indices = self._closing.pop(future)
                rows = self._timed("measure", future)
                self._rows.update(zip(indices, rows, strict=True))
        return bool(ready)

    def _room_on_device(self, pending: Sequence[Future[Timed]]) -> bool:
        """Whether to wait for helpers rather than for the device."""
        return len(self._on_device) < _BATCHES_ON_DEVICE and bool(pending)

    def _timed(self, stage: str, future: Future[Timed]) -> Any:
        timed = future.result()
        self.clock.add(stage, timed.seconds)
        return timed.value

    def _take_opened(self, first: int, opened: list[Opened]) -> None:
        for index, item in enumerate(opened, first):
            if item.layout is None:
                self._rows[index] = item.row
                self._free_slots.append(item.slot)
            else:
                self._buckets[item.layout.canvas_shape].append(_Item(index, item))

    def _send_full_batches(self) -> None:
        for shape in list(self._buckets):
            while len(self._buckets[shape]) >= self.detector.batch_size:
                self._send(shape)

    def _send_oldest(self) -> None:
        """Send the samples that have waited longest, though their batch is not full."""
        waiting = [(items[0].index, shape) for shape, items in self._buckets.items() if items]
        if waiting:
            self._send(min(waiting)[1])

    def _send(self, shape: tuple[int, ...]) -> None:
        size = self.detector.batch_size
        items, self._buckets[shape] = self._buckets[shape][:size], self._buckets[shape][size:]
        while len(self._on_device) >= _BATCHES_ON_DEVICE:
            self._receive()
        with self.clock.stage("detect"):
            batch = self._submit(items)
        self._free_slots.extend(item.opened.slot for item in items)
        if batch is not None:
            self._on_device.append((batch, items))

    def _submit(self, items: list[_Item]) -> Batch | None:
        """Start a batch; when that fails, find out which of its images fail alone."""
        canvases = [self.helpers.canvas(item.opened) for item in items]
        try:
            return self.detector.submit(canvases)
        except DetectorError:
            raise
        except Exception as error:  # the one-sample boundary, reached one by one below
            while self._on_device:  # what went before it may have come through
                self._receive()
            if len(items) == 1:
                self._fail(items[0], error)
                return None
        _log.warning("shard %s: a batch failed in the detector; trying it singly", self.shard)
        for item in items:
            single = self._submit([item])
            if single is not None:
                self._finish(single, [item])
        return None

    def _receive(self) -> None:
        batch, items = self._on_device.popleft()
        self._finish(batch, items)

    def _finish(self, batch: Batch, items: list[_Item]) -> None:
        """Wait for a batch and hand its output to be measured."""
        with self.clock.stage("detect"):
            outputs = batch.result()
        self._failures_in_a_row = 0
        request = CloseRequest(
            tuple(item.opened.row for item in items),
            tuple(item.opened.layout for item in items if item.opened.layout is not None),
            tuple(outputs),
            self.detector.stages,
            self.keep_regions,
        )
        self._closing[self.helpers.close(request)] = [item.index for item in items]

    def _fail(self, item: _Item, error: Exception) -> None:
        fail(item.opened.row, "detector_error", repr(error))
        self._rows[item.index] = item.opened.row
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _FAILURES_THAT_CONDEMN_A_DETECTOR:
            raise ShardError(
                self.shard,
                f"the detector failed on {self._failures_in_a_row} images in a row: {error!r}",
            ) from error
