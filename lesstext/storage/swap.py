"""Several files and folders of one folder, replaced together.

What is new is prepared in `.new/` below the folder. `swap` first notes in a journal what is to be
replaced: from then on the new state counts, and `finish_swap`, called before anything else is done
with the folder, brings an interrupted replacement to its end, at whatever step it was killed.
Local folders only: object storage has no renames.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lesstext.errors import StorageError
from lesstext.storage.files import write_text

NEW = ".new"
_OLD = ".old"
_JOURNAL = ".swap.json"


def swap(folder: Path, names: Sequence[str]) -> None:
    """Replace these by what lies in `.new/`, in their order; what does not lie there goes."""
    shutil.rmtree(folder / _OLD, ignore_errors=True)
    found = {name: (folder / NEW / name).exists() for name in names}
    write_text(folder / _JOURNAL, json.dumps(found) + "\n")
    finish_swap(folder)


def finish_swap(folder: Path) -> None:
    """Bring an interrupted replacement to its end; without one, nothing is done."""
    journal = folder / _JOURNAL
    if not journal.exists():
        return
    try:
        found = dict(json.loads(journal.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise StorageError(f"{journal} is damaged: {error}") from error
    (folder / _OLD).mkdir(exist_ok=True)
    for name, is_new in found.items():
        new, current, old = folder / NEW / name, folder / name, folder / _OLD / name
        if current.exists() and new.exists() == is_new:  # else it is the new one, moved before
            os.replace(current, old)
        if is_new and new.exists():
            os.replace(new, current)
    shutil.rmtree(folder / NEW, ignore_errors=True)
    shutil.rmtree(folder / _OLD, ignore_errors=True)
    journal.unlink()
