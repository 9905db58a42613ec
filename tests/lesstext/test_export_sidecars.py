"""The parquet beside an exported shard: what the input said, and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.errors import TableError, UsageError
from lesstext.export.plan import ExportConfig
from lesstext.export.sidecar import Carry, parse_carry
from lesstext.export.whole_run import ExportSummary, export
from lesstext.policies import text_area
from lesstext.shards.specs import expand_specs
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import read_selection
from lesstext.verify import verify_shards
from tests.lesstext.builders import read_tar
from tests.lesstext.conftest import Score

Rows = list[dict[str, Any]]


@pytest.fixture
def selection(shards: Path, score: Score) -> Path:
    """Keeps ratios up to 0.02: the first two samples of each of three shards."""
    score(shards)
    out = shards.parent / "s.parquet"
    select([shards.parent / "scores"], out, text_area.at_most(0.02), carry=text_area.MEASURED)
    return out


def run(shards: Path, selection: Path, **options: Any) -> ExportSummary:
    options = {"out": shards.parent / "out", "workers": 1, **options}
    return export(ExportConfig(shards=(str(shards),), selection=selection, **options))


def with_metadata(shards: Path, name: str = "a/00000", **columns: list[Any]) -> None:
    """A parquet beside a shard, as img2dataset writes it: its rows are in another order."""
    prefix = name.replace("/", "_")
    keys = [f"{prefix}{i:04d}" for i in (5, 1, 7, 0)]
    pq.write_table(pa.table({"key": keys, **columns}), shards / f"{name}.parquet")


def sidecar(folder: Path, name: str) -> Rows:
    rows: Rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return rows


def test_a_sidecar_says_what_was_measured_in_the_order_of_the_shard(
    shards: Path, selection: Path
) -> None:
    run(shards, selection)
    assert sidecar(shards.parent / "out", "b/00000") == [
        {"key": f"b_00000{i:04d}", "uid": f"{i:032x}", "status": "ok",
         "text_area_ratio": pytest.approx(i / 50), "n_regions": i}
        for i in range(2)
    ]  # fmt: skip
    for verdict in verify_shards(expand_specs([str(shards.parent / "out")])):
        assert verdict.problems == []


def test_the_inputs_rows_come_along_and_none_of_their_columns_is_overwritten(
    shards: Path, selection: Path
) -> None:
    status = ["success", "success", "failed_to_download", "success"]
    with_metadata(shards, url=["u5", "u1", "u7", "u0"], status=status, uid=["a", "b", "c", "d"])
    summary = run(shards, selection)
    assert sidecar(shards.parent / "out", "a/00000") == [
        {"key": f"a_00000{i:04d}", "url": f"u{i}", "status": "success", "uid": "db"[i],
         "lesstext_status": "ok", "text_area_ratio": pytest.approx(i / 50), "n_regions": i}
        for i in range(2)
    ]  # fmt: skip
    assert summary.joined == {"input's rows": [2, 0]} and summary.notes == []


def test_repacked_shards_have_the_columns_of_all_their_inputs(
    shards: Path, selection: Path
) -> None:
    with_metadata(shards, url=["u5", "u1", "u7", "u0"])
    run(shards, selection, samples_per_shard=4)
    out = shards.parent / "out"
    rows = sidecar(out, "00000")
    assert [row["url"] for row in rows] == ["u0", "u1", None, None]
    assert [row["key"] for row in rows] == [
        "a_000000000",
        "a_000000001",
        "a_000010000",
        "a_000010001",
    ]
    assert len(sidecar(out, "00001")) == 2
    names = [name for name, _ in read_tar(out / "00000.tar") if name.endswith(".png")]
    assert names == [f"{row['key']}.png" for row in rows]


def test_metadata_that_cannot_be_used_is_a_note_and_costs_no_shard(
    shards: Path, selection: Path
) -> None:
    (shards / "a/00000.parquet").write_bytes(b"<html>404</html>")
    pq.write_table(pa.table({"url": ["x"]}), shards / "a/00001.parquet")
    summary = run(shards, selection)
    assert not summary.failed and len(summary.notes) == 2
    assert "a/00000.parquet cannot be read and is left out" in summary.notes[0]
    assert "a/00001.parquet is left out: it has no column key" in summary.notes[1]
    assert "text_area_ratio" in sidecar(shards.parent / "out", "a/00000")[0]


def test_rows_of_inputs_that_do_not_go_together_are_a_note(shards: Path, selection: Path) -> None:
    with_metadata(shards, "a/00000", url=["u0", "u1", "u2", "u3"])
    with_metadata(shards, "a/00001", url=[[0], [1], [2], [3]])
    summary = run(shards, selection, samples_per_shard=100)
    assert not summary.failed
    (note,) = summary.notes
    assert "the inputs' rows do not go together and are left out" in note
    rows = sidecar(shards.parent / "out", "00000")
    assert len(rows) == 6 and "url" not in rows[0] and "text_area_ratio" in rows[0]


def test_labels_of_another_version_of_a_shard_are_refused(shards: Path, selection: Path) -> None:
    labels = shards.parent / "labels.parquet"
    made = pq.read_table(selection)
    made = made.append_column("entity_ids", pa.array([["Q1"]] * len(made)))
    told = pq.read_metadata(selection).metadata[b"lesstext_selection"]
    mark = read_selection(selection).fingerprints["a/00001"].edges_blake2
    other = {b"lesstext_selection": told.replace(mark.encode(), b"0" * len(mark))}
    pq.write_table(made.replace_schema_metadata(other), labels)
    with pytest.raises(UsageError, match=r"labels\.parquet was made from another version of shard"):
        run(shards, selection, labels=labels)


def test_labels_and_columns_of_tables_are_carried(shards: Path, selection: Path) -> None:
    scores, labels = shards.parent / "scores", shards.parent / "labels.parquet"
    made = pq.read_table(selection).slice(1)  # the first sample has no label
    made = made.append_column("entity_ids", pa.array([["Q1", "Q2"]] * len(made)))
    told = {b"lesstext_selection": pq.read_metadata(selection).metadata[b"lesstext_selection"]}
    pq.write_table(made.replace_schema_metadata(told), labels)
    carry = (parse_carry(f"{scores}:width,regions,status"),)
    summary = run(shards, selection, labels=labels, carry=carry)
    first, second = sidecar(shards.parent / "out", "a/00000")
    assert first["entity_ids"] is None and second["entity_ids"] == ["Q1", "Q2"]
    assert first["width"] == 40 and len(second["regions"]) == second["n_regions"] == 1
    assert first["status"] == first["lesstext_status"] == "ok"
    assert "height" not in first, "nobody asked for it"
    assert summary.joined == {"labels": [5, 1], str(scores): [6, 0]}


def test_a_sidecar_is_part_of_what_is_done_and_other_columns_leave_the_tars_alone(
    shards: Path, selection: Path
) -> None:
    out, scores = shards.parent / "out", shards.parent / "scores"
    run(shards, selection)
    tar, before = (out / "a/00000.tar").stat().st_mtime_ns, (out / "a/00000.parquet").read_bytes()
    assert run(shards, selection).n_done_before == 3
    (out / "a/00000.parquet").write_bytes(before[:-1] + b"x")
    (verdict, *_) = verify_shards(expand_specs([f"{out}/./a/00000.tar"]))
    assert verdict.problems == ["its sidecar 00000.parquet is not as it was exported: bytes differ"]
    (out / "a/00000.parquet").unlink()
    (verdict, *_) = verify_shards(expand_specs([f"{out}/./a/00000.tar"]))
    assert verdict.problems == ["its sidecar 00000.parquet, which was exported with it, is gone"]
    assert run(shards, selection).n_done_before == 2
    assert (out / "a/00000.parquet").read_bytes() == before
    assert run(shards, selection, carry=(Carry(scores, ("width",)),)).n_done_before == 0
    assert sidecar(out, "a/00000")[0]["width"] == 40
    with_metadata(shards, url=["u5", "u1", "u7", "u0"])
    assert run(shards, selection).n_done_before == 0, "the second shard loses its width again"
    assert "url" in sidecar(out, "a/00000")[0] and "width" not in sidecar(out, "a/00000")[0]
    assert (out / "a/00000.tar").stat().st_mtime_ns == tar


def test_what_cannot_be_carried_is_refused_by_name(
    shards: Path, selection: Path, score: Score
) -> None:
    scores = shards.parent / "scores"
    for text in ("scores", "scores:", "s3://bucket/scores", "scores:a,,b"):
        with pytest.raises(UsageError, match="--carry takes TABLES:column,column, got"):
            parse_carry(text)
    summary = run(shards, selection, carry=(Carry(scores, ("sharpness",)),))
    assert "no column sharpness; columns: key, uid" in (summary.failed[0].error or "")
    with pytest.raises(TableError, match="is not a selection"):
        run(shards, selection, labels=scores / "a/00000.parquet")
    select([scores], shards.parent / "c.parquet", Rule(where="shard like 'a%'"))
    (shards / "b/00000.tar").write_bytes((shards / "a/00000.tar").read_bytes())
    score(shards / "b", out=shards.parent / "b")
    select([shards.parent / "b"], shards.parent / "b.parquet", Rule(where="width > 0"))
    with pytest.raises(UsageError, match=r"b\.parquet says nothing about any of these shards"):
        run(shards, selection, labels=shards.parent / "b.parquet")
