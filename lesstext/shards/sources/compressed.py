"""Compressed tars, unpacked as far as they go and no further than an honest one would."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lesstext.errors import ShardError
from lesstext.shards.sources.kinds import Kind

_BLOCK_BYTES = 1 << 20
# Images hardly compress, and texts some ten times; what unpacks to more is meant to fill a disk.
_MAX_RATIO = 100
_MAX_SLACK_BYTES = 1 << 30


def unpack(path: Path, kind: Kind, target: Path, shard: str) -> list[str]:
    """Write the tar in a compressed file to `target`; returns what is wrong with the file.

    What comes before the damage is kept. Raises ShardError where that is nothing, and for a file
    that unpacks to more than 1 GiB and 100 times its size.
    """
    limit = _MAX_SLACK_BYTES + _MAX_RATIO * path.stat().st_size
    n_bytes = 0
    problems: list[str] = []
    with path.open("rb") as file, target.open("wb") as tar:
        try:
            for block in _gunzipped(file) if kind == "gzip" else _unzstandard(file):
                n_bytes += len(block)
                if n_bytes > limit:
                    raise ShardError(shard, f"unpacks to more than {limit} bytes, which is absurd")
                tar.write(block)
            if not n_bytes:
                raise ShardError(shard, f"its {kind} stream is empty, or cut off at once")
        except _DamagedError as error:
            if not n_bytes:
                raise ShardError(shard, f"its {kind} stream is damaged: {error}") from error
            problems.append(
                f"its {kind} stream is damaged behind {n_bytes} unpacked bytes: {error}"
            )
    return problems


class _DamagedError(Exception):
    """A compressed stream that cannot be unpacked to its end; the text says why."""


def _gunzipped(file: BinaryIO) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            # `read` would lose what it holds already when it comes to the damage.
            while block := stream.read1(_BLOCK_BYTES):
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _DamagedError(" ".join(str(error).split())) from error


def _unzstandard(file: BinaryIO) -> Iterator[bytes]:
    """A stream that is cut off ends like a whole one: the tar in it then lacks its end."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream:
            while block := stream.read1(_BLOCK_BYTES):
                yield block
    except zstandard.ZstdError as error:
        raise _DamagedError(" ".join(str(error).split())) from error
