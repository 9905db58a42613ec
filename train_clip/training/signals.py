"""SIGTERM and SIGINT as a wish that the loop fulfils between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While entered, `received` turns true on SIGTERM or SIGINT; a second SIGINT raises."""

    def __init__(self) -> None:
        self.received = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._handle) for s in _STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for which, handler in self._previous.items():
            signal.signal(which, handler)

    def _handle(self, which: int, _: FrameType | None) -> None:
        if self.received and which == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True
