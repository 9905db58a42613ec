"""Knowledge bases of one's own, from csv and parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.entities.knowledge_base import KnowledgeBase, open_kb
from lesstext.entities.making import KbConfig, make_kb
from lesstext.errors import UsageError


def made(source: Path) -> KnowledgeBase:
    out = source.with_suffix(".kb.parquet")
    make_kb(KbConfig(source=str(source), out=out, format="table"))
    return open_kb(out)


def test_csv_and_parquet_give_the_same(tmp_path: Path) -> None:
    csv = tmp_path / "a.csv"
    csv.write_text(
        "entity_id,name,aliases,prior,depictable\n2,北京,Peking|Beijing,0.5,yes\n1,القاهرة,,,\n3,,x,,\n",
        encoding="utf-8-sig",
    )
    rows = [
        {"entity_id": "2", "name": "北京", "aliases": ["Peking", "Beijing"], "prior": 0.5},
        {"entity_id": "1", "name": "القاهرة"},
        {"entity_id": "3", "name": " "},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    first, second = made(csv), made(tmp_path / "b.parquet")
    assert first.digest == second.digest
    assert first.table["aliases"].to_pylist() == [["القاهرة"], ["北京", "Peking", "Beijing"]]
    assert first.table["prior"].to_pylist() == [1.0, 0.5]
    assert first.origin.counts == {"entities": 2, "unnamed": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\ndog\n", "has no column entity_id"),
        ("entity_id,name\n,dog\n", "row 1: entity_id is empty"),
        ("entity_id,name,prior\n1,dog,2\n", r"row 1: prior must be in 0 to 1, got '2'"),
        ("entity_id,name,prior\n1,dog,nan\n", "prior"),
        ("entity_id,name,depictable\n1,dog,maybe\n", "depictable"),
        ("entity_id,name\n1,dog\n1,cat\n", "two entities have the id '1'"),
        ("entity_id,name\n", "holds no entities"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        made(tmp_path / "a.csv")
    assert not (tmp_path / "a.kb.parquet").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"aliases": "dog"}, "aliases is 'dog', not a list"),
        ({"name": 1.5}, "name is 1.5, not a text"),
        ({"aliases": ["a", "b"], "alias_weights": [0.5]}, "1 alias_weights for 2 aliases"),
    ],
)
def test_columns_of_another_type_are_named(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    row = {"entity_id": "1", "name": "dog", **fields}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=message):
        made(tmp_path / "a.parquet")


def test_sources_that_are_not_there_or_nothing_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        made(tmp_path / "a.csv")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="cannot be read"):
        made(tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="format must be one of"):
        KbConfig(source="a", out=tmp_path, format="rdf")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="go with"):
        KbConfig(source="a", out=tmp_path, format="oewn", min_sitelinks=3)
