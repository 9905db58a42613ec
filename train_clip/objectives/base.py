"""The contract of an objective: what is optimised, and what it needs for that.

An objective is a frozen dataclass: its fields are its options (`--loss-option NAME=VALUE`,
`[common.loss_options]`), its methods say what the loss is. It knows nothing of micro-batches or of
how a batch is split over ranks: `exact_gradient` calls it so that the gradient is that of the whole
batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from train_clip.distributed import Ranks, gather_rows

MicroBatch = Mapping[str, Any]
Outputs = dict[str, Tensor]
Placement = Literal["replicated", "sharded"]
Towers = Literal["both", "image"]


@dataclass(frozen=True, slots=True)
class Premises:
    """What is known of a run before its first step, on which own parameters may depend.

    `width` is that of the embeddings; `n_classes` counts the classes of the labels (0: none).
    """

    width: int
    n_classes: int
    seed: int
    ranks: Ranks


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """What a step minimises; subclasses are named by the entry-point group `train_clip.objectives`.

    `common` names the outputs that are one value for all rows. `model_start` is handed to open_clip
    when the model is built; what it sets may differ between arms that vary in their objective.
    `placement` says where the objective's own parameters are: the same on every rank, or a part
    on each. `towers` says what of the model is trained: all of it, or `visual` alone.
    """

    common: ClassVar[frozenset[str]] = frozenset({"logit_scale", "logit_bias"})
    model_start: ClassVar[Mapping[str, float]] = {}
    placement: ClassVar[Placement] = "replicated"
    towers: ClassVar[Towers] = "both"
    # Read by pydantic: options are not converted, and no unknown one is passed over.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "forbid"}

    @property
    def columns(self) -> tuple[str, ...]:
        """The batch columns beside `images` that `outputs` reads: `tokens` of the caption, or of
        labels `labels`, `entity`, `entity_tokens`, `text_draw` (`train_clip.training`)."""
        return ("tokens",)

    @property
    def needs_every_label(self) -> bool:
        """Whether nothing could be learnt from a sample without a label."""
        return False

    def own_parameters(self, premises: Premises) -> torch.nn.Module | None:
        """Parameters beside the model's, on the CPU.

        Torch is seeded with the run's seed before; `sharded` ones are this rank's part.
        """
        return None

    def optimiser_groups(self, own: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """AdamW's groups for the own parameters; `rate_factor` multiplies the schedule's rate."""
        return [{"params": list(own.parameters()), "weight_decay": weight_decay}]

    def outputs(self, model: torch.nn.Module, batch: MicroBatch) -> Outputs:
        """What the loss needs of a micro-batch: tensors of one row per pair, and common values.

        The model is called as a whole (it may be wrapped for several ranks). Columns that the loss
        reads, such as labels, are handed on here.
        """
        found: Outputs = model(batch["images"], batch["tokens"])
        return found

    @abstractmethod
    def loss(self, outputs: Outputs, own: Any) -> Tensor:
        """The loss of the whole batch, a scalar, from the outputs of all its pairs.

        `own` is what `own_parameters` made. It must not depend on the rank; with `sharded`
        parameters all ranks call it at once, and it may use differentiable collectives.
        """

    def rank_loss(self, outputs: Outputs, own: Any, ranks: Ranks) -> Tensor:
        """A loss from this rank's outputs whose mean over ranks is the loss of the whole batch."""
        return self.loss(gather_outputs(outputs, self.common, ranks), own)


class SelfUpdating(torch.nn.Module, ABC):
    """Own parameters, a part on each rank, that update themselves and lie in files of their own.

    `parameters` are those that have a gradient in this step; after it they are updated by
    `update` instead of AdamW.
    """

    n_updates: int

    @abstractmethod
    def update(self, rate: float, betas: tuple[float, float], eps: float) -> None:
        """Update what the step took, and count it."""

    @abstractmethod
    def shard(self) -> dict[str, Any]:
        """Tensors and plain values: all of this rank that a checkpoint must hold."""

    @abstractmethod
    def load_shards(self, shards: Sequence[dict[str, Any]]) -> None:
        """Take this rank's part from the shards of all ranks of a checkpoint, however many."""


def gather_outputs(outputs: Outputs, common: frozenset[str], ranks: Ranks) -> Outputs:
    """The rows of all ranks, in rank order; gradients flow back to the ranks they came from."""
    return {
        name: value if name in common else gather_rows(value, ranks)
        for name, value in outputs.items()
    }
