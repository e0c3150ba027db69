"""Tools that draw marks: marker, ruler, area and region of interest.

A press on a mark of the tool's own kind chooses it, its points can then be dragged, Delete removes it, a double click or
Enter opens its note. An area or a region is drawn corner by corner, or as a rectangle with the button held.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPainterPath, QPolygonF

from ...engine.errors import OpsinError
from ...engine.labels.marks import NAMES, Mark, MarkKind
from .marks import INK, NEAR, draw_chip, draw_handles, measure_words
from .painting import Point
from .tools import CLICK, Tool, pens

if TYPE_CHECKING:
    from ...engine.labels.store import LabelStore
    from .view import SlideView

STEP = 15.0  # degrees a ruler turns by with Shift


class MarkTool(Tool):
    """What the four share: choosing, dragging points, deleting, handing a new mark to the store."""

    kind: ClassVar[MarkKind]
    paints = False
    minimum = CLICK  # screen pixels of a drag that is meant

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self._down: QPointF | None = None
        self._dragged: tuple[Mark, int] | None = None  # a mark and the number of its point
        self._moved = False

    # ---- mouse

    def press(self, event: QMouseEvent, at: Point) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        self._down, self._moved = event.position(), False
        if self.drawing:
            self.go_on(event, at)
            return
        found = self._own(event.position())
        self.model.mark = found[0].id if found is not None else None
        if found is not None:
            self._dragged = found if found[1] >= 0 else None
            if self._dragged is None:
                self._down = None
        elif self.model.labels is not None and not self.model.labels.readonly:
            self.begin(event, at)
        else:
            self._down = None

    def _own(self, at: QPointF) -> tuple[Mark, int] | None:
        """The mark of this kind under the pointer and the number of its point there, -1 for a place between points."""
        layer = self.view.marks
        chosen, below = layer.chosen(), layer.at(at.x(), at.y(), self.kind)
        for mark in (chosen, below):
            corner = layer.corner_at(mark, at.x(), at.y()) if mark is not None and mark.kind == self.kind else None
            if mark is not None and corner is not None:
                return mark, corner
        return (below, -1) if below is not None else None

    def move(self, event: QMouseEvent, at: Point) -> None:
        if self._down is not None:
            moved = event.position() - self._down
            self._moved = self._moved or math.hypot(moved.x(), moved.y()) > self.minimum
        if self._dragged is None:
            self.follow(event, at)
        elif self._moved:
            mark, corner = self._dragged
            points = list(mark.points)
            points[corner] = self.placed(event, at, points, corner)
            self.view.marks.moved = replace(mark, points=tuple(points))
            self.view.update()

    def release(self, event: QMouseEvent, at: Point) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        if self._dragged is None:
            self.let_go(event, at)
        else:
            self.move(event, at)
            moved, self._dragged, self.view.marks.moved = self.view.marks.moved, None, None
            if moved is not None:
                self._store(lambda store: store.change_mark(moved, text=f"Move {NAMES[moved.kind]}"))
        self._down = None
        self.view.update()

    def double_click(self, event: QMouseEvent, at: Point) -> None:
        if self.drawing:
            self.close()
            return
        found = self.view.marks.at(event.position().x(), event.position().y(), self.kind)
        if found is not None:
            self.model.mark = found.id
            self.model.note_wanted.emit(found.id)

    def key(self, key: int) -> bool:
        if self.drawing or self._dragged is not None:
            return self.drawing_key(key)
        chosen = self.view.marks.chosen()
        if chosen is None or chosen.kind != self.kind:
            return False
        if key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self._store(lambda store: store.remove_marks([chosen.id]))
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.model.note_wanted.emit(chosen.id)
        elif key == Qt.Key.Key_Escape:
            self.model.mark = None
        else:
            return False
        return True

    def drawing_key(self, key: int) -> bool:
        """Take a key while something is drawn or dragged."""
        if key == Qt.Key.Key_Escape:
            self.cancel()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.close()
        else:
            return False
        return True

    def cancel(self) -> None:
        self._down = self._dragged = self.view.marks.moved = None
        self.view.update()

    # ---- what each kind does

    @property
    def drawing(self) -> bool:
        """Whether a new one is in the making."""
        return False

    def begin(self, event: QMouseEvent, at: Point) -> None:
        """The first press of a new one."""

    def go_on(self, event: QMouseEvent, at: Point) -> None:
        """A further press while one is in the making."""

    def follow(self, event: QMouseEvent, at: Point) -> None:
        """The mouse moved while none is dragged."""

    def let_go(self, event: QMouseEvent, at: Point) -> None:
        """The button went up while none was dragged."""

    def close(self) -> None:
        """What is drawn is complete."""

    def placed(self, event: QMouseEvent, at: Point, points: list[Point], place: int) -> Point:
        """Where a point goes that is dragged to `at`."""
        return at

    # ---- the store

    def make(self, points: list[Point], group: int | None = None) -> Mark | None:
        """Hand a new mark to the store and choose it; None, and a message, when that fails."""
        made: list[Mark] = []
        mark = Mark(self.kind, tuple(points), author=self.model.author)
        self._store(lambda store: made.extend(store.add_marks([mark], group=group)))
        if made:
            self.model.mark = made[0].id
        return made[0] if made else None

    def _store(self, change: Callable[[LabelStore], object]) -> None:
        store = self.model.labels
        if store is not None:
            try:
                change(store)
            except OpsinError as error:
                self.view.failed.emit(str(error))

    def live(self, points: list[Point]) -> Mark:
        """What is drawn at the moment, as a mark."""
        return Mark(self.kind, tuple(points))

    def screen(self, points: list[Point]) -> QPolygonF:
        return QPolygonF([QPointF(*self.model.to_view(*point)) for point in points])


class Marker(MarkTool):
    """A click sets a marker and opens its note."""

    name = "marker"
    kind = "marker"

    def let_go(self, event: QMouseEvent, at: Point) -> None:
        if self._down is None or self._moved or self.model.labels is None:
            return
        place = self.model.to_slide(self._down.x(), self._down.y())
        slide = self.model.slide
        if slide is None or not (0 <= place[0] < slide.width and 0 <= place[1] < slide.height):
            self.view.say("That is beside the slide")
            return
        group = self.model.labels.new_group()
        made = self.make([place], group)
        if made is not None:
            self.view.marks.write_note(made, group)


class Ruler(MarkTool):
    """Drag from one point to another; Shift turns in steps of 15°."""

    name = "ruler"
    kind = "ruler"

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self.points: list[Point] = []

    @property
    def drawing(self) -> bool:
        return bool(self.points)

    def begin(self, event: QMouseEvent, at: Point) -> None:
        self.points = [at, at]

    def follow(self, event: QMouseEvent, at: Point) -> None:
        if self.points:
            self.points[1] = self.placed(event, at, self.points, 1)
            self.view.update()

    def let_go(self, event: QMouseEvent, at: Point) -> None:
        if not self.points:
            return
        self.follow(event, at)
        points, self.points = self.points, []
        ends = self.screen(points)
        way = ends.at(1) - ends.at(0)
        if math.hypot(way.x(), way.y()) > self.minimum:
            self.make(points)
        else:
            self.view.say("Drag from one point to the other")

    def cancel(self) -> None:
        self.points = []
        super().cancel()

    def placed(self, event: QMouseEvent, at: Point, points: list[Point], place: int) -> Point:
        if not event.modifiers() & Qt.KeyboardModifier.ShiftModifier or len(points) != 2:
            return at
        fixed = QPointF(*self.model.to_view(*points[1 - place]))
        way = event.position() - fixed
        angle = math.radians(round(math.degrees(math.atan2(way.y(), way.x())) / STEP) * STEP)
        length = way.x() * math.cos(angle) + way.y() * math.sin(angle)
        return self.model.to_slide(fixed.x() + length * math.cos(angle), fixed.y() + length * math.sin(angle))

    def paint(self, painter: QPainter) -> None:
        if self.points and self.points[0] != self.points[1]:
            line = self.screen(self.points)
            for pen in pens(INK):
                painter.setPen(pen)
                painter.drawPolyline(line)
            words = measure_words(self.live(self.points), self.model.mpp)
            draw_chip(painter, self.view, words, line.last() + QPointF(16, 18), QRectF(self.view.rect()), beside=True)


class Area(MarkTool):
    """Click corner by corner, or drag a rectangle; Enter, a double click or a click on the first corner closes."""

    name = "area"
    kind = "area"

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self.points: list[Point] = []
        self._hover: Point | None = None
        self._box: QRectF | None = None  # a rectangle being dragged, on the screen

    @property
    def drawing(self) -> bool:
        return bool(self.points)

    def begin(self, event: QMouseEvent, at: Point) -> None:
        self.points, self._hover = [at], None

    def go_on(self, event: QMouseEvent, at: Point) -> None:
        first = QPointF(*self.model.to_view(*self.points[0])) - event.position()
        if len(self.points) >= 3 and math.hypot(first.x(), first.y()) <= NEAR:
            self.close()
            self._down = None
        else:
            self.points.append(at)
        self.view.update()

    def follow(self, event: QMouseEvent, at: Point) -> None:
        if not self.points:
            return
        self._hover = at
        if self._down is not None and self._moved and len(self.points) == 1:
            size = event.position() - self._down
            dx, dy = size.x(), size.y()
            if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:  # a square
                side = max(abs(dx), abs(dy))
                dx, dy = math.copysign(side, dx), math.copysign(side, dy)
            self._box = QRectF(self._down, self._down + QPointF(dx, dy)).normalized()
        self.view.update()

    def let_go(self, event: QMouseEvent, at: Point) -> None:
        self.follow(event, at)
        if self._box is not None:
            points, self._box = self._box_points(), None
            self.points = []
            self.make(points)

    def _box_points(self) -> list[Point]:
        assert self._box is not None
        box = self._box
        corners = (box.topLeft(), box.topRight(), box.bottomRight(), box.bottomLeft())
        return [self.model.to_slide(corner.x(), corner.y()) for corner in corners]

    def close(self) -> None:
        points, self.points, self._box = self.points, [], None
        points = [point for place, point in enumerate(points) if not place or point != points[place - 1]]
        if len(points) >= 3:
            self.make(points)
        else:
            self.view.say("An area needs at least three corners")
        self.view.update()

    def drawing_key(self, key: int) -> bool:
        if key in (Qt.Key.Key_Backspace, Qt.Key.Key_Delete) and self.points:
            self.points.pop()
            self.view.update()
            return True
        return super().drawing_key(key)

    def cancel(self) -> None:
        self.points, self._box, self._hover = [], None, None
        super().cancel()

    def paint(self, painter: QPainter) -> None:
        if not self.points:
            return
        points = self._box_points() if self._box is not None else list(self.points)
        if self._box is None and self._hover is not None and self._hover != points[-1]:
            points.append(self._hover)
        shape = self.screen(points)
        if len(points) > 2:
            path = QPainterPath()
            path.addPolygon(shape)
            painter.fillPath(path, QColor(255, 255, 255, 50))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for pen in pens(INK, dashed=self.kind == "roi"):
            painter.setPen(pen)
            painter.drawPolygon(shape)
        if self._box is None:
            draw_handles(painter, self.screen(self.points))
        if len(points) > 2:
            words = measure_words(self.live(points), self.model.mpp)
            corner = shape.last() if self._box is None else shape.at(2)
            draw_chip(painter, self.view, words, corner + QPointF(16, 18), QRectF(self.view.rect()), beside=True)


class RegionOfInterest(Area):
    """As `Area`; outside of all such regions the slide counts nowhere."""

    name = "roi"
    kind = "roi"
