"""An objective's own parameters on this rank: their gradients, and their part of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from train_clip.config import Precision
from train_clip.errors import CheckpointError, ConfigError
from train_clip.objectives.base import Objective, Premises, SelfUpdating

Part = dict[str, Any]


class OwnParameters:
    """What an objective owns, or nothing (`module` None); a checkpoint's `Part` holds it."""

    def __init__(self, objective: Objective, premises: Premises, dtype: torch.dtype) -> None:
        """`dtype` is that of the weights."""
        ranks = premises.ranks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(premises.seed)
            module = objective.own_parameters(premises)
        self.module = None if module is None else module.to(ranks.device, dtype)
        self._objective, self._ranks = objective, ranks
        self.is_sharded = module is not None and objective.placement == "sharded"
        self.is_on_several_ranks = self.is_sharded and ranks.world > 1

    def refuse_scaler(self, precision: Precision) -> None:
        """Raise ConfigError where each rank would scale the gradients in its own way, and where
        the scaler does not know them."""
        if precision == "amp" and isinstance(self.module, SelfUpdating):
            raise ConfigError(
                "the objective's table of classes takes no scaled gradients; use --precision bf16 "
                "instead of amp"
            )
        if precision == "amp" and self.is_on_several_ranks:
            raise ConfigError(
                "the objective's parameters lie on several ranks, each of which would scale its "
                "gradients in its own way; use --precision bf16 instead of amp"
            )

    def parameters(self) -> list[torch.nn.Parameter]:
        return [] if self.module is None else list(self.module.parameters())

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """The optimiser groups, marked as the objective's own."""
        if self.module is None:
            return []
        groups = self._objective.optimiser_groups(self.module, weight_decay)
        return [{**group, "own": True} for group in groups]

    def settle_gradients(self) -> None:
        """Turn what backpropagation left on each rank into the gradient of the whole batch.

        The ranks' losses are summed by backpropagation, and their mean is meant: copies are
        averaged, and a part of its own is divided by the number of ranks.
        """
        for parameter in self.parameters() if self._ranks.world > 1 else ():
            if parameter.grad is not None:
                if not self.is_sharded:
                    dist.all_reduce(parameter.grad)
                parameter.grad /= self._ranks.world

    def update(self, rate: float, betas: tuple[float, float], eps: float) -> None:
        """Update what updates itself, after AdamW's step."""
        if isinstance(self.module, SelfUpdating):
            self.module.update(rate, betas, eps)

    @property
    def n_updates(self) -> set[int]:
        """The updates of what counts its own."""
        return {self.module.n_updates} if isinstance(self.module, SelfUpdating) else set()

    def shard(self) -> Part | None:
        """What this rank stores in a file of its own; None where all lies in the checkpoint."""
        return self.module.shard() if isinstance(self.module, SelfUpdating) else None

    def part(self, optimizer: torch.optim.Optimizer) -> Part | None:
        """What a checkpoint stores, on rank 0; all ranks call it."""
        if self.module is None or isinstance(self.module, SelfUpdating):
            return None
        mine = {"weights": _on_cpu(self.module.state_dict())}
        if not self.is_sharded:
            return {"ranks": [mine]}
        state = optimizer.state_dict()
        mine["states"] = _on_cpu({number: state["state"][number] for number in _own(state)})
        return {"ranks": self._ranks.gather(mine)}

    def restore(
        self,
        part: Part | None,
        optimizer_state: dict[str, Any],
        shards: Sequence[Part] = (),
    ) -> None:
        """Load this rank's weights; its states of the optimiser are put into `optimizer_state`.

        `shards` are what all ranks stored in files of their own.

        Raises CheckpointError where there are none, or for another number of ranks.
        """
        if self.module is None:
            return
        if isinstance(self.module, SelfUpdating) and shards:
            self.module.load_shards(shards)
            return
        if part is None:
            raise CheckpointError(
                "the checkpoint holds no parameters of the objective's own: another version of "
                "the objective stored it"
            )
        stored = part["ranks"]
        if self.is_sharded and len(stored) != self._ranks.world:
            raise CheckpointError(
                f"the objective's parameters were stored by {len(stored)} ranks; "
                f"go on with as many, not with {self._ranks.world}"
            )
        mine = stored[self._ranks.rank if self.is_sharded else 0]
        self.module.load_state_dict(mine["weights"])
        optimizer_state["state"].update(mine.get("states", {}))


def _own(state: dict[str, Any]) -> list[int]:
    """The numbers under which an optimiser's state holds an objective's own parameters."""
    groups = [group for group in state["param_groups"] if group.get("own")]
    return [n for group in groups for n in group["params"] if n in state["state"]]


def _on_cpu(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _on_cpu(one) for name, one in value.items()}
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value
