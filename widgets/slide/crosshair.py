"""Drawing by keyboard: a cross hair that the arrow keys move, and keys that do what the mouse's button does.

It sends the view the mouse events of its place, so every tool works with it as with the mouse.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QFocusEvent, QKeyEvent, QMouseEvent, QPainter

from .painting import Point
from .tools import CLICK, pens

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget as _Base

    from .model import SlideViewModel
    from .regions import RegionWork
    from .tools import Tool
else:
    _Base = object

STEP, FAR, NEAR = 8.0, 64.0, 1.0  # screen pixels an arrow key moves the cross hair by: alone, with Shift, with Ctrl
EDGE = 24.0  # screen pixels from the edge of the view from which on the slide moves instead
ARM, GAP = 16.0, 4.0  # screen pixels
CLICKED = ("polygon", "fill", "wand", "marker", "area", "roi", "pick")  # tools that take points; the others are dragged
INK = QColor("#111111")
HINT = "Arrow keys move, Space sets a point, Enter closes, Esc ends"
DRAG_HINT = "Arrow keys move, Space starts and ends, Esc gives up"
_WAYS = {Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, -1), Qt.Key.Key_Down: (0, 1)}


class CrossHair(_Base):
    """Handlers of `SlideView` that come before those of `Input`.

    Signals
    -------
    cross_changed() : the cross hair came or went.
    """

    cross_changed = Signal()
    model: SlideViewModel
    tool: Tool
    regions: RegionWork
    pointer: QPointF | None
    say: Callable[..., None]
    update_ring: Callable[[], None]

    def _init_cross(self) -> None:
        self.cross: Point | None = None  # level-0 place of the cross hair; None while the mouse draws
        self._held = Qt.MouseButton.NoButton
        self._sending = False
        self._mouse: QPointF | None = None
        self.model.viewed.connect(self._keep_cross)
        self.model.events.tool.connect(lambda _: self._let_go())
        self.model.events.slide.connect(lambda _: self.end_cross())

    # ---- coming and going

    def toggle_cross(self) -> None:
        """Show the cross hair where the pointer is, else in the middle of the view; or take it away."""
        if self.cross is not None:
            self.end_cross()
        elif self.model.slide is not None:
            self.setFocus(Qt.FocusReason.ShortcutFocusReason)
            if self.model.tool == "pan":
                self.model.tool = "polygon"
            self._mouse = None
            at = self.pointer or QPointF(self.width() / 2, self.height() / 2)
            self._place(at)
            self.say(HINT if self.model.tool in CLICKED else DRAG_HINT, hold=True)
            self.cross_changed.emit()

    def end_cross(self) -> None:
        """Take the cross hair away; what is being drawn stays as it is."""
        if self.cross is not None:
            self._let_go()
            self.cross = None
            self.say("")
            self.update()
            self.cross_changed.emit()

    # ---- moving

    def _at_view(self) -> QPointF:
        assert self.cross is not None
        return QPointF(*self.model.to_view(*self.cross))

    def _place(self, at: QPointF) -> None:
        """Put the cross hair at a point of the view; what it passes over is the tool's, as with the mouse."""
        self.cross = self.model.to_slide(at.x(), at.y())
        self._send(QEvent.Type.MouseMove, Qt.MouseButton.NoButton)
        self.update()

    def _keep_cross(self) -> None:
        """After zooming and moving: it stays on its place of the slide while that is in sight."""
        if self.cross is not None and not self._sending:
            at = self._at_view()
            inside = QPointF(min(max(at.x(), 0.0), self.width() - 1.0), min(max(at.y(), 0.0), self.height() - 1.0))
            if inside != at:
                self.cross = self.model.to_slide(inside.x(), inside.y())
            self.pointer = inside
            self.update()

    def _step(self, dx: float, dy: float) -> None:
        at = self._at_view() + QPointF(dx, dy)
        wide, tall = float(self.width()), float(self.height())
        inside = QPointF(min(max(at.x(), EDGE), wide - EDGE), min(max(at.y(), EDGE), tall - EDGE))
        over = at - inside
        if over.x() * dx > 0 or over.y() * dy > 0:
            self.model.pan(-over.x(), -over.y())
        else:
            inside = at
        self._place(inside)

    # ---- what the mouse would do

    def _send(self, kind: QEvent.Type, button: Qt.MouseButton) -> None:
        at = self._at_view()
        held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else self._held
        event = QMouseEvent(kind, at, QPointF(self.mapToGlobal(at)), button, held, Qt.KeyboardModifier.NoModifier)
        self._sending = True
        try:
            if kind == QEvent.Type.MouseButtonPress:
                self.mousePressEvent(event)
            elif kind == QEvent.Type.MouseMove:
                self.mouseMoveEvent(event)
            else:
                self.mouseReleaseEvent(event)
        finally:
            self._sending = False
        self.pointer = at

    def _act(self, button: Qt.MouseButton) -> None:
        """Set a point, or start or end a drag."""
        if self._held != Qt.MouseButton.NoButton:
            self._let_go()
            return
        self._held = button
        self._send(QEvent.Type.MouseButtonPress, button)
        if self.model.tool in CLICKED:
            self._let_go()

    def _let_go(self) -> None:
        if self._held != Qt.MouseButton.NoButton and self.cross is not None:
            self._send(QEvent.Type.MouseButtonRelease, self._held)
        self._held = Qt.MouseButton.NoButton

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self.cross is not None and not self._sending:
            if self._mouse is None:
                self._mouse = event.position()
            moved = event.position() - self._mouse
            if math.hypot(moved.x(), moved.y()) <= CLICK:  # a knock on the table is no wish to draw by mouse
                return
            self.end_cross()
        super().mouseMoveEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if not self._sending:
            self.end_cross()
        super().mousePressEvent(event)

    # ---- keys

    def event(self, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and self.cross is not None
            and event.key() in (Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space, *_WAYS)
            and not event.modifiers() & Qt.KeyboardModifier.AltModifier
        ):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self.cross is None or event.modifiers() & Qt.KeyboardModifier.AltModifier:
            super().keyPressEvent(event)
            return
        key, shift = event.key(), bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if key in _WAYS:
            by = NEAR if event.modifiers() & Qt.KeyboardModifier.ControlModifier else FAR if shift else STEP
            dx, dy = _WAYS[Qt.Key(key)]
            self._step(dx * by, dy * by)
        elif key == Qt.Key.Key_Space:
            if not event.isAutoRepeat():
                self._act(Qt.MouseButton.RightButton if shift else Qt.MouseButton.LeftButton)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if not self.tool.key(key) and self._held != Qt.MouseButton.NoButton:
                self._let_go()
        elif key == Qt.Key.Key_Escape:
            self._give_up()
        else:
            super().keyPressEvent(event)

    def _give_up(self) -> None:
        """Escape: first what is being drawn, then the cross hair."""
        if self.tool.busy or self.regions.busy or self._held != Qt.MouseButton.NoButton:
            if not self.tool.key(Qt.Key.Key_Escape) and not self.regions.cancel():
                self.tool.cancel()
            self._let_go()
        else:
            self.end_cross()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._let_go()
        super().focusOutEvent(event)

    # ---- drawing

    def paint_cross(self, painter: QPainter, rect: QRectF) -> None:
        """Draw the cross hair: white on black, seen on every tissue."""
        if self.cross is None:
            return
        at = self._at_view()
        if not QRectF(at.x() - ARM, at.y() - ARM, 2 * ARM, 2 * ARM).intersects(rect):
            return
        for pen in pens(INK):
            painter.setPen(pen)
            for dx, dy in _WAYS.values():
                painter.drawLine(at + QPointF(dx, dy) * GAP, at + QPointF(dx, dy) * ARM)
