"""The single specs in what a user types: `a::b` and `@list.txt`, lists within lists included."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from lesstext.errors import UsageError
from lesstext.shards.names import PIPE, URL, WILDCARD

_MAX_LIST_BYTES = 64 << 20
_MAX_LISTS_DEEP = 20


def split_specs(specs: Sequence[str], lists: tuple[str, ...] = ()) -> Iterator[str]:
    """Single specs out of `a::b` and `@list`; `lists` are those that are being read."""
    for argument in specs:
        if "\0" in argument:
            raise UsageError(f"{argument!r} holds a NUL, which no path can")
        if argument.startswith(PIPE):
            yield argument
            continue
        for part in argument.split("::"):
            if part.startswith("@"):
                path = os.path.realpath(part[1:])
                if path in lists or len(lists) == _MAX_LISTS_DEEP:
                    raise UsageError(f"the shard list {part[1:]} names itself")
                yield from split_specs(_read_list(part[1:]), (*lists, path))
            elif part:
                yield part


def _read_list(path: str) -> list[str]:
    try:
        lines = _read_list_file(path).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the shard list {path}: {error}") from error
    base = os.path.dirname(path)
    stripped = [line.strip() for line in lines]
    wanted = [line for line in stripped if line and not line.startswith("#")]
    return [part for line in wanted for part in _parts(base, line)]


def _parts(base: str, line: str) -> list[str]:
    return [line] if line.startswith(PIPE) else [_beside(base, p) for p in line.split("::") if p]


def _read_list_file(path: str) -> bytes:
    """The bytes of a list: of a file, or of the pipe that a shell puts in for `<(command)`."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not (stat.S_ISFIFO(kind) and path.startswith("/dev/fd/")):
        raise OSError("it is no regular file")
    with open(path, "rb") as file:
        data = file.read(_MAX_LIST_BYTES + 1)
    if len(data) > _MAX_LIST_BYTES:
        raise OSError(f"it has more than {_MAX_LIST_BYTES} bytes")
    return data


def _beside(base: str, line: str) -> str:
    """A relative path in a list counts from the working folder, else from the list's folder."""
    if line.startswith("@"):
        return f"@{_beside(base, line[1:])}"
    if URL.match(line) or line.startswith(("/", "~")) or _exists(line):
        return line
    beside = os.path.join(base, line)
    return beside if _exists(beside) else line


def _exists(path: str) -> bool:
    """Whether there is such a file or, of a path with wildcards, the folder before the first."""
    wildcard = WILDCARD.search(path)
    if wildcard is None or os.path.lexists(path):
        return os.path.exists(path)
    folder = os.path.dirname(path[: wildcard.start()])
    return bool(folder) and os.path.isdir(folder)
