"""What is done already, found out as cheaply as the shard's place allows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lesstext.engines.inputs import describe_inputs, find_inputs, input_ids
from lesstext.engines.task import ShardReport, Task
from lesstext.errors import LesstextError, TableError, UsageError
from lesstext.shards.fingerprint import Fingerprint
from lesstext.shards.specs import local_fingerprint
from lesstext.storage.paths import Location, in_parallel
from lesstext.storage.remote.fetching import remote_stat
from lesstext.storage.validation import json_object
from lesstext.tables.table import Footer, Origin, read_footer, stats_path, table_digest


def done_before(task: Task, annotator: str) -> ShardReport | None:
    """A done shard's report, without fetching a remote shard: its size and ETag must match.

    None also where that cannot be told (no ETag, a `pipe:`, trouble with the storage): then the
    worker finds out after fetching it.
    """
    if task.rescore or not _is_beside_done(task, done_before):
        return None
    try:
        if task.source.is_local:
            if isinstance(task.table, Path) and not task.table.exists():
                return None
            return done_report(task, local_fingerprint(task.source), annotator)
        return _remotely(task, annotator) if task.source.is_url else None
    except (OSError, LesstextError):
        return None


def done_report(task: Task, shard: Fingerprint, annotator: str) -> ShardReport | None:
    """A report from the existing table if it was made from these bytes by this annotator."""
    if task.rescore or not _is_beside_done(task, lambda t, name: done_report(t, shard, name)):
        return None
    try:
        footer = read_footer(task.table)
    except TableError:
        return None
    if shard.etag is not None and footer.fingerprint.etag not in (None, shard.etag):
        return None  # the remote file was written anew since
    if footer.fingerprint != shard or not _is_as_written(task):
        return None
    return report_from_footer(task, footer, annotator)


def _is_beside_done(task: Task, done: Callable[[Task, str], ShardReport | None]) -> bool:
    """Whether the second table stands, where there shall be one."""
    beside = task.beside
    return beside is None or done(beside.alone(task), beside.annotator_id) is not None


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


def refuse_other_shards(tasks: Sequence[Task]) -> None:
    """Raise UsageError where a table would be replaced by that of another shard of its name.

    A shard that has changed in its place is annotated anew; one that lies elsewhere, while that of
    the table is still in its place, only shares its name.
    """
    for task in tasks:
        place = _place_of_table(task)
        if place is not None and place != task.source.place and os.path.exists(place):
            raise UsageError(
                f"{task.table} is the table of {place}, not of {task.source.place}, which yields "
                "the same shard name; give a folder above both, mark it as the root of each "
                "(data/./a data/./b), or use separate outputs"
            )


def refuse_other_origin(
    tasks: Sequence[Task], existing: Iterable[Location], annotator: str
) -> None:
    """Raise UsageError where tables of another annotator, settings or inputs would be replaced,
    or joined by ours in one folder: those of the tasks are looked at, and one of the `existing`.

    What cannot be read is no table, and is made anew.
    """
    if not tasks:
        return
    first = tasks[0]
    wanted = Origin(
        name=first.annotator.name,
        annotator=annotator,
        settings=first.annotator.settings,
        inputs=input_ids(first.inputs),
    )
    found = sorted(existing, key=str)
    own = {task.table for task in tasks} & set(found)
    looked_at = [*sorted(own, key=str), *found[:1]]
    for table, origin in zip(looked_at, in_parallel(_origin, looked_at), strict=True):
        differs = None if origin is None else origin.difference(wanted)
        if differs is not None:
            raise UsageError(
                f"{table} was made otherwise ({differs}): "
                "choose another --out, or --rescore to annotate anew"
            )


def _origin(table: Location) -> Origin | None:
    try:
        return Origin.of(read_footer(table))
    except (OSError, LesstextError):
        return None


def _is_as_written(task: Task) -> bool:
    """Whether a local table's size and edges are still those that its stats tell, if they do.

    Object storage holds the bytes that it was given, or none.
    """
    recorded = json_object(stats_path(task.out, task.source.name)).get("table")
    return (
        recorded is None or not isinstance(task.table, Path) or recorded == table_digest(task.table)
    )


def _place_of_table(task: Task) -> str | None:
    """Where the shard of an existing table was when it was annotated, as far as that is known."""
    try:
        if not isinstance(task.table, Path) or not task.table.exists():
            return None
        place = json_object(stats_path(task.out, task.source.name)).get("location")
    except OSError:
        return None
    return place if isinstance(place, str) else None


def _remotely(task: Task, annotator: str) -> ShardReport | None:
    footer = read_footer(task.table)
    found = remote_stat(task.source.location)
    recorded = footer.fingerprint
    if found.etag is None or (found.size_bytes, found.etag) != (recorded.size_bytes, recorded.etag):
        return None
    return report_from_footer(task, footer, annotator)
