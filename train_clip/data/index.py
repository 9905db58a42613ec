"""Where every sample of a source lies: tar offsets, found once and cached outside the input.

A shard's index is one file in the cache, named after the shard's location and valid only for its
fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesstext.errors import ShardError
from lesstext.shards.fingerprint import Fingerprint, fingerprint
from lesstext.shards.specs import ShardSource, local_copy
from lesstext.shards.tar_reading import Member, SampleEntry, index_shard
from lesstext.storage.files import atomic_path
from lesstext.storage.remote.fetching import remote_version

log = logging.getLogger(__name__)

INDEX_VERSION = 1
# Columns of a span row where each member's offset stands, its size behind it (-1: missing).
IMAGE, TEXT, JSON = 0, 2, 4
SPAN_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class ShardTable:
    """The usable samples of one shard in tar order.

    `spans` is int64 (n, 6): offset and size of image, txt and json. `skipped` counts the samples
    that can never be used, by reason; `problems` are the damages that the tar reader reported.
    """

    name: str
    path: Path
    fingerprint: Fingerprint
    keys: list[str]
    spans: NDArray[np.int64]
    skipped: dict[str, int]
    problems: list[str]

    def keep(self, chosen: NDArray[np.bool_]) -> ShardTable:
        """The same shard with only the chosen samples."""
        keys = [key for key, kept in zip(self.keys, chosen, strict=True) if kept]
        return ShardTable(
            self.name, self.path, self.fingerprint, keys, self.spans[chosen], {}, self.problems
        )


def default_cache() -> Path:
    """Where indexes and fetched shards are kept: `$XDG_CACHE_HOME/lesstext/train_clip`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lesstext" / "train_clip"


def open_shard(source: ShardSource, cache: Path) -> ShardTable:
    """Index one shard, or read its index from the cache; raises ShardError naming the shard."""
    path = Path(source.location).resolve() if source.is_local else _fetch(source, cache)
    try:
        mark = fingerprint(path)
    except OSError as error:
        raise ShardError(source.name, f"cannot be read: {error}") from error
    stored = cache / "index" / f"{_name_hash(str(path))}.npz"
    table = _load(stored, source.name, path, mark)
    if table is None:
        table = _build(source.name, path, mark)
        _store(stored, table)
    return table


def _build(name: str, path: Path, mark: Fingerprint) -> ShardTable:
    index = index_shard(path, name)
    keys: list[str] = []
    spans: list[list[int]] = []
    skipped: dict[str, int] = {}
    for entry in index.samples:
        reason = _unusable(entry)
        if reason is not None:
            skipped[reason] = skipped.get(reason, 0) + 1
            continue
        keys.append(entry.key)
        spans.append(
            [*_span(entry.image), *_span(entry.member("txt")), *_span(entry.member("json"))]
        )
    array = np.array(spans, dtype=np.int64).reshape(-1, SPAN_COLUMNS)
    return ShardTable(name, path, mark, keys, array, skipped, index.problems)


def _unusable(entry: SampleEntry) -> str | None:
    if entry.duplicate:
        return "duplicate key"
    if entry.cut:
        return "cut off"
    if entry.image is None:
        return "no image"
    if entry.member("txt", "json") is None:
        return "no caption"
    return None


def _span(member: Member | None) -> tuple[int, int]:
    return (0, -1) if member is None else (member.offset, member.size)


def _fetch(source: ShardSource, cache: Path) -> Path:
    """Copy a remote shard into the cache in one long read; again only when it has changed there."""
    try:
        identity = f"{source.location}\n{remote_version(source.location)}"
    except Exception as error:  # every file system raises its own; one shard's end
        raise ShardError(source.name, str(error) or repr(error)) from error
    target = cache / "shards" / f"{_name_hash(identity)}.tar"
    if not target.exists():
        log.info("fetching %s", source.location)
        with local_copy(source) as fetched, atomic_path(target, unguarded=True) as partial:
            shutil.copyfile(fetched, partial)
    return target


def _name_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _store(stored: Path, table: ShardTable) -> None:
    meta = {
        "version": INDEX_VERSION,
        "fingerprint": table.fingerprint.as_json(),
        "skipped": table.skipped,
        "problems": table.problems,
    }
    with atomic_path(stored, unguarded=True) as partial, partial.open("wb") as file:
        np.savez(
            file,
            spans=table.spans,
            keys=np.frombuffer("\0".join(table.keys).encode(), dtype=np.uint8),
            meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
        )


def _load(stored: Path, name: str, path: Path, mark: Fingerprint) -> ShardTable | None:
    """The cached index, or None when there is none for exactly this file."""
    try:
        with np.load(stored) as archive:
            meta: dict[str, Any] = json.loads(archive["meta"].tobytes())
            keys = archive["keys"].tobytes().decode()
            spans = archive["spans"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        log.warning("the cached index %s is unreadable (%s); built anew", stored, error)
        return None
    if meta["version"] != INDEX_VERSION or meta["fingerprint"] != mark.as_json():
        return None
    split = keys.split("\0") if len(spans) else []
    return ShardTable(name, path, mark, split, spans, meta["skipped"], meta["problems"])
