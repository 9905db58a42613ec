"""Rules, ties, controls, joined metadata, and DataComp's subset file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from lesstext.errors import TableError, UsageError
from lesstext.policies import text_area
from lesstext.tables.folder import TableSource
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import RowsDigest, select
from lesstext.tables.selection import Counts, Selection, read_keys, read_selection
from tests.lesstext.builders import ratio_samples, sample, write_tar
from tests.lesstext.conftest import Score
from tests.lesstext.tables.table_builders import made_table

Pairs = list[tuple[str, str]]


@pytest.fixture
def tables(shards: Path, score: Score) -> Path:
    """30 ok samples (ratios 0, 0.02 … 0.18 in each of three shards) and 3 failures."""
    bad = [*sample("bad", b""), *ratio_samples([0.0, 0.5], "c"), *sample("x", b""), ("n.txt", b"")]
    write_tar(shards / "c.tar", bad)
    score(shards)
    return shards.parent / "scores"


def pairs(selection: Selection) -> Pairs:
    rows = pq.read_table(selection.path).to_pylist()
    return [(row["shard"], row["key"]) for row in rows]


def test_max_text_area_keeps_up_to_and_including(tables: Path, tmp_path: Path) -> None:
    selection = select([tables], tmp_path / "s.parquet", text_area.at_most(0.02))
    assert selection.counts == Counts(read=35, kept=7, dropped=25, failed=3)
    assert pairs(selection) == [
        ("a/00000", "a_000000000"), ("a/00000", "a_000000001"),
        ("a/00001", "a_000010000"), ("a/00001", "a_000010001"),
        ("b/00000", "b_000000000"), ("b/00000", "b_000000001"),
        ("c", "c0000"),
    ]  # fmt: skip
    found = {shard: keys.to_pylist() for shard, keys in selection.keys_by_shard().items()}
    assert found == {
        "a/00000": ["a_000000000", "a_000000001"],
        "a/00001": ["a_000010000", "a_000010001"],
        "b/00000": ["b_000000000", "b_000000001"],
        "c": ["c0000"],
    }
    assert read_keys(selection.path, selection.id, "a/00001") == found["a/00001"]


def test_a_shard_of_which_nothing_is_kept_has_no_keys(tables: Path, tmp_path: Path) -> None:
    selection = select([tables], tmp_path / "s.parquet", Rule(where="shard = 'c'"))
    found = {shard: len(keys) for shard, keys in selection.keys_by_shard().items()}
    assert found == {"a/00000": 0, "a/00001": 0, "b/00000": 0, "c": selection.counts.kept}


def test_a_selection_reads_back_as_it_was_written(tables: Path, tmp_path: Path) -> None:
    written = select([tables], tmp_path / "s.parquet", text_area.at_most(0.1))
    assert read_selection(tmp_path / "s.parquet") == written
    assert written.rule == {
        "where": "text_area_ratio <= 0.1::FLOAT", "seed": 0, "keep_failed": False
    }  # fmt: skip
    assert written.annotators == {"text_area": "fake magenta=1"} and written.threshold is None
    assert sorted(written.fingerprints) == ["a/00000", "a/00001", "b/00000", "c"]


def test_keep_fraction_takes_the_lowest_and_breaks_ties_by_hash(
    tables: Path, tmp_path: Path
) -> None:
    def kept(seed: int) -> Pairs:
        rule = text_area.lowest(2 / 32, seed=seed)
        return pairs(select([tables], tmp_path / "s.parquet", rule))

    zeros = [("a/00000", "a_000000000"), ("a/00001", "a_000010000"),
             ("b/00000", "b_000000000"), ("c", "c0000")]  # fmt: skip

    def by_hand(seed: int) -> Pairs:
        hashed = [hashlib.md5(f"{seed}\x1f{s}\x1f{k}".encode()).hexdigest() for s, k in zeros]
        return sorted(pair for _, pair in sorted(zip(hashed, zeros, strict=True))[:2])

    assert {tuple(kept(seed)) for seed in range(8)} == {tuple(by_hand(s)) for s in range(8)}
    assert kept(3) == by_hand(3) == kept(3)


@pytest.mark.parametrize(("fraction", "n"), [(0, 0), (0.5, 16), (1, 32)])
def test_keep_fraction_counts_ok_rows_only(
    tables: Path, tmp_path: Path, fraction: float, n: int
) -> None:
    counts = select([tables], tmp_path / "s.parquet", text_area.lowest(fraction)).counts
    assert (counts.kept, counts.dropped, counts.failed) == (n, 32 - n, 3)


def test_the_control_has_equal_size_no_failures_and_is_random(tables: Path, tmp_path: Path) -> None:
    control = tmp_path / "s.control.parquet"
    drawn = []
    for seed in range(4):
        rule = text_area.at_most(0.05, seed=seed, keep_failed=True)
        selection = select([tables], tmp_path / "s.parquet", rule, control=control)
        drawn.append(pairs(read_selection(control)))
        counts = read_selection(control).counts
        assert counts.kept == selection.counts.kept - selection.counts.failed_but_kept == 10
        assert counts.failed == 3 and read_selection(control).kind == "control"
    assert not {key for pair in drawn for _, key in pair} & {"bad", "x", "n"}
    assert len({tuple(d) for d in drawn}) == 4


def test_failures_are_kept_only_when_asked_and_are_accounted_for(
    tables: Path, tmp_path: Path
) -> None:
    rule = text_area.at_most(0.0, keep_failed=True)
    counts = select([tables], tmp_path / "s.parquet", rule).counts
    assert counts == Counts(read=35, kept=7, dropped=28, failed=0, failed_but_kept=3)
    with pytest.raises(AssertionError, match="does not add up"):
        Counts(read=3, kept=1, dropped=1, failed=0)


def test_where_sees_all_score_columns(tables: Path, tmp_path: Path) -> None:
    rule = Rule(where="text_area_ratio < 0.1 and width = 40 and key like 'b%' or n_regions is null")
    assert len(pairs(select([tables], tmp_path / "s.parquet", rule))) == 5


def test_where_joins_img2dataset_metadata_by_shard_and_key(tables: Path, tmp_path: Path) -> None:
    keys = [f"a_00000{i:04d}" for i in range(10)]
    metadata = pa.table({"key": keys, "similarity": [i / 10 for i in range(10)]})
    (tmp_path / "meta/a").mkdir(parents=True)
    pq.write_table(metadata, tmp_path / "meta/a/00000.parquet")
    rule = Rule(where="meta.similarity > 0.55 and text_area_ratio < 0.17")
    selection = select([tables], tmp_path / "s.parquet", rule, metadata=tmp_path / "meta")
    assert pairs(selection) == [("a/00000", key) for key in keys[6:9]]
    pq.write_table(pa.concat_tables([metadata] * 2), tmp_path / "meta/a/00000.parquet")
    with pytest.raises(UsageError, match="several rows for one sample"):
        select([tables], tmp_path / "s.parquet", rule, metadata=tmp_path / "meta")


def test_where_joins_datacomp_metadata_by_uid(tmp_path: Path, score: Score) -> None:
    write_tar(tmp_path / "in/x.tar", ratio_samples([0.0] * 4))
    score(tmp_path / "in")
    uids = [f"{i:032x}" for i in range(3)]
    (tmp_path / "meta").mkdir()
    pq.write_table(pa.table({"uid": uids, "clip": [0.1, 0.5, 0.9]}), tmp_path / "meta/m.parquet")
    selection = select(
        [tmp_path / "scores"], tmp_path / "s.parquet", Rule(where="meta.clip > 0.3"),
        metadata=tmp_path / "meta",
    )  # fmt: skip
    assert pairs(selection) == [("x", "s0001"), ("x", "s0002")]


def test_a_selection_holds_what_was_measured_of_each_sample(tables: Path, tmp_path: Path) -> None:
    rule = Rule(where="shard = 'c' and width = 40", keep_failed=True)
    rows = pq.read_table(
        select([tables], tmp_path / "s.parquet", rule, carry=text_area.MEASURED).path
    )
    ratio = pa.field("text_area_ratio", pa.float32())
    assert rows.schema.field("text_area_ratio").equals(ratio)
    assert rows.to_pylist() == [
        {"shard": "c", "key": key, "uid": uid, "status": status,
         "text_area_ratio": ratio, "n_regions": n}
        for key, uid, status, ratio, n in [
            ("bad", None, "decode_error", None, None), ("c0000", f"{0:032x}", "ok", 0.0, 0),
            ("c0001", f"{1:032x}", "ok", 0.5, 1), ("x", None, "decode_error", None, None),
            ("n", None, "missing_image", None, None),
        ]
    ]  # fmt: skip


def test_measured_columns_that_two_tables_have_go_by_their_names(
    tables: Path, tmp_path: Path
) -> None:
    twice = [TableSource(tables, "old"), TableSource(tables, "new")]
    made = select(
        twice, tmp_path / "s.parquet", Rule(where="old.width = 40"), carry=text_area.MEASURED
    )
    names = ["old.text_area_ratio", "new.text_area_ratio", "old.n_regions", "new.n_regions"]
    assert pq.read_schema(made.path).names == ["shard", "key", "uid", "status", *names]


def test_by_products_go_by_their_suffix_and_lie_beside_the_selection(
    tables: Path, tmp_path: Path
) -> None:
    out, elsewhere = tmp_path / "kept/s.parquet", tmp_path / "list.csv"
    made = select(
        [tables],
        out,
        text_area.at_most(0.02),
        also=["keys.txt", "k.csv", elsewhere],
        carry=text_area.MEASURED,
    )
    wanted = [f"{shard}/{key}" for shard, key in pairs(made)]
    assert (tmp_path / "kept/keys.txt").read_text().splitlines() == wanted
    rows = csv.read_csv(tmp_path / "kept/k.csv").to_pylist()
    assert [f"{row['shard']}/{row['key']}" for row in rows] == wanted
    assert [row["text_area_ratio"] for row in rows][:2] == [0.0, 0.02]
    assert elsewhere.read_bytes() == (tmp_path / "kept/k.csv").read_bytes()
    select([tables], out, text_area.at_most(0.0), also=["keys.txt"])
    assert len((tmp_path / "kept/keys.txt").read_text().splitlines()) == 4
    elsewhere.write_text("mine")
    with pytest.raises(UsageError, match=r"list\.csv exists and is no keys of ours"):
        select([tables], out, text_area.at_most(0.0), also=[elsewhere])


@pytest.mark.parametrize(
    ("out", "also", "words"),
    [
        ("keep.csv", [], r"--out .*keep\.csv: a selection is a parquet file; give --out NAME"),
        ("keep.parquet", ["keys.json"], r"--also keys\.json: by its suffix it is none of \.csv"),
        ("keep.parquet", ["keys"], "--also keys: by its suffix"),
    ],
)
def test_other_suffixes_are_refused_before_anything_is_read(
    tmp_path: Path, out: str, also: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        select([tmp_path / "nothing"], tmp_path / out, text_area.at_most(0.0), also=also)


def test_the_subset_file_is_datacomps(tmp_path: Path, score: Score) -> None:
    uids = ["ffffffffffffffff0000000000000001", "00000000000000020000000000000003"]
    members = [m for i, uid in enumerate(uids) for m in sample(f"k{i}", uid=uid)]
    write_tar(tmp_path / "in/x.tar", members)
    score(tmp_path / "in")
    out = tmp_path / "subset.npy"
    select([tmp_path / "scores"], tmp_path / "s.parquet", text_area.at_most(1), also=[out])
    array = np.load(out)
    assert array.dtype == np.dtype("u8,u8")
    expected = np.array([(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids], "u8,u8")
    assert array.tolist() == np.sort(expected).tolist() == [(2, 3), (2**64 - 1, 1)]


def test_the_subset_file_needs_uids(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 of 35 kept samples have no 32-digit hexadecimal uid"):
        select(
            [tables], tmp_path / "s.parquet", text_area.at_most(1, keep_failed=True),
            also=[tmp_path / "x.npy"],
        )  # fmt: skip
    assert not (tmp_path / "s.parquet").exists()


def test_a_moved_table_and_a_foreign_selection_are_refused(tables: Path, tmp_path: Path) -> None:
    (tables / "c.parquet").rename(tables / "d.parquet")
    with pytest.raises(TableError, match="moved or renamed"):
        select([tables], tmp_path / "s.parquet", text_area.at_most(0.1))
    with pytest.raises(TableError, match="is not a selection"):
        read_selection(tables / "d.parquet")


def test_folder_names_are_taken_literally(tmp_path: Path, score: Score) -> None:
    write_tar(tmp_path / "in/x[1]=*.tar", ratio_samples([0.0, 0.5]))
    odd = tmp_path / "it's key=1 [a]*"
    score(tmp_path / "in", out=odd)
    selection = select([odd], tmp_path / "s.parquet", text_area.at_most(0.1))
    assert pairs(selection) == [("x[1]=*", "s0000")]


def test_thousands_of_rows_keep_tar_order(tmp_path: Path, score: Score) -> None:
    members = [m for i in range(3000) for m in [(f"{i:06d}.txt", b"")]]
    for shard in ("x", "y"):
        write_tar(tmp_path / f"in/{shard}.tar", members)
    score(tmp_path / "in")
    rule = text_area.at_most(0, keep_failed=True)
    selection = select([tmp_path / "scores"], tmp_path / "s.parquet", rule)
    assert pairs(selection) == [(s, f"{i:06d}") for s in ("x", "y") for i in range(3000)]


def test_a_selection_is_another_when_it_keeps_other_samples(tables: Path, tmp_path: Path) -> None:
    """The rule and the tables may be the same, and the metadata may not."""
    (tmp_path / "meta").mkdir()
    rule = Rule(keep_fraction=0.1, by="meta.clip", highest=True)
    ids: list[str] = []
    for better in ("c0000", "c0001", "c0000"):
        metadata = pa.table({"key": ["c0000", "c0001"], "clip": [0.5, float(better == "c0001")]})
        pq.write_table(metadata, tmp_path / "meta/c.parquet")
        out = tmp_path / f"{len(ids)}.parquet"
        selection = select(
            [tables], out, Rule(where="meta.clip >= 0.5"), metadata=tmp_path / "meta"
        )
        assert [key for _, key in pairs(selection)][-1] == better
        ids.append(selection.id)
    assert ids[0] == ids[2] != ids[1]
    by_clip = select([tables], tmp_path / "s.parquet", rule, metadata=tmp_path / "meta")
    assert pairs(by_clip) == [("c", "c0000"), ("c", "c0001")]


def test_the_digest_of_rows_does_not_depend_on_batches() -> None:
    rows = pa.table({"shard": ["a", "a", "b", "b"], "key": ["1", "23", "", "ü"]})

    def digest(*parts: pa.Table) -> str:
        found = RowsDigest()
        for part in parts:
            found.update(part)
        return found.hexdigest()

    whole = digest(rows)
    assert digest(rows.slice(0, 1), rows.slice(1, 0), rows.slice(1, 3)) == whole
    others = [["12", "3", "", "ü"], ["1", "24", "", "ü"], ["1", "23", "", "ö"]]
    for keys in others:
        assert digest(pa.table({"shard": ["a", "a", "b", "b"], "key": keys})) != whole
    assert digest(pa.table({"shard": ["a", "a", "c", "c"], "key": rows["key"]})) != whole
    assert digest(rows.slice(0, 3)) != whole


def test_tables_annotated_anew_make_another_selection(tmp_path: Path) -> None:
    """Though they keep the same samples: what is made from a selection depends on its tables."""
    made: list[Selection] = []
    for annotator in ("text_area 1", "text_area 2", "text_area 1"):
        folder = tmp_path / str(len(made))
        rows = [{"key": "a", "text_area_ratio": 0.1}]
        for shard in ("x", "y"):
            own = annotator if shard == "y" or len(made) != 1 else "text_area 2"
            made_table(folder, shard, rows, name="text_area", annotator=own)
        made.append(select([folder], tmp_path / f"{len(made)}.parquet", text_area.at_most(0.5)))
    assert made[0].tables_digest == made[2].tables_digest != made[1].tables_digest
    assert made[0].id == made[2].id != made[1].id


def test_another_rule_or_kind_is_another_selection(tables: Path, tmp_path: Path) -> None:
    rules = [text_area.at_most(0.5), Rule(where="text_area_ratio <= 0.5 or false")]
    made = [
        select([tables], tmp_path / f"{n}.parquet", rule, control=tmp_path / f"c{n}.parquet")
        for n, rule in enumerate(rules)
    ]
    controls = [read_selection(tmp_path / f"c{n}.parquet") for n in (0, 1)]
    assert pairs(made[0]) == pairs(made[1]) == pairs(controls[0])
    assert len({one.id for one in (*made, *controls)}) == 4


@pytest.mark.parametrize("n_keys", [1, 2, 40])
def test_a_key_that_stands_twice_in_a_selection_is_refused(tmp_path: Path, n_keys: int) -> None:
    rows = [{"key": f"k{i}", "text_area_ratio": 0.1} for i in range(n_keys)]
    made_table(tmp_path / "t", "x", rows, name="text_area")
    made = select([tmp_path / "t"], tmp_path / "s.parquet", text_area.at_most(0.5))
    assert made.n_kept_by_shard() == {"x": n_keys}
    table = pq.read_table(made.path)
    pq.write_table(pa.concat_tables([table.slice(0, 1), table]), made.path)
    with pytest.raises(TableError, match="1 keys of shard x stand there twice"):
        made.n_kept_by_shard()
