"""The measures that follow from a model's answers, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from attr_builder.evaluation.outcomes import Predictions, compute_metrics
from attr_builder.labelled_images.classes import ClassList


def predictions(top: list[int], labels: list[int], attacks: list[int]) -> Predictions:
    n = len(top)
    order = [[t, *[c for c in range(6) if c != t]][:5] for t in top]
    return Predictions(
        rows=np.arange(n),
        labels=np.array(labels),
        attack_labels=np.array(attacks),
        clusters=[f"photo{i}" for i in range(n)],
        top=np.array(order),
        true_cosine=np.linspace(0.1, 0.3, n).astype(np.float32),
        attack_cosine=np.full(n, 0.2, dtype=np.float32),
    )


def test_attack_measures_by_hand() -> None:
    classes = ClassList(tuple("abcdef"), ("cat", "dog", "fox", "emu", "hen", "Hen"))
    #                  right, fooled, other wrong, fooled by the twin name, no-op
    attacked = predictions([0, 1, 3, 5, 5], [0, 0, 0, 1, 4], [1, 1, 1, 4, 5])
    clean = predictions([0, 0, 3, 1, 4], [0, 0, 0, 1, 4], [1, 1, 1, 4, 5])
    metrics = compute_metrics(attacked, classes, clean)
    assert metrics.n_noop == 1
    assert metrics.top1.value == pytest.approx(1 / 5)
    assert metrics.attack_success is not None and metrics.attack_success.n == 4
    assert metrics.attack_success.value == pytest.approx(2 / 4)
    among = metrics.attack_success_when_clean_right
    assert among is not None and among.n == 3
    assert among.value == pytest.approx(2 / 3)
    assert metrics.pairwise_wins is not None
    assert metrics.pairwise_wins.value == pytest.approx(1 / 4)
    assert metrics.drop is not None
    assert (metrics.drop.n_lost, metrics.drop.n_gained) == (3, 0)
    assert metrics.drop.value == pytest.approx(3 / 5)
    # attacked rows win the choice on photo 4 alone (a no-op), clean rows are equal: nothing lost
    assert metrics.pairwise_drop is not None and metrics.pairwise_drop.n == 4
    assert metrics.pairwise_drop.value == 0 and metrics.n_without_twin == 0
    assert metrics.pairwise_losses_when_clean_won is not None
    assert metrics.pairwise_losses_when_clean_won.n == 1


def test_the_choice_is_paired_with_the_twin_that_knows_the_same_word() -> None:
    classes = ClassList(tuple("abcdef"), ("cat", "dog", "fox", "emu", "hen", "Hen"))
    attacked = predictions([0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 2, 1])
    attacked.true_cosine[:] = [0.1, 0.3, 0.1, 0.1]  # lost, won, lost, lost
    clean = predictions([0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, -1])
    clean.true_cosine[:] = [0.3, 0.1, 0.3, 0.3]  # won, lost, won against another word, no word
    metrics = compute_metrics(attacked, classes, clean)
    drop = metrics.pairwise_drop
    assert drop is not None and (drop.n, drop.n_lost, drop.n_gained) == (2, 1, 1)
    lost = metrics.pairwise_losses_when_clean_won
    assert lost is not None and (lost.n, lost.value) == (1, 1)
    assert metrics.drop is not None and metrics.drop.n == 4
    plain = predictions([0, 0], [0, 0], [-1, -1])
    assert compute_metrics(attacked, classes, plain).pairwise_drop is None
