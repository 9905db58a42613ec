"""A unit of work, one shard, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lesstext.tables.table import table_path

if TYPE_CHECKING:
    from lesstext.annotators.base import Annotator
    from lesstext.shards.specs import ShardSource
    from lesstext.storage.paths import Location

MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class InShard:
    """How far a shard is: `n_new` samples were finished since it was told before; `n_done` of its
    `n_total` are, those of an earlier attempt among them."""

    n_new: int
    n_done: int
    n_total: int

    def since(self, before: InShard | None) -> InShard:
        """The same, as news for one who heard of `before`; `n_new` is that of the attempt."""
        n_told = 0 if before is None else before.n_new
        return InShard(self.n_new - n_told, self.n_done, self.n_total)


OnProgress = Callable[[InShard], None]
OnSamples = Callable[[str, InShard], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A second table of each shard, which the rows of the annotator fill on the way.

    It is the table that its own `annotator`, whose id is `annotator_id`, would make of the shard.
    """

    out: Location
    annotator: Annotator
    annotator_id: str

    def alone(self, task: Task) -> Task:
        """The task that makes this table of the same shard, and nothing else."""
        return Task(
            source=task.source,
            out=self.out,
            annotator=self.annotator,
            rescore=task.rescore,
            run=task.run,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One shard to annotate; a pure description, so that any process or machine can take it.

    `inputs` are the table folders of other annotators, by name; `beside` is a second table that is
    filled on the way, and the shard is done when both are. `run` names the run that gives it
    out: a shard claimed by an earlier attempt of the same run is free.

    After a worker was lost at it: `window` is how many samples to do at a time, each lot brought to
    disk before the next is begun; `lost` is why the first sample that is not done yet is given up.
    """

    source: ShardSource
    out: Location
    annotator: Annotator
    inputs: Mapping[str, Location] = field(default_factory=dict)
    rescore: bool = False
    run: str = ""
    window: int | None = None
    lost: str | None = None
    beside: Beside | None = None

    @property
    def table(self) -> Location:
        return table_path(self.out, self.source.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """What became of one shard. `error` is set when it failed and has no table.

    `claimed_by` is set when nothing was done because another process is at work on the shard.
    `counts` are samples by status, `tallies` those that met with something worth telling;
    `problems` is damage that cost no readable sample.
    """

    shard: str
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    was_done: bool = False
    error: str | None = None
    claimed_by: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    tallies: dict[str, int] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        return sum(self.counts.values())
