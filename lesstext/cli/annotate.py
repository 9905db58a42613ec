"""`annotate NAME` for every installed annotator, and the verbs that are friendlier names for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from lesstext.annotators.base import Annotator
from lesstext.annotators.text_area import TextArea
from lesstext.cli import commands
from lesstext.cli.options import DryRun, Inputs, Shards, Slice, Verbose
from lesstext.console import set_up_logging
from lesstext.dataclass_options import build, parameters, with_parameters
from lesstext.engines.whole_run import RunConfig
from lesstext.errors import UsageError
from lesstext.storage.paths import Location, location

# What RunConfig is given otherwise than by a flag of the same name.
_ELSEWHERE = ("shards", "out", "annotator", "inputs", "slice")
_INPUT = inspect.Parameter("input", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Inputs)


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
        config = run_config(kind, shards, location(out), values, slice=_slice(slice_))
        raise typer.Exit(commands.estimate(config) if dry_run else commands.annotate(config))

    command.__doc__ = (kind.__doc__ or "").partition("\n\n")[0]
    return with_parameters([*annotator_parameters(kind), *run_parameters()])(command)


def annotator_parameters(kind: type[Annotator], *, leave_out: Sequence[str] = ()) -> list[Any]:
    """The flags of an annotator; `--input` only where it reads other tables."""
    own = parameters(kind, leave_out=leave_out)
    return [*own, _INPUT] if kind.inputs or kind.optional_inputs else own


def run_parameters() -> list[Any]:
    """The flags of where and how a run happens."""
    return parameters(RunConfig, leave_out=_ELSEWHERE)


def run_config(
    kind: type[Annotator],
    shards: Sequence[str],
    out: Location,
    values: Mapping[str, Any],
    **given: Any,
) -> RunConfig:
    """What the parsed flags ask for."""
    return build(
        RunConfig,
        values,
        shards=tuple(shards),
        out=out,
        annotator=build(kind, values),
        inputs=_inputs(values.get("input") or ()),
        **{"slice": (0, 1), **given},
    )


def score() -> Callable[..., None]:
    """`score`: the annotator of text area under the name that most users look for."""
    return annotate_command(TextArea)


def _inputs(pairs: Sequence[str]) -> dict[str, Location]:
    found: dict[str, Location] = {}
    for pair in pairs:
        name, separator, folder = pair.partition("=")
        if not (name and separator and folder):
            raise UsageError(f"--input takes NAME=FOLDER, got {pair!r}")
        found[name] = location(folder)
    return found


def _slice(text: str) -> tuple[int, int]:
    part, separator, n_parts = text.partition("/")
    if not (separator and part.isdigit() and n_parts.isdigit()):
        raise UsageError(f"--slice takes i/N such as 0/8, got {text!r}")
    return int(part), int(n_parts)
