"""The samples of a step depend on (seed, step) alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train_clip.data.stream import (
    MIX_BLOCK,
    SourceOrder,
    Stream,
    augment_generator,
    generator,
    mix_quotas,
    substitute,
)
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


def test_the_order_is_that_of_earlier_versions() -> None:
    """A run that is resumed after an update goes on with the samples that it would have seen."""
    counts = np.array([2, 3, 1, 2, 1])
    order = SourceOrder(counts, seed=7, source=1, window_shards=2)
    two_passes = [[6, 5, 7, 3, 2, 8, 4, 0, 1], [5, 8, 1, 0, 7, 6, 2, 3, 4]]
    assert order.indices(np.arange(18)).reshape(2, 9).tolist() == two_passes
    weights = np.array([0.5, 1.5, 1, 1, 0.25, 1.75, 2, 0.5, 0.5])
    order = SourceOrder(counts, seed=7, source=1, window_shards=2, weights=weights)
    two_passes = [[6, 5, 5, 6, 3, 2, 8, 1, 1], [5, 5, 8, 1, 1, 6, 6, 3, 2]]
    assert order.indices(np.arange(18)).reshape(2, 9).tolist() == two_passes


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


def test_sources_of_equal_shape_are_shuffled_apart() -> None:
    orders = [
        SourceOrder(np.array([50, 50]), seed=0, source=source, window_shards=1).indices(
            np.arange(100)
        )
        for source in (0, 1)
    ]
    assert orders[0].tolist() != orders[1].tolist()


def test_windows_and_shards_are_shuffled() -> None:
    """Equal windows are in orders of their own, and neither is the order of the tar."""
    order = SourceOrder(np.array([30] * 6), seed=0, source=0, window_shards=1)
    drawn = order.indices(np.arange(180)).reshape(6, 30)
    assert len({tuple(window % 30) for window in drawn}) == 6
    assert tuple(range(30)) not in {tuple(window % 30) for window in drawn}
    shards = [
        [int(w[0]) // 30 for w in order.indices(np.arange(180) + 180 * n).reshape(6, 30)]
        for n in range(4)
    ]
    assert all(sorted(one) == list(range(6)) for one in shards)
    assert len({tuple(one) for one in shards}) == 4


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_mixes_the_shards_that_it_holds(window: int) -> None:
    order = SourceOrder(np.array([40] * 5), seed=3, source=0, window_shards=window)
    shards = order.indices(np.arange(200)) // 40
    windows = [shards[start : start + 40 * window] for start in range(0, 200, 40 * window)]
    assert [len(set(one.tolist())) for one in windows[:-1]] == [window] * (len(windows) - 1)
    assert len(set(windows[-1].tolist())) == (5 % window or window)
    if window > 1:
        assert len(set(windows[0][:40].tolist())) == window


def test_a_source_is_drawn_to_its_end_before_it_begins_anew() -> None:
    """Also where a block of the mixture ends, and for each of the sources."""
    mixed = Stream(
        [np.array([4000]), np.array([2000, 1000])],
        [1, 3],
        batch_size=1000,
        seed=0,
        window_shards=1,
    )
    steps = [mixed.step(s) for s in range(30)]
    for source, size in ((0, 4000), (1, 3000)):
        drawn = np.concatenate([s.indices[s.sources == source] for s in steps])
        for start in range(0, len(drawn) - size, size):
            assert sorted(drawn[start : start + size].tolist()) == list(range(size))


def test_randomness_depends_on_each_of_its_arguments_and_on_nothing_else() -> None:
    def first(rng: np.random.Generator) -> float:
        return float(rng.random())

    made = [first(generator(*key)) for key in ((0, 0), (1, 0), (0, 1), (0, 0, 1), (0, 0, 0, 1))]
    augmented = [first(augment_generator(*key)) for key in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert len({*made, *augmented}) == 9
    assert first(generator(0, 0, 1)) == made[3] and first(augment_generator(1, 1)) == augmented[3]


def test_substitutes_are_drawn_anew_for_each_attempt_from_the_whole_source() -> None:
    tried = [substitute(0, 5, attempt, 10) for attempt in range(200)]
    assert set(tried) == set(range(10))
    assert tried != [substitute(0, 6, attempt, 10) for attempt in range(200)]
    assert tried != [substitute(1, 5, attempt, 10) for attempt in range(200)]
    assert tried == [substitute(0, 5, attempt, 10) for attempt in range(200)]


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


def test_sources_are_mixed_within_a_block_and_anew_in_each() -> None:
    mixed = Stream(
        [np.array([50]), np.array([50])], [1, 1], batch_size=100, seed=0, window_shards=1
    )
    steps = [mixed.step(s).sources for s in range(2 * MIX_BLOCK // 100)]
    assert all(25 <= step.sum() <= 75 for step in steps)
    assert len({tuple(step.tolist()) for step in steps}) == len(steps)


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
