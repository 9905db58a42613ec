"""A Ray cluster, or a local one: how it is joined, what it has, and functions run on its nodes.

Every node needs lesstext installed and sees the same paths (a shared disk, or URLs). Ray finds the
cluster by RAY_ADDRESS or the node that it runs on, and starts a local one where there is none.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from lesstext.annotators.base import Annotator, Placement
from lesstext.engines.devices import check_counts
from lesstext.engines.task import MAX_ATTEMPTS
from lesstext.errors import AnnotatorError, LesstextError, UsageError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def connect() -> Any:
    """Join a Ray cluster, once per process; returns the ray module.

    Raises UsageError when ray is not installed or the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray needs the extra `ray`: pip install 'lesstext[ray]'"
        ) from error
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(f"no Ray cluster can be reached or started: {error}") from error
    return ray


def find_workers(
    annotator: Annotator, device: str, threads: int, workers: int | None, helpers: int | None
) -> tuple[list[Placement], str]:
    """One placement per actor, for all of the cluster's GPUs or CPUs, and the annotator's id there.

    Raises UsageError for impossible requests, AnnotatorError for GPUs that the cluster lacks.
    """
    check_counts(threads, workers, helpers)
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"with --engine ray, --device must be auto, cpu or cuda, got {device!r}")
    ray = connect()
    found = ray.cluster_resources()
    n_cpus, n_gpus = int(found.get("CPU", 0)), int(found.get("GPU", 0))
    if device == "cuda" and not n_gpus:
        raise AnnotatorError("device cuda was asked for, but the Ray cluster has no GPU")
    if device == "cpu" or not n_gpus:
        n_actors = workers or max(1, n_cpus // threads)
        placed = Placement(device="cpu", threads=threads, helpers=helpers or 0)
    else:
        n_actors = n_gpus * (workers or 1)
        share = max(1, n_cpus // n_actors - 1) if helpers is None else helpers
        # The only device that an actor sees has the number 0.
        placed = Placement(device="cuda:0", threads=threads, helpers=share)
    identify = ray.remote(_identify).options(**resources(placed, n_actors, n_gpus))
    try:
        return [placed] * n_actors, str(ray.get(identify.remote(annotator, placed)))
    except ray.exceptions.RayTaskError as error:
        raise _cause(error) from error


def run_each(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    on_death: Callable[[_Item, Exception], _Result],
    n_at_once: int | None = None,
) -> Iterator[_Result]:
    """`function` of each item on one CPU each, in the order of completion.

    `n_at_once` is the cluster's number of CPUs unless given. An item whose worker dies three times
    yields `on_death(item, error)`.
    """
    ray = connect()
    n_at_once = n_at_once or max(1, int(ray.cluster_resources().get("CPU", 1)))
    remote = ray.remote(num_cpus=1, max_retries=MAX_ATTEMPTS - 1)(function)
    waiting, running = deque(items), dict[Any, _Item]()
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once:
                item = waiting.popleft()
                running[remote.remote(item)] = item
            for ref in ray.wait(list(running))[0]:
                item = running.pop(ref)
                try:
                    yield ray.get(ref)
                except ray.exceptions.RayError as error:
                    yield on_death(item, error)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


def resources(placement: Placement, n_actors: int, n_gpus: int) -> dict[str, float]:
    """What one of `n_actors` takes of the cluster."""
    if placement.device == "cpu":
        return {"num_cpus": placement.threads}
    return {"num_cpus": 1, "num_gpus": min(1.0, n_gpus / n_actors)}


def _identify(annotator: Annotator, placement: Placement) -> str:
    return annotator.identify(placement)


def _cause(error: Any) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, LesstextError) else AnnotatorError(str(error))
