"""Mouse, wheel, trackpad and keys of the slide view: who moves, who zooms, what goes to the tool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QFocusEvent, QKeyEvent, QKeySequence, QMouseEvent, QNativeGestureEvent, QWheelEvent

from .brush import BRUSH_STEP
from .toolset import TOOL_KEYS

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget as _Base

    from .model import SlideViewModel
    from .regions import RegionWork
    from .tools import Tool
else:
    _Base = object

NOTCH = 120.0  # angle delta of one notch of a wheel
PER_NOTCH = 1.25  # zoom
_TOOL_OF_KEY = {letter: tool for tool, letter in TOOL_KEYS.items()}
_ARROWS = {Qt.Key.Key_Left: (1, 0), Qt.Key.Key_Right: (-1, 0), Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1)}


class Input(_Base):
    """The event handlers of `SlideView`."""

    model: SlideViewModel
    tool: Tool
    update_ring: Callable[[], None]
    regions: RegionWork
    menu_asked: Any

    def _init_input(self) -> None:
        self.pointer: QPointF | None = None
        self.subtracting = False  # Alt is down
        self.focus_by_key = False
        self._space = False
        self._pan_from: QPointF | None = None
        self._pan_button = Qt.MouseButton.NoButton
        self._tool_button = Qt.MouseButton.NoButton

    # ---- mouse

    def _at(self, event: QMouseEvent) -> tuple[float, float]:
        return self.model.to_slide(event.position().x(), event.position().y())

    def _is_pan(self, event: QMouseEvent) -> bool:
        if event.button() == Qt.MouseButton.MiddleButton:
            return True
        return event.button() == Qt.MouseButton.LeftButton and (self._space or self.model.tool == "pan")

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._press(event, double=False)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self._press(event, double=True)

    def _press(self, event: QMouseEvent, double: bool) -> None:
        if self.model.slide is None or self._pan_from is not None or self._tool_button != Qt.MouseButton.NoButton:
            return
        self.pointer = event.position()
        self.regions.menu_at = None
        if self.focus_by_key:  # the frame is for those who come by keyboard
            self.focus_by_key = False
            self.update()
        if self._is_pan(event):
            self._pan_from, self._pan_button = event.position(), event.button()
            self._show_cursor()
        elif event.button() == Qt.MouseButton.RightButton and not self.tool.paints:
            self._ask_menu(event.position())
        elif event.button() in (Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton):
            self._tool_button = event.button()
            (self.tool.double_click if double else self.tool.press)(event, self._at(event))
            self.update_ring()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self.pointer = event.position()
        self.subtracting = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
        if self._pan_from is not None:
            moved = event.position() - self._pan_from
            self._pan_from = event.position()
            self.model.pan(moved.x(), moved.y())
        else:
            self.tool.move(event, self._at(event))
        self.update_ring()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._pan_from is not None and event.button() == self._pan_button:
            moved = event.position() - self._pan_from
            self._pan_from = None
            if moved.x() or moved.y():
                self.model.pan(moved.x(), moved.y())
            self._show_cursor()
        elif event.button() == self._tool_button:
            self._tool_button = Qt.MouseButton.NoButton
            self.tool.release(event, self._at(event))
        self.pointer = event.position()
        self.update_ring()

    def leaveEvent(self, event: QEvent) -> None:
        self.pointer = None
        self.update_ring()

    def _ask_menu(self, at: QPointF) -> None:
        """Open the menu of the region at a point of the view, where there is one to open it."""
        self.regions.menu_at = self.model.to_slide(at.x(), at.y())
        self.menu_asked.emit(self.mapToGlobal(at).toPoint())

    # ---- wheel and trackpad

    def wheelEvent(self, event: QWheelEvent) -> None:
        angle = event.angleDelta()
        # With Alt some systems turn the wheel sideways.
        delta = angle.y() or angle.x()
        if not event.pixelDelta().isNull() and not delta:
            delta = event.pixelDelta().y()
        if not delta:
            return
        resize = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
        if event.modifiers() & resize and self.tool.wheel(delta / NOTCH):
            self.update_ring()
        else:
            self.model.zoom_at(PER_NOTCH ** (delta / NOTCH), event.position().x(), event.position().y())
            self.update_ring()
        event.accept()

    def event(self, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Escape
            and (self.tool.busy or self.regions.busy)
        ):
            event.accept()  # before it closes a message or whatever else the window does with it
            return True
        if isinstance(event, QNativeGestureEvent):
            return self._gesture(event) or super().event(event)
        return super().event(event)

    def _gesture(self, event: QNativeGestureEvent) -> bool:
        if event.gestureType() != Qt.NativeGestureType.ZoomNativeGesture:
            return False
        at = event.position()
        self.model.zoom_at(max(1 + event.value(), 0.1), at.x(), at.y())
        return True

    # ---- keys

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Undo):
            self.model.undo()
        elif event.matches(QKeySequence.StandardKey.Redo) or (
            event.key() == Qt.Key.Key_Y and event.modifiers() == Qt.KeyboardModifier.ControlModifier
        ):
            self.model.redo()
        elif event.key() == Qt.Key.Key_Alt:
            self.subtracting = True
            self.update_ring()
        elif event.modifiers() & (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.MetaModifier):
            event.ignore()  # the window's
        elif not self.tool.key(event.key()) and not self._own_key(event):
            super().keyPressEvent(event)

    def _own_key(self, event: QKeyEvent) -> bool:
        key, text, model = event.key(), event.text().upper(), self.model
        if key == Qt.Key.Key_Space:
            if not event.isAutoRepeat():
                self._space = True
                self._show_cursor()
        elif key == Qt.Key.Key_Escape:
            return self.regions.cancel()
        elif key == Qt.Key.Key_Menu or (
            key == Qt.Key.Key_F10 and event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        ):
            self._ask_menu(self.pointer or QPointF(model.viewport[0] / 2, model.viewport[1] / 2))
        elif key in _ARROWS:
            part = 0.8 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 0.12
            dx, dy = _ARROWS[Qt.Key(key)]
            model.pan(dx * part * model.viewport[0], dy * part * model.viewport[1])
        elif key == Qt.Key.Key_Home:
            model.fit()
        elif text in ("+", "="):
            model.zoom_at(PER_NOTCH**2)
        elif text in ("-", "_"):
            model.zoom_at(PER_NOTCH**-2)
        elif text in ("[", "]"):
            model.scale_brush(BRUSH_STEP ** (1 if text == "]" else -1))
            self.update_ring()
        elif text.isdigit() and len(text) == 1:
            return model.select_key(text)
        elif text in _TOOL_OF_KEY:
            model.tool = _TOOL_OF_KEY[text]
        else:
            return False
        return True

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = False
            self._show_cursor()
        elif event.key() == Qt.Key.Key_Alt:
            self.subtracting = False
            self.update_ring()
        else:
            super().keyReleaseEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        by_key = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason, Qt.FocusReason.ShortcutFocusReason)
        self.focus_by_key = event.reason() in by_key
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._space = self.subtracting = False
        self._show_cursor()
        self.update()

    def _show_cursor(self) -> None:
        if self._pan_from is not None:
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        elif self._space:
            self.setCursor(Qt.CursorShape.OpenHandCursor)
        else:
            self.setCursor(self.tool.cursor)
