"""One output shard: every member of every kept sample, byte for byte, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lesstext.errors import ShardError, UsageError
from lesstext.export.plan import ExportTask, Part
from lesstext.export.sidecar import SIDECAR_SUFFIX, Sidecar, write_sidecar
from lesstext.shards.copying import copy_samples
from lesstext.shards.fingerprint import blake2b_of
from lesstext.shards.names import ShardSource
from lesstext.shards.sources.kinds import is_tar_name, stem_of
from lesstext.shards.specs import fetched
from lesstext.shards.tar_writing import ByteSink, HashingWriter, end_archive
from lesstext.storage.files import atomic_path, write_text
from lesstext.storage.paths import Location, location
from lesstext.storage.validation import json_object
from lesstext.tables.selection import read_keys, read_rows
from lesstext.tables.table import table_digest, table_path

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What became of one output shard.

    `joined` counts, for each thing that its sidecar joins, the samples that found a row and those
    that did not; `notes` tell what of the input the sidecar could not use.
    """

    name: str
    n_samples: int = 0
    was_done: bool = False
    error: str | None = None
    joined: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export_shard(task: ExportTask) -> ExportReport:
    """Write one output shard, its sidecar and its stats, or those that are not there already.

    Raises ShardError when an input is not the shard that was scored or cannot be read.
    """
    identity, made_from, known = _identity(task), _made_from(task), _stats(task)
    sidecar = known.pop("sidecar", None)
    tar = known.pop("tar", None)
    tar_is_done = known == identity and _is_as_written(task, task.tar, tar)
    sidecar_is_done = _is_as_written(task, task.sidecar, sidecar) and (
        sidecar is None or sidecar.get("made_from") == made_from
    )
    if not tar_is_done:
        tar = _write_tar(task)
    if not (tar_is_done and sidecar_is_done):
        sidecar = _write_sidecar(task, made_from)
        ours = {**identity, "tar": tar, "sidecar": sidecar}
        stats = {"successes": task.n_samples, "count": task.n_samples, "lesstext": ours}
        write_text(task.stats, json.dumps(stats, indent=2) + "\n")
    joined, notes = (sidecar or {}).get("joined", {}), (sidecar or {}).get("notes", [])
    was_done = tar_is_done and sidecar_is_done
    return ExportReport(
        name=task.name, n_samples=task.n_samples, was_done=was_done, joined=joined, notes=notes
    )


def _write_tar(task: ExportTask) -> dict[str, str] | None:
    if not task.n_samples:
        task.tar.unlink(missing_ok=True)  # an empty tar stops some loaders for ever
        return None
    with atomic_path(task.tar) as partial:
        with partial.open("wb") as file:
            tar = HashingWriter(file)
            for part in task.parts:
                _copy_part(task, part, tar)
            end_archive(tar)
        return {"digest": table_digest(partial), "blake2b": tar.hexdigest()}


def _write_sidecar(task: ExportTask, made_from: dict[str, Any]) -> dict[str, Any] | None:
    if not task.n_samples:
        task.sidecar.unlink(missing_ok=True)
        return None
    sidecar = Sidecar()
    for part in task.parts:
        selected = read_rows(task.selection, task.selection_id, part.source.name)
        selected = selected.slice(part.start, part.stop - part.start)
        sidecar.add(selected, _beside(part.source), _joins(task, part, selected))
    rows = sidecar.table()
    with atomic_path(task.sidecar) as partial:
        write_sidecar(rows, partial)
        return {
            "made_from": made_from,
            "joined": sidecar.joined,
            "notes": sidecar.notes,
            "digest": table_digest(partial),
            "blake2b": blake2b_of(partial),
        }


def _joins(task: ExportTask, part: Part, selected: pa.Table) -> dict[str, pa.Table]:
    """What is joined to a part's samples, by what it is called."""
    name = part.source.name
    found = {}
    if task.labels is not None:
        rows = read_rows(task.labels, task.labels_id, name)
        known = [column for column in selected.column_names if column != "key"]
        found["labels"] = rows.drop_columns([c for c in known if c in rows.column_names])
    for carry in task.carry:
        found[str(carry.folder)] = carry.rows(name, part.fingerprint)
    return found


def _beside(source: ShardSource) -> Location | None:
    """Where metadata of a tar lies if there is any: the parquet of its name."""
    if source.files or not is_tar_name(source.location.partition("?")[0]):
        return None
    try:
        return location(stem_of(source.location) + SIDECAR_SUFFIX)
    except UsageError:
        return None  # a server that files are only read from


def _identity(task: ExportTask) -> dict[str, Any]:
    """What an output shard was made from; a done shard has the same."""
    return {
        "selection": task.selection_id,
        "parts": [[part.source.name, part.start, part.stop] for part in task.parts],
        "fingerprints": [part.fingerprint.as_json() for part in task.parts],
    }


def _made_from(task: ExportTask) -> dict[str, Any]:
    """What besides the selection a sidecar was made from."""
    carried = [
        [
            list(carry.columns),
            [_digest_of(table_path(carry.folder, part.source.name)) for part in task.parts],
        ]
        for carry in task.carry
    ]
    inputs = [_digest_of(_beside(part.source)) for part in task.parts]
    return {"inputs": inputs, "labels": _digest_of(task.labels), "carry": carried}


def _digest_of(path: Location | None) -> str | None:
    try:
        return None if path is None else table_digest(path)
    except OSError:
        return None


def _stats(task: ExportTask) -> dict[str, Any]:
    ours = json_object(task.stats).get("lesstext")
    return dict(ours) if isinstance(ours, dict) else {}


def _is_as_written(task: ExportTask, path: Location, written: Any) -> bool:
    """Whether a file is there as it was written, told by its size and its edges."""
    try:
        if not task.n_samples:
            return not path.exists()
        return bool(written["digest"] == table_digest(path))
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
