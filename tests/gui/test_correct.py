"""Correcting pseudo labels on the slide: a region is accepted or rejected with mouse and keys, and yields to the brush."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QMenu

from opsin.engine.tiles import TilePyramid
from opsin.widgets.layers import show

from ..widgets.slide_scenes import grabbed

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NAME = "pseudo labels, round 1"
REGION = (40, 60, 140, 160)  # level-0 corners of the proposed region, 0.9 in the middle of 0.1
OTHER = (200, 60, 260, 160)


def heat(path, *boxes):
    values = np.full((256, 512), 26, np.uint8)
    for x0, y0, x1, y1 in boxes:
        values[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] = 229
    with TilePyramid.create(path, 320, 256, base=2, reduce="mean", meta={"kind": "heat"}) as pyramid:
        with pyramid.transaction():
            pyramid.write(0, 0, values[:128, :160])


@pytest.fixture
def proposed(tiny, tmp_path, qtbot):
    """The window with a positive slide and two proposed regions on it; looked at with the hand tool."""
    heat(tmp_path / "round_1.heat", REGION, OTHER)
    show(tiny.model, "Heatmap", tmp_path / "round_1.heat", NAME, visible=True)
    tiny.model.tool = "pan"
    assert tiny.room.view.wait_painted()
    return tiny


def at(window, x: float, y: float) -> QPoint:
    return QPoint(*(round(v) for v in window.model.to_view(x, y)))


def labels(window) -> np.ndarray:
    window.model.labels.flush()
    return window.model.labels.region(0, 0, 0, 320, 256)


def expected(value: int, box=REGION) -> np.ndarray:
    found = np.zeros((256, 320), np.uint8)
    found[box[1] : box[3], box[0] : box[2]] = value
    return found


def menu_of(window, qtbot, x: float, y: float) -> QMenu:
    QTest.mouseClick(window.room.view, RIGHT, Qt.KeyboardModifier.NoModifier, at(window, x, y))
    qtbot.waitUntil(lambda: window.commands.correct.menu is not None and window.commands.correct.menu.isVisible())
    return window.commands.correct.menu


def choose(menu: QMenu, text: str) -> None:
    action = next(a for a in menu.actions() if a.text().startswith(text))
    while menu.activeAction() is not action:
        QTest.keyClick(menu, Qt.Key.Key_Down)
    QTest.keyClick(menu, Qt.Key.Key_Return)


@pytest.mark.parametrize(("text", "value"), [("This is right: Tumour", 1), ("This is wrong: Normal", 2)])
def test_a_region_is_settled_from_its_menu_in_one_undo_step(proposed, qtbot, text, value):
    choose(menu_of(proposed, qtbot, 90, 110), text)
    qtbot.waitUntil(lambda: (labels(proposed) == value).any())
    assert np.array_equal(labels(proposed), expected(value)), "the region that was clicked, and no other"
    qtbot.waitUntil(proposed.book["edit.undo"].isEnabled)
    proposed.book["edit.undo"].trigger()
    assert not labels(proposed).any()
    assert not proposed.model.labels.can_undo


def test_keys_settle_the_region_under_the_pointer(proposed, qtbot):
    view = proposed.room.view
    view.setFocus()
    QTest.mouseMove(view, at(proposed, 220, 100))
    qtbot.waitUntil(lambda: view.pointer is not None)
    QTest.keyClick(view, Qt.Key.Key_X, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: (labels(proposed) == 2).any())
    assert np.array_equal(labels(proposed), expected(2, OTHER))
    QTest.mouseMove(view, at(proposed, 100, 100))
    QTest.keyClick(view, Qt.Key.Key_Y, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: (labels(proposed) == 1).any())
    assert np.array_equal(labels(proposed), expected(2, OTHER) + expected(1))


def test_what_is_painted_already_stays(proposed, qtbot):
    store = proposed.model.labels
    store.polygon([np.array([[41, 61], [90, 61], [90, 100], [41, 100]], float)], 2)
    store.flush()
    before = labels(proposed)
    proposed.commands.correct.say("positive", (120, 140))
    qtbot.waitUntil(lambda: (labels(proposed) == 1).any())
    after = labels(proposed)
    assert (after[before == 2] == 2).all()
    inside = expected(1) == 1
    assert ((after == 1) | (after == 2) | (after == 0))[inside].all() and (after[~inside] == before[~inside]).all()
    missed = (after == 0) & inside
    assert missed.sum() <= 2 * (49 + 39), "pixels of the map half of which were painted: at its border only"


def test_with_a_brush_the_right_button_still_erases(proposed, qtbot):
    store = proposed.model.labels
    store.polygon([np.array([[0, 0], [320, 0], [320, 256], [0, 256]], float)], 1)
    store.flush()
    proposed.model.tool = "brush"
    proposed.model.brush_um = 20
    QTest.mouseClick(proposed.room.view, RIGHT, Qt.KeyboardModifier.NoModifier, at(proposed, 90, 110))
    assert proposed.commands.correct.menu is None
    assert labels(proposed)[110, 90] == 0


def test_where_nothing_is_proposed_there_is_no_menu_and_the_keys_say_why(proposed, qtbot):
    QTest.mouseClick(proposed.room.view, RIGHT, Qt.KeyboardModifier.NoModifier, at(proposed, 20, 20))
    assert proposed.commands.correct.menu is None
    proposed.commands.correct.say("positive", (20, 20))
    assert any("no proposal of the network there" in text for text in proposed.banners.texts())
    assert not labels(proposed).any()
    for overlay in list(proposed.model.overlays):
        proposed.model.remove_overlay(overlay.name)
    qtbot.waitUntil(lambda: not proposed.book["correct.right"].isEnabled())


def test_without_a_class_for_it_one_sentence_says_what_to_do(proposed, qtbot):
    proposed.model.set_classes([c for c in proposed.model.classes if c.role != "negative"])
    menu = menu_of(proposed, qtbot, 90, 110)
    wrong = next(a for a in menu.actions() if a.text().startswith("This is wrong"))
    assert not wrong.isEnabled() and wrong.text() == "This is wrong (no class means negative)"
    menu.close()
    proposed.commands.correct.say("negative", (90, 110))
    assert any("No unlocked class means" in text for text in proposed.banners.texts())


def magenta(window, x: float, y: float) -> bool:
    view = window.room.view
    assert view.wait_painted()
    place = at(window, x, y)
    red, green, blue = grabbed(view)[place.y(), place.x()][:3].astype(int)
    return bool(red > green + 60 and blue > green + 40)


def test_a_pseudo_label_yields_where_the_brush_was(proposed, qtbot):
    window = proposed
    assert magenta(window, 70, 80) and magenta(window, 120, 140)
    for c in list(window.model.classes):
        window.model.update_class(c.value, opacity=0.0)  # the labels themselves are not to hide it
    window.model.tool, window.model.brush_um = "brush", 20
    view = window.room.view
    QTest.mousePress(view, LEFT, Qt.KeyboardModifier.NoModifier, at(window, 70, 80))
    QTest.mouseMove(view, at(window, 74, 80))
    QTest.mouseRelease(view, LEFT, Qt.KeyboardModifier.NoModifier, at(window, 74, 80))
    assert not magenta(window, 72, 80), "at once"
    assert magenta(window, 120, 140), "only there"
    window.model.labels.flush()
    assert not magenta(window, 72, 80)
    qtbot.waitUntil(window.book["edit.undo"].isEnabled)
    window.book["edit.undo"].trigger()
    window.model.labels.flush()
    qtbot.waitUntil(lambda: magenta(window, 72, 80))
