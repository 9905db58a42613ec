"""Image-text retrieval where an image may have several captions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

KS = (1, 5, 10)
_ROWS_AT_ONCE = 1024


def image_ranks(images: Floats, texts: Floats, owners: Ints) -> Ints:
    """Rank (0 is best) of each image's best own caption among all captions, int64 (n,).

    `images` (n, d) and `texts` (m, d) are unit vectors; caption j belongs to image owners[j].
    Foreign captions that score exactly as high count as better, so that a collapsed model (all
    embeddings equal) earns nothing.
    """
    ranks = np.empty(len(images), dtype=np.int64)
    for start in range(0, len(images), _ROWS_AT_ONCE):
        scores = images[start : start + _ROWS_AT_ONCE] @ texts.T
        own = owners[None, :] == np.arange(start, start + len(scores))[:, None]
        best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[start : start + len(scores)] = ((scores >= best) & ~own).sum(axis=1)
    return ranks


def text_ranks(images: Floats, texts: Floats, owners: Ints) -> Ints:
    """Rank (0 is best) of each caption's image among all images, int64 (m,); ties as above."""
    ranks = np.empty(len(texts), dtype=np.int64)
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        scores = texts[start : start + _ROWS_AT_ONCE] @ images.T
        own = owners[start : start + len(scores)]
        best = scores[np.arange(len(scores)), own][:, None]
        ranks[start : start + len(scores)] = (scores >= best).sum(axis=1) - 1
    return ranks


def recalls(prefix: str, ranks: Ints) -> dict[str, float]:
    """R@1, R@5 and R@10 in [0, 1] under `prefix`.

    >>> recalls("t2i", np.array([0, 4, 9, 10]))
    {'t2i_R@1': 0.25, 't2i_R@5': 0.5, 't2i_R@10': 0.75}
    """
    return {f"{prefix}_R@{k}": float((ranks < k).mean()) for k in KS}
