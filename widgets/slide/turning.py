"""Turning the slide with the mouse: Shift + Alt + left drag, around the middle of the view, in every tool."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QMouseEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget as _Base

    from .model import SlideViewModel
else:
    _Base = object

KEYS = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier
HOLD = 2.5  # degrees around a quarter turn within which the hand is held at it
DEAD = 12.0  # screen pixels around the middle in which a pointer has no direction


def rotation_text(rotation: float, mirrored: bool) -> str:
    """How the slide lies: `37°`, `90°, flipped`; empty where it lies as scanned."""
    parts = [f"{rotation:.4g}°" if rotation else "", "flipped" if mirrored else ""]
    return ", ".join(part for part in parts if part)


class Turning(_Base):
    """Mouse handlers of `SlideView` that come before those of `Input`."""

    model: SlideViewModel
    say: Callable[[str], None]
    _show_cursor: Callable[[], None]
    _turn_from: tuple[float, float] | None = None  # direction of the pointer and rotation when the drag began

    def _direction(self, at: QPointF) -> float | None:
        """Degrees clockwise from the right at which a point lies around the middle; None too near to it."""
        dx, dy = at.x() - self.model.viewport[0] / 2, at.y() - self.model.viewport[1] / 2
        return None if math.hypot(dx, dy) < DEAD else math.degrees(math.atan2(dy, dx))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        wanted = event.button() == Qt.MouseButton.LeftButton and event.modifiers() & KEYS == KEYS
        if not wanted or event.buttons() != Qt.MouseButton.LeftButton or self.model.slide is None:
            super().mousePressEvent(event)
            return
        start = self._direction(event.position())
        self._turn_from = None if start is None else (start, self.model.rotation)
        if self._turn_from is not None:
            self.setCursor(Qt.CursorShape.ClosedHandCursor)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._turn_from is None:
            super().mouseMoveEvent(event)
            return
        now = self._direction(event.position())
        if now is not None:
            wished = round(self._turn_from[1] + now - self._turn_from[0])
            quarter = 90 * round(wished / 90)
            self.model.turn_to(quarter if abs(wished - quarter) <= HOLD else wished)
            self.say(f"Rotated {rotation_text(self.model.rotation, self.model.mirrored) or '0°'}")

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._turn_from is None:
            super().mouseReleaseEvent(event)
        elif event.button() == Qt.MouseButton.LeftButton:
            self._turn_from = None
            self._show_cursor()
