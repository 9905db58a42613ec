"""Tar headers, walked: each becomes a member, a problem or the end, and every step advances.

Read are ustar, V7, GNU (long names, base-256 sizes) and pax tars, as Python's `tarfile` reads them
where they are sound. Where they are not, the walk says so and goes on behind the damage, at the
next block that is a header by its magic and its checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 512
_END_MARKER_BYTES = 2 * BLOCK_BYTES
_MAX_EXTENSION_BYTES = 1 << 20
_SEARCH_BYTES = 1 << 20

_FILES = (b"0", b"\0", b"7")
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_PAX, _PAX_GLOBAL = (b"x", b"X"), b"g"
_GNU = (_LONG_NAME, _LONG_LINK, _SPARSE)
_IS_EXTENDED_AT, _GOES_ON_AT = 482, 504  # of a sparse header and of its continuations
_MAGIC, _MAGIC_AT = b"ustar", 257
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_PAX_RECORD = re.compile(rb"(\d{1,20}) ([^=]+)=")
_PAX_SIZE = re.compile(r"[0-9]{1,20}")

_CUT_AT_BOUNDARY = "truncated at a member boundary: the end-of-archive marker is missing"
_NEITHER = "neither a member nor an end-of-archive marker"


@dataclass(frozen=True, slots=True)
class TarMember:
    """One file in a tar and where its bytes lie; `is_cut` where the tar ends before it does.

    Bytes of the name that are not UTF-8 stand as surrogates (PEP 383).
    """

    name: str
    offset: int
    size: int
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with the tar, for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Header:
    """One block that is a tar header by its checksum."""

    name: str
    size: int
    kind: bytes

    @property
    def is_file(self) -> bool:
        # V7 tars know no type for folders but a name that ends so.
        return self.kind in _FILES and not (self.kind == b"\0" and self.name.endswith("/"))

    @property
    def has_data(self) -> bool:
        return self.is_file or self.kind not in (*_FILES, *_WITHOUT_DATA)


def walk_tar(file: BinaryIO, size: int, *, start: int = 0) -> Iterator[TarMember | Problem]:
    """The files of a tar of `size` bytes, and its problems, from the header at `start` on.

    Archives that were concatenated behind the first are walked too, with a problem for each.
    Raises nothing but what the file itself raises on `seek` and `read`.
    """
    walk = _Walk(file, size, start)
    while not walk.is_over:
        found = walk.step()
        if found is not None:
            yield found


def parse_header(block: bytes) -> Header | None:
    """The header in a block of 512 bytes; None where it is none."""
    if len(block) != BLOCK_BYTES or not _has_checksum(block):
        return None
    size = _number(block[124:136])
    if size is None:
        return None
    kind, prefix, name = block[156:157], _text(block[345:500]), _text(block[:100])
    if prefix and kind not in _GNU:
        name = f"{prefix}/{name}"
    return Header(name, size, kind)


def padded(size: int) -> int:
    """The bytes that a member of this size takes up in a tar."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


class _Walk:
    """Where a walk stands: the next header, and what the headers before it say about it."""

    def __init__(self, file: BinaryIO, size: int, start: int) -> None:
        self.is_over = False
        self._file = file
        self._size = size
        self._at = start
        self._global: dict[str, str] = {}
        # Of the next member, outermost first: its name or pax records, None for a damaged one.
        self._extensions: list[str | dict[str, str] | None] = []

    def step(self) -> TarMember | Problem | None:
        """Read the next header and move behind it, or end."""
        block = self._read(self._at, BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            return self._end(self._explain("truncated header") if self._at == 0 else None)
        if not any(block):
            return self._end_marker()
        header = parse_header(block)
        if header is None:
            return self._go_on("bad checksum" if self._at == 0 else _NEITHER)
        if header.kind in (_LONG_NAME, _LONG_LINK, _PAX_GLOBAL, *_PAX):
            return self._extend(header)
        if header.kind == _SPARSE:
            return self._pass_sparse(header, block)
        return self._member(header)

    def _member(self, header: Header) -> TarMember | Problem | None:
        at, offset = self._at, self._at + BLOCK_BYTES
        name, size, why_not = self._described(header)
        self._extensions = []
        self._at = offset + (padded(size) if header.has_data else 0)
        if header.has_data and offset + size > self._size:
            self.is_over = True
            if header.is_file and why_not is None:
                return TarMember(name, offset, size, is_cut=True)
            return Problem(f"truncated inside member {spelled(name)}")
        if why_not is not None:
            return Problem(f"the member at byte {at} ({spelled(name)}) is passed over: {why_not}")
        return TarMember(name, offset, size) if header.is_file else None

    def _described(self, header: Header) -> tuple[str, int, str | None]:
        """Name and size after all extended headers, the outermost last, and what forbids them."""
        name, size, why_not = header.name, header.size, None
        for extension in (self._global, *reversed(self._extensions)):
            if extension is None:
                why_not = "its extended header is damaged"
            elif isinstance(extension, str):
                name = extension
            elif extension:
                if "path" in extension:
                    name = extension["path"].rstrip("/").partition("\0")[0]
                stated = extension.get("size", str(size))
                if _PAX_SIZE.fullmatch(stated):
                    size = int(stated)
                else:
                    why_not = f"its size is {stated[:40]!r}"
                if any(key.startswith("GNU.sparse.") for key in extension):
                    name = extension.get("GNU.sparse.name", name)
                    why_not = "it is sparse"
        return name, size, why_not

    def _extend(self, header: Header) -> Problem | None:
        """Keep what a long name or pax header says; its size is not to be trusted."""
        offset = self._at + BLOCK_BYTES
        if offset + header.size > self._size:
            return self._end(Problem("truncated inside an extended header"))
        self._at = offset + padded(header.size)
        if header.kind == _LONG_LINK:
            return None
        data = self._read(offset, header.size) if header.size <= _MAX_EXTENSION_BYTES else None
        if header.kind == _LONG_NAME:
            self._extensions.append(None if data is None else _text(data))
            return None
        records = None if data is None else _pax_records(data)
        if header.kind in _PAX:
            self._extensions.append(None if records is None else self._global | records)
        elif records is not None:
            self._global = self._global | records
        else:
            return Problem(f"the global header at byte {offset - BLOCK_BYTES} is damaged")
        return None

    def _pass_sparse(self, header: Header, block: bytes) -> Problem:
        """Move behind a GNU sparse file: its bytes do not lie in the tar as they are."""
        at, goes_on = self._at, block[_IS_EXTENDED_AT]
        self._at += BLOCK_BYTES
        while goes_on:
            block = self._read(self._at, BLOCK_BYTES)
            self._at += BLOCK_BYTES
            goes_on = block[_GOES_ON_AT] if len(block) == BLOCK_BYTES else 0
        name, _, _ = self._described(header)
        self._extensions = []
        self._at += padded(header.size)
        if self._at > padded(self._size):
            return self._end(Problem(f"truncated inside member {spelled(name)}"))
        return Problem(f"the member at byte {at} ({spelled(name)}) is passed over: it is sparse")

    def _end_marker(self) -> Problem | None:
        """A whole archive ends in 1,024 zero bytes; behind them another may follow."""
        if self._extensions:
            self._extensions = []
            return Problem(f"damaged after byte {self._at}: an extended header without its member")
        marker = self._read(self._at, _END_MARKER_BYTES)
        if len(marker) < _END_MARKER_BYTES:
            return self._end()
        if any(marker):
            return self._go_on(_NEITHER)
        following = self._next_nonzero_block(self._at + _END_MARKER_BYTES)
        self.is_over = following is None
        if following is None:
            return None
        self._at, self._global = following, {}
        return Problem(
            f"concatenated: another archive starts at byte {following}; "
            "webdataset stops reading at the first end marker"
        )

    def _go_on(self, why: str) -> Problem:
        """Say what is wrong here and move to the next header, if there is one."""
        problem = self._explain(why)
        self._extensions = []
        found = self._next_header(self._at + 1)
        if found is None:
            return self._end(problem)
        self._at = found
        return Problem(f"{problem.text}; members go on at byte {found}")

    def _end(self, problem: Problem | None = None) -> Problem:
        self.is_over = True
        return problem or Problem(_CUT_AT_BOUNDARY)

    def _explain(self, why: str) -> Problem:
        if self._at == 0:
            head = self._read(0, 16)
            return Problem(f"is not a tar archive (starts with {head!r}): {why}")
        return Problem(f"damaged after byte {self._at}: {why}")

    def _next_nonzero_block(self, start: int) -> int | None:
        """The next block, counted from `start`, that is not all zero."""
        for at in range(start, self._size, _SEARCH_BYTES):
            found = self._read(at, _SEARCH_BYTES)
            stripped = found.lstrip(b"\0")
            if stripped:
                first = at + len(found) - len(stripped)
                return first - (first - start) % BLOCK_BYTES
        return None

    def _next_header(self, start: int) -> int | None:
        """The next header at or after `start`, on any byte: what was cut is off the grid."""
        for at in range(start, self._size, _SEARCH_BYTES):
            window = self._read(at, _SEARCH_BYTES + BLOCK_BYTES)
            magic = window.find(_MAGIC, _MAGIC_AT)
            while magic >= 0:
                first = magic - _MAGIC_AT
                if parse_header(window[first : first + BLOCK_BYTES]) is not None:
                    return at + first
                magic = window.find(_MAGIC, magic + 1)
        return None

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)


def spelled(name: str) -> str:
    r"""A name as valid Unicode, and no two names alike: bytes that are not UTF-8 become `\xe9`.

    In a name that holds such bytes, or what looks like one, a backslash is doubled; every other
    name is left as it is.

    >>> spelled("caf\udce9")
    'caf\\xe9'
    >>> spelled("caf\\xe9"), spelled("a\\b")
    ('caf\\\\xe9', 'a\\b')
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        pass
    else:
        if "\\x" not in name:
            return name
    return _UNDECODED.sub(lambda found: _escape(found[0]), name.replace("\\", "\\\\"))


_UNDECODED = re.compile("[\udc80-\udcff]")


def _escape(surrogate: str) -> str:
    return f"\\x{ord(surrogate) - 0xDC00:02x}"


def _has_checksum(block: bytes) -> bool:
    """Over all bytes, its own taken as blanks; some old tars added the bytes up as signed."""
    stated = _number(block[148:156])
    unsigned = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if stated == unsigned:
        return True
    rest = block[:148] + block[156:]
    return stated is not None and stated == unsigned - 256 * sum(byte > 127 for byte in rest)


def _number(field: bytes) -> int | None:
    """A number of a header, octal or in GNU's base 256; None where it is neither, or negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    match = _OCTAL.fullmatch(field.split(b"\0", 1)[0])
    return int(match[1] or b"0", 8) if match is not None else None


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax_records(data: bytes) -> dict[str, str] | None:
    """The records of a pax header (`LENGTH KEY=VALUE\\n` each); None where they are damaged."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at] != 0:
        match = _PAX_RECORD.match(data, at)
        if match is None:
            return None
        stop = at + int(match[1]) - 1
        if match.end() > stop or data[stop : stop + 1] != b"\n":
            return None
        key, value = match[2], data[match.end() : stop]
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at = stop + 1
    return records
