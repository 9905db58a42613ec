"""Samples one after another, as everything that reads shards sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lesstext.images import DEFAULT_MAX_PIXELS
from lesstext.shards.samples import OpenSample, open_sample
from lesstext.shards.specs import expand_specs, local_copy
from lesstext.shards.tar_reading import index_shard
from lesstext.storage.paths import Location

Shards = Location | str | Sequence[Location | str]
"""What calls take as shards: one spec or path, or several."""


def as_specs(shards: Shards) -> tuple[str, ...]:
    """The specs of shards, as the command line would take them."""
    several = shards if isinstance(shards, Sequence) and not isinstance(shards, str) else (shards,)
    return tuple(str(spec) for spec in several)


def open_samples(
    shards: Shards,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    target_px: int | None = None,
) -> Iterator[tuple[str, OpenSample]]:
    """Every sample of shards with its shard's name, in tar order, failures included.

    `shards` are specs as the command line takes them; a remote shard is fetched whole. `target_px`
    is the longer side below which no image is reduced while it is decoded (None: not at all).
    Raises UsageError for specs that match nothing, ShardError for a shard that cannot be read.
    """
    for source in expand_specs(as_specs(shards)):
        with local_copy(source) as path, path.open("rb") as file:
            for entry in index_shard(path, source.name).samples:
                opened = open_sample(file, entry, max_pixels=max_pixels, target_px=target_px)
                yield source.name, opened
