"""WebDataset tars, read strictly: what is damaged is said, what is whole is kept.

Members are grouped into samples as webdataset does (key = path up to the first dot of the file
name), but over the whole tar, so that interleaved members still meet in one sample.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from lesstext.errors import ShardError
from lesstext.shards.tar_walk import BLOCK_BYTES, Problem, TarMember, spelled, walk_tar

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_MAX_PROBLEMS = 20
_MANY_MEMBERS = 16
_LARGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a sample: its suffix (lower case, without the dot) and where its bytes lie.

    `name` is the tar's own, in which bytes that are not UTF-8 are surrogates; to be shown, it is
    `spelled`, as keys and suffixes are.
    """

    name: str
    suffix: str
    offset: int
    size: int

    def __str__(self) -> str:
        return spelled(self.name)


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
            for found in walk_tar(file, size):
                if isinstance(found, Problem):
                    problems.append(found.text)
                else:
                    grouper.add(found)
    except OSError as error:
        raise ShardError(shard, f"cannot be read: {error}") from error
    problems += grouper.problems()
    n_more = len(problems) - _MAX_PROBLEMS
    if n_more > 0:
        problems[_MAX_PROBLEMS:] = [f"and {n_more} further problems"]
    if not grouper.samples and problems:
        raise ShardError(shard, "; ".join(problems))
    return ShardIndex(grouper.samples, problems)


def read_member(file: BinaryIO, member: Member) -> bytes:
    """The bytes of one member; raises EOFError when the file ends first."""
    if member.size > _LARGE_BYTES:  # room is made for all of them before the first is read
        _refuse_cut(member, file.seek(0, io.SEEK_END) - member.offset)
    file.seek(member.offset)
    data = file.read(member.size)
    _refuse_cut(member, len(data))
    return data


def _refuse_cut(member: Member, n_bytes: int) -> None:
    if n_bytes < member.size:
        raise EOFError(f"{member}: {n_bytes} of {member.size} bytes, the shard is cut off")


def _size_of_tar(path: Path, shard: str) -> int:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(BLOCK_BYTES)
    except OSError as error:
        raise ShardError(shard, f"cannot be read: {error}") from error
    if size == 0:
        raise ShardError(shard, "is an empty file (0 bytes), not a tar")
    if head[:2] == b"\x1f\x8b":
        raise ShardError(shard, "is gzip-compressed; unpack it to a plain .tar first")
    return size


class _Grouper:
    """Collects members into samples, in the order in which the samples first appear."""

    def __init__(self) -> None:
        self.samples: list[SampleEntry] = []
        self._latest: dict[str, SampleEntry] = {}
        self._suffixes: dict[str, set[str]] = {}
        self._interleaved: set[str] = set()
        self._cut: list[str] = []
        self._last: SampleEntry | None = None

    def add(self, found: TarMember) -> None:
        parts = split_name(found.name)
        if parts is not None:
            key, suffix = spelled(parts[0]), spelled(parts[1])
            self._last = self._sample_for(key, suffix)
            self._last.members.append(Member(found.name, suffix, found.offset, found.size))
        if found.is_cut:
            self._cut.append(f"truncated inside member {spelled(found.name)}")
            if parts is not None and self._last is not None:
                self._last.cut = True

    def _sample_for(self, key: str, suffix: str) -> SampleEntry:
        """The sample that this member belongs to: the latest of its key, unless that has one."""
        entry = self._latest.get(key)
        if entry is None or self._has(entry, suffix):
            entry = SampleEntry(key, duplicate=entry is not None)
            self.samples.append(entry)
            self._latest[key] = entry
            self._suffixes.pop(key, None)
        elif entry is not self._last:
            self._interleaved.add(key)
        return entry

    def _has(self, entry: SampleEntry, suffix: str) -> bool:
        """Whether a sample holds a suffix already; a set is kept for those of many members."""
        if len(entry.members) < _MANY_MEMBERS:
            return any(member.suffix == suffix for member in entry.members)
        if entry.key not in self._suffixes:
            self._suffixes[entry.key] = {member.suffix for member in entry.members}
        known = self._suffixes[entry.key]
        is_known = suffix in known
        known.add(suffix)
        return is_known

    def problems(self) -> list[str]:
        found = self._cut
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
