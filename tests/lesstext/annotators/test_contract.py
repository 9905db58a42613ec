"""What every annotator may rely on, and what it must keep to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.annotators.base import Annotator, Part, Placement, Worker, find_annotator
from lesstext.annotators.text_area import TextArea
from lesstext.engines.whole_run import RunSummary
from lesstext.errors import UsageError
from lesstext.shards.samples import OpenSample, Row
from lesstext.shards.tar_reading import index_shard
from lesstext.tables.table import read_footer
from tests.lesstext.builders import encoded, picture, ratio_samples, sample, write_tar
from tests.lesstext.conftest import FAKE, Score


@dataclass(frozen=True, kw_only=True)
class Doubled(Annotator):
    """Twice the text-area ratio, from the table of text_area alone."""

    name: ClassVar[str] = "doubled"
    inputs: ClassVar[tuple[str, ...]] = ("text_area",)
    version: int = 1

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        return [("doubled", pa.float32())]

    def describe(self, sample: OpenSample, inputs: Mapping[str, Row]) -> Mapping[str, Any]:
        if sample.caption == "choke":
            raise ValueError("this caption is indigestible")
        return {"doubled": 2 * inputs["text_area"]["text_area_ratio"]}


@dataclass(frozen=True, kw_only=True)
class Wrong(Annotator):
    """Gives rows that are not those of the samples."""

    name: ClassVar[str] = "wrong"
    how: str = "fewer"

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        return []

    def load(self, placement: Placement) -> AbstractContextManager[Worker]:
        return nullcontext(_WrongWorker(self.how))


class _WrongWorker:
    id = "wrong"

    def __init__(self, how: str) -> None:
        self._how = how

    def annotate(self, part: Part) -> Iterator[Row]:
        rows = [sample.row for sample in part.samples()]
        changed = {"fewer": rows[1:], "more": [*rows, rows[0]], "swapped": rows[::-1]}
        yield from changed[self._how]


@pytest.fixture
def doubled(shards: Path, score: Score, tmp_path: Path) -> Score:
    """Score the shards, and run `doubled` over the scores."""
    score(shards)

    def run(annotator: Annotator | None = None, **options: Any) -> RunSummary:
        options = {"inputs": {"text_area": tmp_path / "scores"}, **options}
        chosen = annotator or Doubled()
        return score(shards, out=tmp_path / "doubled", annotator=chosen, **options)

    return run


def test_an_annotator_reads_the_rows_of_another(doubled: Score, tmp_path: Path) -> None:
    assert doubled().counts == {"ok": 30}
    rows = pq.read_table(tmp_path / "doubled/a/00001.parquet").to_pylist()
    assert [round(row["doubled"], 5) for row in rows] == [round(i / 25, 5) for i in range(10)]
    footer = read_footer(tmp_path / "doubled/a/00001.parquet")
    assert footer.inputs["text_area"]["annotator"] == "fake magenta=1"
    assert footer.settings == {"version": 1}


def test_a_table_made_from_an_older_table_is_not_done(
    doubled: Score, shards: Path, score: Score, tmp_path: Path
) -> None:
    doubled()
    assert doubled().n_done_before == 3
    with pytest.raises(UsageError, match="setting version=1, not 2"):
        doubled(replace(Doubled(), version=2))
    assert doubled(replace(Doubled(), version=2), rescore=True).n_done_before == 0
    score(shards, annotator=replace(FAKE, regions=False), rescore=True)
    assert doubled(replace(Doubled(), version=2)).n_done_before == 0


def test_a_missing_or_stale_input_fails_its_shard_by_name(
    doubled: Score, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "scores/a/00000.parquet").unlink()
    write_tar(shards / "b/00000.tar", ratio_samples([0.5], "new"))
    summary = doubled()
    assert sorted(report.shard for report in summary.failed) == ["a/00000", "b/00000"]
    errors = " ".join(str(report.error) for report in summary.failed)
    assert "scores/a/00000.parquet" in errors
    assert "another version of shard b/00000" in errors and "lesstext annotate text_area" in errors


def test_an_input_table_damaged_within_fails_its_shard_by_name(
    doubled: Score, tmp_path: Path
) -> None:
    table = next((tmp_path / "scores").rglob("*.parquet"))
    data = table.read_bytes()
    table.write_bytes(data[:4] + bytes(396) + data[400:])
    (report,) = [report for report in doubled().reports if report.error is not None]
    assert f"{table} is damaged" in str(report.error)


def test_inputs_that_are_lacking_or_unknown_are_wrong_use(doubled: Score, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs --input text_area=FOLDER"):
        doubled(inputs={})
    with pytest.raises(UsageError, match="no input 'words'; it reads: text_area"):
        doubled(inputs={"text_area": tmp_path / "scores", "words": tmp_path})
    with pytest.raises(UsageError, match="it reads no other tables"):
        doubled(FAKE, inputs={"words": tmp_path})
    with pytest.raises(UsageError, match=r"unknown annotator 'nothing'; known: .*text_area"):
        find_annotator("nothing")


def test_a_sample_that_cannot_be_described_fails_alone(tmp_path: Path, score: Score) -> None:
    members = [
        *sample("a", caption="fine"),
        *sample("b", caption="choke"),
        *sample("c", b"broken"),
    ]
    shard = write_tar(tmp_path / "in/x.tar", members)
    score(shard)
    inputs = {"text_area": tmp_path / "scores"}
    summary = score(shard, out=tmp_path / "doubled", annotator=Doubled(), inputs=inputs)
    assert summary.counts == {"annotator_error": 1, "decode_error": 1, "ok": 1}
    rows = pq.read_table(tmp_path / "doubled/x.parquet").to_pylist()
    assert rows[1]["error"] == "ValueError('this caption is indigestible')"
    assert [row["doubled"] for row in rows[1:]] == [None, None]


@pytest.mark.parametrize("how", ["fewer", "more", "swapped"])
def test_rows_that_are_not_those_of_the_samples_fail_the_shard(
    shards: Path, score: Score, how: str, tmp_path: Path
) -> None:
    summary = score(shards, out=tmp_path / "wrong", annotator=Wrong(how=how))
    assert len(summary.failed) == 3
    assert list((tmp_path / "wrong").rglob("*.parquet")) == []


def test_rows_do_not_depend_on_the_part(tmp_path: Path) -> None:
    sizes = [(64, 48), (48, 64), (200, 40)]
    members = []
    for i in range(24):
        members += sample(f"{i:02d}", encoded(picture(*sizes[i % 3], (i % 4) / 10)))
    path = write_tar(tmp_path / "x.tar", members)
    entries = index_shard(path).samples
    with TextArea(detector="fake").load(Placement()) as worker:

        def rows(first: int, last: int) -> list[Row]:
            return list(worker.annotate(Part(shard="x", path=path, entries=entries[first:last])))

        whole = rows(0, 24)
        assert [row["key"] for row in whole] == [f"{i:02d}" for i in range(24)]
        assert rows(0, 7) + rows(7, 8) + rows(8, 24) == whole
