"""The contract: whatever writes one table per shard, a row for every sample, is an annotator.

An annotator is a frozen dataclass. Its fields are its options: they become the flags of
`lesstext annotate NAME`, are recorded in every table, and a table made with others is not done.
Engines, tables, resume, claims, storage and accounting know nothing but what stands here.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

from lesstext.errors import AnnotatorError, UsageError
from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.plugins import load_plugin, plugin_names
from lesstext.shards.samples import OpenSample, Row, fail, open_sample
from lesstext.shards.tar_reading import SampleEntry
from lesstext.timing import StageClock

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.tables.table import Footer

T = TypeVar("T")

ENTRY_POINT_GROUP = "lesstext.annotators"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a worker runs: one torch device such as `cpu` or `cuda:1`, the CPU threads that it may
    use, and how many helper processes it may start (0: it does everything itself)."""

    device: str = "cpu"
    threads: int = 1
    helpers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A run of one shard's samples, in tar order.

    `path` is the shard on this machine; `inputs` holds, by annotator name, the rows of exactly
    these samples in the tables of other annotators.
    """

    shard: str
    path: Path
    entries: Sequence[SampleEntry]
    inputs: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    clock: StageClock = field(default_factory=StageClock)

    def samples(
        self,
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        target_px: int | None = None,
        decoded: Sequence[bool] | None = None,
    ) -> Iterator[OpenSample]:
        """Every sample, read and decoded; `target_px` is the longer side below which no image may
        be reduced while it is decoded (None: not at all), `decoded` says of each sample whether
        its image is looked at (None: of all)."""
        wanted = decoded or [True] * len(self.entries)
        with self.path.open("rb") as file:
            for entry, is_wanted in zip(self.entries, wanted, strict=True):
                with self.clock.stage("decode"):
                    sample = open_sample(
                        file,
                        entry,
                        max_pixels=max_pixels,
                        target_px=target_px,
                        with_image=is_wanted,
                    )
                yield sample


class Worker(Protocol):
    """An annotator that is loaded: one lives in each worker process."""

    @property
    def id(self) -> str:
        """As `Annotator.identify` told it."""
        ...

    def annotate(self, part: Part) -> Iterator[Row]:
        """One row per sample, in order, failures included; a row has `key`, `status`, `error` and
        the annotator's columns.

        A sample's row does not depend on the samples beside it in the part. Raises ShardError when
        the shard as a whole is not to be annotated, WorkerBrokenError when the worker is no more
        of use and must be replaced.
        """
        ...


@runtime_checkable
class Helped(Protocol):
    """What a worker may be besides: one that has helper processes, and a device to feed."""

    def aside(self, work: Callable[[], T]) -> T:
        """What `work`, which can be pickled, returns or raises; a helper does it where there is
        one. Raises WorkerBrokenError where that is lost."""
        ...


class WorkerBrokenError(AnnotatorError):
    """The worker lost something that it needs, such as a helper process; another may succeed."""


@dataclass(frozen=True, kw_only=True)
class Annotator(ABC):
    """The options of an annotator, and how it is loaded.

    A subclass is a frozen dataclass with a `name`, its `columns`, and either `describe`, which
    looks at one sample at a time, or a `load` of its own. The first line of its docstring is the
    help of its command.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ()
    """Names of the annotators whose tables it needs."""
    optional_inputs: ClassVar[tuple[str, ...]] = ()
    """Names of the annotators whose tables it can make use of."""

    def accept(self, inputs: Mapping[str, Footer]) -> None:  # noqa: B027  # most take any
        """Look at what tables of other annotators say of themselves, by their names.

        Raises UsageError where these were made otherwise than it can use.
        """

    @property
    @abstractmethod
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        """Its own columns, which follow `key, uid, status, error`."""

    @property
    def settings(self) -> dict[str, Any]:
        """What besides `identify` decides a row: all options, as JSON knows them."""
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return settings

    def identify(self, placement: Placement) -> str:
        """Names everything else that can change a result: models, weights, precision, versions.

        Found without loading anything heavy. Nodes with different ids never write into one folder.
        """
        return self.name

    def load(self, placement: Placement) -> AbstractContextManager[Worker]:
        """What a worker loads once, freed when the context ends.

        Raises UsageError for options that make no sense, AnnotatorError where it cannot run.
        """
        return nullcontext(_OneByOne(self, self.identify(placement)))

    def describe(self, sample: OpenSample, inputs: Mapping[str, Row]) -> Mapping[str, Any]:
        """The values of `columns` for one usable sample; what it raises becomes its error.

        `sample.image` holds pixels (H, W, 3) uint8 RGB, `sample.caption` the text if there is one;
        `inputs` the sample's row in each input table.
        """
        raise TypeError(f"{type(self).__name__} defines neither `describe` nor `load`")


@dataclass(frozen=True, slots=True)
class _OneByOne:
    """The worker of annotators that look at one sample at a time."""

    annotator: Annotator
    id: str

    def annotate(self, part: Part) -> Iterator[Row]:
        for number, sample in enumerate(part.samples()):
            row = sample.row
            if row["status"] == "ok":
                with part.clock.stage("describe"):
                    self._describe(sample, {n: rows[number] for n, rows in part.inputs.items()})
            yield row

    def _describe(self, sample: OpenSample, inputs: Mapping[str, Row]) -> None:
        try:
            sample.row.update(self.annotator.describe(sample, inputs))
        except Exception as error:  # the one-sample boundary: recorded in the row
            fail(sample.row, "annotator_error", repr(error))


def inherit_failure(row: Row, name: str, other: Row) -> None:
    """Fail a row that is ok where the table of annotator `name` knows nothing of its sample."""
    if row["status"] == "ok" and other["status"] != "ok":
        fail(row, other["status"], f"{name}: {other['error']}")


def require_regions(text_area: Footer) -> None:
    """Raise UsageError for a table of text areas that was stored without its regions."""
    if not text_area.settings.get("regions", True):
        raise UsageError(
            f"the text areas of shard {text_area.shard} were stored without their regions"
        )


def table_schema(annotator: Annotator) -> pa.Schema:
    """All columns of an annotator's tables: `key, uid, status, error`, then its own."""
    import pyarrow as pa

    base = [(name, pa.string()) for name in ("key", "uid", "status", "error")]
    return pa.schema([*base, *annotator.columns])


def find_annotator(name: str) -> type[Annotator]:
    """The annotator of that name, built in or installed; raises UsageError for an unknown one."""
    annotator = load_plugin(ENTRY_POINT_GROUP, "annotator", name, AnnotatorError)
    if not (isinstance(annotator, type) and issubclass(annotator, Annotator)):
        raise AnnotatorError(f"annotator {name!r} is {annotator!r}, not a subclass of Annotator")
    if annotator.name != name:
        raise AnnotatorError(f"annotator {name!r} calls itself {annotator.name!r}")
    return annotator


def annotator_names() -> list[str]:
    """The names of all annotators that are installed."""
    return plugin_names(ENTRY_POINT_GROUP)
