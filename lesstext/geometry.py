"""Polygons to text-area ratios: the exact area of a union, with no rasterising and no I/O.

Coordinates are pixels, x to the right and y down. A polygon is a (k, 2) array with k >= 3; its
inside follows the even-odd rule, so a self-crossing quad counts the area that it visibly covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Polygon = NDArray[np.float32]
_Points = NDArray[np.float64]


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
    """True where all turns go one way and add up to a single round trip."""
    edges = np.roll(points, -1, axis=0) - points
    following = np.roll(edges, -1, axis=0)
    cross = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    if not ((cross >= 0).all() or (cross <= 0).all()):
        return False
    turns = np.arctan2(cross, (edges * following).sum(axis=1))
    return bool(abs(turns.sum()) < 3 * np.pi)


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
    meet = (low[:, None] < high[None]) & (low[None] < high[:, None])
    touching = np.asarray(meet.all(axis=2))
    groups: list[list[_Points]] = []
    waiting = set(range(len(polygons)))
    while waiting:
        frontier = [waiting.pop()]
        members = list(frontier)
        while frontier:
            found = waiting.intersection(np.flatnonzero(touching[frontier.pop()]).tolist())
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
    levels = np.unique(np.concatenate([start[:, 1], _crossing_levels(start, end)]))
    heights = np.diff(levels)
    middles = levels[:-1] + heights / 2
    return float(_covered_lengths(start, end, owner, middles) @ heights)


def _crossing_levels(start: _Points, end: _Points) -> NDArray[np.float64]:
    """The y of every point where two of the segments cross properly."""
    along = end - start
    denominator = along[:, None, 0] * along[None, :, 1] - along[:, None, 1] * along[None, :, 0]
    offset = start[None] - start[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (offset[..., 0] * along[None, :, 1] - offset[..., 1] * along[None, :, 0]) / denominator
        u = (offset[..., 0] * along[:, None, 1] - offset[..., 1] * along[:, None, 0]) / denominator
    first, _ = np.nonzero((t > 0) & (t < 1) & (u > 0) & (u < 1))
    hit = t[(t > 0) & (t < 1) & (u > 0) & (u < 1)]
    return np.asarray(start[first, 1] + hit * along[first, 1])


def _covered_lengths(
    start: _Points, end: _Points, owner: NDArray[np.int64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each y level, which no vertex touches, the length of x that the polygons cover."""
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
