"""Rectangle and ellipse: drag from corner to corner; Shift keeps them square or round, Ctrl draws from the middle.

They stand upright on the screen, also where the slide is turned.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QBrush, QColor, QMouseEvent, QPainter, QPainterPath, QPolygonF

from .outline import Outline
from .painting import Point
from .tools import CLICK

if TYPE_CHECKING:
    from .view import SlideView

ERROR = 0.02  # level-0 pixels by which the polygon of an ellipse may lie off it


class Shape(Outline):
    """What both share: the rectangle that is dragged."""

    text = "Rectangle"

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        # level-0 points, so that zooming and moving in the middle of a drag does no harm
        self._from: Point | None = None
        self._to: Point | None = None
        self._square = self._middle = False

    @property
    def busy(self) -> bool:
        return self._from is not None

    def press(self, event: QMouseEvent, at: Point) -> None:
        if self._from is None and self._start(event):
            self._from = at
            self._follow(event, at)

    def move(self, event: QMouseEvent, at: Point) -> None:
        if self._from is not None:
            self._follow(event, at)

    def release(self, event: QMouseEvent, at: Point) -> None:
        if self._from is None:
            return
        self._follow(event, at)
        box = self.box()
        if box.width() > CLICK or box.height() > CLICK:  # a click is no shape
            self.points = [self.model.to_slide(*corner) for corner in self.corners(box)]
            self._show_size(event)
        self._from = self._to = None
        self.close()

    def key(self, key: int) -> bool:
        if self._from is None or key != Qt.Key.Key_Escape:
            return False
        self.cancel()
        return True

    def cancel(self) -> None:
        if self._from is not None:
            self._from = self._to = None
            self.view.say("")
        super().cancel()

    def _follow(self, event: QMouseEvent, at: Point) -> None:
        self._to = at
        self._square = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self._middle = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        self._show_size(event)
        self.view.update()

    def _show_size(self, event: QMouseEvent) -> None:
        box = self.box()
        per = (self.model.mpp or 1.0) / self.model.zoom
        self.view.say(
            self.size_text(box.width() * per, box.height() * per), hold=event.button() == Qt.MouseButton.NoButton
        )

    def size_text(self, width: float, height: float) -> str:
        """Return what is said of the size; width and height in µm, or in level-0 pixels where the resolution is unknown."""
        if not self.model.mpp:
            return f"{width:.0f} × {height:.0f} px"
        area = self.area(width, height)
        text = f"{area / 1e6:.3g} mm²" if area >= 1e5 else f"{area:.0f} µm²"
        return f"{width:.4g} × {height:.4g} µm, {text}"

    def box(self) -> QRectF:
        """The rectangle on the screen."""
        assert self._from is not None and self._to is not None
        x0, y0 = self.model.to_view(*self._from)
        x1, y1 = self.model.to_view(*self._to)
        dx, dy = x1 - x0, y1 - y0
        if self._square:
            side = max(abs(dx), abs(dy))
            dx, dy = math.copysign(side, dx), math.copysign(side, dy)
        if self._middle:
            return QRectF(x0 - abs(dx), y0 - abs(dy), 2 * abs(dx), 2 * abs(dy))
        return QRectF(min(x0, x0 + dx), min(y0, y0 + dy), abs(dx), abs(dy))

    def corners(self, box: QRectF) -> list[Point]:
        """The shape's points on the screen."""
        left, top, right, bottom = box.left(), box.top(), box.left() + box.width(), box.top() + box.height()
        return [(left, top), (right, top), (right, bottom), (left, bottom)]

    def area(self, width: float, height: float) -> float:
        """The shape's area for these sides."""
        return width * height

    def paint(self, painter: QPainter) -> None:
        if self._from is None:
            return
        line = QPolygonF([QPointF(*corner) for corner in self.corners(self.box())])
        line.append(line.first())
        path = QPainterPath()
        path.addPolygon(line)
        fill = QColor(self.color())
        fill.setAlpha(45)
        painter.fillPath(path, QBrush(fill))
        self.draw_line(painter, line)


class Rectangle(Shape):
    """An upright rectangle."""

    name = "rectangle"


class Ellipse(Shape):
    """An ellipse in an upright rectangle."""

    name = "ellipse"
    text = "Ellipse"

    def corners(self, box: QRectF) -> list[Point]:
        middle, rx, ry = box.center(), box.width() / 2, box.height() / 2
        radius = max(rx, ry) / self.model.zoom
        # the sagitta of a chord is radius * (1 - cos(step / 2))
        count = max(24, math.ceil(math.pi / math.acos(max(0.0, 1 - min(1.0, ERROR / max(radius, ERROR))))))
        steps = (2 * math.pi * k / count for k in range(count))
        return [(middle.x() + rx * math.cos(a), middle.y() + ry * math.sin(a)) for a in steps]

    def area(self, width: float, height: float) -> float:
        return math.pi / 4 * width * height
