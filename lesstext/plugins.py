"""What is installed under a group of entry points, found by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from lesstext.errors import LesstextError, UsageError


def plugin_names(group: str) -> list[str]:
    """The names of all that is installed in a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def load_plugin(
    group: str,
    kind: str,
    name: str,
    error: type[LesstextError],
    built_in: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """What a name of the group stands for, imported; `kind` is what messages call it.

    `built_in` adds names that no installed package can take, each with its `module:attribute`.
    Raises UsageError for a name that is not installed, `error` where it cannot be imported.
    """
    found = {point.name: point for point in entry_points(group=group)}
    found |= {own: EntryPoint(own, value, group) for own, value in built_in.items()}
    if name not in found:
        raise UsageError(f"unknown {kind} {name!r}; known: {', '.join(sorted(found))}")
    try:
        return found[name].load()
    except (ImportError, AttributeError) as failure:
        raise error(f"{kind} {name!r} cannot be imported: {failure}") from failure
