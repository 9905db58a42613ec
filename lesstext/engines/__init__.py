"""Where annotators run: local processes or a cluster, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesstext.annotators.base import Annotator, Placement
    from lesstext.engines.base import Engine

ENGINES = ("local", "ray")


def find_workers(
    engine: str,
    annotator: Annotator,
    *,
    device: str,
    threads: int,
    workers: int | None,
    helpers: int | None,
) -> tuple[list[Placement], str]:
    """One placement per worker of the named engine, and the id that the annotator has there.

    Raises UsageError for impossible requests, AnnotatorError for an absent device.
    """
    if engine == "ray":
        from lesstext.engines import ray

        return ray.find_workers(annotator, device, threads, workers, helpers)
    from lesstext.engines.devices import placements

    found = placements(device, threads, workers, helpers)
    return found, annotator.identify(found[0])


def engine_for(
    engine: str,
    annotator: Annotator,
    workers: Sequence[Placement],
    annotator_id: str,
    stall_timeout_s: float | None = None,
) -> Engine:
    """The named engine with these workers, each of which must find the id `annotator_id`.

    A worker from which nothing is heard for `stall_timeout_s` is replaced.
    """
    if engine == "ray":
        from lesstext.engines.ray import RayEngine

        return RayEngine(annotator, workers, annotator_id, stall_timeout_s)
    from lesstext.engines.local import LocalEngine

    return LocalEngine(annotator, workers, stall_timeout_s)
