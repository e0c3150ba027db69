"""The list of markers and measurements beside the slide, with real mouse and key events."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from opsin.engine.labels.marks import Mark
from opsin.engine.labels.store import LabelStore
from opsin.widgets.marks_panel import KIND, NOTE, SIZE, MarksPanel
from opsin.widgets.slide import SlideViewModel

from .slide_scenes import ArraySlide

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def desk(qtbot, tmp_path):
    model = SlideViewModel()
    store = LabelStore.create(tmp_path / "a.labels", 3000, 2400)
    panel = MarksPanel(model)
    qtbot.addWidget(panel)
    panel.resize(360, 400)
    panel.show()
    model.set_viewport(800, 600)
    model.set_slide(ArraySlide(3000, 2400), store)
    yield panel, model, store
    model.set_slide(None)
    store.close()


def _texts(panel):
    table = panel.table
    return [
        tuple(table.data(table.index(row, column)) for column in (KIND, NOTE, SIZE)) for row in range(table.rowCount())
    ]


def _place(panel, row):
    return panel.list.visualRect(panel.table.index(row, NOTE)).center()


def _add(store):
    return store.add_marks(
        [
            Mark("marker", ((200.0, 300.0),), label=1, note="Mitosis?\nlook again"),
            Mark("ruler", ((0.0, 0.0), (300.0, 400.0)), author="A. B."),
            Mark("roi", ((0.0, 0.0), (1000.0, 0.0), (1000.0, 800.0), (0.0, 800.0))),
        ]
    )


def test_the_list_follows_what_is_drawn_and_undone(desk):
    panel, _, store = desk
    assert panel.list.isHidden() and panel.note.text().startswith("None on this slide")
    _add(store)
    assert _texts(panel) == [("Marker", "Mitosis?", ""), ("Ruler", "", "250 µm"), ("Region", "", "0.200 mm²")]
    assert panel.list.isVisible() and panel.note.text() == "Only what lies inside the region of interest counts."
    store.undo()
    assert _texts(panel) == [] and panel.list.isHidden()


def test_sizes_are_in_pixels_where_the_resolution_is_unknown_and_that_is_said(desk):
    panel, model, store = desk
    _add(store)
    model.set_mpp(None)
    assert [text[SIZE] for text in _texts(panel)] == ["", "500 px", "800,000 px²"]
    assert "µm per pixel of this slide are unknown" in panel.note.text()


def test_a_double_click_goes_there(desk, qtbot):
    panel, model, store = desk
    marker, ruler, _ = _add(store)
    qtbot.mouseClick(panel.list.viewport(), LEFT, pos=_place(panel, 0))
    qtbot.mouseDClick(panel.list.viewport(), LEFT, pos=_place(panel, 0))
    assert model.centre == (200.0, 300.0) and model.mark == marker.id
    QTest.keyClick(panel.list, Qt.Key.Key_Down)
    assert model.mark == ruler.id and model.centre == (200.0, 300.0), "choosing alone does not move the slide"
    QTest.keyClick(panel.list, Qt.Key.Key_Return)
    assert model.centre == (150.0, 200.0)


def test_the_chosen_mark_of_the_slide_is_selected_in_the_list(desk):
    panel, model, store = desk
    marks = _add(store)
    assert not panel.go_button.isEnabled() and not panel.remove_button.isEnabled()
    model.mark = marks[1].id
    assert panel.rows() == [1] and panel.go_button.isEnabled()
    model.mark = None
    assert panel.rows() == []


def test_delete_removes_what_is_selected_in_one_step(desk, qtbot):
    panel, _, store = desk
    marks = _add(store)
    qtbot.mouseClick(panel.list.viewport(), LEFT, pos=_place(panel, 0))
    qtbot.mouseClick(panel.list.viewport(), LEFT, Qt.KeyboardModifier.ControlModifier, _place(panel, 2))
    assert panel.rows() == [0, 2] and not panel.edit_button.isEnabled()
    QTest.keyClick(panel.list, Qt.Key.Key_Delete)
    assert store.marks() == [marks[1]]
    store.undo()
    assert store.marks() == marks


def test_edit_asks_for_the_note_at_its_place(desk, qtbot):
    panel, model, store = desk
    marks = _add(store)
    asked = []
    model.note_wanted.connect(asked.append)
    qtbot.mouseClick(panel.list.viewport(), LEFT, pos=_place(panel, 1))
    qtbot.mouseClick(panel.edit_button, LEFT)
    assert asked == [marks[1].id] and model.centre == (150.0, 200.0)
    QTest.keyClick(panel.list, Qt.Key.Key_F2)
    assert asked == [marks[1].id] * 2


def test_a_tooltip_says_all_there_is(desk):
    panel, _, store = desk
    marks = _add(store)
    assert [panel.table.about(mark) for mark in marks] == [
        "Marker, Tumour\nMitosis?\nlook again", "Ruler\nBy A. B.", "Region of interest\nPerimeter 1.80 mm",
    ]  # fmt: skip
