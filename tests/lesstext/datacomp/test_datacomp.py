"""Subset lists against short references that follow DataComp's published baselines."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.datacomp.bundle import bundle
from lesstext.datacomp.combining import Operation, combine, combined
from lesstext.datacomp.multisets import UID
from lesstext.datacomp.selecting import select_uids
from lesstext.datacomp.subset_file import open_subset, write_subset
from lesstext.errors import UsageError
from lesstext.tables.rule import Rule

L14 = "clip_l14_similarity_score"
BASIC = (
    r"regexp_matches(text, '\S\s+\S+\s+\S') and length(text) > 5 "
    "and least(original_width, original_height) >= 200 "
    "and greatest(original_width, original_height) / least(original_width, original_height) <= 3"
)


def uid_of(number: int) -> str:
    return hashlib.md5(str(number).encode()).hexdigest()


def pair(uid: str) -> tuple[int, int]:
    return int(uid[:16], 16), int(uid[16:], 16)


def listed(path: Path) -> list[tuple[int, int]]:
    uids = np.load(path)
    assert uids.dtype == np.dtype("u8,u8")
    found: list[tuple[int, int]] = uids.tolist()
    return found


def written(path: Path, numbers: list[int]) -> Path:
    uids = np.array(sorted((number % 5, number) for number in numbers), UID)
    np.save(path, uids)
    return path


@pytest.fixture
def pool(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Metadata with DataComp's columns in two files: ties, a NaN, short captions, narrow images,
    and one uid that is listed twice."""
    rng = np.random.default_rng(7)
    captions = ["a red bus", "bus", "a  bus", "x y z", "größe und 東京 tower", " in the street "]
    rows = [
        {
            "uid": uid_of(max(number, 1)),
            "text": captions[number % len(captions)],
            "original_width": int(rng.integers(150, 900)),
            "original_height": int(rng.integers(150, 900)),
            "clip_b32_similarity_score": float(rng.random()),
            L14: round(float(rng.random()), 1) if number != 9 else float("nan"),
        }
        for number in range(203)
    ]
    folder = tmp_path / "metadata"
    folder.mkdir()
    schema = pa.Table.from_pylist(rows).schema
    kind = schema.set(schema.get_field_index(L14), pa.field(L14, pa.float32()))
    for part, some in enumerate((rows[:90], rows[90:])):
        pq.write_table(pa.Table.from_pylist(some, schema=kind), folder / f"{part}.parquet")
    return folder, rows


@pytest.mark.parametrize("fraction", [0.3, 0.0, 0.55, 1.0])
def test_a_share_by_clip_score_is_cut_as_datacomp_cuts_it(
    pool: tuple[Path, list[dict[str, Any]]], tmp_path: Path, fraction: float
) -> None:
    folder, rows = pool
    scores = np.array([row[L14] for row in rows], np.float32)
    place = int(len(rows) * fraction)
    in_order = -np.sort(-scores)  # NaN last
    threshold = in_order[place] if place < len(rows) else -np.inf
    expected = sorted(pair(row["uid"]) for row, at in zip(rows, scores >= threshold, strict=True)
                      if at)  # fmt: skip
    rule = Rule(keep_fraction=fraction, by=L14, highest=True)
    record = select_uids(folder, rule, tmp_path / "top.npy")
    assert listed(tmp_path / "top.npy") == expected
    assert (record.uids, record.distinct) == (len(expected), len(set(expected)))
    assert fraction != 1.0 or record.uids == record.distinct + 1 == len(rows) - 1


def test_basic_filtering_but_for_its_language(
    pool: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, rows = pool

    def is_kept(row: dict[str, Any]) -> bool:
        sides = sorted((row["original_width"], row["original_height"]))
        is_caption = len(row["text"].split()) > 2 and len(row["text"]) > 5
        return is_caption and sides[0] >= 200 and sides[1] / sides[0] <= 3

    select_uids(folder, Rule(where=BASIC), tmp_path / "basic.npy")
    expected = sorted(pair(row["uid"]) for row in rows if is_kept(row))
    assert 0 < len(expected) < len(rows)
    assert listed(tmp_path / "basic.npy") == expected


def test_scores_of_ones_own_are_joined_by_uid(
    pool: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, rows = pool
    own = tmp_path / "own"
    own.mkdir()
    known = {uid_of(number): number / 300 for number in range(150, 300)}
    uids = [uid.upper() for uid in reversed(known)]
    pq.write_table(pa.table({"uid": uids, "score": [*reversed(known.values())]}), own / "s.parquet")
    where = f"own.score > 0.55 and {L14} < 0.8"
    select_uids(folder, Rule(where=where), tmp_path / "both.npy", {"own": own})
    assert listed(tmp_path / "both.npy") == sorted(
        pair(row["uid"]) for row in rows if known.get(row["uid"], 0) > 0.55 and row[L14] < 0.75
    )
    pq.write_table(pa.table({"uid": uids[-1:], "score": [1.0]}), own / "t.parquet")
    with pytest.raises(UsageError, match="own has several rows of one uid"):
        select_uids(folder, Rule(where=where), tmp_path / "both.npy", {"own": own})


@pytest.mark.parametrize("operation", ["intersect", "unite", "subtract"])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_lists_are_combined_block_by_block(
    tmp_path: Path, operation: Operation, block: int
) -> None:
    rng = np.random.default_rng(3)
    drawn = [rng.integers(0, 40, n).tolist() for n in (130, 60, 0 if block == 7 else 90)]
    paths = [written(tmp_path / f"{place}.npy", drawn[place]) for place in range(3)]
    a, b, c = (Counter(open_subset(path).read(0, 200).tolist()) for path in paths)
    expected = {"intersect": a & b & c, "unite": a | b | c, "subtract": a - b - c}[operation]
    blocks = combined(operation, [open_subset(path) for path in paths], block)
    record = write_subset(tmp_path / "out.npy", blocks, {})
    assert listed(tmp_path / "out.npy") == sorted(expected.elements())
    assert (record.uids, record.distinct) == (expected.total(), len(+expected))


def test_what_is_no_list_is_refused_in_one_line(tmp_path: Path) -> None:
    good = written(tmp_path / "good.npy", [1, 2, 3])
    bytes_of = good.read_bytes()
    bad = {
        "cut": bytes_of[:-3],
        "longer": bytes_of + b"x",
        "empty": b"",
        "text": b"uid\n",
        "header": bytes_of[:8] + b"\xff\xff" + bytes_of[10:],
    }
    for name, content in bad.items():
        (tmp_path / f"{name}.npy").write_bytes(content)
    np.save(tmp_path / "floats.npy", np.zeros(3))
    np.save(tmp_path / "square.npy", np.zeros((2, 2), UID))
    np.save(tmp_path / "unsorted.npy", np.array([(1, 2), (1, 1)], UID))
    for name in [*bad, "floats", "square", "unsorted", "absent"]:
        with pytest.raises(UsageError, match=f"{name}.npy is no subset file") as caught:
            combine("unite", [good, tmp_path / f"{name}.npy"], tmp_path / "out.npy")
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="is an input"):
        combine("unite", [good, good], good)
    foreign = written(tmp_path / "foreign.npy", [5])
    with pytest.raises(UsageError, match="no subset of ours"):
        combine("unite", [good, good], foreign)
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule(where="nothing > 1"), "no column 'nothing'"),
        (Rule(where="text"), "neither true nor false"),
        (Rule(keep_fraction=0.5, by="text"), "not a number"),
        (Rule(where="read_text('x') = ''"), "not allowed"),
    ],
)
def test_rules_that_mean_nothing(
    pool: tuple[Path, list[dict[str, Any]]], tmp_path: Path, rule: Rule, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        select_uids(pool[0], rule, tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()


def test_rows_without_a_uid_are_counted(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    uids = [uid_of(1), uid_of(2)[:-1] + "_", None]
    pq.write_table(pa.table({"uid": uids, "x": [1, 2, 3]}), tmp_path / "pool" / "0.parquet")
    with pytest.raises(UsageError, match="2 rows have no 32-digit"):
        select_uids(tmp_path / "pool", Rule(where="x > 0"), tmp_path / "out.npy")


def test_a_bundle_holds_list_rule_hashes_and_commands(tmp_path: Path) -> None:
    lists = [written(tmp_path / "a.npy", [1, 1, 2]), written(tmp_path / "b.npy", [1, 2, 2])]
    both = tmp_path / "both.npy"
    combine("unite", lists, both)
    out = tmp_path / "bundle"
    bundle(both, out, scale="small", name="it's mine")
    done = bundle(both, out, scale="medium", name="it's mine")
    told = json.loads((out / "bundle.json").read_text())
    assert (done.uids, done.distinct, told["scale"]) == (4, 2, "medium")
    for name, digest in told["sha256"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert set(told["sha256"]) == {"subset.npy", "rule.json", "submit.sh"}
    assert json.loads((out / "rule.json").read_text())["operation"] == "unite"
    assert (out / "subset.npy").read_bytes() == both.read_bytes()
    text = (out / "submit.sh").read_text()
    assert 'resharder.py -i "$POOL" -o "$SHARDS" -s "$subset"' in text and "--scale medium" in text
    subprocess.run(["bash", "-n", str(out / "submit.sh")], check=True)


def test_bundles_that_are_refused(tmp_path: Path) -> None:
    alone = written(tmp_path / "alone.npy", [1])
    with pytest.raises(UsageError, match="no record of its rule"):
        bundle(alone, tmp_path / "bundle", scale="small", name="x")
    combine("unite", [alone, alone], tmp_path / "in" / "list.npy")
    with pytest.raises(UsageError, match="lies inside the output"):
        bundle(tmp_path / "in" / "list.npy", tmp_path / "in", scale="small", name="x")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds nothing of ours"):
        bundle(tmp_path / "in" / "list.npy", full, scale="small", name="x")
    written(tmp_path / "in" / "list.npy", [2])
    with pytest.raises(UsageError, match="speaks of another list"):
        bundle(tmp_path / "in" / "list.npy", tmp_path / "bundle", scale="small", name="x")
    assert not (tmp_path / "bundle").exists()
