"""How often samples are drawn, by how many others show the same entities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train_clip.data.flat.classes import ClassStore
from train_clip.settings import ClassSampling

_EXPONENT: dict[ClassSampling, float] = {"sqrt": 0.5, "uniform": 0.0}


def draw_weights(
    store: ClassStore, n_classes: int, sampling: ClassSampling
) -> NDArray[np.float64] | None:
    """How often each sample comes in a pass on average, float64 (n,), whose sum is n.

    A class is drawn in proportion to its number of samples to the power 1/2 (`sqrt`) or 0
    (`uniform`), then one of its samples; one with several classes may come by each. None stands
    for every sample once (`natural`).
    """
    if sampling == "natural":
        return None
    counts = store.count(n_classes).astype(np.float64)
    shares = np.where(counts > 0, np.maximum(counts, 1) ** _EXPONENT[sampling], 0.0)
    per_label = (shares / np.maximum(counts, 1))[store.classes]
    owners = np.repeat(np.arange(len(store.ends)), store.per_sample)
    weights = np.bincount(owners, weights=per_label, minlength=len(store.ends))
    scaled: NDArray[np.float64] = weights * (len(weights) / weights.sum())
    return scaled
