"""Where annotators run: local processes or a cluster, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from lesstext.annotators.base import Annotator, Placement
    from lesstext.engines.base import Engine

# Each is a module of this name, imported when it is asked for.
ENGINES = ("local", "ray")


class EngineModule(Protocol):
    """What a module of an engine holds."""

    def find_workers(
        self,
        annotator: Annotator,
        device: str,
        threads: int,
        workers: int | None,
        helpers: int | None,
    ) -> tuple[list[Placement], str]:
        """One placement per worker, and the id that the annotator has there."""
        ...

    def engine_for(
        self,
        annotator: Annotator,
        workers: Sequence[Placement],
        annotator_id: str,
        stall_timeout_s: float | None,
    ) -> Engine:
        """The engine with these workers, each of which must find the id `annotator_id`."""
        ...


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
    return _module(engine).find_workers(annotator, device, threads, workers, helpers)


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
    return _module(engine).engine_for(annotator, workers, annotator_id, stall_timeout_s)


def _module(engine: str) -> EngineModule:
    return cast(EngineModule, import_module(f"{__name__}.{engine}"))
