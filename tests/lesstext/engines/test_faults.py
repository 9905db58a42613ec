"""Kills at random moments, dying workers, interrupts, and memory that must stay flat."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from lesstext.annotators.text_area import TextArea
from lesstext.engines.local import LocalEngine
from lesstext.engines.task import Task
from lesstext.engines.whole_run import RunConfig, RunSummary, execute, plan
from lesstext.images import Pixels
from lesstext.shards.specs import ShardSource
from lesstext.storage.files import atomic_path, remove_leftovers, write_text
from lesstext.storage.guard import MARKER
from lesstext.storage.owners import this_host
from lesstext.text_detection.protocol import DetectorSettings, TextRegions
from tests.lesstext.builders import encoded, picture, ratio_samples, sample, write_tar
from tests.lesstext.conftest import FAKE, Plugin


def many_shards(folder: Path, n_shards: int = 12, n_samples: int = 150) -> Path:
    data = ratio_samples([(i % 50) / 50 for i in range(n_samples)])
    for number in range(n_shards):
        write_tar(folder / f"{number:05d}.tar", data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that hold timings."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not ("scores" in path.parts and path.suffix == ".json")
    }


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "lesstext", *(str(argument) for argument in arguments)]


def hear_interrupts() -> None:
    """For a child: tests that run in the background ignore SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill_after(seconds: float, arguments: list[str]) -> bool:
    """Start a command, SIGKILL its whole process group after a while; True if it was running."""
    process = subprocess.Popen(
        arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def test_kill_9_during_score_and_export_then_again_is_the_same(tmp_path: Path) -> None:
    shards = many_shards(tmp_path / "in")

    def score(out: str) -> list[str]:
        return command("score", shards, "--out", tmp_path / out / "scores", "--detector", "fake")

    def export(out: str) -> list[str]:
        selection = tmp_path / out / "k.parquet"
        return command(
            "export", shards, "--selection", selection, "--out", tmp_path / out / "shards"
        )

    def select(out: str) -> list[str]:
        return command(
            "select", tmp_path / out / "scores", "--out", tmp_path / out / "k.parquet",
            "--max-text-area", 0.5,
        )  # fmt: skip

    for arguments in (score("a"), select("a"), export("a")):
        subprocess.run(arguments, check=True, capture_output=True)
    rng = random.Random(7)
    kills = 0
    for step in (score, export):
        for _ in range(4):
            kills += kill_after(rng.uniform(0.3, 2.2), step("b"))
        subprocess.run(step("b"), check=True, capture_output=True)
        subprocess.run(select("b"), check=True, capture_output=True)
    assert kills > 0, "nothing was killed: the test ran too fast to mean anything"
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = f".y.parquet.{this_host()}-{os.getppid()}.partial"
    elsewhere = f".z.parquet.0123456789ab-{dead.pid}.partial"
    (tmp_path / elsewhere).write_bytes(b"half")
    (tmp_path / f".x.parquet.{this_host()}-{dead.pid}.partial").write_bytes(b"half")
    (tmp_path / alive).write_bytes(b"half")
    assert remove_leftovers(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([alive, elsewhere])


def test_an_exception_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x"
    write_text(target, "old", "note")
    with pytest.raises(RuntimeError, match="half way"), atomic_path(target, "note") as partial:
        partial.write_text("new")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.lesstext.json", "x"]


class Suicidal:
    """Sends its own process a signal at a picture 13 px wide, the first `times` times."""

    id, input_px = "suicidal", None

    def __init__(self, marks: Path, times: int, kind: signal.Signals) -> None:
        self.marks, self.times, self.signal = marks, times, kind

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        n_deaths = len(list(self.marks.iterdir()))
        if n_deaths < self.times and any(image.shape[1] == 13 for image in images):
            (self.marks / str(n_deaths)).touch()
            os.kill(os.getpid(), self.signal)
        return [TextRegions((), np.zeros(0, np.float32)) for _ in images]


def identify(settings: DetectorSettings) -> str:
    """With `load`, makes this module a detector plug-in for the workers."""
    return "suicidal"


def load(settings: DetectorSettings) -> Suicidal:
    options = settings.options
    kind = signal.Signals[options.get("signal", "SIGKILL")]
    return Suicidal(Path(options["marks"]), int(options["times"]), kind)


def run_with_deadly(
    tmp_path: Path, deadly: set[int], times: int, kind: str, stall_timeout_s: float = 60.0
) -> RunSummary:
    """Score three shards of 200 samples, those of `deadly` numbers in the second one deadly."""
    (tmp_path / "marks").mkdir()
    for shard in range(3):
        members = []
        for number in range(200):
            width = 13 if shard == 1 and number in deadly else 14
            members += sample(f"{number:03d}", encoded(picture(width)))
        write_tar(tmp_path / f"in/{shard}.tar", members)
    options = {"marks": str(tmp_path / "marks"), "times": str(times), "signal": kind}
    annotator = TextArea(detector="suicidal", options=options)
    config = RunConfig(
        shards=(str(tmp_path / "in"),), out=tmp_path / "out", annotator=annotator, workers=2
    )
    todo = plan(config)
    return execute(config, todo, LocalEngine(annotator, todo.placements, stall_timeout_s))


@pytest.mark.parametrize("times", [1, 99])
@pytest.mark.parametrize(("kind", "reason"), [("SIGKILL", "died"), ("SIGSTOP", "timed out")])
def test_a_sample_that_costs_its_worker_is_found_and_fails_alone(
    tmp_path: Path, plugin: Plugin, times: int, kind: str, reason: str
) -> None:
    plugin("suicidal", "tests.lesstext.engines.test_faults")
    # A worker that starts on a busy machine makes no progress for seconds, and is no stalled one.
    stall_timeout_s = 60.0 if kind == "SIGKILL" else 6.0
    summary = run_with_deadly(tmp_path, {150}, times, kind, stall_timeout_s)
    assert summary.failed == []
    rows = pq.read_table(tmp_path / "out/1.parquet").to_pylist()
    assert [row["key"] for row in rows] == [f"{number:03d}" for number in range(200)]
    failed = [row for row in rows if row["status"] != "ok"]
    assert [row["key"] for row in failed] == ["150"] * (times > 1)
    for row in failed:
        assert row["status"] == "decode_error" and reason in row["error"]
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [MARKER]


def test_a_shard_whose_samples_keep_costing_workers_fails(
    tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lesstext.engines.base.LOST_THAT_CONDEMN_A_SHARD", 2)
    plugin("suicidal", "tests.lesstext.engines.test_faults")
    summary = run_with_deadly(tmp_path, set(range(20)), 99, "SIGKILL")
    (failed,) = summary.failed
    assert "2 of its samples cost a worker" in str(failed.error) and failed.shard == "1"
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 2


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    shards = many_shards(tmp_path / "in", n_shards=40)
    process = subprocess.Popen(
        command("score", shards, "--out", tmp_path / "out", "--detector", "fake", "--workers", 2),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    children = wait_for_children(process.pid, 2)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive


def test_an_interrupt_stops_within_five_seconds_and_leaves_whole_files(tmp_path: Path) -> None:
    shards = many_shards(tmp_path / "in", n_shards=60)
    process = subprocess.Popen(
        command("score", shards, "--out", tmp_path / "out", "--detector", "fake", "--workers", 2),
        stdout=subprocess.DEVNULL, preexec_fn=hear_interrupts, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = wait_for_children(process.pid, 2)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < 5
    assert process.returncode == 130 and "interrupted" in errors
    assert not psutil.wait_procs(children, timeout=5)[1]
    assert [p for p in (tmp_path / "out").rglob("*") if p.name.endswith(".partial")] == []


def wait_for_children(pid: int, n: int) -> list[psutil.Process]:
    """The worker processes of a command, once it has started them and they are at work."""
    parent = psutil.Process(pid)
    for _ in range(300):
        children = [c for c in parent.children() if "spawn_main" in " ".join(c.cmdline())]
        if len(children) >= n:
            time.sleep(0.3)
            return children
        time.sleep(0.1)
    raise AssertionError("the workers did not start")


def peak_memory(arguments: list[str]) -> int:
    """Highest sum of the private memory of a command and its children, in bytes."""
    process = psutil.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        total = 0
        for member in [process, *process.children(recursive=True)]:
            try:
                total += member.memory_full_info().uss
            except psutil.Error:
                continue
        peak = max(peak, total)
        time.sleep(0.02)
    assert process.returncode == 0
    return peak


def test_memory_is_flat_in_the_number_of_samples(tmp_path: Path) -> None:
    small = many_shards(tmp_path / "small", n_shards=2, n_samples=1000)
    large = many_shards(tmp_path / "large", n_shards=20, n_samples=1000)

    def peak(shards: Path) -> int:
        options = ("--detector", "fake", "--workers", 2)
        return peak_memory(command("score", shards, "--out", f"{shards}-scores", *options))

    assert peak(large) < 1.1 * peak(small)


def test_a_task_is_plain_data() -> None:
    import pickle

    task = Task(source=ShardSource("x", "x.tar"), out=Path("out"), annotator=FAKE)
    assert pickle.loads(pickle.dumps((task, FAKE))) == (task, FAKE)
