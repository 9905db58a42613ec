"""DataComp's subset lists as multisets: a uid that stands k times in a list is seen k times."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

UID = np.dtype("u8,u8")
"""A uid of 32 hexadecimal digits: its upper and its lower 64 bits, in fields f0 and f1."""

Uids = NDArray[np.void]


def sort_uids(uids: Uids) -> Uids:
    """The same (n,) uids in the order that DataComp's tools expect: by f0, then by f1."""
    return uids[np.lexsort((uids["f1"], uids["f0"]))]


def intersect(a: Uids, b: Uids) -> Uids:
    """Each uid as often as in the list that holds it less often, sorted."""
    uids, n_a, n_b = _counted(a, b)
    return np.repeat(uids, np.minimum(n_a, n_b))


def unite(a: Uids, b: Uids) -> Uids:
    """Each uid as often as in the list that holds it more often, sorted: a with a is a."""
    uids, n_a, n_b = _counted(a, b)
    return np.repeat(uids, np.maximum(n_a, n_b))


def subtract(a: Uids, b: Uids) -> Uids:
    """Each uid as often as in `a`, less as often as in `b`, never below zero, sorted."""
    uids, n_a, n_b = _counted(a, b)
    return np.repeat(uids, np.maximum(n_a - n_b, 0))


def _counted(a: Uids, b: Uids) -> tuple[Uids, NDArray[Any], NDArray[Any]]:
    """The distinct uids of both, sorted, and how often each stands in `a` and in `b`."""
    both = np.concatenate([a, b])
    order = np.lexsort((both["f1"], both["f0"]))
    both, from_a = both[order], order < len(a)
    new = np.ones(len(both), bool)
    new[1:] = (both["f0"][1:] != both["f0"][:-1]) | (both["f1"][1:] != both["f1"][:-1])
    starts = np.flatnonzero(new)
    if not len(starts):
        return both, starts, starts
    n_a = np.add.reduceat(from_a, starts, dtype=np.int64)
    return both[starts], n_a, np.diff(np.append(starts, len(both))) - n_a
