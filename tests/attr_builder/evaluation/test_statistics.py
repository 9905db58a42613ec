"""Rates, intervals and paired tests, against published values and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attr_builder.evaluation.statistics import (
    bootstrap_interval,
    compare_outcomes,
    mcnemar_p,
    mean_per_class_recall,
    paired_drop,
    rate,
    spread,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_newcombes_table(hits: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(hits / n, n) == pytest.approx((low, high), abs=5e-5)


def test_mcnemar_equals_the_exact_binomial_test() -> None:
    from scipy.stats import binomtest

    for lost, gained in ((0, 0), (5, 0), (10, 2), (2, 10), (121, 59), (4000, 3900)):
        n = lost + gained
        expected = binomtest(lost, n, 0.5).pvalue if n else 1.0
        assert mcnemar_p(lost, gained) == pytest.approx(expected, rel=1e-8)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_rate_without_repeats_is_plain_wilson(hits: list[bool]) -> None:
    array = np.array(hits)
    clustered = rate(array, [str(i) for i in range(len(hits))])
    assert clustered == rate(array)
    assert clustered.low <= clustered.value <= clustered.high


def test_repeating_every_photo_does_not_narrow_the_interval() -> None:
    hits = np.array([True] * 30 + [False] * 70)
    once = rate(hits)
    keys = [str(i) for i in range(100)] * 5
    five_times = rate(np.tile(hits, 5), keys)
    assert five_times.value == once.value
    assert five_times.high - five_times.low == pytest.approx(once.high - once.low, rel=0.02)
    careless = rate(np.tile(hits, 5))
    assert careless.high - careless.low < 0.5 * (five_times.high - five_times.low)


def test_clustered_intervals_cover_the_truth() -> None:
    random = np.random.default_rng(0)
    covered = 0
    keys = [str(i) for i in range(60) for _ in range(4)]
    for _ in range(300):
        chance = random.beta(1, 1, 60)  # photos differ: mean 0.5
        hits = random.random((60, 4)) < chance[:, None]
        interval = rate(hits.ravel(), keys)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.92 <= covered / 300 <= 0.98


def test_extreme_shares_count_photos_not_rows() -> None:
    keys = ["a", "a", "b", "b", "c", "c"]
    assert rate(np.ones(6, dtype=bool), keys).low == wilson_interval(1.0, 3)[0]


def test_paired_drop_counts_both_directions() -> None:
    before = np.array([True, True, True, False, False])
    after = np.array([True, False, False, True, False])
    drop = paired_drop(before, after)
    assert (drop.value, drop.n_lost, drop.n_gained, drop.test) == (0.2, 2, 1, "McNemar exact")
    assert drop.p_value == mcnemar_p(2, 1)
    assert -1 <= drop.low <= drop.value <= drop.high <= 1


def test_paired_drop_of_shares_is_a_z_test() -> None:
    before, after = np.array([0.5, 0.9, 0.2, 1.0, 0.4]), np.array([0.4, 0.9, 0.6, 0.5, 0.2])
    drop = paired_drop(before, after)
    gaps = before - after
    error = gaps.std(ddof=1) / math.sqrt(5)
    assert drop.value == pytest.approx(0.08) and (drop.n_lost, drop.n_gained) == (3, 1)
    assert drop.p_value == pytest.approx(math.erfc(0.08 / error / math.sqrt(2)))
    assert drop.high == pytest.approx(0.08 + 1.959963984540054 * error)


def test_paired_drop_of_repeated_photos_uses_a_clustered_test() -> None:
    before, after = np.array([True, False] * 20), np.array([False, False] * 20)
    once = paired_drop(before, after)
    keys = [str(i) for i in range(40)] * 3
    thrice = paired_drop(np.tile(before, 3), np.tile(after, 3), keys)
    assert thrice.test == "cluster-robust z"
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.02)


def test_empty_inputs_give_nan_not_errors() -> None:
    nothing = np.empty(0, dtype=bool)
    assert math.isnan(rate(nothing).value) and math.isnan(paired_drop(nothing, nothing).value)
    assert math.isnan(mean_per_class_recall(np.empty(0, dtype=np.int64), nothing))


def test_recall_weighs_classes_equally() -> None:
    labels = np.array([7, 7, 7, 9])
    assert mean_per_class_recall(labels, np.array([True, True, False, False])) == pytest.approx(
        1 / 3
    )


def test_spread_of_one_seed_is_not_known() -> None:
    assert spread([0.5]).mean == 0.5
    assert math.isnan(spread([0.5]).deviation)


def test_difference_by_hand() -> None:
    base = np.array([True, True, False, False])
    arm = np.array([True, False, True, True])
    found = compare_outcomes([base], [arm], ["a", "b", "c", "d"])
    assert found.mean == pytest.approx(0.25)
    assert (found.tests[0].n_lost, found.tests[0].n_gained) == (1, 2)
    assert found.tests[0].p_value == 1.0
    assert found.low <= 0.25 <= found.high


def test_bootstrap_matches_the_normal_interval() -> None:
    rng = np.random.default_rng(3)
    gains = rng.choice([-1.0, 0.0, 1.0], size=(1, 2000), p=[0.1, 0.7, 0.2])
    low, high = bootstrap_interval(gains, [str(n) for n in range(2000)])
    half = 1.96 * gains.std() / math.sqrt(2000)
    assert low == pytest.approx(gains.mean() - half, abs=0.003)
    assert high == pytest.approx(gains.mean() + half, abs=0.003)


def test_repeated_items_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    gains = np.repeat(rng.choice([-1.0, 0.0, 1.0], size=(1, 200)), 5, axis=1)
    apart = bootstrap_interval(gains, [str(n) for n in range(1000)])
    together = bootstrap_interval(gains, [str(n // 5) for n in range(1000)])
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_equal_arms_differ_by_exactly_nothing() -> None:
    right = np.array([True, False, True])
    found = compare_outcomes([right] * 2, [right] * 2, ["a", "b", "c"])
    assert (found.mean, found.low, found.high) == (0, 0, 0)
