"""`filter`: score, select, export and report in one go, as one transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from lesstext.annotators.text_area import TextArea
from lesstext.cli import commands
from lesstext.cli.flags import annotator_parameters, parse_slice, run_config, run_parameters
from lesstext.cli.options import DryRun, Shards, Slice, Verbose
from lesstext.cli.select import SelectConfig, run_select
from lesstext.console import set_up_logging
from lesstext.dataclass_options import build, parameters, with_parameters
from lesstext.engines.whole_run import RunConfig, plan
from lesstext.errors import LesstextError, UsageError
from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import SETTINGS_FILE
from lesstext.policies.named import LESS_IS_MORE_RATIO
from lesstext.report import write_report
from lesstext.shards.names import known_as
from lesstext.shards.specs import ShardSource, expand_specs, input_places
from lesstext.storage.claims import claim_when_free, clean_up
from lesstext.storage.files import ensure_writable
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.storage.paths import Location, location
from lesstext.storage.swap import NEW, finish_swap, swap
from lesstext.tables.selection import read_selection
from lesstext.tables.table import table_names

_SELECTION, _CONTROL = "selection.parquet", "selection.control.parquet"
_SHARDS, _REPORT, _REPORT_FILES = "shards", "report.html", "report_files"
_NO_RULE = ("tables", "out", "require", "also")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """What `lesstext filter` was asked for."""

    run: RunConfig
    rule: SelectConfig
    out: Location
    samples_per_shard: int | None = None

    def exporting(self, selection: Location, out: Location, *, replace: bool) -> ExportConfig:
        return ExportConfig(
            shards=self.run.shards,
            selection=selection,
            out=out,
            samples_per_shard=self.samples_per_shard,
            engine=self.run.engine,
            allow_pipe=self.run.allow_pipe,
            replace=replace,
        )


def filter_command() -> Callable[..., None]:
    """The command with the flags of the text-area annotator, of the run, and of the rule."""
    flags = [
        *annotator_parameters(TextArea, leave_out=("regions",)),
        *run_parameters(),
        *parameters(SelectConfig, leave_out=_NO_RULE),
    ]
    return with_parameters(flags)(_filter)


def _filter(
    shards: Shards,
    out: Annotated[
        str, typer.Option(help="Folder or URL for shards, scores, selection and report.")
    ],
    samples_per_shard: Annotated[
        int | None, typer.Option(help="Repack into shards of this many samples.")
    ] = None,
    slice_: Slice = "0/1",
    dry_run: DryRun = False,
    verbose: Verbose = False,
    **values: Any,
) -> None:
    """Score, select, export and report in one go.

    Writes OUT/shards/, OUT/scores/, OUT/selection.parquet and OUT/report.html. Without a rule it
    is `--max-text-area 0.005`; with another one on the same folder the scores are used again, and
    all else is replaced together.
    """
    set_up_logging(verbose)
    scores = location(out) / "scores"
    run = run_config(TextArea, shards, scores, values, slice=parse_slice(slice_))
    if all(values[name] is None for name in ("max_text_area", "keep_fraction", "where", "policy")):
        values["max_text_area"] = LESS_IS_MORE_RATIO
    config = FilterConfig(
        run=run,
        rule=build(SelectConfig, values, tables=[str(scores)], out=str(location(out) / _SELECTION)),
        out=location(out),
        samples_per_shard=samples_per_shard,
    )
    raise typer.Exit(commands.estimate(run) if dry_run else filter_shards(config))


def filter_shards(config: FilterConfig) -> int:
    """Score, select, export and report; shards that failed to be scored are left out and named.

    Selection, shards and report are replaced together once all of them are complete. On object
    storage, which has no renames, the old selection goes first and the new one comes last.
    """
    out, run = config.out, config.run
    todo = plan(run)
    config.rule.rule  # noqa: B018 (an impossible rule is said before hours are spent)
    refuse_overlap(out, input_places(run.shards, todo.sources))
    ensure_writable(out)
    claim_folder(out, "filter")
    scored = commands.annotate_plan(run, todo)
    with claim_when_free(out / _SELECTION, uuid.uuid4().hex):
        clean_up(out)
        sources = _scored_sources(run, {report.shard for report in scored.failed})
        if sources is None:
            return scored.exit_code
        write = _replace_local if isinstance(out, Path) else _replace_remote
        return max(scored.exit_code, write(config, sources))


def _scored_sources(run: RunConfig, failed: set[str]) -> list[ShardSource] | None:
    """All shards that have a table; None, and a line, while other slices are not scored yet."""
    names = table_names(run.out)
    everything = known_as(expand_specs(run.shards, allow_pipe=run.allow_pipe), names)
    unknown = names - {source.name for source in everything}
    if unknown:
        raise UsageError(
            f"{run.out} holds tables of other shards, such as {min(unknown)}: choose another --out"
        )
    lacking = [s for s in everything[: run.limit] if s.name not in names | failed]
    if lacking and run.slice[1] > 1:
        print(f"{len(lacking)} shards of other slices have no table yet, such as {lacking[0].name}")
        print("what is kept is written by the slice that ends last, or without --slice")
        return None
    return [source for source in everything if source.name in names]


def _replace_local(config: FilterConfig, sources: Sequence[ShardSource]) -> int:
    out = config.out
    assert isinstance(out, Path)
    finish_swap(out)
    new = out / NEW
    run_select(replace(config.rule, out=str(new / _SELECTION)), shown_in=out)
    if config.rule.control is None:
        (new / _CONTROL).unlink(missing_ok=True)
    is_same = _is_same(config, new / _SELECTION)
    folder = out / _SHARDS if is_same else new / _SHARDS
    exporting = config.exporting(new / _SELECTION, folder, replace=not is_same)
    if commands.export(exporting, sources, shown_as=out / _SHARDS):
        print(f"{out}: nothing was replaced, because not all shards could be written")
        return 1
    _report(config, read_selection(new / _SELECTION).threshold, new / _REPORT)
    names = [_CONTROL, _REPORT_FILES, _REPORT, _SELECTION]
    swap(out, names if is_same else [_SHARDS, *names])
    print(f"report: {out / _REPORT}")
    return 0


def _replace_remote(config: FilterConfig, sources: Sequence[ShardSource]) -> int:
    out = config.out
    prepared = out / NEW / _SELECTION
    run_select(replace(config.rule, out=str(prepared)), shown_in=out)
    if not _is_same(config, prepared):
        (out / _SELECTION).unlink(missing_ok=True)
    if commands.export(config.exporting(prepared, out / _SHARDS, replace=True), sources):
        return 1
    _report(config, read_selection(prepared).threshold, out / _REPORT)
    if config.rule.control is None:
        (out / _CONTROL).unlink(missing_ok=True)
    run_select(config.rule)
    for name in (_SELECTION, _CONTROL):
        (out / NEW / name).unlink(missing_ok=True)
    print(f"report: {out / _REPORT}")
    return 0


def _is_same(config: FilterConfig, selection: Location) -> bool:
    """Whether the shards that stand there are of this selection and packing."""
    try:
        text = (config.out / _SHARDS / SETTINGS_FILE).read_text(encoding="utf-8")
        wanted = read_selection(selection).id
        stands = read_selection(config.out / _SELECTION).id
        packing = {"selection": wanted, "samples_per_shard": config.samples_per_shard}
        return bool(json.loads(text) == packing) and stands == wanted
    except (OSError, ValueError, LesstextError):
        return False


def _report(config: FilterConfig, threshold: float | None, page: Location) -> None:
    rule = config.rule
    start = rule.max_text_area
    if start is None and rule.by is None and threshold is not None:
        start = min(max(threshold, 0.0), 1.0)
    sources = expand_specs(config.run.shards, allow_pipe=config.run.allow_pipe)
    write_report(
        config.run.out, sources, page, max_text_area=LESS_IS_MORE_RATIO if start is None else start
    )
