"""Hide regions of an image: which pixels a region touches, and what is put in their place.

A pixel belongs to the mask where a polygon (even-odd rule, as in `lesstext.geometry`) covers any
part of its square, however little, or runs through it; `dilation_px` adds all pixels within that
distance. Every fill is a function of the image, the regions and the dilation alone,
and no pixel outside the mask ever changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesstext.errors import UsageError
from lesstext.images import Pixels

Fill = Literal["mean", "local-mean", "blur", "telea"]
Mask = NDArray[np.bool_]
_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]
_Crop = tuple[slice, slice]

FILLS: tuple[Fill, ...] = get_args(Fill)
_BLUR_PASSES = 3  # of a box, whose sum comes close to a Gaussian at a cost free of its width
_TELEA_RADIUS_PX = 3.0


def fill(
    image: Pixels, regions: Sequence[ArrayLike], how: Fill = "mean", *, dilation_px: int = 0
) -> Pixels:
    """Return a copy of an image (h, w, 3) whose `regions`, polygons (k, 2), are hidden.

    `mean`: the mean colour of the whole image. `local-mean`: of a ring around each stretch of
    touching regions, a quarter of its height wide. `blur`: blurred until no letter is left, with a
    standard deviation of about half the stretch's shorter side. `telea`: inpainted from its rim.
    Where nothing of the image is outside the regions, `local-mean` and `telea` mean `mean`.

    Raises ValueError for what is no image or no polygon, UsageError for another `how`.
    """
    if how not in _PAINTERS:
        raise UsageError(f"no fill named {how!r}; there are {', '.join(FILLS)}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"an image is uint8 (h, w, 3), got {image.dtype} {image.shape}")
    mask = region_mask(regions, image.shape[1], image.shape[0], dilation_px=dilation_px)
    filled = image.copy()
    if mask.any():
        _PAINTERS[how](image, mask, filled)
    return filled


def region_mask(
    regions: Sequence[ArrayLike], width: int, height: int, *, dilation_px: int = 0
) -> Mask:
    """Mark every pixel (h, w) of which a polygon covers some part.

    Raises ValueError as `lesstext.geometry` does.

    >>> region_mask([[(0.9, 0), (2, 0), (2, 1), (0.9, 1)]], width=4, height=2).astype(int).tolist()
    [[1, 1, 0, 0], [0, 0, 0, 0]]
    """
    steps = np.zeros((height, width + 1), dtype=np.int32)  # +1 where a span starts, -1 behind it
    for region in regions:
        for rows, left, right in _spans(_as_points(region), height):
            first = np.clip(np.floor(left), 0, width).astype(np.int64)
            behind = np.maximum(np.clip(np.ceil(right), 0, width).astype(np.int64), first)
            np.add.at(steps, (rows, first), 1)
            np.add.at(steps, (rows, behind), -1)
    mask = np.cumsum(steps, axis=1)[:, :width] > 0
    return _dilated(mask, dilation_px) if dilation_px and mask.any() else mask


def _as_points(region: ArrayLike) -> _Floats:
    points = np.asarray(region, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"a polygon has shape (k >= 3, 2), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("polygon coordinates must be finite")
    return points


def _spans(points: _Floats, height: int) -> Iterator[tuple[_Ints, _Floats, _Floats]]:
    """Rows with the stretch [left, right] of x that a polygon touches in each, in two parts.

    A pixel that no edge crosses lies inside or outside as a whole, so that its centre decides.
    """
    start, end = points, np.roll(points, -1, axis=0)
    upper = np.where((start[:, 1] <= end[:, 1])[:, None], start, end)
    lower = np.where((start[:, 1] <= end[:, 1])[:, None], end, start)
    yield _edge_spans(upper, lower, height)
    yield _inner_spans(upper, lower, height)


def _rows_of(first: _Floats, behind: _Floats, height: int) -> tuple[_Ints, _Ints]:
    """All rows from `first` to just before `behind`, cut to the image, and whose edge each is."""
    begin = np.clip(first, 0, height).astype(np.int64)
    counts = np.maximum(np.clip(behind, 0, height).astype(np.int64) - begin, 0)
    edge = np.repeat(np.arange(len(begin)), counts)
    return begin[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts), edge


def _edge_spans(upper: _Floats, lower: _Floats, height: int) -> tuple[_Ints, _Floats, _Floats]:
    """What the edges themselves run through."""
    rows, edge = _rows_of(np.floor(upper[:, 1]), np.ceil(lower[:, 1]), height)
    (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
    rise = np.where(y1 > y0, y1 - y0, 1.0)
    enters = x0 + (x1 - x0) * np.where(y1 > y0, np.maximum(rows - y0, 0.0) / rise, 0.0)
    leaves = x0 + (x1 - x0) * np.where(y1 > y0, (np.minimum(rows + 1.0, y1) - y0) / rise, 1.0)
    return rows, np.minimum(enters, leaves), np.maximum(enters, leaves)


def _inner_spans(upper: _Floats, lower: _Floats, height: int) -> tuple[_Ints, _Floats, _Floats]:
    """What lies between two edges at half the height of a row."""
    rows, edge = _rows_of(np.ceil(upper[:, 1] - 0.5), np.ceil(lower[:, 1] - 0.5), height)
    (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
    x = x0 + (x1 - x0) * (rows + 0.5 - y0) / (y1 - y0)
    order = np.lexsort((x, rows))  # each row's crossings pair up
    rows, x = rows[order], x[order]
    return rows[::2], x[::2], x[1::2]


def _dilated(mask: Mask, by_px: int) -> Mask:
    distance = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= by_px, dtype=np.bool_)


def _mean_colour(image: Pixels, mask: Mask | None = None) -> Pixels:
    """The mean colour (3,), rounded, of the pixels that `mask` marks; by default of all."""
    marks = None if mask is None else mask.view(np.uint8)
    return np.rint(cv2.mean(image, marks)[:3]).astype(np.uint8)


def _paint_mean(image: Pixels, mask: Mask, filled: Pixels) -> None:
    filled[mask] = _mean_colour(image)


def _paint_local_mean(image: Pixels, mask: Mask, filled: Pixels) -> None:
    for place, part, shorter_px in _stretches(mask):
        ring_px = max(2, shorter_px // 4)
        around, part = _grown(place, part, ring_px, mask.shape)
        square = np.ones((2 * ring_px + 1, 2 * ring_px + 1), dtype=np.uint8)
        near = np.asarray(cv2.dilate(part.view(np.uint8), square), dtype=np.bool_)
        ring = near & ~mask[around]
        colour = _mean_colour(image[around], ring) if ring.any() else _mean_colour(image)
        filled[around][part] = colour


def _paint_blur(image: Pixels, mask: Mask, filled: Pixels) -> None:
    for place, part, shorter_px in _stretches(mask):
        side_px = shorter_px | 1
        around, part = _grown(place, part, 2 * side_px, mask.shape)
        blurred = image[around]
        for _ in range(_BLUR_PASSES):
            blurred = np.asarray(cv2.blur(blurred, (side_px, side_px)), dtype=np.uint8)
        filled[around][part] = blurred[part]


def _paint_telea(image: Pixels, mask: Mask, filled: Pixels) -> None:
    if mask.all():
        return _paint_mean(image, mask, filled)
    painted = cv2.inpaint(image, mask.view(np.uint8), _TELEA_RADIUS_PX, cv2.INPAINT_TELEA)
    filled[mask] = np.asarray(painted, dtype=np.uint8)[mask]


def _stretches(mask: Mask) -> Iterator[tuple[_Crop, Mask, int]]:
    """Each connected part of a mask: its box, its pixels in there, the box's shorter side."""
    n_parts, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    for number in range(1, n_parts):
        x, y, width, height = (int(value) for value in boxes[number][:4])
        place = (slice(y, y + height), slice(x, x + width))
        yield place, np.asarray(parts[place] == number), min(width, height)


def _grown(place: _Crop, part: Mask, by_px: int, shape: tuple[int, ...]) -> tuple[_Crop, Mask]:
    """A box with a margin, cut to the image, and its pixels' mask with the margin around it."""
    start = [max(side.start - by_px, 0) for side in place]
    stop = [min(side.stop + by_px, size) for side, size in zip(place, shape, strict=True)]
    margins = [
        (side.start - a, b - side.stop) for side, a, b in zip(place, start, stop, strict=True)
    ]
    return (slice(start[0], stop[0]), slice(start[1], stop[1])), np.pad(part, margins)


_PAINTERS: dict[Fill, Callable[[Pixels, Mask, Pixels], None]] = {
    "mean": _paint_mean,
    "local-mean": _paint_local_mean,
    "blur": _paint_blur,
    "telea": _paint_telea,
}
