"""The share of time in which a GPU computed, sampled as the driver tells it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from gpu.bench import Bench

_PERIOD_S = 0.1
_QUERY = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]


class BusyShare:
    """Samples while inside `watching`; `share` is None where nothing tells of it."""

    def __init__(self, bench: Bench) -> None:
        self._ask = _teller(bench)
        self._samples: list[float] = []
        self._watch, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> BusyShare:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join(timeout=10)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._watch.set()
        try:
            yield
        finally:
            self._watch.clear()

    @property
    def share(self) -> float | None:
        return sum(self._samples) / len(self._samples) / 100 if self._samples else None

    def _sample(self) -> None:
        while self._ask is not None and not self._end.wait(_PERIOD_S):
            if self._watch.is_set():
                self._samples.append(self._ask())


def _teller(bench: Bench) -> Callable[[], float] | None:
    """What gives the busy share of the device in percent, if anything does."""
    if not bench.on_gpu:
        return None
    import torch

    index = torch.device(bench.device).index or 0
    tellers: list[Callable[[], float]] = [
        lambda: float(torch.cuda.utilization(index)),
        lambda: _nvidia_smi(index),
    ]
    for ask in tellers:
        try:
            ask()
        except Exception:  # no NVML, no nvidia-smi: another way, or none
            continue
        return ask
    return None


def _nvidia_smi(index: int) -> float:
    lines = subprocess.check_output([*_QUERY, "-i", str(index)], text=True, timeout=5)
    return float(lines.split()[0])
