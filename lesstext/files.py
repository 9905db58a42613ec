"""Files that appear under their final name whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lesstext.errors import UsageError

PARTIAL_SUFFIX = ".partial"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is synced and renamed to `target`.

    On any exception the temporary file is removed and `target` is left as it was. The temporary
    name holds the process id, so that two processes never write into the same file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, target)
        _sync(target.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_leftovers(folder: Path) -> int:
    """Delete temporary files of processes that no longer live; returns how many."""
    dead = [path for path in folder.rglob(f".*{PARTIAL_SUFFIX}") if not _owner_lives(path)]
    for path in dead:
        path.unlink(missing_ok=True)
    return len(dead)


def ensure_writable(folder: Path) -> None:
    """Create `folder` and prove that files can be written there; raises UsageError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}{PARTIAL_SUFFIX}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(f"cannot write into the output folder {folder}: {error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _owner_lives(partial: Path) -> bool:
    pid = partial.name.removesuffix(PARTIAL_SUFFIX).rpartition(".")[2]
    if not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
