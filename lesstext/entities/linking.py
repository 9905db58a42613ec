"""From all aliases in captions to mentions: spelling, nouns, the longest first, what each means.

1. An alias in capitals needs them in the caption; initials need all. A word in small letters is
   taken in any, but not where its capitals say that it is part of a name: in a segment (between two
   hard gaps) that also has words in small letters, capitals inside the segment, or at its start
   with another capital beside it, are a name's.
2. An alias is taken where its likeliest meaning is depictable.
3. It must be a noun: by the tagger, else by lists of words.
4. Of what overlaps, the leftmost is taken, of those that start there the longest.
5. Mentions of one caption disambiguate each other (`disambiguate`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from lesstext.entities.alias_index import AliasIndex
from lesstext.entities.spelling import (
    COMMON,
    FUNCTION_WORDS,
    INITIALS,
    NAME,
    NO_NOUN_AFTER,
    VERBISH,
)
from lesstext.entities.words import U64, Flags, Ints, Words, words_of

RULES = 1
"""Number of these rules, as it stands in the annotator's id; another whenever a mention differs."""
_RELATED = 4.0
_ROUNDS = 3

IsNoun = Callable[[int, int, int], bool]
"""Whether a stretch of a text is a noun: the text's number, start and stop."""


@dataclass(slots=True)
class Found:
    """A mention in text number `text`; candidates are (row of the entity, weight)."""

    text: int
    start: int
    stop: int
    source: str
    candidates: list[tuple[int, float]] = field(default_factory=list)


def link(index: AliasIndex, texts: Sequence[str], is_noun: IsNoun | None) -> list[Found]:
    """The mentions of all texts, in order; `is_noun` None: by lists of words alone."""
    words = words_of(texts)
    first, last, form = index.find(words)
    hits = _plausible(index, words, first, last, form, by_lists=is_noun is None)
    found: list[Found] = []
    end, text = 0, -1
    for a, b, candidates in hits:
        number, start, stop = int(words.text[a]), int(words.start[a]), int(words.stop[b])
        if number == text and start < end:
            continue
        if is_noun is not None and not is_noun(number, start, stop):
            continue
        found.append(Found(number, start, stop, "alias", candidates))
        end, text = stop, number
    return found


def meanings_of(index: AliasIndex, names: Sequence[str]) -> list[list[tuple[int, float]]]:
    """What each name as a whole can mean that is depictable; often nothing."""
    bare = [name[4:] if name[:4].lower() == "the " else name for name in names]
    words = words_of(bare)
    first, last, form = index.find(words)
    starts = np.searchsorted(words.text, np.arange(len(names) + 1))
    whole = (first == starts[words.text[first]]) & (last == starts[words.text[first] + 1] - 1)
    found: list[list[tuple[int, float]]] = [[] for _ in names]
    some = (first[whole], last[whole], form[whole])
    for a, _, candidates in _plausible(index, words, *some, by_lists=False, names=True):
        found[int(words.text[a])] = candidates
    return found


def disambiguate(index: AliasIndex, mentions: Sequence[Found]) -> None:
    """Let the mentions of one caption weigh each other's candidates anew; our choice of method.

    A candidate's weight is its share of the alias, times 1 + 4 s. The support s is the sum, over
    the types that it shares with candidates of other mentions, of how rare the type is times the
    weight of the heaviest of these, over the number of its types. Three rounds, each from the
    weights of the last; the weights of a mention keep their sum.
    """
    if len(mentions) < 2 or all(len(mention.candidates) < 2 for mention in mentions):
        return
    types = {row: _types(index, row) for mention in mentions for row, _ in mention.candidates}
    own = [dict(mention.candidates) for mention in mentions]
    now = [dict(weights) for weights in own]
    for _ in range(_ROUNDS):
        masses = [_masses(weights, types) for weights in now]
        total: dict[int, float] = defaultdict(float)
        for mass in masses:
            for kind, weight in mass.items():
                total[kind] += weight
        now = [
            _weighed(weights, mass, total, types) if len(weights) > 1 else weights
            for weights, mass in zip(own, masses, strict=True)
        ]
    for mention, weights in zip(mentions, now, strict=True):
        mention.candidates = sorted(weights.items(), key=lambda one: (-one[1], one[0]))


def _masses(
    weights: dict[int, float], types: dict[int, list[tuple[int, float]]]
) -> dict[int, float]:
    mass: dict[int, float] = {}
    for row, weight in weights.items():
        for kind, rare in types[row]:
            mass[kind] = max(mass.get(kind, 0.0), weight * rare)
    return mass


def _weighed(
    weights: dict[int, float],
    mass: dict[int, float],
    total: dict[int, float],
    types: dict[int, list[tuple[int, float]]],
) -> dict[int, float]:
    raw = {}
    for row, weight in weights.items():
        support = sum(total[kind] - mass[kind] for kind, _ in types[row])
        raw[row] = weight * (1 + _RELATED * max(support, 0.0) / max(len(types[row]), 1))
    scale = sum(weights.values()) / (sum(raw.values()) or 1.0)
    return {row: weight * scale for row, weight in raw.items()}


def _types(index: AliasIndex, row: int) -> list[tuple[int, float]]:
    numbers = index.types[index.type_starts[row] : index.type_starts[row + 1]]
    return list(zip(numbers.tolist(), index.type_weights[numbers].tolist(), strict=True))


def _plausible(
    index: AliasIndex,
    words: Words,
    first: Ints,
    last: Ints,
    form: Ints,
    *,
    by_lists: bool,
    names: bool = False,
) -> list[tuple[int, int, list[tuple[int, float]]]]:
    """The hits that rules 1 to 3 leave, with their depictable candidates.

    In `names` common nouns need not be in small letters.
    """
    if not len(form):
        return []
    starts = index.form_starts[form]
    counts = index.form_starts[form + 1] - starts
    hit = np.repeat(np.arange(len(form)), counts)
    place = np.arange(len(hit)) - np.repeat(np.cumsum(counts) - counts, counts) + starts[hit]
    fits = _spelt_right(index, words, first, last, hit, place, names=names)
    if by_lists:
        fits &= ~_no_noun(words, first, last)[hit]
    hit, place = hit[fits], place[fits]
    weights, rows = index.weights[place], index.entities[place]
    shown = index.depictable[rows].astype(bool)
    heaviest = np.zeros(len(form), np.float32)
    heaviest_shown = np.zeros(len(form), np.float32)
    np.maximum.at(heaviest, hit, weights)
    np.maximum.at(heaviest_shown, hit[shown], weights[shown])
    kept = shown & (heaviest_shown >= heaviest)[hit]
    candidates: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for number, row, weight in zip(
        hit[kept].tolist(), rows[kept].tolist(), weights[kept].tolist(), strict=True
    ):
        candidates[number].append((row, weight))
    return [(int(first[n]), int(last[n]), found) for n, found in candidates.items()]


def _spelt_right(
    index: AliasIndex,
    words: Words,
    first: Ints,
    last: Ints,
    hit: Ints,
    place: Ints,
    *,
    names: bool,
) -> Flags:
    kinds = index.kinds[place]
    capitals = _before(words.capital)
    enough = (capitals[last + 1] - capitals[first])[hit] >= index.n_capitals[place]
    small = _before(~words.all_capitals)
    shouted = _segments_of(words, ~words.all_capitals) == 0
    initials = (small[last + 1] == small[first]) & (~shouted[words.segment[first]] | names)
    common = np.ones(len(first), bool) if names else ~_named(words, first, last)
    fits: Flags = np.select(
        [kinds == COMMON, kinds == NAME, kinds == INITIALS],
        [common[hit], enough, initials[hit]],
        False,
    )
    return fits


def _named(words: Words, first: Ints, last: Ints) -> Flags:
    """Whether capitals say that a run of words is a name or part of one."""
    segment = words.segment
    opens = np.append(True, segment[1:] != segment[:-1])
    small = ~words.capital & ~_among(words, _function_words())
    mixed = (_segments_of(words, small) > 0)[segment[first]]
    after = np.minimum(last + 1, len(words) - 1)
    inner = _before(words.capital & ~opens)
    capital_inside = inner[last + 1] > inner[first]
    capital_after = words.capital[after] & (segment[after] == segment[last]) & (after > last)
    named: Flags = mixed & (capital_inside | (words.capital[first] & capital_after))
    return named


def _no_noun(words: Words, first: Ints, last: Ints) -> Flags:
    """Single words that are most often no noun, or stand where a verb stands."""
    single = first == last
    before = np.maximum(first - 1, 0)
    follows = _among(words, _pronouns())[before] & (words.segment[before] == words.segment[first])
    found: Flags = single & (_among(words, _verbish())[first] | (follows & (first > 0)))
    return found


def _among(words: Words, hashes: U64) -> Flags:
    every = np.arange(len(words))
    found: Flags = np.isin(words.hash_spans(every, every), hashes)
    return found


def _segments_of(words: Words, flags: Flags) -> Ints:
    """By segment, how many of its words are flagged."""
    n_segments = int(words.segment[-1]) + 1 if len(words) else 0
    found: Ints = np.bincount(words.segment[flags], minlength=n_segments)
    return found


def _before(flags: Flags) -> Ints:
    """How many are flagged before each, and before the end."""
    return np.concatenate([[0], np.cumsum(flags)])


@cache
def _function_words() -> U64:
    return _hashes(sorted(FUNCTION_WORDS))


@cache
def _verbish() -> U64:
    return _hashes(sorted(VERBISH))


@cache
def _pronouns() -> U64:
    return _hashes(sorted(NO_NOUN_AFTER))


def _hashes(words: Sequence[str]) -> U64:
    known = words_of(words)
    every = np.arange(len(known))
    return known.hash_spans(every, every)
