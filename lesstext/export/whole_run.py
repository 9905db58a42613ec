"""A whole export: which shards are to be written, who writes them, and what came of it.

An output shard is one task that depends on its own inputs alone, so that outputs can be written
in any order, by any number of processes, and a rerun writes only what is missing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from lesstext.engines.devices import n_cores
from lesstext.errors import LesstextError, TableError, UsageError
from lesstext.export.one_shard import ExportReport, export_shard
from lesstext.export.plan import ExportConfig, ExportTask, plan_tasks
from lesstext.export.sidecar import SIDECAR_SUFFIX
from lesstext.processes import worker_pool
from lesstext.shards.names import known_as
from lesstext.shards.specs import SHARD_SUFFIX, ShardSource, expand_specs, input_places
from lesstext.storage.claims import claim_when_free, clean_up
from lesstext.storage.files import ensure_writable, write_text
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.storage.paths import Location
from lesstext.storage.validation import json_object
from lesstext.tables.selection import Selection, read_selection

_SIZES_FILE = "sizes.json"
SETTINGS_FILE = "export_settings.json"


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
    def joined(self) -> dict[str, list[int]]:
        """For each thing that sidecars join: kept samples that found a row, and that did not."""
        total: dict[str, list[int]] = {}
        for report in self.reports:
            for name, counts in report.joined.items():
                so_far = total.setdefault(name, [0, 0])
                so_far[0], so_far[1] = so_far[0] + counts[0], so_far[1] + counts[1]
        return total

    @property
    def notes(self) -> list[str]:
        """What of the inputs the sidecars could not use."""
        return [note for report in self.reports for note in report.notes]

    @property
    def n_done_before(self) -> int:
        return sum(report.was_done for report in self.reports)


def export(
    config: ExportConfig,
    sources: Sequence[ShardSource] | None = None,
    on_report: Callable[[ExportReport, int], None] | None = None,
) -> ExportSummary:
    """Write the filtered shards, their sidecars and `_stats.json` files, and `sizes.json`.

    `sources` are the input shards if they are expanded already. `on_report` hears of each output
    shard as it is finished, and of how many there are.
    Raises UsageError and TableError before anything is written; a shard that fails later
    is a report with an error.
    """
    selection = read_selection(config.selection)
    if sources is None:
        sources = expand_specs(config.shards, allow_pipe=config.allow_pipe)
    labels = None if config.labels is None else read_selection(config.labels)
    read = [config.selection, *([] if config.labels is None else [config.labels])]
    read += [carry.folder for carry in config.carry]
    refuse_overlap(config.out, [*input_places(config.shards, sources), *read])
    tasks = list(plan_tasks(config, selection, sources, labels))
    ensure_writable(config.out)
    claim_folder(config.out, "shards")
    clean_up(config.out)
    _claim_output(config, selection)
    reports = list[ExportReport]()
    try:
        for report in _run(tasks, config):
            reports.append(report)
            if on_report is not None:
                on_report(report, len(tasks))
    finally:
        clean_up(config.out)
    reports.sort(key=lambda report: report.name)
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
            stem = stats.name.removesuffix("_stats.json")
            for suffix in (SHARD_SUFFIX, SIDECAR_SUFFIX):
                stats.with_name(stem + suffix).unlink(missing_ok=True)
            stats.unlink()
        for sizes in config.out.rglob(_SIZES_FILE):
            sizes.unlink()
    write_text(path, json.dumps(settings, indent=2) + "\n")


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
