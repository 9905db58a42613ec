"""What an export is to write: one task per output shard, which depends on its own inputs alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lesstext.engines import ENGINES
from lesstext.errors import UsageError
from lesstext.shards.fingerprint import Fingerprint
from lesstext.shards.names import known_as
from lesstext.shards.specs import SHARD_SUFFIX, ShardSource
from lesstext.storage.paths import Location

if TYPE_CHECKING:
    from lesstext.export.sidecar import Carry
    from lesstext.tables.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """What `lesstext export` was asked for; written beside the shards.

    `labels` is another selection, of which the sidecars take the columns that this one lacks;
    `carry` are columns of tables.
    """

    shards: tuple[str, ...]
    selection: Location
    out: Location
    samples_per_shard: int | None = None
    engine: str = "local"
    workers: int | None = None
    replace: bool = False
    labels: Location | None = None
    carry: tuple[Carry, ...] = ()
    allow_pipe: bool = False

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"--engine must be {' or '.join(ENGINES)}, got {self.engine!r}")
        for name in ("samples_per_shard", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


@dataclass(frozen=True, slots=True)
class Part:
    """A run of kept samples of one input shard: positions [start, stop) among its kept keys.

    `fingerprint` is that of the shard that was scored.
    """

    source: ShardSource
    fingerprint: Fingerprint
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTask:
    """One output shard, and the runs of samples that it is made of.

    It holds what it needs of the selection's description, which grows with the number of shards
    and would cost a large export a full parse for each of them.
    """

    name: str
    parts: tuple[Part, ...]
    selection: Location
    selection_id: str
    out: Location
    labels: Location | None = None
    labels_id: str = ""
    carry: tuple[Carry, ...] = ()
    run: str = ""

    @property
    def n_samples(self) -> int:
        return sum(part.stop - part.start for part in self.parts)

    @property
    def tar(self) -> Location:
        return self.out / f"{self.name}{SHARD_SUFFIX}"

    @property
    def sidecar(self) -> Location:
        return self.out / f"{self.name}.parquet"

    @property
    def stats(self) -> Location:
        return self.out / f"{self.name}_stats.json"


def plan_tasks(
    config: ExportConfig,
    selection: Selection,
    sources: Sequence[ShardSource],
    labels: Selection | None = None,
) -> Iterator[ExportTask]:
    """One task per input shard or, with `samples_per_shard`, per full output shard."""
    sources = known_as(sources, selection.fingerprints)
    unknown = [source.name for source in sources if source.name not in selection.fingerprints]
    if unknown:
        raise UsageError(
            f"{config.selection} says nothing about {len(unknown)} of the shards, "
            f"the first: {unknown[0]}; score them and select again"
        )
    if labels is not None:
        _check_labels(selection, sources, labels)
    groups: Iterable[tuple[str, tuple[Part, ...]]]
    n_kept = selection.n_kept_by_shard()
    if config.samples_per_shard is None:
        groups = ((s.name, (_part(selection, s, 0, n_kept[s.name]),)) for s in sources)
    else:
        groups = _repack(selection, sources, config.samples_per_shard)
    run = uuid.uuid4().hex
    for name, parts in groups:
        yield ExportTask(
            name=name,
            parts=parts,
            selection=config.selection,
            selection_id=selection.id,
            out=config.out,
            labels=config.labels,
            labels_id="" if labels is None else labels.id,
            carry=config.carry,
            run=run,
        )


def _repack(
    selection: Selection, sources: Sequence[ShardSource], size: int
) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Fill output shards in order. Keys may repeat across input shards but not within an output:
    there the output ends early, since renaming a sample would break its identity."""
    number, parts, held = 0, list[Part](), set[str]()
    kept = selection.keys_by_shard()
    for source in sources:
        start = 0
        keys = kept[source.name].to_pylist()
        for position, key in enumerate(keys):
            if len(held) == size or key in held:
                yield f"{number:05d}", (*parts, *_run_of(selection, source, start, position))
                number, parts, held, start = number + 1, [], set(), position
            held.add(key)
        parts.extend(_run_of(selection, source, start, len(keys)))
    if parts:
        yield f"{number:05d}", tuple(parts)


def _run_of(selection: Selection, source: ShardSource, start: int, stop: int) -> list[Part]:
    return [_part(selection, source, start, stop)] if stop > start else []


def _part(selection: Selection, source: ShardSource, start: int, stop: int) -> Part:
    return Part(source, selection.fingerprints[source.name], start, stop)


def _check_labels(selection: Selection, sources: Sequence[ShardSource], labels: Selection) -> None:
    """Raise unless the labels speak of these shards, as they were when they were scored."""
    both = [source.name for source in sources if source.name in labels.fingerprints]
    if not both:
        raise UsageError(f"--labels {labels.path} says nothing about any of these shards")
    for name in both:
        if labels.fingerprints[name] != selection.fingerprints[name]:
            raise UsageError(
                f"--labels {labels.path} was made from another version of shard {name}"
            )
