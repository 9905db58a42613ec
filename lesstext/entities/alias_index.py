"""All aliases of a knowledge base as one automaton over words, memory-mapped by every worker.

Its states are runs of words with which an alias begins, found by their 64-bit hash in a sorted
array with a bucket for the leading bits: a walk from every word of many texts at once, each step as
many NumPy operations however many there are. The file lies in the cache under the digest of the
knowledge base; workers of a machine share its pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesstext.entities.words import U64, Ints, Words

_ABSENT, PREFIX = -2, -1


@dataclass(frozen=True, slots=True)
class AliasIndex:
    """States, the forms that end at them, and what each form can mean.

    `keys` are sorted hashes of runs of words, `values` the number of the form or -1 for the
    beginning of one; `buckets` where hashes with the same leading bits begin. Candidates of form f
    are `form_starts[f]` to `form_starts[f + 1]`, of each form sorted by falling weight: the
    entity's row, its weight, how an alias is written (`kind`), and how many of its words begin
    with a capital. Of an entity: whether it is depictable, its id, and numbers for its types, each
    with its `type_weights` by how rare it is.
    """

    keys: U64
    values: NDArray[np.int32]
    buckets: NDArray[np.int32]
    form_starts: NDArray[np.int32]
    entities: NDArray[np.int32]
    weights: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    n_capitals: NDArray[np.uint8]
    depictable: NDArray[np.uint8]
    id_starts: NDArray[np.int64]
    ids: NDArray[np.uint8]
    type_starts: NDArray[np.int32]
    types: NDArray[np.int32]
    type_weights: NDArray[np.float32]
    max_words: NDArray[np.int32]

    def find(self, words: Words) -> tuple[Ints, Ints, Ints]:
        """All aliases in the texts, nested ones too: first word, last word and form of each, by
        first word, the longest first."""
        firsts, lasts, forms = [], [], []
        first = np.arange(len(words))
        for more in range(int(self.max_words[0])):
            first = first[first + more < len(words)]
            value = self.look_up(words.hash_spans(first, first + more))
            ends = value >= 0
            firsts.append(first[ends])
            lasts.append(first[ends] + more)
            forms.append(value[ends])
            first = first[value >= PREFIX]
            if not len(first):
                break
        found = [np.concatenate(one) for one in (firsts, lasts, forms)]
        order = np.lexsort((-found[1], found[0]))
        return found[0][order], found[1][order], found[2][order]

    def look_up(self, hashes: U64) -> Ints:
        """The form of each run of words, -1 for the beginning of one, -2 for none of both."""
        bucket = (hashes >> np.uint64(64 - _bits(len(self.buckets)))).astype(np.int64)
        place, stop = self.buckets[bucket].astype(np.int64), self.buckets[bucket + 1]
        value = np.full(len(hashes), _ABSENT, np.int64)
        left = np.flatnonzero(place < stop)
        while len(left):
            keys, wanted = self.keys[place[left]], hashes[left]
            hit = keys == wanted
            value[left[hit]] = self.values[place[left[hit]]]
            left = left[keys < wanted]
            place[left] += 1
            left = left[place[left] < stop[left]]
        return value

    def entity_id(self, row: int) -> str:
        """The id of the entity in that row of the knowledge base."""
        return bytes(self.ids[self.id_starts[row] : self.id_starts[row + 1]]).decode()


def _bits(n_buckets: int) -> int:
    return (n_buckets - 1).bit_length() - 1


def states(hashes: U64, forms: U64) -> dict[str, Any]:
    """The arrays of an index that hold its states: `forms` are the sorted hashes where one ends."""
    keys = np.unique(np.concatenate([hashes, forms]))
    values = np.full(len(keys), PREFIX, np.int32)
    values[np.searchsorted(keys, forms)] = np.arange(len(forms), dtype=np.int32)
    bits = max(1, len(keys).bit_length())
    leading = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
    buckets = np.append(np.searchsorted(keys, leading), len(keys)).astype(np.int32)
    return {"keys": keys, "values": values, "buckets": buckets}
