"""Pen and touch on the slide view.

A pen works like the mouse with the tool in hand: its pressure is the size of brush and eraser (where that is switched on),
its eraser end takes away. One finger moves the slide, two zoom and turn it; while the pen is down, fingers and palm count
for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QEventPoint, QMouseEvent, QPointingDevice, QTabletEvent, QTouchEvent

from .tools import CLICK

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget as _Base

    from .model import SlideViewModel
    from .tools import Tool
else:
    _Base = object

LIGHTEST = 0.15  # share of the brush's size that is left at the lightest touch
TURN_FROM = 12.0  # degrees that two fingers must turn before the slide turns with them
_KINDS = {
    QEvent.Type.TabletPress: QEvent.Type.MouseButtonPress,
    QEvent.Type.TabletMove: QEvent.Type.MouseMove,
    QEvent.Type.TabletRelease: QEvent.Type.MouseButtonRelease,
}


class PenInput(_Base):
    """Tablet and touch handlers of `SlideView`; a pen's events go on as those of a mouse."""

    model: SlideViewModel
    tool: Tool
    pressure: float | None  # of the pen that is drawing, 0..1; None for the mouse
    update_ring: Callable[[], None]

    def _init_pen(self) -> None:
        self.pressure = None
        self._pen_from: QPointF | None = None  # where the pen went down, until it has moved by more than a tap does
        self._pen_button = Qt.MouseButton.NoButton
        self._fingers: dict[int, QPointF] = {}
        self._turned: float | None = 0.0  # degrees two fingers have turned so far; None once the slide turns with them

    # ---- pen

    def tabletEvent(self, event: QTabletEvent) -> None:
        kind = _KINDS.get(event.type())
        if kind is None:
            event.ignore()
            return
        event.accept()
        at = event.position()
        if kind == QEvent.Type.MouseButtonPress:
            if self._pen_button != Qt.MouseButton.NoButton:
                return
            self._pen_button = self._button(event)
            self._pen_from = at
            self._fingers.clear()
        elif self._pen_from is not None:
            moved = at - self._pen_from
            if math.hypot(moved.x(), moved.y()) <= CLICK:
                if kind == QEvent.Type.MouseMove:
                    return
                at = self._pen_from  # a tap
            else:
                self._pen_from = None
        drawing = self._pen_button != Qt.MouseButton.NoButton
        if drawing and self.model.pen_pressure and kind != QEvent.Type.MouseButtonRelease:
            self.pressure = event.pressure()
        self._pass_on(event, kind, at)
        if kind == QEvent.Type.MouseButtonRelease:
            self._pen_from, self._pen_button, self.pressure = None, Qt.MouseButton.NoButton, None
            self.update_ring()

    def _button(self, event: QTabletEvent) -> Qt.MouseButton:
        if event.pointerType() == QPointingDevice.PointerType.Eraser:
            return Qt.MouseButton.RightButton if self.tool.paints else Qt.MouseButton.LeftButton
        return event.button() if event.button() != Qt.MouseButton.NoButton else Qt.MouseButton.LeftButton

    def _pass_on(self, event: QTabletEvent, kind: QEvent.Type, at: QPointF) -> None:
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else self._pen_button
        held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else self._pen_button
        mouse = QMouseEvent(kind, at, QPointF(self.mapToGlobal(at)), button, held, event.modifiers())
        if kind == QEvent.Type.MouseButtonPress:
            self.mousePressEvent(mouse)
        elif kind == QEvent.Type.MouseMove:
            self.mouseMoveEvent(mouse)
        else:
            self.mouseReleaseEvent(mouse)

    def pressed_size(self) -> float:
        """Share of the brush's size to paint with: as hard as the pen is pressed; 1 for the mouse."""
        return 1.0 if self.pressure is None else max(LIGHTEST, min(1.0, self.pressure))

    # ---- touch

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QTouchEvent):
            # A trackpad's fingers come as wheel and gestures too.
            if event.pointingDevice() is not None and event.deviceType() == QPointingDevice.DeviceType.TouchPad:
                return super().event(event)
            self._touch(event)
            event.accept()
            return True
        return super().event(event)

    def _touch(self, event: QTouchEvent) -> None:
        over = event.type() in (QEvent.Type.TouchEnd, QEvent.Type.TouchCancel)
        if over or self._pen_button != Qt.MouseButton.NoButton or self.model.slide is None:
            self._fingers.clear()
            return
        now = {point.id(): point.position() for point in event.points() if point.state() != QEventPoint.State.Released}
        if set(now) != set(self._fingers):  # a finger more or less: go on from where they are
            self._turned = 0.0
        elif len(now) == 1:
            (before,), (after,) = self._fingers.values(), now.values()
            if before != after:
                self.model.pan(after.x() - before.x(), after.y() - before.y())
        elif len(now) >= 2:
            ids = sorted(now)[:2]
            self._pinch([self._fingers[id] for id in ids], [now[id] for id in ids])
        self._fingers = now

    def _pinch(self, before: list[QPointF], after: list[QPointF]) -> None:
        """Two fingers: what is between them stays between them."""
        middle, there = (before[0] + before[1]) / 2, (after[0] + after[1]) / 2
        if middle != there:
            self.model.pan(there.x() - middle.x(), there.y() - middle.y())
        was, now = before[1] - before[0], after[1] - after[0]
        length, longer = math.hypot(was.x(), was.y()), math.hypot(now.x(), now.y())
        if length < 1 or longer < 1:
            return
        if length != longer:
            self.model.zoom_at(longer / length, there.x(), there.y())
        turn = math.degrees(math.atan2(now.y(), now.x()) - math.atan2(was.y(), was.x()))
        turn = (turn + 180) % 360 - 180
        if self._turned is not None:
            self._turned += turn
            if abs(self._turned) < TURN_FROM:
                return
            self._turned = None
        elif turn:
            self.model.turn_by(turn)
