"""Where the time went, by stage, and how often what happened."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """Adds up the seconds spent in each named stage, and the wall seconds since it was made."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._start = time.perf_counter()
        self.tallies: Counter[str] = Counter()
        """How many samples met with something that is worth telling, by its name."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere, such as a helper's busy time."""
        self._seconds[name] += seconds

    def as_dict(self) -> dict[str, float]:
        """Seconds by stage, and `total` since the clock was made."""
        total = time.perf_counter() - self._start
        return {name: round(value, 4) for name, value in {**self._seconds, "total": total}.items()}
