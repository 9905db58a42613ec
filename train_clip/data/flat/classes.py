"""The classes of many samples: which entities each of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train_clip.data.flat.arrays import map_array, save_array

_CLASSES, _ENDS = "label_classes.npy", "label_ends.npy"


class ClassStore:
    """The classes of many samples in two flat arrays: all of them, and where each sample's end.

    `classes` is int32, the numbers of the run's vocabulary; a sample may have none. `origin`
    recognises the labels that they are from.
    """

    def __init__(
        self, classes: NDArray[np.int32], ends: NDArray[np.int64], origin: str = ""
    ) -> None:
        self.classes, self.ends, self.origin = classes, ends, origin

    @classmethod
    def open(cls, folder: Path, origin: str) -> ClassStore:
        return cls(map_array(folder / _CLASSES), map_array(folder / _ENDS), origin)

    @classmethod
    def of(cls, samples: Sequence[Sequence[int]], origin: str = "") -> ClassStore:
        """From the classes of each sample."""
        flat = [number for sample in samples for number in sample]
        ends = np.cumsum([len(sample) for sample in samples], dtype=np.int64)
        return cls(np.array(flat, dtype=np.int32), ends, origin)

    def save(self, folder: Path) -> None:
        save_array(folder / _CLASSES, self.classes)
        save_array(folder / _ENDS, self.ends)

    def get(self, index: int) -> NDArray[np.int32]:
        """The classes of one sample."""
        start = self.ends[index - 1] if index else 0
        return self.classes[start : self.ends[index]]

    @property
    def per_sample(self) -> NDArray[np.int64]:
        """How many classes each sample has."""
        return np.diff(self.ends, prepend=0)

    @property
    def most(self) -> int:
        """The largest number of classes of a sample."""
        return int(self.per_sample.max(initial=0))

    @property
    def n_unlabelled(self) -> int:
        return int((self.per_sample == 0).sum())

    def count(self, n_classes: int, uses: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """How many samples show each class; with `uses` of each sample, how often it was shown."""
        weights = None if uses is None else np.repeat(uses, self.per_sample)
        found = np.bincount(self.classes, weights=weights, minlength=n_classes)
        return found.astype(np.int64)
