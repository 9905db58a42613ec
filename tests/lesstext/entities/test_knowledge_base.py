"""Knowledge bases: written sorted, recognised by their rows, opened or refused by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.entities.kb_writing import write_kb
from lesstext.entities.knowledge_base import Entity, Origin, open_kb, schema
from lesstext.errors import TableError, UsageError

CAT = Entity(
    entity_id="Q146",
    name="cat",
    description="small domesticated animal",
    aliases=["cat", "house cat"],
    prior=0.5,
    types=["Q55983715"],
    depictable=True,
)
JAGUAR = Entity(entity_id="Q35694", name="jaguar", aliases=["jaguar"], prior=0.25, depictable=True)
CARS = Entity(
    entity_id="Q26742231",
    name="Jaguar",
    aliases=["Jaguar", "Jaguar Cars"],
    alias_weights=[0.75, 1.0],
    prior=0.875,
    depictable=False,
)


def write(path: Path, *entities: Entity) -> Origin:
    return write_kb(entities, path, format="test", source="here", version="1", counts=Counter())


def test_rows_are_sorted_and_read_back(tmp_path: Path) -> None:
    write(tmp_path / "kb.parquet", JAGUAR, CAT, CARS)
    kb = open_kb(tmp_path / "kb.parquet")
    assert kb.table["entity_id"].to_pylist() == ["Q146", "Q26742231", "Q35694"]
    assert kb.table.schema.equals(schema())
    assert kb.entities(["Q35694", "Q1", "Q146"]) == [
        Entity(
            entity_id="Q35694",
            name="jaguar",
            aliases=["jaguar"],
            prior=0.25,
            types=[],
            depictable=True,
            links=[],
        ),
        None,
        kb.entity("Q146"),
    ]
    assert kb.entities([]) == [] and kb.entities(["Q1"]) == [None]
    assert kb.entity("Q146").name == "cat"  # type: ignore[union-attr]


def test_what_a_name_means_is_ordered_by_weight(tmp_path: Path) -> None:
    write(tmp_path / "kb.parquet", JAGUAR, CAT, CARS)
    kb = open_kb(tmp_path / "kb.parquet")
    assert [e.entity_id for e in kb.named("JAGUAR")] == ["Q26742231", "Q35694"]
    assert kb.named("dog") == []


def test_the_digest_follows_the_rows_and_not_their_order(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", JAGUAR, CAT)
    assert write(tmp_path / "b.parquet", CAT, JAGUAR).digest == first.digest
    assert write(tmp_path / "c.parquet", CAT, CARS).digest != first.digest
    assert open_kb(tmp_path / "b.parquet").digest == first.digest
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_two_entities_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two entities have the id 'Q146'"):
        write(tmp_path / "kb.parquet", CAT, JAGUAR, CAT)
    assert not (tmp_path / "kb.parquet").exists()


def test_no_entities_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no entities"):
        write(tmp_path / "kb.parquet")


def test_a_file_that_is_not_ours_is_neither_replaced_nor_opened(tmp_path: Path) -> None:
    foreign = tmp_path / "kb.parquet"
    pq.write_table(pa.table({"entity_id": ["Q1"]}), foreign)
    before = foreign.read_bytes()
    with pytest.raises(UsageError, match="no knowledge base of ours"):
        write(foreign, CAT)
    with pytest.raises(TableError, match="--format table"):
        open_kb(foreign)
    assert foreign.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kb.parquet").write_bytes(content)
    with pytest.raises(TableError, match=r"kb\.parquet is no knowledge base"):
        open_kb(tmp_path / "kb.parquet")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such knowledge base"):
        open_kb(tmp_path / "kb.parquet")
    with pytest.raises(UsageError, match="is no file"):
        open_kb(tmp_path)
