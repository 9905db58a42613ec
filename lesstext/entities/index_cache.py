"""Where indexes of aliases lie: in the cache, made once a machine, memory-mapped by all workers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.entities.alias_index import AliasIndex
from lesstext.entities.index_building import build
from lesstext.entities.words import UNICODE
from lesstext.errors import UsageError
from lesstext.storage.files import atomic_path

if TYPE_CHECKING:
    from lesstext.entities.knowledge_base import KnowledgeBase

LAYOUT = 1
"""Number of the file's layout and of what is sought; another whenever either changes."""
_CACHE = "LESSTEXT_CACHE"


def open_index(kb: KnowledgeBase) -> AliasIndex:
    """The index of a knowledge base, built where the cache has none; others wait meanwhile.

    Raises UsageError where nothing can be written into the cache.
    """
    path = cache_folder() / f"aliases-{kb.digest}-{LAYOUT}-{UNICODE}.arrow"
    if not path.exists():
        with _alone(path):
            if not path.exists():
                _write(path, build(kb))
    return _mapped(path)


def cache_folder() -> Path:
    """Where indexes lie: $LESSTEXT_CACHE, else `lesstext` in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(_CACHE) or Path(home) / "lesstext")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / f".{path.name}.lock").open("wb")
    except OSError as error:
        raise UsageError(
            f"cannot write into the cache {path.parent}: {error.strerror}; set {_CACHE}"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however that ends
        yield


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    import pyarrow as pa

    columns = {
        name: pa.LargeListArray.from_arrays([0, len(values)], pa.array(values))
        for name, values in arrays.items()
    }
    table = pa.table(columns)
    with (
        atomic_path(path, unguarded=True) as partial,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)


def _mapped(path: Path) -> AliasIndex:
    import pyarrow as pa

    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        arrays = [
            batch.column(f.name).values.to_numpy(zero_copy_only=True) for f in fields(AliasIndex)
        ]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged: delete it, it will be made again") from error
    return AliasIndex(*arrays)
