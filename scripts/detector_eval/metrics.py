"""How well text-area ratios separate, rank and measure: plain functions of arrays of ratios."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What a filter with `--max-text-area threshold` does: an image is removed above it.

    `precision` is the share of removed images that are positives, `recall` the share of positives
    that are removed, `removed` the share of all images; each None where its base is empty.
    """

    threshold: float
    n_positive: int
    precision: float | None
    recall: float | None
    removed: float | None


def auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """The chance that a random positive scores above a random negative; ties count half.

    >>> auc([0.3, 0.1], [0.1, 0.0])
    0.875
    """
    high, low = _floats(positives), _floats(negatives)
    difference = high[:, None] - low[None, :]
    return float((np.sign(difference) / 2 + 0.5).mean())


def paired_win_rate(positives: ArrayLike, negatives: ArrayLike) -> float:
    """The share of pairs in which the positive scores above its own negative; ties count half.

    >>> paired_win_rate([0.3, 0.1, 0.0], [0.1, 0.1, 0.2])
    0.5
    """
    high, low = _same_length(positives, negatives)
    return float((np.sign(high - low) / 2 + 0.5).mean())


def share_above(ratios: ArrayLike, threshold: float) -> float:
    """The share of ratios that exceed `threshold`."""
    return float((_floats(ratios) > threshold).mean())


def correlation(measured: ArrayLike, truth: ArrayLike) -> float | None:
    """Pearson's correlation; None where either side does not vary."""
    x, y = _same_length(measured, truth)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def mean_absolute_error(measured: ArrayLike, truth: ArrayLike) -> float:
    x, y = _same_length(measured, truth)
    return float(np.abs(x - y).mean())


def bias(measured: ArrayLike, truth: ArrayLike) -> float:
    """Mean of measured minus true: positive where areas are overestimated."""
    x, y = _same_length(measured, truth)
    return float((x - y).mean())


def agreement(first: ArrayLike, second: ArrayLike, tolerance: float) -> float:
    """The share of images whose two ratios differ by at most `tolerance`."""
    x, y = _same_length(first, second)
    return float((np.abs(x - y) <= tolerance).mean())


def operating_point(
    ratios: ArrayLike, is_positive: ArrayLike, *, threshold: float
) -> OperatingPoint:
    """Precision and recall of removing every image with a ratio above `threshold`.

    >>> operating_point([0.0, 0.1, 0.2, 0.3], [True, False, True, True], threshold=0.05)
    OperatingPoint(threshold=0.05, n_positive=3, precision=0.667, recall=0.667, removed=0.75)
    """
    removed = _floats(ratios) > threshold
    positive = np.asarray(is_positive, dtype=bool)
    if removed.shape != positive.shape:
        raise ValueError(f"expected {len(removed)} labels, one per ratio, got {positive.shape}")
    n_hits = int((removed & positive).sum())
    return OperatingPoint(
        threshold=threshold,
        n_positive=int(positive.sum()),
        precision=_share(n_hits, int(removed.sum())),
        recall=_share(n_hits, int(positive.sum())),
        removed=_share(int(removed.sum()), len(removed)),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None


def _floats(values: ArrayLike) -> _Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"expected a list of at least one ratio, got shape {array.shape}")
    return array


def _same_length(first: ArrayLike, second: ArrayLike) -> tuple[_Floats, _Floats]:
    x, y = _floats(first), _floats(second)
    if len(x) != len(y):
        raise ValueError(f"expected two lists of one length, got {len(x)} and {len(y)}")
    return x, y
