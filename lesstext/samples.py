"""From a sample in a tar to one row of the score table, a failure included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from lesstext.detection import TextRegions
from lesstext.errors import ImageError
from lesstext.geometry import area_ratios
from lesstext.images import DecodedImage, decode
from lesstext.shards import SampleEntry, caption_from, read_json, read_member

_MAX_REGIONS = int(np.iinfo(np.int16).max)

Row = dict[str, Any]


@dataclass(slots=True)
class OpenSample:
    """A sample on its way through the detector: its row so far, and its image if it has one."""

    row: Row
    image: DecodedImage | None = None
    notes: list[str] = field(default_factory=list)

    def fail(self, status: str, reason: str) -> None:
        """Turn the sample into a failure; its image is dropped."""
        self.image = None
        self.row.update(status=status, error=reason)


def open_sample(
    file: BinaryIO, entry: SampleEntry, *, max_pixels: int, target_px: int | None
) -> OpenSample:
    """Read and decode one sample; never raises for what the sample holds."""
    sample = OpenSample({"key": entry.key, "status": "ok", "error": None})
    _read_texts(file, entry, sample)
    if entry.duplicate:
        sample.fail("duplicate_key", "an earlier sample of this shard has the same key")
        return sample
    if entry.cut:
        sample.fail("decode_error", "the shard is cut off inside this sample")
        return sample
    member = entry.image
    if member is None:
        suffixes = ", ".join(m.suffix for m in entry.members)
        sample.fail("missing_image", f"no image among its members ({suffixes})")
        return sample
    sample.row.update(image_offset=member.offset, image_size=member.size)
    try:
        sample.image = decode(read_member(file, member), max_pixels=max_pixels, target_px=target_px)
    except ImageError as error:
        sample.fail(error.status, f"{member.name}: {error}")
    except EOFError as error:
        sample.fail("decode_error", str(error))
    else:
        sample.row.update(width=sample.image.width, height=sample.image.height)
    return sample


def close_sample(sample: OpenSample, regions: TextRegions | None, *, keep_regions: bool) -> Row:
    """Complete the row; `regions` are in the frame of `sample.image.pixels`, None for failures."""
    if sample.notes and sample.row["error"] is None:
        sample.row["error"] = "; ".join(sample.notes)
    if sample.image is None or regions is None:
        return sample.row
    image = sample.image
    height, width = image.pixels.shape[:2]
    full = regions.scaled(image.width / width, image.height / height)
    ratios = area_ratios(full.polygons, image.width, image.height)
    sample.row.update(
        text_area_ratio=ratios.union,
        text_area_sum_ratio=ratios.sum,
        n_regions=min(len(full.polygons), _MAX_REGIONS),
        max_region_ratio=ratios.max_region,
        max_score=float(full.scores.max()) if len(full.scores) else None,
    )
    if keep_regions:
        sample.row["regions"] = [polygon.ravel().tolist() for polygon in full.polygons]
    return sample.row


def windows(
    samples: Iterator[OpenSample], *, max_samples: int, max_pixels: int
) -> Iterator[list[OpenSample]]:
    """Group samples, in order, so that a group's decoded pixels stay bounded."""
    group: list[OpenSample] = []
    n_pixels = 0
    for sample in samples:
        group.append(sample)
        n_pixels += sample.image.pixels.size // 3 if sample.image is not None else 0
        if len(group) >= max_samples or n_pixels >= max_pixels:
            yield group
            group, n_pixels = [], 0
    if group:
        yield group


def _read_texts(file: BinaryIO, entry: SampleEntry, sample: OpenSample) -> None:
    """Fill in `uid` and `caption_length`; a text that cannot be read becomes a note."""
    fields = read_json(file, entry)
    uid = fields.get("uid")
    sample.row["uid"] = uid if isinstance(uid, str) else None
    try:
        caption = caption_from(file, entry, fields)
    except UnicodeDecodeError as error:
        sample.notes.append(f"caption is not UTF-8 ({error.reason} at byte {error.start})")
    except EOFError as error:
        sample.notes.append(str(error))
    else:
        sample.row["caption_length"] = None if caption is None else len(caption)
