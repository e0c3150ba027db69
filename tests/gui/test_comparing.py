"""Two readers of a slide beside each other: numbers, places, and what is settled goes into the agreed labels."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from opsin.engine.labels.readers import AGREED, add_reader, readers
from opsin.gui import comparing
from opsin.gui.comparing import OVERLAY
from opsin.widgets.background import finish_background
from opsin.widgets.compare_box import COLORS


def box(left: float, top: float, right: float, bottom: float) -> list[np.ndarray]:
    return [np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)]


@pytest.fixture
def compared(window, folder, qtbot):
    """The window with labels of two readers who agree on one square and differ in three places, compared."""
    window.open_workspace(folder)
    qtbot.waitUntil(lambda: window.model.labels is not None)
    workspace, item = window.workspace, window.item
    ben = add_reader(workspace, "Ben").id
    window.room.readers.show_readers()
    first, second = workspace.labels(item, ""), workspace.labels(item, ben)
    for store in (first, second):
        store.polygon(box(10, 10, 60, 60), 1)
    first.polygon(box(100, 100, 200, 200), 1)  # only mine: 10,000
    second.polygon(box(300, 100, 380, 180), 2)  # only theirs: 6,400
    first.polygon(box(400, 300, 450, 350), 1)  # other class: 2,500
    second.polygon(box(400, 300, 450, 350), 2)
    section = window.room.readers.comparing.box
    assert section.isVisible()
    qtbot.mouseClick(section.title, Qt.MouseButton.LeftButton)
    assert section.other.currentText() == "Ben"
    qtbot.mouseClick(section.compare_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: section.result.isVisible())
    return window


def agreed(window):
    store = window.workspace.labels(window.item, AGREED)
    store.flush()
    return store.areas()


def test_numbers_places_and_overlay_say_how_two_readers_differ(compared, qtbot):
    section, model = compared.room.readers.comparing.box, compared.model
    text = section.numbers.text()
    first, second, both = 2500 + 10000 + 2500, 2500, 2500
    assert f"{2 * both / (first + second):.3f}" in text
    assert "Cohen's kappa" in text and "18,900\u00a0px² of 21,400\u00a0px² labelled" in text
    items = [section.list.topLevelItem(row) for row in range(section.list.topLevelItemCount())]
    names = [model.label_class(value).name for value in (1, 2)]
    assert [[item.text(column) for column in (1, 2, 3)] for item in items] == [
        [names[0], "Unlabelled", "10,000 px²"], ["Unlabelled", names[1], "6,400 px²"], [names[0], names[1], "2,500 px²"],
    ]  # fmt: skip
    overlay = model.overlay(OVERLAY)
    assert [int(overlay.pyramid.region(0, x, y, 1, 1)[0, 0]) for x, y in ((30, 30), (150, 150), (340, 140), (420, 320))] == [
        0, 1, 2, 3,
    ]  # fmt: skip
    model.fit()
    shown = drawn(compared, 150, 150)
    want = [int(COLORS[0][i : i + 2], 16) for i in (1, 3, 5)]
    assert np.abs(np.subtract(shown, want)).max() < 70, "the difference lies above the labels"
    qtbot.mouseClick(section.show_box, Qt.MouseButton.LeftButton, pos=QPoint(8, section.show_box.height() // 2))
    assert not model.overlay(OVERLAY).visible
    assert np.abs(np.subtract(drawn(compared, 150, 150), want)).max() > 70


def drawn(window, x, y):
    view = window.room.view
    image = view.grab().toImage()
    ratio = image.width() / view.width()
    at = window.model.to_view(x, y)
    color = image.pixelColor(int(at[0] * ratio), int(at[1] * ratio))
    return color.red(), color.green(), color.blue()


def test_a_place_is_gone_to_and_settled_and_undone(compared, qtbot):
    window, part = compared, compared.room.readers.comparing
    section, workspace = part.box, compared.workspace
    mine, theirs = (workspace.labels(window.item, id).areas() for id in ("", "ben"))
    qtbot.mouseClick(section.buttons["next"], Qt.MouseButton.LeftButton)
    assert window.model.centre == (150, 150)
    section.list.setFocus()
    qtbot.keyClick(section.list, Qt.Key.Key_Down)
    qtbot.keyClick(section.list, Qt.Key.Key_Return)
    assert window.model.centre == (340, 140)
    qtbot.keyClick(window, Qt.Key.Key_F8)
    assert window.model.centre == (425, 325)
    qtbot.mouseClick(section.buttons["theirs"], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: section.list.topLevelItem(2).text(0) == "✓")
    assert agreed(window) == {1: 2500, 2: 2500}
    assert workspace.labels(window.item, AGREED).region(0, 425, 325, 1, 1)[0, 0] == 2
    assert [reader.id for reader in readers(workspace)] == ["", "ben", AGREED]
    assert window.room.readers.box.box.findData(AGREED) >= 0
    section.list.setCurrentItem(section.list.topLevelItem(0))
    qtbot.mouseClick(section.buttons["mine"], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: section.list.topLevelItem(0).text(0) == "✓")
    assert agreed(window) == {1: 12500, 2: 2500}
    qtbot.mouseClick(section.buttons["undo"], Qt.MouseButton.LeftButton)
    assert section.list.topLevelItem(0).text(0) == ""
    assert agreed(window) == {1: 2500, 2: 2500}
    qtbot.mouseClick(section.buttons["leave"], Qt.MouseButton.LeftButton)
    assert section.list.topLevelItem(0).text(0) == "✓"
    assert agreed(window) == {1: 2500, 2: 2500}
    window.model.fit()
    qtbot.mouseClick(section.buttons["in view"], Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: section.list.topLevelItem(1).text(0) == "✓")
    assert agreed(window) == {1: 2500, 2: 2500 + 6400}
    assert [workspace.labels(window.item, id).areas() for id in ("", "ben")] == [mine, theirs]


def test_a_change_of_labels_is_said_and_another_slide_ends_the_comparison(compared, qtbot):
    window, part = compared, compared.room.readers.comparing
    window.model.labels.polygon(box(500, 10, 510, 20), 1)
    qtbot.waitUntil(lambda: part.box.note.isVisible())
    window.commands.step_slide(1)
    qtbot.waitUntil(lambda: window.item.name.startswith("beta"))
    assert part.pair is None and not part.box.result.isVisible()
    qtbot.mouseClick(part.box.compare_button, Qt.MouseButton.LeftButton)
    assert part.box.note.text() == "Ben has not labelled this slide yet."


def test_a_comparison_is_given_up_while_it_runs(compared, qtbot, monkeypatch):
    part, gate = compared.room.readers.comparing, Event()

    def slow(_):
        yield 0.5
        gate.wait(20)
        yield 0.6

    monkeypatch.setattr(comparing, "compare", slow)
    qtbot.mouseClick(part.box.compare_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: part.box.bar.isVisible() and part.box.bar.value() == 450)
    qtbot.mouseClick(part.box.cancel_button, Qt.MouseButton.LeftButton)
    gate.set()
    assert finish_background()
    assert part.pair is None and part.box.compare_button.isVisible()
    assert not part.box.bar.isVisible() and not part.box.result.isVisible()
    assert compared.model.overlay(OVERLAY) is None


def test_the_reader_whose_labels_count_is_chosen(compared, qtbot):
    window, section = compared, compared.room.readers.comparing.box
    assert window.workspace.counting == ""
    section.counting.setFocus()
    qtbot.keyClick(section.counting, Qt.Key.Key_End)
    assert window.workspace.counting == "ben"
    assert section.counting.currentText() == "Ben"
