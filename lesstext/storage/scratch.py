"""Temporary folders that vanish with their use, or at the latest when another run starts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lesstext.storage.owners import name_tag, owner_from_tag

_PREFIX = "lesstext-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder, in TMPDIR where that is set; deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{name_tag()}-") as folder:
        yield Path(folder)


def remove_dead_scratch() -> int:
    """Delete the temporary folders of killed processes of this host; returns how many."""
    n_removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*-*"):
        owner = owner_from_tag(folder.name.removeprefix(_PREFIX).rpartition("-")[0])
        if owner is not None and owner.is_here and not owner.is_alive:
            shutil.rmtree(folder, ignore_errors=True)
            n_removed += 1
    return n_removed
