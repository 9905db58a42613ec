"""Commands whose flags come from a module that is too heavy to import for `--help` of the rest."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

Function = Callable[..., Any]


def as_command(function: Function, *, name: str, epilog: str | None = None) -> Any:
    """The command that typer makes of a function."""
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    app.command(name, epilog=epilog)(function)
    return typer.main.get_command(app)


def made_by(place: str) -> type[TyperCommand]:
    """A command class that takes flags and body from the function that `MODULE:MAKE` makes.

    `MAKE` is imported and called when the command's flags are asked for: to run it, or for its own
    `--help`.
    """

    class Lazy(TyperCommand):
        is_made = False

        def get_params(self, ctx: Any) -> Any:
            if not self.is_made:
                made = as_command(_find(place)(), name=str(self.name))
                self.params, self.callback, self.is_made = made.params, made.callback, True
            return super().get_params(ctx)

    return Lazy


class AnnotatorGroup(TyperGroup):
    """A command for each installed annotator, imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        names: list[str] = _find("lesstext.annotators.base:annotator_names")()
        return names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        example = f"Example: `lesstext annotate {cmd_name} laion/ --out {cmd_name}/`"
        kind = _find("lesstext.annotators.base:find_annotator")(cmd_name)
        command = _find("lesstext.cli.annotate:annotate_command")(kind)
        return as_command(command, name=cmd_name, epilog=example)


def _find(place: str) -> Any:
    """What `MODULE:NAME` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
