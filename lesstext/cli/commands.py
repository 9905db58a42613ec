"""What the commands do, step by step; each returns its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from lesstext.cli.estimate import measure
from lesstext.cli.terminal import print_plan, print_summary, watching
from lesstext.console import Progress, progress, say
from lesstext.engines import engine_for
from lesstext.engines.whole_run import Plan, RunConfig, RunSummary, execute, plan
from lesstext.export.one_shard import ExportReport
from lesstext.export.plan import ExportConfig
from lesstext.export.sidecar import as_words
from lesstext.export.whole_run import ExportSummary
from lesstext.export.whole_run import export as run_export
from lesstext.shards.specs import ShardSource
from lesstext.storage.paths import Location


def annotate(config: RunConfig) -> int:
    """Write the missing tables."""
    return annotate_plan(config, plan(config)).exit_code


def estimate(config: RunConfig) -> int:
    """Say what is left and how long it would take; writes nothing."""
    todo = plan(config)
    print_plan(todo)
    print(measure(todo).as_text())
    return 0


def export(
    config: ExportConfig,
    sources: Sequence[ShardSource] | None = None,
    shown_as: Location | None = None,
) -> int:
    """Write the filtered shards of a selection; `shown_as` is where they are about to be moved."""
    summary = _show_export(config, sources)
    done = f" ({summary.n_done_before} of them before)" if summary.n_done_before else ""
    place, n_shards = shown_as or config.out, len(summary.reports)
    print(f"{place}: {summary.n_samples} samples in {n_shards} shards{done}")
    for line in as_words(summary.joined):
        print(f"  {line}")
    for note in summary.notes:
        say(f"lesstext: warning: {note}")
    for name, (n_found, _) in summary.joined.items():
        if not n_found:
            say(f"lesstext: warning: no kept sample has a row in {name}")
    for failed in summary.failed:
        print(f"  FAILED {failed.error}")
    return 1 if summary.failed else 0


def _show_export(config: ExportConfig, sources: Sequence[ShardSource] | None) -> ExportSummary:
    """Export, and show how it goes on as soon as it is known how many shards there are."""
    with ExitStack() as stack:
        shown = list[Progress]()

        def hear(report: ExportReport, n_shards: int) -> None:
            if not shown:
                shown.append(
                    stack.enter_context(progress("export", n_shards, "shards", rated="samples"))
                )
            shown[0].work(0 if report.was_done else report.n_samples)
            shown[0].advance(bad=report.error is not None)

        return run_export(config, sources, hear)


def annotate_plan(config: RunConfig, todo: Plan) -> RunSummary:
    """Do what is left, and say how it goes and what came of it."""
    print_plan(todo)
    with watching(todo.annotator.name, len(todo.tasks)) as watcher:
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
