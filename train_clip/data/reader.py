"""One position of a batch to pixels and a caption: read, decode, augment, or substitute.

Data workers import this module, so it and all it imports stay free of torch.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.errors import ImageError
from lesstext.images import Pixels, decode
from lesstext.shards.captions import captions_at, parse_json, preferred_captions
from lesstext.text_detection.overlap import caption_overlap
from train_clip.data.augment import augment_caption, augment_image, pick_caption
from train_clip.data.flat.regions import TextRegion
from train_clip.data.index import IMAGE, JSON, TEXT
from train_clip.data.source_plan import SourcePlan
from train_clip.data.stream import augment_generator, substitute
from train_clip.errors import DataError
from train_clip.settings import CaptionAugment, ImageAugment

# So many samples in a row that cannot be used are no bad luck: the source itself is bad.
MAX_TRIES = 32
_OPEN_SHARDS = 64
# Members of one sample that lie closer together than this are fetched by one read.
_MAX_GAP_BYTES = 16 * 1024
# An image may be decoded smaller as long as a crop of an image of this aspect keeps its pixels.
_ASSUMED_ASPECT = 1.5


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """What turns a sample's bytes into training data; `captions` holds one field per source."""

    image: ImageAugment
    caption: CaptionAugment
    captions: tuple[str, ...]
    size_px: int
    max_pixels: int
    seed: int

    @property
    def target_px(self) -> int:
        """The longer side that a reduced-scale decode must keep."""
        narrowest = math.sqrt(self.image.crop_scale[0])
        return math.ceil(self.size_px / narrowest * _ASSUMED_ASPECT)


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that could not be used, and why."""

    source: int
    index: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Produced:
    """What one batch position became: the sample finally used, and those that failed before it."""

    position: int
    source: int
    index: int
    caption: str
    text_hidden: bool
    bad: tuple[BadSample, ...]


class SampleReader:
    """Reads the samples of a run's sources; one per process or thread."""

    def __init__(self, plans: Sequence[SourcePlan], settings: ReadSettings) -> None:
        cv2.setNumThreads(1)
        self._plans = plans
        self._settings = settings
        self._files: OrderedDict[str, int] = OrderedDict()

    def produce(self, position: int, source: int, index: int, out: Pixels) -> Produced:
        """Write the view for a batch position into `out` (size_px, size_px, 3).

        A sample that cannot be used is replaced by another of its source, chosen by the seed and
        the position. Raises DataError when MAX_TRIES samples in a row cannot be used.
        """
        plan = self._plans[source]
        bad: list[BadSample] = []
        for attempt in range(MAX_TRIES):
            try:
                caption, hidden = self._load(position, source, index, out)
                return Produced(position, source, index, caption, hidden, tuple(bad))
            except Exception as error:  # the boundary of one sample; recorded in the run
                bad.append(BadSample(source, index, plan.name(index), _reason(error)))
            index = substitute(self._settings.seed, position, attempt, plan.size)
        raise DataError(
            f"{MAX_TRIES} samples in a row of {plan.data} cannot be used; "
            f"the first: {bad[0].name}: {bad[0].reason}"
        )

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _load(self, position: int, source: int, index: int, out: Pixels) -> tuple[str, bool]:
        settings, plan = self._settings, self._plans[source]
        image, texts = self.read(source, index, settings.captions[source])
        decoded = decode(image, max_pixels=settings.max_pixels, target_px=settings.target_px)
        rng = augment_generator(settings.seed, position)
        picked = pick_caption(texts, settings.caption, rng)
        caption = augment_caption(picked, settings.caption, rng)
        height, width = decoded.pixels.shape[:2]
        factors = np.array([width / decoded.width, height / decoded.height], dtype=np.float32)
        polygons = [polygon * factors for polygon in self._to_hide(plan.regions(index), picked)]
        view, hidden = augment_image(
            decoded.pixels, polygons, settings.size_px, settings.image, rng
        )
        out[:] = view
        return caption, hidden

    def _to_hide(
        self, regions: Sequence[TextRegion], caption: str
    ) -> Sequence[NDArray[np.float32]]:
        polygons = [polygon for polygon, _ in regions]
        if self._settings.image.masked_regions == "all":
            return polygons
        found = caption_overlap(caption, [word for _, word in regions]).regions
        return [
            polygon for polygon, overlap in zip(polygons, found, strict=True) if overlap.is_repeated
        ]

    def read(self, source: int, index: int, field: str) -> tuple[bytes, list[str]]:
        """The image's bytes and the sample's captions (at least one).

        `field` is a source's `captions` setting.
        """
        plan = self._plans[source]
        spans = plan.spans[index]
        text_column = TEXT if field == "auto" and spans[TEXT + 1] >= 0 else JSON
        if spans[text_column + 1] < 0:
            raise ValueError("has no json member to read captions from")
        descriptor = self._open(plan.paths[plan.shard_of(index)])
        image, text = _read_two(descriptor, spans[IMAGE : IMAGE + 2], spans[text_column:][:2])
        captions = [text.decode()] if text_column == TEXT else _json_captions(text, field)
        return image, _not_empty(captions)

    def _open(self, path: str) -> int:
        if path not in self._files:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            if hasattr(os, "posix_fadvise"):
                # The whole window is read soon: let the kernel fetch the shard in one long run.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            self._files[path] = descriptor
            if len(self._files) > _OPEN_SHARDS:
                os.close(self._files.popitem(last=False)[1])
        self._files.move_to_end(path)
        return self._files[path]


def _json_captions(data: bytes, field: str) -> list[str]:
    """The captions in a sample's JSON at one field or, for `auto`, where they are looked for."""
    fields = parse_json(data)
    captions = preferred_captions(fields) if field == "auto" else captions_at(fields, field)
    if not captions:
        place = "" if field == "auto" else f" field {field!r}"
        raise ValueError(f"its json{place} holds no caption")
    return captions


def _not_empty(captions: list[str]) -> list[str]:
    stripped = [caption.strip() for caption in captions if caption.strip()]
    if not stripped:
        raise ValueError("its caption is empty")
    return stripped


def _read_two(descriptor: int, first: Any, second: Any) -> tuple[bytes, bytes]:
    """Two (offset, size) spans of a file, by one read where they lie close together."""
    spans = [(int(first[0]), int(first[1])), (int(second[0]), int(second[1]))]
    start = min(offset for offset, _ in spans)
    end = max(offset + size for offset, size in spans)
    if end - start > sum(size for _, size in spans) + _MAX_GAP_BYTES:
        return _read_span(descriptor, *spans[0]), _read_span(descriptor, *spans[1])
    data = _read_span(descriptor, start, end - start)
    (a, n), (b, m) = spans
    return data[a - start :][:n], data[b - start :][:m]


def _read_span(descriptor: int, offset: int, size: int) -> bytes:
    parts: list[bytes] = []
    wanted = size
    while wanted > 0:
        part = os.pread(descriptor, wanted, offset)
        if not part:
            raise EOFError(f"the shard ends {wanted} bytes before the sample does")
        parts.append(part)
        offset, wanted = offset + len(part), wanted - len(part)
    return b"".join(parts)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (ImageError, EOFError, ValueError)) else repr(error)
