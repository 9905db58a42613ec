"""Overlap of captions and words: exactly the formula of the paper, and one that forgives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesstext.text_detection.overlap import FUZZY_SIMILARITY, caption_overlap

WORDS = st.lists(st.sampled_from(["a", "Dog", "dog", "café", "42", "--", "golden", "retriever"]))


@given(WORDS, WORDS)
def test_the_exact_overlap_is_the_papers_formula(caption: list[str], image: list[str]) -> None:
    found = caption_overlap(" ".join(caption), [" ".join(image)])
    if not caption:
        assert found.exact is None
    else:
        assert found.exact == len(set(caption) & set(image)) / len(set(caption))
    assert found.n_words == len(set(caption))


@given(st.text(max_size=30), st.lists(st.text(max_size=12), max_size=4))
def test_any_texts_give_shares_and_one_result_a_region(caption: str, texts: list[str]) -> None:
    found = caption_overlap(caption, texts)
    assert len(found.regions) == len(texts)
    for share in (found.exact, found.fuzzy, *(region.similarity for region in found.regions)):
        assert share is None or 0 <= share <= 1
    assert any(region.exact for region in found.regions) == bool(found.exact)


@pytest.mark.parametrize(
    ("caption", "texts", "fuzzy", "repeated"),
    [
        ("a golden retriever", ["GOLDENRETRIEVER"], 2 / 3, [True]),  # the space was not read
        ("a golden retriever", ["golden", "retriever"], 2 / 3, [True, True]),
        ("a golden retriever", ["g0lden retrlever"], 2 / 3, [True]),
        ("a golden retriever", ["agolden"], 2 / 3, [True]),
        ("a golden retriever", ["gold"], 0, [False]),
        ("Coffee!", ["coffee"], 1, [True]),
        ("red red red", ["red"], 1, [True]),
        ("a dog", ["a"], 0, [False]),  # one letter stands in any image
        ("кофе с молоком", ["КОФЕ"], 1 / 3, [True]),
        ("no text", [], 0, []),
        ("24 %", ["24"], None, [False]),
        ("", ["x"], None, [False]),
    ],
)
def test_the_fuzzy_overlap(
    caption: str, texts: list[str], fuzzy: float | None, repeated: list[bool]
) -> None:
    found = caption_overlap(caption, texts)
    assert found.fuzzy == (None if fuzzy is None else pytest.approx(fuzzy))
    assert [region.is_repeated for region in found.regions] == repeated


def test_similarity_is_the_normalised_levenshtein_one() -> None:
    (region,) = caption_overlap("kitten", ["sitting"]).regions
    assert region.similarity == pytest.approx(1 - 3 / 7)
    assert FUZZY_SIMILARITY == 0.75


def test_of_equal_runs_the_shortest_counts() -> None:
    assert caption_overlap("dog dog", ["dog"]).fuzzy == 1
    assert caption_overlap("abcd e abcd", ["abcd"]).fuzzy == 1 / 2


def test_a_caption_of_many_words_is_compared_run_by_run() -> None:
    caption = " ".join(f"word{i % 26 * chr(97 + i % 26)}" for i in range(2_000))
    found = caption_overlap(caption, ["wordbb", "nothing"])
    assert [region.is_repeated for region in found.regions] == [True, False]
