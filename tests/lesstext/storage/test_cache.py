"""The cache: each file made once, whole, by one process while others wait."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from lesstext.storage.cache import CacheError, cache_folder, made_once


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "not" / "yet" / "there"
    monkeypatch.setenv("LESSTEXT_CACHE", str(folder))
    return folder


def test_a_file_is_made_once_and_found_again(cache: Path) -> None:
    found = made_once("a", lambda path: path.write_text("first", encoding="utf-8"))
    again = made_once("a", lambda path: path.write_text("second", encoding="utf-8"))
    assert found == again == cache / "a"
    assert found.read_text(encoding="utf-8") == "first"


def test_what_fails_leaves_nothing_and_is_made_the_next_time(cache: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half", encoding="utf-8")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        made_once("a", fail)
    assert [path.name for path in cache.iterdir()] == [".a.lock"]
    assert made_once("a", lambda path: path.write_bytes(b"whole")).read_bytes() == b"whole"


def test_one_makes_it_while_others_wait(cache: Path) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        time.sleep(0.1)
        path.write_bytes(b"x")

    seen: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: seen.append(made_once("a", make).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [b"x"] * 4
    assert len(made) == 1 and made[0].parent == cache


def test_a_cache_that_cannot_be_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("LESSTEXT_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match=r"cannot write into the cache .*file.*LESSTEXT_CACHE"):
        made_once("a", lambda path: path.write_bytes(b"x"))


def test_it_lies_where_the_user_keeps_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LESSTEXT_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/own")
    monkeypatch.delenv("LESSTEXT_CACHE")
    assert cache_folder() == Path("/xdg/lesstext")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/me/.cache/lesstext")
