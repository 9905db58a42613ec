"""Files that are made once a machine: in the user's cache, for all processes and runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lesstext.errors import UsageError
from lesstext.storage.files import atomic_path

_CACHE = "LESSTEXT_CACHE"


class CacheError(UsageError):
    """Nothing can be written into the cache."""


def cache_folder() -> Path:
    """$LESSTEXT_CACHE, else `lesstext` in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(_CACHE) or Path(home) / "lesstext")


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The file of this name, which must stand for its contents; `make` writes it where there is
    none, while other processes that want it wait.

    Raises CacheError, and whatever `make` raises.
    """
    path = cache_folder() / name
    if not path.exists():
        with _alone(path):
            if not path.exists():
                with atomic_path(path, unguarded=True) as partial:
                    make(partial)
    return path


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / f".{path.name}.lock").open("wb")
    except OSError as error:
        raise CacheError(
            f"cannot write into the cache {path.parent}: {error.strerror}; set {_CACHE}"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however that ends
        yield
