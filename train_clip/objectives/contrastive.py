"""CLIP's softmax loss and SigLIP's sigmoid loss, as open_clip computes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import open_clip
from torch import Tensor

from train_clip.distributed import Ranks
from train_clip.objectives.base import Objective, Outputs


@dataclass(frozen=True, kw_only=True)
class Contrastive(Objective):
    """Each image finds its caption among all of the batch, and each caption its image."""

    def loss(self, outputs: Outputs, own: Any) -> Tensor:
        return _called(open_clip.ClipLoss(), outputs)

    def rank_loss(self, outputs: Outputs, own: Any, ranks: Ranks) -> Tensor:
        """This rank's rows against all: a part of the logits of the whole batch on each rank."""
        split = ranks.world > 1
        loss = open_clip.ClipLoss(
            local_loss=split, gather_with_grad=split, rank=ranks.rank, world_size=ranks.world
        )
        return _called(loss, outputs)


@dataclass(frozen=True, kw_only=True)
class SigLip(Objective):
    """Each pair of an image and a caption is told apart by itself: matched, or not."""

    # Zhai et al. 2023, section 3.2: temperature 10 and bias -10 at the start.
    model_start: ClassVar[Mapping[str, float]] = {
        "init_logit_scale": math.log(10),
        "init_logit_bias": -10.0,
    }

    def loss(self, outputs: Outputs, own: Any) -> Tensor:
        return _called(open_clip.loss.SigLipLoss(), outputs)

    def rank_loss(self, outputs: Outputs, own: Any, ranks: Ranks) -> Tensor:
        loss = open_clip.loss.SigLipLoss(
            rank=ranks.rank, world_size=ranks.world, dist_impl="gather"
        )
        return _called(loss, outputs)


def _called(loss: Callable[..., Any], outputs: Outputs) -> Tensor:
    found: Tensor = loss(**outputs)
    return found
