"""Arrays as `.npy` files, written whole and mapped into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesstext.storage.files import atomic_path


def map_array(path: Path) -> NDArray[Any]:
    """A `.npy` in memory-mapped form, as a plain array (np.memmap's own indexing is slow)."""
    return np.asarray(np.load(path, mmap_mode="r"))


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write one `.npy`, atomically. An empty array is stored too, but maps as an ordinary one."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, array)
