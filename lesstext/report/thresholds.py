"""The thresholds that the slider can take, and how many samples each of them would keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# One decade in about equal steps on a log scale. The first of each row are the Renard numbers
# R10, which are so to within 1%: bars between them are fair.
_STEPS = (
    *(1.0, 1.1, 1.2),
    *(1.25, 1.35, 1.5),
    *(1.6, 1.7, 1.85),
    *(2.0, 2.15, 2.3),
    *(2.5, 2.7, 3.0),
    *(3.15, 3.4, 3.7),
    *(4.0, 4.3, 4.6),
    *(5.0, 5.4, 5.8),
    *(6.3, 6.8, 7.4),
    *(8.0, 8.6, 9.3),
)
_STEPS_PER_BAR = 3
_DECADES = (-4, -3, -2, -1)
_LOWEST = 0.0005


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
    ([0.0, 0.0005, 0.00054], [0.93, 1.0], 0.0123)
    """
    offered = _scale(_STEPS)
    wanted = np.float32(max_text_area)
    equal = next((value for value in offered if np.float32(value) == wanted), None)
    grid = sorted(offered if equal is not None else {*offered, float(max_text_area)})
    return grid, grid.index(max_text_area if equal is None else equal)


def histogram_bars(thresholds: Sequence[float], at_or_below: Sequence[int]) -> list[Bar]:
    """Bars over the ratios above 0, of equal width on a log scale; together they hold them all."""
    borders = _scale(_STEPS[::_STEPS_PER_BAR])
    edges = [place for place, threshold in enumerate(thresholds) if threshold in borders]
    return [
        Bar(start, end, at_or_below[end] - at_or_below[start]) for start, end in pairwise(edges)
    ]


def _scale(steps: Sequence[float]) -> set[float]:
    """The same steps in every decade from the lowest threshold on, with 0 and 1."""
    values = {round(step * 10.0**decade, 6) for decade in _DECADES for step in steps}
    return {0.0, 1.0, *(value for value in values if value >= _LOWEST)}
