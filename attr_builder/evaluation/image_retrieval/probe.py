"""A linear probe: logistic regression on frozen embeddings, by scikit-learn.

The regularisation is chosen on a part of the training images, never on the test images; then the
probe is fitted to all training images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attr_builder.errors import UsageError
from attr_builder.evaluation.embeddings import Floats, Ints
from attr_builder.evaluation.image_retrieval.ranking import Vectors

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Inverse strengths of the L2 penalty that are tried (scikit-learn's C)."""
_MAX_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe says of the test vectors (m,), and the inverse strength that was chosen."""

    predicted: Ints
    strength: float


def halves(labels: Ints) -> np.ndarray:
    """A mask (n,) of every other image of each class, in order: the first, the third, …

    >>> halves(np.array([0, 1, 0, 0, 1])).tolist()
    [True, True, False, True, False]
    """
    seen: dict[int, int] = {}
    mask = np.empty(len(labels), dtype=bool)
    for row, label in enumerate(labels.tolist()):
        mask[row] = seen.get(label, 0) % 2 == 0
        seen[label] = seen.get(label, 0) + 1
    return mask


def fit_probe(
    train: Vectors, labels: Ints, test: Vectors, strengths: Sequence[float] = STRENGTHS
) -> Probe:
    """Train on unit vectors (n, d) with `labels` (n,), choosing the strength, and predict `test`.

    The strength is the one most accurate on every other image of each class after fitting the
    rest; the strongest penalty wins ties. Raises UsageError without scikit-learn, or where fewer
    than two classes are to be told apart.
    """
    fitted = halves(labels)
    known = np.asarray(train)
    if len(np.unique(labels[fitted])) < 2:
        raise UsageError("a linear probe needs two classes")
    chosen = strengths[0]
    if not fitted.all():
        held_out, truth = known[~fitted], labels[~fitted]
        scores = [
            float((_fit(known[fitted], labels[fitted], c).predict(held_out) == truth).mean())
            for c in strengths
        ]
        chosen = strengths[int(np.argmax(scores))]
    return Probe(_fit(known, labels, chosen).predict(np.asarray(test)), chosen)


def _fit(vectors: Floats, labels: Ints, strength: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise UsageError(
            "the linear probe needs scikit-learn. Install it with `pip install 'lesstext[probe]'`."
        ) from error
    return LogisticRegression(C=strength, max_iter=_MAX_STEPS).fit(vectors, labels)
