"""The flags of an annotator and of its run, and what they ask for once they are parsed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from lesstext.annotators.base import Annotator
from lesstext.cli.options import Inputs
from lesstext.dataclass_options import build, parameters
from lesstext.engines.whole_run import RunConfig
from lesstext.errors import UsageError
from lesstext.storage.paths import Location, location

# What RunConfig is given otherwise than by a flag of the same name.
_ELSEWHERE = ("shards", "out", "annotator", "inputs", "beside", "slice")
_INPUT = inspect.Parameter("input", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Inputs)


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


def _inputs(pairs: Sequence[str]) -> dict[str, Location]:
    found: dict[str, Location] = {}
    for pair in pairs:
        name, separator, folder = pair.partition("=")
        if not (name and separator and folder):
            raise UsageError(f"--input takes NAME=FOLDER, got {pair!r}")
        found[name] = location(folder)
    return found


def parse_slice(text: str) -> tuple[int, int]:
    """`i/N` as two numbers; raises UsageError for anything else."""
    part, separator, n_parts = text.partition("/")
    if not (separator and part.isdigit() and n_parts.isdigit()):
        raise UsageError(f"--slice takes i/N such as 0/8, got {text!r}")
    return int(part), int(n_parts)
