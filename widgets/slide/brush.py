"""Brush and eraser."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPen, QPixmap

from .painting import Point, Stroke
from .tools import ERASING, Tool, pens

if TYPE_CHECKING:
    from .view import SlideView

BRUSH_STEP = 1.15
RING_KEPT = 300.0  # screen pixels: larger rings are drawn anew each time
PART_POINTS, PART_SECONDS = (
    200,
    1.5,
)  # a long stroke reaches the store in parts; with the tick, a crash loses less than 2 s


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
        self._varies = False  # the pen's pressure sets the width of the stroke under way
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
        self._varies = self.view.pressure is not None
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

    def wheel(self, steps: float) -> bool:
        self.model.scale_brush(BRUSH_STEP**steps)
        return True

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
        if self._varies:
            stroke.radii.append(max(stroke.radius * self.view.pressed_size(), 0.5))
        last = points[-2:]
        self.view.draw_stroke(last, stroke.radius_of(len(last)), stroke.label)
        if len(points) - stroke.submitted >= PART_POINTS or time.monotonic() - self._since >= PART_SECONDS:
            self._submit()

    def _submit(self) -> None:
        stroke = self.stroke
        assert stroke is not None
        self._since = time.monotonic()
        tail = stroke.tail()
        if tail:
            stroke.submitted = len(stroke.points)
            radius = stroke.radius_of(len(tail))
            self.view.submit_stroke(stroke, np.array(tail), radius if isinstance(radius, float) else np.array(radius))

    def paint(self, painter: QPainter) -> None:
        at = self.view.pointer
        if at is None:
            return
        radius = max(self.model.brush_radius * self.model.zoom * self.view.pressed_size(), 1.0)
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
        for pen in pens(color, dashed=subtract):
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
