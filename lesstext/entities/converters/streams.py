"""Lines of large compressed files, local or remote, in blocks."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from lesstext.errors import LesstextError, UsageError
from lesstext.storage.remote.fetching import open_remote

_BLOCK_BYTES = 4 << 20
_MAX_LINE_BYTES = 64 << 20


@contextmanager
def opened(place: str) -> Iterator[IO[bytes]]:
    """The bytes of a file by its path or URL, unpacked by its suffix (bz2, gz, zst).

    Raises UsageError where it cannot be opened.
    """
    with ExitStack() as stack:
        try:
            file = open_remote(place)[0] if "://" in place else Path(place).open("rb")  # noqa: SIM115
            raw = stack.enter_context(file)
        except OSError as error:
            raise UsageError(f"{place} cannot be opened: {error}") from error
        yield stack.enter_context(_unpacked(place, raw))


def blocks(place: str) -> Iterator[list[bytes]]:
    """The lines of a file, about 4 MB at a time, however long the file is.

    Raises UsageError for a file that is damaged or cut off, when all before has been given.
    """
    with opened(place) as file:
        while lines := _some_lines(place, file):
            yield lines


def _some_lines(place: str, file: IO[bytes]) -> list[bytes]:
    lines: list[bytes] = []
    size = 0
    try:
        while size < _BLOCK_BYTES and (line := file.readline(_MAX_LINE_BYTES)):
            lines.append(line)
            size += len(line)
    except (OSError, EOFError) as error:
        if isinstance(error, LesstextError):
            raise
        raise UsageError(f"{place} is damaged or cut off: {error}") from error
    return lines


def _unpacked(place: str, raw: BinaryIO) -> Any:
    suffix = place.rpartition(".")[2]
    if suffix == "bz2":
        return bz2.open(raw)
    if suffix == "gz":
        return gzip.open(raw)
    if suffix == "zst":
        import io

        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
    return raw
