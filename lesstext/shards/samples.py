"""From a sample in a tar to one row of the score table, a failure included."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO

from lesstext.errors import ImageError
from lesstext.image_formats import refuse_large_file
from lesstext.images import DecodedImage, decode
from lesstext.shards.captions import all_captions, caption_from, is_text, read_fields
from lesstext.shards.tar_reading import SampleEntry, read_member

Row = dict[str, Any]

_MAX_NAMED = 20


@dataclass(slots=True)
class OpenSample:
    """A sample that was read: its row so far, its image and its caption if it has them.

    `captions` are all that it has, stripped, without blank ones.
    """

    row: Row
    caption: str | None = None
    captions: list[str] = field(default_factory=list)
    image: DecodedImage | None = None
    notes: list[str] = field(default_factory=list)


def open_sample(
    file: BinaryIO,
    entry: SampleEntry,
    *,
    max_pixels: int,
    target_px: int | None,
    with_image: bool = True,
) -> OpenSample:
    """Read and decode one sample; never raises for what the sample holds."""
    sample = OpenSample({"key": entry.key, "status": "ok", "error": None})
    _read_texts(file, entry, sample)
    if entry.duplicate:
        fail(sample.row, "duplicate_key", "an earlier sample of this shard has the same key")
    elif entry.cut:
        fail(sample.row, "decode_error", "the shard is cut off inside this sample")
    elif entry.image is None:
        suffixes = ", ".join(m.suffix for m in entry.members[:_MAX_NAMED])
        suffixes += ", …" if len(entry.members) > _MAX_NAMED else ""
        fail(sample.row, "missing_image", f"no image among its members ({suffixes})")
    elif with_image:
        _read_image(file, entry, sample, max_pixels, target_px)
    if sample.notes and sample.row["error"] is None:
        sample.row["error"] = "; ".join(sample.notes)
    return sample


def fail(row: Row, status: str, reason: str) -> None:
    """Turn a row into a failure."""
    row.update(status=status, error=reason)


def _read_image(
    file: BinaryIO, entry: SampleEntry, sample: OpenSample, max_pixels: int, target_px: int | None
) -> None:
    member = entry.image
    assert member is not None
    sample.row.update(image_offset=member.offset, image_size=member.size)
    try:
        refuse_large_file(member.size, max_pixels)
        sample.image = decode(read_member(file, member), max_pixels=max_pixels, target_px=target_px)
    except ImageError as error:
        fail(sample.row, error.status, f"{member}: {error}")
    except EOFError as error:
        fail(sample.row, "decode_error", str(error))
    else:
        sample.row.update(width=sample.image.width, height=sample.image.height)


def _read_texts(file: BinaryIO, entry: SampleEntry, sample: OpenSample) -> None:
    """Fill in `uid` and `caption_length`; a text that cannot be read becomes a note."""
    fields, why_none = read_fields(file, entry)
    if why_none is not None:
        sample.notes.append(why_none)
    uid = fields.get("uid")
    sample.row["uid"] = uid if is_text(uid) else None
    if isinstance(uid, str) and not is_text(uid):
        sample.notes.append("uid is not valid Unicode")
    try:
        caption = caption_from(file, entry, fields)
    except UnicodeDecodeError as error:
        sample.notes.append(f"caption is not UTF-8 ({error.reason} at byte {error.start})")
    except (EOFError, ValueError) as error:
        sample.notes.append(str(error))
    else:
        sample.caption = caption
        sample.captions = all_captions(entry, caption, fields)
        sample.row["caption_length"] = None if caption is None else len(caption)
