"""The ledger of what was seen how often, by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train_clip.data.ledger import count_draws, count_uses, write_entry
from train_clip.data.stream import SourceOrder, Stream


def test_ledger_by_hand() -> None:
    """A pool of 10 with 4 usable samples of which two were drawn twice, one once."""
    entry = write_entry("pool", 10, np.array([2, 0, 1, 2]))
    assert (entry.n_drawn, entry.n_unique, entry.max_repeats) == (5, 3, 2)
    assert entry.mean_repeats == pytest.approx(5 / 3)
    assert entry.unseen_ratio == pytest.approx(0.25)
    assert entry.unseen_pool_ratio == pytest.approx(0.7)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 40))
def test_ledger_counts_what_was_drawn(counts: list[int], n_drawn: int) -> None:
    order = SourceOrder(np.array(counts), seed=2, source=0, window_shards=2)
    drawn = order.indices(np.arange(n_drawn))
    expected = np.bincount(drawn, minlength=order.size)
    assert count_draws(order, n_drawn, []).tolist() == expected.tolist()


def test_ledger_adjusts_for_replaced_samples() -> None:
    stream = Stream([np.array([4]), np.array([2])], [1, 1], batch_size=6, seed=0, window_shards=1)
    drawn = np.array([4, 2])
    uses = count_uses(stream.orders, drawn, {(0, 3): -1, (0, 1): 1, (1, 0): 0})
    first, second = (write_entry(*one) for one in zip("ab", [4, 2], uses, strict=True))
    assert (first.n_drawn, first.n_unique, first.max_repeats) == (4, 3, 2)
    assert (second.n_drawn, second.n_unique) == (2, 2)
