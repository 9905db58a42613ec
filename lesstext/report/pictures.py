"""Example images and captions out of the shards, read in place and never a whole shard."""

from __future__ import annotations

import io
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lesstext.errors import ShardError
from lesstext.image_formats import refuse_large_file
from lesstext.images import DEFAULT_MAX_PIXELS, Pixels, decode, resize
from lesstext.shards.captions import read_caption
from lesstext.shards.copying import copy_samples
from lesstext.shards.specs import ShardSource, fetched, local_fingerprint
from lesstext.shards.tar_reading import Member, SampleEntry, index_shard, split_name
from lesstext.shards.tar_walk import (
    BLOCK_BYTES,
    TarMember,
    padded,
    parse_header,
    spelled,
    walk_tar,
)
from lesstext.shards.tar_writing import end_archive
from lesstext.storage.paths import N_PARALLEL_REQUESTS
from lesstext.storage.remote.fetching import open_remote
from lesstext.storage.scratch import scratch_folder
from lesstext.tables.table import Footer

if TYPE_CHECKING:
    from lesstext.report.samples import Shown

_REMOTE_FAILURES_BEFORE_GIVING_UP = 3
_LOCAL_THREADS = 4
_BLOCK = BLOCK_BYTES
_BEFORE_IMAGE_BYTES = 64 * 1024
_BEHIND_IMAGE_BYTES = 16 << 20
_MAX_MEMBERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A thumbnail (h, w, 3) RGB and the sample's caption, or why there is no thumbnail."""

    pixels: Pixels | None = None
    caption: str | None = None
    missing: str | None = None


class PictureReader:
    """Reads single samples by their byte offset, in several threads at once; what goes wrong
    becomes `Picture.missing`.

    Remote shards are read in small ranges; `pipe:` shards cannot be and are not read. What is no
    plain tar is opened once for all `samples` to be read of it, where it is local.
    """

    def __init__(
        self,
        shards: Sequence[ShardSource] | None,
        footers: Sequence[Footer],
        px: int,
        samples: Iterable[Shown] = (),
    ) -> None:
        self._sources = None if shards is None else {source.name: source for source in shards}
        self._footers = footers
        self._px = px
        self._walking = threading.Lock()
        self._reasons: dict[int, str | None] = {}
        self._indexes: dict[int, dict[str, Member]] = {}
        self._remote_failures = 0
        self._extracts = _Extracts(samples)

    @property
    def n_threads(self) -> int:
        """How many pictures are to be read at once: few where each may be large, more where each
        means waiting for an answer."""
        is_remote = any(not source.is_local for source in (self._sources or {}).values())
        return N_PARALLEL_REQUESTS if is_remote else _LOCAL_THREADS

    def read(self, sample: Shown) -> Picture:
        """The picture of one sample."""
        if sample.status != "ok":
            return Picture(missing=f"{sample.status}: {sample.error or ''}".strip(" :"))
        try:
            with self._open(sample.id.table) as file:
                return self._read(file, sample)
        except _UnavailableError as error:
            return Picture(missing=str(error))

    @contextmanager
    def _open(self, table: int) -> Iterator[BinaryIO]:
        footer = self._footers[table]
        source = self._sources.get(footer.shard) if self._sources is not None else None
        if source is None:
            reason = "no shards were given" if self._sources is None else "shard was not given"
            raise _UnavailableError(reason)
        if table not in self._reasons:
            self._reasons[table] = self._check(source, footer)
        against = self._reasons[table]
        if against is not None:
            raise _UnavailableError(against)
        with _opened(source) if source.is_tar else self._extracts.opened(table, source) as file:
            yield file

    def _check(self, source: ShardSource, footer: Footer) -> str | None:
        """Why a shard's pictures cannot be shown; None where they can."""
        if not source.is_local and self._remote_failures >= _REMOTE_FAILURES_BEFORE_GIVING_UP:
            return "remote shards cannot be read"
        try:
            return _reason_against(source, footer)
        except _UnavailableError as error:
            self._remote_failures += not source.is_local
            return str(error)

    def _read(self, file: BinaryIO, sample: Shown) -> Picture:
        max_pixels = self._footers[sample.id.table].settings.get("max_pixels", DEFAULT_MAX_PIXELS)
        try:
            offset, size = self._place(file, sample)
            refuse_large_file(size, max_pixels)
            file.seek(offset)
            decoded = decode(file.read(size), max_pixels=max_pixels, target_px=self._px)
            caption = _find_caption(file, sample.key, offset, size)
        except _UnavailableError:
            raise
        except Exception as error:  # the one-sample boundary: said in the image's place
            return Picture(missing=f"image cannot be read: {error}")
        return Picture(pixels=_shrink(decoded.pixels, self._px), caption=caption)

    def _place(self, file: BinaryIO, sample: Shown) -> tuple[int, int]:
        """Where the image lies; a table that does not say it costs a walk through the shard."""
        if sample.image_offset is not None and sample.image_size is not None:
            return sample.image_offset, sample.image_size
        with self._walking:
            index = self._indexes.get(sample.id.table)
            if index is None:
                index = self._indexes[sample.id.table] = _images_of(file)
        if sample.key not in index:
            raise _UnavailableError("the image was not found in the shard")
        return index[sample.key].offset, index[sample.key].size


class _UnavailableError(Exception):
    """A shard's images cannot be shown; the text says why."""


class _Extracts:
    """Of each source that is no plain tar, a temporary tar of the samples that are to be seen."""

    def __init__(self, samples: Iterable[Shown]) -> None:
        self._wanted: dict[int, list[str]] = defaultdict(list)
        for sample in samples:
            if sample.status == "ok":
                self._wanted[sample.id.table].append(sample.key)
        self._making = threading.Lock()
        self._made: dict[int, Path] = {}
        self._folders = ExitStack()
        weakref.finalize(self, self._folders.close)

    def opened(self, table: int, source: ShardSource) -> BinaryIO:
        """Raises _UnavailableError."""
        with self._making:
            if table not in self._made:
                path = self._folders.enter_context(scratch_folder()) / "shown.tar"
                try:
                    with fetched(source) as local, path.open("wb") as tar:
                        copy_samples(local.path, source.name, self._wanted[table], tar)
                        end_archive(tar)
                except (ShardError, OSError) as error:
                    raise _UnavailableError(f"shard cannot be opened: {error}") from error
                self._made[table] = path
        return self._made[table].open("rb")


def _reason_against(source: ShardSource, footer: Footer) -> str | None:
    if not (source.is_tar or source.is_local):
        return "shard is remote and no plain tar: export it to tars to see it"
    if source.files:
        same = local_fingerprint(source) == footer.fingerprint
        return None if same else "shard has changed since it was scored"
    with _opened(source) as file:
        if source.is_local:
            same = local_fingerprint(source) == footer.fingerprint
        else:
            same = file.seek(0, io.SEEK_END) == footer.fingerprint.size_bytes
    return None if same else "shard has changed since it was scored"


@contextmanager
def _opened(source: ShardSource) -> Iterator[BinaryIO]:
    try:
        file = _open(source)
    except Exception as error:  # the one-shard boundary: each filesystem has errors of its own
        if source.is_local and isinstance(error, OSError):
            raise _UnavailableError(f"shard cannot be opened: {error.strerror}") from error
        raise _UnavailableError(f"remote shard cannot be opened: {error}") from error
    with file:
        yield file


def _open(source: ShardSource) -> BinaryIO:
    return Path(source.location).open("rb") if source.is_local else open_remote(source.location)[0]


def _images_of(file: BinaryIO) -> dict[str, Member]:
    """Every image of a local shard by its key."""
    try:
        samples = index_shard(Path(file.name)).samples
    except (ShardError, TypeError, AttributeError) as error:
        raise _UnavailableError("the tables do not say where the image is") from error
    return {one.key: one.image for one in samples if one.image is not None and not one.duplicate}


def _shrink(pixels: Pixels, px: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = min(1.0, px / max(height, width))
    return resize(pixels, max(1, round(width * scale)), max(1, round(height * scale)))


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
