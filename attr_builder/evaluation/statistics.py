"""Rates with intervals, paired tests, recall, differences over seeds: pure functions of arrays.

Where several rows come from one photo (several attack words or captions each), rows are not
independent: every interval here takes `clusters` or `items` and widens accordingly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Outcomes = Bools | Floats
"""Right or wrong, or a share in [0, 1], of each row."""

N_RESAMPLES = 4000
_RESAMPLES_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Rate:
    """A share in [0, 1] of `n` rows, with its 95% interval; all NaN when `n` is 0."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class PairedDrop:
    """Accuracy before minus accuracy after on the same photos, in [-1, 1], with its 95% interval.

    `n_lost` rows were right before and wrong after, `n_gained` the other way round; where outcomes
    are shares in [0, 1], they were better or worse. `p_value` is two-sided: McNemar's exact test,
    or, for shares and where photos occur several times, a cluster-robust z test, as `test` says.
    """

    value: float
    low: float
    high: float
    n: int
    n_lost: int
    n_gained: int
    p_value: float
    test: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation over seeds (NaN with one seed), and the values."""

    mean: float
    deviation: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Arm minus baseline on the same items: mean, and its 95% paired bootstrap interval.

    `tests` holds one exact McNemar test per seed, cluster-robust where items repeat and for shares.
    """

    mean: float
    low: float
    high: float
    tests: tuple[PairedDrop, ...]


def wilson_interval(value: float, n: float) -> tuple[float, float]:
    """Wilson's 95% score interval for a share `value` of `n` (effective) observations.

    >>> low, high = wilson_interval(0.5, 100)
    >>> round(low, 4), round(high, 4)
    (0.4038, 0.5962)
    """
    if n <= 0:
        return math.nan, math.nan
    z2 = Z_95 * Z_95
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n))
    return max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))


def rate(hits: Bools, clusters: Sequence[str] | None = None) -> Rate:
    """Share of true rows; Wilson with the effective number of rows when clusters repeat."""
    n = len(hits)
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    value = float(np.mean(hits))
    low, high = wilson_interval(value, _effective_n(hits.astype(float), clusters))
    return Rate(value, low, high, n)


def mcnemar_p(n_lost: int, n_gained: int) -> float:
    """Two-sided exact McNemar test: the binomial test of the discordant pairs against 1/2.

    >>> round(mcnemar_p(10, 2), 6)
    0.038574
    """
    n = n_lost + n_gained
    if n == 0:
        return 1.0
    k = np.arange(min(n_lost, n_gained) + 1)
    log_choose = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k]
    return min(1.0, 2 * float(np.exp(np.array(log_choose) - n * math.log(2)).sum()))


def paired_drop(
    before: Outcomes, after: Outcomes, clusters: Sequence[str] | None = None
) -> PairedDrop:
    """Compare two outcomes of the same rows; `before[i]` and `after[i]` belong together."""
    if len(before) != len(after):
        raise ValueError(f"paired rows differ in number: {len(before)} and {len(after)}")
    n = len(before)
    if n == 0:
        return PairedDrop(math.nan, math.nan, math.nan, 0, 0, 0, math.nan, "none")
    lost, gained = int((before > after).sum()), int((before < after).sum())
    difference = before.astype(float) - after.astype(float)
    value = float(difference.mean())
    error = _standard_error(difference, clusters)
    repeats = clusters is not None and len(set(clusters)) < n
    by_z = repeats or before.dtype != np.bool_
    p_value = _z_test_p(value, error) if by_z else mcnemar_p(lost, gained)
    low, high = max(-1.0, value - Z_95 * error), min(1.0, value + Z_95 * error)
    test = "cluster-robust z" if by_z else "McNemar exact"
    return PairedDrop(value, low, high, n, lost, gained, p_value, test)


def mean_per_class_recall(labels: Ints, right: Bools) -> float:
    """Mean over the classes that occur of the share of their rows that is right."""
    if len(labels) == 0:
        return math.nan
    _, inverse = np.unique(labels, return_inverse=True)
    return float(np.mean(np.bincount(inverse, weights=right) / np.bincount(inverse)))


def spread(values: Sequence[float]) -> Spread:
    """Summarise one number per seed.

    >>> spread([1.0, 3.0])
    Spread(mean=2.0, deviation=1.4142135623730951, values=(1.0, 3.0))
    """
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation, tuple(values))


def compare_outcomes(
    baseline: Sequence[Outcomes], arm: Sequence[Outcomes], items: Sequence[str]
) -> Difference:
    """Compare outcomes per seed, each (n,), on the same `items` in the same order.

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
    for _ in range(0, N_RESAMPLES, _RESAMPLES_AT_ONCE):
        drawn = rng.integers(n_clusters, size=(_RESAMPLES_AT_ONCE, n_clusters))
        seeds = rng.integers(n_seeds, size=(_RESAMPLES_AT_ONCE, n_seeds))
        per_seed = sums[:, drawn].sum(axis=2) / sizes[drawn].sum(axis=1)
        means.append(np.take_along_axis(per_seed.T, seeds, axis=1).mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def _z_test_p(value: float, error: float) -> float:
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return math.erfc(abs(value) / error / math.sqrt(2))


def _standard_error(values: Floats, clusters: Sequence[str] | None) -> float:
    """Standard error of the mean when rows of one cluster may depend on each other."""
    n = len(values)
    if n < 2:
        return math.inf
    residual = values - values.mean()
    sums = residual if clusters is None else _cluster_sums(residual, clusters)
    if len(sums) < 2:
        return math.inf
    return math.sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1)) / n


def _cluster_sums(values: Floats, clusters: Sequence[str]) -> Floats:
    _, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(inverse, weights=values).astype(np.float64)


def _effective_n(hits: Floats, clusters: Sequence[str] | None) -> float:
    """Rows divided by the design effect; the number of clusters where the share is 0 or 1."""
    n = len(hits)
    n_clusters = n if clusters is None else len(set(clusters))
    if n_clusters == n:
        return n
    value = float(hits.mean())
    variance = _standard_error(hits, clusters) ** 2
    if not 0 < value < 1 or variance == 0 or math.isinf(variance):
        return n_clusters
    return min(float(n), value * (1 - value) / variance)
