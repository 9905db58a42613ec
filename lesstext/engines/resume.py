"""What is done already, found out as cheaply as the shard's place allows."""

from __future__ import annotations

from pathlib import Path

from lesstext.engines.one_shard import ShardReport, Task, done_report, report_from_footer
from lesstext.errors import LesstextError
from lesstext.shards.fingerprint import fingerprint
from lesstext.storage.fetching import remote_stat
from lesstext.tables.table import read_footer


def done_before(task: Task, annotator: str) -> ShardReport | None:
    """A done shard's report, without fetching a remote shard: its size and ETag must match.

    None also where that cannot be told (no ETag, a `pipe:`, trouble with the storage): then the
    worker finds out after fetching it.
    """
    if task.force:
        return None
    try:
        if task.source.is_local:
            if isinstance(task.table, Path) and not task.table.exists():
                return None
            return done_report(task, fingerprint(Path(task.source.location)), annotator)
        return _remotely(task, annotator) if task.source.is_url else None
    except (OSError, LesstextError):
        return None


def _remotely(task: Task, annotator: str) -> ShardReport | None:
    footer = read_footer(task.table)
    found = remote_stat(task.source.location)
    recorded = footer.fingerprint
    if found.etag is None or (found.size_bytes, found.etag) != (recorded.size_bytes, recorded.etag):
        return None
    return report_from_footer(task, footer, annotator)
