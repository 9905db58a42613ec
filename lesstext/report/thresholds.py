"""The thresholds that the slider can take, and how many samples each of them would keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Round numbers in about equal steps on a log scale; "per decade" below.
_STEPS = (
    *(1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9),
    *(2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.3, 3.6, 4.0, 4.5),
    *(5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5),
)
_DECADES = (-4, -3, -2, -1)
_LOWEST = 0.0005
_BAR_STEPS = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """One histogram bar: samples with thresholds[start] < ratio <= thresholds[end]."""

    start: int
    end: int
    count: int


def threshold_grid(max_text_area: float) -> tuple[list[float], int]:
    """Every threshold the page offers, ascending from 0 to 1, and the place of the chosen one.

    No two are equal as float32, in which ratios are stored and compared.

    >>> grid, chosen = threshold_grid(0.0123)
    >>> grid[:3], grid[-2:], grid[chosen]
    ([0.0, 0.0005, 0.00055], [0.95, 1.0], 0.0123)
    """
    round_numbers = {round(step * 10.0**decade, 6) for decade in _DECADES for step in _STEPS}
    offered = {0.0, 1.0, *(value for value in round_numbers if value >= _LOWEST)}
    wanted = np.float32(max_text_area)
    equal = next((value for value in offered if np.float32(value) == wanted), None)
    grid = sorted(offered if equal is not None else {*offered, float(max_text_area)})
    return grid, grid.index(max_text_area if equal is None else equal)


def histogram_bars(thresholds: Sequence[float], at_or_below: Sequence[int]) -> list[Bar]:
    """Bars over the ratios above 0, each a few thresholds wide; together they hold all of them."""
    edges = [0, *range(1, len(thresholds) - 1, _BAR_STEPS), len(thresholds) - 1]
    return [
        Bar(start, end, at_or_below[end] - at_or_below[start]) for start, end in pairwise(edges)
    ]
