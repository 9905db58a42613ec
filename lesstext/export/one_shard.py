"""One output shard: every member of every kept sample, byte for byte, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lesstext.errors import ShardError
from lesstext.export.plan import ExportTask, Part
from lesstext.shards.copying import copy_samples
from lesstext.shards.specs import fetched
from lesstext.shards.tar_writing import ByteSink, HashingWriter, end_archive
from lesstext.storage.files import atomic_path, write_text
from lesstext.storage.validation import json_object
from lesstext.tables.selection import read_keys
from lesstext.tables.table import table_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What became of one output shard."""

    name: str
    n_samples: int = 0
    was_done: bool = False
    error: str | None = None


def export_shard(task: ExportTask) -> ExportReport:
    """Write one output shard and its stats, or find that both are there already.

    Raises ShardError when an input is not the shard that was scored or cannot be read.
    """
    identity = _identity(task)
    if _is_done(task, identity):
        return ExportReport(name=task.name, n_samples=task.n_samples, was_done=True)
    if task.n_samples:
        with atomic_path(task.tar) as partial:
            with partial.open("wb") as file:
                tar = HashingWriter(file)
                for part in task.parts:
                    _copy_part(task, part, tar)
                end_archive(tar)
            written = {"digest": table_digest(partial), "blake2b": tar.hexdigest()}
    else:
        written = None
        task.tar.unlink(missing_ok=True)  # an empty tar stops some loaders for ever
    ours = {**identity, "tar": written}
    stats = {"successes": task.n_samples, "count": task.n_samples, "lesstext": ours}
    write_text(task.stats, json.dumps(stats, indent=2) + "\n")
    return ExportReport(name=task.name, n_samples=task.n_samples)


def _identity(task: ExportTask) -> dict[str, Any]:
    """What an output shard was made from; a done shard has the same."""
    return {
        "selection": task.selection_id,
        "parts": [[part.source.name, part.start, part.stop] for part in task.parts],
        "fingerprints": [part.fingerprint.as_json() for part in task.parts],
    }


def _is_done(task: ExportTask, identity: dict[str, Any]) -> bool:
    """Whether the shard is there as it was written, told by its size and its edges."""
    try:
        ours = json_object(task.stats)["lesstext"]
        written = ours.pop("tar")
        if ours != identity:
            return False
        if not task.n_samples:
            return not task.tar.exists()
        return bool(written["digest"] == table_digest(task.tar))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _copy_part(task: ExportTask, part: Part, tar: ByteSink) -> None:
    name = part.source.name
    keys = read_keys(task.selection, task.selection_id, name)[part.start : part.stop]
    if len(keys) != part.stop - part.start:
        raise ShardError(name, f"{task.selection} changed while it was exported; export again")
    with fetched(part.source) as local:
        if local.fingerprint() != part.fingerprint:
            raise ShardError(name, "is not the file that was scored; score it and select again")
        copy_samples(local.path, name, keys, tar)
