"""Helper processes: what they share, what they answer, and what is left when somebody is killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from lesstext.annotators.base import Part, WorkerBrokenError
from lesstext.annotators.text_area import TextArea, TextAreaWorker
from lesstext.errors import ShardError
from lesstext.shards.tar_reading import Member, SampleEntry, index_shard
from lesstext.text_detection.helpers import HelperLostError, ProcessHelpers
from lesstext.text_detection.requests import CloseRequest, OpenRequest, Work
from tests.lesstext.builders import encoded, picture, sample, write_tar
from tests.lesstext.text_detection.staged_fake import SIZE_PX, FakeStages, StagedFake

SHM = Path("/dev/shm")
MEMORY = "lesstext-canvases"


@pytest.fixture
def helpers() -> Iterator[ProcessHelpers]:
    with ProcessHelpers(2, StagedFake.batch_size, SIZE_PX * SIZE_PX * 3) as started:
        yield started


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    images = [encoded(picture(64, 64, (i % 5) / 8, seed=i)) for i in range(60)]
    members = [member for i, image in enumerate(images) for member in sample(f"{i:04d}", image)]
    return write_tar(tmp_path / "in/x.tar", members)


def work(path: Path, stages: Any = None) -> Work:
    return Work(path, stages or FakeStages(), 10**6, SIZE_PX, keep_regions=True)


def part(shard: Path) -> Part:
    return Part(shard="x", path=shard, entries=index_shard(shard).samples)


@dataclass(frozen=True)
class Echo(FakeStages):
    """Fails with the shape, type and sum of the output that it is given."""

    def regions(self, output: Any, layout: Any) -> Any:
        raise ValueError(f"{output.shape} {output.dtype} {output.sum()}")


@dataclass(frozen=True)
class Shout:
    """Work that gives back the number of the process that did it."""

    def __call__(self) -> int:
        return os.getpid()


@dataclass(frozen=True)
class Refuse:
    def __call__(self) -> int:
        raise ShardError("x", "cannot be read")


def test_entries_travel_whole() -> None:
    entries = (
        SampleEntry("a", [Member("a.jpg", "jpg", 512, 9), Member("a.\udce9", "e", 2048, 0)]),
        SampleEntry("b", [], duplicate=True, cut=True),
    )
    request = OpenRequest(work(Path("x.tar")), entries, (3, 4))
    assert pickle.loads(pickle.dumps(request)) == request


@pytest.mark.parametrize("n_bytes", [1, SIZE_PX * SIZE_PX * 3, SIZE_PX * SIZE_PX * 3 + 1])
def test_outputs_reach_the_stage_behind_the_network(
    helpers: ProcessHelpers, shard: Path, n_bytes: int
) -> None:
    """Those that fit into a slot by it, those that do not beside it."""
    entries = tuple(index_shard(shard).samples[:2])
    asked = work(shard, Echo())
    number = helpers.open(OpenRequest(asked, entries, (5, 1)))
    (opened,) = helpers.answers(wait=True)
    assert opened.number == number and helpers.n_pending == 0
    kept = tuple(one[1] for one in opened.value)
    outputs = (np.arange(n_bytes, dtype=np.uint8), np.ones((2, 3), dtype=np.float32)[:, ::2])
    helpers.close(CloseRequest(asked, kept, outputs, (5, 1)))
    (closed,) = helpers.answers(wait=True)
    total = int(outputs[0].sum())
    assert [row["error"] for row in closed.value] == [
        f"ValueError('({n_bytes},) uint8 {total}')",
        "ValueError('(2, 2) float32 4.0')",
    ]


def test_any_work_is_done_elsewhere_and_its_errors_come_back(helpers: ProcessHelpers) -> None:
    assert helpers.do(Shout()) in {child.pid for child in psutil.Process().children()}
    with pytest.raises(ShardError, match="shard x: cannot be read"):
        helpers.do(Refuse())
    assert helpers.n_pending == 0


def test_a_shard_that_is_given_up_leaves_the_next_one_whole(
    helpers: ProcessHelpers, shard: Path
) -> None:
    """What helpers still draw for the one must not lie in the canvases of the other."""
    worker = TextAreaWorker(TextArea(), StagedFake(), helpers)
    wanted = list(worker.annotate(part(shard)))
    for _ in range(3):
        rows = worker.annotate(part(shard))
        next(rows)
        assert helpers.n_pending > 0
        rows.close()  # type: ignore[attr-defined]
        assert list(worker.annotate(part(shard))) == wanted
    assert len({row["text_area_ratio"] for row in wanted}) == 5


@pytest.mark.parametrize("at", ["annotate", "aside"])
def test_a_worker_that_loses_a_helper_is_broken(
    helpers: ProcessHelpers, shard: Path, at: str
) -> None:
    worker = TextAreaWorker(TextArea(), StagedFake(), helpers)
    for child in (helper._process for helper in helpers._helpers):
        os.kill(child.pid or 0, signal.SIGKILL)
    with pytest.raises(WorkerBrokenError, match=r"a helper process died \(exit code -9\)"):
        worker.aside(Shout()) if at == "aside" else list(worker.annotate(part(shard)))


def test_a_lost_helper_is_no_endless_wait_for_the_next_shard(
    helpers: ProcessHelpers, shard: Path
) -> None:
    helpers.open(OpenRequest(work(shard), tuple(index_shard(shard).samples[:1]), (0,)))
    for helper in helpers._helpers:
        os.kill(helper._process.pid or 0, signal.SIGKILL)
    time.sleep(0.2)
    with pytest.raises(HelperLostError):
        for _ in range(2):  # the first answer may have been on its way
            helpers.answers(wait=True)
            helpers.do(Shout())


def shared_by(process: psutil.Process) -> list[str]:
    """Lines of a process's memory map that are the canvases."""
    maps = Path(f"/proc/{process.pid}/maps")
    return [line for line in maps.read_text().splitlines() if MEMORY in line]


def is_helper(process: psutil.Process) -> bool:
    return "spawn_main" in " ".join(process.cmdline())


def named_memory() -> list[str]:
    """What lies in /dev/shm that could be canvases; others work on this machine, too."""
    return sorted(p.name for p in SHM.iterdir() if p.name.startswith(("psm_", "lesstext")))


@pytest.mark.skipif(not SHM.is_dir(), reason="needs Linux")
def test_helpers_give_their_memory_back_and_never_name_it() -> None:
    before = named_memory()
    with ProcessHelpers(1, 2, 1000) as helpers:
        canvas = helpers.canvas(0, (1, 1, 3))
        assert shared_by(psutil.Process()) and named_memory() == before
        canvas[:] = 7
    assert canvas.tolist() == [[[7, 7, 7]]], "an array that somebody still holds stays"
    del canvas
    assert shared_by(psutil.Process()) == []


OWNER = """
import time
from lesstext.text_detection.helpers import ProcessHelpers
from tests.lesstext.text_detection.test_helpers import Shout
if __name__ == "__main__":
    with ProcessHelpers(2, 4, 100_000) as helpers:
        helpers.do(Shout())
        print("ready", flush=True)
        {then}
"""


def _killed(process: subprocess.Popen[str]) -> None:
    process.kill()


def _group_killed(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.skipif(not SHM.is_dir(), reason="needs Linux")
@pytest.mark.parametrize("kill", [_killed, _group_killed])
def test_nothing_is_left_of_an_owner_that_is_killed(
    tmp_path: Path, kill: Callable[[subprocess.Popen[str]], None]
) -> None:
    """Not a byte in /dev/shm, not a helper, also where the whole group dies, tracker included."""
    script = tmp_path / "owner.py"
    script.write_text(OWNER.format(then="time.sleep(600)"))
    before = named_memory()
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    family = [one for one in psutil.Process(process.pid).children() if is_helper(one)]
    assert len(family) == 2 and any(map(shared_by, family))
    kill(process)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive and named_memory() == before
