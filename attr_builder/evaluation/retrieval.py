"""Image-text retrieval where an image may have several captions."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attr_builder.errors import SourceError
from attr_builder.evaluation.embeddings import (
    CaptionedItem,
    Failures,
    Floats,
    Ints,
    embed_captioned,
)
from attr_builder.labelled_images.subset import evenly
from lesstext.clip import ClipModel
from lesstext.shards.captions import read_captions
from lesstext.shards.specs import expand_specs, local_copy
from lesstext.shards.tar_reading import Member, SampleEntry, index_shard, read_member

log = logging.getLogger(__name__)

KS = (1, 5, 10)
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Ranks (0 is best) of each image's best caption (n,) and of each caption's image (m,).

    `names` (n,) are the images' and `owners` (m,) the captions' images; `failures` lists what
    could not be read as (row of the set, reason).
    """

    image_ranks: Ints
    text_ranks: Ints
    names: list[str]
    owners: Ints
    failures: Failures


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one sample lies."""

    name: str
    path: Path
    entry: SampleEntry
    image: Member


class CaptionedImages(Sequence[CaptionedItem]):
    """The images of shards with all their captions, read when asked for.

    `limit` takes so many of them, evenly spaced. Samples without an image or a place for captions,
    cut ones and second ones of a key are no part of it. Remote shards are copied for as long as
    this lives. Raises UsageError, ShardError, and SourceError where there are no such images.
    """

    def __init__(self, spec: str, limit: int | None = None) -> None:
        copies = ExitStack()
        weakref.finalize(self, copies.close)
        found: list[_Place] = []
        for shard in sorted(expand_specs([spec])):
            path = copies.enter_context(local_copy(shard))
            index = index_shard(path, shard.name)
            for problem in index.problems:
                log.warning("shard %s: %s", shard.name, problem)
            found += [
                _Place(f"{shard.name}/{entry.key}", path, entry, entry.image)
                for entry in index.samples
                if entry.image is not None and _is_usable(entry)
            ]
        if not found:
            raise SourceError(f"{spec}: holds no images with captions")
        self._places = evenly(found, limit)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        place = self._places[index]
        with place.path.open("rb") as file:
            captions = read_captions(file, place.entry)
            if not captions:
                raise ValueError("its caption is empty")
            return CaptionedItem(place.name, tuple(captions), read_member(file, place.image))

    def name(self, index: int) -> str:
        """`shard/key` of one image; costs no I/O."""
        return self._places[index].name


def measure_retrieval(
    model: ClipModel, images: CaptionedImages, *, batch_size: int = 64
) -> Retrieval:
    """Rank all captions for each image and all images for each caption.

    Raises UsageError where not one image can be read.
    """
    found = embed_captioned(model, images, batch_size=batch_size)
    return Retrieval(
        image_ranks=image_ranks(found.images, found.texts, found.owners),
        text_ranks=text_ranks(found.images, found.texts, found.owners),
        names=[images.name(int(row)) for row in found.rows],
        owners=found.owners,
        failures=found.failures,
    )


def image_ranks(images: Floats, texts: Floats, owners: Ints) -> Ints:
    """Rank (0 is best) of each image's best own caption among all captions, int64 (n,).

    `images` (n, d) and `texts` (m, d) are unit vectors; caption j belongs to image owners[j].
    Foreign captions that score exactly as high count as better, so that a collapsed model (all
    embeddings equal) earns nothing.
    """
    ranks = np.empty(len(images), dtype=np.int64)
    for start in range(0, len(images), _ROWS_AT_ONCE):
        scores = images[start : start + _ROWS_AT_ONCE] @ texts.T
        own = owners[None, :] == np.arange(start, start + len(scores))[:, None]
        best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[start : start + len(scores)] = ((scores >= best) & ~own).sum(axis=1)
    return ranks


def text_ranks(images: Floats, texts: Floats, owners: Ints) -> Ints:
    """Rank (0 is best) of each caption's image among all images, int64 (m,); ties as above."""
    ranks = np.empty(len(texts), dtype=np.int64)
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        scores = texts[start : start + _ROWS_AT_ONCE] @ images.T
        own = owners[start : start + len(scores)]
        best = scores[np.arange(len(scores)), own][:, None]
        ranks[start : start + len(scores)] = (scores >= best).sum(axis=1) - 1
    return ranks


def recalls(prefix: str, ranks: Ints) -> dict[str, float]:
    """R@1, R@5 and R@10 in [0, 1] under `prefix`.

    >>> recalls("t2i", np.array([0, 4, 9, 10]))
    {'t2i_R@1': 0.25, 't2i_R@5': 0.5, 't2i_R@10': 0.75}
    """
    return {f"{prefix}_R@{k}": float((ranks < k).mean()) for k in KS}


def _is_usable(entry: SampleEntry) -> bool:
    has_text = entry.member("txt", "json") is not None
    return has_text and not entry.duplicate and not entry.cut
