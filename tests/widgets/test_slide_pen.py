"""Pen and touch with real tablet and touch events."""

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QInputDevice, QPointingDevice, QTabletEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from opsin.engine.labels.pen import tapered
from opsin.engine.labels.raster import raster, raster_stroke

from .slide_desk import Desk
from .slide_scenes import ArraySlide, drag

Kind = QPointingDevice.PointerType
PRESS, MOVE, RELEASE = QEvent.Type.TabletPress, QEvent.Type.TabletMove, QEvent.Type.TabletRelease


@pytest.fixture(params=[1.0, 0.25])
def desk(request, qtbot, tmp_path):
    desk = Desk(qtbot, ArraySlide(2400, 1900), tmp_path, zoom=request.param)
    yield desk
    desk.close()


@pytest.fixture
def screen():
    return QTest.createTouchDevice()


def pen(view, kind, at, pressure=1.0, end=Kind.Pen) -> None:
    device = QPointingDevice(
        "pen", 7, QInputDevice.DeviceType.Stylus, end,
        QInputDevice.Capability.Position | QInputDevice.Capability.Pressure, 1, 2,
    )  # fmt: skip
    place = QPointF(*at)
    button = Qt.MouseButton.NoButton if kind == MOVE else Qt.MouseButton.LeftButton
    held = Qt.MouseButton.NoButton if kind == RELEASE else Qt.MouseButton.LeftButton
    event = QTabletEvent(
        kind, device, place, QPointF(view.mapToGlobal(place)), pressure, 0, 0, 0, 0, 0,
        Qt.KeyboardModifier.NoModifier, button, held,
    )  # fmt: skip
    QApplication.sendEvent(view, event)
    assert event.isAccepted(), "else it would come once more as a mouse event"


def pen_drag(view, points, pressures=None, end=Kind.Pen) -> None:
    pressures = pressures or [1.0] * len(points)
    pen(view, PRESS, points[0], pressures[0], end)
    for at, pressure in zip(points[1:], pressures[1:], strict=True):
        pen(view, MOVE, at, pressure, end)
    pen(view, RELEASE, points[-1], 0.0, end)


def test_pressure_is_the_size_of_the_brush(desk):
    points, pressures = [(100, 200), (200, 200), (300, 220), (400, 200)], [0.25, 0.5, 1.0, 0.5]
    pen_drag(desk.view, points, pressures)
    desk.settle()
    radius = desk.model.brush_radius
    expected = np.zeros((1900, 2400), bool)
    for stroke in tapered(desk.to_slide(*points), radius * np.array(pressures)):
        expected |= raster(stroke, 0, 0, 2400, 1900)
    assert np.array_equal(desk.labels() == 1, expected)
    x, y = (int(v) for v in desk.model.to_slide(110, 200))
    wide = int(desk.model.to_slide(300, 220)[0])
    heights = expected.sum(0)
    assert heights[wide] > 1.8 * heights[x] and expected[y, x]
    assert desk.store.undo() and not desk.store.undo()
    desk.settle()
    assert not desk.labels().any()


def test_what_is_seen_while_drawing_with_pressure_is_what_comes_out(desk):
    pen(desk.view, PRESS, (100, 200), 0.2)
    for number in range(1, 30):
        pen(desk.view, MOVE, (100 + 10 * number, 200), 0.2 + 0.027 * number)
    live = desk.shown()
    pen(desk.view, RELEASE, (390, 200), 0.0)
    desk.settle()
    settled = desk.shown()
    desk.model.show_labels = False
    covered = (np.abs(desk.shown() - settled).sum(2) > 12)[:300].sum()
    assert covered > 3000 and (np.abs(live - settled)[:300].sum(2) > 12).sum() < 0.06 * covered


def test_without_pressure_the_pen_paints_like_the_mouse(desk):
    desk.model.pen_pressure = False
    points = [(100, 200), (200, 200), (300, 220)]
    pen_drag(desk.view, points, [0.1, 0.2, 0.3])
    desk.settle()
    expected = raster_stroke(desk.to_slide(*points), desk.model.brush_radius, 0, 0, 2400, 1900)
    assert np.array_equal(desk.labels() == 1, expected)


def test_the_eraser_end_takes_away_with_the_brush_in_hand(desk):
    drag(desk.view, [(100, 200), (300, 200)])
    desk.model.pen_pressure = False
    pen_drag(desk.view, [(200, 100), (200, 200), (200, 300)], end=Kind.Eraser)
    desk.settle()
    x, y = (int(v) for v in desk.model.to_slide(200, 200))
    assert desk.labels()[y, x] == 0 and desk.labels().any() and desk.model.tool == "brush"


def test_a_tap_that_trembles_is_a_click(desk):
    pen_drag(desk.view, [(200, 200), (202, 201), (203, 202)], [1.0, 1.0, 1.0])
    desk.settle()
    expected = raster_stroke(desk.to_slide((200, 200)), desk.model.brush_radius, 0, 0, 2400, 1900)
    assert np.array_equal(desk.labels() == 1, expected)
    desk.model.tool = "polygon"
    for at in ((300, 100), (400, 100), (400, 200)):
        pen_drag(desk.view, [at, (at[0] + 3, at[1] + 2)])
    assert len(desk.view.tool.points) == 3


def test_a_pen_chooses_with_the_eraser_end_too_where_nothing_is_painted(desk):
    desk.model.label = 2
    pen_drag(desk.view, [(200, 200), (260, 200)])
    desk.settle()
    desk.model.label, desk.model.tool = 1, "pick"
    pen_drag(desk.view, [(210, 200), (210, 201)], end=Kind.Eraser)
    assert desk.model.label == 2


def test_one_finger_moves_and_paints_nothing(desk, screen):
    place = desk.model.to_slide(200, 200)
    touch = QTest.touchEvent(desk.view, screen)
    touch.press(1, _point(200, 200)).commit()
    touch.move(1, _point(260, 230)).commit()
    touch.release(1, _point(260, 230)).commit()
    assert desk.model.to_view(*place) == pytest.approx((260, 230))
    desk.settle()
    assert not desk.store.can_undo


def test_two_fingers_zoom_around_what_is_between_them_and_turn(desk, screen):
    zoom, place = desk.model.zoom, desk.model.to_slide(300, 200)
    touch = QTest.touchEvent(desk.view, screen)
    touch.press(1, _point(250, 200)).press(2, _point(350, 200)).commit()
    touch.move(1, _point(200, 200)).move(2, _point(400, 200)).commit()
    assert desk.model.zoom == pytest.approx(2 * zoom) and desk.model.rotation == 0
    assert desk.model.to_view(*place) == pytest.approx((300, 200), abs=4)
    touch.move(1, _point(300, 100)).move(2, _point(300, 300)).commit()
    touch.move(1, _point(320, 102)).move(2, _point(280, 298)).commit()
    assert desk.model.rotation == pytest.approx(11.5, abs=0.5)
    touch.release(1, _point(320, 102)).release(2, _point(280, 298)).commit()
    assert desk.model.zoom == pytest.approx(2 * zoom, rel=0.01)


def test_fingers_count_for_nothing_while_the_pen_draws(desk, screen):
    centre = desk.model.centre
    pen(desk.view, PRESS, (100, 200))
    touch = QTest.touchEvent(desk.view, screen)
    touch.press(1, _point(400, 300)).commit()
    pen(desk.view, MOVE, (200, 200))
    touch.move(1, _point(500, 100)).commit()
    pen(desk.view, MOVE, (300, 200))
    pen(desk.view, RELEASE, (300, 200))
    touch.release(1, _point(500, 100)).commit()
    assert desk.model.centre == centre
    desk.settle()
    points = desk.to_slide((100, 200), (200, 200), (300, 200))
    assert np.array_equal(desk.labels() == 1, raster_stroke(points, desk.model.brush_radius, 0, 0, 2400, 1900))


def _point(x: int, y: int):
    return QPointF(x, y).toPoint()
