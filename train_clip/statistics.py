"""How sure is a difference between two arms: spread over seeds, paired bootstrap, McNemar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attr_builder.evaluation.statistics import PairedDrop, paired_drop

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

N_RESAMPLES = 4000
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation over seeds (NaN with one seed), and the values."""

    mean: float
    deviation: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Arm minus baseline on the same items: mean, and its 95% paired bootstrap interval.

    `tests` holds one exact McNemar test (cluster-robust where items repeat) per seed.
    """

    mean: float
    low: float
    high: float
    tests: tuple[PairedDrop, ...]


def spread(values: Sequence[float]) -> Spread:
    """Summarise one number per seed.

    >>> spread([1.0, 3.0])
    Spread(mean=2.0, deviation=1.4142135623730951, values=(1.0, 3.0))
    """
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation, tuple(values))


def compare_outcomes(
    baseline: Sequence[Bools], arm: Sequence[Bools], items: Sequence[str]
) -> Difference:
    """Compare outcomes per seed, each bool (n,), on the same `items` in the same order.

    Items of one name (the captions of one image) are resampled together.
    """
    gains = np.stack([a.astype(float) - b for b, a in zip(baseline, arm, strict=True)])
    low, high = bootstrap_interval(gains, items)
    tests = [paired_drop(b, a, items) for b, a in zip(baseline, arm, strict=True)]
    return Difference(float(gains.mean()), low, high, tuple(tests))


def bootstrap_interval(gains: Floats, items: Sequence[str]) -> tuple[float, float]:
    """95% percentile interval of the mean of `gains` (seeds, n), resampling items and seeds.

    With one seed only the items are resampled: the interval then speaks of these two trainings,
    not of training again.
    """
    names, cluster = np.unique(np.asarray(items), return_inverse=True)
    sizes = np.bincount(cluster).astype(np.float64)
    sums = np.stack([np.bincount(cluster, weights=row) for row in gains])
    rng = np.random.default_rng(0)
    n_seeds, n_clusters = len(gains), len(names)
    means = []
    for _ in range(0, N_RESAMPLES, _AT_ONCE):
        drawn = rng.integers(n_clusters, size=(_AT_ONCE, n_clusters))
        seeds = rng.integers(n_seeds, size=(_AT_ONCE, n_seeds))
        per_seed = sums[:, drawn].sum(axis=2) / sizes[drawn].sum(axis=1)
        means.append(np.take_along_axis(per_seed.T, seeds, axis=1).mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)
