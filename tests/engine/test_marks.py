"""Markers, rulers, areas and regions of interest in the label file: one undo order with strokes, durable, frozen."""

import signal
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

from opsin.engine.errors import LabelError
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.roi import Region
from opsin.engine.labels.store import LabelStore

SQUARE = ((10.0, 10.0), (110.0, 10.0), (110.0, 60.0), (10.0, 60.0))
HOLE = ((20.0, 20.0), (30.0, 20.0), (30.0, 30.0), (20.0, 30.0))


@pytest.fixture
def store(tmp_path):
    store = LabelStore.create(tmp_path / "a.labels", 1400, 1100)
    yield store
    store.close()


def _marker(x=5.5, y=6.25, **more):
    return Mark("marker", ((x, y),), **more)


def _again(store):
    store.close()
    return LabelStore.open(store.path)


def test_marks_are_there_at_once_and_after_a_restart(store):
    told = []
    store.marks_changed.connect(lambda: told.append(len(store.marks())))
    kept = store.add_marks([_marker(note="mitosis?", label=2, author="A. B."), Mark("roi", SQUARE, (HOLE,))])
    assert told == [2]
    assert all(mark.id and mark.time for mark in kept)
    assert store.marks() == kept
    again = _again(store)
    assert again.marks() == kept
    assert again.marks("roi") == kept[1:]
    assert again.undo_text == "Add 2 marks"
    again.close()


def test_strokes_and_marks_share_one_order_of_undo_also_after_a_restart(store):
    (first,) = store.add_marks([_marker()])
    store.stroke([[300, 300]], 20, 1)
    store.change_mark(Mark(**{**first.__dict__, "note": "seen"}))
    store.stroke([[600, 300]], 20, 2)
    painted = store.areas()
    again = _again(store)
    try:
        told = []
        again.marks_changed.connect(lambda: told.append([mark.note for mark in again.marks()]))
        assert again.undo() and again.areas() == {1: painted[1]}
        assert told == []
        assert again.undo() and again.areas() == {1: painted[1]}
        assert told == [[""]]
        assert again.undo() and again.areas() == {}
        assert again.undo() and again.marks() == []
        assert not again.can_undo
        for _ in range(4):
            again.redo()
        assert again.areas() == painted
        assert [mark.note for mark in again.marks()] == ["seen"]
        again.undo()
        again.undo()
        again.flush()
        with LabelStore.open(again.path, readonly=True) as other:
            assert other.marks() == [first], "the table is what memory says"
    finally:
        again.close()


def test_removing_is_one_step_and_comes_back_whole(store):
    kept = store.add_marks([_marker(), _marker(7, 8, note="b"), Mark("ruler", ((0, 0), (30, 40)))])
    store.remove_marks([mark.id for mark in kept])
    assert store.marks() == [] and store.undo_text == "Remove 3 marks"
    store.undo()
    assert store.marks() == kept


def test_marks_and_outlines_of_an_import_are_one_step(store):
    group = store.new_group()
    store.polygons([([np.array(SQUARE)], 1)], group=group)
    store.add_marks([_marker()], group=group)
    store.undo()
    assert not store.can_undo and store.marks() == [] and store.areas() == {}


def test_new_marks_end_what_could_be_redone(store):
    store.add_marks([_marker()])
    store.undo()
    (other,) = store.add_marks([_marker(9, 9)])
    assert not store.can_redo
    again = _again(store)
    assert again.marks() == [other] and not again.can_redo
    again.close()


def test_what_a_mark_measures():
    ruler = Mark("ruler", ((10, 10), (13, 14), (13, 20)))
    assert ruler.length == pytest.approx(11) and ruler.area == 0
    area = Mark("area", SQUARE, (HOLE,))
    assert area.area == pytest.approx(100 * 50 - 100)
    assert area.length == pytest.approx(300 + 40)
    assert Mark("area", SQUARE).is_rectangle and not area.is_rectangle
    far = tuple((x + 3e5, y + 2e5) for x, y in SQUARE)
    assert Mark("area", far).area == pytest.approx(5000, abs=1e-6)


@pytest.mark.parametrize(
    ("mark", "word"),
    [
        (Mark("circle", SQUARE), "no mark called 'circle'"),
        (Mark("roi", SQUARE[:2]), "at least 3 points, not 2"),
        (Mark("marker", SQUARE), "1 points, not 4"),
        (Mark("ruler", ((0, 0), (float("nan"), 1))), "not finite"),
        (Mark("ruler", ((0, 0), (1e12, 1))), "far beyond"),
        (Mark("marker", ((1, 1),), label=0), "from 1 to 255"),
        (Mark("ruler", SQUARE, (HOLE,)), "has no holes"),
    ],
)
def test_what_is_no_mark_is_refused_whole(store, mark, word):
    with pytest.raises(LabelError, match=word):
        store.add_marks([_marker(), mark])
    assert store.marks() == [] and not store.can_undo


def test_the_same_id_twice_and_unknown_ids_are_refused(store):
    (one,) = store.add_marks([_marker(id="x")])
    with pytest.raises(LabelError, match="same id"):
        store.add_marks([one])
    with pytest.raises(LabelError, match="no longer there"):
        store.remove_marks(["y"])


def test_a_file_from_before_there_were_marks_takes_them(tmp_path):
    path = tmp_path / "old.labels"
    with LabelStore.create(path, 600, 600) as store:
        store.stroke([[30, 30]], 5, 1)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE mark")
    connection.commit()
    connection.close()
    with LabelStore.open(path, readonly=True) as store:
        assert store.marks() == [] and store.roi() is None
        store.snapshot(tmp_path / "copy.labels")
    with LabelStore.open(path) as store:
        (kept,) = store.add_marks([_marker()])
        store.snapshot(tmp_path / "copy.labels")
    with LabelStore.open(tmp_path / "copy.labels", readonly=True) as copy:
        assert copy.marks() == [kept]


def test_a_damaged_mark_is_one_sentence_and_leaves_the_file_unlocked(tmp_path):
    path = tmp_path / "a.labels"
    with LabelStore.create(path, 600, 600) as store:
        store.add_marks([_marker()])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE mark SET points = '[[1]]'")
    connection.commit()
    connection.close()
    with pytest.raises(LabelError, match=r"is damaged .* restore it from a backup"):
        LabelStore.open(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE mark SET points = '[[1, 2]]'")
    connection.commit()
    connection.close()
    with LabelStore.open(path) as store:
        assert store.marks()[0].points == ((1.0, 2.0),)


KILLED = """
import os, signal, sys
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.store import LabelStore
store = LabelStore.create(sys.argv[1], 600, 600)
store.add_marks([Mark("marker", ((1.0, 2.0),), note="one")])
store.stroke([[300, 300]], 9, 1)
store.add_marks([Mark("marker", ((3.0, 4.0),), note="two")])
store.undo()
store.flush()
# journalled but not in the table: what a kill between the two commits leaves
store._writer._paint = lambda task: os.kill(os.getpid(), signal.SIGKILL)
store.add_marks([Mark("marker", ((5.0, 6.0),), note="three")])
store.flush()
"""


def test_a_kill_between_journal_and_table_loses_no_mark(tmp_path):
    path = tmp_path / "a.labels"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    with LabelStore.open(path, readonly=True) as store:
        assert [mark.note for mark in store.marks()] == ["one", "three"]
    with LabelStore.open(path) as store:
        store.flush()
        assert [mark.note for mark in store.marks()] == ["one", "three"]
        store.undo()
        assert [mark.note for mark in store.marks()] == ["one"]
        store.undo()
        assert store.areas() == {}
    with LabelStore.open(path, readonly=True) as store:
        assert [mark.note for mark in store.marks()] == ["one"]


def test_a_snapshot_freezes_marks_and_its_hash_tells_regions_apart(store, tmp_path):
    store.stroke([[300, 300]], 20, 1)
    plain = store.content_hash()
    store.add_marks([_marker(note="does not count")])
    assert store.content_hash() == plain
    (roi,) = store.add_marks([Mark("roi", SQUARE)])
    inside = store.snapshot(tmp_path / "frozen.labels")
    assert inside == store.content_hash() != plain
    store.remove_marks([roi.id])
    assert store.content_hash() == plain
    with LabelStore.open(tmp_path / "frozen.labels", readonly=True) as frozen:
        assert frozen.marks("roi") == [roi] and not frozen.can_undo


def test_marks_may_be_made_from_several_threads(store):
    def add(number):
        for place in range(20):
            store.add_marks([_marker(number, place)])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.marks()) == 80
    for _ in range(80):
        store.undo()
    store.flush()
    assert store.marks() == []


def test_a_region_holds_the_pixels_whose_centre_is_inside(store):
    assert store.roi() is None
    store.add_marks(
        [Mark("roi", SQUARE, (HOLE,)), Mark("roi", ((200.0, 0.4), (210.0, 0.4), (210.0, 9.6), (200.0, 9.6)))]
    )
    region = store.roi()
    assert region is store.roi()
    wanted = np.zeros((1100, 1400), bool)
    wanted[10:60, 10:110] = True
    wanted[20:30, 20:30] = False
    wanted[0:10, 200:210] = True
    assert np.array_equal(region.mask(0, 0, 1400, 1100), wanted)
    assert np.array_equal(region.mask(8, 4, 100, 30, 4), wanted[4:124:4, 8:408:4])
    share = region.shares(8, 1, 0, 20, 10)
    assert np.array_equal(share, wanted[:80, 8:168].reshape(10, 8, 20, 8).mean((1, 3), dtype=np.float32))
    assert region.touches(0, 0, 11, 11) and not region.touches(0, 0, 9, 9)
    assert not region.touches(22, 22, 5, 5), "a hole is not part of it"
    assert region.covers(40, 40, 10, 10) and not region.covers(100, 50, 20, 20)
    store.undo()
    assert store.roi() is None


def test_a_region_that_crosses_itself_is_the_same_for_pixels_and_for_rectangles():
    bow = Region([[np.array([(0.0, 0.0), (40.0, 40.0), (40.0, 0.0), (0.0, 40.0)])]])
    mask = bow.mask(0, 0, 40, 40)
    assert mask[20, 2] and not mask[2, 20]
    assert bow.touches(0, 15, 4, 10) and not bow.touches(16, 0, 8, 4)


def test_the_size_of_a_labelled_region_is_that_of_its_shape(tmp_path):
    from opsin.engine.labels.region_size import region_size

    with LabelStore.create(tmp_path / "b.labels", 2400, 2000) as store:
        store.polygon([np.array([[100.0, 100], [700, 100], [700, 500], [100, 500]])], 1)
        assert region_size(store, 300, 300) == (600 * 400, 2000.0)
        store.stroke([[1500.0, 1000.0]], 400, 2)
        store.stroke([[1500.0, 1000.0]], 100, 0)
        area, perimeter = region_size(store, 1300, 1000)
        assert area == pytest.approx(np.pi * (400**2 - 100**2), rel=2e-3)
        assert perimeter == pytest.approx(2 * np.pi * 500, rel=0.02)
        turned = np.array([[600.0, 1000.0], [900, 1130], [770, 1430], [470, 1300]])
        store.polygon([turned], 3)
        assert region_size(store, 700, 1200)[1] == pytest.approx(4 * np.hypot(300, 130), rel=0.02)
        with pytest.raises(LabelError, match="not on the slide"):
            region_size(store, 5000, 0)
