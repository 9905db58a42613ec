"""A copy of the repository in which modules are mutated."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from py_compile import PycInvalidationMode

from mutation.areas import ROOT

_PACKAGES = ("lesstext", "attr_builder", "train_clip", "tests", "scripts")


def copy_tree(target: Path) -> Path:
    """The tracked and new files of the repository, compiled so that a changed file is noticed.

    Times and sizes would not tell: a mutant often has both of the file that it replaces.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    for package in _PACKAGES:
        compileall.compile_dir(
            target / package, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH
        )
    return target


@contextmanager
def replaced(path: Path, text: str) -> Iterator[None]:
    """The file with other contents, for a while."""
    original = path.read_bytes()
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_bytes(original)


def enter(tree: Path, scratch: Path) -> None:
    """Make the copy what this process and its children import, and write no byte code."""
    os.chdir(tree)
    os.environ.update(
        PYTHONPATH=os.pathsep.join([str(tree), *_further_paths()]),
        PYTHONDONTWRITEBYTECODE="1",
        OMP_NUM_THREADS="1",
        HOME=str(scratch),
        XDG_CACHE_HOME=str(scratch / "cache"),
        HYPOTHESIS_STORAGE_DIRECTORY=str(scratch / "hypothesis"),
    )


def _further_paths() -> list[str]:
    """What PYTHONPATH named beside the repository."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [path for path in named if path and Path(path).resolve() != ROOT]
