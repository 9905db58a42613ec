"""Objectives by name: those of this package, and those that installed packages bring."""

from __future__ import annotations

import json

from lesstext.plugins import load_plugin
from lesstext.storage.validation import validated
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError
from train_clip.objectives.base import Objective

ENTRY_POINT_GROUP = "train_clip.objectives"
_BUILT_IN = {
    "clip": "train_clip.objectives.contrastive:Contrastive",
    "siglip": "train_clip.objectives.contrastive:SigLip",
    "entity": "train_clip.objectives.entity:EntitySoftmax",
    "contrastive": "train_clip.objectives.entity_text:EntityContrastive",
    "multitask": "train_clip.objectives.multitask:MultiTask",
}


def make_objective(config: TrainConfig) -> Objective:
    """The objective that a run names, with its options; raises UsageError for an unknown one."""
    kind = objective_class(config.loss)
    options = json.dumps(dict(config.loss_options))
    return validated(kind, options, f"objective {config.loss!r}", ConfigError)


def objective_class(name: str) -> type[Objective]:
    """Raises UsageError for an unknown name, ConfigError for one that leads to no objective."""
    found = load_plugin(ENTRY_POINT_GROUP, "objective", name, ConfigError, _BUILT_IN)
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise ConfigError(f"objective {name!r}: {found!r} is no Objective")
    return found
