"""Slides made of arrays, and real mouse events, for the tests of the slide view."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QImage, QMouseEvent, QWheelEvent
from qtpy.QtWidgets import QApplication, QWidget

from opsin.engine.data.slides import Level, Slide
from opsin.engine.errors import SlideError

LEFT, RIGHT, MIDDLE = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton, Qt.MouseButton.MiddleButton
NONE = Qt.KeyboardModifier.NoModifier


class ArraySlide(Slide):
    """A slide of any size: a block of noise, repeated. Its reading can be held up and can fail."""

    def __init__(self, width: int, height: int, factors: tuple[int, ...] = (1, 4, 16), mpp: float | None = 0.5) -> None:
        super().__init__(Path("made.svs"))
        self.levels = [Level(-(-width // f), -(-height // f), f, f, 256, 256) for f in factors]
        self.mpp, self.mpp_source = mpp, "file (Aperio MPP)" if mpp else "unknown"
        self.block = np.random.default_rng(7).integers(60, 200, (1024, 1024, 3), np.uint8)
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[tuple[int, int, int, int, int]] = []
        self.broken = False

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        self.calls.append((level, x, y, width, height))
        self.gate.wait(20)
        if self.broken:
            raise SlideError("made.svs is damaged at tile 3.")
        rows, columns = np.arange(y, y + height) % 1024, np.arange(x, x + width) % 1024
        return np.ascontiguousarray(self.block[rows][:, columns])


def mouse(
    view: QWidget, kind: QEvent.Type, at: tuple[float, float], button=Qt.MouseButton.NoButton, held=None, modifiers=NONE
) -> None:
    """Send one mouse event, at once."""
    held = button if held is None else held
    place = QPointF(*at)
    event = QMouseEvent(kind, place, QPointF(view.mapToGlobal(place)), button, held, modifiers)
    QApplication.sendEvent(view, event)


def press(view: QWidget, at: tuple[float, float], button=LEFT, modifiers=NONE) -> None:
    mouse(view, QEvent.Type.MouseButtonPress, at, button, button, modifiers)


def move(view: QWidget, at: tuple[float, float], held=LEFT, modifiers=NONE) -> None:
    mouse(view, QEvent.Type.MouseMove, at, Qt.MouseButton.NoButton, held, modifiers)


def release(view: QWidget, at: tuple[float, float], button=LEFT, modifiers=NONE) -> None:
    mouse(view, QEvent.Type.MouseButtonRelease, at, button, Qt.MouseButton.NoButton, modifiers)


def click(view: QWidget, at: tuple[float, float], button=LEFT, modifiers=NONE) -> None:
    press(view, at, button, modifiers)
    release(view, at, button, modifiers)


def double_click(view: QWidget, at: tuple[float, float]) -> None:
    click(view, at)
    mouse(view, QEvent.Type.MouseButtonDblClick, at, LEFT, LEFT)
    release(view, at)


def drag(view: QWidget, points: list[tuple[float, float]], button=LEFT, modifiers=NONE) -> None:
    """Press at the first point, move through the others, let go at the last."""
    press(view, points[0], button, modifiers)
    for at in points[1:-1]:
        move(view, at, button, modifiers)
    release(view, points[-1], button, modifiers)


def wheel(view: QWidget, at: tuple[float, float], notches: float, modifiers=NONE, pixels: int = 0) -> None:
    place = QPointF(*at)
    event = QWheelEvent(
        place,
        QPointF(view.mapToGlobal(place)),
        QPoint(0, pixels),
        QPoint(0, round(120 * notches)),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(view, event)


def grabbed(view: QWidget) -> np.ndarray:
    """What the view shows: uint8 [h, w, 3]."""
    return pixels(view.grab().toImage())


def pixels(image: QImage) -> np.ndarray:
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    raw = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    return raw[:, : image.width(), 2::-1].copy()


def blended(below: np.ndarray, color: str, opacity: float) -> np.ndarray:
    """Slide pixels under a label of that colour."""
    c = QColor(color)
    return below * (1 - opacity) + np.array([c.red(), c.green(), c.blue()]) * opacity
