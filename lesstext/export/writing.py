"""Filtered shards: every member of every kept sample, byte for byte, in order.

An output shard is one task that depends on its own inputs alone, so that outputs can be written
in any order, by any number of processes, and a rerun writes only what is missing.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from lesstext.engines import ENGINES
from lesstext.engines.devices import n_cores
from lesstext.errors import LesstextError, ShardError, TableError, UsageError
from lesstext.processes import worker_pool
from lesstext.shards.copying import copy_samples
from lesstext.shards.fingerprint import Fingerprint, fingerprint
from lesstext.shards.names import known_as
from lesstext.shards.specs import (
    SHARD_SUFFIX,
    ShardSource,
    expand_specs,
    input_places,
    local_copy,
)
from lesstext.shards.tar_writing import ByteSink, HashingWriter, end_archive
from lesstext.storage.claims import claim_when_free, clean_up
from lesstext.storage.files import atomic_path, ensure_writable, write_text
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.storage.paths import Location
from lesstext.storage.validation import json_object
from lesstext.tables.selection import Selection, read_keys, read_selection
from lesstext.tables.table import table_digest

_SIZES_FILE = "sizes.json"
SETTINGS_FILE = "export_settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """What `lesstext export` was asked for; written beside the shards."""

    shards: tuple[str, ...]
    selection: Location
    out: Location
    samples_per_shard: int | None = None
    engine: str = "local"
    workers: int | None = None
    replace: bool = False
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
    run: str = ""

    @property
    def n_samples(self) -> int:
        return sum(part.stop - part.start for part in self.parts)

    @property
    def tar(self) -> Location:
        return self.out / f"{self.name}{SHARD_SUFFIX}"

    @property
    def stats(self) -> Location:
        return self.out / f"{self.name}_stats.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What became of one output shard."""

    name: str
    n_samples: int = 0
    was_done: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What an export came to: reports of all shards that it was to write."""

    reports: list[ExportReport]

    @property
    def n_samples(self) -> int:
        return sum(report.n_samples for report in self.reports)

    @property
    def failed(self) -> list[ExportReport]:
        return [report for report in self.reports if report.error is not None]

    @property
    def n_done_before(self) -> int:
        return sum(report.was_done for report in self.reports)


def export(config: ExportConfig, sources: Sequence[ShardSource] | None = None) -> ExportSummary:
    """Write the filtered shards, their `_stats.json` files and `sizes.json`.

    `sources` are the input shards if they are expanded already.
    Raises UsageError and TableError before anything is written; a shard that fails later
    is a report with an error.
    """
    selection = read_selection(config.selection)
    if sources is None:
        sources = expand_specs(config.shards, allow_pipe=config.allow_pipe)
    refuse_overlap(config.out, [*input_places(config.shards, sources), config.selection])
    tasks = list(plan_tasks(config, selection, sources))
    ensure_writable(config.out)
    claim_folder(config.out, "shards")
    clean_up(config.out)
    _claim_output(config, selection)
    try:
        reports = sorted(_run(tasks, config), key=lambda report: report.name)
    finally:
        clean_up(config.out)
    _write_sizes(config.out, reports)
    summary = ExportSummary(reports)
    _check_total(summary, selection, sources)
    return summary


def _check_total(
    summary: ExportSummary, selection: Selection, sources: Sequence[ShardSource]
) -> None:
    """Raise TableError unless all that the selection keeps in these shards was written."""
    n_kept = selection.n_kept_by_shard()
    wanted = sum(n_kept[source.name] for source in known_as(sources, selection.fingerprints))
    if not summary.failed and summary.n_samples != wanted:
        raise TableError(f"{summary.n_samples} samples were written, but {wanted} are kept")


def plan_tasks(
    config: ExportConfig, selection: Selection, sources: Sequence[ShardSource]
) -> Iterator[ExportTask]:
    """One task per input shard or, with `samples_per_shard`, per full output shard."""
    sources = known_as(sources, selection.fingerprints)
    unknown = [source.name for source in sources if source.name not in selection.fingerprints]
    if unknown:
        raise UsageError(
            f"{config.selection} says nothing about {len(unknown)} of the shards, "
            f"the first: {unknown[0]}; score them and select again"
        )
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
            run=run,
        )


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


def _claim_output(config: ExportConfig, selection: Selection) -> None:
    """Refuse a folder that holds shards of another selection; with `replace`, clear them away."""
    settings = {"selection": selection.id, "samples_per_shard": config.samples_per_shard}
    path = config.out / SETTINGS_FILE
    if path.exists() and json_object(path) != settings:
        if not config.replace:
            raise UsageError(
                f"{config.out} holds shards of another selection or packing; "
                "choose another --out, or --replace to replace them"
            )
        for stats in [s for s in config.out.rglob("*_stats.json") if "lesstext" in json_object(s)]:
            stats.with_name(stats.name.replace("_stats.json", SHARD_SUFFIX)).unlink(missing_ok=True)
            stats.unlink()
        for sizes in config.out.rglob(_SIZES_FILE):
            sizes.unlink()
    write_text(path, json.dumps(settings, indent=2) + "\n")


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
    with local_copy(part.source) as path:
        if fingerprint(path) != part.fingerprint:
            raise ShardError(name, "is not the file that was scored; score it and select again")
        copy_samples(path, name, keys, tar)


def _run(tasks: Sequence[ExportTask], config: ExportConfig) -> Iterator[ExportReport]:
    if config.engine == "ray":
        from lesstext.engines.ray_cluster import run_each

        yield from run_each(_run_task, tasks, _died, config.workers)
        return
    workers = config.workers or n_cores()
    if workers == 1 or len(tasks) <= 1:
        yield from map(_run_task, tasks)
        return
    with worker_pool(min(workers, len(tasks))) as pool:
        futures = {pool.submit(_run_task, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool as error:
                yield _died(futures[future], error)


def _run_task(task: ExportTask) -> ExportReport:
    try:
        with claim_when_free(task.tar, task.run):
            return export_shard(task)
    except LesstextError as error:
        return ExportReport(name=task.name, error=str(error))
    except Exception as error:  # the one-shard boundary: recorded in the report
        return ExportReport(name=task.name, error=f"shard {task.name}: {error!r}")


def _died(task: ExportTask, error: Exception) -> ExportReport:
    return ExportReport(name=task.name, error=f"shard {task.name}: a worker died: {error}")


def _write_sizes(out: Location, reports: Sequence[ExportReport]) -> None:
    """`sizes.json` in each folder, samples by tar name, as open_clip and DataComp read it."""
    by_folder: dict[Location, dict[str, int]] = defaultdict(dict)
    for report in reports:
        if report.error is None and report.n_samples:
            tar = out / f"{report.name}{SHARD_SUFFIX}"
            by_folder[tar.parent][tar.name] = report.n_samples
    for folder, sizes in by_folder.items():
        write_text(folder / _SIZES_FILE, json.dumps(sizes, indent=2) + "\n")
