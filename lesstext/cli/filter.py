"""`filter`: score, select, export and report in one go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from lesstext.annotators.text_area import TextArea
from lesstext.cli import commands
from lesstext.cli.flags import annotator_parameters, run_config, run_parameters
from lesstext.cli.options import DryRun, Shards, Verbose
from lesstext.console import set_up_logging
from lesstext.dataclass_options import with_parameters
from lesstext.storage.paths import location


def filter_command() -> Callable[..., None]:
    """The command with the flags of the text-area annotator, of the run, and of the rule."""
    flags = [*annotator_parameters(TextArea, leave_out=("regions",)), *run_parameters()]
    return with_parameters(flags)(_filter)


def _filter(
    shards: Shards,
    out: Annotated[
        str, typer.Option(help="Folder or URL for shards, scores, selection and report.")
    ],
    max_text_area: Annotated[
        float, typer.Option(help="Keep images whose text-area ratio is at most this.")
    ] = 0.005,
    samples_per_shard: Annotated[
        int | None, typer.Option(help="Repack into shards of this many samples.")
    ] = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    **values: Any,
) -> None:
    """Score, select, export and report in one go.

    Writes OUT/shards/, OUT/scores/, OUT/selection.parquet and OUT/report.html.
    """
    set_up_logging(verbose)
    config = run_config(TextArea, shards, location(out) / "scores", values)
    if dry_run:
        raise typer.Exit(commands.estimate(config))
    raise typer.Exit(
        commands.filter_shards(config, max_text_area, location(out), samples_per_shard)
    )
