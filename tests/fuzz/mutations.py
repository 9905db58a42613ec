"""Ways to damage bytes: without knowing what they mean, or knowing just the tar's grid."""

from __future__ import annotations

import random

from tests.lesstext.shards.hostile_tars import BLOCK, checksum

_ODD_BYTES = [b"\0", b"\xff", b"\x80", b"\x7f", b"\n", b"/", b"..", b"\xff\xd9", b"\xff\xda"]
_FIELDS = [(0, 100), (124, 136), (148, 156), (156, 157), (157, 257), (257, 265), (345, 500)]


def damage(rng: random.Random, data: bytes, n_most: int = 6) -> bytes:
    """Between one and `n_most` changes at random places: flips, cuts, copies, insertions."""
    for _ in range(rng.randint(1, n_most)):
        if not data:
            return rng.randbytes(rng.randint(0, 40))
        data = rng.choice(_CHANGES)(rng, data)
    return data


def damage_tar(rng: random.Random, data: bytes) -> bytes:
    """Fields of headers overwritten, often with a checksum that is right again."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if len(changed) < BLOCK:
            break
        at = rng.randrange(len(changed) // BLOCK) * BLOCK
        start, stop = rng.choice(_FIELDS)
        field = _odd_field(rng, stop - start)
        changed[at + start : at + start + len(field)] = field
        if rng.random() < 0.7:
            changed[at : at + BLOCK] = checksum(bytes(changed[at : at + BLOCK]))
    return bytes(changed)


def _odd_field(rng: random.Random, size: int) -> bytes:
    made = [
        rng.randbytes(rng.randint(1, size)),
        b"%o" % rng.choice([0, 1, 511, 513, 1 << 20, (1 << 33) - 1]),
        b"-%o" % rng.randrange(1 << 12),
        b"\x80" + rng.randbytes(max(size - 1, 0)),
        b"\xff" * size,
        bytes(size),
        rng.choice([b"0", b"1", b"5", b"7", b"L", b"K", b"S", b"x", b"g", b"X", b"D", b"V"]),
        rng.choice(
            [b"../../esc.jpg", b"/etc/x.jpg", b"a.jpg/", b"__x__.jpg", b".jpg", b"caf\xe9.jpg"]
        ),
    ]
    return rng.choice(made)[:size]


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _overwrite(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    odd = rng.choice([*_ODD_BYTES, rng.randbytes(rng.randint(1, 16))])
    return data[:at] + odd + data[at + len(odd) :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice([*_ODD_BYTES, rng.randbytes(rng.randint(1, 600))]) + data[at:]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _delete(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 700) :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    piece = data[at : at + rng.randint(1, 600)]
    return data[:at] + piece * rng.randint(2, 4) + data[at + len(piece) :]


def _zero(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    piece = data[at : at + rng.randint(1, 1200)]
    return data[:at] + bytes(len(piece)) + data[at + len(piece) :]


_CHANGES = [_flip, _flip, _flip, _overwrite, _overwrite, _insert, _cut, _delete, _repeat, _zero]
