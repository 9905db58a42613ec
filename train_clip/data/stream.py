"""Which samples step s sees: a pure function of the seed and s.

Nothing here knows of workers, ranks, files or earlier steps, so a run can be cut anywhere, split
over any number of processes, and always sees the same samples in the same order.

A draw is counted per source: draw n belongs to pass n // size. Each pass is shuffled on two
levels: the order of the shards, then the samples inside a window of `window_shards` shards. Every
sample comes once per pass, and a window is all that is read at one time. With weights a pass has
as many draws, and a sample comes as often as its weight says on average over the passes: the
whole number below or above it in each.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from train_clip.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Built = TypeVar("Built")

# Sources are mixed in blocks of this many draws, in which every weight is met exactly.
MIX_BLOCK = 10_000
_SHARDS, _WINDOW, _MIX, _SUBSTITUTE, _REPEATS = range(5)
_CACHED = 8


def generator(seed: int, purpose: int, *position: int) -> np.random.Generator:
    """A random generator that depends on its arguments alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, purpose, *position))))


def augment_generator(seed: int, position: int) -> np.random.Generator:
    """The generator for augmenting the sample at `position` = step * batch size + place.

    One is made per sample, so it is keyed directly: far cheaper than a SeedSequence.
    """
    return np.random.Generator(np.random.Philox(key=(seed << 64) | position))


def substitute(seed: int, position: int, attempt: int, size: int) -> int:
    """The sample tried instead, when the one meant for `position` cannot be used."""
    return int(generator(seed, _SUBSTITUTE, position, attempt).integers(size))


def label_generator(seed: int, position: int) -> np.random.Generator:
    """A generator for the sample at `position`, apart from that which augments its image."""
    return np.random.Generator(np.random.Philox(key=(seed << 64) | position, counter=1 << 192))


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass: the order of its shards, and the draw after the last one of each window.

    Sorted by sample, the draws of shard s are the `counts[s]` ones from `starts[s]` on; `members`
    says of which samples they are (None: of one each).
    """

    order: Ints
    window_ends: Ints
    starts: Ints
    counts: Ints
    members: Ints | None


class SourceOrder:
    """The order in which one source is drawn; `counts` holds the samples of each shard.

    `weights` say how often each sample comes in a pass on average, and sum to the size; without
    them each comes once.
    """

    def __init__(
        self,
        counts: Ints,
        *,
        seed: int,
        source: int,
        window_shards: int,
        weights: Floats | None = None,
    ) -> None:
        self.size = int(counts.sum())
        self._counts = counts
        self._key = (seed, source)
        self._window_shards = window_shards
        self._weights = weights
        self._passes: _Cache[_Pass] = _Cache(self._shuffle_shards)
        self._windows: _Cache[Ints] = _Cache(self._shuffle_window)

    def indices(self, draws: Ints) -> Ints:
        """Sample numbers (0 .. size - 1, shard by shard) of the given draws (0, 1, 2, …)."""
        result = np.empty_like(draws)
        passes, within = np.divmod(draws, self.size)
        for number in np.unique(passes):
            window_ends = self._passes.get(int(number)).window_ends
            mine = np.flatnonzero(passes == number)
            windows = np.searchsorted(window_ends, within[mine], side="right")
            for window in np.unique(windows):
                chosen = mine[windows == window]
                start = window_ends[window - 1] if window else 0
                order = self._windows.get(int(number), int(window))
                result[chosen] = order[within[chosen] - start]
        return result

    def repeats(self, number: int) -> Ints:
        """How often each sample comes in one pass, int64 (size,): systematic sampling."""
        if self._weights is None:
            return np.ones(self.size, dtype=np.int64)
        seed, source = self._key
        marks = np.cumsum(self._weights) + generator(seed, _REPEATS, source, number).random()
        ends = np.minimum(np.floor(marks).astype(np.int64), self.size)
        ends[-1] = self.size  # whatever the sum was rounded to
        return np.diff(ends, prepend=0)

    def repeats_of_passes(self, n: int) -> Ints:
        """How often each sample comes in the first `n` passes together."""
        if self._weights is None:
            return np.full(self.size, n, dtype=np.int64)
        total = np.zeros(self.size, dtype=np.int64)
        for number in range(n):
            total += self.repeats(number)
        return total

    def _shuffle_shards(self, number: int) -> _Pass:
        seed, source = self._key
        order = generator(seed, _SHARDS, source, number).permutation(len(self._counts))
        counts, members = self._counts, None
        if self._weights is not None:
            repeats = self.repeats(number)
            members = np.repeat(np.arange(self.size), repeats)
            after = np.concatenate([[0], np.cumsum(repeats)])
            counts = np.diff(after[np.concatenate([[0], np.cumsum(self._counts)])])
        ends = np.cumsum(counts[order])
        last = np.arange(len(order)) % self._window_shards == self._window_shards - 1
        last[-1] = True
        return _Pass(order, ends[last], np.cumsum(counts) - counts, counts, members)

    def _shuffle_window(self, number: int, window: int) -> Ints:
        seed, source = self._key
        one = self._passes.get(number)
        shards = one.order[window * self._window_shards :][: self._window_shards]
        # By shard number, so that the permutation alone decides the order.
        places = [one.starts[s] + np.arange(one.counts[s]) for s in np.sort(shards)]
        rng = generator(seed, _WINDOW, source, number, window)
        shuffled: Ints = rng.permutation(np.concatenate(places))
        return shuffled if one.members is None else one.members[shuffled]


@dataclass(frozen=True, slots=True)
class StepSamples:
    """The samples of one step in batch order: source numbers and sample numbers, int64 (B,)."""

    step: int
    sources: Ints
    indices: Ints


class Stream:
    """The samples of every step of a run; `counts[k]` holds source k's samples per shard.

    `weights` are the sources' shares of the draws, `draw_weights` those of each source's samples.
    """

    def __init__(
        self,
        counts: Sequence[Ints],
        weights: Sequence[float],
        *,
        batch_size: int,
        seed: int,
        window_shards: int,
        draw_weights: Sequence[Floats | None] | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        drawn = draw_weights or [None] * len(counts)
        self.orders = [
            SourceOrder(c, seed=seed, source=k, window_shards=window_shards, weights=w)
            for k, (c, w) in enumerate(zip(counts, drawn, strict=True))
        ]
        self._quotas = mix_quotas(weights)
        self._blocks: _Cache[Ints] = _Cache(self._shuffle_block)

    def step(self, step: int) -> StepSamples:
        """The samples of `step`, counted from 0."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        sources, draws = self._draws(positions)
        indices = np.empty_like(positions)
        for source, order in enumerate(self.orders):
            mine = sources == source
            if mine.any():
                indices[mine] = order.indices(draws[mine])
        return StepSamples(step, sources, indices)

    def drawn_before(self, step: int) -> Ints:
        """How many draws each source has given before `step`."""
        block, within = divmod(step * self.batch_size, MIX_BLOCK)
        part = self._blocks.get(block)[:within]
        drawn: Ints = block * self._quotas + np.bincount(part, minlength=len(self._quotas))
        return drawn

    def _draws(self, positions: Ints) -> tuple[Ints, Ints]:
        sources, draws = np.empty_like(positions), np.empty_like(positions)
        blocks, within = np.divmod(positions, MIX_BLOCK)
        for number in np.unique(blocks):
            mix = self._blocks.get(int(number))
            mine = blocks == number
            sources[mine] = mix[within[mine]]
            for source, quota in enumerate(self._quotas):
                earlier = np.cumsum(mix == source) - 1 + number * quota
                chosen = mine & (sources == source)
                draws[chosen] = earlier[within[chosen]]
        return sources, draws

    def _shuffle_block(self, number: int) -> Ints:
        mix = np.repeat(np.arange(len(self._quotas)), self._quotas)
        return (
            mix if len(self._quotas) == 1 else generator(self.seed, _MIX, number).permutation(mix)
        )


def mix_quotas(weights: Sequence[float]) -> Ints:
    """Draws of each source in a block of MIX_BLOCK, by largest remainder.

    Raises ConfigError for a weight too small to be met (below 0.01% of the sum).
    """
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights) * MIX_BLOCK
    quotas: Ints = np.floor(shares).astype(np.int64)
    missing = MIX_BLOCK - int(quotas.sum())
    quotas[np.argsort(quotas - shares, kind="stable")[:missing]] += 1
    if quotas.min() < 1:
        raise ConfigError(
            f"weight {weights[int(quotas.argmin())]} is below 1/{MIX_BLOCK} of the sum of weights"
        )
    return quotas


class _Cache(Generic[Built]):
    """The last few results of a pure function of integers."""

    def __init__(self, build: Callable[..., Built]) -> None:
        self._build = build
        self._results: OrderedDict[tuple[int, ...], Built] = OrderedDict()

    def get(self, *arguments: int) -> Built:
        if arguments not in self._results:
            self._results[arguments] = self._build(*arguments)
        self._results.move_to_end(arguments)
        if len(self._results) > _CACHED:
            self._results.popitem(last=False)
        return self._results[arguments]
