"""The slide list shows what the workspace knows and changes it, by mouse and by keyboard."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QPoint, Qt

from opsin.widgets.slidelist import ENTRY, marked_text
from opsin.widgets.workspace import WorkspacePanel


@pytest.fixture
def panel(qtbot, workspace):
    panel = WorkspacePanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(300, 700)
    panel.show()
    yield panel
    panel.set_workspace(None)


def test_shows_all_slides_and_counts_labels(panel):
    assert panel.filtered.rowCount() == 8
    assert panel.title.text() == "Slides (8)"
    assert panel.summary.text() == "4 positive · 4 negative · 2 outlined completely"


def test_thumbnails_arrive_from_the_background(panel, qtbot):
    qtbot.waitUntil(lambda: all(entry.picture is not None for entry in panel.rows.entries))


def test_filter_finds_by_name_label_and_split(panel):
    for text, count in (("slide_3", 1), ("positive", 4), ("positive validation", 1), ("outlined", 2), ("xyz", 0)):
        panel.filter.setText(text)
        assert panel.filtered.rowCount() == count, text
    assert "No slide fits" in panel.empty.text()
    panel.filter.clear()
    assert panel.filtered.rowCount() == 8


def test_a_click_opens(panel, qtbot):
    index = panel.filtered.index(2, 0)
    place = panel.list.visualRect(index).center()
    with qtbot.waitSignal(panel.open_requested) as asked:
        qtbot.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert asked.args == [index.data(ENTRY).item.id]


def test_enter_opens_and_delete_asks_for_removal(panel, qtbot):
    panel.list.setFocus()
    panel.list.setCurrentIndex(panel.filtered.index(1, 0))
    with qtbot.waitSignal(panel.open_requested):
        qtbot.keyClick(panel.list, Qt.Key.Key_Return)
    with qtbot.waitSignal(panel.remove_requested) as asked:
        qtbot.keyClick(panel.list, Qt.Key.Key_Delete)
    assert asked.args[0] == panel.selected()


def test_label_and_split_of_the_selected_reach_the_workspace(panel, workspace):
    ids = [item.id for item in workspace.items()][:3]
    panel.select(ids)
    panel.set_label("positive")
    panel.set_split("test")
    panel.set_outlined(True)
    for id in ids:
        item = workspace.item(id)
        assert (item.label, item.split, item.outlined) == ("positive", "test", True)
    assert workspace.items()[4].split == "val"
    assert panel.selected() == ids, "the selection survives"
    panel.set_label(None, ids[:1])
    assert workspace.item(ids[0]).label is None
    assert "1 without a label" in panel.summary.text()


def test_menu_works_on_the_selection(panel, workspace):
    ids = [item.id for item in workspace.items()]
    panel.select([ids[0]])
    menu = panel.make_menu()
    labels = next(action.menu() for action in menu.actions() if action.text() == "Slide label")
    next(action for action in labels.actions() if action.text() == "Positive").trigger()
    assert workspace.item(ids[0]).label == "positive"
    panel.list.clearSelection()
    assert not panel.make_menu().actions()[0].isEnabled()


def test_slides_that_come_and_go_are_followed(panel, workspace, tmp_path):
    first = workspace.items()[0].id
    panel.set_opened(first)
    workspace.remove([workspace.items()[-1].id])
    assert panel.filtered.rowCount() == 7
    assert panel.rows.entries[0].opened
    assert panel.selected() == [first]


def test_a_missing_slide_file_is_said(qtbot, workspace):
    for entry in workspace.folder.glob("thumbnails/*"):
        entry.unlink()
    item = workspace.items()[3]
    workspace.slide_path(item).unlink()
    panel = WorkspacePanel(workspace)
    qtbot.addWidget(panel)
    qtbot.waitUntil(lambda: panel.rows.entries[3].missing)
    qtbot.waitUntil(lambda: panel.rows.entries[4].picture is not None)
    assert not panel.rows.entries[4].missing
    panel.set_workspace(None)


def test_neighbours_follow_the_filter(panel, workspace):
    ids = [item.id for item in workspace.items()]
    assert panel.neighbour(ids[0], 1) == ids[1]
    assert panel.neighbour(ids[0], -1) is None
    panel.filter.setText("positive")
    assert panel.neighbour(ids[1], 1) == ids[3]


def test_rows_are_painted_in_both_sizes(panel, qtbot):
    before = panel.list.grab(panel.list.visualRect(panel.filtered.index(0, 0))).toImage()
    panel.set_label("negative", [panel.rows.entries[0].item.id])
    panel.set_label("positive", [panel.rows.entries[0].item.id])
    after = panel.list.grab(panel.list.visualRect(panel.filtered.index(0, 0))).toImage()
    assert before.size() == after.size()
    assert before != after, "the chip says another label"
    assert panel.list.indexAt(QPoint(10, 10)).isValid()


def test_marked_area_in_words(workspace):
    item = workspace.items()[0]
    assert marked_text(item) == "Nothing marked"
    assert marked_text(item.model_copy(update={"marked": 0.5})) == "50.0 % marked"
    big = {"marked": 0.25, "mpp": 0.5, "width": 4000, "height": 4000}
    assert marked_text(item.model_copy(update=big)) == "1.00 mm² marked"
