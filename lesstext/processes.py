"""Rules for child processes: they end with their parent and leave the cores to one another."""

from __future__ import annotations

import os
import signal
import threading
import time

_PARENT_CHECK_S = 1.0


def settle_in(parent: int, threads: int = 1) -> None:
    """Call first in a child: Ctrl-C is its parent's to handle, and it dies when `parent` does."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _die_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)
