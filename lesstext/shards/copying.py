"""Samples of one shard into another tar, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lesstext.errors import ShardError
from lesstext.shards.tar_reading import index_shard, read_member
from lesstext.shards.tar_writing import ByteSink, write_member


def copy_samples(path: Path, shard: str, keys: Sequence[str], tar: ByteSink) -> None:
    """Append every member of these samples to `tar`, in the order of the keys.

    Raises ShardError for a key that is not in the shard and for a member that is cut off.
    """
    samples = index_shard(path, shard).samples
    entries = {entry.key: entry for entry in samples if not entry.duplicate}
    with path.open("rb") as file:
        for key in keys:
            if key not in entries:
                raise ShardError(shard, f"key {key} was selected but is not in the shard")
            for member in entries[key].members:
                try:
                    data = read_member(file, member)
                except EOFError as error:
                    raise ShardError(shard, f"key {key}: {error}") from error
                write_member(tar, member.name, data)
