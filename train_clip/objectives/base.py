"""The contract of an objective: what is optimised, and what it needs for that.

An objective is a frozen dataclass: its fields are its options (`--loss-option NAME=VALUE`,
`[common.loss_options]`), its methods say what the loss is. It knows nothing of micro-batches or of
how a batch is split over ranks: `exact_gradient` calls it so that the gradient is that of the whole
batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from train_clip.distributed import Ranks, gather_rows

MicroBatch = Mapping[str, Any]
Outputs = dict[str, Tensor]
Placement = Literal["replicated", "sharded"]


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """What a step minimises; subclasses are named by the entry-point group `train_clip.objectives`.

    `columns` are the batch columns beside `images` that `outputs` reads. `common` names the outputs
    that are one value for all rows. `model_start` is handed to open_clip when the model is built;
    what it sets may differ between arms that vary in their objective. `placement` says where the
    objective's own parameters are: the same on every rank, or a part on each.
    """

    columns: ClassVar[tuple[str, ...]] = ("tokens",)
    common: ClassVar[frozenset[str]] = frozenset({"logit_scale", "logit_bias"})
    model_start: ClassVar[Mapping[str, float]] = {}
    placement: ClassVar[Placement] = "replicated"
    # Read by pydantic: options are not converted, and no unknown one is passed over.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "forbid"}

    def own_parameters(self, width: int, ranks: Ranks) -> torch.nn.Module | None:
        """Parameters beside the model's, on the CPU; `width` is that of the embeddings.

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


def gather_outputs(outputs: Outputs, common: frozenset[str], ranks: Ranks) -> Outputs:
    """The rows of all ranks, in rank order; gradients flow back to the ranks they came from."""
    return {
        name: value if name in common else gather_rows(value, ranks)
        for name, value in outputs.items()
    }
