"""The label store against a dense model: every pixel, any order of edits, undo and redo, restarts, full disk."""

import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsin.engine.labels.journal import Operation
from opsin.engine.labels.raster import raster_polygon, raster_stroke
from opsin.engine.labels.store import LabelStore

WIDTH, HEIGHT = 1400, 1100


@pytest.fixture
def store(tmp_path):
    store = LabelStore.create(tmp_path / "a.labels", WIDTH, HEIGHT)
    yield store
    store.close()


def _all(store, level=0):
    width, height = store.level_size(level)
    return store.region(level, 0, 0, width, height)


def test_stroke_is_pixel_exact_before_and_after_it_is_applied(store):
    points = np.array([[100.0, 100.0], [900.0, 700.0], [1390.0, 90.0]])
    store.stroke(points, 37.5, 2)
    at_once = _all(store)
    store.flush()
    expected = raster_stroke(points, 37.5, 0, 0, WIDTH, HEIGHT) * 2
    assert np.array_equal(at_once, expected)
    assert np.array_equal(_all(store), expected)
    assert expected.any()


def test_coarser_levels_show_every_second_pixel(store):
    store.stroke([[400, 300], [1000, 900]], 60, 1)
    store.polygon([np.array([[0, 0], [1400, 0], [1400, 40], [0, 40]])], 3)
    store.flush()
    for level in range(1, store.levels):
        assert np.array_equal(_all(store, level), _all(store)[:: 1 << level, :: 1 << level])


def test_nothing_is_painted_outside_the_slide(store):
    store.polygon([np.array([[-500, -500], [5000, -500], [5000, 5000], [-500, 5000]])], 1)
    assert store.areas() == {1: WIDTH * HEIGHT}
    assert store.bounds() == (0, 0, WIDTH, HEIGHT)


def test_protected_labels_stay(store):
    store.stroke([[500, 500]], 100, 1)
    store.protected = frozenset({1})
    store.stroke([[600, 500]], 100, 2)
    store.protected = frozenset()
    store.flush()
    one = raster_stroke(np.array([[500, 500]]), 100, 0, 0, WIDTH, HEIGHT)
    two = raster_stroke(np.array([[600, 500]]), 100, 0, 0, WIDTH, HEIGHT)
    assert np.array_equal(_all(store), np.where(one, 1, two * 2))


def test_undo_and_redo_survive_a_restart(tmp_path):
    path = tmp_path / "a.labels"
    with LabelStore.create(path, WIDTH, HEIGHT) as store:
        store.stroke([[300, 300]], 50, 1, text="Brush")
        store.stroke([[320, 320]], 50, 2, text="Second")
        store.flush()
        full = _all(store)
        assert store.undo()
    with LabelStore.open(path) as store:
        assert store.undo_text == "Brush" and store.redo_text == "Second"
        assert store.redo() and not store.can_redo
        store.flush()
        assert np.array_equal(_all(store), full)
        assert store.undo() and store.undo() and not store.undo()
        store.flush()
        assert not _all(store).any()


def test_group_is_one_step(store):
    group = store.new_group()
    store.stroke([[300, 300]], 50, 1, group=group)
    store.stroke([[330, 300]], 50, 2, group=group)
    store.undo()
    store.flush()
    assert not _all(store).any() and not store.can_undo
    store.redo()
    store.flush()
    assert set(store.areas()) == {1, 2}


def test_import_is_one_step_and_later_polygons_win(store):
    square = np.array([[10, 10], [60, 10], [60, 60], [10, 60]], float)
    store.polygons([([square], 1), ([square + 20], 2), ([square + 40], 0)], text="Import a.xml")
    assert store.undo_text == "Import a.xml"
    model = np.zeros((HEIGHT, WIDTH), np.uint8)
    for shift, label in ((0, 1), (20, 2), (40, 0)):
        model[raster_polygon([square + shift], "evenodd", 0, 0, WIDTH, HEIGHT)] = label
    store.flush()
    assert np.array_equal(_all(store), model)
    store.undo()
    store.flush()
    assert not store.areas()


STROKES = st.tuples(
    st.just("stroke"),
    st.lists(st.tuples(st.integers(-100, WIDTH + 100), st.integers(-100, HEIGHT + 100)), min_size=1, max_size=4),
    st.floats(0.5, 300),
    st.integers(0, 3),
    st.sampled_from([frozenset(), frozenset({1}), frozenset({0, 2})]),
)
POLYGONS = st.tuples(
    st.just("polygon"),
    st.lists(st.tuples(st.floats(-100, WIDTH + 100), st.floats(-100, HEIGHT + 100)), min_size=3, max_size=8),
    st.sampled_from(["evenodd", "nonzero"]),
    st.integers(0, 3),
    st.sampled_from([frozenset(), frozenset({3})]),
)
EDITS = st.lists(st.one_of(STROKES, POLYGONS, st.sampled_from(["undo", "redo", "reopen"])), max_size=10)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_any_sequence_equals_the_dense_model(tmp_path_factory, edits):
    path = tmp_path_factory.mktemp("store") / "a.labels"
    store = LabelStore.create(path, WIDTH, HEIGHT)
    done, undone = [np.zeros((HEIGHT, WIDTH), np.uint8)], []
    for edit in edits:
        if edit == "undo":
            assert store.undo() == (len(done) > 1)
            if len(done) > 1:
                undone.append(done.pop())
        elif edit == "redo":
            assert store.redo() == bool(undone)
            if undone:
                done.append(undone.pop())
        elif edit == "reopen":
            store.close()
            store = LabelStore.open(path)
        else:
            kind, points, value, label, protected = edit
            store.protected = protected
            points = np.array(points, float)
            if kind == "stroke":
                store.stroke(points, value, label)
                mask = raster_stroke(points, value, 0, 0, WIDTH, HEIGHT)
            else:
                store.polygon([points], label, rule=value)
                mask = raster_polygon([points], value, 0, 0, WIDTH, HEIGHT)
            model = done[-1].copy()
            model[mask & ~np.isin(model, list(protected))] = label
            done.append(model)
            undone.clear()
    store.flush()
    assert np.array_equal(_all(store), done[-1])
    labels, counts = np.unique(done[-1], return_counts=True)
    assert store.areas() == {int(a): int(b) for a, b in zip(labels, counts) if a}
    hash_now = store.content_hash()
    store.close()
    with LabelStore.open(path, readonly=True) as again:
        assert np.array_equal(_all(again), done[-1]) and again.content_hash() == hash_now
        assert np.array_equal(_all(again, 1), done[-1][::2, ::2])


def test_snapshot_is_frozen_and_has_no_history(store, tmp_path):
    store.stroke([[200, 200]], 30, 1)
    said = store.snapshot(tmp_path / "snap.labels")
    assert said == store.content_hash()
    store.stroke([[500, 500]], 30, 2)
    with LabelStore.open(tmp_path / "snap.labels", readonly=True) as frozen:
        assert set(frozen.areas()) == {1} and not frozen.can_undo and frozen.content_hash() == said
    assert [p.name for p in tmp_path.iterdir() if "snap" in p.name] == ["snap.labels"]


def test_signals_tell_what_changed_and_when_it_is_saved(store):
    rects, times = [], []
    store.changed.connect(rects.append)
    store.saved.connect(times.append)
    store.stroke([[200, 300]], 10, 1)
    store.flush()
    x, y, w, h = rects[0]
    assert x <= 190 and y <= 290 and x + w >= 210 and y + h >= 310 and w < 30 and h < 30
    assert abs(times[0] - time.time()) < 60


def test_operation_that_was_only_journalled_is_applied_on_reopening(store):
    store.stroke([[200, 200]], 30, 1)
    store.flush()
    expected = _all(store)
    path = store.path
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE op SET state = 0")
    connection.execute("DELETE FROM old")
    connection.execute("DELETE FROM tile")
    connection.execute("DELETE FROM area")
    connection.commit()
    connection.close()
    with LabelStore.open(path) as again:
        again.flush()
        assert np.array_equal(_all(again), expected)
        again.undo()
        again.flush()
        assert not again.areas()


def test_groups_that_alternate_are_steps_of_their_own(store):
    one, two = store.new_group(), store.new_group()
    states = [_all(store)]
    for group, x in ((one, 300), (two, 320), (one, 340), (one, 360)):
        store.stroke([[x, 300]], 50, 1 + x // 20 % 3, group=group)
        if x != 340:
            states.append(_all(store))
    for expected in states[-2::-1]:
        assert store.undo()
        store.flush()
        assert np.array_equal(_all(store), expected)
    assert not store.undo()
    for expected in states[1:]:
        assert store.redo()
        store.flush()
        assert np.array_equal(_all(store), expected)


def test_queued_edits_are_in_sight_at_every_level(store):
    store.stroke([[500, 400]], 200, 3)
    store.flush()
    store.protected = frozenset({3})
    with store._writing:  # holds the writer back
        store.stroke([[100, 100], [1390, 1000]], 77, 1)
        store.stroke([[1300, 90], [90, 1000]], 50, 2)
        queued = [_all(store, level) for level in range(store.levels)]
        assert [np.array_equal(_all(store, level), queued[level]) for level in range(store.levels)]
        assert store.uniform(0, 0, 0) is None and len(store._writer.queue) == 2
        assert store.areas(wait=False).keys() == {3}
    store.flush()
    for level, before in enumerate(queued):
        assert np.array_equal(before, _all(store, level))
    assert {1, 2, 3} == set(np.unique(queued[0])) - {0} == set(store.areas())


def test_edits_become_durable_while_an_earlier_one_is_rasterised(store, monkeypatch):
    """The journal must not wait for the pixels."""
    order = []
    tiles = Operation.tiles

    def stroke_meanwhile(operation, width, height):
        for number, found in enumerate(tiles(operation, width, height)):
            if operation.kind == "polygons" and number == 0:
                order.append("rasterising")
                store.stroke([[100, 100]], 20, 2)
            yield found

    monkeypatch.setattr(Operation, "tiles", stroke_meanwhile)
    store.saved.connect(lambda _: order.append(f"durable {store.durable}"))
    store.changed.connect(lambda _: order.append("changed"))
    store.polygon([np.array([[0, 0], [1400, 0], [1400, 1100], [0, 1100]])], 1)
    store.flush()
    assert order[:4] == ["durable 1", "rasterising", "durable 2", "changed"]


def test_another_process_is_refused_as_long_as_this_one_writes(store):
    code = "import sys\nfrom opsin.engine.labels.store import LabelStore\nLabelStore.open(sys.argv[1]).close()\n"
    command = [sys.executable, "-c", code, str(store.path)]
    refused = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert refused.returncode == 1 and "open in another Opsin window" in refused.stderr
    store.close()
    assert subprocess.run(command, check=False).returncode == 0
    assert [path.name for path in store.path.parent.iterdir()] == ["a.labels"], "no lock file is left"


def _leave_unapplied(store):
    """Bring the file into the state in which a kill between journal and tiles leaves it."""
    expected = _all(store)
    store.close()
    connection = sqlite3.connect(store.path)
    connection.executescript("UPDATE op SET state = 0; DELETE FROM old; DELETE FROM tile; DELETE FROM area;")
    connection.close()
    return expected


def test_reader_and_snapshot_include_what_was_only_journalled(store, tmp_path):
    store.stroke([[200, 200], [900, 900]], 30, 1)
    store.polygon([np.array([[600, 100], [1300, 120], [900, 500]])], 2)
    store.flush()
    areas, bounds, content = store.areas(), store.bounds(), store.content_hash()
    expected = _leave_unapplied(store)
    with LabelStore.open(store.path, readonly=True) as reader:
        assert np.array_equal(_all(reader), expected) and np.array_equal(_all(reader, 1), expected[::2, ::2])
        assert (reader.areas(), reader.bounds(), reader.content_hash()) == (areas, bounds, content)
        assert reader.snapshot(tmp_path / "snap") == content
    with LabelStore.open(tmp_path / "snap", readonly=True) as frozen:
        assert np.array_equal(_all(frozen), expected) and frozen.areas() == areas and not frozen.can_undo


def test_reader_follows_the_writer_when_it_refreshes(store):
    with LabelStore.open(store.path, readonly=True) as reader:
        store.stroke([[200, 200]], 30, 1)
        store.flush()
        reader.refresh()
        assert np.array_equal(_all(reader), _all(store)) and reader.areas() == store.areas()
        store.undo()
        store.flush()
        assert _all(reader).any(), "nothing changes under the reader's feet"
        reader.refresh()
        assert not _all(reader).any() and not reader.areas()


def test_pixels_written_directly_count(store):
    store.stroke([[200, 200]], 30, 1)
    store.flush()
    with store.transaction():
        store.write(0, 0, 2)
        store.write(2, 2, np.full((512, 512), 3, np.uint8))
    assert store.areas() == {2: 512 * 512, 3: (WIDTH - 1024) * (HEIGHT - 1024)}
    assert store.bounds() == (0, 0, WIDTH, HEIGHT)


def test_content_hash_is_of_the_pixels_however_they_came(store, tmp_path):
    square = np.array([[100, 100], [700, 100], [700, 600], [100, 600]])
    store.polygon([square], 1)
    with LabelStore.create(tmp_path / "b.labels", WIDTH, HEIGHT) as other:
        other.stroke([[300, 300]], 150, 2)
        other.polygon([square[:, ::1]], 1)
        other.stroke([[1000, 1000]], 20, 2)
        assert other.content_hash() != store.content_hash()
        other.undo()
        assert other.content_hash() == store.content_hash()


def test_bounds_are_exact(store):
    for rect in ((130, 200, 131, 201), (1399, 700, 1400, 701), (600, 1099, 610, 1100), (500, 55, 900, 900)):
        x0, y0, x1, y1 = rect
        store.polygon([np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])], 1)
    ys, xs = np.nonzero(_all(store))
    assert store.bounds() == (xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min())
    store.polygon([np.array([[-1, -1], [2000, -1], [2000, 2000], [-1, 2000]])], 0)
    assert store.bounds() is None


def test_edits_off_the_slide_are_harmless_steps(store):
    store.stroke([[-500, -500]], 20, 1)
    store.polygon([np.array([[5000, 5000], [6000, 5000], [6000, 6000]])], 1)
    store.polygon([np.zeros((0, 2))], 1)
    store.flush()
    assert not store.areas()
    assert store.undo() and store.undo() and store.undo() and not store.undo()


def test_one_stroke_of_many_thousand_points_and_many_thousand_polygons(store):
    rng = np.random.default_rng(3)
    way = np.cumsum(rng.normal(0, 2, (20_000, 2)), axis=0) + 500
    store.stroke(way, 4.5, 1)
    corner = rng.uniform(0, 1000, (5000, 1, 2))
    triangles = corner + rng.uniform(0, 20, (5000, 3, 2))
    store.polygons([([triangle], 2 + number // 2500) for number, triangle in enumerate(triangles)])
    store.flush()
    model = raster_stroke(way, 4.5, 0, 0, WIDTH, HEIGHT).astype(np.uint8)
    for number, triangle in enumerate(triangles):
        x, y = triangle.min(0).astype(int)
        part = model[y : y + 30, x : x + 30]
        part[raster_polygon([triangle], "evenodd", x, y, part.shape[1], part.shape[0])] = 2 + number // 2500
    assert np.array_equal(_all(store), model)


def test_import_too_large_to_draw_at_once_shows_when_it_is_applied(store, monkeypatch):
    monkeypatch.setattr("opsin.engine.labels.store._SHOWN", 3)
    square = np.array([[10, 10], [60, 10], [60, 60], [10, 60]])
    with store._writing:
        store.stroke([[300, 300]], 5, 2)
        store.polygons([([square], 1)])
        assert set(np.unique(_all(store))) == {0, 2}
    store.flush()
    assert store.areas()[1] == 2500
