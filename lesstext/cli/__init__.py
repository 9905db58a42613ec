"""The `lesstext` command."""

from lesstext.cli.app import main

__all__ = ["main"]
