"""CLIP with hard negatives: once it is installed, `train-clip train --loss hard-negatives`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lesstext.errors import UsageError
from train_clip.objectives.base import Objective, Outputs


@dataclass(frozen=True, kw_only=True)
class HardNegatives(Objective):
    """Wrong pairs weigh the more the more alike they are (Robinson et al. 2021); beta 0 is CLIP."""

    beta: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.beta < math.inf:
            raise UsageError(f"beta must be at least 0, got {self.beta}")

    def loss(self, outputs: Outputs, own: Any) -> Tensor:
        logits = outputs["logit_scale"] * outputs["image_features"] @ outputs["text_features"].T
        pairs = torch.arange(len(logits), device=logits.device)
        to_text, to_image = self._weigh(logits), self._weigh(logits.T)
        return (cross_entropy(to_text, pairs) + cross_entropy(to_image, pairs)) / 2

    def _weigh(self, logits: Tensor) -> Tensor:
        """Add the logarithms of weights: 1 for the right pairs, 1 on average for the wrong ones."""
        right = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        alike = (self.beta * logits.detach()).masked_fill(right, -math.inf)
        weights = alike.log_softmax(dim=1) + math.log(len(logits) - 1)
        return logits + weights.masked_fill(right, 0)
