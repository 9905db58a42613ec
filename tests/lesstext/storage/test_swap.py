"""Files and folders of a folder replaced together, whenever the process is killed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lesstext.errors import StorageError
from lesstext.storage.swap import NEW, finish_swap, swap

NAMES = ("selection.parquet", "shards", "gone.html", "report.html")


class Killed(BaseException):
    """In place of a SIGKILL."""


def prepare(folder: Path) -> None:
    """Of four outputs: a file and a folder with a successor, one without, and one that is new."""
    write(folder / "selection.parquet", "old")
    write(folder / "shards/00000.tar", "old")
    write(folder / "shards/00001.tar", "old")
    write(folder / "gone.html", "old")
    write(folder / "kept.txt", "kept")
    write(folder / NEW / "selection.parquet", "new")
    write(folder / NEW / "shards/00000.tar", "new")
    write(folder / NEW / "report.html", "new")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def state(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


AFTER = {
    "selection.parquet": "new", "shards/00000.tar": "new", "report.html": "new",
    "kept.txt": "kept",
}  # fmt: skip


def test_all_are_replaced_and_what_has_no_successor_goes(tmp_path: Path) -> None:
    prepare(tmp_path)
    swap(tmp_path, NAMES)
    assert state(tmp_path) == AFTER
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "kept.txt", "report.html", "selection.parquet", "shards",
    ]  # fmt: skip


def test_a_kill_at_any_step_leaves_the_old_state_or_one_that_becomes_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_as_new = 0
    for n_steps in range(30):
        folder = tmp_path / str(n_steps)
        prepare(folder)
        before = state(folder)
        with monkeypatch.context() as patch:
            left = [n_steps]
            for module, name in ((os, "replace"), (shutil, "rmtree"), (Path, "unlink")):
                patch.setattr(module, name, stopping(getattr(module, name), left))
            try:
                swap(folder, NAMES)
                whole = True
            except Killed:
                whole = False
        finish_swap(folder)
        found = {name: text for name, text in state(folder).items() if not name.startswith(".")}
        old = {name: text for name, text in before.items() if not name.startswith(".")}
        assert found in (old, AFTER)
        ended_as_new += found == AFTER
        finish_swap(folder)  # nothing is left to do
        if whole:
            break
    assert whole and n_steps > 5 and ended_as_new >= n_steps - 1


def stopping(change: Any, left: list[int]) -> Any:
    def changed(*arguments: Any, **options: Any) -> Any:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return change(*arguments, **options)

    return changed


def test_without_an_interrupted_swap_nothing_is_done(tmp_path: Path) -> None:
    prepare(tmp_path)
    before = state(tmp_path)
    finish_swap(tmp_path)
    assert state(tmp_path) == before


@pytest.mark.parametrize("text", ["", "{", "3", "[1]", "null"])
def test_a_damaged_journal_is_named(tmp_path: Path, text: str) -> None:
    prepare(tmp_path)
    (tmp_path / ".swap.json").write_text(text)
    with pytest.raises(StorageError, match=r"\.swap\.json is damaged"):
        finish_swap(tmp_path)
    assert (tmp_path / "selection.parquet").read_text() == "old"
