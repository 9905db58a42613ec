"""`annotate NAME` for every installed annotator, and the verbs that are friendlier names for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer

from lesstext.annotators.base import Annotator
from lesstext.annotators.mentions import Mentions
from lesstext.annotators.picks import Picks
from lesstext.annotators.text_area import TextArea
from lesstext.annotators.words import Words
from lesstext.cli import commands
from lesstext.cli.flags import annotator_parameters, parse_slice, run_config, run_parameters
from lesstext.cli.options import DryRun, Shards, Slice, Verbose
from lesstext.console import set_up_logging
from lesstext.dataclass_options import with_parameters
from lesstext.storage.paths import location


def annotate_command(kind: type[Annotator]) -> Callable[..., None]:
    """The command that runs one annotator; its flags are the annotator's and the run's."""

    def command(
        shards: Shards,
        out: Annotated[str, typer.Option(help="Folder or URL for the tables.")],
        slice_: Slice = "0/1",
        dry_run: DryRun = False,
        verbose: Verbose = False,
        **values: Any,
    ) -> None:
        set_up_logging(verbose)
        config = run_config(kind, shards, location(out), values, slice=parse_slice(slice_))
        raise typer.Exit(commands.estimate(config) if dry_run else commands.annotate(config))

    command.__doc__ = (kind.__doc__ or "").partition("\n\n")[0]
    return with_parameters([*annotator_parameters(kind), *run_parameters()])(command)


def score() -> Callable[..., None]:
    """`score`: the annotator of text area under the name that most users look for."""

    def command(
        shards: Shards,
        out: Annotated[str, typer.Option(help="Folder or URL for the tables.")],
        words: Annotated[
            str | None,
            typer.Option(help="Folder or URL for tables of what the detector read, too."),
        ] = None,
        slice_: Slice = "0/1",
        dry_run: DryRun = False,
        verbose: Verbose = False,
        **values: Any,
    ) -> None:
        """Find the text in each image: its share of the image's area, and its regions."""
        set_up_logging(verbose)
        config = run_config(TextArea, shards, location(out), values, slice=parse_slice(slice_))
        if words is not None:
            assert isinstance(config.annotator, TextArea)
            beside = Words.found_by(config.annotator), location(words)
            config = replace(config, beside=beside)
        raise typer.Exit(commands.estimate(config) if dry_run else commands.annotate(config))

    return with_parameters([*annotator_parameters(TextArea), *run_parameters()])(command)


def find() -> Callable[..., None]:
    """`entities find`: the annotator of mentions under the name that says what it is for."""
    return annotate_command(Mentions)


def pick() -> Callable[..., None]:
    """`entities pick`: the annotator of picks under the name that its users look for."""
    return annotate_command(Picks)
