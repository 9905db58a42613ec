"""Texts as words: where they begin and end, folded so that spans compare by a 64-bit hash.

A word is a run of letters, digits and marks. Scripts that write no spaces (Chinese, Japanese, Thai,
Lao, Khmer, Burmese) give one word a character, so that names are found inside a run of them.
Between two words stands a soft gap (blanks, hyphens, apostrophes, underscores: all alike) or a hard
one (whatever else, such as a comma or the end of a line), which a name only bridges where it is
spelt with the same sign. Letters are compared in small, and in their compatibility form.
Characters that are only there for layout, such as marks of direction, count as not there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

UNICODE = unicodedata.unidata_version
_HARD, _SOFT, _ABSENT, _WORD, _WIDE, _MARK, _UPPER = range(7)
_N_CODES = 0x33480
"""All code points above are hard gaps."""
_WIDE_RANGES = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3100, 0x312F)),
    *((0x31A0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3347F)),
)
_SOFT_SIGNS = "\t-‐‑'’_"
_SPACE = np.uint64(32)
_BASE = 0x9E3779B97F4A7C15 | 1


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts, in order.

    Of each: its `text`, where it starts and stops there in code points, whether it begins with a
    capital, whether all its letters are, and the number of its segment: the words between two hard
    gaps. `hash_spans` compares runs of words.
    """

    text: Ints
    start: Ints
    stop: Ints
    capital: Flags
    all_capitals: Flags
    segment: Ints
    first: Ints
    last: Ints
    sums: U64

    def __len__(self) -> int:
        return len(self.text)

    def hash_spans(self, first: Ints, last: Ints) -> U64:
        """A hash of each run of words, both ends included."""
        start, stop = self.first[first], self.last[last]
        sums = self.sums[stop] - self.sums[start]
        return _mixed(sums * _powers(len(self.sums))[1][start])


def words_of(texts: Sequence[str]) -> Words:
    """The words of all texts, none of which may hold half a surrogate pair."""
    codes, text = _codes(texts)
    kinds = _table()[0][codes]
    if (kinds == _ABSENT).any():
        kept = np.flatnonzero(kinds != _ABSENT)
        codes, text, kinds = codes[kept], text[kept], kinds[kept]
    else:
        kept = np.arange(len(codes))
    starts, stops = _bounds(kinds)
    first, last, sums = _hashed(codes, kinds, starts, stops)
    hard = np.cumsum(kinds == _HARD)
    capitals = np.concatenate([[0], np.cumsum(kinds == _UPPER)])
    n_capitals = capitals[stops] - capitals[starts]
    offsets = np.concatenate([[0], np.cumsum([len(one) + 1 for one in texts])])
    which = text[starts]
    return Words(
        text=which,
        start=kept[starts] - offsets[which],
        stop=kept[stops - 1] + 1 - offsets[which],
        capital=kinds[starts] == _UPPER,
        all_capitals=n_capitals == stops - starts,
        segment=hard[starts],
        first=first,
        last=last,
        sums=sums,
    )


def composed(text: str) -> tuple[str, list[int] | None]:
    """The text with marks joined to their letters, and where each of its characters was before.

    None for a text that is in that form already, as nearly all are.
    """
    if unicodedata.is_normalized("NFC", text):
        return text, None
    pieces: list[str] = []
    places: list[int] = []
    start = 0
    for stop in range(1, len(text) + 1):
        if stop == len(text) or not unicodedata.combining(text[stop]):
            piece = unicodedata.normalize("NFC", text[start:stop])
            pieces.append(piece)
            places += [start] * len(piece)
            start = stop
    return "".join(pieces), [*places, len(text)]


def _codes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Ints]:
    """All code points, each text ended by a 0, and the text that each is of."""
    joined = "\0".join([*texts, ""]).encode("utf-32-le")
    codes = np.minimum(np.frombuffer(joined, np.uint32), _N_CODES)
    return codes, np.repeat(np.arange(len(texts)), [len(one) + 1 for one in texts])


def _bounds(kinds: NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Where words start and stop."""
    inside = kinds >= _WORD
    wide = kinds == _WIDE
    before_inside = np.concatenate([[False], inside[:-1]])
    before_wide = np.concatenate([[False], wide[:-1]])
    begins = inside & (wide | ~before_inside | (before_wide & (kinds != _MARK)))
    starts = np.flatnonzero(begins)
    ends = inside & np.concatenate([begins[1:] | ~inside[1:], [True]])
    return starts, np.flatnonzero(ends) + 1


def _hashed(
    codes: NDArray[np.uint32], kinds: NDArray[np.uint8], starts: Ints, stops: Ints
) -> tuple[Ints, Ints, U64]:
    """Of each word its first and its last place in the running sums that `hash_spans` subtracts.

    What is summed are the characters of words, and one sign for each gap, times powers of a base.
    """
    inside = kinds >= _WORD
    opens = ~inside & np.concatenate([[True], inside[:-1]])
    values = _table()[1][codes]
    gaps = np.flatnonzero(opens)
    if len(gaps):
        hard = np.where(kinds == _HARD, codes + np.uint32(1), 0)
        sign = np.maximum.reduceat(hard, gaps)
        values[gaps] = np.where(
            sign == 0, _mixed(_SPACE), _mixed(sign.astype(np.uint64) << np.uint64(32))
        )
    summed = inside | opens
    place = np.cumsum(summed)
    values = values[summed]
    powers = _powers(len(values) + 1)[0][: len(values)]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * powers, dtype=np.uint64)])
    return place[starts] - 1, place[stops - 1], sums


_power_tables: list[tuple[U64, U64]] = []


def _powers(n: int) -> tuple[U64, U64]:
    """The first powers of the base, n or more, and of its inverse modulo 2^64."""
    if not _power_tables or len(_power_tables[0][0]) < n:
        size = 1 << max(16, (n - 1).bit_length())
        both = [np.full(size, base, np.uint64) for base in (_BASE, pow(_BASE, -1, 1 << 64))]
        for one in both:
            one[0] = 1
            np.cumprod(one, out=one)
        _power_tables[:] = [(both[0], both[1])]
    return _power_tables[0]


def _mixed(values: U64 | np.uint64) -> U64:
    """splitmix64's finaliser: all bits of the result depend on all bits of the value."""
    mixed = np.atleast_1d(values).astype(np.uint64)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@cache
def _table() -> tuple[NDArray[np.uint8], U64]:
    """By code point: its kind, and the value that stands for its folded form in a hash."""
    kinds = np.zeros(_N_CODES + 1, np.uint8)
    folded = np.arange(_N_CODES + 1, dtype=np.uint64)
    for code in range(_N_CODES):
        char = chr(code)
        kinds[code] = _kind(char, unicodedata.category(char))
        if kinds[code] >= _WORD:
            low = unicodedata.normalize("NFKC", char).lower()
            folded[code] = ord(low) if len(low) == 1 else code
    for start, stop in _WIDE_RANGES:
        part = kinds[start : stop + 1]
        part[part >= _WORD] = np.where(part[part >= _WORD] == _MARK, _MARK, _WIDE)
    return kinds, _mixed((folded + np.uint64(1)) << np.uint64(20))


def _kind(char: str, category: str) -> int:
    if category in ("Lu", "Lt"):
        return _UPPER
    if category[0] in "LN":
        return _WORD
    if category[0] == "M":
        return _MARK
    if category == "Cf":
        return _ABSENT
    return _SOFT if category == "Zs" or char in _SOFT_SIGNS else _HARD
