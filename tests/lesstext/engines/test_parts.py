"""Rows on disk before their table: gone on from, never believed blindly, never left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lesstext.annotators.base import Part, Placement, Worker
from lesstext.annotators.text_area import TextArea
from lesstext.engines.one_shard import annotate_shard
from lesstext.engines.task import InShard, Task
from lesstext.errors import TableError
from lesstext.shards.samples import Row
from lesstext.shards.specs import ShardSource
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.verify import leftovers
from tests.lesstext.builders import ratio_samples, write_tar
from tests.lesstext.conftest import FAKE, Score

N_SAMPLES = 400


@dataclass(slots=True)
class Failing:
    """A worker that breaks off before the sample of that number, and counts the rows it gave."""

    inner: Worker
    at: int | None = None
    n_given: int = 0

    @property
    def id(self) -> str:
        return self.inner.id

    def annotate(self, part: Part) -> Iterator[Row]:
        for row in self.inner.annotate(part):
            if self.at is not None and row["key"] == f"s{self.at:04d}":
                raise OSError("the power is gone")
            self.n_given += 1
            yield row


@contextmanager
def worker(at: int | None = None, annotator: TextArea = FAKE) -> Iterator[Failing]:
    with annotator.load(Placement()) as inner:
        yield Failing(inner, at)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    data = ratio_samples([(i % 50) / 50 for i in range(N_SAMPLES)])
    shard = write_tar(tmp_path / "in" / "x.tar", data)
    return Task(source=ShardSource("x", str(shard)), out=tmp_path / "out", annotator=FAKE)


def table_of(task: Task, **changes: Any) -> bytes:
    with worker() as calm:
        annotate_shard(replace(task, **changes), calm)
    path = replace(task, **changes).table
    assert isinstance(path, Path)
    return path.read_bytes()


def break_off(task: Task, at: int) -> None:
    with worker(at) as failing, pytest.raises(OSError, match="power"):
        annotate_shard(task, failing)


def hidden(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


def test_the_next_attempt_goes_on_and_the_table_is_the_same(task: Task, tmp_path: Path) -> None:
    wanted = table_of(task, out=tmp_path / "calm")
    break_off(task, 300)
    break_off(task, 390)
    with worker() as last:
        annotate_shard(task, last)
    assert last.n_given == N_SAMPLES - 384, "three parts of 128 rows were on disk"
    assert (tmp_path / "out/x.parquet").read_bytes() == wanted
    assert hidden(tmp_path / "out") == []


@pytest.mark.parametrize("damage", ["cut", "other bytes", "gap", "other settings", "other shard"])
def test_parts_that_do_not_belong_are_not_believed(task: Task, tmp_path: Path, damage: str) -> None:
    break_off(task, 300)
    parts = sorted((tmp_path / "out/.x.parts").iterdir())
    assert len(parts) == 2
    changed = task
    if damage == "cut":
        parts[0].write_bytes(parts[0].read_bytes()[:-50])
    elif damage == "other bytes":
        parts[1].write_bytes(b"PAR1 nonsense PAR1")
    elif damage == "gap":
        parts[0].unlink()
    elif damage == "other settings":
        changed = replace(task, annotator=replace(FAKE, regions=False))
    else:
        data = ratio_samples([0.5] * N_SAMPLES)
        write_tar(tmp_path / "in" / "x.tar", data)
    wanted = table_of(changed, out=tmp_path / "calm")
    assert table_of(changed) == wanted
    assert hidden(tmp_path / "out") == []


def test_whoever_goes_on_says_what_was_done_before(task: Task) -> None:
    break_off(task, at=300)
    heard: list[InShard] = []
    with worker() as calm:
        annotate_shard(task, calm, heard.append)
    assert heard[0] == InShard(n_new=0, n_done=256, n_total=N_SAMPLES)
    assert heard[-1].n_done == N_SAMPLES and sum(far.n_new for far in heard) == N_SAMPLES - 256


def test_parts_are_no_tables_and_verify_names_them(task: Task, tmp_path: Path) -> None:
    break_off(task, at=300)
    with pytest.raises(TableError, match="holds no tables"):
        select(tmp_path / "out", tmp_path / "s.parquet", Rule(where="true"))
    names = [path.name for path in leftovers(tmp_path / "out")]
    assert names == ["000000000.part", "000000128.part"]
    table_of(task)
    assert leftovers(tmp_path / "out") == []


def test_small_shards_write_no_parts(tmp_path: Path, score: Score) -> None:
    shard = write_tar(tmp_path / "in/x.tar", ratio_samples([0.0] * 100))
    broken = Task(source=ShardSource("x", str(shard)), out=tmp_path / "out", annotator=FAKE)
    break_off(broken, 90)
    assert list(tmp_path.glob("out/**/*.part")) == []


def test_parts_left_beside_a_finished_table_go_with_the_next_run(
    task: Task, tmp_path: Path, score: Score
) -> None:
    break_off(replace(task, out=tmp_path / "scores"), 300)
    kept = {p.name: p.read_bytes() for p in (tmp_path / "scores/.x.parts").iterdir()}
    score(tmp_path / "in")
    for name, data in kept.items():  # as if the process had been killed before it tidied up
        path = tmp_path / "scores/.x.parts" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert score(tmp_path / "in").n_done_before == 1
    assert [path.name for path in (tmp_path / "scores").glob(".*")] == [".lesstext.json"]
