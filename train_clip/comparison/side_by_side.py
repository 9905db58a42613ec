"""Several trainings at a time, each in a process of its own; told to stop, each saves its place."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from lesstext.storage.guard import claim_folder
from train_clip.config import TrainConfig
from train_clip.errors import Interrupted, TrainError
from train_clip.training.signals import StopSignals

log = logging.getLogger(__name__)

RUN_LOG = "train.log"
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class _Active:
    process: BaseProcess
    folder: Path
    begun: float


def train_side_by_side(runs: Sequence[tuple[TrainConfig, Path]], jobs: int) -> None:
    """Train each (config, folder), at most `jobs` at a time; what a run says goes to `train.log`.

    SIGTERM and SIGINT reach all runs, which save their places; raises Interrupted then. Where one
    run fails, the others under way are told to stop, and TrainError names it.
    """
    waiting = list(reversed(runs))
    active: dict[int, _Active] = {}
    with StopSignals() as stop:
        try:
            while waiting or active:
                for slot in range(jobs):
                    if slot not in active and waiting:
                        active[slot] = _start(*waiting.pop(), slot)
                time.sleep(_POLL_S)
                if stop.received:
                    raise Interrupted("told to stop; every run under way saved its place")
                _reap(active)
        finally:
            for one in active.values():
                one.process.terminate()
            for one in active.values():
                one.process.join()


def visible_gpus(device: str) -> list[str]:
    """The GPUs to share out, as CUDA_VISIBLE_DEVICES names them; none for another device."""
    if device not in ("auto", "cuda"):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]


def pick_gpu(slot: int, gpus: Sequence[str]) -> str | None:
    """The GPU of a slot, in turn.

    >>> [pick_gpu(slot, ["0", "3"]) for slot in range(3)]
    ['0', '3', '0']
    """
    return gpus[slot % len(gpus)] if gpus else None


def _start(config: TrainConfig, folder: Path, slot: int) -> _Active:
    claim_folder(folder, "run")
    gpu = pick_gpu(slot, visible_gpus(config.device))
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run, args=(config, folder, gpu))
    process.start()
    log.info("%s: training", folder)
    return _Active(process, folder, time.monotonic())


def _reap(active: dict[int, _Active]) -> None:
    """Forget the processes that are done; raises TrainError where one failed."""
    for slot, one in list(active.items()):
        if one.process.is_alive():
            continue
        del active[slot]
        if one.process.exitcode != 0:
            raise TrainError(
                f"{one.folder} failed (exit code {one.process.exitcode}); see {RUN_LOG} there"
            )
        log.info("%s: done after %.1f minutes", one.folder, (time.monotonic() - one.begun) / 60)


def _run(config: TrainConfig, folder: Path, gpu: str | None) -> None:
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with (folder / RUN_LOG).open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    threading.Thread(target=_stop_with_parent, args=(os.getppid(),), daemon=True).start()
    from train_clip.training.loop import train

    try:
        train(config, folder)
    except TrainError as error:
        logging.error("%s", error)
        raise SystemExit(1) from error


def _stop_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
