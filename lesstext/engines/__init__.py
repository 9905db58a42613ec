"""Where units of work run: local processes or a cluster, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesstext.engines.base import Engine
    from lesstext.text_detection.protocol import DetectorSettings

ENGINES = ("local", "ray")


def find_workers(
    engine: str,
    settings: DetectorSettings,
    device: str,
    workers: int | None,
    helpers: int | None,
) -> tuple[list[DetectorSettings], str]:
    """One set of detector settings per worker of the named engine, and the id they will have.

    Raises UsageError for impossible requests, DetectorError for an absent device.
    """
    if engine == "ray":
        from lesstext.engines import ray

        return ray.find_workers(settings, device, workers, helpers)
    from lesstext.engines.devices import placements
    from lesstext.text_detection.protocol import identify_detector

    found = placements(settings, device, workers, helpers)
    return found, identify_detector(found[0])


def engine_for(engine: str, workers: Sequence[DetectorSettings], annotator: str) -> Engine:
    """The named engine with these workers, whose detectors must have the id `annotator`."""
    if engine == "ray":
        from lesstext.engines.ray import RayEngine

        return RayEngine(workers, annotator)
    from lesstext.engines.local import LocalEngine

    return LocalEngine(workers)
