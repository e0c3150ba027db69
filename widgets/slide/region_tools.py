"""Tools that work on whole regions: fill, cut, join. The work itself is done by `regions.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPolygonF

from .painting import Point
from .tools import CLICK, ERASING, Tool, pens

if TYPE_CHECKING:
    from .view import SlideView

CUT_RADIUS = 0.75  # level-0 pixels: the narrowest line that pixels do not hang together across
SAMPLES = 2048  # places along a line at which it is asked what it crosses


class Fill(Tool):
    """A click fills an enclosed hole, or gives a region of another class to the current one."""

    name = "fill"

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self._label: int | None = None

    def press(self, event: QMouseEvent, at: Point) -> None:
        label = 0 if self.subtracts(event) else self.model.label
        self._label = label if self.view.can_paint(label) else None

    def release(self, event: QMouseEvent, at: Point) -> None:
        if self._label is not None:
            self.view.regions.fill(at, self._label)
        self._label = None


class Line(Tool):
    """A line drawn with the button held; Shift keeps it straight."""

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self.points: list[Point] = []

    def press(self, event: QMouseEvent, at: Point) -> None:
        if not self.points and self.view.can_paint(0):
            self.points = [at]

    def move(self, event: QMouseEvent, at: Point) -> None:
        if not self.points:
            return
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            del self.points[1:]
        if self.points[-1] != at:
            self.points.append(at)
        self.view.update()

    def release(self, event: QMouseEvent, at: Point) -> None:
        if not self.points:
            return
        self.move(event, at)
        line, self.points = self.points, []
        self.view.update()
        shape = QPolygonF([QPointF(*self.model.to_view(*point)) for point in line]).boundingRect()
        if max(shape.width(), shape.height()) > CLICK:  # a click is no line
            self.draw(line)

    def draw(self, line: list[Point]) -> None:
        """Do with the line what the tool is for."""

    def key(self, key: int) -> bool:
        if not self.points or key != Qt.Key.Key_Escape:
            return False
        self.cancel()
        return True

    def cancel(self) -> None:
        if self.points:
            self.points = []
            self.view.update()

    def line_color(self) -> QColor:
        """The colour in which it is drawn."""
        return ERASING

    def paint(self, painter: QPainter) -> None:
        if len(self.points) < 2:
            return
        painter.setBrush(Qt.BrushStyle.NoBrush)
        line = QPolygonF([QPointF(*self.model.to_view(*point)) for point in self.points])
        for pen in pens(self.line_color(), dashed=True):
            painter.setPen(pen)
            painter.drawPolyline(line)


class Cut(Line):
    """A line across a region cuts it in two, with a gap of a pixel or two."""

    name = "cut"

    def draw(self, line: list[Point]) -> None:
        """Cut the class that the line crosses first; others stay whole."""
        value = next((label for label in self._crossed(line) if label), 0)
        if not value:
            self.view.say("The line crosses no region")
        elif self.view.can_paint(value):
            self.view.submit_line(line, CUT_RADIUS, 0, (value,), None, "Cut region")

    def _crossed(self, line: list[Point]) -> list[int]:
        """The labels along the line."""
        points = np.array(line)
        along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))
        places = np.linspace(0, along[-1], min(SAMPLES, int(along[-1]) + 2))
        xs, ys = np.interp(places, along, points[:, 0]), np.interp(places, along, points[:, 1])
        return [self.view.label_at(x, y) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]


class Join(Line):
    """A line from one region to another makes them one, of the first one's class."""

    name = "join"

    def draw(self, line: list[Point]) -> None:
        self.view.regions.join(line)

    def line_color(self) -> QColor:
        return self.view.class_color(self.view.label_at(*self.points[0]))
