"""Painting on a real slide in the real window, with mouse and keys: exact at level 0, saved, undone after a restart."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QImage
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from opsin.engine.labels.raster import raster_polygon, raster_stroke
from opsin.engine.workspace import Workspace
from opsin.gui.settings import AppSettings
from opsin.gui.window import MainWindow
from opsin.widgets.classes import EYE, LOCK

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
Place = tuple[int, int]


class Hand:
    """A user at the open slide. `wanted` is what the labels must be by the rule of the rasteriser, pixel for pixel."""

    def __init__(self, window: MainWindow) -> None:
        self.window, self.model = window, window.model
        self.view = window.room.view
        slide = self.model.slide
        self.size = (slide.width, slide.height)
        self.wanted = np.zeros((slide.height, slide.width), np.uint8)
        assert self.view.wait_painted()

    # ---- what the hand does

    def key(self, key: str | Qt.Key, modifiers=Qt.KeyboardModifier.NoModifier) -> None:
        QTest.keyClick(self.view, key, modifiers)

    def drag(self, places: list[Place], button=LEFT) -> None:
        QTest.mousePress(self.view, button, pos=QPoint(*places[0]))
        for place in places[1:]:
            QTest.mouseMove(self.view, QPoint(*place))
        QTest.mouseRelease(self.view, button, pos=QPoint(*places[-1]))

    def click(self, place: Place) -> None:
        QTest.mouseClick(self.view, LEFT, pos=QPoint(*place))

    def double_click(self, place: Place) -> None:
        self.click(place)
        QTest.mouseDClick(self.view, LEFT, pos=QPoint(*place))  # the second press
        QTest.mouseRelease(self.view, LEFT, pos=QPoint(*place))

    def press_cell(self, row: int, column: int) -> None:
        """Click into the table of classes."""
        table = self.window.room.annotations.table
        place = table.visualRect(table.model().index(row, column)).center()
        QTest.mouseClick(table.viewport(), LEFT, pos=place)

    # ---- what must come of it

    def slide(self, places: list[Place]) -> np.ndarray:
        return np.array([self.model.to_slide(*place) for place in places])

    def stroke_mask(self, places: list[Place]) -> np.ndarray:
        return raster_stroke(self.slide(places), self.model.brush_radius, 0, 0, *self.size)

    def ring_mask(self, places: list[Place]) -> np.ndarray:
        return raster_polygon([self.slide(places)], "nonzero", 0, 0, *self.size)

    def put(self, mask: np.ndarray, value: int, locked: Iterable[int] = ()) -> None:
        assert mask.any()
        self.wanted[mask & ~np.isin(self.wanted, list(locked))] = value

    def labels(self) -> np.ndarray:
        self.model.labels.flush()
        return self.model.labels.region(0, 0, 0, *self.size)

    def check(self, what: str) -> None:
        assert np.array_equal(self.labels(), self.wanted), what

    def color_at(self, place: Place) -> list[int]:
        """The colour on the screen, with the pointer's ring away."""
        QApplication.processEvents()
        assert self.view.wait_painted()
        self.view.pointer = None
        image = self.view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
        pixel = image.pixelColor(*place)
        return [pixel.red(), pixel.green(), pixel.blue()]


@pytest.fixture
def folder(data, tmp_path):
    """A workspace with the real slide."""
    with Workspace.create(tmp_path / "workspace") as workspace:
        workspace.add([data / "wsi" / "slides" / "CMU-1-Small-Region.svs"])
    return tmp_path / "workspace"


@pytest.fixture
def hand(opened):
    assert (opened.model.slide.width, opened.model.slide.height) == (2220, 2967)
    return Hand(opened)


def circle(x: int, y: int, radius: int) -> list[Place]:
    return [(round(x + radius * np.cos(a)), round(y + radius * np.sin(a))) for a in np.linspace(0, 6.1, 25)]


WAVE = [(150 + 9 * i, round(120 + 30 * np.sin(i / 3))) for i in range(20)]
CORNERS = [(180, 260), (330, 250), (350, 400), (170, 390)]


@pytest.mark.parametrize("zoom", ["whole slide", "1:1", "near", "far"])
def test_every_tool_is_exact_at_level_0(hand, zoom):
    for _ in range({"near": 5, "far": 1}.get(zoom, 0)):
        hand.key("+" if zoom == "near" else "-")
    if zoom == "1:1":
        hand.model.zoom_at(1 / hand.model.zoom)
    hand.model.brush_um = 26 / hand.model.zoom * hand.model.mpp  # 26 pixels of the screen

    hand.key("b")
    hand.key("1")
    hand.drag(WAVE)
    hand.put(hand.stroke_mask(WAVE), 1)
    hand.check("brush")

    hand.key("2")
    hand.key("p")
    for corner in CORNERS[:-1]:
        hand.click(corner)
    hand.double_click(CORNERS[-1])
    hand.put(hand.ring_mask(CORNERS), 2)
    hand.check("polygon")

    hand.key("3")
    hand.key("l")
    around = circle(280, 250, 70)
    hand.drag(around)
    hand.put(hand.ring_mask(around), 3)
    hand.check("lasso")

    hand.key("e")
    across = [(200, 90), (260, 200), (300, 420)]
    hand.drag(across)
    hand.put(hand.stroke_mask(across), 0)
    hand.check("eraser")

    hand.key("b")
    back = [(180, 130), (240, 130)]
    hand.drag(back, RIGHT)
    hand.put(hand.stroke_mask(back), 0)
    hand.check("right button")

    hand.key("i")
    for place in ((200, 380), WAVE[-1], (320, 260)):
        x, y = (int(v) for v in hand.model.to_slide(*place))
        hand.click(place)
        assert hand.wanted[y, x] and hand.model.label == hand.wanted[y, x], "pick"
    assert not hand.window.banners.texts()


def test_undo_and_redo_go_on_after_closing_and_reopening_the_window(hand, folder, qtbot):
    states = [hand.labels()]
    hand.key("b")
    for number, place in enumerate(((200, 150), (260, 200), (320, 260)), start=1):
        hand.key(str(number))
        path = [place, (place[0] + 60, place[1] + 10)]
        hand.drag(path)
        hand.put(hand.stroke_mask(path), number)
        hand.check("painted")
        states.append(hand.labels())
    hand.key(Qt.Key.Key_Z, CTRL)
    assert np.array_equal(hand.labels(), states[2])
    hand.window.close()
    assert hand.window.workspace is None

    again = MainWindow(settings=AppSettings(theme="light"))
    qtbot.addWidget(again)
    again.show()
    again.open_workspace(folder)
    qtbot.waitUntil(lambda: again.item is not None)
    hand = Hand(again)
    assert np.array_equal(hand.labels(), states[2]), "the slide is open again with its labels"
    hand.key(Qt.Key.Key_Z, CTRL | SHIFT)
    assert np.array_equal(hand.labels(), states[3]), "what was undone before the restart is done again"
    for state in (states[2], states[1], states[0]):
        hand.key(Qt.Key.Key_Z, CTRL)
        assert np.array_equal(hand.labels(), state)
    qtbot.waitUntil(lambda: not again.book["edit.undo"].isEnabled())
    for state in states[1:]:
        hand.key(Qt.Key.Key_Z, CTRL | SHIFT)
        assert np.array_equal(hand.labels(), state)
    again.close()


def test_the_time_of_saving_is_in_sight_as_one_paints(hand, qtbot):
    hand.key("b")
    before = time.time()
    hand.drag(WAVE)
    qtbot.waitUntil(lambda: hand.window.status.saved.text() != "")
    text = hand.window.status.saved.text()
    assert re.fullmatch(r"Saved \d\d:\d\d:\d\d", text)
    shown = {time.strftime("Saved %H:%M:%S", time.localtime(before + second)) for second in range(10)}
    assert text in shown
    label = hand.window.status.saved
    assert label.isVisible()
    qtbot.waitUntil(lambda: label.width() >= label.sizeHint().width())  # all of it can be read


def test_number_keys_choose_a_lock_protects_and_an_eye_hides(hand):
    hand.model.brush_um = 40 / hand.model.zoom * hand.model.mpp
    hand.key("b")
    across, down = [(200, 200), (360, 200)], [(280, 120), (280, 290)]
    bare = hand.color_at((230, 200))
    hand.key("2")
    hand.drag(across)
    hand.put(hand.stroke_mask(across), 2)
    hand.check("the class of the key")
    assert hand.color_at((230, 200)) != bare

    hand.press_cell(1, LOCK)
    hand.view.setFocus()
    hand.key("1")
    hand.drag(down)
    hand.put(hand.stroke_mask(down), 1, locked=[2])
    hand.check("a locked class is not painted over")
    hand.key("e")
    hand.drag(across)
    hand.put(hand.stroke_mask(across), 0, locked=[2])
    hand.check("a locked class is not erased")
    hand.press_cell(1, LOCK)
    hand.view.setFocus()
    hand.drag([(340, 200), (360, 200)])
    hand.put(hand.stroke_mask([(340, 200), (360, 200)]), 0)
    hand.check("unlocked again")

    hand.press_cell(1, EYE)
    assert hand.color_at((230, 200)) == bare, "a hidden class is not drawn"
    hand.check("but its pixels stay")
    assert [c.visible for c in hand.window.workspace.classes] == [True, False, True], "and it is kept"
    hand.press_cell(1, EYE)
    assert hand.color_at((230, 200)) != bare
