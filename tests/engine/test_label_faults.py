"""The label store in trouble: full disk, damaged files, bad edits, listeners that fail, a sudden end."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from opsin.engine.errors import LabelError
from opsin.engine.labels.raster import raster_stroke
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


def test_full_disk_keeps_the_edit_and_says_so(tmp_path):
    store = LabelStore.create(tmp_path / "a.labels", WIDTH, HEIGHT)
    said = []
    failed = threading.Event()
    store.failed.connect(lambda sentence: (said.append(sentence), failed.set()))
    store.stroke([[200, 200]], 30, 1)
    store.flush()
    with store._writing:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
    rng = np.random.default_rng(0)
    second = rng.uniform(0, 1000, (400, 2))
    store.stroke(second, 9, 2)
    assert failed.wait(10)
    assert "cannot be saved" in said[0] and "a.labels" in said[0]
    expected = np.where(raster_stroke(second, 9, 0, 0, WIDTH, HEIGHT), 2, _all(store))
    assert np.array_equal(_all(store), expected), "the edit stays in sight"
    with pytest.raises(LabelError, match="cannot be saved"):
        store.flush()
    with store._writing:
        store._connection.execute("PRAGMA max_page_count = 1000000")
    store.flush()
    store.close()
    with LabelStore.open(tmp_path / "a.labels", readonly=True) as again:
        assert np.array_equal(_all(again), expected)


def test_second_writer_is_refused_and_reading_goes_on(store):
    with pytest.raises(LabelError, match="open in another Opsin window"):
        LabelStore.open(store.path)
    store.stroke([[200, 200]], 30, 1)
    store.flush()
    with LabelStore.open(store.path, readonly=True) as other:
        assert other.areas() == store.areas()
        with pytest.raises(LabelError, match="reading only"):
            other.stroke([[1, 1]], 1, 1)


@pytest.mark.parametrize("content", [b"", b"noise" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_damaged_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.labels"
    path.write_bytes(content)
    with pytest.raises(LabelError, match="a.labels"):
        LabelStore.open(path)


def test_labels_of_another_slide_are_refused(store):
    with pytest.raises(LabelError, match="1400 x 1100 pixels, this one has 20 x 30"):
        store.close()
        LabelStore.open_or_create(store.path, 20, 30)


def test_bad_edits_are_refused(store):
    with pytest.raises(LabelError, match="finite"):
        store.stroke([[np.nan, 1]], 3, 1)
    with pytest.raises(LabelError, match="0 .* to 255"):
        store.stroke([[1, 1]], 3, 300)
    with pytest.raises(LabelError, match="fill rule"):
        store.polygon([np.zeros((3, 2))], 1, rule="odd")


def test_listener_that_fails_does_not_stop_saving(store):
    def fail(_):
        raise ValueError("a listener's own fault")

    store.changed.connect(fail)
    store.saved.connect(fail)
    store.stroke([[200, 200]], 30, 1)
    store.flush()
    store.stroke([[600, 200]], 30, 2)
    assert set(store.areas()) == {1, 2}


def test_listener_may_ask_the_store_for_anything(store):
    found = []
    store.changed.connect(lambda _: (store.flush(), found.append(store.areas())))
    store.stroke([[200, 200]], 30, 1)
    store.close()
    assert found and found[0].keys() == {1}


def test_closing_on_a_full_disk_keeps_the_store_open_until_there_is_room(tmp_path):
    store = LabelStore.create(tmp_path / "a.labels", WIDTH, HEIGHT)
    with store._writing:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
    points = np.random.default_rng(0).uniform(0, 1000, (3000, 2))
    store.stroke(points, 9, 2)
    with pytest.raises(LabelError, match="1 edit that is not saved yet is kept"):
        store.close()
    expected = _all(store)
    assert expected.any()
    store.undo()
    store.redo()
    with pytest.raises(LabelError, match="the disk is full; make room"):
        store.flush()
    with store._writing:
        store._connection.execute("PRAGMA max_page_count = 1000000")
    store.retry()
    store.close()
    with LabelStore.open(tmp_path / "a.labels") as again:
        assert np.array_equal(_all(again), expected) and again.undo_text == "Brush"


def test_leaving_without_saving_after_a_failure_is_possible(tmp_path):
    with pytest.raises(LabelError, match="full"), LabelStore.create(tmp_path / "a.labels", WIDTH, HEIGHT) as store:
        store._connection.execute("PRAGMA max_page_count = 1")
        store.stroke(np.random.default_rng(0).uniform(0, 1000, (3000, 2)), 9, 2)
    with LabelStore.open(tmp_path / "a.labels") as again:
        assert not again.areas() and not again.can_undo


def test_ending_without_closing_saves(tmp_path):
    code = (
        "import sys\nfrom opsin.engine.labels.store import LabelStore\n"
        "store = LabelStore.create(sys.argv[1], 1400, 1100)\nstore.stroke([[200, 200]], 30, 1)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.labels")], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.labels"]
    with LabelStore.open(tmp_path / "a.labels") as store:
        assert store.areas()[1] > 2800
