"""Wikidata's dump: every shape that its fields take, and what is damaged."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lesstext.entities.knowledge_base import KnowledgeBase, open_kb
from lesstext.entities.making import KbConfig, make_kb
from lesstext.errors import UsageError


def text(language: str, value: str) -> dict[str, Any]:
    return {language: {"language": language, "value": value}}


def claim(target: int, rank: str = "normal", *, bare: bool = False) -> dict[str, Any]:
    value: dict[str, Any] = {"entity-type": "item", "id": f"Q{target}"}
    if not bare:  # old dumps have the number alone, new ones both
        value["numeric-id"] = target
    snak = {"snaktype": "value", "datavalue": {"value": value, "type": "wikibase-entityid"}}
    return {"mainsnak": snak, "rank": rank, "type": "statement"}


NO_VALUE = {"mainsnak": {"snaktype": "novalue"}, "rank": "normal"}
SOME_VALUE = {"mainsnak": {"snaktype": "somevalue"}, "rank": "normal"}


def item(number: int, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """An item; what is empty is written as `[]`, as the dump does."""
    labels = text("en", name) if name is not None else []
    rest: dict[str, Any] = {"descriptions": [], "aliases": [], "claims": [], "sitelinks": []}
    return {"type": "item", "id": f"Q{number}", "labels": labels, **rest, **fields}


ITEMS: list[dict[str, Any]] = [
    item(
        144,
        "dog",
        descriptions=text("en", "domestic animal"),
        aliases={"en": [{"value": "domestic dog"}, {"value": " "}, {"value": "dog"}]},
        claims={"P279": [claim(729, bare=True)], "P31": [NO_VALUE, SOME_VALUE]},
        sitelinks={f"{code}wiki": {} for code in ("en", "de", "fr")},
    ),
    item(99, "Rex", claims={"P31": [claim(144)]}),
    item(100, "idea", claims={"P31": [claim(151885)]}),
    item(101, "deprecated dog", claims={"P31": [claim(144, "deprecated"), claim(151885)]}),
    item(102, labels=text("mul", "Fallback"), claims={"P31": [claim(5)]}),
    item(103, labels=text("de", "nur deutsch")),
    item(104, claims={"P279": [claim(729)]}),
    item(105, "below a nameless class", claims={"P31": [claim(104)]}),
    item(106, "no claims"),
    item(107, "  "),
    item(108, "odd", claims={"P31": "text", "P279": [None, {}, {"mainsnak": []}]}, aliases=None),
    item(109, "half \ud83d pair", claims={"P31": [claim(5)]}),
    item(110, "circle", claims={"P279": [claim(111)]}),
    item(111, "other circle", claims={"P279": [claim(110)]}),
    {"type": "property", "id": "P31", "labels": text("en", "instance of")},
    {"type": "item", "id": "L7"},
    {"entity": "Q1", "redirect": "Q2"},
    item(144, "dog again"),
]


def dump(items: list[dict[str, Any]]) -> bytes:
    lines = [
        "[",
        *(json.dumps(one) + "," for one in items),
        '{"type": "item", "id":',
        "42,",
        "",
        "]",
    ]
    return "\n".join(lines).encode() + b"\n"


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., KnowledgeBase]:
    def made(data: bytes, name: str = "dump.json", **options: Any) -> KnowledgeBase:
        (tmp_path / name).write_bytes(data)
        out = tmp_path / f"{name}.parquet"
        config = KbConfig(
            source=str(tmp_path / name), out=out, format="wikidata", workers=1, **options
        )
        make_kb(config)
        return open_kb(out)

    return made


def test_every_shape_of_field(convert: Callable[..., KnowledgeBase]) -> None:
    kb = convert(dump(ITEMS))
    rows = {row["entity_id"]: row for row in kb.table.to_pylist()}
    dog = rows["Q144"]
    assert dog["aliases"] == ["dog", "domestic dog"]
    assert (dog["description"], dog["types"]) == ("domestic animal", ["Q729"])
    assert dog["prior"] == pytest.approx(4 / 400)
    assert rows["Q102"]["name"] == "Fallback"
    assert rows["Q109"]["name"] == "half ? pair"
    depictable = {key for key, row in rows.items() if row["depictable"]}
    assert depictable == {"Q144", "Q99", "Q102", "Q105", "Q109"}
    assert set(rows) - depictable == {"Q100", "Q101", "Q106", "Q108", "Q110", "Q111"}
    assert dict(kb.origin.counts) == {
        "lines": len(ITEMS) + 2,
        "malformed": 3,
        "no items": 1,
        "redirects": 1,
        "unnamed": 3,
        "repeated": 1,
        "entities": 12,
        "depictable": 6,  # the repeated one is counted too
    }


def zst(data: bytes) -> bytes:
    half = len(data) // 2
    codec = pa.Codec("zstd")
    return b"".join(codec.compress(part, asbytes=True) for part in (data[:half], data[half:]))


@pytest.mark.parametrize(
    ("suffix", "pack"), [("bz2", bz2.compress), ("gz", gzip.compress), ("zst", zst)]
)
def test_packed_dumps_give_the_same(
    convert: Callable[..., KnowledgeBase], suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    plain = convert(dump(ITEMS))
    packed = convert(pack(dump(ITEMS)), f"dump.json.{suffix}")
    assert packed.digest == plain.digest


def test_options_choose_languages_roots_and_items(convert: Callable[..., KnowledgeBase]) -> None:
    german = convert(dump(ITEMS), language=("de",))
    assert german.table["name"].to_pylist() == ["nur deutsch"]
    ideas = convert(dump(ITEMS), root=("Q151885",), only_depictable=True)
    assert ideas.table["name"].to_pylist() == ["idea", "deprecated dog"]
    linked = convert(dump(ITEMS), min_sitelinks=1)
    assert linked.table["name"].to_pylist() == ["dog"]


def test_a_dump_that_is_cut_off_is_refused_and_nothing_is_written(
    convert: Callable[..., KnowledgeBase], tmp_path: Path
) -> None:
    packed = gzip.compress(dump(ITEMS))
    with pytest.raises(UsageError, match="damaged or cut off"):
        convert(packed[:-20], "dump.json.gz")
    assert not (tmp_path / "dump.json.gz.parquet").exists()


@pytest.mark.parametrize("data", [b"", b"[\n]\n", b"no dump"])
def test_a_file_without_items_is_refused(
    convert: Callable[..., KnowledgeBase], data: bytes
) -> None:
    with pytest.raises(UsageError, match="holds no items"):
        convert(data)


def test_roots_that_are_no_items_are_refused(convert: Callable[..., KnowledgeBase]) -> None:
    with pytest.raises(UsageError, match="--root takes items"):
        convert(dump(ITEMS), root=("animal",))
