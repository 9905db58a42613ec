"""Tars written block by block, so that each header can say what no writer would."""

from __future__ import annotations

BLOCK = 512


def checksum(block: bytes) -> bytes:
    """The block with its checksum set right."""
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


def header(
    name: bytes, size: int | bytes = 0, kind: bytes = b"0", magic: bytes = b"ustar\x0000"
) -> bytes:
    """One header; `size` as a number or as its very field."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field[:12].ljust(12)
    block += b"00000000000\0" + b" " * 8 + kind + bytes(100) + magic
    return checksum(block.ljust(BLOCK, b"\0"))


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"data", kind: bytes = b"0") -> bytes:
    return header(name, len(data), kind) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    """One record of a pax header, with its own length in front."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(str(length)) + len(rest):
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    return member(b"PaxHeaders/x", b"".join(records), kind)


END = bytes(2 * BLOCK)
