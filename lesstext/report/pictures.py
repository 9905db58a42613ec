"""Example images and captions out of the shards, read in place and never a whole shard."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lesstext.image_formats import refuse_large_file
from lesstext.images import DEFAULT_MAX_PIXELS, Pixels, decode, resize
from lesstext.shards.captions import read_caption
from lesstext.shards.fingerprint import fingerprint
from lesstext.shards.specs import ShardSource
from lesstext.shards.tar_reading import Member, SampleEntry, split_name
from lesstext.shards.tar_walk import (
    BLOCK_BYTES,
    TarMember,
    padded,
    parse_header,
    spelled,
    walk_tar,
)
from lesstext.storage.fetching import open_remote
from lesstext.tables.table import Footer

THUMBNAIL_PX = 256
_JPEG_QUALITY = 80
_REMOTE_FAILURES_BEFORE_GIVING_UP = 3
_BLOCK = BLOCK_BYTES
_BEFORE_IMAGE_BYTES = 64 * 1024
_BEHIND_IMAGE_BYTES = 16 << 20
_MAX_MEMBERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A thumbnail as a data URI and the sample's caption, or why there is none."""

    image: str | None = None
    caption: str | None = None
    missing: str | None = None


class PictureReader:
    """Reads single samples by their byte offset; what goes wrong becomes `Picture.missing`.

    Remote shards are read in small ranges; `pipe:` shards cannot be and are not read.
    """

    def __init__(self, shards: Sequence[ShardSource] | None) -> None:
        self._sources = None if shards is None else {source.name: source for source in shards}
        self._remote_failures = 0

    def read_all(self, footer: Footer, rows: Sequence[dict[str, Any]]) -> Iterator[Picture]:
        """One picture for each of these rows of one shard's table, in order."""
        source = self._sources.get(footer.shard) if self._sources is not None else None
        if source is None:
            reason = "no shards were given" if self._sources is None else "shard was not given"
            yield from (Picture(missing=reason) for _ in rows)
            return
        try:
            with self._open(source, footer) as file:
                yield from (_read_picture(file, row, footer) for row in rows)
        except _UnavailableError as error:
            yield from (Picture(missing=str(error)) for _ in rows)

    @contextmanager
    def _open(self, source: ShardSource, footer: Footer) -> Iterator[BinaryIO]:
        if source.is_local:
            with _open_local(source, footer) as file:
                yield file
            return
        if self._remote_failures >= _REMOTE_FAILURES_BEFORE_GIVING_UP:
            raise _UnavailableError("remote shards cannot be read")
        try:
            file = _open_remote(source, footer)
        except _UnavailableError:
            self._remote_failures += 1
            raise
        with file:
            yield file


class _UnavailableError(Exception):
    """A shard's images cannot be shown; the text says why."""


@contextmanager
def _open_local(source: ShardSource, footer: Footer) -> Iterator[BinaryIO]:
    path = Path(source.location)
    try:
        if fingerprint(path, footer.fingerprint.etag) != footer.fingerprint:
            raise _UnavailableError("shard has changed since it was scored")
        file = path.open("rb")
    except OSError as error:
        raise _UnavailableError(f"shard cannot be opened: {error.strerror}") from error
    with file:
        yield file


def _open_remote(source: ShardSource, footer: Footer) -> BinaryIO:
    try:
        file, size = open_remote(source.location)
    except Exception as error:  # the one-shard boundary: each filesystem has errors of its own
        raise _UnavailableError(f"remote shard cannot be opened: {error}") from error
    if size != footer.fingerprint.size_bytes:
        file.close()
        raise _UnavailableError("shard has changed since it was scored")
    return file


def _read_picture(file: BinaryIO, row: dict[str, Any], footer: Footer) -> Picture:
    max_pixels = footer.settings.get("max_pixels", DEFAULT_MAX_PIXELS)
    offset, size = row["image_offset"], row["image_size"]
    if offset is None or size is None:
        return Picture(missing="the score table does not say where the image is")
    try:
        refuse_large_file(size, max_pixels)
        file.seek(offset)
        decoded = decode(file.read(size), max_pixels=max_pixels, target_px=THUMBNAIL_PX)
        caption = _find_caption(file, row["key"], offset, size)
    except Exception as error:  # the one-sample boundary: said in the image's place
        return Picture(missing=f"image cannot be read: {error}")
    return Picture(image=_as_data_uri(_shrink(decoded.pixels)), caption=caption)


def _shrink(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = min(1.0, THUMBNAIL_PX / max(height, width))
    return resize(pixels, max(1, round(width * scale)), max(1, round(height * scale)))


def _as_data_uri(pixels: Pixels) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _find_caption(file: BinaryIO, key: str, offset: int, size: int) -> str | None:
    """The caption of the sample whose image lies at `offset`, from the members next to it."""
    before = _members_before(file, key, offset)
    entry = SampleEntry(key, before + _members_after(file, key, offset + padded(size)))
    try:
        return read_caption(file, entry)
    except (ValueError, EOFError):
        return None


def _members_after(file: BinaryIO, key: str, start: int) -> list[Member]:
    """Members of this key from the header at `start` on, until another key begins."""
    end = min(file.seek(0, io.SEEK_END), start + _BEHIND_IMAGE_BYTES)
    members: list[Member] = []
    for found in walk_tar(file, end, start=start):
        member = _as_member(found, key) if isinstance(found, TarMember) else None
        if member is None or len(members) == _MAX_MEMBERS:
            break
        members.append(member)
    return members


def _members_before(file: BinaryIO, key: str, image_offset: int) -> list[Member]:
    """Members of this key in front of the image, within a small window.

    A tar cannot be walked backwards, so every block is tried as a header (its checksum tells) and
    believed only where its contents end exactly at the next header that is already believed.
    """
    header_at = image_offset - _BLOCK
    start = max(0, header_at - _BEFORE_IMAGE_BYTES)
    file.seek(start)
    window = file.read(header_at - start)
    members: list[Member] = []
    for at in range(header_at - _BLOCK, start - 1, -_BLOCK):
        header = parse_header(window[at - start : at - start + _BLOCK])
        if header is None or at + _BLOCK + padded(header.size) != header_at:
            continue
        member = _as_member(TarMember(header.name, at + _BLOCK, header.size), key)
        if member is None or not header.is_file:
            break
        members.insert(0, member)
        header_at = at
    return members


def _as_member(found: TarMember, key: str) -> Member | None:
    parts = split_name(found.name)
    if parts is None or spelled(parts[0]) != key:
        return None
    return Member(found.name, spelled(parts[1]), found.offset, found.size)
