"""`annotate_shard`: one shard in, one table out. Every engine runs this and nothing else."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesstext.annotators.base import Annotator, Part, Worker, table_schema
from lesstext.engines.inputs import InputTable, describe_inputs, find_inputs
from lesstext.engines.parts import Parts
from lesstext.errors import ShardError, TableError
from lesstext.shards.fingerprint import Fingerprint, fingerprint, sha256_of
from lesstext.shards.samples import Row
from lesstext.shards.specs import ShardSource, fetched
from lesstext.shards.tar_reading import ShardIndex, index_shard
from lesstext.storage.files import write_text
from lesstext.storage.paths import Location
from lesstext.tables.table import (
    Footer,
    TableWriter,
    read_footer,
    stats_path,
    table_path,
)
from lesstext.timing import StageClock

_log = logging.getLogger(__name__)

_REPORT_EVERY = 32

OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One shard to annotate; a pure description, so that any process or machine can take it.

    `inputs` are the table folders of other annotators, by name. `run` names the run that gives it
    out: a shard claimed by an earlier attempt of the same run is free.

    After a worker was lost at it: `window` is how many samples to do at a time, each lot brought to
    disk before the next is begun; `lost` is why the first sample that is not done yet is given up.
    """

    source: ShardSource
    out: Location
    annotator: Annotator
    inputs: Mapping[str, Location] = field(default_factory=dict)
    force: bool = False
    run: str = ""
    window: int | None = None
    lost: str | None = None

    @property
    def table(self) -> Location:
        return table_path(self.out, self.source.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """What became of one shard. `error` is set when it failed and has no table.

    `claimed_by` is set when nothing was done because another process is at work on the shard.
    `counts` are samples by status; `problems` is damage that cost no readable sample.
    """

    shard: str
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    was_done: bool = False
    error: str | None = None
    claimed_by: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        return sum(self.counts.values())


def annotate_shard(task: Task, worker: Worker, progress: OnProgress | None = None) -> ShardReport:
    """Annotate one shard and write its table and stats; a table that is already right is kept.

    `progress` is called with the number of samples finished since its last call.
    Raises ShardError when the shard cannot be read, TableError when an input table is missing or
    of another shard, OSError when the table cannot be written.
    """
    clock = StageClock()
    with fetched(task.source) as local:
        path, before = local.path, _fingerprint(local.path, task, local.etag)
        done = done_report(task, before, worker.id)
        if done is not None:
            return done
        with clock.stage("index"):
            shard = _Shard(path, before, sha256_of(path), index_shard(path, task.source.name))
        inputs = find_inputs(task.inputs, task.source.name, before)
        parts = _parts(task, worker, shard, inputs)
        for n_new in _annotate(task, worker, shard, inputs, parts, clock):
            if progress is not None:
                progress(n_new)
        footer = _write_table(task, shard, worker.id, inputs, parts.rows())
        parts.remove()
    seconds = clock.as_dict()
    _write_stats(task, footer, seconds)
    return ShardReport(
        shard=footer.shard, counts=footer.counts, problems=footer.problems, seconds=seconds
    )


def done_report(task: Task, shard: Fingerprint, annotator: str) -> ShardReport | None:
    """A report from the existing table if it was made from these bytes by this annotator."""
    if task.force:
        return None
    try:
        footer = read_footer(task.table)
    except TableError:
        return None
    if shard.etag is not None and footer.fingerprint.etag not in (None, shard.etag):
        return None  # the remote file was written anew since
    if footer.fingerprint != shard:
        return None
    return report_from_footer(task, footer, annotator)


def report_from_footer(task: Task, footer: Footer, annotator: str) -> ShardReport | None:
    """A report from a table of the same shard if annotator, settings and inputs match too.

    Raises TableError when an input table is missing or of another shard.
    """
    wanted = (task.annotator.name, annotator, task.annotator.settings)
    if (footer.name, footer.annotator, footer.settings) != wanted:
        return None
    inputs = find_inputs(task.inputs, task.source.name, footer.fingerprint)
    if footer.inputs != describe_inputs(inputs):
        return None  # made from an older table, or from others
    return ShardReport(
        shard=footer.shard, counts=footer.counts, problems=footer.problems, was_done=True
    )


def _fingerprint(path: Path, task: Task, etag: str | None = None) -> Fingerprint:
    try:
        return fingerprint(path, etag)
    except OSError as error:
        raise ShardError(task.source.name, f"cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard as it was found before the work began."""

    path: Path
    fingerprint: Fingerprint
    sha256: str
    index: ShardIndex


def _parts(task: Task, worker: Worker, shard: _Shard, inputs: Mapping[str, InputTable]) -> Parts:
    """What is left of an earlier attempt at this shard, if it was made from the same."""
    identity = {
        "shard": task.source.name,
        "sha256": shard.sha256,
        "name": task.annotator.name,
        "annotator": worker.id,
        "settings": task.annotator.settings,
        "inputs": describe_inputs(inputs),
    }
    keys = [entry.key for entry in shard.index.samples]
    parts = Parts(task.table, table_schema(task.annotator), identity, keys)
    if task.force and task.window is None and task.lost is None:
        parts.forget()
    return parts


def _annotate(
    task: Task,
    worker: Worker,
    shard: _Shard,
    inputs: Mapping[str, InputTable],
    parts: Parts,
    clock: StageClock,
) -> Iterator[int]:
    """Bring all rows that are lacking into `parts`; yields now and then how many came."""
    entries = shard.index.samples
    rows = {name: table.rows(entries) for name, table in inputs.items()}
    if task.lost is not None and parts.n_rows < len(entries):
        key = entries[parts.n_rows].key
        parts.add({"key": key, "uid": None, "status": "decode_error", "error": task.lost})
        parts.flush()
        yield 1
    reported = parts.n_rows
    while parts.n_rows < len(entries):
        first, last = parts.n_rows, min(parts.n_rows + (task.window or len(entries)), len(entries))
        part = Part(
            shard=task.source.name,
            path=shard.path,
            entries=entries[first:last],
            inputs={name: found[first:last] for name, found in rows.items()},
            clock=clock,
        )
        for row in _checked(worker, part):
            parts.add(row)
            if parts.n_rows - reported >= _REPORT_EVERY or parts.n_rows == last:
                yield parts.n_rows - reported
                reported = parts.n_rows
        if task.window is not None:
            parts.flush()


def _checked(worker: Worker, part: Part) -> Iterator[Row]:
    """The worker's rows, held against the samples: as many, in the same order, of the same keys.

    Raises ShardError for an annotator that does not keep to that.
    """
    n_rows = 0
    for row in worker.annotate(part):
        if n_rows == len(part.entries) or row["key"] != part.entries[n_rows].key:
            reason = f"row {n_rows} of {worker.id!r} is not of the sample there"
            raise ShardError(part.shard, reason)
        n_rows += 1
        yield row
    if n_rows != len(part.entries):
        raise ShardError(
            part.shard, f"{worker.id!r} gave {n_rows} rows for {len(part.entries)} samples"
        )


def _write_table(
    task: Task,
    shard: _Shard,
    annotator: str,
    inputs: Mapping[str, InputTable],
    rows: Iterable[Row],
) -> Footer:
    counts: Counter[str] = Counter()
    with TableWriter(task.table, table_schema(task.annotator)) as table:
        for row in rows:
            _log_trouble(task.source.name, row)
            counts[row["status"]] += 1
            table.add(row)
        if _fingerprint(shard.path, task) != shard.fingerprint:
            raise ShardError(task.source.name, "changed while it was being annotated")
        footer = Footer(
            shard=task.source.name,
            fingerprint=shard.fingerprint,
            sha256=shard.sha256,
            name=task.annotator.name,
            annotator=annotator,
            settings=task.annotator.settings,
            inputs=describe_inputs(inputs),
            counts=dict(sorted(counts.items())),
            problems=shard.index.problems,
        )
        table.finish(footer)
    return footer


def _log_trouble(shard: str, row: Row) -> None:
    if row["error"] is not None:
        _log.info("shard %s, key %s: %s: %s", shard, row["key"], row["status"], row["error"])


def _write_stats(task: Task, footer: Footer, seconds: dict[str, float]) -> None:
    """What may differ between equal runs goes here, never into the table."""
    n = footer.n_samples
    stats: dict[str, Any] = {
        "shard": footer.shard,
        "location": task.source.place,
        "samples": n,
        "counts": footer.counts,
        "problems": footer.problems,
        "seconds": seconds,
        "images_per_s": round(n / seconds["total"], 3) if seconds["total"] else None,
    }
    write_text(stats_path(task.out, task.source.name), json.dumps(stats, indent=2) + "\n")
