"""One class per tool. A tool gets mouse events in level-0 coordinates and edits the labels through the view's canvas.

Right button or Alt = take away instead of add, with every painting tool. Moving the slide (Space, middle button) and
zooming are the view's business and work in the middle of a stroke.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QBrush, QColor, QMouseEvent, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

from .painting import Point, Stroke

if TYPE_CHECKING:
    from .view import SlideView

ERASING = QColor("#30363d")  # lines of what takes labels away
RING_KEPT = 300.0  # screen pixels: larger rings are drawn anew each time
CLICK = 4.0  # screen pixels a hand may move during a click
PART_POINTS, PART_SECONDS = 200, 2.0  # a long stroke reaches the store in parts: a crash loses at most one


def _pens(color: QColor, dashed: bool = False) -> list[QPen]:
    """Pens for one line, drawn one over the other: seen on white glass, pink tissue and dark nuclei alike."""
    pens = []
    for shade, width in ((QColor(0, 0, 0, 120), 4.2), (QColor(255, 255, 255, 235), 3.2), (color, 1.8)):
        pens.append(QPen(shade, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap, Qt.PenJoinStyle.RoundJoin))
    if dashed:
        pens[-1].setDashPattern([3, 2])
    return pens


class Tool:
    """What the mouse does. `view` is the slide view it works on."""

    name: ClassVar[str] = ""
    cursor: ClassVar[Qt.CursorShape] = Qt.CursorShape.CrossCursor

    def __init__(self, view: SlideView) -> None:
        self.view = view
        self.model = view.model

    def press(self, event: QMouseEvent, at: Point) -> None:
        """A button that is the tool's went down."""

    def move(self, event: QMouseEvent, at: Point) -> None:
        """The mouse moved, with a button down or not."""

    def release(self, event: QMouseEvent, at: Point) -> None:
        """The tool's button went up."""

    def double_click(self, event: QMouseEvent, at: Point) -> None:
        """The second press of a double click; most tools take it as one more press."""
        self.press(event, at)

    def key(self, key: int) -> bool:
        """Take a key; False = not mine."""
        return False

    def cancel(self) -> None:
        """Drop what is under way (another tool was chosen, another slide opened)."""

    def tick(self) -> None:
        """Called a few times a second while a button is down."""

    def paint(self, painter: QPainter) -> None:
        """Draw on top of the view, in screen coordinates."""

    def subtracts(self, event: QMouseEvent) -> bool:
        """Whether this gesture takes away."""
        return event.button() == Qt.MouseButton.RightButton or bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)


class Pan(Tool):
    """Left drag moves the slide: the view does that itself."""

    name = "pan"
    cursor = Qt.CursorShape.OpenHandCursor


class Brush(Tool):
    """Paints a stroke of the brush's size; the ring shows the true size."""

    name = "brush"
    cursor = Qt.CursorShape.BlankCursor
    text = "Brush"
    erases = False

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self.stroke: Stroke | None = None
        self._since = 0.0
        self._ring: QPixmap = QPixmap()
        self._ring_look: tuple[object, ...] = ()

    def press(self, event: QMouseEvent, at: Point) -> None:
        label = 0 if self.erases or self.subtracts(event) else self.model.label
        if self.stroke is not None or not self.view.can_paint(label):
            return
        labels = self.model.labels
        assert labels is not None
        text = "Brush" if label else "Eraser"
        self.stroke = Stroke(label, max(self.model.brush_radius, 0.5), labels.new_group(), text)
        self.view.show_label(label)
        self.view.set_live(self.stroke)
        self._since = time.monotonic()
        self._extend(at)

    def move(self, event: QMouseEvent, at: Point) -> None:
        if self.stroke is not None:
            self._extend(at)

    def release(self, event: QMouseEvent, at: Point) -> None:
        if self.stroke is None:
            return
        self._extend(at)
        self._submit()
        self.stroke = None
        self.view.set_live(None)

    def tick(self) -> None:
        if self.stroke is not None and time.monotonic() - self._since >= PART_SECONDS:
            self._submit()

    def cancel(self) -> None:
        if self.stroke is not None:
            self._submit()
            self.stroke = None
            self.view.set_live(None)

    def _extend(self, at: Point) -> None:
        stroke = self.stroke
        assert stroke is not None
        points = stroke.points
        if points and points[-1] == at:
            return
        points.append(at)
        self.view.draw_stroke(points[-2:], stroke.radius, stroke.label)
        if len(points) - stroke.submitted >= PART_POINTS or time.monotonic() - self._since >= PART_SECONDS:
            self._submit()

    def _submit(self) -> None:
        stroke = self.stroke
        assert stroke is not None
        self._since = time.monotonic()
        tail = stroke.tail()
        if tail:
            stroke.submitted = len(stroke.points)
            self.view.submit_stroke(stroke, np.array(tail))

    def paint(self, painter: QPainter) -> None:
        at = self.view.pointer
        if at is None:
            return
        radius = max(self.model.brush_radius * self.model.zoom, 1.0)
        subtract = self.erases or self.view.subtracting or (self.stroke is not None and self.stroke.label == 0)
        color = ERASING if subtract else self.view.class_color(self.model.label)
        if radius > RING_KEPT:
            self._draw_ring(painter, at, radius, color, subtract)
            return
        # Antialiased circles are the dearest part of a brush event: drawn once, then copied.
        ratio = self.view.devicePixelRatioF()
        look = (radius, color.rgba(), subtract, ratio)
        half = math.ceil(self.reach())
        if look != self._ring_look:
            self._ring_look = look
            self._ring = QPixmap(round(2 * half * ratio), round(2 * half * ratio))
            self._ring.setDevicePixelRatio(ratio)
            self._ring.fill(Qt.GlobalColor.transparent)
            ring_painter = QPainter(self._ring)
            ring_painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._draw_ring(ring_painter, QPointF(half, half), radius, color, subtract)
            ring_painter.end()
        painter.drawPixmap(QPointF(at.x() - half, at.y() - half), self._ring)

    def _draw_ring(self, painter: QPainter, at: QPointF, radius: float, color: QColor, subtract: bool) -> None:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for pen in _pens(color, dashed=subtract):
            painter.setPen(pen)
            painter.drawEllipse(at, radius, radius)
            if radius < 4:  # too small to be found by its ring alone
                painter.setPen(QPen(pen.color(), pen.widthF()))
                for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                    start = QPointF(at.x() + dx * (radius + 4), at.y() + dy * (radius + 4))
                    painter.drawLine(start, QPointF(start.x() + 6 * dx, start.y() + 6 * dy))

    def reach(self) -> float:
        """How far the ring reaches around the pointer, screen pixels."""
        return max(self.model.brush_radius * self.model.zoom, 12.0) + 4


class Eraser(Brush):
    """A brush that takes labels away."""

    name = "eraser"
    erases = True


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
        for pen in _pens(self.color(), dashed or self.subtract):
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


class Pick(Tool):
    """A click makes the class under the pointer current."""

    name = "pick"
    cursor = Qt.CursorShape.PointingHandCursor

    def release(self, event: QMouseEvent, at: Point) -> None:
        label = self.view.label_at(*at)
        if label and self.model.label_class(label) is not None:
            self.model.label = label


TOOL_CLASSES: dict[str, type[Tool]] = {t.name: t for t in (Pan, Brush, Eraser, Polygon, Lasso, Pick)}
