"""How often each sample of each source was seen: the repetition ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from train_clip.data.stream import Ints, SourceOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One source's account.

    `n_unique` counts the different samples seen; `mean_repeats` is n_drawn / n_unique.
    `unseen_ratio` is the share of the usable samples never seen, `unseen_pool_ratio` the same of
    all samples before filtering.
    """

    data: str
    pool_size: int
    n_usable: int
    n_drawn: int
    n_unique: int
    mean_repeats: float
    max_repeats: int
    unseen_ratio: float
    unseen_pool_ratio: float


def count_draws(order: SourceOrder, n_drawn: int, adjustments: Iterable[tuple[int, int]]) -> Ints:
    """How often each sample was used, int64 (size,): the planned draws, then the adjustments."""
    passes, rest = divmod(n_drawn, order.size)
    counts = order.repeats_of_passes(passes)
    if rest:
        np.add.at(counts, order.indices(np.arange(passes * order.size, n_drawn)), 1)
    for index, change in adjustments:
        counts[index] += change
    return counts


def write_entry(data: str, pool_size: int, counts: Ints) -> LedgerEntry:
    """Summarise how often each usable sample of one source was used."""
    drawn, unique, size = int(counts.sum()), int((counts > 0).sum()), len(counts)
    return LedgerEntry(
        data=data,
        pool_size=pool_size,
        n_usable=size,
        n_drawn=drawn,
        n_unique=unique,
        mean_repeats=drawn / unique if unique else 0.0,
        max_repeats=int(counts.max()),
        unseen_ratio=1 - unique / size,
        unseen_pool_ratio=1 - unique / pool_size,
    )


def count_uses(
    orders: Sequence[SourceOrder], drawn: Ints, adjustments: Mapping[tuple[int, int], int]
) -> list[Ints]:
    """How often each sample of each source was used."""
    uses = []
    for source, order in enumerate(orders):
        mine = [(index, change) for (s, index), change in adjustments.items() if s == source]
        uses.append(count_draws(order, int(drawn[source]), mine))
    return uses
