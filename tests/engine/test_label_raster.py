"""The one rule of pixels: a centre inside is in, whatever window or level is asked for."""

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opsin.engine.labels.raster import Polygons, Spans, Stroke, raster, raster_polygon, raster_stroke

FRACTIONS = st.sampled_from([1, 2, 256])  # coordinates on pixel corners, on centres, anywhere


@st.composite
def points(draw, least=1, most=6):
    fraction = draw(FRACTIONS)
    place = st.integers(-40 * fraction, 140 * fraction)
    found = draw(st.lists(st.tuples(place, place), min_size=least, max_size=most))
    return np.array(found, float) / fraction


def _near(points, radius, x, y, w, h, step):
    """Every pixel centre against every segment: the definition, written as plainly as can be."""
    px, py = np.meshgrid(x + np.arange(w) * step + 0.5, y + np.arange(h) * step + 0.5)
    mask = np.zeros((h, w), bool)
    for a, b in zip(points[:-1], points[1:]) if len(points) > 1 else [(points[0], points[0])]:
        d, qx, qy = b - a, px - a[0], py - a[1]
        along, cross, length2 = qx * d[0] + qy * d[1], qx * d[1] - qy * d[0], d @ d
        end_a, end_b = qx**2 + qy**2 <= radius**2, (px - b[0]) ** 2 + (py - b[1]) ** 2 <= radius**2
        side = (along > 0) & (along < length2) & (cross**2 <= radius**2 * length2)
        mask |= end_a | end_b | side
    return mask


@settings(max_examples=300, deadline=None)
@given(points(), st.integers(1, 120 * 4), st.sampled_from([1, 2, 4]))
@example(np.array([[10.5, 10.5]]), 20, 1)  # the rim passes through pixel centres
@example(np.array([[10.0, 10.5], [50.0, 10.5]]), 20, 1)  # its straight side does
@example(np.array([[10.0, 10.5], [90.0, 10.5 + 1 / 256]]), 20, 1)  # nearly level
def test_stroke_is_the_definition(points, quarters, step):
    radius = quarters / 4
    assert np.array_equal(
        raster_stroke(points, radius, -8, -4, 40, 30, step), _near(points, radius, -8, -4, 40, 30, step)
    )


@settings(max_examples=200, deadline=None)
@given(points(3, 9))
def test_polygon_agrees_with_shapely_off_the_edge(ring):
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid:
        return  # shapely has no fill rule for those
    px, py = np.meshgrid(np.arange(-40, 140) + 0.5, np.arange(-40, 140) + 0.5)
    mine = raster_polygon([ring], "evenodd", -40, -40, 180, 180)
    theirs = shapely.contains_xy(polygon, px, py)
    differ = mine != theirs
    assert (shapely.distance(shapely.points(px[differ], py[differ]), polygon.boundary) < 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.builds(Stroke, points(1, 8), st.floats(0.5, 60)),
        st.builds(
            lambda rings, rule: Polygons([([ring], rule) for ring in rings]),
            st.lists(points(3, 8), min_size=1, max_size=3),
            st.sampled_from(["evenodd", "nonzero"]),
        ),
    ),
    st.integers(17, 90),
    st.integers(17, 90),
)
def test_windows_and_levels_agree_in_every_pixel(shape, wide, high):
    whole = raster(shape, -50, -50, 200, 200)
    for y in range(-50, 150, high):
        for x in range(-50, 150, wide):
            w, h = min(wide, 150 - x), min(high, 150 - y)
            part = raster(shape, x, y, w, h)
            assert np.array_equal(part, whole[y + 50 : y + 50 + h, x + 50 : x + 50 + w])
    for step in (2, 4, 8):
        coarse = raster(shape, -50, -50, 200 // step, 200 // step, step)
        assert np.array_equal(coarse, whole[::step, ::step][: 200 // step, : 200 // step])


def test_rules_of_a_star():
    corner = np.pi * 0.8 * np.arange(5)
    star = 50 + 45 * np.stack([np.sin(corner), -np.cos(corner)], 1)
    odd = raster_polygon([star], "evenodd", 0, 0, 100, 100)
    full = raster_polygon([star], "nonzero", 0, 0, 100, 100)
    assert not odd[50, 50] and full[50, 50] and (full | odd == full).all()
    assert np.array_equal(full[:, 50].nonzero()[0][[0]], odd[:, 50].nonzero()[0][[0]])


def test_hole_and_neighbours_share_nothing_and_leave_nothing_out():
    outer, inner = np.array([[0, 0], [40, 3], [37, 40], [1, 38]]), np.array([[10, 10], [30, 12], [25, 30], [11, 28]])
    ring = raster_polygon([outer, inner], "evenodd", -5, -5, 60, 60)
    hole = raster_polygon([inner], "evenodd", -5, -5, 60, 60)
    assert not (ring & hole).any()
    assert np.array_equal(ring | hole, raster_polygon([outer], "evenodd", -5, -5, 60, 60))


def test_whole_pixels_come_back_exactly():
    square = np.array([[3, 4], [9, 4], [9, 8], [3, 8]])
    mask = raster_polygon([square], "evenodd", 0, 0, 12, 12)
    assert mask.sum() == 24 and mask[4:8, 3:9].all()
    centred = raster_polygon([square + 0.5], "evenodd", 0, 0, 12, 12)
    assert np.array_equal(centred, mask), "left and upper edge are in, right and lower out"


def test_smallest_brush_and_crossing_strokes():
    assert raster_stroke(np.array([[5.5, 5.5]]), 0.5, 0, 0, 12, 12).nonzero() == (np.array([5]), np.array([5]))
    cross = np.array([[0.0, 0.0], [40.0, 40.0], [40.0, 0.0], [0.0, 40.0]])
    assert np.array_equal(raster_stroke(cross, 3, 0, 0, 40, 40), _near(cross, 3, 0, 0, 40, 40, 1))
    assert raster_stroke(cross, 3, 0, 0, 40, 40)[20, 20], "a stroke that crosses itself has no hole there"


@pytest.mark.parametrize("degenerate", [[], [np.zeros((0, 2))], [np.zeros((2, 2))], [np.full((5, 2), 3.0)]])
def test_polygons_without_area_paint_nothing(degenerate):
    assert not raster_polygon(degenerate, "evenodd", 0, 0, 10, 10).any()


def test_tiles_are_told_apart_before_they_are_rasterised():
    square = Polygons([([np.array([[100, 0], [2000, 0], [2000, 512], [100, 512]])], "evenodd")])
    spans = square.spans(0, 512)
    kinds = {column: part is None for column, part in spans.tiles()}
    assert kinds == {0: False, 1: True, 2: True, 3: False}
    assert isinstance(spans, Spans) and len(spans.row) == 512


def test_brush_of_tens_of_thousands_of_pixels_stays_exact_at_its_rim():
    shape = Stroke(np.array([[50_000.0, 40_000.0], [60_000.25, 41_000.75]]), 30_000.5)
    x, y = 20_000, 38_000  # the left rim runs through this window
    mask = raster(shape, x, y, 300, 300)
    assert mask.any() and not mask.all()
    assert np.array_equal(mask, _near(shape.points, shape.radius, x, y, 300, 300, 1))
    bands = [shape.spans(y, 512) for y in range(0, 80_000, 512)]
    area = sum(int((band.end - band.start).sum()) for band in bands)
    assert 0 < area < (2 * 30_000.5) ** 2 + 2 * 30_000.5 * 10_051


def test_large_windows_are_worked_off_in_parts():
    rng = np.random.default_rng(0)
    shape = Stroke(rng.uniform(0, 4000, (900, 2)), 800)  # more than a million runs at once
    whole = shape.spans(0, 4000)
    part = shape.spans(1000, 10)
    keep = (whole.row >= 1000) & (whole.row < 1010)
    assert np.array_equal(whole.start[keep], part.start) and np.array_equal(whole.end[keep], part.end)
