"""Files that appear under their final name whole, or not at all."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lesstext.errors import UsageError
from lesstext.storage.guard import mark_file, refuse_foreign
from lesstext.storage.owners import name_tag, owner_from_tag
from lesstext.storage.paths import Location
from lesstext.storage.scratch import remove_dead_scratch, scratch_folder

PARTIAL_SUFFIX = ".partial"
_FOREIGN_LEFTOVER_AGE_S = 24 * 3600


@contextmanager
def atomic_path(
    target: Location, kind: str | None = None, *, durable: bool = True, unguarded: bool = False
) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is synced and renamed to `target`.

    On any exception the temporary file is removed and `target` is left as it was. The temporary
    name holds host and process id, so that two processes never write into the same file.
    A remote target is written into a local temporary folder and then uploaded. What is not
    `durable` survives its process but perhaps not a power cut: it is not synced.

    `kind` names a file that is an artefact by itself; others belong to the folder that they lie
    in. Raises UsageError for a target that is not ours to replace (see `guard`), which scripts
    and caches of files named by their contents waive by `unguarded`.
    """
    if not unguarded:
        refuse_foreign(target, kind)
    with _written_whole(target, durable) as partial:
        yield partial
    if kind is not None:
        mark_file(target, kind)


@contextmanager
def _written_whole(target: Location, durable: bool) -> Iterator[Path]:
    if not isinstance(target, Path):
        with scratch_folder() as folder:
            yield folder / target.name
            target.upload(folder / target.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{name_tag()}{PARTIAL_SUFFIX}")
    try:
        yield partial
        if durable:
            _sync(partial)
        os.replace(partial, target)
        if durable:
            _sync(target.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(
    target: Location,
    text: str,
    kind: str | None = None,
    *,
    durable: bool = True,
    unguarded: bool = False,
) -> None:
    """Write `text` as UTF-8, as `atomic_path` does; half a surrogate pair is spelled out."""
    with atomic_path(target, kind, durable=durable, unguarded=unguarded) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def remove_leftovers(folder: Location) -> int:
    """Delete temporary files of processes that no longer live; returns how many from `folder`.

    Those of other hosts, whose processes cannot be asked for, go when they are a day old.
    """
    remove_dead_scratch()
    if not isinstance(folder, Path):
        return 0  # uploads leave nothing behind
    dead = [path for path in folder.rglob(f".*{PARTIAL_SUFFIX}") if not _owner_lives(path)]
    for path in dead:
        path.unlink(missing_ok=True)
    return len(dead)


def read_file(path: Path) -> bytes:
    """All bytes of a regular file; raises OSError for a pipe or a device, which might never end."""
    if not path.is_file() and path.exists():
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return path.read_bytes()


def ensure_writable(folder: Location) -> None:
    """Create `folder` and prove that files can be written there; raises UsageError if not.

    Nothing is done to a remote folder: the settings, which are written first, are the proof.
    """
    if not isinstance(folder, Path):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{name_tag()}{PARTIAL_SUFFIX}"
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
    owner = owner_from_tag(partial.name.removesuffix(PARTIAL_SUFFIX).rpartition(".")[2])
    if owner is not None and owner.is_here:
        return owner.is_alive
    try:
        return time.time() - partial.stat().st_mtime < _FOREIGN_LEFTOVER_AGE_S
    except FileNotFoundError:
        return False


def plain(value: Any) -> Any:
    """Nested values as strict JSON can hold them: paths as text, NaN and infinities as null.

    >>> plain({"a": (1.5, float("nan")), "b": Path("x")})
    {'a': [1.5, None], 'b': 'x'}
    """
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
