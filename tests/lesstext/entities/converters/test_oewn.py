"""Open English WordNet: a hand-made source of each shape, and the real one's counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lesstext.entities.converters.oewn import by_wordnet30
from lesstext.entities.knowledge_base import EMBEDDED, KnowledgeBase, open_kb
from lesstext.entities.making import KbConfig, make_kb
from lesstext.errors import UsageError

NOUNS = """
01-n: {definition: [a pet], members: [dog, domestic dog], hypernym: [02-n], ili: i1, wikidata: Q144}
02-n: {definition: [a living thing, that moves], members: [animal], wikidata: [Q729, Q1]}
"""
ACTS = "03-n: {definition: [following closely], members: [dog], ili: i3}\n"
ENTRIES = """
dog:
  n: {sense: [{id: 'dog%1:05', synset: 01-n}, {id: 'dog%1:04', synset: 03-n}]}
  v: {sense: [{id: 'dog%2:38', synset: 09-v}]}
animal: {n-1: {sense: [{id: 'a', synset: 02-n}]}}
"""


def source(folder: Path, entries: str = ENTRIES) -> Path:
    folder.mkdir()
    (folder / "noun.animal.yaml").write_text(NOUNS)
    (folder / "noun.act.yaml").write_text(ACTS)
    (folder / "entries-d.yaml").write_text(entries)
    return folder


def made(path: Path, out: Path) -> KnowledgeBase:
    make_kb(KbConfig(source=str(path), out=out, format="oewn", workers=1))
    return open_kb(out)


def test_nouns_become_entities_with_shares_of_their_names(tmp_path: Path) -> None:
    kb = made(source(tmp_path / "src"), tmp_path / "kb.parquet")
    dog, animal, act = kb.table.to_pylist()
    assert (dog["name"], dog["aliases"]) == ("dog", ["dog", "domestic dog"])
    assert dog["alias_weights"] == pytest.approx([2 / 3, 1.0])
    assert act["alias_weights"] == pytest.approx([1 / 3])
    assert dog["types"] == ["noun.animal", "02-n"]
    assert animal["links"] == ["wikidata:Q729", "wikidata:Q1"]
    assert (dog["depictable"], act["depictable"]) == (True, False)
    assert dict(kb.origin.counts) == {"entities": 3, "linked": 2, "aliases": 3}
    (tmp_path / "ili.tab").write_text("i1\t02084071-n\ni9\t00000009-n\ni3\t00000003-v\n")
    assert by_wordnet30(kb, tmp_path / "ili.tab") == {"n02084071": "01-n"}


@pytest.mark.parametrize("entries", ["[1, 2]", "a: {n: {}}", "a: [", "a: {n: 3}"])
def test_a_file_of_another_shape_is_named(tmp_path: Path, entries: str) -> None:
    with pytest.raises(UsageError, match=r"entries-d\.yaml cannot be read"):
        made(source(tmp_path / "src", entries), tmp_path / "kb.parquet")


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    with pytest.raises(UsageError, match="no source of Open English WordNet"):
        made(tmp_path / "src", tmp_path / "kb.parquet")
    (tmp_path / "a.tar.xz").write_bytes(b"no tar")
    with pytest.raises(UsageError, match="no folder and no tar"):
        made(tmp_path / "a.tar.xz", tmp_path / "kb.parquet")


def test_the_embedded_one_is_small_and_says_where_it_is_from() -> None:
    kb = open_kb()
    assert EMBEDDED.stat().st_size < 2_500_000
    assert kb.n_entities == 36_462
    assert dict(kb.origin.counts) == {"entities": 71_873, "linked": 13_301, "aliases": 97_644}
    assert "CC BY 4.0" in kb.origin.notice
    assert kb.table["depictable"].to_pylist() == [True] * 36_462


@pytest.mark.skipif("LESSTEXT_DATA" not in os.environ, reason="LESSTEXT_DATA is not set")
def test_most_classes_of_imagenet_are_embedded() -> None:
    data = Path(os.environ["LESSTEXT_DATA"])
    classes = {folder.name for folder in (data / "imagenet_sample" / "val").iterdir()}
    found = by_wordnet30(open_kb(), data / "oewn" / "ili-map-pwn30.tab")
    assert len(classes) == 1000
    texts = {"n06359193", "n06596364", "n06785654", "n06794110", "n06874185", "n07248320"}
    assert classes - found.keys() == texts | {"n15075141"}  # signs, books; toilet tissue
