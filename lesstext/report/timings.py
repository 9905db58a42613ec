"""Seconds by stage, summed over the stats files that lie beside the score tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lesstext.storage.paths import Location
from lesstext.storage.validation import json_object

_TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of scoring; `images_per_s` is for one worker, None where no time was measured."""

    name: str
    seconds: float
    share: float
    images_per_s: float | None


@dataclass(frozen=True, slots=True)
class Timings:
    """The stages in the order of the work, `total` last, and how much they cover."""

    stages: list[Stage]
    n_samples: int
    n_shards: int


def read_timings(stats_files: Iterable[Location]) -> Timings:
    """Add up the stats of all tables; shards without readable stats count as not timed."""
    seconds: Counter[str] = Counter()
    n_samples = n_shards = 0
    for path in stats_files:
        stats = _read_stats(path)
        if stats is not None:
            seconds.update(stats["seconds"])
            n_samples += stats["samples"]
            n_shards += 1
    total = seconds.pop(_TOTAL, 0.0)
    named = [*seconds.items(), (_TOTAL, total)] if n_shards else []
    stages = [
        Stage(name, spent, spent / total if total else 0.0, n_samples / spent if spent else None)
        for name, spent in named
    ]
    return Timings(stages, n_samples, n_shards)


def _read_stats(path: Location) -> dict[str, Any] | None:
    try:
        stats = json_object(path)
        float(sum(stats["seconds"].values()) + stats["samples"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return dict(stats)
