"""Where workers run: `--device` and `--workers` become one placement per worker process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lesstext.annotators.base import Placement
from lesstext.errors import AnnotatorError, UsageError

_NVIDIA_NODES = ("/dev/nvidiactl", "/dev/dxg")


def resolve_devices(device: str) -> list[str]:
    """Turn `auto`, `cpu`, `cuda` or `cuda:0,cuda:1` into concrete devices.

    `auto` takes every GPU, or the CPU where there is none. Raises AnnotatorError for a device that
    is asked for by name and absent, UsageError for a word that is none.
    """
    if device == "auto":
        n_gpus = _n_gpus()
        return [f"cuda:{i}" for i in range(n_gpus)] or ["cpu"]
    if device == "cpu":
        return ["cpu"]
    n_gpus = _n_gpus()
    wanted = [name.strip() for name in device.split(",")]
    if wanted == ["cuda"]:
        wanted = [f"cuda:{i}" for i in range(n_gpus)] or ["cuda:0"]
    for name in wanted:
        _refuse_absent(name, n_gpus)
    return wanted


def placements(
    device: str, threads: int = 1, workers: int | None = None, helpers: int | None = None
) -> list[Placement]:
    """One placement per worker process.

    On the CPU `workers` counts processes (default: cores divided by the threads of each, since
    one thread per process gives the most images/s) and each does everything itself. On GPUs it
    counts processes per device (default 1), and each has `helpers` (default: its share of the
    cores, less its own).
    """
    check_counts(threads, workers, helpers)
    devices = resolve_devices(device)
    if devices == ["cpu"]:
        n_processes = workers or max(1, n_cores() // threads)
        return [Placement(device="cpu", threads=threads, helpers=helpers or 0)] * n_processes
    n_processes = len(devices) * (workers or 1)
    share = max(1, n_cores() // n_processes - 1) if helpers is None else helpers
    return [
        Placement(device=name, threads=threads, helpers=share)
        for name in devices
        for _ in range(workers or 1)
    ]


def check_counts(threads: int, workers: int | None, helpers: int | None) -> None:
    """Raise UsageError for numbers of threads and processes that cannot be."""
    for name, value, least in (
        ("--threads", threads, 1),
        ("--workers", workers, 1),
        ("--helpers", helpers, 0),
    ):
        if value is not None and value < least:
            raise UsageError(f"{name} must be at least {least}, got {value}")


def n_cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _n_gpus() -> int:
    """GPUs that torch can use; torch is imported only where a driver shows itself."""
    if sys.platform == "linux" and not any(Path(node).exists() for node in _NVIDIA_NODES):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _refuse_absent(name: str, n_gpus: int) -> None:
    kind, _, number = name.partition(":")
    if kind != "cuda" or not number.isdigit():
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N[,cuda:M], got {name!r}")
    if int(number) >= n_gpus:
        raise AnnotatorError(
            f"device {name} was asked for, but torch sees {n_gpus} GPUs here; "
            "use --device auto or cpu, or install a torch build for your driver"
        )
