"""Tars whose bytes follow from what they hold: the same members in the same order, nothing else."""

from __future__ import annotations

import hashlib
import tarfile
from typing import Protocol

_BLOCK_BYTES = tarfile.BLOCKSIZE


class ByteSink(Protocol):
    """What takes bytes, one run after another."""

    def write(self, data: bytes, /) -> object: ...


class HashingWriter:
    """Passes on what is written, and knows the BLAKE2b of all of it."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self._digest = hashlib.blake2b(digest_size=32)

    def write(self, data: bytes, /) -> None:
        self._digest.update(data)
        self._sink.write(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def write_member(tar: ByteSink, name: str, data: bytes) -> None:
    """Append one member with a deterministic header: mtime 0, mode 0644, no owner."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    tar.write(data)
    tar.write(bytes(-len(data) % _BLOCK_BYTES))


def end_archive(tar: ByteSink) -> None:
    """Write the end-of-archive marker; what stops without it was cut off."""
    tar.write(bytes(2 * _BLOCK_BYTES))
