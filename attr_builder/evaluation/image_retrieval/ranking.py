"""Average precision of nearest images, and what random features would get.

AP of a query with R images of its class in the ranking: the mean over these of (rank among the
class) / (rank among all), as GPR1200's official evaluation counts it (Schall et al. 2021). There
the query itself stays in the index and is a hit, almost always the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from attr_builder.evaluation.embeddings import Floats, Ints

Doubles = NDArray[np.float64]


class Vectors(Protocol):
    """Vectors (n, d), or parts of them: an array, or what is made one when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: Any, /) -> Any: ...


_SCORES_AT_ONCE = 2**25
_VECTORS_AT_ONCE = 2**14


def score_blocks(queries: Vectors, index: Vectors) -> Iterator[tuple[int, Floats]]:
    """The dot products of `queries` (m, d) with `index` (n, d), as (first row, block (b, n)).

    Both may be of any precision, or on disk: only parts of them are read at a time. A block holds
    128 MiB at most (or one row) and is written over by the next one.
    """
    n_rows = max(1, min(len(queries), _SCORES_AT_ONCE // len(index)))
    scores = np.empty((n_rows, len(index)), dtype=np.float32)
    for start in range(0, len(queries), n_rows):
        rows = np.asarray(queries[start : start + n_rows], dtype=np.float32)
        block = scores[: len(rows)]
        for column in range(0, len(index), _VECTORS_AT_ONCE):
            part = np.asarray(index[column : column + _VECTORS_AT_ONCE], dtype=np.float32)
            np.matmul(rows, part.T, out=block[:, column : column + len(part)])
        yield start, block


def average_precisions(
    vectors: Vectors,
    labels: Ints,
    on_query: Callable[[int], None] | None = None,
    *,
    n_queries: int | None = None,
) -> tuple[Doubles, Doubles]:
    """AP in [0, 1] of every image as a query among all, with and without itself in the index (n,).

    With `n_queries`, of the first so many images. `vectors` (n, d) are unit vectors with `labels`
    (n,) >= 0. Images of other classes that score exactly as high count as nearer, so that a
    collapsed model earns nothing. Without the query, an image that is alone in its class has NaN.
    """
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max() + 2))
    queries = vectors[:n_queries]
    with_query, without = np.empty((2, len(queries)))
    for start, block in score_blocks(queries, vectors):
        for offset, scores in enumerate(block):
            row = start + offset
            members = order[starts[labels[row]] : starts[labels[row] + 1]]
            own = scores[members]
            scores[members] = -np.inf
            foreign = np.sort(scores[scores >= own.min()])
            with_query[row] = _precision(own, foreign)
            without[row] = _precision(own[members != row], foreign)
        if on_query is not None:
            on_query(len(block))
    return with_query, without


def random_precision(n_class: int, n_images: int, *, with_query: bool) -> float:
    """Expected AP in a random order; NaN where nothing is to be found.

    With the query, it comes first and the others in random order, as with random features. From
    E[hit at p and hits up to p] = r/m (1 + (p - 1) (r - 1) / (m - 1)) for r hits among m places.

    >>> round(random_precision(10, 12_000, with_query=True), 3)
    0.102
    >>> round(random_precision(10, 12_000, with_query=False), 4)
    0.0015
    """
    hits, places = n_class - 1, n_images - 1
    if hits == 0:
        return 1.0 if with_query else float("nan")
    head = 1 if with_query else 0
    position = np.arange(1, places + 1)
    seen = 1 + head + (position - 1) * (hits - 1) / max(places - 1, 1)
    found = hits / places * float((seen / (position + head)).sum())
    return (head + found) / (hits + head)


def _precision(own: Floats, foreign: Floats) -> float:
    """AP of hits that score `own` among others that score `foreign`, in rising order."""
    if not len(own):
        return float("nan")
    falling = np.sort(own)[::-1]
    nearer = len(foreign) - np.searchsorted(foreign, falling, side="left")
    place = np.arange(1, len(own) + 1)
    return float((place / (place + nearer)).mean())
