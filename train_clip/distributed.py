"""One process or many: who am I, which device is mine, and sums over all ranks.

Launched by torchrun, the process group is NCCL on GPUs and gloo on CPUs. Counters and decisions
(stop now? save now?) travel over a separate gloo group, so that they never touch the GPU queue.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from lesstext.engines.devices import n_cores
from train_clip.errors import ConfigError

# Other ranks wait this long while rank 0 indexes, evaluates or saves.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all; without torchrun it is rank 0 of 1."""

    rank: int
    world: int
    device: torch.device
    control: Any = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element-wise sum over ranks, in float64; the same on every rank."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return [float(value) for value in total]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in rank order."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.control)
        return values

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier(group=self.control)


def gather_rows(mine: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """The rows of every rank, in rank order; each rank gets back the gradients of its own.

    Every rank must hold as many rows.
    """
    if ranks.world == 1:
        return mine
    gathered: torch.Tensor = _GatherRows.apply(mine, ranks)
    return gathered


class _GatherRows(torch.autograd.Function):
    """torch.distributed.nn.all_gather mixes up gradients that are not contiguous (on gloo)."""

    @staticmethod
    def forward(ctx: Any, mine: torch.Tensor, ranks: Ranks) -> torch.Tensor:
        ctx.rank, ctx.rows = ranks.rank, len(mine)
        mine = mine.contiguous()
        everyone = [torch.empty_like(mine) for _ in range(ranks.world)]
        dist.all_gather(everyone, mine)
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.rank * ctx.rows : (ctx.rank + 1) * ctx.rows], None


def sum_over_ranks(mine: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """The sum of every rank's tensor, on every rank; gradients are summed over ranks, too."""
    if ranks.world == 1:
        return mine
    total: torch.Tensor = _SumOverRanks.apply(mine)
    return total


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: torch.Tensor) -> torch.Tensor:
        total = mine.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def max_over_ranks(mine: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """The largest of every rank's values, element by element; no gradient."""
    largest = mine.detach().clone()
    if ranks.world > 1:
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Join the process group that torchrun describes in the environment, if there is one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = pick_device(device, local_rank)
    if world == 1:
        yield Ranks(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    # One group for all runs of a process (a comparison has several): it cannot be joined twice.
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    yield Ranks(dist.get_rank(), world, chosen, dist.new_group(backend="gloo", timeout=_PATIENCE))


def set_threads(device: torch.device, threads: int | None) -> None:
    """Choose torch's CPU threads: two of them beside a busy worker are far slower than one."""
    if device.type != "cpu":
        return
    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, n_cores() - 1)
    if threads is not None:
        torch.set_num_threads(threads)


def pick_device(device: str, local_rank: int) -> torch.device:
    """`auto` is the rank's own GPU where there is one; raises ConfigError for an absent device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}") from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"device {device} was asked for, but torch sees no GPU here")
        index = local_rank if chosen.index is None else chosen.index
        if index >= torch.cuda.device_count():
            raise ConfigError(f"GPU {index} was asked for; there are {torch.cuda.device_count()}")
        return torch.device("cuda", index)
    return chosen
