"""Markers and regions of interest in the window: tools by key, menu, list, undo, and what reaches a prediction."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from opsin.engine.labels.marks import Mark

from ..widgets.slide_scenes import click, drag


@pytest.fixture
def room(opened, qtbot):
    qtbot.waitUntil(lambda: opened.model.labels is not None)
    view = opened.room.view
    view.setFocus()
    assert view.wait_painted()
    return opened.room


def test_keys_choose_the_tools_and_the_menu_has_them(opened, room):
    for key, tool in ((".", "marker"), ("U", "ruler"), ("Q", "area"), ("V", "roi")):
        QTest.keyClicks(room.view, key)
        assert opened.model.tool == tool and opened.book[f"tool.{tool}"].isChecked()


def test_a_marker_set_on_the_slide_stands_in_the_list_and_undo_is_the_windows(opened, room, qtbot):
    QTest.keyClicks(room.view, ".")
    click(room.view, (20, 15))
    assert opened.model.labels.marks() == [], "beside the slide there is nothing to mark"
    click(room.view, (200, 250))
    note = room.view.marks.note
    qtbot.waitUntil(note.text.hasFocus)
    QTest.keyClicks(note.text, "behind the b")  # letters that are tools elsewhere
    QTest.keyClick(note.text, Qt.Key.Key_Return)
    (mark,) = opened.model.labels.marks()
    assert mark.note == "behind the b" and mark.author == opened.model.author and opened.model.tool == "marker"
    panel = room.annotations.marks
    assert [m.note for m in panel.table.marks] == ["behind the b"]
    qtbot.waitUntil(opened.book["edit.undo"].isEnabled)
    opened.book["edit.undo"].trigger()
    assert opened.model.labels.marks() == [] and panel.table.marks == []


def test_next_and_previous_marker(opened, room):
    store = opened.model.labels
    first, second = store.add_marks([Mark("marker", ((100.0, 100.0),)), Mark("marker", ((500.0, 400.0),))])
    store.add_marks([Mark("ruler", ((0.0, 0.0), (9.0, 9.0)))])
    places = []
    for action in ("marks.next", "marks.next", "marks.next", "marks.previous"):
        opened.book[action].trigger()
        places.append((opened.model.mark, opened.model.centre))
    a, b = (first.id, (100.0, 100.0)), (second.id, (500.0, 400.0))
    assert places == [a, b, a, b]


def test_the_region_under_the_pointer_is_measured(opened, room, qtbot):
    store = opened.model.labels
    store.polygon([np.array([[100.0, 100], [300, 100], [300, 200], [100, 200]])], 1)
    opened.model.set_mpp(0.5)
    said = []
    opened.messages.posted.connect(lambda kind, sentence, _: said.append((kind, sentence)))
    QTest.mouseMove(room.view)
    place = opened.model.to_view(200, 150)
    drag(room.view, [place, place])
    opened.book["marks.measure"].trigger()
    qtbot.waitUntil(lambda: bool(said))
    assert said == [("info", "Tumour, region under the pointer: 5,000 µm², perimeter 300 µm.")]


def test_regions_are_removed_at_once_and_come_back(opened, room):
    QTest.keyClicks(room.view, "V")
    drag(room.view, [(100, 100), (150, 150), (220, 200)])
    drag(room.view, [(260, 100), (280, 150), (320, 200)])
    store = opened.model.labels
    assert len(store.marks("roi")) == 2 and store.roi() is not None
    opened.book["marks.clear"].trigger()
    assert store.roi() is None
    opened.book["edit.undo"].trigger()
    assert len(store.marks("roi")) == 2


def test_hiding_markers_keeps_regions(opened, room):
    assert opened.book["marks.show"].isChecked()
    opened.book["marks.show"].trigger()
    assert not opened.model.show_marks and not opened.book["marks.show"].isChecked()


def test_a_prediction_from_the_window_gets_the_regions_of_each_slide(tiny, network, qtbot):
    panel = tiny.room.panel("results").predictor
    panel.refresh_runs(str(network))
    spec = panel.make_spec(None)
    given = {entry["id"]: entry["options"].get("regions") for entry in spec.arguments["inputs"]}
    marked = [item for item in tiny.workspace.items() if tiny.workspace.has_labels(item)]
    assert 2 <= len(marked) < len(given), "the outlined one and those that were opened"
    assert {id: path for id, path in given.items() if path} == {
        item.id: str(tiny.workspace.label_path(item.id)) for item in marked
    }
