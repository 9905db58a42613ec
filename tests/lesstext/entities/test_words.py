"""Texts as words: where they lie, and which runs of them count as the same."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesstext.entities.words import composed, words_of


def spelled(*texts: str) -> list[str]:
    words = words_of(texts)
    spans = zip(words.text, words.start, words.stop, strict=True)
    return [texts[text][start:stop] for text, start, stop in spans]


def span_hash(text: str) -> int:
    words = words_of([text])
    return int(words.hash_spans(np.array([0]), np.array([len(words) - 1]))[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog's ice-cream, twice", ["A", "dog", "s", "ice", "cream", "twice"]),
        ("", []),
        ("... !", []),
        ("東京タワーtower", ["東", "京", "タ", "ワ", "ー", "tower"]),
        ("שלום \u200fעולם", ["שלום", "עולם"]),
        ("naïve cafe\u0301s", ["naïve", "cafe\u0301s"]),
        ("a\U0001f600b", ["a", "b"]),
        ("\U00030000", ["\U00030000"]),
        ("x\0y", ["x", "y"]),
    ],
)
def test_words_are_found_in_any_script(text: str, expected: list[str]) -> None:
    assert spelled(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ice cream", "Ice-Cream"),
        ("O'Brien", "o’brien"),
        ("Washington, D.C.", "washington , d.c"),
        ("soft\u00adhyphen x", "softhyphen x"),
        ("ＡＢＣ", "abc"),
    ],
)
def test_spellings_of_one_name_are_alike(one: str, other: str) -> None:
    assert span_hash(one) == span_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("car park", "car. Park"),
        ("ab c", "a bc"),
        ("ab", "ba"),
        ("a b", "a, b"),
        ("icecream", "ice cream"),
    ],
)
def test_different_names_differ(one: str, other: str) -> None:
    assert span_hash(one) != span_hash(other)


def test_capitals_and_segments() -> None:
    words = words_of(["US Navy, at sea", "Go"])
    assert words.capital.tolist() == [True, True, False, False, True]
    assert words.all_capitals.tolist() == [True, False, False, False, False]
    assert len(set(words.segment.tolist())) == 3


@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12), max_size=6)
)
def test_what_stands_beside_a_text_changes_nothing(texts: list[str]) -> None:
    together = words_of(texts)
    for number, text in enumerate(texts):
        mine = np.flatnonzero(together.text == number)
        alone = words_of([text])
        assert together.start[mine].tolist() == alone.start.tolist()
        assert together.stop[mine].tolist() == alone.stop.tolist()
        every = np.arange(len(alone))
        assert together.hash_spans(mine, mine).tolist() == alone.hash_spans(every, every).tolist()
        if len(mine):
            whole = alone.hash_spans(every[:1], every[-1:])
            assert together.hash_spans(mine[:1], mine[-1:]).tolist() == whole.tolist()


@given(st.text(alphabet="ae\u0301\u0327 \u1100\u1161", max_size=10))
def test_composing_remembers_where_characters_were(text: str) -> None:
    found, places = composed(text)
    assert found == unicodedata.normalize("NFC", text) or places is not None
    if places is not None:
        assert len(places) == len(found) + 1
        assert places == sorted(places)
        assert places[-1] == len(text)
