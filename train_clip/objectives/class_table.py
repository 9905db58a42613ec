"""The classes of a vocabulary as vectors, one for each, for up to millions of them.

Class c lies on rank c mod W, in place c // W. A step takes the classes that it needs out of the
table, and only these have a gradient and an update. Sampled classes stand for those that are left
out: of C classes N are drawn by (seed, step) alone, and one that no image of the batch shows weighs
C / N in the softmax's sum, so that on average the sum is that over all (Horvitz and Thompson 1952).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train_clip.errors import CheckpointError
from train_clip.objectives.base import Premises, SelfUpdating

_SAMPLE, _START = 0xC1A5, 0x7AB1
_STATE = ("rows", "exp_avg", "exp_avg_sq", "n_row_updates")
_BLOCK = 65_536


class ClassTable(SelfUpdating):
    """This rank's vectors, (rows, width), and the moments of each; only their directions matter.

    The optimiser is Adam, lazily: a row's moments and its bias correction count the steps that
    took it. With all classes in every step it is torch's.
    """

    rows: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    n_row_updates: Tensor

    def __init__(self, premises: Premises, n_sampled: int | None = None) -> None:
        """`n_sampled` classes are drawn for a step (None: all are taken)."""
        super().__init__()
        self.n_classes, self.seed, self.ranks = premises.n_classes, premises.seed, premises.ranks
        self.n_sampled = min(n_sampled or self.n_classes, self.n_classes)
        self.register_buffer("rows", self._start(premises.width))
        self.register_buffer("exp_avg", torch.zeros_like(self.rows))
        self.register_buffer("exp_avg_sq", torch.zeros_like(self.rows))
        self.register_buffer("n_row_updates", torch.zeros(len(self.rows), dtype=torch.int64))
        self.n_updates = 0
        self._places = torch.empty(0, dtype=torch.int64)
        self.taken = torch.nn.Parameter(torch.empty(0, premises.width))

    def sample(self, step: int) -> Tensor:
        """The classes drawn for a step, sorted; the same for any number of ranks."""
        if self.n_sampled == self.n_classes:
            return torch.arange(self.n_classes)
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, _SAMPLE, step)))
        drawn = rng.choice(self.n_classes, self.n_sampled, replace=False, shuffle=False)
        return torch.from_numpy(np.sort(drawn))

    def take(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Take this rank's classes of the next step out of the table.

        `shown` are the classes of the whole batch, -1 for none. Returns the sorted numbers of what
        is in `taken` now, and the logarithm of the weight of each among the wrong classes.
        """
        device = self.rows.device
        batch = torch.unique(shown[shown >= 0])
        numbers = torch.unique(torch.cat([batch, self.sample(self.n_updates).to(device)]))
        mine = numbers[numbers % self.ranks.world == self.ranks.rank]
        self._places = mine // self.ranks.world
        self.taken = torch.nn.Parameter(self.rows[self._places])
        weight = math.log(self.n_classes / self.n_sampled)
        weights = self.rows.new_full((len(mine),), weight)
        return mine, weights.masked_fill_(torch.isin(mine, batch), 0.0)

    @torch.no_grad()
    def update(self, rate: float, betas: tuple[float, float], eps: float) -> None:
        """One step of Adam for the rows taken, from the gradient of `taken`."""
        self.n_updates += 1
        places, gradient = self._places, self.taken.grad
        if gradient is None or not len(places):
            return
        self.n_row_updates[places] += 1
        n = self.n_row_updates[places].unsqueeze(1).to(torch.float64)
        mean = self.exp_avg[places].lerp_(gradient, 1 - betas[0])
        square = self.exp_avg_sq[places].mul_(betas[1])
        square.addcmul_(gradient, gradient, value=1 - betas[1])
        self.exp_avg[places], self.exp_avg_sq[places] = mean, square
        dtype = gradient.dtype
        root = square.sqrt_().div_((1 - betas[1] ** n).sqrt().to(dtype)).add_(eps)
        self.rows[places] -= mean.mul_((rate / (1 - betas[0] ** n)).to(dtype)).div_(root)
        self.taken = torch.nn.Parameter(self.taken.new_empty(0, self.taken.shape[1]))

    def shard(self) -> dict[str, Any]:
        """What a checkpoint stores of this rank."""
        return {"n_updates": self.n_updates, **{name: getattr(self, name) for name in _STATE}}

    @torch.no_grad()
    def load_shards(self, shards: Sequence[dict[str, Any]]) -> None:
        """Find this rank's rows among the shards of any number of ranks."""
        held = sum(len(shard["rows"]) for shard in shards)
        if held != self.n_classes:
            raise CheckpointError(f"it holds {held} classes, the labels have {self.n_classes}")
        places = torch.arange(len(self.rows))
        numbers = self.ranks.rank + self.ranks.world * places
        for number, shard in enumerate(shards):
            here = numbers % len(shards) == number
            for name in _STATE:
                stored = shard[name][numbers[here] // len(shards)]
                getattr(self, name)[places[here]] = stored.to(self.rows.device)
        self.n_updates = shards[0]["n_updates"]

    def _start(self, width: int) -> Tensor:
        """Normal values of standard deviation width ** -0.5, the same for any number of ranks."""
        rank, world = self.ranks.rank, self.ranks.world
        rows = torch.empty(len(range(rank, self.n_classes, world)), width)
        for first in range(0, self.n_classes, _BLOCK):
            n = min(_BLOCK, self.n_classes - first)
            state = np.random.SeedSequence((self.seed, _START, first)).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
            mine = torch.randn(n, width, generator=generator)[(rank - first) % world :: world]
            start = len(range(rank, first, world))
            rows[start : start + len(mine)] = mine
        return rows.mul_(width**-0.5)
