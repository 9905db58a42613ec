"""Tables of several annotators: joined sample by sample, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lesstext.errors import TableError, UsageError
from lesstext.policies import text_area
from lesstext.tables.folder import TableSource, open_tables, parse_source
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import Counts, Selection, read_selection
from lesstext.tables.table import table_digest
from tests.lesstext.tables.table_builders import made_table

Pairs = list[tuple[str, str]]
SHARDS = ("a/00000", "b")


def pairs(selection: Selection) -> Pairs:
    rows = pq.read_table(selection.path).to_pylist()
    return [(row["shard"], row["key"]) for row in rows]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Text areas 0, 0.1, 0.2 … and sharpness 9, 8, 7 …, a failure in either, for ten samples of
    two shards each."""
    for shard in SHARDS:
        areas: list[dict[str, Any]] = [
            {"key": f"k{i}", "width": 10 * i, "text_area_ratio": i / 10, "uid": f"{i}"}
            for i in range(10)
        ]
        areas[3] = {"key": "k3", "status": "decode_error", "error": "no image"}
        sharpness: list[dict[str, Any]] = [
            {"key": f"k{i}", "width": 100 + i, "sharpness": 9.0 - i} for i in range(10)
        ]
        sharpness[3] = {"key": "k3", "status": "annotator_error", "error": "blind"}
        sharpness[5] = {"key": "k5", "status": "annotator_error", "error": "dizzy"}
        made_table(tmp_path / "area", shard, areas, name="text_area")
        made_table(tmp_path / "sharp", shard, sharpness, name="sharpness")
    return [tmp_path / "area", tmp_path / "sharp"]


def chosen(folders: list[Path], where: str, **options: Any) -> Pairs:
    out = folders[0].parent / "s.parquet"
    return pairs(select(folders, out, Rule(where=where, **options)))


def test_columns_of_several_tables_meet_in_one_sample(folders: list[Path]) -> None:
    found = chosen(folders, "text_area_ratio < 0.35 and sharpness > 6.5")
    assert found == [(shard, key) for shard in SHARDS for key in ("k0", "k1", "k2")]
    assert chosen(folders[::-1], "text_area_ratio < 0.35 and sharpness.sharpness > 6.5") == found
    assert chosen(folders, "text_area.width = 20 and sharpness.width = 102") == [
        (shard, "k2") for shard in SHARDS
    ]
    with pytest.raises(UsageError, match=r"say text_area.width or sharpness.width"):
        chosen(folders, "width > 3")


def test_a_sample_is_ok_when_it_is_ok_in_every_table(folders: list[Path]) -> None:
    selection = select(folders, folders[0].parent / "s.parquet", Rule(where="true"))
    assert selection.counts == Counts(read=20, kept=16, dropped=0, failed=4)
    assert chosen(folders, "true", keep_failed=True) == [
        (shard, f"k{i}") for shard in SHARDS for i in range(10)
    ]


def test_failures_are_those_of_the_first_table_that_failed(folders: list[Path]) -> None:
    """`where` sees all rows, but only ok ones are kept: the view itself is asked."""
    from contextlib import ExitStack

    from lesstext.tables.view import open_view

    with ExitStack() as stack:
        opened = [stack.enter_context(open_tables(TableSource(folder))) for folder in folders]
        used = {"status", "error", "uid", "sharpness.status"}
        view = stack.enter_context(open_view(opened, used, None))
        found = view.rows(
            """SELECT status, error, uid, "sharpness.status" FROM s
            WHERE shard = 'b' AND key IN ('k3', 'k4', 'k5') ORDER BY row_number"""
        )
    assert found == [
        ("decode_error", "no image", None, "annotator_error"),
        ("ok", None, "4", "ok"),
        ("annotator_error", "dizzy", "5", "annotator_error"),
    ]


def test_the_selection_says_what_it_was_made_from(folders: list[Path], tmp_path: Path) -> None:
    rule = Rule(keep_fraction=0.5, by="sharpness", highest=True, seed=3)
    both = select(folders, tmp_path / "s.parquet", rule)
    assert read_selection(tmp_path / "s.parquet") == both
    assert both.annotators == {"text_area": "text_area 1", "sharpness": "sharpness 1"}
    assert both.rule == {
        "keep_fraction": 0.5, "by": "sharpness", "highest": True, "seed": 3, "keep_failed": False,
    }  # fmt: skip
    n_rows = both.counts.read
    assert {name: (it.matched, it.unmatched) for name, it in both.joined.items()} == {
        "text_area": (n_rows, 0), "sharpness": (n_rows, 0),
    }  # fmt: skip
    assert min(it.ok or 0 for it in both.joined.values()) < n_rows, "some failed"
    alone = select(folders[1:], tmp_path / "t.parquet", rule)
    assert alone.tables_digest != both.tables_digest and alone.id != both.id
    again = Rule(**both.rule)
    assert pairs(select(folders, tmp_path / "u.parquet", again)) == pairs(both)


def test_the_lowest_or_highest_of_any_number(folders: list[Path], tmp_path: Path) -> None:
    def kept(**options: Any) -> Pairs:
        return pairs(select(folders, tmp_path / "s.parquet", Rule(keep_fraction=0.25, **options)))

    ends = {key: [(shard, name) for shard in SHARDS for name in names] for key, names in
            {"low": ("k0", "k1"), "high": ("k8", "k9")}.items()}  # fmt: skip
    assert kept(by="text_area_ratio") == kept(by="sharpness", highest=True) == ends["low"]
    assert kept(by="text_area.width", highest=True) == kept(by="sharpness") == ends["high"]
    with pytest.raises(UsageError, match="--by width: column 'width' is ambiguous"):
        kept(by="width")
    with pytest.raises(UsageError, match="--by key: it is VARCHAR, not a number"):
        kept(by="key")


def test_samples_without_a_value_are_never_among_the_lowest(tmp_path: Path) -> None:
    rows = [{"key": f"k{i}", "quality": float(i) if i % 2 else None} for i in range(8)]
    made_table(tmp_path / "q", "x", rows, name="quality")
    for fraction, keys in ((0.25, ["k1", "k3"]), (0.75, ["k1", "k3", "k5", "k7"]), (0, [])):
        rule = Rule(keep_fraction=fraction, by="quality")
        selection = select([tmp_path / "q"], tmp_path / "s.parquet", rule)
        assert [key for _, key in pairs(selection)] == keys


def test_a_missing_table_is_refused_by_name_with_the_command(folders: list[Path]) -> None:
    (folders[1] / "b.parquet").unlink()
    with pytest.raises(TableError) as caught:
        chosen(folders, "true")
    assert str(caught.value) == (
        f"sharpness ({folders[1]}) has no table of shard b; make what is missing by: "
        f"`lesstext annotate sharpness SHARDS --out {folders[1]}`"
    )


def test_a_stale_table_is_refused_by_name_with_the_command(folders: list[Path]) -> None:
    made_table(folders[1], "b", [{"key": "k0", "sharpness": 1.0}], name="sharpness", version="new")
    with pytest.raises(TableError, match="text_area and sharpness for shard b were made from diff"):
        chosen(folders, "true")


def test_a_table_made_from_an_older_table_is_stale(folders: list[Path], tmp_path: Path) -> None:
    for shard in SHARDS:
        inputs = {
            "text_area": {
                "annotator": "text_area 1",
                "digest": table_digest(folders[0] / f"{shard}.parquet"),
            }
        }
        rows = [{"key": f"k{i}", "overlap_ratio": 0.5} for i in range(10)]
        made_table(tmp_path / "overlap", shard, rows, name="overlap", inputs=inputs)
    three = [*folders, tmp_path / "overlap"]
    assert len(chosen(three, "overlap_ratio > 0.1")) == 16
    rows = [{"key": f"k{i}", "text_area_ratio": 0.25} for i in range(10)]
    made_table(folders[0], "b", rows, name="text_area")
    assert len(chosen(three[1:], "overlap_ratio > 0.1")) == 16
    with pytest.raises(TableError) as caught:
        chosen(three, "true")
    assert "overlap's table of shard b was made from another table of text_area" in str(
        caught.value
    )
    assert str(caught.value).endswith(
        f"`lesstext annotate overlap SHARDS --input text_area={folders[0]} "
        f"--out {tmp_path / 'overlap'}`"
    )


def test_tables_that_list_other_samples_are_refused(folders: list[Path]) -> None:
    rows = [{"key": f"k{i}", "sharpness": 1.0} for i in (0, 1, 2, 3, 4, 5, 6, 7, 9, 8)]
    made_table(folders[1], "b", rows, name="sharpness")
    with pytest.raises(TableError, match=r"b.parquet and .*b.parquet: key k8: .* disagree"):
        chosen(folders, "true")
    made_table(folders[1], "b", rows[:9], name="sharpness")
    with pytest.raises(TableError, match=r"area/b.parquet holds 10 rows, but .*sharp/b.*holds 9"):
        chosen(folders, "true")


def test_duplicate_keys_never_multiply_rows(tmp_path: Path) -> None:
    for name in ("text_area", "words"):
        rows: list[dict[str, Any]] = [{"key": "a", "n": 1}, {"key": "b", "n": 2}]
        rows += [{"key": "a", "status": "duplicate_key", "error": "again"}] * 3
        made_table(tmp_path / name, "x", rows, name=name)
    both = [tmp_path / "text_area", tmp_path / "words"]
    rule = Rule(where="words.n + text_area.n > 0", keep_failed=True)
    selection = select(both, tmp_path / "s.parquet", rule)
    assert pairs(selection) == [("x", "a"), ("x", "b")]
    assert selection.counts == Counts(read=5, kept=2, dropped=0, failed=3)


def test_two_folders_of_one_annotator_need_names(folders: list[Path], tmp_path: Path) -> None:
    rows = [{"key": f"k{i}", "text_area_ratio": i / 20} for i in range(10)]
    for shard in SHARDS:
        made_table(tmp_path / "other", shard, rows, name="text_area")
    out, rule = tmp_path / "s.parquet", Rule(where="other.text_area_ratio < 0.06")
    with pytest.raises(UsageError, match="both hold tables of text_area; give one of them another"):
        select([folders[0], tmp_path / "other"], out, rule)
    other = parse_source(f"other={tmp_path / 'other'}")
    assert pairs(select([folders[0], other], out, rule)) == [
        (shard, key) for shard in SHARDS for key in ("k0", "k1")
    ]
    with pytest.raises(UsageError, match=r"text_area.text_area_ratio or other.text_area_ratio"):
        select([folders[0], other], out, text_area.at_most(0.1))
    with pytest.raises(UsageError, match="cannot be named 'meta'"):
        select([TableSource(folders[0], "meta")], out, rule)


def test_a_folder_with_an_equals_sign_is_a_folder(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders[0].parent)
    folders[0].rename("v=1")
    assert parse_source("v=1") == TableSource(Path("v=1"))
    assert parse_source("w=v=1") == TableSource(Path("v=1"), "w")


def test_an_annotator_may_have_a_column_of_its_own_name(tmp_path: Path) -> None:
    made_table(tmp_path / "w", "x", [{"key": "a", "words": 3}, {"key": "b", "words": 5}],
               name="words")  # fmt: skip
    for where in ("words > 4", "words.words > 4", "words.words > 4 and words.status = 'ok'"):
        rule = Rule(where=where)
        assert pairs(select([tmp_path / "w"], tmp_path / "s.parquet", rule)) == [("x", "b")]


def test_no_tables_or_none_that_are_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tables given"):
        select([], tmp_path / "s.parquet", Rule(where="true"))
    with pytest.raises(TableError, match="is not a folder of tables"):
        select([tmp_path / "none"], tmp_path / "s.parquet", Rule(where="true"))
