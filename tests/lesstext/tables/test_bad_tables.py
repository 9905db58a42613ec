"""Tables that hold what no annotator writes are refused by name; odd but true ones work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.errors import TableError, UsageError
from lesstext.policies import text_area
from lesstext.tables import view
from lesstext.tables.folder import read_tables
from lesstext.tables.metadata import JoinCounts
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import Counts, Selection, read_keys, read_selection
from lesstext.tables.table import read_footer
from tests.lesstext.tables.table_builders import made_table

RULES = [
    Rule(where="text_area_ratio < 0.5"),
    text_area.at_most(0.5),
    text_area.lowest(0.5),
    Rule(keep_fraction=0.5, by="text_area_ratio", highest=True),
]


def area(ratio: float, key: str = "bad") -> dict[str, Any]:
    return {"key": key, "text_area_ratio": ratio}


def with_table(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> Path:
    """A folder of a good table `a`, and a table `b` of these rows."""
    made_table(tmp_path / "t", "a", [area(0.1, "a"), area(0.9, "b")], name="text_area")
    made_table(tmp_path / "t", "b", rows, name="text_area", **options)
    return tmp_path / "t"


@pytest.fixture(params=["in memory", "in place"])
def read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are read into memory, many are left where they are."""
    if request.param == "in place":
        monkeypatch.setattr(view, "_LOADED_ROWS", -1)


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("ratio", [float("nan"), 2.0, -0.1, float("inf")])
def test_ratios_that_are_none_are_refused(tmp_path: Path, rule: Rule, ratio: float) -> None:
    folder = with_table(tmp_path, area(0.5, "good"), area(ratio), area(0.4, "fine"))
    (folder / "a.parquet").unlink()  # DuckDB believes the statistics of a single file
    with pytest.raises(TableError, match=r"t/b\.parquet: key bad: text_area\.text_area_ratio is"):
        select([folder], tmp_path / "s.parquet", rule)
    assert not (tmp_path / "s.parquet").exists()


def test_a_sum_of_ratios_may_exceed_one_and_other_numbers_anything(tmp_path: Path) -> None:
    rows = [{"key": "a", "text_area_sum_ratio": 1.5, "score": -7.0}]
    made_table(tmp_path / "t", "x", rows, name="text_area")
    rule = Rule(where="text_area_sum_ratio > 1 and score < 0")
    assert select([tmp_path / "t"], tmp_path / "s.parquet", rule).counts.kept == 1
    rows[0]["score"] = float("nan")
    made_table(tmp_path / "t", "x", rows, name="text_area")
    with pytest.raises(TableError, match=r"x.parquet: key a: text_area.score is not a number: nan"):
        select([tmp_path / "t"], tmp_path / "s.parquet", rule)
    rule = Rule(where="text_area_sum_ratio > 1")  # the score is none of its business
    assert select([tmp_path / "t"], tmp_path / "s.parquet", rule).counts.kept == 1


@pytest.mark.parametrize("rule", RULES)
def test_a_row_count_that_differs_from_the_footer_is_refused(tmp_path: Path, rule: Rule) -> None:
    folder = with_table(tmp_path, area(0.5), counts={"ok": 2})
    with pytest.raises(TableError, match=r"t/b\.parquet holds 1 rows, but its footer speaks of 2"):
        select([folder], tmp_path / "s.parquet", rule)


@pytest.mark.parametrize("rule", RULES)
def test_a_key_that_two_rows_have_is_refused(tmp_path: Path, rule: Rule) -> None:
    folder = with_table(tmp_path, area(0.5, "twice"), area(0.4, "once"), area(0.5, "twice"))
    with pytest.raises(TableError, match=r"t/b\.parquet: 2 rows for key twice"):
        select([folder], tmp_path / "s.parquet", rule)


def test_one_key_in_two_shards_is_two_samples(tmp_path: Path) -> None:
    folder = with_table(tmp_path, area(0.2, "a"))
    assert select([folder], tmp_path / "s.parquet", text_area.at_most(0.5)).counts.kept == 2


def test_rows_without_a_key_or_status_are_refused(tmp_path: Path) -> None:
    for row in ({"key": None}, {"key": "a", "status": None}):
        folder = with_table(tmp_path, {"text_area_ratio": 0.5, **row}, counts={"ok": 1})
        with pytest.raises(TableError, match=r"t/b.parquet: key .*: the key or the status is null"):
            select([folder], tmp_path / "s.parquet", Rule(where="true"))


def damage_body(path: Path) -> None:
    """Zeros in place of all column data under a good footer."""
    data = path.read_bytes()
    start = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    path.write_bytes(data[:4] + bytes(start - 4) + data[start:])


def test_a_zeroed_body_under_a_good_footer_is_refused_by_name(tmp_path: Path) -> None:
    folder = with_table(tmp_path, area(0.5))
    damage_body(folder / "b.parquet")
    for rule in (Rule(where="text_area_ratio < 0.5"), text_area.lowest(0.5)):
        with pytest.raises(TableError, match=r"t/b\.parquet is damaged: "):
            select([folder], tmp_path / "s.parquet", rule)


def test_tables_of_two_annotators_or_of_no_annotator_are_refused(tmp_path: Path) -> None:
    folder = with_table(tmp_path, area(0.5), annotator="another")
    with pytest.raises(TableError, match=r"mixes tables .*text_area \(another\); text_area \(text"):
        select([folder], tmp_path / "s.parquet", text_area.at_most(0.5))
    pq.write_table(pa.table({"key": ["a"]}), folder / "b.parquet")
    with pytest.raises(TableError, match=r"b\.parquet is not a table"):
        select([folder], tmp_path / "s.parquet", text_area.at_most(0.5))


def test_columns_that_duckdb_has_words_for_are_refused(tmp_path: Path) -> None:
    made_table(tmp_path / "t", "x", [{"key": "a", "file_index": 7}], name="words")
    with pytest.raises(TableError, match="no column can be named file_index or file_row_number"):
        select([tmp_path / "t"], tmp_path / "s.parquet", Rule(where="true"))
    folder = with_table(tmp_path / "good", area(0.5))
    with pytest.raises(UsageError, match=f"--metadata {tmp_path / 't'}: no column can be named"):
        select([folder], tmp_path / "s.parquet", Rule(where="true"), metadata=tmp_path / "t")


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("rule", RULES)
def test_tables_without_rows_work(tmp_path: Path, rule: Rule) -> None:
    folder = with_table(tmp_path)
    found = select([folder], tmp_path / "s.parquet", rule)
    assert found.counts == Counts(read=2, kept=1, dropped=1, failed=0)
    assert {shard: len(keys) for shard, keys in found.keys_by_shard().items()} == {"a": 1, "b": 0}
    made_table(tmp_path / "t", "a", [], name="text_area")
    control, npy = tmp_path / "c.parquet", tmp_path / "x.npy"
    nothing = select([folder], tmp_path / "s.parquet", rule, control=control, also=[npy])
    assert nothing.counts == Counts(read=0, kept=0, dropped=0, failed=0) and npy.exists()
    assert read_selection(control).n_kept_by_shard() == {}


def test_tables_with_and_without_a_column_lie_together(tmp_path: Path) -> None:
    folder = with_table(tmp_path, {"key": "c", "extra": 3})
    assert select([folder], tmp_path / "s.parquet", Rule(where="extra = 3")).counts.kept == 1
    assert select([folder], tmp_path / "s.parquet", Rule(where="extra is null")).counts.kept == 2


@pytest.mark.parametrize("spelling", [".", "./", "../t", "../t/", "{}", "{}/", "x/..", "./../t/."])
def test_a_folder_may_be_spelled_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    made_table(tmp_path / "t", "a/00000", [area(0.1, "k")], name="text_area")
    pq.write_table(pa.table({"key": ["k"], "clip": [0.7]}), tmp_path / "t/a/00000.meta.parquet")
    (tmp_path / "t/a/00000.meta.parquet").rename(tmp_path / "00000.parquet")
    (tmp_path / "t" / "x").mkdir()
    monkeypatch.chdir(tmp_path / "t")
    folder = Path(spelling.format(tmp_path / "t"))
    found = select([folder], tmp_path / "s.parquet", text_area.at_most(0.5))
    assert rows_of(found) == [{"shard": "a/00000", "key": "k"}]


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("spelling", [".", "./", "../m", "{}/", "x/.."])
def test_a_metadata_folder_may_be_spelled_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    made_table(tmp_path / "t", "a/00000", [area(0.1, "k"), area(0.2, "l")], name="text_area")
    for folder in ("m/a", "m/x"):
        (tmp_path / folder).mkdir(parents=True)
    rows = pa.table({"key": ["k", "l", "gone"], "clip": [0.7, float("nan"), 0.9]})
    pq.write_table(rows, tmp_path / "m/a/00000.parquet")
    pq.write_table(rows.slice(0, 1), tmp_path / "m/other.parquet")
    monkeypatch.chdir(tmp_path / "m")
    found = select(
        [tmp_path / "t"], tmp_path / "s.parquet", Rule(where="meta.clip > 0.5"),
        metadata=Path(spelling.format(tmp_path / "m")),
    )  # fmt: skip
    assert pq.read_table(found.path).column("key").to_pylist() == ["k"]
    assert found.metadata == str(tmp_path / "m")
    assert found.joined["meta"] == JoinCounts(matched=2, unmatched=0, unmatched_rows=2)
    assert found.joined["text_area"] == JoinCounts(2, 0, 0, ok=2)


def test_metadata_that_cannot_be_read_or_joined_is_wrong_use(tmp_path: Path) -> None:
    folder = with_table(tmp_path, area(0.5))
    rule, meta = Rule(where="meta.clip > 0.5"), tmp_path / "m"
    meta.mkdir()
    with pytest.raises(UsageError, match="holds no parquet files"):
        select([folder], tmp_path / "s.parquet", rule, metadata=meta)
    (meta / "b.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(UsageError, match=f"--metadata {meta}: "):
        select([folder], tmp_path / "s.parquet", rule, metadata=meta)
    pq.write_table(pa.table({"clip": [0.5]}), meta / "b.parquet")
    with pytest.raises(UsageError, match="has neither a uid nor a key column"):
        select([folder], tmp_path / "s.parquet", rule, metadata=meta)
    pq.write_table(pa.table({"key": ["bad"], "clip": [0.75]}), meta / "b.parquet")
    assert select([folder], tmp_path / "s.parquet", rule, metadata=meta).counts.kept == 1
    damage_body(meta / "b.parquet")
    with pytest.raises(UsageError, match=f"--metadata {meta}: "):
        select([folder], tmp_path / "s.parquet", rule, metadata=meta)


def rows_of(selection: Selection) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(selection.path, columns=["shard", "key"]).to_pylist()
    return rows


def rewritten(selection: Selection, **changes: Any) -> Path:
    """The selection's file with other fields in its description; None deletes one."""
    assert isinstance(selection.path, Path)
    rows, known = pq.read_table(selection.path), pq.read_metadata(selection.path).metadata
    fields = json.loads(known[b"lesstext_selection"]) | changes
    gone = {name for name, value in changes.items() if value is None}
    text = json.dumps({name: value for name, value in fields.items() if name not in gone})
    schema = pa.schema(rows.schema, {b"lesstext_selection": text.encode()})
    pq.write_table(rows.cast(schema), selection.path)
    return selection.path


def test_an_old_selection_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = with_table(tmp_path, area(0.5))
    made = select([folder], tmp_path / "s.parquet", text_area.at_most(0.5))
    assert read_selection(rewritten(made)) == made
    with pytest.raises(TableError, match=r"of schema 1, .* reads 3: make it again by `less"):
        read_selection(rewritten(made, schema_version=None))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"counts": [1]}, "counts: "),
        ({"counts": {"read": 3, "kept": 1, "dropped": 1, "failed": 0}}, "counts: .*add up"),
        ({"counts": {"read": "3", "kept": 1, "dropped": 2, "failed": 0}}, "counts.read: .*'3'"),
        ({"fingerprints": {"a": 3}}, "fingerprints.a: .* got 3"),
        ({"fingerprints": {"a": "[]"}}, "shard a: fingerprint: "),
        ({"fingerprints": {"a": '{"size_bytes": 1}'}}, "shard a: .*field edges_blake2 is missing"),
        ({"rule": None}, "the field rule is missing"),
        ({"threshold": "0.5"}, "threshold: .*'0.5'"),
        ({"annotators": {"text_area": None}}, "annotators.text_area: "),
    ],
)
def test_a_damaged_description_is_named_by_file_and_field(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    made = select([with_table(tmp_path)], tmp_path / "s.parquet", text_area.at_most(0.5))
    with pytest.raises(TableError, match=rf"s\.parquet is not a selection: .*{named}") as caught:
        read_selection(rewritten(made, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "3", "{", "null", "[" * 100_000, "\ud800"])
def test_a_description_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    for key, read in ((b"lesstext_selection", read_selection), (b"lesstext", read_footer)):
        schema = pa.schema([], {key: text.encode("utf-8", "surrogatepass")})
        pq.write_table(pa.table({}, schema=schema), tmp_path / "x.parquet")
        with pytest.raises(TableError, match=r"x\.parquet is not a ") as caught:
            read(tmp_path / "x.parquet")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_selection_with_a_zeroed_body_is_named(tmp_path: Path) -> None:
    made = select([with_table(tmp_path)], tmp_path / "s.parquet", text_area.at_most(0.5))
    assert isinstance(made.path, Path)
    damage_body(made.path)
    damaged = read_selection(made.path)
    for read in (
        damaged.keys_by_shard, damaged.n_kept_by_shard, lambda: read_keys(made.path, "x", "a")
    ):  # fmt: skip
        with pytest.raises(TableError, match=r"s\.parquet is damaged: "):
            read()


def test_read_tables_names_a_zeroed_body(tmp_path: Path) -> None:
    folder = with_table(tmp_path, area(0.5))
    damage_body(folder / "b.parquet")
    with pytest.raises(TableError, match=r"b\.parquet is damaged: "):
        read_tables(folder)
