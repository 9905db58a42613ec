"""Objectives by name: those of this package, and those that installed packages bring."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lesstext.storage.validation import validated
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError
from train_clip.objectives.base import Objective

ENTRY_POINT_GROUP = "train_clip.objectives"
_BUILT_IN = {
    "clip": "train_clip.objectives.contrastive:Contrastive",
    "siglip": "train_clip.objectives.contrastive:SigLip",
}


def make_objective(config: TrainConfig) -> Objective:
    """The objective that a run names, with its options; raises ConfigError for an unknown one."""
    kind = objective_class(config.loss)
    options = json.dumps(dict(config.loss_options))
    return validated(kind, options, f"objective {config.loss!r}", ConfigError)


def objective_class(name: str) -> type[Objective]:
    """Raises ConfigError for an unknown name, and for one that leads to no objective."""
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    points |= {n: EntryPoint(n, value, ENTRY_POINT_GROUP) for n, value in _BUILT_IN.items()}
    if name not in points:
        raise ConfigError(f"unknown objective {name!r}; known: {', '.join(sorted(points))}")
    try:
        found: Any = points[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"objective {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise ConfigError(f"objective {name!r}: {points[name].value} is no Objective")
    return found
