"""WebDataset tars, read strictly: what is damaged is said, what is whole is kept.

Members are grouped into samples as webdataset does (key = path up to the first dot of the file
name), but over the whole tar, so that interleaved members still meet in one sample.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from lesstext.errors import ShardError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_END_MARKER_BYTES = 1024
_BLOCK = 512
_CUT_AT_BOUNDARY = "truncated at a member boundary: the end-of-archive marker is missing"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a sample: its suffix (lower case, without the dot) and where its bytes lie."""

    name: str
    suffix: str
    offset: int
    size: int


@dataclass(slots=True)
class SampleEntry:
    """One sample's members in tar order.

    `duplicate` marks a second sample of the same key; `cut` one whose last member is incomplete.
    """

    key: str
    members: list[Member] = field(default_factory=list)
    duplicate: bool = False
    cut: bool = False

    def member(self, *suffixes: str) -> Member | None:
        """The first member whose whole suffix is one of `suffixes`."""
        return next((m for m in self.members if m.suffix in suffixes), None)

    @property
    def image(self) -> Member | None:
        """The member that holds the image: `key.jpg` before `key.anything.jpg`."""
        exact = self.member(*IMAGE_SUFFIXES)
        if exact is not None:
            return exact
        return next(
            (m for m in self.members if m.suffix.rpartition(".")[2] in IMAGE_SUFFIXES), None
        )


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The samples of one shard in tar order, and every problem found on the way."""

    samples: list[SampleEntry]
    problems: list[str]


def split_name(name: str) -> tuple[str, str] | None:
    """Split a member name into key and suffix; None for names that belong to no sample.

    >>> split_name("a/b.seg.PNG")
    ('a/b', 'seg.png')
    >>> split_name("README") is None
    True
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not dot or not stem or not suffix or (stem.startswith("__") and stem.endswith("__")):
        return None
    return folder + slash + stem, suffix.lower()


def index_shard(path: Path, shard: str | None = None) -> ShardIndex:
    """Find every sample of a tar without reading its contents.

    Damage is reported in `problems`, never raised, as long as a single member can be found:
    truncation (inside a member or at a member boundary), a second archive after the first,
    interleaved members and duplicate keys. Raises ShardError where nothing can be read.
    """
    shard = shard or str(path)
    size = _size_of_tar(path, shard)
    grouper = _Grouper()
    problems: list[str] = []
    try:
        with path.open("rb") as file:
            _walk_archives(file, size, grouper, problems)
    except OSError as error:
        raise ShardError(shard, f"cannot be read: {error}") from error
    if not grouper.samples and problems:
        raise ShardError(shard, "; ".join(problems))
    return ShardIndex(grouper.samples, problems + grouper.problems())


def read_member(file: BinaryIO, member: Member) -> bytes:
    """The bytes of one member; raises EOFError when the file ends first."""
    file.seek(member.offset)
    data = file.read(member.size)
    if len(data) < member.size:
        raise EOFError(f"{member.name}: {len(data)} of {member.size} bytes, the shard is cut off")
    return data


def _size_of_tar(path: Path, shard: str) -> int:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_BLOCK)
    except OSError as error:
        raise ShardError(shard, f"cannot be read: {error}") from error
    if size == 0:
        raise ShardError(shard, "is an empty file (0 bytes), not a tar")
    if head[:2] == b"\x1f\x8b":
        raise ShardError(shard, "is gzip-compressed; unpack it to a plain .tar first")
    return size


def _walk_archives(file: BinaryIO, size: int, grouper: _Grouper, problems: list[str]) -> None:
    """Index the first archive and any that were concatenated behind it."""
    start = 0
    while True:
        end, problem = _walk_archive(file, start, size, grouper)
        if problem is not None:
            problems.append(problem)
        if problem is not None or (following := _next_archive(file, end, size)) is None:
            return
        problems.append(
            f"concatenated: another archive starts at byte {following}; "
            "webdataset stops reading at the first end marker"
        )
        start = following


def _walk_archive(
    file: BinaryIO, start: int, size: int, grouper: _Grouper
) -> tuple[int, str | None]:
    """Index one archive; returns the byte after its last member, and what is wrong with it."""
    end = start
    try:
        file.seek(start)
        if file.read(_BLOCK) == bytes(_BLOCK):  # an empty archive, which Python 3.10 refuses
            return start, _check_end_marker(file, start, size)
        file.seek(start)
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - does not own the file
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # else it would keep every header
            end = tar.offset
            if info.isreg():
                grouper.add(info.name, info.offset_data, info.size)
            if info.offset_data + info.size > size:
                grouper.mark_cut()
                return end, f"truncated inside member {info.name}"
    except tarfile.TarError as error:
        if end > size:
            return end, _CUT_AT_BOUNDARY
        return end, _explain(file, start, end, error)
    return end, _check_end_marker(file, end, size)


def _explain(file: BinaryIO, start: int, end: int, error: tarfile.TarError) -> str:
    if end == start == 0:
        file.seek(0)
        return f"is not a tar archive (starts with {file.read(16)!r}): {error}"
    return f"damaged after byte {end}: {error}"


def _check_end_marker(file: BinaryIO, end: int, size: int) -> str | None:
    """A whole archive ends in 1,024 zero bytes; one cut at a member boundary just stops."""
    if size < end + _END_MARKER_BYTES:
        return _CUT_AT_BOUNDARY
    file.seek(end)
    if any(file.read(_END_MARKER_BYTES)):
        return f"damaged after byte {end}: neither a member nor an end-of-archive marker"
    return None


def _next_archive(file: BinaryIO, end: int, size: int) -> int | None:
    """The offset of the next non-zero block at or after `end`, or None for padding only."""
    position = end + _END_MARKER_BYTES
    file.seek(position)
    while position < size:
        block = file.read(1 << 20)
        stripped = block.lstrip(b"\0")
        if stripped:
            found = position + len(block) - len(stripped)
            return found - (found - end) % _BLOCK
        position += len(block)
    return None


class _Grouper:
    """Collects members into samples, in the order in which the samples first appear."""

    def __init__(self) -> None:
        self.samples: list[SampleEntry] = []
        self._latest: dict[str, SampleEntry] = {}
        self._interleaved: set[str] = set()
        self._last: SampleEntry | None = None

    def add(self, name: str, offset: int, size: int) -> None:
        parts = split_name(name)
        if parts is None:
            return
        key, suffix = parts
        entry = self._latest.get(key)
        if entry is None or any(m.suffix == suffix for m in entry.members):
            entry = SampleEntry(key, duplicate=entry is not None)
            self.samples.append(entry)
            self._latest[key] = entry
        elif entry is not self._last:
            self._interleaved.add(key)
        entry.members.append(Member(name, suffix, offset, size))
        self._last = entry

    def mark_cut(self) -> None:
        if self._last is not None:
            self._last.cut = True

    def problems(self) -> list[str]:
        found = []
        if self._interleaved:
            example = min(self._interleaved)
            found.append(
                f"interleaved: the members of {len(self._interleaved)} samples are not adjacent "
                f"(for example key {example}); webdataset would yield them in halves"
            )
        duplicates = [entry.key for entry in self.samples if entry.duplicate]
        if duplicates:
            found.append(f"duplicate keys: {len(duplicates)} (for example key {duplicates[0]})")
        return found
