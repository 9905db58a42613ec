"""Tars whose bytes follow from what they hold: the same members in the same order, nothing else."""

from __future__ import annotations

import hashlib
import tarfile
from typing import BinaryIO, Protocol

_BLOCK_BYTES = tarfile.BLOCKSIZE
_COPIED_AT_ONCE_BYTES = 1 << 20


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
    tar.write(_header(name, len(data)))
    tar.write(data)
    tar.write(bytes(-len(data) % _BLOCK_BYTES))


def copy_member(tar: ByteSink, name: str, file: BinaryIO, size: int) -> bool:
    """Append the first `size` bytes of a file, some at a time, as one member.

    What the file lacks is filled up with zeros; returns whether it had as many.
    """
    tar.write(_header(name, size))
    n_left = size
    while n_left and (data := file.read(min(n_left, _COPIED_AT_ONCE_BYTES))):
        tar.write(data)
        n_left -= len(data)
    is_whole = not n_left
    while n_left:
        tar.write(bytes(min(n_left, _COPIED_AT_ONCE_BYTES)))
        n_left -= min(n_left, _COPIED_AT_ONCE_BYTES)
    tar.write(bytes(-size % _BLOCK_BYTES))
    return is_whole


def end_archive(tar: ByteSink) -> None:
    """Write the end-of-archive marker; what stops without it was cut off."""
    tar.write(bytes(2 * _BLOCK_BYTES))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
