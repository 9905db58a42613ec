"""Supervised learning of entities: images are sorted into the classes of their labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from train_clip.distributed import max_over_ranks, sum_over_ranks
from train_clip.errors import ConfigError
from train_clip.objectives.base import (
    MicroBatch,
    Objective,
    Outputs,
    Placement,
    Premises,
    Towers,
)
from train_clip.objectives.class_table import ClassTable
from train_clip.objectives.positives import low, mean_over, row_losses


@dataclass(frozen=True, kw_only=True)
class EntitySoftmax(Objective):
    """A softmax over all entities from the image alone: `scale` times the cosine to each class.

    `margin` is taken off the cosine to the right class (CosFace, Wang et al. 2018). An image's
    further entities are no negatives: its loss is the mean over its entities, each against all
    classes that are not its own. With `negatives`, of the classes that the batch does not show only
    so many, drawn by seed and step, stand for all (`class_table`). The text tower and the logit
    scale are not trained.
    """

    placement: ClassVar[Placement] = "sharded"
    towers: ClassVar[Towers] = "image"
    scale: float = 32.0
    margin: float = 0.0
    negatives: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"scale must be above 0, got {self.scale}")
        if not 0 <= self.margin < 1:
            raise ConfigError(f"margin must lie in [0, 1), got {self.margin}")
        if self.negatives is not None and self.negatives < 1:
            raise ConfigError(f"negatives must be at least 1, got {self.negatives}")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("labels",)

    @property
    def needs_every_label(self) -> bool:
        return True

    def own_parameters(self, premises: Premises) -> torch.nn.Module:
        return ClassTable(premises, self.negatives)

    def optimiser_groups(self, own: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        return []  # the table updates itself

    def outputs(self, model: torch.nn.Module, batch: MicroBatch) -> Outputs:
        return {
            "image_features": model(batch["images"])["image_features"],
            "labels": batch["labels"],
        }

    def loss(self, outputs: Outputs, own: Any) -> Tensor:
        return class_loss(outputs, own, self.scale, self.margin)


def class_loss(outputs: Outputs, table: ClassTable, scale: float, margin: float) -> Tensor:
    """The mean loss of the images that have labels, (b, k) with -1 for none; 0 without any.

    Each rank computes the logits of its own classes, (b, rows); only sums of rows travel.
    """
    labels, is_right, ranks = outputs["labels"], outputs["labels"] >= 0, table.ranks
    numbers, weights = table.take(labels)
    logits = scale * outputs["image_features"] @ normalize(table.taken, dim=1).T
    # One more column that weighs nothing: a rank may have taken no class.
    logits = torch.cat([logits, logits.new_full((len(logits), 1), low(logits))], dim=1)
    is_here = is_right & (labels % ranks.world == ranks.rank)
    columns = torch.where(is_here, torch.searchsorted(numbers, labels), len(numbers))
    own = torch.where(is_here, logits.gather(1, columns), 0.0)
    right = sum_over_ranks(own, ranks) - scale * margin
    others = (logits + torch.cat([weights, weights.new_zeros(1)])).scatter(1, columns, low(logits))
    peak = max_over_ranks(others.amax(1), ranks)
    total = sum_over_ranks((others - peak.unsqueeze(1)).exp().sum(1), ranks)
    return mean_over(row_losses(peak + total.log(), right, is_right), is_right.any(1))
