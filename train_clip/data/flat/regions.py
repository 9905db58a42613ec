"""The text regions of many samples, and the words read in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train_clip.data.flat.arrays import map_array, save_array

TextRegion = tuple[NDArray[np.float32], str]
"""A polygon (k, 2) in full-size pixels and its word; empty where none was read."""
_POINTS, _POLYGON_ENDS = "region_points.npy", "region_ends.npy"
_WORDS, _WORD_ENDS = "region_words.npy", "region_word_ends.npy"
_SAMPLE_ENDS = "region_sample_ends.npy"


class RegionStore:
    """Regions in flat arrays: all points, all letters, and where those of each region end."""

    def __init__(self, folder: Path) -> None:
        self._points = map_array(folder / _POINTS)
        self._polygon_ends = map_array(folder / _POLYGON_ENDS)
        self._words = map_array(folder / _WORDS)
        self._word_ends = map_array(folder / _WORD_ENDS)
        self._sample_ends = map_array(folder / _SAMPLE_ENDS)

    @classmethod
    def open(cls, folder: Path) -> RegionStore | None:
        """The regions in a plan's folder; None where it has none."""
        return cls(folder) if (folder / _POINTS).exists() else None

    @staticmethod
    def save(folder: Path, samples: Sequence[Sequence[tuple[Sequence[float], str]]]) -> None:
        """Store for each sample its polygons x0, y0, x1, y1, … with their words."""
        flat = [np.asarray(p, dtype=np.float32).reshape(-1, 2) for s in samples for p, _ in s]
        words = [word.encode() for sample in samples for _, word in sample]
        points = np.concatenate(flat) if flat else np.empty((0, 2), dtype=np.float32)
        save_array(folder / _POLYGON_ENDS, _ends(flat))
        save_array(folder / _WORDS, np.frombuffer(b"".join(words), dtype=np.uint8))
        save_array(folder / _WORD_ENDS, _ends(words))
        save_array(folder / _SAMPLE_ENDS, _ends(samples))
        save_array(folder / _POINTS, points)

    def get(self, index: int) -> list[TextRegion]:
        """The regions of one sample."""
        first = _start(self._sample_ends, index)
        return [
            (
                np.array(self._points[_start(self._polygon_ends, one) : self._polygon_ends[one]]),
                bytes(self._words[_start(self._word_ends, one) : self._word_ends[one]]).decode(),
            )
            for one in range(first, int(self._sample_ends[index]))
        ]


def _ends(parts: Sequence[Any]) -> NDArray[np.int64]:
    return np.cumsum([len(part) for part in parts], dtype=np.int64)


def _start(ends: NDArray[np.int64], index: int) -> int:
    return int(ends[index - 1]) if index else 0
