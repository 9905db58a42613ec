"""What is taken as a mention, and what it may mean."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from lesstext.entities.alias_index import AliasIndex
from lesstext.entities.index_cache import open_index
from lesstext.entities.kb_writing import write_kb
from lesstext.entities.knowledge_base import Entity, open_kb
from lesstext.entities.linking import disambiguate, link, meanings_of
from lesstext.errors import UsageError


def thing(entity_id: str, *aliases: str, prior: float = 0.5, **more: object) -> Entity:
    fields: dict[str, object] = {"depictable": True, "types": [], **more}
    return Entity(
        entity_id=entity_id,
        name=aliases[0] if aliases else "",
        aliases=aliases,
        prior=prior,
        **fields,  # type: ignore[arg-type]
    )


KB = [
    thing("dog", "dog", "hound"),
    thing("hot dog", "hot dog"),
    thing("glass", "wine glass", "glass"),
    thing("cat", "cat"),
    thing("key", "key"),
    thing("light", "light"),
    thing("turkey", "turkey", types=["bird"]),
    thing("Turkey", "Turkey", prior=0.9, types=["country"]),
    thing("Greece", "Greece", types=["country"]),
    thing("US", "US", "United States"),
    thing("Tower", "Tower of London"),
    thing("DC", "Washington, D.C."),
    thing("Peking", "北京", "Peking"),
    thing("Cairo", "القاهرة"),
    thing("crane bird", "crane", prior=0.4, types=["bird", "animal"]),
    thing("crane machine", "crane", prior=0.4, types=["machine"]),
    thing("heron", "heron", types=["bird", "animal"]),
    thing("forklift", "forklift", types=["machine"]),
    thing("joy", "joy", depictable=False),
    thing("spring season", "spring", prior=0.6, depictable=False),
    thing("spring coil", "spring", prior=0.3),
    thing("nameless", "", " ", "x", "42", "the"),
    thing("café", "cafe\u0301"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> AliasIndex:
    folder = tmp_path_factory.mktemp("kb")
    os.environ["LESSTEXT_CACHE"] = str(folder / "cache")
    try:
        write_kb(KB, folder / "kb", format="test", source="-", version="", counts=Counter())
        return open_index(open_kb(folder / "kb"))
    finally:
        del os.environ["LESSTEXT_CACHE"]


def mentions(index: AliasIndex, text: str) -> list[tuple[str, list[str]]]:
    found = link(index, [text], None)
    disambiguate(index, found)
    return [
        (text[one.start : one.stop], [index.entity_id(row) for row, _ in one.candidates])
        for one in found
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog and a category", ["dog"]),
        ("two dogs, a hot dog", ["dogs", "hot dog"]),
        ("wine glasses of glass", ["wine glasses", "glass"]),
        ("hot-dog", ["hot-dog"]),
        ("it is hot. Dog found", ["Dog"]),
        ("tower of london", []),
        ("the Tower of London today", ["Tower of London"]),
        ("I lived in Key West", []),
        ("KEY RING", ["KEY"]),
        ("tell us more", []),
        ("made in the US today", ["US"]),
        ("JOIN US NOW", []),
        ("in Washington, D.C. today", ["Washington, D.C"]),
        ("in Washington D C today", []),
        ("我在北京的照片", ["北京"]),
        ("صورة من القاهرة.", ["القاهرة"]),
        ("the 42 x joy", []),
        ("in spring", []),
        ("sitting in the light", []),
        ("a café here", ["café"]),
        ("", []),
    ],
)
def test_what_is_taken_by_dictionary_rules(
    index: AliasIndex, text: str, expected: list[str]
) -> None:
    assert [found for found, _ in mentions(index, text)] == expected


def test_a_tagger_takes_the_place_of_lists_of_words(index: AliasIndex) -> None:
    text = "the light of a dog"
    found = link(index, [text], lambda _, start, stop: text[start:stop] == "light")
    assert [text[one.start : one.stop] for one in found] == ["light"]


def test_names_and_nouns_compete_by_their_priors(index: AliasIndex) -> None:
    assert mentions(index, "a roasted turkey") == [("turkey", ["turkey"])]
    ((_, meant),) = mentions(index, "Turkey")
    assert meant == ["Turkey", "turkey"]


@pytest.mark.parametrize(
    ("text", "first"),
    [("a crane and a heron", "crane bird"), ("a crane and a forklift", "crane machine")],
)
def test_mentions_of_one_caption_disambiguate_each_other(
    index: AliasIndex, text: str, first: str
) -> None:
    (crane, *_) = mentions(index, text)
    assert crane[1][0] == first
    assert len(crane[1]) == 2


def test_weights_keep_their_sum(index: AliasIndex) -> None:
    found = link(index, ["a crane and a heron"], None)
    disambiguate(index, found)
    assert sum(weight for _, weight in found[0].candidates) == pytest.approx(1.0)


def test_a_name_as_a_whole_is_looked_up(index: AliasIndex) -> None:
    names = ["the Tower of London", "Tower", "Turkey", "", "nobody"]
    found = [[index.entity_id(row) for row, _ in one] for one in meanings_of(index, names)]
    assert found == [["Tower"], [], ["Turkey", "turkey"], [], []]


def test_a_long_caption_is_matched_whole(index: AliasIndex) -> None:
    text = "a dog, " * 150_000
    assert len(link(index, [text, "a cat"], None)) == 150_001


def test_a_kb_without_aliases_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSTEXT_CACHE", str(tmp_path / "cache"))
    empty = [thing("nameless", "", "x")]
    write_kb(empty, tmp_path / "kb", format="test", source="-", version="", counts=Counter())
    with pytest.raises(UsageError, match="holds no alias"):
        open_index(open_kb(tmp_path / "kb"))


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LESSTEXT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match="LESSTEXT_CACHE"):
        open_index(open_kb())
