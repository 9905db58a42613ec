"""The contrastive loss of a whole batch and its exact gradient, however the batch is split.

In one piece, open_clip's loss is used as it is, with features gathered over ranks. In
micro-batches, features are computed first without gradients; the loss over all of them gives the
gradient of every feature; then each micro-batch is run again, with the same random state, and its
features' gradients are sent through the towers (Gao et al. 2021, "GradCache"). Both give the
gradient of the loss of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import open_clip
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from train_clip.config import LossName, Precision
from train_clip.distributed import Ranks

Outputs = dict[str, Tensor]
MicroBatch = tuple[Tensor, Tensor]
_AUTOCAST: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "amp": torch.float16}


class Objective:
    """Computes the loss of one step and leaves its gradient in the model's parameters."""

    def __init__(self, loss: LossName, precision: Precision, ranks: Ranks) -> None:
        self._ranks = ranks
        self._precision = precision
        self._direct = build_loss(loss, ranks.rank, ranks.world)
        self._whole = build_loss(loss, 0, 1)

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
            return self._accumulate(model, batches, scale)
        outputs = self._forward(model, *batches[0])
        loss: Tensor = self._direct(**outputs)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _forward(self, model: torch.nn.Module, images: Tensor, tokens: Tensor) -> Outputs:
        with self._autocast():
            outputs: Outputs = model(images, tokens)
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
            for images, tokens in batches:
                states.append(_random_state(device))
                parts.append(self._forward(inner, images, tokens))
        whole = {name: _leaf(self._gather(name, parts)) for name in parts[0]}
        loss: Tensor = self._whole(**whole)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        first = self._ranks.rank * sum(len(images) for images, _ in batches)
        for number, (images, tokens) in enumerate(batches):
            _set_random_state(device, states[number])
            last = number == len(batches) - 1
            with _no_sync(model) if not last else nullcontext():
                outputs = self._forward(model, images, tokens)
                self._surrogate(outputs, whole, first, last).backward()  # type: ignore[no-untyped-call]
            first += len(images)
        return loss.detach()

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
            if value.ndim == 2:
                total = (
                    total + (value * gradient[first : first + len(value)]).sum() * self._ranks.world
                )
            elif last:
                total = total + (value * gradient).sum()
        return total

    def _gather(self, name: str, parts: Sequence[Outputs]) -> Tensor:
        if parts[0][name].ndim < 2:
            return parts[0][name]
        mine = torch.cat([part[name] for part in parts])
        if self._ranks.world == 1:
            return mine
        everyone = [torch.empty_like(mine) for _ in range(self._ranks.world)]
        dist.all_gather(everyone, mine)
        return torch.cat(everyone)


def build_loss(name: LossName, rank: int, world: int) -> Callable[..., Any]:
    """open_clip's loss for this rank; its mean over ranks is the loss of the whole batch."""
    split = world > 1
    loss: Callable[..., Any]
    if name == "siglip":
        loss = open_clip.loss.SigLipLoss(rank=rank, world_size=world, dist_impl="gather")
    else:
        loss = open_clip.ClipLoss(
            local_loss=split, gather_with_grad=split, rank=rank, world_size=world
        )
    return loss


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The open_clip model inside DDP."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def _at_least_float32(value: Tensor) -> Tensor:
    return value if value.dtype == torch.float64 else value.float()


def _leaf(value: Tensor) -> Tensor:
    return value.detach().clone().requires_grad_()


def _no_sync(model: torch.nn.Module) -> AbstractContextManager[object]:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
