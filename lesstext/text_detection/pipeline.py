"""One shard's samples through reading, the network and measuring, overlapped, in tar order.

Samples are opened ahead, grouped by canvas shape, and sent through the network in batches; rows
come out in tar order. What is in flight is bounded by the helpers' slots, so memory is flat.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lesstext.errors import DetectorError, ShardError
from lesstext.shards.samples import Row, fail
from lesstext.shards.tar_reading import SampleEntry
from lesstext.text_detection.helpers import Answer, HelperLostError, Helpers
from lesstext.text_detection.requests import (
    CanvasShape,
    CloseRequest,
    Kept,
    Opened,
    OpenRequest,
    Work,
    restored,
)
from lesstext.text_detection.stages import Batch, StagedDetector
from lesstext.timing import StageClock

_log = logging.getLogger(__name__)

_BATCHES_ON_DEVICE = 2
_FAILURES_THAT_CONDEMN_A_DETECTOR = 8


@dataclass(slots=True)
class _Item:
    """A sample in flight: its place in the tar, where its canvas lies, and what is kept of it."""

    index: int
    slot: int
    shape: CanvasShape
    kept: Kept


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

    _work: Work = field(init=False)
    _next_to_open: int = field(default=0, init=False)
    _next_to_yield: int = field(default=0, init=False)
    _n_ahead: int = field(default=0, init=False)
    _free_slots: list[int] = field(default_factory=list, init=False)
    _opening: dict[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict, init=False)
    _closing: dict[int, list[_Item]] = field(default_factory=dict, init=False)
    _buckets: defaultdict[CanvasShape, list[_Item]] = field(
        default_factory=lambda: defaultdict(list), init=False
    )
    _on_device: deque[tuple[Batch, list[_Item]]] = field(default_factory=deque, init=False)
    _rows: dict[int, Row] = field(default_factory=dict, init=False)
    _failures_in_a_row: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._work = Work(
            self.path,
            self.detector.stages,
            self.max_pixels,
            self.detector.input_px,
            self.keep_regions,
        )

    def rows(self) -> Iterator[Row]:
        """One complete row per sample, in tar order.

        Raises ShardError when the detector fails on one image after another.
        """
        self._forget_others()
        self._free_slots = list(range(self.helpers.n_slots))
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

    def _forget_others(self) -> None:
        """Wait for what the helpers still do for a shard that was given up: it writes in slots."""
        while self.helpers.n_pending:
            try:
                self.helpers.answers(wait=True)
            except HelperLostError:
                raise
            except Exception as error:  # that shard has failed already
                _log.info("of a shard that was given up: %r", error)

    def _open_ahead(self) -> bool:
        """Start reading as long as rows are not too far behind and there are slots.

        False when samples are left that may not be opened before others went to the network.
        """
        chunk = self.helpers.chunk
        while self._next_to_open < len(self.entries):
            entries = tuple(self.entries[self._next_to_open : self._next_to_open + chunk])
            far_ahead = self._next_to_open - self._next_to_yield >= 4 * self.helpers.n_ahead
            if far_ahead or self._n_ahead + len(entries) > self.helpers.n_ahead:
                return False
            if len(entries) > len(self._free_slots):
                return True  # those that the network is done with will be free
            slots = tuple(self._free_slots.pop() for _ in entries)
            number = self.helpers.open(OpenRequest(self._work, entries, slots))
            self._opening[number] = self._next_to_open, slots
            self._next_to_open += len(entries)
            self._n_ahead += len(entries)
        return True

    def _advance(self) -> bool:
        """Take in whatever is ready, waiting if need be; False when only a batch can help."""
        answers = self.helpers.answers(wait=False)
        if not answers and self._on_device and not self._room_on_device():
            self._receive()
            return True
        if not answers and self.helpers.n_pending:
            with self.clock.stage("wait"):
                answers = self.helpers.answers(wait=True)
        for answer in answers:
            self._take(answer)
        return bool(answers)

    def _room_on_device(self) -> bool:
        """Whether to wait for helpers rather than for the device."""
        return len(self._on_device) < _BATCHES_ON_DEVICE and self.helpers.n_pending > 0

    def _take(self, answer: Answer) -> None:
        if answer.number in self._opening:
            self.clock.add("decode", answer.seconds)
            self._take_opened(*self._opening.pop(answer.number), answer.value)
        else:
            self.clock.add("measure", answer.seconds)
            for item, row in zip(self._closing.pop(answer.number), answer.value, strict=True):
                self._rows[item.index] = row
                self._free_slots.append(item.slot)

    def _take_opened(self, first: int, slots: Sequence[int], opened: Sequence[Opened]) -> None:
        for index, (slot, one) in enumerate(zip(slots, opened, strict=True), first):
            if isinstance(one, dict):
                self._rows[index] = one
                self._free_slots.append(slot)
                self._n_ahead -= 1
            else:
                self._buckets[one[0]].append(_Item(index, slot, *one))

    def _send_full_batches(self) -> None:
        for shape in list(self._buckets):
            while len(self._buckets[shape]) >= self.detector.batch_size:
                self._send(shape)

    def _send_oldest(self) -> None:
        """Send the samples that have waited longest, though their batch is not full."""
        waiting = [(items[0].index, shape) for shape, items in self._buckets.items() if items]
        if waiting:
            self._send(min(waiting)[1])

    def _send(self, shape: CanvasShape) -> None:
        size = self.detector.batch_size
        items, self._buckets[shape] = self._buckets[shape][:size], self._buckets[shape][size:]
        while len(self._on_device) >= _BATCHES_ON_DEVICE:
            self._receive()
        with self.clock.stage("detect"):
            batch = self._submit(items)
        self._n_ahead -= len(items)
        if batch is not None:
            self._on_device.append((batch, items))

    def _submit(self, items: list[_Item]) -> Batch | None:
        """Start a batch; when that fails, find out which of its images fail alone."""
        canvases = [self.helpers.canvas(item.slot, item.shape) for item in items]
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
            self._work,
            tuple(item.kept for item in items),
            tuple(outputs),
            tuple(item.slot for item in items),
        )
        self._closing[self.helpers.close(request)] = items

    def _fail(self, item: _Item, error: Exception) -> None:
        row, _ = restored(item.kept)
        fail(row, "detector_error", repr(error))
        self._rows[item.index] = row
        self._free_slots.append(item.slot)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _FAILURES_THAT_CONDEMN_A_DETECTOR:
            raise ShardError(
                self.shard,
                f"the detector failed on {self._failures_in_a_row} images in a row: {error!r}",
            ) from error
