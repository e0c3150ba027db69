"""Regions: found over tiles, grown, shrunk, filled; against dense arrays, and through the journal."""

import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from opsin.engine.errors import LabelError
from opsin.engine.labels import regions
from opsin.engine.labels.pen import tapered
from opsin.engine.labels.raster import raster, raster_stroke
from opsin.engine.labels.regions import Stopped, connected, grown, shrunk
from opsin.engine.labels.runs import Runs
from opsin.engine.labels.store import LabelStore

WIDTH, HEIGHT = 1400, 1100


@pytest.fixture
def store(tmp_path):
    store = LabelStore.create(tmp_path / "a.labels", WIDTH, HEIGHT)
    yield store
    store.close()


def _all(store):
    return store.region(0, 0, 0, store.width, store.height)


def _dense(runs, width=WIDTH, height=HEIGHT):
    return runs.mask(0, 0, width, height)


MASKS = st.integers(0, 2**32 - 1).map(
    lambda seed: ndimage.zoom(np.random.default_rng(seed).random((9, 11)), 4, order=1) > 0.5
)


@settings(max_examples=60, deadline=None)
@given(one=MASKS, other=MASKS)
def test_set_operations_equal_those_of_dense_masks(one, other):
    height, width = one.shape
    a, b = Runs.of_mask(one, 5, 7), Runs.of_mask(other, 5, 7)
    for runs, dense in ((a | b, one | other), (a & b, one & other), (a - b, one & ~other)):
        assert np.array_equal(runs.mask(5, 7, width, height), dense)
        assert runs.area == dense.sum()
    assert np.array_equal(Runs.joined([a, b]).mask(5, 7, width, height), one | other)
    again = Runs.unpack(a.pack())
    assert all(np.array_equal(getattr(again, name), getattr(a, name)) for name in ("row", "start", "end"))


@settings(max_examples=60, deadline=None)
@given(mask=MASKS)
def test_holes_and_groups_equal_those_of_dense_masks(mask):
    runs = Runs.of_mask(mask)
    numbers, count = ndimage.label(mask)
    groups = runs.groups()
    assert len(set(groups.tolist())) == count
    for group in range(count):
        of = Runs(runs.row[groups == group], runs.start[groups == group], runs.end[groups == group])
        part = of.mask(0, 0, mask.shape[1], mask.shape[0])
        assert np.array_equal(part, numbers == numbers[of.row[0], of.start[0]])
        # a hole ends where one can get out diagonally
        outside = ndimage.label(~np.pad(part, 1), np.ones((3, 3)))[0]
        holes = (outside != outside[0, 0])[1:-1, 1:-1] & ~part
        assert np.array_equal(of.holes().mask(0, 0, mask.shape[1], mask.shape[0]), holes)


def test_a_coarse_level_shows_every_second_pixel_of_runs():
    mask = np.random.default_rng(3).random((40, 60)) > 0.4
    runs = Runs.of_mask(mask)
    assert np.array_equal(raster(runs, 0, 0, 30, 20, 2), mask[::2, ::2])
    assert runs.contains(3, 5) == mask[5, 3]


def _scene(store):
    """A ring around a tile corner, an island in it, a neighbour of the same class that touches only diagonally."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    away = np.hypot(x + 0.5 - 512, y + 0.5 - 512)
    labels[(away < 400) & (away > 150)] = 1
    labels[away < 60] = 2
    labels[1000:1050, 1000:1050] = 1
    labels[1050:1090, 1050:1400] = 1
    for value in (1, 2):
        store.pixels([(Runs.of_mask(labels == value), value)], text="Scene")
    store.flush()
    return labels


@pytest.mark.parametrize("at", [(512, 200), (512, 512), (512, 400), (1010, 1010), (1399, 1060), (5, 5)])
def test_the_connected_region_of_a_pixel_is_found_over_tiles(store, at):
    labels = _scene(store)
    numbers = ndimage.label(labels == labels[at[1], at[0]])[0]
    assert np.array_equal(_dense(connected(store, *at)), numbers == numbers[at[1], at[0]])


def test_a_small_memory_of_numbered_tiles_gives_the_same(store, monkeypatch):
    monkeypatch.setattr(regions, "_NUMBERED", 1)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((HEIGHT, WIDTH)), 3) > 0.497
    store.pixels([(Runs.of_mask(noise), 1)], text="Noise")
    store.flush()
    y, x = (int(v[0]) for v in np.nonzero(noise))
    numbers = ndimage.label(noise)[0]
    assert np.array_equal(_dense(connected(store, x, y)), numbers == numbers[y, x])


def test_a_place_open_to_the_edge_is_refused_and_an_enclosed_one_not(store):
    labels = _scene(store)
    numbers = ndimage.label(labels == 0)[0]
    assert connected(store, 512, 400, closed=True).area == (numbers == numbers[400, 512]).sum()
    for at in ((5, 5), (1390, 1070)):  # the bottom of the slide lies within a tile
        with pytest.raises(LabelError, match="edge of the slide"):
            connected(store, *at, closed=True)
    with pytest.raises(LabelError, match="not on the slide"):
        connected(store, -1, 5)


def test_a_flood_ends_when_the_user_gives_up(store):
    asked = []
    with pytest.raises(Stopped):
        connected(store, 5, 5, cancelled=lambda: bool(asked.append(1)) or len(asked) > 2)
    assert len(asked) == 3


def test_a_region_that_is_too_ragged_is_refused(store, monkeypatch):
    monkeypatch.setattr(regions, "MOST_RUNS", 10)
    _scene(store)
    with pytest.raises(LabelError, match="too ragged"):
        connected(store, 512, 200)


def test_a_huge_whole_tile_region_costs_few_runs(tmp_path):
    with LabelStore.create(tmp_path / "big.labels", 60_000, 50_000) as store:
        store.polygon([np.array([[0, 0], [60_000, 0], [60_000, 50_000], [0, 50_000]])], 1)
        store.stroke([[30_000, 25_000]], 300, 0)
        store.flush()
        region = connected(store, 5, 5)
        hole = connected(store, 30_000, 25_000, closed=True)
    assert region.area + hole.area == 60_000 * 50_000
    assert len(region) < 51_000


@pytest.mark.parametrize("radius", [1, 2.5, 40])
def test_growing_and_shrinking_are_exact(store, radius):
    labels = _scene(store)
    region = connected(store, 512, 200)
    mask = _dense(region)
    away = ndimage.distance_transform_edt(~mask)
    assert np.array_equal(_dense(grown(region, radius, WIDTH, HEIGHT)), away <= radius)
    inside = ndimage.distance_transform_edt(mask)
    assert np.array_equal(_dense(shrunk(region, radius, WIDTH, HEIGHT)), inside > radius)
    assert labels.any()


def test_blocks_and_passes_leave_no_seams(monkeypatch, store):
    _scene(store)
    region = connected(store, 512, 200)
    whole, less = grown(region, 30, WIDTH, HEIGHT), shrunk(region, 30, WIDTH, HEIGHT)
    monkeypatch.setattr(regions, "_BLOCK", 100)
    assert np.array_equal(_dense(grown(region, 30, WIDTH, HEIGHT)), _dense(whole))
    assert np.array_equal(_dense(shrunk(region, 30, WIDTH, HEIGHT)), _dense(less))
    monkeypatch.setattr(regions, "_REACH", 10)
    passes = _dense(grown(region, 30, WIDTH, HEIGHT))
    away = ndimage.distance_transform_edt(~_dense(region))
    assert not passes[away > 30].any() and passes[away <= 27].all()


def test_the_edge_of_the_slide_is_no_border_for_shrinking():
    corner = Runs.of_mask(np.ones((50, 60), bool))
    assert np.array_equal(
        _dense(shrunk(corner, 5, WIDTH, HEIGHT))[:60, :70], np.pad(np.ones((45, 55), bool), ((0, 15),) * 2)
    )


# ---- through the store


def test_pixels_are_one_step_change_only_what_they_may_and_survive_a_restart(tmp_path):
    path = tmp_path / "a.labels"
    mask = np.random.default_rng(1).random((HEIGHT, WIDTH)) > 0.5
    with LabelStore.create(path, WIDTH, HEIGHT) as store:
        store.stroke([[500, 500]], 100, 1)
        store.stroke([[800, 500]], 100, 2)
        store.flush()
        before = _all(store)
        store.pixels([(Runs.of_mask(mask), 3)], text="Fill", only=(0, 2))
        at_once = _all(store)
        store.flush()
        expected = np.where(mask & (before != 1), 3, before)
        assert np.array_equal(_all(store), expected) and store.undo_text == "Fill"
        # more runs than are painted for whoever looks while they wait
        assert np.array_equal(at_once, expected) or np.array_equal(at_once, before)
    with LabelStore.open(path) as store:
        assert np.array_equal(_all(store), expected)
        assert store.undo()
        store.flush()
        assert np.array_equal(_all(store), before)
        assert store.redo()
        store.flush()
        assert np.array_equal(_all(store), expected)
        with pytest.raises(LabelError, match="nothing to paint"):
            store.pixels([(Runs.joined([]), 1)], text="Fill")


def test_pixels_and_pen_strokes_that_were_only_journalled_are_painted_on_reopening(tmp_path):
    path = tmp_path / "a.labels"
    with LabelStore.create(path, WIDTH, HEIGHT) as store:
        store.pixels([(Runs.of_mask(np.ones((30, 900), bool), 100, 500), 2)], text="Fill")
        store.stroke([[100, 100], [900, 700]], np.array([4.0, 60.0]), 1)
        store.flush()
        expected = _all(store)
    connection = sqlite3.connect(path)
    connection.executescript("UPDATE op SET state = 0; DELETE FROM old; DELETE FROM tile; DELETE FROM area;")
    connection.close()
    with LabelStore.open(path) as again:
        again.flush()
        assert np.array_equal(_all(again), expected) and {1, 2} == set(again.areas())


def test_a_few_bytes_hold_a_region_of_many_pixels(tmp_path):
    y, x = np.mgrid[:2000, :2000]
    disc = Runs.of_mask(np.hypot(x - 1000, y - 1000) < 900 + 50 * np.sin(np.arctan2(y - 1000, x - 1000) * 40))
    with LabelStore.create(tmp_path / "a.labels", 2000, 2000) as store:
        store.pixels([(disc, 1)], text="Fill")
        store.flush()
        size = store._reader.execute("SELECT length(geometry) FROM op").fetchone()[0]
    assert size < disc.area / 1000 * 4


def test_keep_leaves_labels_alone_for_one_edit(store):
    store.stroke([[500, 500]], 100, 1)
    store.stroke([[600, 500]], 100, 2, keep=frozenset({1}))
    store.polygon([np.array([[0, 0], [1400, 0], [1400, 1100], [0, 1100]])], 3, keep=frozenset({1, 2}))
    store.flush()
    one = raster_stroke(np.array([[500, 500]]), 100, 0, 0, WIDTH, HEIGHT)
    two = raster_stroke(np.array([[600, 500]]), 100, 0, 0, WIDTH, HEIGHT)
    assert np.array_equal(_all(store), np.where(one, 1, np.where(two, 2, 3)))


def test_a_pen_stroke_is_as_wide_as_its_pressure_says():
    strokes = tapered(np.array([[100.0, 100.0], [500.0, 100.0]]), np.array([5.0, 50.0]))
    mask = np.zeros((200, 600), bool)
    for stroke in strokes:
        mask |= raster(stroke, 0, 0, 600, 200)
    heights = mask.sum(0)
    assert abs(heights[102] - 10) <= 2 and abs(heights[498] - 100) <= 4
    middle = heights[100:500]
    assert (np.diff(middle) >= 0).all() and np.diff(middle).max() <= 6
    assert len(tapered(np.array([[0.0, 0], [5, 5], [9, 9]]), np.full(3, 4.0))) == 1
