"""Two processes on one output folder: no shard worked on twice at a time, none left out."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lesstext.storage import claims
from lesstext.storage.claims import Claim, claim, claim_path, holder_of, remove_dead_claims
from lesstext.storage.guard import MARKER, claim_folder
from lesstext.storage.owners import this_host, this_process
from lesstext.storage.paths import location
from lesstext.tables.table import find_tables, read_footer
from tests.lesstext.builders import ratio_samples, write_tar
from tests.lesstext.conftest import Score

HOLD = """
import sys, time
from pathlib import Path
from lesstext.storage.claims import claim
with claim(Path(sys.argv[1])) as holder:
    print(holder is None, flush=True)
    time.sleep(60)
"""


def holding(target: Path) -> subprocess.Popen[str]:
    """Another process that has claimed `target`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    return process


def leave(target: Path, claimed: Claim, age_s: float = 0.0) -> Path:
    """A claim file as some other process would have left it."""
    path = claim_path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(claimed)))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_a_claim_lies_beside_its_table_while_it_is_held(tmp_path: Path) -> None:
    table = tmp_path / "a/00000.parquet"
    with claim(table) as holder:
        assert holder is None
        assert [p.name for p in (tmp_path / "a").iterdir()] == [".00000.claim"]
    assert list((tmp_path / "a").iterdir()) == []


def test_a_living_process_keeps_others_off_and_a_dead_one_does_not(tmp_path: Path) -> None:
    table = tmp_path / "x.parquet"
    other = holding(table)
    with claim(table) as holder:
        assert holder is not None and holder.owner.pid == other.pid
    assert holder_of(table) == holder and remove_dead_claims(tmp_path) == 0
    other.kill()
    other.wait()
    assert holder_of(table) is None
    with claim(table) as holder:
        assert holder is None
    holding(table).kill()
    time.sleep(0.2)
    assert remove_dead_claims(tmp_path) == 1 and list(tmp_path.iterdir()) == []


def test_a_later_process_with_the_same_number_is_not_the_owner(tmp_path: Path) -> None:
    table = tmp_path / "x.parquet"
    owner = replace(this_process(), pid=os.getppid(), started="1")
    leave(table, Claim(owner, "run"))
    assert holder_of(table) is None


def test_claims_of_other_hosts_hold_until_they_are_old(tmp_path: Path) -> None:
    table = tmp_path / "x.parquet"
    elsewhere = Claim(replace(this_process(), host="elsewhere"), "their run")
    leave(table, elsewhere, age_s=claims.FOREIGN_CLAIM_AGE_S - 60)
    assert holder_of(table) == elsewhere
    assert holder_of(table, "their run") is None, "the engine gave this shard out again"
    leave(table, elsewhere, age_s=claims.FOREIGN_CLAIM_AGE_S + 60)
    assert holder_of(table) is None


MALFORMED = {
    "empty": "",
    "half": '{"owner": {"host": "a", "pi',
    "no object": "[]",
    "no owner": '{"run": "r"}',
    "an owner of no kind": '{"owner": {"host": 1, "pid": "x"}, "run": "r"}',
    "every process": json.dumps({"owner": {"host": this_host(), "pid": 0}, "run": "r"}),
    "a group of processes": json.dumps({"owner": {"host": this_host(), "pid": -1}, "run": "r"}),
    "no process number": json.dumps({"owner": {"host": this_host(), "pid": 10**30}, "run": "r"}),
    "deep": "[" * 100_000,
    "huge": "x" * 1_000_000,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_claim_holds_for_seconds_only(tmp_path: Path, text: str) -> None:
    table = tmp_path / "x.parquet"
    claim_path(table).write_text(text)
    with claim(table) as holder:
        assert holder is not None, "it may be being written"
    assert remove_dead_claims(tmp_path) == 0
    for age_s in (claims.UNREADABLE_CLAIM_AGE_S + 1, -100_000):
        claim_path(table).write_text(text)
        os.utime(claim_path(table), (time.time() - age_s,) * 2)
        assert holder_of(table) is None
        with claim(table) as holder:
            assert holder is None
    claim_path(table).write_text(text)
    os.utime(claim_path(table), (1, 1))
    assert remove_dead_claims(tmp_path) == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["pipe", "link", "link to a pipe"])
def test_what_is_no_file_is_no_claim(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "UNREADABLE_CLAIM_AGE_S", 0.0)
    table, target = tmp_path / "x.parquet", tmp_path / "target"
    if kind == "link":
        target.write_text("theirs")
    else:
        os.mkfifo(target if kind == "link to a pipe" else claim_path(table))
    if kind != "pipe":
        claim_path(table).symlink_to(target)
    with claim(table) as holder:
        assert holder is None and not claim_path(table).is_symlink()
    assert target.exists() == (kind != "pipe")


def test_a_folder_in_a_claims_place_stops_its_shard_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "UNREADABLE_CLAIM_AGE_S", 0.0)
    claim_path(tmp_path / "x.parquet").mkdir()
    assert remove_dead_claims(tmp_path) == 0
    with pytest.raises(OSError, match=r"\.x\.claim"), claim(tmp_path / "x.parquet"):
        pass


def test_a_claim_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "x.parquet"
    link = os.link

    def seen(source: Path, target: Path) -> None:
        assert not target.exists() and json.loads(source.read_text())["run"] == "mine"
        link(source, target)

    monkeypatch.setattr(os, "link", seen)
    with claim(table, "mine") as holder:
        assert holder is None
        assert [path.name for path in tmp_path.iterdir()] == [".x.claim"]


def test_claims_hold_on_file_systems_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    other = Claim(replace(this_process(), host="elsewhere"), "run")
    with claim(tmp_path / "x.parquet") as holder:
        assert holder is None and holder_of(tmp_path / "x.parquet") is None
    leave(tmp_path / "x.parquet", other)
    with claim(tmp_path / "x.parquet") as holder:
        assert holder == other


def test_a_process_killed_at_any_moment_leaves_no_claim_that_holds(tmp_path: Path) -> None:
    """SIGKILL at each step of taking a claim."""
    script = """
import os, sys
from pathlib import Path
from lesstext.storage import claims
step = sys.argv[2]
def die(*_): os.kill(os.getpid(), 9)
if step == "before": claims.os.link = die
if step == "after": link = os.link; claims.os.link = lambda a, b: (link(a, b), die())
with claims.claim(Path(sys.argv[1])): die()
"""
    table = tmp_path / "x.parquet"
    for step in ("before", "after", "held"):
        done = subprocess.run([sys.executable, "-c", script, str(table), step], check=False)
        assert done.returncode == -9
        assert holder_of(table) is None
        claims.clean_up(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_a_claim_is_renewed_while_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "RENEW_S", 0.02)
    monkeypatch.setattr(claims, "_renewer", claims.Renewer())
    table = tmp_path / "x.parquet"
    with claim(table):
        os.utime(claim_path(table), (1, 1))
        time.sleep(0.3)
        assert time.time() - claim_path(table).stat().st_mtime < 10


def test_many_processes_take_over_a_dead_claim_only_once(tmp_path: Path) -> None:
    table = tmp_path / "x.parquet"
    dead = holding(table)
    dead.kill()
    dead.wait()
    script = f"""
import sys, time
from pathlib import Path
from lesstext.storage.claims import claim
while time.time() < {time.time() + 2.0}: pass
with claim(Path(sys.argv[1])) as holder:
    print(holder is None, flush=True)
    time.sleep(3)
"""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(table)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    won = [racer.communicate(timeout=60)[0].strip() == "True" for racer in racers]
    assert sum(won) == 1


def test_claims_on_remote_tables_lie_on_this_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = location("memory://bucket/scores/x.parquet")
    with claim(table):
        assert claim_path(table).is_relative_to(tmp_path) and claim_path(table).exists()


def test_a_run_waits_for_shards_that_others_are_at_work_on(
    shards: Path, tmp_path: Path, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_folder(tmp_path / "scores", "tables")
    others = {name: holding(tmp_path / f"scores/{name}") for name in ("a/00000.x", "a/00001.x")}
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        """First one of the other processes is killed, later the other ends with its table made."""
        waits.append(seconds)
        name = list(others)[len(waits) - 1]
        if len(waits) == 2:
            score(shards, out=tmp_path / "theirs")
            made = tmp_path / "theirs/a/00001.parquet"
            made.rename(tmp_path / "scores/a/00001.parquet")
        others[name].kill()
        others[name].wait()

    monkeypatch.setattr("lesstext.engines.whole_run.time.sleep", let_go)
    summary = score(shards)
    assert len(waits) == 2 and summary.exit_code == 0
    assert [report.shard for report in summary.reports] == ["a/00000", "a/00001", "b/00000"]
    assert list((tmp_path / "scores").rglob("*.claim")) == []


def test_two_commands_on_one_folder_share_the_work(tmp_path: Path) -> None:
    data = ratio_samples([(i % 50) / 50 for i in range(400)])
    for number in range(10):
        write_tar(tmp_path / f"in/{number:05d}.tar", data)
    out = tmp_path / "out"
    arguments = ["score", str(tmp_path / "in"), "--out", str(out), "--detector", "fake"]
    command = [sys.executable, "-m", "lesstext", *arguments, "--workers", "1"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    texts = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert all("samples: 4000 read = 4000 ok + 0 failed" in text for text, _ in texts)
    assert [read_footer(table).n_samples for table in find_tables(out)] == [400] * 10
    hidden = [path.name for path in out.rglob(".*")]
    assert hidden == [MARKER]
