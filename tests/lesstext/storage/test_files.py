"""Reading what a path names without waiting for what never comes."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lesstext.cli.inspect_image import inspect_image
from lesstext.errors import UsageError
from lesstext.storage import owners
from lesstext.storage.files import (
    PARTIAL_SUFFIX,
    atomic_path,
    ensure_writable,
    read_file,
    remove_leftovers,
    write_text,
)
from lesstext.storage.owners import Owner, name_tag, owner_from_tag, this_host, this_process
from lesstext.storage.scratch import remove_dead_scratch, scratch_folder
from lesstext.text_detection.protocol import DetectorSettings, load_detector


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to("file.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert read_file(tmp_path / "file.jpg") == read_file(tmp_path / "link.jpg") == b"x"
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match=r"is no regular file"):
            read_file(path)


def test_a_pipe_named_as_an_image_stops_no_inspection(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    detector = load_detector(DetectorSettings(name="fake"))
    assert "no regular file" in str(inspect_image(tmp_path / "a.jpg", detector).error)


@pytest.fixture
def dead_pid() -> int:
    """The number of a process of this host that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary folders, empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def test_temporary_folders_of_dead_processes_go_with_the_leftovers(
    temporary: Path, tmp_path: Path, dead_pid: int
) -> None:
    dead = [temporary / f"lesstext-{this_host()}-{dead_pid}-{n}" for n in "ab"]
    others = ["lesstext-0123456789ab-1-x", "lesstext-notes", "theirs-a-b", "lesstext-x-y-z"]
    for folder in (*dead, *(temporary / name for name in others)):
        folder.mkdir()
        (folder / "data").touch()
    with scratch_folder() as own:
        (own / "data").touch()
        assert remove_leftovers(tmp_path / "out") == 0
        assert sorted(path.name for path in temporary.iterdir()) == sorted([*others, own.name])
        assert (own / "data").exists()
    assert not own.exists()
    dead[0].mkdir()
    assert (remove_dead_scratch(), remove_dead_scratch()) == (1, 0)


def test_leftovers_of_the_dead_go_and_those_of_others_when_they_are_a_day_old(
    temporary: Path, tmp_path: Path, dead_pid: int
) -> None:
    def partial(tag: str, hours: float = 0.0) -> Path:
        path = tmp_path / f"out/a/.x.parquet.{tag}{PARTIAL_SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - hours * 3600,) * 2)
        return path

    gone = [partial(f"{this_host()}-{dead_pid}"), partial("0123456789ab-1", 25), partial("odd", 25)]
    stay = [partial(name_tag(), 48), partial("0123456789ac-1", 23), partial("even", 23)]
    (tmp_path / "out/a/x.parquet").touch()
    assert remove_leftovers(tmp_path / "out") == len(gone)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in (*stay, tmp_path / "out/a/x.parquet"))


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new/folder/x.txt"
    with atomic_path(target) as partial:
        partial.write_text("whole")
        assert not target.exists() and partial.parent == target.parent
        assert partial.name.startswith(".x.txt.") and name_tag() in partial.name
    assert target.read_text() == "whole"
    with pytest.raises(KeyError), atomic_path(target, unguarded=True) as partial:
        partial.write_text("half")
        raise KeyError
    assert [path.name for path in target.parent.iterdir()] == ["x.txt"]
    write_text(target, "è", unguarded=True, durable=False)
    assert target.read_bytes() == "è".encode()


@pytest.mark.parametrize("fact", ["boot", "namespace", "name"])
def test_another_boot_or_container_or_machine_is_another_host(
    monkeypatch: pytest.MonkeyPatch, fact: str
) -> None:
    here = this_host()
    assert len(here) == 12 and here == owners.this_host.__wrapped__()
    if fact == "boot":
        monkeypatch.setattr(Path, "read_text", lambda self: "another boot")
    elif fact == "namespace":
        monkeypatch.setattr(os, "readlink", lambda path: "pid:[1]")
    else:
        monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert owners.this_host.__wrapped__() != here


def test_a_process_is_told_from_a_later_one_and_from_one_that_has_ended(dead_pid: int) -> None:
    me = this_process()
    assert me.is_here and me.is_alive and me.pid == os.getpid()
    assert not Owner(me.host, me.pid, "1").is_alive
    assert Owner(me.host, me.pid).is_alive
    assert not Owner(me.host, dead_pid).is_alive
    assert not Owner("elsewhere", me.pid).is_here
    zombie = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert not Owner(me.host, zombie.pid).is_alive
    finally:
        zombie.wait()


def test_a_program_may_be_called_anything(tmp_path: Path) -> None:
    name = tmp_path / "a) S 1 ("
    name.symlink_to("/bin/sleep")
    running = subprocess.Popen([str(name), "60"])
    try:
        owner = Owner(this_host(), running.pid)
        assert owner.is_alive and not replace(owner, started="1").is_alive
        running.kill()
        os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
        assert not owner.is_alive
    finally:
        running.kill()
        running.wait()


def test_tags_name_their_process_and_other_texts_name_none() -> None:
    assert owner_from_tag(name_tag()) == Owner(this_host(), os.getpid())
    for text in ("", "host", "host-", "-3", "host-x", "a-b-3"):
        assert owner_from_tag(text) is None


def test_a_folder_is_made_with_all_above_it_and_none_where_nothing_can_be(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "a" / "b" / "c")
    assert list((tmp_path / "a" / "b" / "c").iterdir()) == []
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot write into the output folder"):
        ensure_writable(tmp_path / "file" / "below")


def test_text_of_another_encoding_is_spelled_out(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "a\ud800b")
    assert (tmp_path / "x").read_text() == "a\\ud800b"
