"""Polygon and lasso."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QBrush, QColor, QMouseEvent, QPainter, QPainterPath, QPen, QPolygonF

from .painting import Point
from .tools import CLICK, ERASING, Tool, pens

if TYPE_CHECKING:
    from .view import SlideView


class Outline(Tool):
    """What polygon and lasso share: a ring in the making, and how it is drawn."""

    text = "Polygon"
    rule = "nonzero"

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self.points: list[Point] = []
        self.subtract = False

    def _start(self, event: QMouseEvent) -> bool:
        subtract = self.subtracts(event)
        if not self.view.can_paint(0 if subtract else self.model.label):
            return False
        self.subtract = subtract
        if not self.subtract:
            self.view.show_label(self.model.label)
        return True

    def close(self) -> None:
        """Fill the ring and hand it to the store."""
        points, self.points = self.points, []
        self.view.update()
        if len(points) >= 3:
            self.view.submit_polygon(points, 0 if self.subtract else self.model.label, self.rule, self.text)

    def cancel(self) -> None:
        if self.points:
            self.points = []
            self.view.update()

    def key(self, key: int) -> bool:
        if not self.points:
            return False
        if key == Qt.Key.Key_Escape:
            self.cancel()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.close()
        else:
            return False
        return True

    def screen(self, points: list[Point]) -> QPolygonF:
        return QPolygonF([QPointF(*self.model.to_view(*p)) for p in points])

    def color(self) -> QColor:
        return ERASING if self.subtract else self.view.class_color(self.model.label)

    def draw_line(self, painter: QPainter, line: QPolygonF, dashed: bool = False) -> None:
        """A line that is seen on dark and on bright tissue: colour on a dark casing."""
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for pen in pens(self.color(), dashed or self.subtract):
            painter.setPen(pen)
            painter.drawPolyline(line)

    def update_around(self, points: list[Point]) -> None:
        self.view.update(self.screen(points).boundingRect().adjusted(-9, -9, 9, 9).toAlignedRect())


class Polygon(Outline):
    """Click corners (or drag for a free line); double click or Enter closes, Backspace takes the last corner back."""

    name = "polygon"

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self._pressed: QPointF | None = None
        self._dragging = False
        self._hover: Point | None = None

    def press(self, event: QMouseEvent, at: Point) -> None:
        if not self.points and not self._start(event):
            return
        self._pressed, self._dragging = event.position(), False
        self.points.append(at)
        self.update_around([*self.points[-2:], self._hover or at])

    def move(self, event: QMouseEvent, at: Point) -> None:
        if not self.points:
            return
        before, self._hover = self._hover, at
        if self._pressed is not None:
            moved = event.position() - self._pressed
            self._dragging = self._dragging or math.hypot(moved.x(), moved.y()) > CLICK
            if self._dragging:
                self.points.append(at)
        self.update_around([*self.points[-2:], self.points[0], before or at, at])

    def release(self, event: QMouseEvent, at: Point) -> None:
        if self._dragging and self.points and self.points[-1] != at:
            self.points.append(at)
        self._pressed, self._dragging = None, False

    def double_click(self, event: QMouseEvent, at: Point) -> None:
        # Its first press has set the last corner already.
        if self.points:
            self.close()
        self._pressed, self._hover = None, None

    def key(self, key: int) -> bool:
        if self.points and key in (Qt.Key.Key_Backspace, Qt.Key.Key_Delete):
            self.points.pop()
            self.view.update()
            return True
        return super().key(key)

    def cancel(self) -> None:
        self._pressed, self._hover = None, None
        super().cancel()

    def paint(self, painter: QPainter) -> None:
        if not self.points:
            return
        points = self.points if self._hover is None else [*self.points, self._hover]
        shape = self.screen(points)
        if len(points) > 2:
            path = QPainterPath()
            path.setFillRule(Qt.FillRule.WindingFill)
            path.addPolygon(shape)
            fill = QColor(self.color())
            fill.setAlpha(45)
            painter.fillPath(path, QBrush(fill))
        corners = self.screen(self.points)
        self.draw_line(painter, corners)
        if self._hover is not None:
            self.draw_line(painter, QPolygonF([shape.last(), corners.last()]), dashed=True)
            if len(self.points) > 1:
                self.draw_line(painter, QPolygonF([shape.last(), corners.first()]), dashed=True)
        if corners.size() <= 200:  # a free line has too many to be told apart
            painter.setPen(QPen(QColor(0, 0, 0, 170), 1))
            painter.setBrush(QColor("#ffffff"))
            for x, y in (self.model.to_view(*point) for point in self.points):
                painter.drawRect(QRectF(x - 3, y - 3, 6, 6))

    def update_around(self, points: list[Point]) -> None:
        # the translucent filling follows the pointer
        super().update_around([*points, *(self.points if len(self.points) <= 200 else [])])


class Lasso(Outline):
    """Draw around; letting go closes."""

    name = "lasso"
    text = "Lasso"

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self._down: QPointF | None = None

    def press(self, event: QMouseEvent, at: Point) -> None:
        if self._down is None and self._start(event):
            self._down = event.position()
            self.points = [at]

    def move(self, event: QMouseEvent, at: Point) -> None:
        if self._down is not None and self.points and self.points[-1] != at:
            self.points.append(at)
            self.update_around(self.points[-2:])

    def release(self, event: QMouseEvent, at: Point) -> None:
        if self._down is None:
            return
        self.move(event, at)
        size = self.screen(self.points).boundingRect() if self.points else QRectF()
        self._down = None
        if max(size.width(), size.height()) <= CLICK:  # a click is no outline
            self.cancel()
        else:
            self.close()

    def cancel(self) -> None:
        self._down = None
        super().cancel()

    def paint(self, painter: QPainter) -> None:
        if len(self.points) > 1:
            self.draw_line(painter, self.screen(self.points))
