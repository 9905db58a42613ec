"""Exact areas: cases worked by hand, the peers' mistakes, and invariants."""

from __future__ import annotations

import doctest
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesstext import geometry
from lesstext.geometry import area_ratios, polygon_area, union_area

Points = NDArray[np.float64]


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def rotated(points: Points, degrees: float) -> Points:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = points.mean(axis=0)
    return np.asarray((points - middle) @ turn + middle)


def test_docstrings_hold() -> None:
    assert doctest.testmod(geometry).failed == 0


@pytest.mark.parametrize(
    ("polygons", "expected"),
    [
        ([], 0.0),
        ([box(0, 0, 10, 10)], 100.0),
        ([box(0, 0, 10, 10)] * 3, 100.0),
        ([box(0, 0, 10, 10), box(20, 0, 30, 10)], 200.0),
        ([box(0, 0, 10, 10), box(10, 0, 20, 10)], 200.0),
        ([box(0, 0, 10, 10), box(2, 2, 4, 4)], 100.0),
        ([box(0, 0, 10, 10), box(5, 5, 15, 15)], 175.0),
        ([box(0, 4, 10, 6), box(4, 0, 6, 10)], 36.0),
        ([np.array([[0, 0], [4, 0], [0, 4]]), np.array([[4, 4], [4, 0], [0, 4]])], 16.0),
        ([np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]])], 10.0),
        ([np.array([[1, 1], [1, 1], [1, 1]])], 0.0),
        ([np.array([[0, 5], [10, 5], [20, 5]])], 0.0),
    ],
    ids=[
        "nothing", "one", "the same three times", "apart", "edge to edge", "inside",
        "corners overlap", "a cross", "two triangles", "concave", "a point", "a line",
    ],
)  # fmt: skip
def test_union_area_of_cases_worked_by_hand(polygons: list[Points], expected: float) -> None:
    assert union_area(polygons) == pytest.approx(expected, abs=1e-9)


def test_peer_data_juicer_sums_boxes_and_counts_overlaps_twice() -> None:
    words = [box(0, 0, 60, 10), box(40, 0, 100, 10)]
    ratios = area_ratios(words, 100, 100)
    assert ratios.sum == pytest.approx(0.12)
    assert ratios.union == pytest.approx(0.10)


@pytest.mark.parametrize("degrees", [10, 30])
def test_peer_dpf_takes_the_rectangle_of_a_rotated_boxs_diagonal(degrees: float) -> None:
    word = rotated(box(20, 45, 80, 55), degrees)
    low, high = word.min(axis=0), word.max(axis=0)
    assert area_ratios([word], 100, 100).union == pytest.approx(0.06)
    assert np.prod(high - low) / 1e4 > 1.9 * 0.06


def test_peer_easyanimate_counts_a_free_form_quad_as_nothing() -> None:
    quad = np.array([[10, 10], [50, 14], [48, 30], [9, 24]])
    shoelace = abs(np.dot(quad[:, 0], np.roll(quad[:, 1], -1))
                   - np.dot(quad[:, 1], np.roll(quad[:, 0], -1))) / 2  # fmt: skip
    assert area_ratios([quad], 100, 100).union == pytest.approx(shoelace / 1e4)
    assert shoelace > 500


def test_peer_easyocr_inflates_boxes_by_merging_lines_and_adding_margins() -> None:
    words = [box(0, 0, 30, 10), box(50, 0, 80, 10)]
    merged_with_margin = [box(-1, -1, 81, 11)]
    assert area_ratios(words, 100, 100).union == pytest.approx(0.06)
    assert area_ratios(merged_with_margin, 100, 100).union == pytest.approx(81 * 11 / 1e4)


def test_what_lies_outside_the_image_does_not_count() -> None:
    assert area_ratios([box(-50, -50, 50, 50)], 100, 100).union == pytest.approx(0.25)
    assert area_ratios([box(200, 0, 300, 50)], 100, 100).union == 0.0
    assert area_ratios([box(-10, -10, 110, 110)] * 2, 100, 100).union == 1.0
    assert area_ratios([box(40, 10, 90, 30)], 50, 100).union == pytest.approx(200 / 5000)
    assert area_ratios([box(10, 40, 30, 90)], 100, 50).union == pytest.approx(200 / 5000)


@pytest.mark.parametrize(
    ("triangle", "expected"),
    [
        ([(-10, 0), (30, 0), (-10, 40)], 450),
        ([(0, -10), (40, -10), (0, 30)], 450),
        ([(80, 10), (120, 10), (120, 50)], 200),
        ([(10, 60), (10, 100), (50, 100)], 200),
        ([(-20, 40), (50, -30), (50, 110)], 3600),
        ([(200, 0), (0, 200), (200, 200)], 0),
        ([(-30, 10), (-10, 50), (-20, 70)], 0),
        ([(10, -30), (50, -10), (70, -20)], 0),
        ([(110, 10), (130, 50), (120, 70)], 0),
    ],
    ids=[
        "left", "top", "right", "bottom", "two corners", "beyond the corner", "beside the left",
        "above the top", "beside the right",
    ],
)  # fmt: skip
def test_slanted_edges_are_cut_where_the_image_ends(
    triangle: list[tuple[float, float]], expected: float
) -> None:
    ratios = area_ratios([np.array(triangle)], 100, 80)
    assert ratios.union * 8000 == pytest.approx(expected)
    assert ratios.sum * 8000 == ratios.max_region * 8000 == pytest.approx(expected)


def test_a_polygon_of_another_winding_or_first_corner_is_the_same() -> None:
    corners = np.array([(-20, 40), (50, -30), (50, 110), (20, 40)])
    areas = {
        round(area_ratios([np.roll(way, turn, axis=0)], 100, 80).union, 12)
        for way in (corners, corners[::-1])
        for turn in range(4)
    }
    assert len(areas) == 1


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((4, 3)), np.zeros(8)])
def test_wrong_shapes_are_refused_with_the_shape(bad: Points) -> None:
    with pytest.raises(ValueError, match=r"shape \(k >= 3, 2\), got \("):
        polygon_area(bad)


def test_not_finite_coordinates_and_empty_images_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        area_ratios([box(0, 0, math.nan, 1)], 10, 10)
    for width, height in ((0, 10), (10, 0), (-1, 10), (10, -1)):
        with pytest.raises(ValueError, match="positive"):
            area_ratios([], width, height)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 10), (10, 1)])
def test_an_image_may_be_one_pixel_wide_or_high(width: int, height: int) -> None:
    half = area_ratios([box(0, 0, width / 2, height)], width, height)
    assert half.union == half.sum == half.max_region == 0.5


coordinates = st.integers(-30, 130).map(float)
quads = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=6).map(np.array)
many_quads = st.lists(quads, max_size=6)


@settings(max_examples=150, deadline=None)
@given(many_quads)
def test_max_region_at_most_union_at_most_sum(polygons: list[Points]) -> None:
    ratios = area_ratios(polygons, 100, 80)
    assert 0 <= ratios.max_region <= ratios.union <= ratios.sum + 1e-12
    assert ratios.union <= 1


@settings(max_examples=80, deadline=None)
@given(many_quads, st.randoms(use_true_random=False))
def test_order_does_not_matter(polygons: list[Points], rng: object) -> None:
    shuffled = list(polygons)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert area_ratios(shuffled, 100, 80).union == pytest.approx(
        area_ratios(polygons, 100, 80).union, abs=1e-9
    )


@settings(max_examples=80, deadline=None)
@given(many_quads, st.integers(-500, 500), st.integers(-500, 500))
def test_translation_does_not_matter(polygons: list[Points], dx: int, dy: int) -> None:
    moved = [polygon + np.array([dx, dy]) for polygon in polygons]
    assert union_area(moved) == pytest.approx(union_area(polygons), abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(many_quads, st.integers(1, 359))
def test_turning_does_not_matter(polygons: list[Points], degrees: int) -> None:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = [polygon @ turn for polygon in polygons]
    assert union_area(turned) == pytest.approx(union_area(polygons), rel=1e-9, abs=1e-6)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(quads)
def test_one_polygons_area_is_that_of_its_strips(polygon: Points) -> None:
    """The short cut for convex ones is taken for those alone."""
    assert polygon_area(polygon) == pytest.approx(geometry._strip_area([polygon]), abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(many_quads)
def test_areas_do_not_depend_on_how_the_work_is_cut(polygons: list[Points]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        whole = union_area(polygons)
        patch.setattr(geometry, "_FEW_EDGES", 1)
        assert union_area(polygons) == pytest.approx(whole, rel=1e-9, abs=1e-9)
        patch.setattr(geometry, "_BLOCK", 5)
        assert union_area(polygons) == pytest.approx(whole, rel=1e-9, abs=1e-9)


def test_thousands_of_regions_that_touch_take_neither_room_nor_time() -> None:
    """A crossing of every side with every other one would need gigabytes, and minutes."""
    side = 60
    tiles = [
        box(x, y, x + 1.5, y + 1.5) + np.array([(0, 0), (0, 0.25), (0, 0.25), (0, 0)])
        for x in range(side)
        for y in range(side)
    ]
    tracemalloc.start()
    ratios = area_ratios(tiles, side, side)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Bare are the wedges above the tops of the first row, which fall by a sixth of a pixel a pixel.
    assert ratios.union == pytest.approx(1 - side / 12 / side**2)
    assert peak_bytes < 200e6


@pytest.mark.parametrize("degrees", range(0, 72, 5))
def test_a_pentagram_covers_its_five_tips(degrees: int) -> None:
    """All its turns go one way, twice round; by the even-odd rule its middle is not covered."""
    angles = np.radians(degrees + 144 * np.arange(5))
    star = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inner = math.cos(math.radians(72)) / math.cos(math.radians(36))
    tips = 5 * inner * math.sin(math.radians(36)) - 2.5 * inner**2 * math.sin(math.radians(72))
    assert polygon_area(star) == pytest.approx(tips)
    assert polygon_area(star[::-1]) == pytest.approx(tips)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4), max_size=8))
def test_upright_boxes_agree_with_counting_pixels(corners: list[tuple[int, ...]]) -> None:
    grid = np.zeros((40, 40), dtype=bool)
    boxes = []
    for x0, y0, x1, y1 in corners:
        left, right, top, bottom = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        grid[top:bottom, left:right] = True
        boxes.append(box(left, top, right, bottom))
    assert area_ratios(boxes, 40, 40).union == pytest.approx(grid.mean(), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(quads, min_size=1, max_size=3))
def test_slanted_polygons_agree_with_counting_points(polygons: list[Points]) -> None:
    """Even-odd by its definition: a ray from the point crosses the outline an odd number."""
    per_px = 4
    x, y = np.meshgrid(np.arange(0.5, 100 * per_px), np.arange(0.5, 80 * per_px))
    inside = np.array([_covers(polygon, x / per_px, y / per_px) for polygon in polygons])
    outline_px = max(float(np.abs(np.diff(p, axis=0, append=p[:1])).sum()) for p in polygons)
    tolerance = len(polygons) * outline_px / per_px / 8000
    ratios = area_ratios(polygons, 100, 80)
    assert ratios.union == pytest.approx(inside.any(axis=0).mean(), abs=tolerance)
    assert ratios.sum == pytest.approx(inside.mean(axis=(1, 2)).sum(), abs=tolerance)
    assert ratios.max_region == pytest.approx(inside.mean(axis=(1, 2)).max(), abs=tolerance)


def _covers(polygon: Points, x: Points, y: Points) -> NDArray[np.bool_]:
    crossed = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            crossed ^= ((y0 < y) != (y1 < y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return crossed
