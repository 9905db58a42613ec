"""A disk that fills up and samples that are broken: whole files, a list of what failed, exit 1."""

from __future__ import annotations

import errno
import random
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lesstext.storage.guard import MARKER
from lesstext.tables.table import Footer, TableWriter, find_tables, read_footer
from tests.lesstext.builders import encoded, picture, ratio_samples, sample, write_tar
from tests.lesstext.conftest import Score
from tests.lesstext.engines.test_faults import command

SMALL, LARGE = 20, 3000


def two_sizes(folder: Path) -> Path:
    """Shards whose tables are small and one whose table is ten times as large."""
    for number, n_samples in enumerate((SMALL, LARGE, SMALL)):
        ratios = [random.Random(i).random() for i in range(n_samples)]
        write_tar(folder / f"{number}.tar", ratio_samples(ratios, f"{number}_"))
    return folder


def tables(folder: Path) -> dict[Path, bytes]:
    """The tables below a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in find_tables(folder)}


def limit_file_size(n_bytes: int) -> Callable[[], None]:
    """For a child process: files can grow to that size and no further."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def test_tables_that_cannot_be_written_are_listed_and_leave_nothing(tmp_path: Path) -> None:
    shards, out = two_sizes(tmp_path / "in"), tmp_path / "out"
    arguments = command("score", shards, "--out", out, "--detector", "fake", "--workers", 1)
    limited = subprocess.run(
        arguments, capture_output=True, text=True, preexec_fn=limit_file_size(20_000), check=False
    )
    assert limited.returncode == 1 and "Traceback" not in limited.stderr
    assert "failed shards: 1" in limited.stdout
    assert "FAILED shard 1: cannot be written: [Errno 27] " in limited.stdout
    assert {path.name for path in out.rglob("*.parquet")} == {"0.parquet", "2.parquet"}
    assert {path.name for path in out.rglob(".*")} == {MARKER, ".1.parts"}, "rows are kept"
    subprocess.run(arguments, check=True, capture_output=True)
    assert [path.name for path in out.rglob(".*")] == [MARKER]
    assert [read_footer(table).n_samples for table in find_tables(out)] == [SMALL, LARGE, SMALL]


def on_a_small_disk(disk: Path, n_bytes: int, arguments: list[str]) -> list[str]:
    """The command with a file system of that size mounted on `disk`; afterwards lists its files."""
    script = (
        f'mount -t tmpfs -o size={n_bytes} tmpfs "$0" || exit 77\n'
        '"$@"; status=$?\nfind "$0" -type f -printf "FILE %P\\n"; exit $status'
    )
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(disk),
            *arguments]  # fmt: skip


def test_a_full_disk_ends_with_a_list_and_no_partial_files(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare, which can mount a small disk, is not installed")
    shards, disk = two_sizes(tmp_path / "in"), tmp_path / "disk"
    disk.mkdir()
    arguments = command(
        "score", shards, "--out", disk / "out", "--detector", "fake", "--workers", 1
    )
    done = subprocess.run(
        on_a_small_disk(disk, 48 << 10, arguments), capture_output=True, text=True, check=False
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "FAILED shard 1: cannot be written: [Errno 28]" in done.stdout
    files = {line[5:] for line in done.stdout.splitlines() if line.startswith("FILE ")}
    assert "out/0.parquet" in files and "out/1.parquet" not in files
    assert not any("partial" in name or "claim" in name for name in files)


def test_no_room_at_all_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    shards = two_sizes(tmp_path / "in")
    done = subprocess.run(
        command("score", shards, "--out", tmp_path / "out", "--detector", "fake"),
        capture_output=True, text=True, preexec_fn=limit_file_size(8), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("lesstext: error: [Errno 27]") and done.stderr.count("\n") == 1
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_at_the_last_moment_fails_that_shard_alone(
    shards: Path, tmp_path: Path, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TableWriter.finish

    def finish(self: TableWriter, footer: Footer) -> None:
        if footer.shard == "a/00001":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, footer)

    monkeypatch.setattr(TableWriter, "finish", finish)
    summary = score(shards)
    assert summary.exit_code == 1
    assert [report.error for report in summary.failed] == [
        "shard a/00001: cannot be written: [Errno 28] No space left on device"
    ]
    monkeypatch.undo()
    assert score(shards).n_done_before == 2
    score(shards, out=tmp_path / "calm")
    assert tables(tmp_path / "scores") == tables(tmp_path / "calm")


def spoiled(data: bytes, rng: random.Random) -> bytes:
    """Empty, cut off, not an image at all, or with some bytes changed."""
    changed = bytearray(data)
    for _ in range(20):
        changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
    return rng.choice([b"", data[: len(data) // 2], b"<html>404</html>", bytes(changed)])


def test_five_percent_corrupt_samples_are_rows_that_say_why(tmp_path: Path, score: Score) -> None:
    rng = random.Random(5)
    n_spoiled = 0
    for number in range(4):
        members: list[tuple[str, bytes]] = []
        for i in range(100):
            is_spoiled = i % 20 == number
            data = encoded(picture(64, 50, i / 100, seed=i))
            n_spoiled += is_spoiled
            members += sample(f"{i:03d}", spoiled(data, rng) if is_spoiled else data)
        write_tar(tmp_path / f"in/{number}.tar", members)
    summary = score(tmp_path / "in")
    assert summary.exit_code == 0 and sum(summary.counts.values()) == 400
    assert n_spoiled == 20 and 380 <= summary.counts["ok"] < 395
    again = score(tmp_path / "in", out=tmp_path / "again")
    assert again.counts == summary.counts
    assert tables(tmp_path / "again") == tables(tmp_path / "scores")
