"""Run a command as a user does, and compare what it prints with what lies on disk."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Said:
    """What one command printed; it ended well."""

    command: str
    out: str
    err: str

    def texts(self, pattern: str) -> tuple[str, ...]:
        """The groups of the first place on stdout that matches; exits where there is none."""
        found = re.search(pattern, self.out, re.MULTILINE)
        if found is None:
            sys.exit(f"{self.command} never said {pattern!r}, but\n{self.out}{self.err}")
        return found.groups()

    def ints(self, pattern: str) -> tuple[int, ...]:
        return tuple(int(text) for text in self.texts(pattern))


def run(command: str, *args: object, cwd: Path) -> Said:
    """Run an installed command in `cwd`; exits with what it said unless it ends with 0."""
    argv = [str(Path(sys.executable).parent / command), *map(str, args)]
    start = time.monotonic()
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    shown = " ".join([command, *map(str, args)])
    print(f"{time.monotonic() - start:6.1f} s  {shown}", flush=True)
    if done.returncode:
        sys.exit(f"{shown} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return Said(shown, done.stdout, done.stderr)


@dataclass
class Ledger:
    """Every number that was printed, beside what the files hold."""

    n_checked: int = 0
    wrong: list[str] = field(default_factory=list)

    def same(self, what: str, said: object, found: object) -> None:
        self._enter(said == found, what, said, found)

    def near(self, what: str, said: float | None, found: float | None, tolerance: float) -> None:
        """The two differ by no more than `tolerance`, which rounding accounts for, or are None."""
        if said is None or found is None:
            self._enter(said is found, what, said, found)
        else:
            self._enter(abs(said - found) <= tolerance, what, said, found)

    def _enter(self, is_right: bool, what: str, said: object, found: object) -> None:
        self.n_checked += 1
        if not is_right:
            self.wrong.append(f"{what}: said {said!r}, but the files hold {found!r}")
            print(f"WRONG  {self.wrong[-1]}", flush=True)


def table_cells(markdown: str, row: str) -> Sequence[str]:
    """The cells of the first row of a Markdown table that begins with the cell `row`."""
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] == row:
            return cells[1:]
    sys.exit(f"no row {row!r} in\n{markdown}")
