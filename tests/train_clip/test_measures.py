"""Retrieval, the ledger and the comparison's statistics, by hand and by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attr_builder.evaluation.retrieval import image_ranks, recalls, text_ranks
from train_clip.data.ledger import balance, count_draws, write_entry
from train_clip.data.stream import SourceOrder, Stream
from train_clip.statistics import bootstrap_interval, compare_outcomes, spread


def test_retrieval_by_hand() -> None:
    """Three images on the axes; captions 0, 1 -> image 0, 2 -> image 1, 3 -> image 2."""
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[0.1, 0.9, 0], [0.8, 0.6, 0], [0.9, 0.3, 0], [0, 0, 1]], dtype=np.float32)
    owners = np.array([0, 0, 1, 2])
    # Image 0: best own caption scores 0.8, caption 2 scores 0.9 -> rank 1.
    # Image 1: own caption 0.3; captions 0 (0.9) and 1 (0.6) are better -> rank 2.
    assert image_ranks(images, texts, owners).tolist() == [1, 2, 0]
    # Captions: 0 prefers image 1, 1 prefers its own, 2 prefers image 0, 3 its own.
    assert text_ranks(images, texts, owners).tolist() == [1, 0, 1, 0]
    assert recalls("i2t", np.array([1, 2, 0]))["i2t_R@1"] == pytest.approx(1 / 3)


def test_a_collapsed_model_earns_nothing() -> None:
    same = np.full((30, 4), 0.5, dtype=np.float32)
    owners = np.arange(30)
    assert recalls("x", image_ranks(same, same, owners))["x_R@10"] == 0
    assert recalls("x", text_ranks(same, same, owners))["x_R@10"] == 0


def test_one_caption_each_equals_open_clips_formula() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(50, 8)).astype(np.float32)
    texts = (images + 2 * rng.normal(size=(50, 8))).astype(np.float32)
    ranking = np.argsort(-(images @ texts.T), axis=1)
    expected = np.where(ranking == np.arange(50)[:, None])[1]
    assert image_ranks(images, texts, np.arange(50)).tolist() == expected.tolist()
    ranking = np.argsort(-(texts @ images.T), axis=1)
    expected = np.where(ranking == np.arange(50)[:, None])[1]
    assert text_ranks(images, texts, np.arange(50)).tolist() == expected.tolist()


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
    first, second = balance(
        stream.orders, drawn, ["a", "b"], [4, 2], {(0, 3): -1, (0, 1): 1, (1, 0): 0}
    )
    assert (first.n_drawn, first.n_unique, first.max_repeats) == (4, 3, 2)
    assert (second.n_drawn, second.n_unique) == (2, 2)


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
