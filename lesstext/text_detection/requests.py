"""The work beside the network: reading and decoding before it, regions and areas after it.

Whoever does it imports numpy and OpenCV only. A sample's row stays as it is between the two, so
that whoever owns the device need not look at it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lesstext.images import Pixels
from lesstext.shards.samples import Row, fail, open_sample
from lesstext.shards.tar_reading import Member, SampleEntry
from lesstext.text_detection.measure import complete
from lesstext.text_detection.stages import Layout, Stages

CanvasShape: TypeAlias = tuple[int, int, int]
Kept: TypeAlias = "tuple[Row, Layout] | bytes"
"""A row so far and its image's layout, pickled where they travel."""
Opened: TypeAlias = "tuple[CanvasShape, Kept] | Row"
"""A sample that was read: its canvas's shape, and what is kept until the network has seen it; or
the row that it ends as, where it failed."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the requests of one shard have in common."""

    path: Path
    stages: Stages
    max_pixels: int
    target_px: int | None
    keep_regions: bool


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Samples to read, and the slots for their canvases; answered by an `Opened` for each."""

    work: Work
    entries: tuple[SampleEntry, ...]
    slots: tuple[int, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Plain tuples travel at a tenth of the cost of entries and members."""
        return _from_plain, (self.work, [_plain(entry) for entry in self.entries], self.slots)


def _plain(entry: SampleEntry) -> tuple[Any, ...]:
    members = [(member.name, member.suffix, member.offset, member.size) for member in entry.members]
    return entry.key, members, entry.duplicate, entry.cut


def _from_plain(
    work: Work, entries: Sequence[tuple[Any, ...]], slots: tuple[int, ...]
) -> OpenRequest:
    whole = (
        SampleEntry(key, [Member(*member) for member in members], duplicate, cut)
        for key, members, duplicate, cut in entries
    )
    return OpenRequest(work, tuple(whole), slots)


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """Rows to complete, with the network's output for each; answered by the rows.

    The slots are still those of the samples' canvases, which nobody needs any more.
    """

    work: Work
    kept: tuple[Kept, ...]
    outputs: tuple[Any, ...]
    slots: tuple[int, ...]


def opened(request: OpenRequest, canvas_of: Callable[[int, Layout], Pixels]) -> Iterator[Opened]:
    """Read, decode and draw; a sample that cannot be drawn becomes a failed row."""
    work = request.work
    with work.path.open("rb") as file:
        for entry, slot in zip(request.entries, request.slots, strict=True):
            sample = open_sample(file, entry, max_pixels=work.max_pixels, target_px=work.target_px)
            if sample.image is None:
                yield sample.row
                continue
            layout = work.stages.layout(sample.image)
            work.stages.draw(sample.image, layout, canvas_of(slot, layout))
            yield layout.canvas_shape, (sample.row, layout)


def closed(request: CloseRequest) -> list[Row]:
    """The rows, completed; a sample that cannot be measured becomes a failed row."""
    rows = []
    for kept, output in zip(request.kept, request.outputs, strict=True):
        row, layout = restored(kept)
        try:
            regions = request.work.stages.regions(output, layout)
            complete(row, regions, keep_regions=request.work.keep_regions)
        except Exception as error:  # the one-sample boundary: recorded in the row
            fail(row, "detector_error", repr(error))
        rows.append(row)
    return rows


def restored(kept: Kept) -> tuple[Row, Layout]:
    """What was kept of a sample, wherever it has been."""
    if isinstance(kept, bytes):
        row_and_layout: tuple[Row, Layout] = pickle.loads(kept)
        return row_and_layout
    return kept
