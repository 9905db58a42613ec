"""Both at once: images find their texts, and are sorted into the classes of their labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from train_clip.distributed import Ranks
from train_clip.errors import ConfigError
from train_clip.objectives.base import (
    MicroBatch,
    Objective,
    Outputs,
    Placement,
    Premises,
    gather_outputs,
)
from train_clip.objectives.entity import EntitySoftmax
from train_clip.objectives.entity_text import EntityContrastive

_FOR_CLASSES = {"image_features": "image_features", "classes": "labels"}


@dataclass(frozen=True, kw_only=True)
class MultiTask(Objective):
    """The loss of `contrastive` with `text`, plus `entity_weight` times that of `entity`.

    Samples without a label take part in the first only, with their alt-texts.
    """

    placement: ClassVar[Placement] = "sharded"
    text: str = "entity"
    entity_weight: float = 1.0
    scale: float = 32.0
    margin: float = 0.0
    negatives: int | None = None

    def __post_init__(self) -> None:
        _ = self._texts, self._entities  # they check their options
        if not 0 < self.entity_weight < math.inf:
            raise ConfigError(f"entity_weight must be above 0, got {self.entity_weight}")

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._texts.columns, *self._entities.columns)))

    def own_parameters(self, premises: Premises) -> torch.nn.Module:
        return self._entities.own_parameters(premises)

    def optimiser_groups(self, own: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        return self._entities.optimiser_groups(own, weight_decay)

    def outputs(self, model: torch.nn.Module, batch: MicroBatch) -> Outputs:
        return {**self._texts.outputs(model, batch), "classes": batch["labels"]}

    def loss(self, outputs: Outputs, own: Any) -> Tensor:
        return self._texts.loss(_without_classes(outputs), None) + self._sorted(outputs, own)

    def rank_loss(self, outputs: Outputs, own: Any, ranks: Ranks) -> Tensor:
        mine = self._texts.rank_loss(_without_classes(outputs), None, ranks)
        needed = {name: outputs[name] for name in _FOR_CLASSES}
        return mine + self._sorted(gather_outputs(needed, self.common, ranks), own)

    def _sorted(self, outputs: Outputs, own: Any) -> Tensor:
        needed = {theirs: outputs[name] for name, theirs in _FOR_CLASSES.items()}
        return self.entity_weight * self._entities.loss(needed, own)

    @property
    def _texts(self) -> EntityContrastive:
        return EntityContrastive(text=self.text)

    @property
    def _entities(self) -> EntitySoftmax:
        return EntitySoftmax(scale=self.scale, margin=self.margin, negatives=self.negatives)


def _without_classes(outputs: Outputs) -> Outputs:
    return {name: value for name, value in outputs.items() if name != "classes"}
