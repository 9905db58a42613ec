"""Labels: the rule, the accounting, the classes, a threshold from marks, and who reads them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.entities.kb_writing import write_kb
from lesstext.entities.knowledge_base import Entity, KnowledgeBase, open_kb
from lesstext.entities.labels.reading import (
    Labels,
    read_entity_ids,
    read_labels,
    read_vocabulary,
    vocabulary_path,
)
from lesstext.entities.labels.rule import LabelRule
from lesstext.entities.labels.writing import label
from lesstext.errors import TableError, UsageError
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import read_keys, read_selection
from tests.lesstext.tables.table_builders import made_table

PICK = pa.struct([("entity_id", pa.string()), ("similarity", pa.float32())])


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    entities = [
        Entity(
            entity_id=f"Q{i}", name=f"thing {i}", description="a thing", prior=1, depictable=True
        )
        for i in range(5)
    ]
    write_kb(
        entities, tmp_path / "kb.parquet", format="table", source="", version="", counts=Counter()
    )
    return open_kb(tmp_path / "kb.parquet")


def picks_row(key: str, n_mentions: int = 1, **similarities: float) -> dict[str, Any]:
    ranked = sorted(similarities.items(), key=lambda one: -one[1])
    return {
        "key": key,
        "n_mentions": n_mentions,
        "n_candidates": len(ranked),
        "picks": [{"entity_id": name, "similarity": value} for name, value in ranked],
    }


def write_picks(folder: Path, kb: KnowledgeBase, **shards: list[dict[str, Any]]) -> Path:
    for shard, rows in shards.items():
        made_table(
            folder,
            shard,
            rows,
            name="picks",
            annotator=f"colours kb={kb.digest}",
            types={"picks": pa.list_(PICK), "n_mentions": pa.int32(), "n_candidates": pa.int32()},
        )
    return folder


@pytest.fixture
def picks(tmp_path: Path, kb: KnowledgeBase) -> Path:
    return write_picks(
        tmp_path / "picks",
        kb,
        a=[
            picks_row("k0", Q0=0.9, Q1=0.8, Q2=0.7),
            picks_row("k1", n_mentions=0),
            picks_row("k2", n_mentions=2),
            picks_row("k3", Q0=0.1),
            {"key": "k4", "status": "decode_error", "error": "broken"},
        ],
        b=[
            picks_row("k0", Q3=0.9),
            picks_row("k1", Q0=0.5, Q3=0.2),
            picks_row("k2", Q2=0.6, Q1=0.5),
        ],
    )


def made(picks: Path, kb: KnowledgeBase, **options: Any) -> Labels:
    marks = {name: options.pop(name) for name in ("marks", "min_precision") if name in options}
    rule = LabelRule(**{"threshold": 0.5, **options})
    return label(picks, picks.parent / "out" / "labels.parquet", rule, kb, **marks)


def rows_of(labels: Labels) -> dict[str, list[str]]:
    rows = pq.read_table(labels.selection.path).to_pylist()
    return {f"{row['shard']}/{row['key']}": row["entity_ids"] for row in rows}


def test_the_rule_keeps_the_most_similar_and_what_is_common(picks: Path, kb: KnowledgeBase) -> None:
    labels = made(picks, kb)
    assert rows_of(labels) == {
        "a/k0": ["Q0", "Q1", "Q2"],
        "b/k0": ["Q3"],
        "b/k1": ["Q0"],
        "b/k2": ["Q2", "Q1"],
    }
    assert rows_of(made(picks, kb, top=1, min_images=2)) == {"a/k0": ["Q0"], "b/k1": ["Q0"]}


def test_every_sample_is_accounted_for(picks: Path, kb: KnowledgeBase) -> None:
    labels = read_labels(made(picks, kb, top=1, min_images=2).selection.path)
    counts = labels.selection.counts
    assert (counts.read, counts.kept, counts.dropped, counts.failed) == (8, 2, 5, 1)
    assert labels.drops == {
        "no mention": 1,
        "not linked": 1,
        "below the threshold": 1,
        "rare entity": 2,
    }
    assert (labels.n_entities, labels.kb) == (1, kb.digest)


def test_classes_come_with_names_and_counts(picks: Path, kb: KnowledgeBase) -> None:
    labels = made(picks, kb)
    classes = read_vocabulary(labels).to_pylist()
    assert [(c["class_index"], c["entity_id"], c["n_images"]) for c in classes] == [
        (0, "Q0", 2),
        (1, "Q1", 2),
        (2, "Q2", 2),
        (3, "Q3", 1),
    ]
    assert (classes[3]["name"], classes[3]["description"]) == ("thing 3", "a thing")
    made(picks, kb, top=1)
    with pytest.raises(TableError, match=r"not the vocabulary of .*labels\.parquet; label again"):
        read_vocabulary(labels)


def test_labels_are_a_selection(picks: Path, kb: KnowledgeBase) -> None:
    selection = read_selection(made(picks, kb).selection.path)
    assert selection.threshold == 0.5
    assert dict(selection.n_kept_by_shard()) == {"a": 1, "b": 3}
    assert {shard: keys.to_pylist() for shard, keys in selection.keys_by_shard().items()} == {
        "a": ["k0"],
        "b": ["k0", "k1", "k2"],
    }
    keys = read_keys(selection.path, selection.id, "b")
    entities = read_entity_ids(selection.path, selection.id, "b")
    assert dict(zip(keys, entities, strict=True))["k2"] == ["Q2", "Q1"]


def test_a_selection_without_labels_is_no_labels_file(
    picks: Path, kb: KnowledgeBase, tmp_path: Path
) -> None:
    select(picks, tmp_path / "plain.parquet", Rule(where="n_mentions > 0"))
    with pytest.raises(TableError, match="a selection without labels"):
        read_labels(tmp_path / "plain.parquet")


def test_nothing_may_be_kept(picks: Path, kb: KnowledgeBase) -> None:
    labels = made(picks, kb, threshold=2.0)
    assert (labels.selection.counts.kept, labels.n_entities) == (0, 0)
    assert labels.drops["below the threshold"] == 5
    assert read_vocabulary(labels).num_rows == 0


def test_two_labels_files_do_not_share_a_vocabulary(picks: Path, kb: KnowledgeBase) -> None:
    first = made(picks, kb)
    with pytest.raises(UsageError, match=r"belongs to labels\.parquet: choose another folder"):
        label(picks, picks.parent / "out" / "other.parquet", LabelRule(threshold=0), kb)
    assert read_vocabulary(first).num_rows == 4
    with pytest.raises(UsageError, match="where the vocabulary comes"):
        label(picks, vocabulary_path(first.selection.path), LabelRule(threshold=0), kb)


def test_picks_of_another_base_or_of_something_else_are_refused(
    picks: Path, kb: KnowledgeBase, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"not made with the knowledge base .*oewn_physical"):
        made(picks, open_kb())
    made_table(tmp_path / "words", "a", [{"key": "k", "words": 3}], name="words")
    with pytest.raises(UsageError, match="tables of words, not of picks"):
        made(tmp_path / "words", kb)


def test_a_similarity_that_is_no_number_names_its_sample(tmp_path: Path, kb: KnowledgeBase) -> None:
    picks = write_picks(tmp_path / "p", kb, a=[picks_row("bad", Q0=float("nan"))])
    with pytest.raises(TableError, match="shard a, key bad: a similarity is not a number"):
        made(picks, kb)


@pytest.mark.parametrize(
    "options", [{"threshold": float("nan")}, {"top": 0}, {"min_images": 0}], ids=str
)
def test_a_rule_that_cannot_be_is_wrong_use(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--"):
        LabelRule(**{"threshold": 0.5, **options})


def marks_file(folder: Path, text: str) -> Path:
    path = folder / "marks.csv"
    path.write_text(text)
    return path


def test_a_threshold_is_chosen_from_marks(picks: Path, kb: KnowledgeBase, tmp_path: Path) -> None:
    marks = marks_file(
        tmp_path,
        "shard,key,entity_id,mark\na,k0,Q0,right\na,k0,Q1,right\na,k0,Q2,right\n"
        "b,k0,,right\nb,k1,Q0,wrong\nb,k2,Q2,right\nb,k1,Q3,unsure\n",
    )
    labels = read_labels(made(picks, kb, marks=marks, min_precision=0.9).selection.path)
    assert labels.chosen is not None
    assert (labels.chosen["n_right"], labels.chosen["n_marked"]) == (5, 5)
    assert labels.chosen["threshold"] == labels.selection.threshold == pytest.approx(0.6)
    # Clopper and Pearson: with all 5 right the lower bound is .025 ** (1 / 5).
    assert labels.chosen["low"] == pytest.approx(0.025 ** (1 / 5)) and labels.chosen["high"] == 1
    assert "b/k1" not in rows_of(labels)
    looser = made(picks, kb, marks=marks, min_precision=0.8)
    assert looser.selection.threshold == 0.5


def test_marks_of_what_the_rule_never_keeps_do_not_count(
    picks: Path, kb: KnowledgeBase, tmp_path: Path
) -> None:
    marks = marks_file(tmp_path, "shard,key,entity_id,mark\na,k0,Q0,right\na,k0,Q2,wrong\n")
    labels = made(picks, kb, top=1, marks=marks, min_precision=1.0)
    assert labels.chosen is not None and labels.chosen["n_marked"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,mark\nk0,right\n", "no column shard"),
        ("shard,key,mark\na,k0,perhaps\n", "line 2.*got mark 'perhaps'"),
        ("shard,key,mark\na,k9,right\n", "shard a, key k9: the tables hold no pick"),
        ("shard,key,entity_id,mark\na,k0,Q4,right\n", "no pick of entity Q4"),
        ("shard,key,mark\na,k0,right\na,k0,wrong\n", "marked right and wrong"),
        ("shard,key,mark\na,k0,wrong\n", "no threshold reaches a precision of 0.9"),
        ("shard,key,mark\n", "holds no mark"),
        ("shard,key,mark\na,k0,\xff\n", "cannot be read"),
    ],
)
def test_bad_marks_are_named(
    picks: Path, kb: KnowledgeBase, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "marks.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=message):
        made(picks, kb, marks=path, min_precision=0.9)
