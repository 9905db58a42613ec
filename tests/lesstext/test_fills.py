"""Hidden regions: which pixels, against exact areas; what may change; what is put there."""

from __future__ import annotations

import doctest
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesstext import fills
from lesstext.errors import UsageError
from lesstext.fills import FILLS, Fill, fill, region_mask
from lesstext.geometry import area_ratios
from lesstext.images import Pixels

Points = NDArray[np.float32]
HEIGHT, WIDTH = 14, 18


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32)


def turned(left: float, top: float, width: float, height: float, degrees: float) -> Points:
    turn = cv2.boxPoints(((left, top), (width, height), degrees))
    return np.asarray(turn, dtype=np.float32)


def noise(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def covered_shares(region: Points) -> NDArray[np.float64]:
    """The share of each pixel's square that a polygon covers, by exact areas."""
    corners = [[(x, y) for x in range(WIDTH)] for y in range(HEIGHT)]
    points = region.astype(np.float64)
    return np.array([[area_ratios([points - at], 1, 1).union for at in row] for row in corners])


coordinates = st.floats(-8, 26, width=32)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=6).map(
    lambda points: np.array(points, dtype=np.float32)
)
lengths = st.floats(0.25, 30, width=32)
rectangles = st.builds(turned, coordinates, coordinates, lengths, lengths, st.floats(-90, 90))
hows = st.sampled_from(FILLS)


def test_docstrings_hold() -> None:
    assert doctest.testmod(fills).failed == 0


@settings(max_examples=40, deadline=None)
@given(rectangles)
def test_the_mask_of_a_rectangle_is_what_it_covers_however_little(region: Points) -> None:
    shares, mask = covered_shares(region), region_mask([region], WIDTH, HEIGHT)
    assert mask[shares > 1e-6].all()
    assert not mask[shares == 0].any() or _nearest_miss(region, mask & (shares == 0)) < 1e-3


def _nearest_miss(region: Points, mask: NDArray[np.bool_]) -> float:
    """How far the farthest marked pixel's square is from a polygon: 0 but for rounding."""
    contour = region.reshape(-1, 1, 2)
    misses = []
    for y, x in zip(*np.nonzero(mask), strict=True):
        square = [(float(x + dx), float(y + dy)) for dx in (0, 0.5, 1) for dy in (0, 0.5, 1)]
        misses.append(min(-cv2.pointPolygonTest(contour, at, True) for at in square))
    return max(misses)


@settings(max_examples=40, deadline=None)
@given(polygons)
def test_no_covered_pixel_is_left_out_whatever_the_polygon(region: Points) -> None:
    assert region_mask([region], WIDTH, HEIGHT)[covered_shares(region) > 1e-6].all()


@settings(max_examples=40, deadline=None)
@given(st.lists(polygons, max_size=4))
def test_the_mask_of_several_regions_is_the_union_of_theirs(regions: list[Points]) -> None:
    single = [region_mask([region], WIDTH, HEIGHT) for region in regions]
    union = np.any(single, axis=0) if single else np.zeros((HEIGHT, WIDTH), dtype=bool)
    assert np.array_equal(region_mask(regions, WIDTH, HEIGHT), union)


@pytest.mark.parametrize(
    ("region", "rows", "columns"),
    [
        (box(3, 2, 7, 5), (2, 5), (3, 7)),
        (box(2.9, 1.9, 7.1, 5.1), (1, 6), (2, 8)),
        (box(3.4, 2.4, 3.6, 2.6), (2, 3), (3, 4)),
        (box(-5, -5, 2, 1), (0, 1), (0, 2)),
        (box(16, 12, 99, 99), (12, HEIGHT), (16, WIDTH)),
        (box(-1e9, 3, 1e9, 4), (3, 4), (0, WIDTH)),
        (box(5, -1e9, 6, 1e9), (0, HEIGHT), (5, 6)),
        (box(40, 2, 50, 9), (0, 0), (0, 0)),
        (box(3, -9, 7, 0), (0, 0), (0, 0)),
        (box(5, 5, 5, 5), (0, 0), (0, 0)),
    ],
    ids=[
        "whole pixels", "a little more", "within one pixel", "over the corner",
        "over the far corner", "far to both sides", "far up and down", "beside", "above", "a point",
    ],
)  # fmt: skip
def test_the_mask_of_boxes(region: Points, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[slice(*rows), slice(*columns)] = True
    assert np.array_equal(region_mask([region], WIDTH, HEIGHT), expected)


def test_a_bow_tie_hides_its_two_triangles_only() -> None:
    tie = np.array([[2, 2], [12, 12], [12, 2], [2, 12]], dtype=np.float32)
    mask = region_mask([tie], WIDTH, HEIGHT)
    assert mask[7, 3] and mask[7, 11]
    assert not mask[3, 7] and not mask[11, 7]


def test_dilation_adds_the_pixels_within_that_distance() -> None:
    mask = region_mask([box(8, 6, 9, 7)], WIDTH, HEIGHT, dilation_px=2)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    assert np.array_equal(mask, (y - 6) ** 2 + (x - 8) ** 2 <= 4)
    assert not region_mask([], WIDTH, HEIGHT, dilation_px=2).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(polygons, max_size=4), hows, st.integers(0, 2))
def test_pixels_outside_the_mask_never_change(
    regions: list[Points], how: Fill, dilation_px: int
) -> None:
    image = noise()
    before = image.copy()
    filled = fill(image, regions, how, dilation_px=dilation_px)
    mask = region_mask(regions, WIDTH, HEIGHT, dilation_px=dilation_px)
    assert np.array_equal(filled[~mask], image[~mask])
    assert np.array_equal(image, before)
    assert np.array_equal(fill(image, regions, how, dilation_px=dilation_px), filled)


@settings(max_examples=30, deadline=None)
@given(st.lists(polygons, min_size=1, max_size=4), hows, st.randoms(use_true_random=False))
def test_the_order_of_the_regions_does_not_matter(
    regions: list[Points], how: Fill, rng: object
) -> None:
    shuffled = list(regions)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert np.array_equal(fill(noise(), shuffled, how), fill(noise(), regions, how))


@pytest.mark.parametrize("how", FILLS)
@pytest.mark.parametrize("regions", [[], [box(40, 40, 60, 60)], [box(-9, -9, -1, -1)]])
def test_nothing_to_hide_gives_an_equal_copy(how: Fill, regions: list[Points]) -> None:
    image = noise()
    filled = fill(image, regions, how)
    assert np.array_equal(filled, image)
    assert not np.shares_memory(filled, image)


@pytest.mark.parametrize("how", ["mean", "local-mean", "telea"])
def test_a_region_as_large_as_the_image_leaves_its_mean_colour(how: Fill) -> None:
    image = noise()
    filled = fill(image, [box(-1, -1, WIDTH + 1, HEIGHT + 1)], how)
    assert (filled == np.rint(image.reshape(-1, 3).mean(axis=0))).all()


def test_the_mean_is_that_of_the_whole_image() -> None:
    image = np.zeros((10, 10, 3), dtype=np.uint8)
    image[:, 5:] = (200, 100, 51)
    filled = fill(image, [box(5, 0, 10, 10)])
    assert filled[0, 9].tolist() == [100, 50, 26]


def test_the_local_mean_is_that_of_the_ring_without_other_regions() -> None:
    image = np.full((60, 60, 3), 10, dtype=np.uint8)
    image[:, 30:] = 200
    image[18:42, 8:20] = 99  # the text, and between the two regions what must not count
    regions = [box(8, 18, 20, 30), box(40, 18, 52, 30), box(8, 31, 20, 42)]
    filled = fill(image, regions, "local-mean")
    assert (filled[20, 44] == 200).all()
    assert (filled[20, 10] < 40).all()
    assert (filled[35, 10] < 40).all()


@pytest.mark.parametrize("how", FILLS)
@pytest.mark.parametrize("degrees", [0, 8])
def test_letters_leave_no_trace(how: Fill, degrees: float) -> None:
    """Two words of one box each differ a lot before the fill and hardly after it."""
    filled = []
    for word in ("HHHHH", "OOOOO"):
        image = np.full((120, 240, 3), 180, dtype=np.uint8)
        cv2.putText(image, word, (40, 75), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (20, 20, 20), 4)
        region = turned(120, 60, 190, 60, degrees)
        middle = region_mask([region], 240, 120)
        middle[:, :60] = middle[:, 180:] = False
        filled.append(fill(image, [region], how)[middle].astype(int))
    assert np.abs(filled[0] - filled[1]).mean() < 12
    assert np.ptp(filled[0], axis=0).max() < 60


@pytest.mark.parametrize("how", FILLS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_tiny_images_are_filled(how: Fill, shape: tuple[int, int]) -> None:
    image = noise(*shape)
    assert fill(image, [box(0, 0, 1, 1)], how).shape == image.shape


def test_pixels_that_are_a_view_into_other_pixels_are_filled_alike() -> None:
    wide = noise(20, 40)
    view = wide[::2, 3:23][:, ::-1]
    for how in FILLS:
        regions = [box(2, 2, 9, 6)]
        assert np.array_equal(fill(view, regions, how), fill(view.copy(), regions, how))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
    ids=["grey", "alpha", "floats", "no pixels"],
)
def test_what_is_no_image_is_refused_with_its_shape(image: Pixels) -> None:
    with pytest.raises(ValueError, match=r"an image is uint8 \(h, w, 3\), got .+ \("):
        fill(image, [])


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((4, 3)), np.zeros(8)])
def test_what_is_no_polygon_is_refused_with_its_shape(bad: Points) -> None:
    with pytest.raises(ValueError, match=r"shape \(k >= 3, 2\), got \("):
        region_mask([bad], 10, 10)


def test_not_finite_coordinates_and_unknown_fills_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        fill(noise(), [box(0, 0, math.nan, 1)])
    with pytest.raises(UsageError, match="'inpaint'; there are mean, local-mean, blur, telea"):
        fill(noise(), [], "inpaint")  # type: ignore[arg-type]
