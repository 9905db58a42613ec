"""One fuzz case: its random numbers, its folder, and what must hold however odd its input is."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lesstext.errors import LesstextError

Snapshot = dict[str, tuple[int, str]]


class Violation(Exception):
    """Something that must never happen; `kind` is the word that findings are counted by."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind = kind
        self.text = text


@dataclass(slots=True)
class Case:
    """Random numbers of its own and a folder: inputs lie in `inputs`, all writing goes to `out`.

    A target writes its inputs, calls `seal`, and then does what a user would do.
    """

    rng: random.Random
    folder: Path
    sealed: Snapshot | None = field(default=None)

    @property
    def inputs(self) -> Path:
        return self.folder / "in"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def seal(self) -> None:
        """From here on nothing outside of `out` may change."""
        self.sealed = _snapshot(self.folder, self.out)


Target = Callable[[Case], str]
"""A target returns a word for what became of its case, which the summary counts."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case: the target's word, or a violation's kind and text."""

    word: str
    violation: str | None = None


def check(holds: bool, kind: str, text: str) -> None:
    """Raise a Violation unless something holds."""
    if not holds:
        raise Violation(kind, text)


def run_case(target: Target, name: str, seed: int, number: int, root: Path) -> Outcome:
    """Run one case in a folder of its own below `root`, which is emptied before and after.

    An error of the project's own tree and an OSError are what the commands turn into one line;
    anything else that is raised would be a traceback.
    """
    folder = root / "case"
    _remove(folder)
    (folder / "in").mkdir(parents=True)
    case = Case(random.Random(f"{seed}/{name}/{number}"), folder)
    try:
        word = _attempt(target, case)
        check(case.sealed is not None, "target", "it never sealed its inputs")
        _compare(case.sealed or {}, _snapshot(folder, case.out))
    except Violation as found:
        return Outcome(found.kind, found.text)
    finally:
        _remove(folder)
    return Outcome(word)


def _attempt(target: Target, case: Case) -> str:
    try:
        return target(case)
    except Violation:
        raise
    except (LesstextError, OSError) as error:
        str(error).encode()  # it is printed
        return f"refused: {type(error).__name__}"
    except Exception as error:
        raise Violation("traceback", traceback.format_exc(limit=-6)) from error


def _compare(before: Snapshot, after: Snapshot) -> None:
    changed = sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
    check(not changed, "changed", f"changed outside of the output: {changed[:5]}")


def _snapshot(folder: Path, out: Path) -> Snapshot:
    """Kind and content of everything below a folder, without what lies in `out`."""
    found: Snapshot = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) != out]
        for name in (*names, *folders):
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            content = b""
            if stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(mode):
                content = os.fsencode(os.readlink(path))
            found[path] = (mode, hashlib.blake2b(content, digest_size=16).hexdigest())
    return found


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
