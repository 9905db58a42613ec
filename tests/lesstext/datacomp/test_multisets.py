"""Subset lists against collections.Counter, whose &, | and - are those of multisets."""

from collections import Counter

import numpy as np
import pytest

from lesstext.datacomp import multisets as lists


def drawn(seed: int, n: int) -> lists.Uids:
    values = np.random.default_rng(seed).integers(0, 6, size=(n, 2), dtype=np.uint64)
    uids = np.empty(n, lists.UID)
    uids["f0"], uids["f1"] = values[:, 0] << np.uint64(61), values[:, 1]
    return uids


def expected(counts: "Counter[tuple[int, int]]") -> list[tuple[int, int]]:
    return sorted(counts.elements())


@pytest.mark.parametrize(("n_a", "n_b"), [(200, 90), (1, 200), (0, 5), (5, 0), (0, 0)])
def test_lists_are_multisets(n_a: int, n_b: int) -> None:
    a, b = drawn(1, n_a), drawn(2, n_b)
    in_a, in_b = Counter(a.tolist()), Counter(b.tolist())
    assert lists.intersect(a, b).tolist() == expected(in_a & in_b)
    assert lists.unite(a, b).tolist() == expected(in_a | in_b)
    assert lists.subtract(a, b).tolist() == expected(in_a - in_b)
    assert lists.sort_uids(a).tolist() == sorted(a.tolist())
