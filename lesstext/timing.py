"""Where the time went, by stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """Adds up the wall seconds spent in each named stage, and those since it was made."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._start = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def as_dict(self) -> dict[str, float]:
        """Seconds by stage, and `total` since the clock was made."""
        total = time.perf_counter() - self._start
        return {name: round(value, 4) for name, value in {**self._seconds, "total": total}.items()}
