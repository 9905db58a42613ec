"""The loss of a whole batch and its exact gradient, however the batch is split.

In one piece, each rank backpropagates its share of the loss, with features gathered over ranks. In
micro-batches, features are computed first without gradients; the loss over all of them gives the
gradient of every feature; then each micro-batch is run again, with the same random state, and its
features' gradients are sent through the towers (Gao et al. 2021, "GradCache"). Both give the
gradient of the loss of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from train_clip.config import Precision
from train_clip.distributed import Ranks, gather_rows
from train_clip.objectives.base import MicroBatch, Objective, Outputs
from train_clip.objectives.own_parameters import OwnParameters

_AUTOCAST: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "amp": torch.float16}


class ExactGradient:
    """Computes the loss of one step and leaves its gradient in all parameters."""

    def __init__(
        self, objective: Objective, own: OwnParameters, precision: Precision, ranks: Ranks
    ) -> None:
        self._objective, self._own = objective, own
        self._precision, self._ranks = precision, ranks

    def backward(
        self,
        model: torch.nn.Module,
        batches: Sequence[MicroBatch],
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
    ) -> Tensor:
        """Backpropagate this rank's micro-batches; returns the rank's loss, detached.

        The mean of the returned losses over ranks is the loss of the whole batch. `scale` is the
        gradient scaler's.
        """
        if len(batches) > 1:
            loss = self._accumulate(model, batches, scale)
        else:
            outputs = self._forward(model, batches[0])
            loss = self._objective.rank_loss(outputs, self._own.module, self._ranks)
            scale(loss).backward()  # type: ignore[no-untyped-call]
        self._own.settle_gradients()
        return loss.detach()

    def _forward(self, model: torch.nn.Module, batch: MicroBatch) -> Outputs:
        with self._autocast():
            outputs = self._objective.outputs(model, batch)
        return {name: _at_least_float32(value) for name, value in outputs.items()}

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _AUTOCAST.get(self._precision)
        return nullcontext() if dtype is None else torch.autocast(self._ranks.device.type, dtype)

    def _accumulate(
        self,
        model: torch.nn.Module,
        batches: Sequence[MicroBatch],
        scale: Callable[[Tensor], Tensor],
    ) -> Tensor:
        device = self._ranks.device
        states, parts = [], []
        inner = unwrap(model)
        with torch.no_grad():
            for batch in batches:
                states.append(_random_state(device))
                parts.append(self._forward(inner, batch))
        whole = {name: _leaf(self._gather(name, parts)) for name in parts[0]}
        loss = self._objective.loss(whole, self._own.module)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._own.is_on_several_ranks:
            self._average(whole)
        first = self._ranks.rank * sum(len(batch["images"]) for batch in batches)
        for number, batch in enumerate(batches):
            _set_random_state(device, states[number])
            last = number == len(batches) - 1
            with _no_sync(model) if not last else nullcontext():
                outputs = self._forward(model, batch)
                self._surrogate(outputs, whole, first, last).backward()  # type: ignore[no-untyped-call]
            first += len(batch["images"])
        return loss

    def _average(self, whole: Outputs) -> None:
        """Each rank knows the gradient through its own part of the parameters: add them up."""
        for value in whole.values():
            if value.grad is not None:
                dist.all_reduce(value.grad)
                value.grad /= self._ranks.world

    def _surrogate(self, outputs: Outputs, whole: Outputs, first: int, last: bool) -> Tensor:
        """A scalar whose gradient is the part of the loss's gradient that `outputs` carry.

        DDP averages over ranks: features are each rank's own, so their part is multiplied by the
        number of ranks; the scale and bias are common to all and counted once.
        """
        total: Tensor = torch.zeros((), device=self._ranks.device)
        for name, value in outputs.items():
            gradient = whole[name].grad
            if gradient is None:
                continue
            if name not in self._objective.common:
                mine = gradient[first : first + len(value)]
                total = total + (value * mine).sum() * self._ranks.world
            elif last:
                total = total + (value * gradient).sum()
        return total

    def _gather(self, name: str, parts: Sequence[Outputs]) -> Tensor:
        if name in self._objective.common:
            return parts[0][name]
        return gather_rows(torch.cat([part[name] for part in parts]), self._ranks)


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The open_clip model inside DDP."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def _at_least_float32(value: Tensor) -> Tensor:
    whole_number = not value.is_floating_point()
    return value if whole_number or value.dtype == torch.float64 else value.float()


def _leaf(value: Tensor) -> Tensor:
    return value.detach().clone().requires_grad_(value.is_floating_point())


def _no_sync(model: torch.nn.Module) -> AbstractContextManager[object]:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
