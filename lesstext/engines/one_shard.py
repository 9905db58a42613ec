"""`annotate_shard`: one shard in, one table out. Every engine runs this and nothing else."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.annotators.base import Helped, Part, Worker, table_schema
from lesstext.engines.inputs import InputTable, describe_inputs, find_inputs
from lesstext.engines.parts import Parts
from lesstext.engines.resume import done_report
from lesstext.engines.task import InShard, OnProgress, ShardReport, Task
from lesstext.errors import ShardError, UsageError
from lesstext.shards.fingerprint import Fingerprint
from lesstext.shards.samples import Row
from lesstext.shards.sources.local import LocalShard
from lesstext.shards.specs import fetched
from lesstext.shards.tar_reading import ShardIndex
from lesstext.storage.files import write_text
from lesstext.tables.table import (
    Footer,
    TableWriter,
    stats_path,
    table_digest,
)
from lesstext.timing import StageClock

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

_REPORT_EVERY = 32
_REPORT_EVERY_S = 1.0


def annotate_shard(task: Task, worker: Worker, progress: OnProgress | None = None) -> ShardReport:
    """Annotate one shard and write its table and stats; a table that is already right is kept.

    `progress` hears how far it is: at once, and then at least every 32 samples.
    Raises ShardError when the shard cannot be read, TableError when an input table is missing or
    of another shard, OSError when the table cannot be written.
    """
    clock = StageClock()
    with fetched(task.source) as local:
        before = _fingerprint(local, task)
        done = done_report(task, before, worker.id)
        if done is not None:
            return done
        with clock.stage("index"):
            sha256 = worker.aside(local.sha256) if isinstance(worker, Helped) else local.sha256()
            shard = _Shard(local, before, sha256, local.index(task.source.name))
        inputs = find_inputs(task.inputs, task.source.name, before)
        _check_inputs(task, inputs)
        parts = _parts(task, worker, shard, inputs)
        for n_new in _annotate(task, worker, shard, inputs, parts, clock):
            if progress is not None:
                progress(InShard(n_new, parts.n_rows, len(shard.index.samples)))
        if task.beside is not None:
            second = task.beside.alone(task)
            _write_table(second, shard, task.beside.annotator_id, {}, parts.tables(), clock)
        footer = _write_table(task, shard, worker.id, inputs, parts.tables(), clock)
        parts.remove()
    return ShardReport(
        shard=footer.shard,
        counts=footer.counts,
        problems=footer.problems,
        seconds=clock.as_dict(),
        tallies=dict(clock.tallies),
    )


def _fingerprint(local: LocalShard, task: Task) -> Fingerprint:
    try:
        return local.fingerprint()
    except OSError as error:
        raise ShardError(task.source.name, f"cannot be read: {error}") from error


def _check_inputs(task: Task, inputs: Mapping[str, InputTable]) -> None:
    try:
        task.annotator.accept({name: table.footer for name, table in inputs.items()})
    except UsageError as error:
        raise ShardError(task.source.name, str(error)) from error


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard as it was found before the work began."""

    local: LocalShard
    fingerprint: Fingerprint
    sha256: str
    index: ShardIndex

    def told(self, row: Row) -> Row:
        """A row without offsets into a tar that was only made to be read."""
        if self.local.is_tar or "image_offset" not in row:
            return row
        return {**row, "image_offset": None}


def _parts(task: Task, worker: Worker, shard: _Shard, inputs: Mapping[str, InputTable]) -> Parts:
    """What is left of an earlier attempt at this shard, if it was made from the same."""
    identity = {
        "shard": task.source.name,
        "sha256": shard.sha256,
        "name": task.annotator.name,
        "annotator": worker.id,
        "settings": task.annotator.settings,
        "inputs": describe_inputs(inputs),
        "beside": None if task.beside is None else task.beside.annotator_id,
    }
    keys = [entry.key for entry in shard.index.samples]
    parts = Parts(task.table, _row_schema(task), identity, keys)
    if task.rescore and task.window is None and task.lost is None:
        parts.forget()
    return parts


def _row_schema(task: Task) -> pa.Schema:
    """The columns of all tables that the rows fill."""
    import pyarrow as pa

    schemas = [table_schema(task.annotator)]
    if task.beside is not None:
        schemas.append(table_schema(task.beside.annotator))
    return pa.unify_schemas(schemas)


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
    yield 0
    rows = {name: table.rows(entries) for name, table in inputs.items()}
    if task.lost is not None and parts.n_rows < len(entries):
        key = entries[parts.n_rows].key
        parts.add({"key": key, "uid": None, "status": "decode_error", "error": task.lost})
        parts.flush()
        yield 1
    reported, reported_at = parts.n_rows, time.monotonic()
    while parts.n_rows < len(entries):
        first, last = parts.n_rows, min(parts.n_rows + (task.window or len(entries)), len(entries))
        part = Part(
            shard=task.source.name,
            path=shard.local.path,
            entries=entries[first:last],
            inputs={name: found[first:last] for name, found in rows.items()},
            clock=clock,
        )
        for row in _checked(worker, part):
            parts.add(shard.told(row))
            is_due = time.monotonic() - reported_at > _REPORT_EVERY_S
            if is_due or parts.n_rows - reported >= _REPORT_EVERY or parts.n_rows == last:
                yield parts.n_rows - reported
                reported, reported_at = parts.n_rows, time.monotonic()
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
    tables: Iterable[pa.Table],
    clock: StageClock,
) -> Footer:
    """Write the stats, and then the table, so that there is none whose digest is not known."""
    counts: Counter[str] = Counter()

    def write_stats(table: Path) -> None:
        _write_stats(task, footer, clock, table_digest(table))

    with TableWriter(task.table, table_schema(task.annotator), before=write_stats) as table:
        for some in tables:
            _log_trouble(task.source.name, some)
            counts.update(some["status"].to_pylist())
            table.add_table(some)
        if _fingerprint(shard.local, task) != shard.fingerprint:
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


def _log_trouble(shard: str, rows: pa.Table) -> None:
    for row in rows.select(["key", "status", "error"]).filter(rows["error"].is_valid()).to_pylist():
        _log.info("shard %s, key %s: %s: %s", shard, row["key"], row["status"], row["error"])


def _write_stats(task: Task, footer: Footer, clock: StageClock, table: str) -> None:
    """What may differ between equal runs goes here, never into the table; and its digest."""
    n, seconds = footer.n_samples, clock.as_dict()
    stats: dict[str, Any] = {
        "shard": footer.shard,
        "location": task.source.place,
        "table": table,
        "samples": n,
        "counts": footer.counts,
        "problems": footer.problems,
        "seconds": seconds,
        **({"tallies": dict(clock.tallies)} if clock.tallies else {}),
        "images_per_s": round(n / seconds["total"], 3) if seconds["total"] else None,
    }
    path = stats_path(task.out, task.source.name)
    write_text(path, json.dumps(stats, indent=2) + "\n", durable=False)
