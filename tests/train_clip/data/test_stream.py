"""The samples of a step depend on (seed, step) alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train_clip.data.stream import MIX_BLOCK, SourceOrder, Stream, mix_quotas
from train_clip.errors import ConfigError

COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def stream(*counts: list[int], seed: int = 0, batch: int = 8, window: int = 2) -> Stream:
    arrays = [np.array(one) for one in counts]
    weights = [float(one.sum()) for one in arrays]
    return Stream(arrays, weights, batch_size=batch, seed=seed, window_shards=window)


@given(COUNTS, st.integers(1, 4), st.integers(0, 99))
def test_each_pass_sees_every_sample_once(counts: list[int], window: int, seed: int) -> None:
    order = SourceOrder(np.array(counts), seed=seed, source=0, window_shards=window)
    for number in range(3):
        drawn = order.indices(np.arange(number * order.size, (number + 1) * order.size))
        assert sorted(drawn.tolist()) == list(range(order.size))


@given(COUNTS, st.integers(1, 4))
def test_a_window_reads_few_shards_at_a_time(counts: list[int], window: int) -> None:
    order = SourceOrder(np.array(counts), seed=1, source=0, window_shards=window)
    shard_of = np.repeat(np.arange(len(counts)), counts)[order.indices(np.arange(order.size))]
    last_seen = {shard: n for n, shard in enumerate(shard_of)}
    for n in range(len(shard_of)):
        still_open = {s for s in shard_of[: n + 1] if last_seen[s] > n}
        assert len(still_open) <= window


@settings(max_examples=30)
@given(COUNTS, COUNTS, st.integers(0, 9))
def test_steps_do_not_depend_on_what_was_asked_before(
    first: list[int], second: list[int], seed: int
) -> None:
    forward, backward = stream(first, second, seed=seed), stream(first, second, seed=seed)
    steps = {s: forward.step(s) for s in range(12)}
    for s in reversed(range(12)):
        again = backward.step(s)
        assert again.indices.tolist() == steps[s].indices.tolist()
        assert again.sources.tolist() == steps[s].sources.tolist()


def test_batch_size_only_cuts_the_sequence() -> None:
    whole = np.concatenate([stream([9, 5, 7], batch=12).step(s).indices for s in range(4)])
    small = np.concatenate([stream([9, 5, 7], batch=4).step(s).indices for s in range(12)])
    assert whole.tolist() == small.tolist()


def test_seeds_and_passes_differ() -> None:
    one = SourceOrder(np.array([50, 50]), seed=0, source=0, window_shards=2)
    two = SourceOrder(np.array([50, 50]), seed=1, source=0, window_shards=2)
    draws = np.arange(100)
    assert one.indices(draws).tolist() != two.indices(draws).tolist()
    assert one.indices(draws).tolist() != one.indices(draws + 100).tolist()


def test_weights_are_met_exactly_in_every_block() -> None:
    mixed = Stream(
        [np.array([10]), np.array([1000])],
        [0.3, 0.1],
        batch_size=MIX_BLOCK // 10,
        seed=0,
        window_shards=1,
    )
    sources = np.concatenate([mixed.step(s).sources for s in range(20)])
    assert Counter(sources[:MIX_BLOCK].tolist()) == {0: 7500, 1: 2500}
    assert Counter(sources[MIX_BLOCK:].tolist()) == {0: 7500, 1: 2500}


def test_a_small_source_comes_round_evenly() -> None:
    mixed = Stream(
        [np.array([10]), np.array([1000])], [1, 1], batch_size=100, seed=0, window_shards=1
    )
    steps = [mixed.step(s) for s in range(MIX_BLOCK // 100)]
    small = np.concatenate([s.indices[s.sources == 0] for s in steps])
    assert set(Counter(small.tolist()).values()) == {MIX_BLOCK // 2 // 10}


@given(st.integers(0, 3000))
def test_draws_before_a_step_are_what_was_drawn(step: int) -> None:
    mixed = stream([3, 4], [5], [2, 2], batch=8)
    counted = mixed.drawn_before(step)
    assert counted.sum() == step * 8
    if step < 30:
        drawn = [mixed.step(s).sources for s in range(step)]
        brute = np.bincount(np.concatenate([np.empty(0, dtype=int), *drawn]), minlength=3)
        assert counted.tolist() == brute.tolist()


def test_quotas_by_hand() -> None:
    assert mix_quotas([1, 1, 1]).tolist() == [3334, 3333, 3333]
    assert mix_quotas([2, 6]).tolist() == [2500, 7500]
    with pytest.raises(ConfigError, match="below"):
        mix_quotas([1, 1e-6])
