"""Memory that processes share, in slots of equal size.

It has no name, so that nothing of it is left, however its owner ends, and it is not part of
/dev/shm, which is small in containers.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesstext.processes import nameless_memory


@dataclass(frozen=True, slots=True)
class Put:
    """An array that lies at the beginning of a slot."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class SlotMemory:
    """`n_slots` times `slot_bytes`; a child process that is given it sees the same memory."""

    def __init__(self, n_slots: int, slot_bytes: int, file: int | None = None) -> None:
        """Of the open `file`, which it takes over, or of a new one."""
        self._size = n_slots, slot_bytes
        self._file = (
            nameless_memory(n_slots * slot_bytes, "lesstext-canvases") if file is None else file
        )
        self._map: mmap.mmap | None = mmap.mmap(self._file, n_slots * slot_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _attached, (*self._size, DupFd(self._file))

    def view(self, slot: int, shape: tuple[int, ...], dtype: Any = np.uint8) -> NDArray[Any]:
        """An array at the beginning of a slot."""
        assert self._map is not None
        return np.ndarray(shape, dtype, buffer=self._map, offset=slot * self._size[1])

    def put(self, slot: int, value: Any) -> Any:
        """Copy an array into a slot and say what lies there; all else is returned as it is."""
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            return value
        if value.nbytes > self._size[1]:
            return value
        np.copyto(self.view(slot, value.shape, value.dtype), value)
        return Put(value.shape, value.dtype)

    def get(self, slot: int, value: Any) -> Any:
        """What `put` was given."""
        return self.view(slot, value.shape, value.dtype) if isinstance(value, Put) else value

    def free(self) -> None:
        """Give up this process's part; it goes with the last array that lies in it."""
        if self._map is not None:
            self._map = None
            os.close(self._file)


def _attached(n_slots: int, slot_bytes: int, file: Any) -> SlotMemory:
    return SlotMemory(n_slots, slot_bytes, file.detach())
