"""Rules that speak of the share of an image that is text."""

from __future__ import annotations

import re

from lesstext.errors import UsageError
from lesstext.tables.rule import Rule

RATIO = "text_area_ratio"
MEASURED = (RATIO, "n_regions")
"""What stands in a selection beside each sample, where the tables have it."""


def at_most(max_ratio: float, *, seed: int = 0, keep_failed: bool = False) -> Rule:
    """Keep images whose text-area ratio, in [0, 1], is at most this.

    >>> at_most(0.005).where
    'text_area_ratio <= 0.005::FLOAT'
    """
    if not 0 <= max_ratio <= 1:
        raise UsageError(f"--max-text-area must be within 0 to 1, got {max_ratio}")
    # Ratios are stored as float32, where 0.05 is a little more than the double 0.05.
    where = f"{RATIO} <= {float(max_ratio)!r}::FLOAT"
    return Rule(where=where, seed=seed, keep_failed=keep_failed)


def in_words(where: str) -> str:
    """A rule's expression as a user would write it.

    >>> in_words("text_area_ratio <= 0.005::FLOAT")
    'text_area_ratio <= 0.005'
    """
    return re.sub(r"^(\w+ <= [\d.e-]+)::FLOAT$", r"\1", where)


def lowest(fraction: float, *, seed: int = 0, keep_failed: bool = False) -> Rule:
    """Keep this share of the ok samples, in [0, 1], those with the least text first."""
    return Rule(keep_fraction=fraction, by=RATIO, seed=seed, keep_failed=keep_failed)
