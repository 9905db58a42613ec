"""k nearest neighbours' votes on an image's class, by cosine, as scikit-learn counts them.

All k count the same; among classes with equally many votes the lowest label wins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attr_builder.evaluation.embeddings import Ints
from attr_builder.evaluation.image_retrieval.ranking import Vectors, score_blocks

K = 20


def vote(queries: Vectors, index: Vectors, labels: Ints, *, k: int = K) -> Ints:
    """The label that most of the `k` nearest vectors of `index` (n, d) have, for each query (m,).

    Vectors are unit ones and `labels` (n,) the index's. Fewer than k vectors all vote.
    """
    voted = np.empty(len(queries), dtype=np.int64)
    for start, block in score_blocks(queries, index):
        voted[start : start + len(block)] = _votes(block, labels, k)
    return voted


def vote_leaving_out(
    vectors: Vectors, labels: Ints, *, k: int = K, n_queries: int | None = None
) -> Ints:
    """The votes of each vector's `k` nearest others (n,), or of the first `n_queries`.

    Needs two vectors.
    """
    queries = vectors[:n_queries]
    voted = np.empty(len(queries), dtype=np.int64)
    for start, block in score_blocks(queries, vectors):
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        voted[start : start + len(block)] = _votes(block, labels, min(k, len(vectors) - 1))
    return voted


def _votes(block: NDArray[np.float32], labels: Ints, k: int) -> list[int]:
    k = min(k, block.shape[1])
    first = block.shape[1] - k
    return [int(np.bincount(labels[np.argpartition(row, first)[first:]]).argmax()) for row in block]
