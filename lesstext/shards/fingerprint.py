"""Recognise a shard: cheaply by its size and edges, surely by the SHA-256 of all its bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lesstext.errors import TableError
from lesstext.storage.validation import validated

_EDGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Recognises a shard cheaply: its size, BLAKE2 of its first and last 64 KiB, and its ETag.

    The ETag recognises a remote shard without reading it. It takes no part in equality: the same
    bytes have another one, or none, elsewhere.
    """

    size_bytes: int
    edges_blake2: str
    etag: str | None = field(default=None, compare=False)

    def as_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, where: str) -> Fingerprint:
        """What `as_json` wrote; raises TableError that names `where` and the field."""
        return validated(cls, text, f"{where}: fingerprint", TableError, word="field")


def fingerprint(path: Path, etag: str | None = None) -> Fingerprint:
    """Fingerprint a local file."""
    size = path.stat().st_size
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(_EDGE_BYTES))
        if size > _EDGE_BYTES:
            file.seek(max(_EDGE_BYTES, size - _EDGE_BYTES))
            digest.update(file.read(_EDGE_BYTES))
    return Fingerprint(size_bytes=size, edges_blake2=digest.hexdigest(), etag=etag)


def sha256_of(path: Path) -> str:
    """SHA-256 of a whole file, as hex."""
    return _digest_of(path, hashlib.sha256())


def blake2b_of(path: Path) -> str:
    """BLAKE2b of a whole file, 32 bytes as hex."""
    return _digest_of(path, hashlib.blake2b(digest_size=32))


def _digest_of(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return str(digest.hexdigest())
