"""The `lesstext` command."""

from typing import TYPE_CHECKING

from lesstext import lazily

if TYPE_CHECKING:
    from lesstext.cli.app import main

__all__ = ["main"]

__getattr__, __dir__ = lazily(__name__, {"lesstext.cli.app": "main"})
