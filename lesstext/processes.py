"""Rules for child processes: they end with their parent and leave the cores to one another."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

_PARENT_CHECK_S = 1.0
_PR_SET_PDEATHSIG = 1


def settle_in(parent: int, threads: int = 1) -> None:
    """Call first in a child: Ctrl-C is its parent's to handle, and it dies when `parent` does."""
    import cv2

    _die_with_parent_at_once()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = str(threads)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back while children are started, who inherit that; it comes afterwards.

    Without it one that comes between a child's start and its `settle_in` ends it with a traceback.
    """
    resource_tracker.ensure_running()  # else the first start would do so, and let signals in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def worker_pool(
    n_workers: int, start: Callable[..., object] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes, each begun with `start(*arguments)`.

    An exception inside the block (Ctrl-C, say) ends them and what they were at; nothing is waited
    for. Whoever writes in them must do so atomically.
    """
    others = set(multiprocessing.active_children())
    pool = _Pool(
        n_workers,
        multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(os.getpid(), start, arguments),
    )
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Pool(ProcessPoolExecutor):
    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        with interrupts_held_back():  # it is here that workers are started
            return super().submit(function, *args, **kwargs)


def _start(parent: int, start: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    settle_in(parent)
    if start is not None:
        start(*arguments)


def _die_with_parent_at_once() -> None:
    """Let Linux kill this process when its parent ends: a stopped one could not end by itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def nameless_memory(n_bytes: int, label: str) -> int:
    """A descriptor of memory to share: nothing is left behind, however the processes end.

    `label` is what the system's lists of open files show, where they can.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create(label)
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.truncate(file, n_bytes)
    return file
