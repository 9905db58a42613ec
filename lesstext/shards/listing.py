"""What a wildcard matches in local folders, in order: no loop of links is walked twice."""

from __future__ import annotations

import fnmatch
import logging
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence

from lesstext.shards.sources.kinds import SOURCE_SUFFIXES

log = logging.getLogger(__name__)


def glob_sources(pattern: str) -> Iterator[str]:
    """Sources that a pattern matches as `glob` has it: `*`, `?`, `[a-z]`, and `**` for any folders.

    Behind `**` links to folders are followed, but each folder is entered once. A file may come up
    more than once.
    """
    start = "/" if pattern.startswith("/") else ""
    parts = [part for part in pattern.split("/") if part]
    if pattern.endswith("/"):
        return iter(())  # folders alone
    return (path for path in _matches(start, parts) if _is_source(path))


def has_glob(text: str) -> bool:
    """Whether a text holds a wildcard of `glob`."""
    return any(mark in text for mark in "*?[")


def _matches(folder: str, parts: Sequence[str]) -> Iterator[str]:
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        while rest and rest[0] == "**":
            rest = rest[1:]
        for below in _folders_below(folder):
            yield from _matches(below, rest or ["*"])
    elif has_glob(first):
        matches = re.compile(fnmatch.translate(first)).match
        for name in _names_in(folder):
            if matches(name) and name.startswith(".") <= first.startswith("."):
                yield from _matches(os.path.join(folder, name), rest)
    elif os.path.lexists(path := os.path.join(folder, first)):
        yield from _matches(path, rest)


def _folders_below(folder: str) -> Iterator[str]:
    """A folder and all below it that are not hidden, each once however many links lead there."""
    waiting, links, seen = deque([folder]), deque[str](), set[tuple[int, int]]()
    while waiting or links:
        here = (waiting or links).popleft()  # a folder's own place before the links to it
        try:
            status = os.stat(here or ".")
        except OSError as error:
            _say(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield here
        inner = [os.path.join(here, name) for name in _names_in(here) if not name.startswith(".")]
        for path in filter(os.path.isdir, inner):
            (links if os.path.islink(path) else waiting).append(path)


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder or "."))
    except NotADirectoryError:
        return []
    except OSError as error:
        _say(error)
        return []


def _is_source(path: str) -> bool:
    return path.endswith(SOURCE_SUFFIXES) and os.path.isfile(path)


def _say(error: OSError) -> None:
    log.warning("passed over: %s", error)
