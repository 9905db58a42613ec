"""Tars whose bytes follow from what they hold: the same members in the same order, nothing else."""

from __future__ import annotations

import tarfile
from typing import BinaryIO

_BLOCK_BYTES = tarfile.BLOCKSIZE


def write_member(tar: BinaryIO, name: str, data: bytes) -> None:
    """Append one member with a deterministic header: mtime 0, mode 0644, no owner."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
    tar.write(data)
    tar.write(bytes(-len(data) % _BLOCK_BYTES))


def end_archive(tar: BinaryIO) -> None:
    """Write the end-of-archive marker; what stops without it was cut off."""
    tar.write(bytes(2 * _BLOCK_BYTES))
