"""`lesstext entities label`: from what was typed to labels, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lesstext.cli.terminal import print_selection
from lesstext.console import say
from lesstext.dataclass_options import Flag, build, with_options
from lesstext.entities.knowledge_base import open_kb
from lesstext.entities.labels.reading import Labels, vocabulary_path
from lesstext.entities.labels.rule import LabelRule
from lesstext.entities.labels.writing import label
from lesstext.errors import UsageError
from lesstext.report import write_report
from lesstext.shards.specs import ShardSource, expand_specs
from lesstext.storage.paths import location
from lesstext.tables.folder import parse_source


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfig:
    """What `lesstext entities label` was asked for."""

    picks: str
    out: str
    kb: Annotated[
        str | None, Flag("Knowledge base of the picks. [the one that comes with lesstext]")
    ] = None
    threshold: Annotated[float | None, Flag("Keep candidates at least so similar.")] = None
    min_precision: Annotated[
        float | None,
        Flag("Instead: the lowest threshold at which this share of the marked picks is right."),
    ] = None
    marks: Annotated[
        Path | None, Flag("csv of shard, key, entity_id and mark, as the report hands it out.")
    ] = None
    top: Annotated[int | None, Flag("Keep this many per image, the most similar. [all]")] = None
    min_images: Annotated[int, Flag("Drop entities that fewer images have.")] = 1

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.min_precision is None):
            raise UsageError("give exactly one of --threshold and --min-precision")
        if (self.marks is None) != (self.min_precision is None):
            raise UsageError("--min-precision and --marks go together: give both")

    @property
    def rule(self) -> LabelRule:
        """With marks its threshold stands in for the one that will be chosen."""
        threshold = 0.0 if self.threshold is None else self.threshold
        return LabelRule(threshold=threshold, top=self.top, min_images=self.min_images)


def label_command() -> Callable[..., None]:
    """The command with the flags of the rule."""
    return with_options(LabelConfig, leave_out=("picks", "out"))(_label)


def _label(
    picks: Annotated[str, typer.Argument(help="Folder or URL of picks.", metavar="PICKS")],
    out: Annotated[str, typer.Option(help="Labels file to write (parquet).")],
    report: Annotated[
        str | None, typer.Option(help="Also write the report, a page to look at (HTML).")
    ] = None,
    shards: Annotated[
        list[str] | None, typer.Option(help="Where the report finds the images.")
    ] = None,
    **values: Any,
) -> None:
    config = build(LabelConfig, values, picks=picks, out=out)
    if shards and report is None:
        raise UsageError("--shards are of the report: give --report too")
    sources = expand_specs(shards) if shards else None
    labels = label(
        parse_source(config.picks),
        config.out,
        config.rule,
        open_kb(None if config.kb is None else location(config.kb)),
        marks=config.marks,
        min_precision=config.min_precision,
    )
    print_labels(labels)
    if not labels.selection.counts.kept:
        say(f"lesstext: warning: nothing is kept of {labels.selection.counts.read} samples")
    if report is not None:
        _write_page(config, sources, report)


def _write_page(config: LabelConfig, sources: Sequence[ShardSource] | None, report: str) -> None:
    write_report(
        [parse_source(config.picks)],
        sources,
        location(report),
        max_text_area=1.0,  # picks have no ratio that it could cut
        title="Images to entities",
        labels=location(config.out),
    )
    print(report)


def print_labels(labels: Labels) -> None:
    """The accounting of labels."""
    selection, chosen = labels.selection, labels.chosen
    print_selection(selection)
    print(f"  dropped: {', '.join(f'{n} {reason}' for reason, n in labels.drops.items())}")
    rule = ", ".join(f"{name} {value:g}" for name, value in selection.rule.items())
    print(f"  rule: {rule.replace('_', ' ')}")
    if chosen is not None:
        print(
            f"  threshold chosen: {chosen['n_right']} of {chosen['n_marked']} marked picks there "
            f"are right, {chosen['precision']:.3f} (Clopper-Pearson 95%: {chosen['low']:.3f} to "
            f"{chosen['high']:.3f})"
        )
    print(f"{vocabulary_path(selection.path)}: {labels.n_entities} entities")
