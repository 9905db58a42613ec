"""A source on this machine as a plain tar: itself, or a temporary one made from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lesstext.errors import ShardError
from lesstext.shards.fingerprint import Fingerprint, fingerprint, sha256_of
from lesstext.shards.sources.compressed import unpack
from lesstext.shards.sources.image_folder import pack_folder
from lesstext.shards.sources.image_parquet import pack_parquet
from lesstext.shards.sources.kinds import SHARD_SUFFIX, Kind, kind_of
from lesstext.shards.tar_reading import ShardIndex, index_shard
from lesstext.storage.scratch import scratch_folder

_MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class LocalShard:
    """A shard's samples as a plain tar, and what that was made from.

    `lies_at` is the tar itself, or the file or the folder (then with `files` below it) as it lies
    there; `etag` is that of the remote file it came from. `problems` are damages of it that the
    tar does not show.
    """

    path: Path
    lies_at: Path
    files: tuple[str, ...] = ()
    etag: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def is_tar(self) -> bool:
        """Whether offsets in the tar are offsets in the file as it lies there."""
        return self.path == self.lies_at

    def fingerprint(self) -> Fingerprint:
        """Of the file or files as they lie there; raises OSError."""
        return fingerprint_of(self.lies_at, self.files, self.etag)

    def index(self, shard: str) -> ShardIndex:
        """The samples, and the problems of the tar and of what it was made from.

        Raises ShardError.
        """
        found = index_shard(self.path, shard)
        return ShardIndex(found.samples, [*self.problems[:_MAX_PROBLEMS], *found.problems])

    def sha256(self) -> str:
        """Of the file as it lies there; of a folder, of the tar that is made from it."""
        return sha256_of(self.path if self.files else self.lies_at)


def fingerprint_of(place: Path, files: Sequence[str] = (), etag: str | None = None) -> Fingerprint:
    """Of a local file, or of `files` below a folder; raises OSError."""
    return _folder_fingerprint(place, files) if files else fingerprint(place, etag)


def _folder_fingerprint(folder: Path, files: Sequence[str]) -> Fingerprint:
    """Recognises a run of files by their names and sizes; their bytes are not read."""
    digest = hashlib.blake2b(digest_size=16)
    total = 0
    for name in files:
        try:
            size = os.stat(folder / name).st_size
        except OSError:
            size = -1  # told by name when it is packed
        total += max(0, size)
        digest.update(os.fsencode(f"{name}\0{size}\n"))
    return Fingerprint(total, digest.hexdigest())


@contextmanager
def as_tar(
    shard: str, place: Path, files: tuple[str, ...] = (), etag: str | None = None
) -> Iterator[LocalShard]:
    """Yield a local source as a plain tar; one that is made for this is deleted afterwards.

    Raises ShardError where nothing of it can be read.
    """
    kind: Literal["images"] | Kind = "images" if files else kind_of(place)
    if kind == "tar":
        yield LocalShard(place, place, etag=etag)
        return
    with scratch_folder() as folder:
        path = folder / f"shard{SHARD_SUFFIX}"
        try:
            if kind == "images":
                problems = pack_folder(place, files, path, shard)
            elif kind == "parquet":
                problems = pack_parquet(place, path, shard)
            else:
                problems = unpack(place, kind, path, shard)
        except OSError as error:
            raise ShardError(shard, f"cannot be made a tar in {folder.parent}: {error}") from error
        yield LocalShard(path, place, files, etag, tuple(problems))
