"""Polygons to text-area ratios: the exact area of a union, with no rasterising and no I/O.

Coordinates are pixels, x to the right and y down. A polygon is a (k, 2) array with k >= 3; its
inside follows the even-odd rule, so a self-crossing quad counts the area that it visibly covers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Polygon = NDArray[np.float32]
_Points = NDArray[np.float64]

_FEW_EDGES = 256
_BLOCK = 1 << 20  # numbers in a matrix, of which a few are held at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaRatios:
    """Text areas as shares of the image area; `max_region <= union <= sum` and `union <= 1`."""

    union: float
    sum: float
    max_region: float


def area_ratios(polygons: Sequence[ArrayLike], width: int, height: int) -> AreaRatios:
    """Return the shares of a `width` x `height` image that polygons cover, clipped to it.

    Two quads that overlap by half count the shared part once in `union`, twice in `sum`:

    >>> left, right = [(0, 0), (4, 0), (4, 5), (0, 5)], [(2, 0), (6, 0), (6, 5), (2, 5)]
    >>> area_ratios([left, right], width=10, height=10)
    AreaRatios(union=0.3, sum=0.4, max_region=0.2)
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"image size must be positive, got {width} x {height}")
    clipped = [clip(_as_points(polygon), width, height) for polygon in polygons]
    kept = [points for points in clipped if len(points) >= 3]
    areas = np.array([polygon_area(points) for points in kept], dtype=np.float64)
    image_area = float(width) * float(height)
    total = float(areas.sum()) / image_area
    largest = float(areas.max(initial=0.0)) / image_area
    union = union_area(kept) / image_area
    return AreaRatios(
        union=min(max(union, largest), total, 1.0), sum=total, max_region=min(largest, 1.0)
    )


def polygon_area(points: ArrayLike) -> float:
    """Area of one polygon under the even-odd rule, in square pixels.

    >>> polygon_area([(0, 0), (4, 0), (4, 3), (0, 3)])
    12.0
    >>> polygon_area([(0, 0), (2, 2), (2, 0), (0, 2)])  # a bow tie: two triangles of area 1
    2.0
    """
    array = _as_points(points)
    return _shoelace(array) if _is_convex(array) else _strip_area([array])


def union_area(polygons: Sequence[ArrayLike]) -> float:
    """Area that at least one polygon covers, in square pixels, exact up to rounding."""
    arrays = [_as_points(polygon) for polygon in polygons]
    return sum(
        polygon_area(group[0]) if len(group) == 1 else _strip_area(group)
        for group in _touching_groups(arrays)
    )


def clip(points: _Points, width: float, height: float) -> _Points:
    """Cut a polygon to the rectangle [0, width] x [0, height] (Sutherland-Hodgman)."""
    inside = (points >= 0).all() and (points <= (width, height)).all()
    if inside:
        return points
    for axis, bound, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        points = _clip_half_plane(points, axis, bound, sign)
    return points


def _as_points(polygon: ArrayLike) -> _Points:
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"a polygon has shape (k >= 3, 2), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("polygon coordinates must be finite")
    return points


def _shoelace(points: _Points) -> float:
    x, y = (points - points[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _is_convex(points: _Points) -> bool:
    """True where all turns go one way, none straight back, and add up to a single round trip."""
    edges = np.roll(points, -1, axis=0) - points
    edges = edges[edges.any(axis=1)]  # a point that is repeated would hide a turn
    following = np.roll(edges, -1, axis=0)
    cross = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    along = (edges * following).sum(axis=1)
    goes_back = (cross == 0) & (along < 0)
    if goes_back.any() or not ((cross >= 0).all() or (cross <= 0).all()):
        return False
    return bool(abs(np.arctan2(cross, along).sum()) < 3 * np.pi)


def _clip_half_plane(points: _Points, axis: int, bound: float, sign: int) -> _Points:
    if len(points) == 0:
        return points
    distance = sign * (points[:, axis] - bound)
    kept: list[_Points] = []
    for i in range(len(points)):
        here, there = distance[i - 1], distance[i]
        if (here >= 0) != (there >= 0):
            crossing = points[i - 1] + here / (here - there) * (points[i] - points[i - 1])
            crossing[axis] = bound
            kept.append(crossing)
        if there >= 0:
            kept.append(points[i])
    return np.array(kept).reshape(-1, 2)


def _touching_groups(polygons: list[_Points]) -> list[list[_Points]]:
    """Split polygons into groups whose bounding boxes are connected by overlaps."""
    if not polygons:
        return []
    low = np.array([points.min(axis=0) for points in polygons])
    high = np.array([points.max(axis=0) for points in polygons])
    groups: list[list[_Points]] = []
    waiting = set(range(len(polygons)))
    while waiting:
        frontier = [waiting.pop()]
        members = list(frontier)
        while frontier:
            one = frontier.pop()
            touching = ((low[one] < high) & (low < high[one])).all(axis=1)
            found = waiting.intersection(np.flatnonzero(touching).tolist())
            waiting -= found
            frontier.extend(found)
            members.extend(found)
        groups.append([polygons[i] for i in sorted(members)])
    return groups


def _strip_area(polygons: list[_Points]) -> float:
    """Union area by horizontal strips between all vertices and edge crossings.

    No two edges cross inside a strip, so the covered length is linear in y there, and its value
    at half height times the strip's height is the exact area.
    """
    start = np.concatenate(polygons)
    end = np.concatenate([np.roll(points, -1, axis=0) for points in polygons])
    owner = np.repeat(np.arange(len(polygons)), [len(points) for points in polygons])
    return sum(_band_areas(_Edges(start, end, owner), np.unique(start[:, 1])))


class _Edges(NamedTuple):
    """Sides of polygons, each from `start` to `end`; `owner` numbers the polygons."""

    start: _Points
    end: _Points
    owner: NDArray[np.int64]

    def within(self, low: float, high: float) -> _Edges:
        """Those that reach between two heights."""
        y = np.stack([self.start[:, 1], self.end[:, 1]])
        kept = (y.min(axis=0) < high) & (y.max(axis=0) > low)
        return _Edges(*(part[kept] for part in self))


def _band_areas(edges: _Edges, levels: NDArray[np.float64]) -> Iterator[float]:
    """The areas of bands between the first and the last level, which are those of the vertices.

    The work grows with the square of the edges: a band is halved as long as that makes it less.
    """
    n, middle = len(edges.owner), len(levels) // 2
    if n > _FEW_EDGES and middle > 0:
        parts = [levels[: middle + 1], levels[middle:]]
        halves = [edges.within(part[0], part[-1]) for part in parts]
        if sum(len(half.owner) ** 2 for half in halves) < n**2:
            for half, part in zip(halves, parts, strict=True):
                yield from _band_areas(half, part)
            return
    yield _band_area(edges, levels)


def _band_area(edges: _Edges, levels: NDArray[np.float64]) -> float:
    crossings = _crossing_levels(edges)
    inside = crossings[(crossings > levels[0]) & (crossings < levels[-1])]
    levels = np.unique(np.concatenate([levels, inside]))
    heights = np.diff(levels)
    middles = levels[:-1] + heights / 2
    return sum(
        float(_covered_lengths(edges, middles[some]) @ heights[some])
        for some in _blocks(len(middles), len(edges.owner))
    )


def _blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Rows of a matrix, as many at a time as keep it small."""
    step = max(1, _BLOCK // max(1, n_columns))
    return (slice(at, at + step) for at in range(0, n_rows, step))


def _crossing_levels(edges: _Edges) -> NDArray[np.float64]:
    """The y of every point where two of the edges cross properly."""
    n = len(edges.owner)
    found = [_crossings_of(edges, some) for some in _blocks(n, n)]
    return np.concatenate([np.empty(0), *found])


def _crossings_of(edges: _Edges, some: slice) -> NDArray[np.float64]:
    """The y of every point where some of the edges cross any of them."""
    start, along = edges.start, edges.end - edges.start
    mine, from_mine = start[some], along[some]
    denominator = from_mine[:, None, 0] * along[None, :, 1] - from_mine[:, None, 1] * along[:, 0]
    offset = start[None] - mine[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (offset[..., 0] * along[:, 1] - offset[..., 1] * along[:, 0]) / denominator
        u = (
            offset[..., 0] * from_mine[:, None, 1] - offset[..., 1] * from_mine[:, None, 0]
        ) / denominator
    crosses = (t > 0) & (t < 1) & (u > 0) & (u < 1)
    first, _ = np.nonzero(crosses)
    return np.asarray(mine[first, 1] + t[crosses] * from_mine[first, 1])


def _covered_lengths(edges: _Edges, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each y level, which no vertex touches, the length of x that the polygons cover."""
    start, end, owner = edges
    active = (start[None, :, 1] < levels[:, None]) != (end[None, :, 1] < levels[:, None])
    level, edge = np.nonzero(active)
    slope = (end[edge, 0] - start[edge, 0]) / (end[edge, 1] - start[edge, 1])
    x = start[edge, 0] + (levels[level] - start[edge, 1]) * slope
    order = np.lexsort((x, owner[edge], level))  # even-odd: each polygon's crossings pair up
    level, x = level[order][::2], x[order]
    return _merged_lengths(level, x[::2], x[1::2], len(levels))


def _merged_lengths(
    level: NDArray[np.int64],
    begin: NDArray[np.float64],
    finish: NDArray[np.float64],
    n_levels: int,
) -> NDArray[np.float64]:
    """Per level, the length of the union of its intervals [begin, finish]."""
    order = np.lexsort((begin, level))
    level, begin, finish = level[order], begin[order], finish[order]
    stride = float(finish.max(initial=0.0) - begin.min(initial=0.0)) + 1.0
    reach = np.maximum.accumulate(finish + level * stride) - level * stride
    before = np.concatenate([[-np.inf], reach[:-1]])
    before[1:][level[1:] != level[:-1]] = -np.inf
    fresh = np.maximum(finish - np.maximum(begin, before), 0.0)
    return np.bincount(level, weights=fresh, minlength=n_levels).astype(np.float64)
