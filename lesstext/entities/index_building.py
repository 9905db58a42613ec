"""How the aliases of a knowledge base become an index: which are left out, plurals, weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesstext.entities.alias_index import states
from lesstext.entities.spelling import COMMON, INITIALS, NAME, is_usable, plural_of
from lesstext.entities.words import U64, Ints, Words, composed, words_of
from lesstext.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.entities.knowledge_base import KnowledgeBase

_MAX_WORDS = 10
_ENTITIES_AT_ONCE = 20_000
_PLURAL_WEIGHT = 0.5
"""Of a plural that we made, against one that the knowledge base lists."""
_MAX_CANDIDATES = 32


@dataclass(slots=True)
class _Candidates:
    """One for each way that an alias can be written; `forms` are hashes of all its words."""

    forms: U64
    entities: Ints
    weights: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    n_capitals: NDArray[np.uint8]


def build(kb: KnowledgeBase) -> dict[str, Any]:
    """The arrays of `AliasIndex`; raises UsageError for a knowledge base without aliases."""
    prefixes, parts, longest = [], [], 1
    table = kb.columns(["aliases", "alias_weights", "prior"])
    for start in range(0, kb.n_entities, _ENTITIES_AT_ONCE):
        texts, rows, weights = _aliases(table, start)
        words = words_of(texts)
        part, some, n_words = _part(words, len(texts), rows, weights)
        longest = max(longest, n_words)
        parts.append(part)
        prefixes.append(np.unique(some))
    every = _concatenated(parts)
    if not len(every.forms):
        raise UsageError(f"{kb.location} holds no alias that could be found in a caption")
    shared = table["alias_weights"].null_count == 0
    forms, meanings = _meanings(every, shared)
    return {
        **states(np.concatenate(prefixes), forms),
        **meanings,
        **_entities(kb),
        "max_words": np.array([longest], np.int32),
    }


def _aliases(
    table: pa.Table, start: int
) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32]]:
    """The ways to write the aliases of some entities, the row of each, and its weight."""
    some = table.slice(start, _ENTITIES_AT_ONCE).to_pydict()
    texts, rows, weights = [], [], []
    for row, (aliases, given, prior) in enumerate(zip(*some.values(), strict=True), start):
        for text, weight in _spellings(aliases, given or [prior] * len(aliases)):
            texts.append(text)
            rows.append(row)
            weights.append(weight)
    return texts, np.array(rows, np.int64), np.array(weights, np.float32)


def _spellings(aliases: Sequence[str], weights: Sequence[float]) -> Iterator[tuple[str, float]]:
    for alias, weight in zip(aliases, weights, strict=True):
        text = composed(alias)[0].strip()
        if not is_usable(text):
            continue
        yield text, weight
        plural = plural_of(text)
        if plural is not None:
            yield plural, weight * _PLURAL_WEIGHT


def _part(
    words: Words, n_texts: int, rows: Ints, weights: NDArray[np.float32]
) -> tuple[_Candidates, U64, int]:
    """The candidates, the hashes of everything that an alias begins with, and most words."""
    starts = np.searchsorted(words.text, np.arange(n_texts + 1))
    n_words = np.diff(starts)
    kept = np.flatnonzero((n_words > 0) & (n_words <= _MAX_WORDS))
    first, last = starts[kept], starts[kept] + n_words[kept] - 1
    prefixes = [
        words.hash_spans(first[more], first[more] + n)
        for n in range(int(n_words[kept].max(initial=0)))
        if (more := first + n <= last).any()
    ]
    capitals = np.concatenate([[0], np.cumsum(words.capital)])
    small = np.concatenate([[0], np.cumsum(~words.all_capitals)])
    n_capitals = capitals[last + 1] - capitals[first]
    letters = np.array([words.stop[b] - words.start[a] for a, b in zip(first, last, strict=True)])
    initials = (small[last + 1] == small[first]) & (letters > 1)
    kinds = np.where(n_capitals == 0, COMMON, np.where(initials, INITIALS, NAME))
    part = _Candidates(
        forms=words.hash_spans(first, last),
        entities=rows[kept],
        weights=weights[kept],
        kinds=kinds.astype(np.uint8),
        n_capitals=n_capitals.astype(np.uint8),
    )
    longest = int(n_words[kept].max(initial=1))
    return part, np.concatenate([np.zeros(0, np.uint64), *prefixes]), longest


def _concatenated(parts: Sequence[_Candidates]) -> _Candidates:
    names = _Candidates.__slots__
    return _Candidates(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _meanings(every: _Candidates, shared: bool) -> tuple[U64, dict[str, Any]]:
    """The hashes of all forms, sorted, and the candidates of each.

    Weights of one form come to 1 at most; where they are no shares, priors that is, to exactly 1.
    """
    order = np.lexsort((-every.weights, every.kinds, every.entities, every.forms))
    forms, entities = every.forms[order], every.entities[order]
    once = np.append(True, (forms[1:] != forms[:-1]) | (entities[1:] != entities[:-1]))
    order = order[once]
    order = order[np.lexsort((every.entities[order], -every.weights[order], every.forms[order]))]
    unique, starts = np.unique(every.forms[order], return_index=True)
    counts = np.diff(np.append(starts, len(order)))
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    weights = every.weights[order].astype(np.float64)
    totals = np.repeat(np.add.reduceat(weights, starts), counts)
    shares = weights / (np.maximum(totals, 1) if shared else np.maximum(totals, 1e-9))
    kept = rank < _MAX_CANDIDATES
    ends = np.cumsum(np.minimum(counts, _MAX_CANDIDATES))
    order = order[kept]
    return unique, {
        "form_starts": np.concatenate([[0], ends]).astype(np.int32),
        "entities": every.entities[order].astype(np.int32),
        "weights": shares[kept].astype(np.float32),
        "kinds": every.kinds[order],
        "n_capitals": every.n_capitals[order],
    }


def _entities(kb: KnowledgeBase) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = kb.columns(["entity_id", "types", "depictable"]).combine_chunks()
    ids = table["entity_id"].combine_chunks().cast(pa.large_binary())
    types = table["types"].combine_chunks()
    coded = pc.list_flatten(types).dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    counts = np.maximum(np.bincount(codes, minlength=1), 1)
    rare = 1 - np.log(counts) / np.log(max(kb.n_entities, 2))
    sizes = pc.fill_null(pc.list_value_length(types), 0).to_numpy(zero_copy_only=False)
    lengths = pc.binary_length(ids).to_numpy(zero_copy_only=False)
    text = b"".join(ids.to_pylist())
    return {
        "depictable": table["depictable"].to_numpy().astype(np.uint8),
        "id_starts": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "ids": np.frombuffer(text, np.uint8),
        "type_starts": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        "types": codes,
        "type_weights": np.maximum(rare, 0).astype(np.float32),
    }
