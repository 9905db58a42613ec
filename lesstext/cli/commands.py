"""What the commands do, step by step; each returns its exit code."""

from __future__ import annotations

from collections.abc import Sequence

from lesstext.cli.estimate import measure
from lesstext.cli.terminal import print_plan, print_selection, print_summary, watching
from lesstext.engines import engine_for
from lesstext.engines.whole_run import Plan, RunConfig, RunSummary, execute, plan
from lesstext.export import ExportConfig
from lesstext.export import export as run_export
from lesstext.policies import text_area
from lesstext.report import write_report
from lesstext.shards.specs import ShardSource, input_places
from lesstext.storage.files import ensure_writable
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.storage.paths import Location
from lesstext.tables.selecting import select


def annotate(config: RunConfig) -> int:
    """Write the missing tables."""
    return _annotate(config, plan(config)).exit_code


def estimate(config: RunConfig) -> int:
    """Say what is left and how long it would take; writes nothing."""
    todo = plan(config)
    print_plan(todo)
    print(measure(todo).as_text())
    return 0


def export(config: ExportConfig, sources: Sequence[ShardSource] | None = None) -> int:
    """Write the filtered shards of a selection."""
    summary = run_export(config, sources)
    done = f" ({summary.n_done_before} of them before)" if summary.n_done_before else ""
    print(f"{config.out}: {summary.n_samples} samples in {len(summary.reports)} shards{done}")
    for failed in summary.failed:
        print(f"  FAILED {failed.error}")
    return 1 if summary.failed else 0


def filter_shards(
    config: RunConfig, max_text_area: float, out: Location, samples_per_shard: int | None
) -> int:
    """Score, select, export and report; shards that failed to be scored are left out and named."""
    todo = plan(config)
    refuse_overlap(out, input_places(config.shards, todo.sources))
    ensure_writable(out)
    claim_folder(out, "filter")
    summary = _annotate(config, todo)
    failed = {report.shard for report in summary.failed}
    sources = [source for source in todo.sources if source.name not in failed]
    selection = out / "selection.parquet"
    rule = text_area.at_most(max_text_area)
    print_selection(select([config.out], selection, rule))
    exporting = ExportConfig(
        shards=config.shards,
        selection=selection,
        out=out / "shards",
        samples_per_shard=samples_per_shard,
        engine=config.engine,
    )
    exit_code = export(exporting, sources)
    page = out / "report.html"
    write_report(config.out, todo.sources, page, max_text_area=max_text_area)
    print(f"report: {page}")
    return max(summary.exit_code, exit_code)


def _annotate(config: RunConfig, todo: Plan) -> RunSummary:
    print_plan(todo)
    with watching(len(todo.tasks)) as watcher:
        engine = engine_for(
            config.engine,
            todo.annotator,
            todo.placements,
            todo.annotator_id,
            config.stall_timeout,
        )
        summary = execute(config, todo, engine, watcher.report, watcher.samples)
    print_summary(summary)
    return summary
