"""Subset lists intersected, united and subtracted, a range of uids at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from lesstext.datacomp.multisets import Uids, intersect, sort_uids, subtract, unite
from lesstext.datacomp.subset_file import (
    BLOCK,
    Record,
    SubsetFile,
    open_subset,
    read_record,
    refuse_outputs,
    sha256_of,
    write_subset,
)
from lesstext.errors import UsageError

Operation = Literal["intersect", "unite", "subtract"]
_DONE_BY: dict[str, Callable[[Uids, Uids], Uids]] = {
    "intersect": intersect,
    "unite": unite,
    "subtract": subtract,
}


def combine(operation: Operation, lists: Sequence[Path], out: Path) -> Record:
    """Combine two or more subset files as multisets and write the list and its record.

    A uid stands in it as often as in the list with the fewest of it (intersect), with the most
    (unite), or as often as in the first less all others, at least zero times (subtract).
    Raises UsageError for a file that is no subset file, and for an `out` that is not to be
    written.
    """
    if operation not in get_args(Operation):
        raise UsageError(f"lists are combined by intersect, unite or subtract, not {operation}")
    if len(lists) < 2:
        raise UsageError(f"{operation} takes two lists or more")
    refuse_outputs(out, lists)
    opened = [open_subset(path) for path in lists]
    rule = {"operation": operation, "lists": [_told(subset) for subset in opened]}
    return write_subset(out, combined(operation, opened), rule)


def combined(operation: str, lists: Sequence[SubsetFile], block: int = BLOCK) -> Iterator[Uids]:
    """The combination in sorted blocks.

    All lists are cut at the same uids, so that of none more than `block` are read at a time, the
    repetitions of one uid aside.
    """
    cuts = np.unique(sort_uids(np.concatenate([subset.every(block) for subset in lists])))
    bounds = [[0, *subset.places(cuts).tolist(), subset.n] for subset in lists]
    for ranges in zip(*(pairwise(places) for places in bounds), strict=True):
        parts = [subset.read(*places) for subset, places in zip(lists, ranges, strict=True)]
        yield reduce(_DONE_BY[operation], parts)


def _told(subset: SubsetFile) -> dict[str, Any]:
    digest = sha256_of(subset.path)
    record = read_record(subset.path, digest)
    rule = None if record is None else record.rule
    return {"file": str(subset.path), "sha256": digest, "uids": subset.n, "rule": rule}
