"""Region edits from the window: actions and keys, the menu of the view, what is remembered."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QMenu

from opsin.gui.settings import AppSettings


def _painted(opened, qtbot):
    """A frame with a hole around the middle of the view; the view has the pointer in the frame."""
    model, view = opened.model, opened.room.view
    store = model.labels
    x, y = (int(v) for v in model.centre)
    square = np.array([[-40, -40], [40, -40], [40, 40], [-40, 40]])
    store.polygon([square + [x, y], square * 0.5 + [x, y]], 1)
    store.flush()
    view.pointer = None
    view.regions.picked = (x - 30, y - 30)
    return store


def _worked(opened, qtbot, store) -> None:
    qtbot.waitUntil(lambda: not opened.room.view.regions.busy, timeout=20_000)
    store.flush()


def test_actions_and_the_tool_box_edit_the_picked_region(opened, qtbot):
    store = _painted(opened, qtbot)
    opened.book.refresh()
    opened.book["region.holes"].trigger()
    _worked(opened, qtbot, store)
    assert store.areas() == {1: 6400} and store.undo_text == "Fill holes"
    opened.model.mpp = None
    opened.model.grow_um = 5
    opened.room.annotations.toolbox.options.region_buttons["shrink"].click()
    _worked(opened, qtbot, store)
    assert store.areas() == {1: 70 * 70}
    opened.model.label = 2
    opened.book["region.recolour"].trigger()
    _worked(opened, qtbot, store)
    assert store.areas() == {2: 70 * 70}
    opened.book["region.remove"].trigger()
    _worked(opened, qtbot, store)
    assert store.areas() == {}
    opened.book["edit.undo"].trigger()
    store.flush()
    assert store.areas() == {2: 70 * 70}


def test_the_menu_of_the_view_offers_the_region_edits(opened, qtbot):
    _painted(opened, qtbot)
    opened.model.tool = "pan"
    QTest.mouseClick(opened.room.view, Qt.MouseButton.RightButton, pos=QPoint(50, 50))
    menus = [menu for menu in opened.findChildren(QMenu) if menu.isVisible()]
    assert [a.objectName() for a in menus[0].actions()][:2] == ["region.recolour", "region.holes"]
    menus[0].close()


def test_switches_are_ticked_and_the_pens_is_remembered(opened):
    opened.book["view.hatch"].trigger()
    opened.book["paint.unlabelled"].trigger()
    opened.book["view.solo"].trigger()
    model = opened.model
    assert model.hatch and model.only_unlabelled and model.solo == model.label
    assert all(opened.book[id].isChecked() for id in ("view.hatch", "paint.unlabelled", "view.solo"))
    model.pen_pressure = False
    kept = AppSettings.load()
    assert kept.hatch and not kept.pen_pressure
    opened.book["view.solo"].trigger()
    assert model.solo is None


def test_escape_gives_up_a_drawing_before_it_closes_a_message(opened, qtbot):
    view, model = opened.room.view, opened.model
    opened.messages.warning("Something to read.")
    model.tool = "polygon"
    view.setFocus()
    qtbot.waitUntil(view.hasFocus)
    for x in (100, 200):
        QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=QPoint(x, 100 + x // 2))
    assert len(view.tool.points) == 2
    QTest.keyClick(view, Qt.Key.Key_Escape)
    assert not view.tool.points and model.tool == "polygon"


def test_the_class_shown_alone_is_the_chosen_one_and_ends_with_the_slide(opened, qtbot):
    model = opened.model
    first, second = (c.value for c in model.classes[:2])
    opened.book["class.1"].trigger()
    opened.book["view.solo"].trigger()
    assert model.solo == first
    opened.book["class.2"].trigger()
    assert (model.label, model.solo) == (second, second)
    other = next(item for item in opened.workspace.items() if item.id != opened.item.id)
    opened.open_item(other.id)
    qtbot.waitUntil(lambda: opened.item is not None and opened.item.id == other.id)
    assert model.solo is None
