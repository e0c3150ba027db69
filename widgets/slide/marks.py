"""Markers, rulers, areas and regions of interest as they lie on the slide view, and what they measure in words.

`MarkLayer` draws those of the model's label store over the slide and finds the one under a place. Outside the regions of
interest the slide is dimmed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

from ...engine.labels.marks import Mark
from ..background import Relay
from .painting import Point
from .tools import pens

if TYPE_CHECKING:
    from .model import SlideViewModel
    from .note import NoteEditor
    from .view import SlideView

INK = QColor("#101820")  # lines of marks without a class
DIM = QColor(14, 18, 24, 130)  # over what does not count
DOT = 7.0  # radius of a marker, screen pixels
NEAR = 9.0  # screen pixels at which a mark is under the pointer
HANDLE = 4.0
LONGEST_NOTE = 40  # characters on the slide


def length_words(pixels: float, mpp: float | None) -> str:
    """A length: "523 µm", "1.25 mm"; in pixels where the resolution (µm per level-0 pixel) is unknown."""
    if not mpp:
        return f"{pixels:,.0f} px"
    length = pixels * mpp
    return f"{_three(length / 1000)} mm" if length >= 1000 else f"{_three(length)} µm"


def area_words(pixels: float, mpp: float | None) -> str:
    """An area: "0.523 mm²", below 0.01 mm² "5,230 µm²"; in pixels where the resolution is unknown."""
    if not mpp:
        return f"{pixels:,.0f} px²"
    area = pixels * mpp * mpp
    return f"{_three(area / 1e6)} mm²" if area >= 1e4 else f"{_three(area)} µm²"


def _three(value: float) -> str:
    """Three digits that count, all before the point shown."""
    if value >= 999.5 or value <= 0:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(value) + 1e-12))
    return f"{value:.{min(digits, 6)}f}"


def measure_words(mark: Mark, mpp: float | None) -> str:
    """What a mark measures: length, or area and perimeter; empty for a marker."""
    if mark.kind == "marker":
        return ""
    if mark.kind == "ruler":
        said = length_words(mark.length, mpp)
    else:
        said = f"{area_words(mark.area, mpp)}, perimeter {length_words(mark.length, mpp)}"
    return said if mpp else f"{said} (µm per pixel unknown)"


def place_of(mark: Mark) -> Point:
    """The level-0 point at which a mark is: of a marker itself, else the middle of its bounds."""
    left, top, right, bottom = mark.bounds
    return (left + right) / 2, (top + bottom) / 2


def go_to(model: SlideViewModel, mark: Mark) -> None:
    """Choose a mark and bring it into the middle; what is larger than the view is shown whole."""
    left, top, right, bottom = mark.bounds
    width, height = model.transform.size_of(right - left, bottom - top)
    room = min(
        model.viewport[0] * 0.8 / width if width else math.inf,
        model.viewport[1] * 0.8 / height if height else math.inf,
    )
    if room < model.zoom:
        model.zoom_at(room / model.zoom)
    elif model.fitted and model.slide is not None:  # from the whole slide down to where there is something to see
        model.zoom_at(min(room, max(model.zoom, 10 / model.scan_magnification)) / model.zoom)
    model.move_to(*place_of(mark))
    model.mark = mark.id


@dataclass
class _Drawn:
    """A mark on the screen."""

    mark: Mark
    rings: list[QPolygonF]
    box: QRectF


class MarkLayer:
    """What is drawn of a view's marks."""

    def __init__(self, view: SlideView) -> None:
        self.view, self.model = view, view.model
        self.moved: Mark | None = None  # a mark that is being dragged, as it is at the moment
        self._version = 0
        self._drawn: tuple[object, list[_Drawn], QPainterPath | None] = (None, [], None)
        self._dots: dict[tuple[object, ...], QPixmap] = {}
        self._relay: Relay | None = None
        self._note: NoteEditor | None = None
        events = self.model.events
        self._relays = [
            Relay(lambda _: self._follow(), events.labels, parent=view),
            Relay(lambda _: self.refresh(), events.mark, events.show_marks, events.classes, events.mpp, parent=view),
            Relay(lambda id: self._asked(id), self.model.note_wanted, parent=view),
            Relay(lambda _: self._stand(), self.model.viewed, parent=view),
        ]
        self._follow()

    def _follow(self) -> None:
        """Listen to the store in use."""
        if self._relay is not None:
            self._relay.drop()
            self._relay = None
        if self._note is not None:
            self._note.finish()
        self.moved = None
        store = self.model.labels
        if store is not None:
            self._relay = Relay(lambda _: self.refresh(), store.marks_changed, parent=self.view)
        self.refresh()

    def refresh(self) -> None:
        """Draw them anew."""
        self._version += 1
        store = self.model.labels
        if self.model.mark is not None and (store is None or store.mark(self.model.mark) is None):
            self.model.mark = None
        self.view.update()

    # ---- notes

    @property
    def note(self) -> NoteEditor:
        """The editor of notes on the view."""
        if self._note is None:
            from .note import NoteEditor

            self._note = NoteEditor(self.view)
        return self._note

    def write_note(self, mark: Mark, group: int | None = None) -> None:
        """Open the note of a mark; `group` is the undo step in which it was just made."""
        self.note.open(mark, group)

    def _asked(self, id: str) -> None:
        store = self.model.labels
        mark = store.mark(id) if store is not None else None
        if mark is not None and store is not None and not store.readonly:
            self.write_note(mark)

    def _stand(self) -> None:
        if self._note is not None and self._note.isVisible():
            self._note.place()

    # ---- which

    def marks(self) -> list[Mark]:
        """Those that can be seen, the uppermost last."""
        store = self.model.labels
        if store is None:
            return []
        found = store.marks() if self.model.show_marks else store.marks("roi")
        if self.moved is not None:
            found = [self.moved if mark.id == self.moved.id else mark for mark in found]
        return sorted(found, key=lambda mark: ("roi", "area", "ruler", "marker").index(mark.kind))

    def chosen(self) -> Mark | None:
        store = self.model.labels
        return store.mark(self.model.mark) if store is not None and self.model.mark is not None else None

    def at(self, x: float, y: float, *kinds: str) -> Mark | None:
        """The uppermost mark under a point of the view: a marker, or a line that is near; None when there is none."""
        point = np.array([x, y])
        for drawn in reversed(self._shapes()[0]):
            if kinds and drawn.mark.kind not in kinds:
                continue
            if not drawn.box.adjusted(-NEAR, -NEAR, NEAR, NEAR).contains(x, y):
                continue
            closed = drawn.mark.kind in ("area", "roi")
            if any(_distance(point, _array(ring), closed) <= NEAR for ring in drawn.rings):
                return drawn.mark
        return None

    def corner_at(self, mark: Mark, x: float, y: float) -> int | None:
        """The number of the point of a mark that is under a point of the view."""
        away = np.hypot(*(self.to_view(np.array(mark.points)) - (x, y)).T)
        nearest = int(away.argmin())
        return nearest if away[nearest] <= NEAR else None

    def to_view(self, points: np.ndarray) -> np.ndarray:
        """Screen points, float64 (N, 2), of level-0 points."""
        shown = self.model.transform
        a, b, c, d = shown.matrix
        away = points.reshape(-1, 2) - shown.centre
        return away @ np.array([[a, c], [b, d]]) * shown.zoom + np.array(shown.viewport) / 2

    # ---- drawing

    def _shapes(self) -> tuple[list[_Drawn], QPainterPath | None]:
        key = (self.model.transform, self._version, self.moved)
        if self._drawn[0] != key:
            drawn = []
            for mark in self.marks():
                rings = [_polygon(self.to_view(ring)) for ring in mark.rings]
                drawn.append(_Drawn(mark, rings, rings[0].boundingRect()))
            self._drawn = (key, drawn, self._outside(drawn))
        return self._drawn[1], self._drawn[2]

    def _outside(self, drawn: Iterable[_Drawn]) -> QPainterPath | None:
        """What does not count, on the screen."""
        store = self.model.labels
        region = store.roi() if store is not None else None
        if self.moved is not None and self.moved.kind == "roi":
            from ...engine.labels.roi import region_of

            region = region_of([one.mark for one in drawn])
        if region is None:
            return None
        path = QPainterPath()
        path.addRect(QRectF(-1, -1, self.model.viewport[0] + 2, self.model.viewport[1] + 2))
        for ring in region.outline():
            path.addPolygon(_polygon(self.to_view(ring)))
            path.closeSubpath()
        return path

    def paint(self, painter: QPainter, clip: QRectF) -> None:
        """Draw all that reaches into a rectangle of the view."""
        drawn, outside = self._shapes()
        if outside is not None:
            painter.fillPath(outside, DIM)
        near = clip.adjusted(-DOT - 6, -DOT - 6, DOT + 6, DOT + 6)
        chosen = self.model.mark
        for one in drawn:
            if one.mark.kind == "marker":
                if near.contains(one.rings[0].first()):
                    self._paint_marker(painter, one, one.mark.id == chosen)
            elif near.intersects(one.box.adjusted(-4, -4, 4, 4)):
                self._paint_line(painter, one, one.mark.id == chosen)
        for one in drawn:
            if one.mark.kind != "roi" or one.mark.id == chosen:
                self._paint_words(painter, one, one.mark.id == chosen, clip)

    def color(self, mark: Mark) -> QColor:
        return INK if mark.label is None else self.view.class_color(mark.label)

    def _paint_marker(self, painter: QPainter, one: _Drawn, chosen: bool) -> None:
        at = one.rings[0].first()
        color = self.color(one.mark)
        ratio = self.view.devicePixelRatioF()
        look = (color.rgba(), chosen, bool(one.mark.note), ratio)
        half = DOT + 6
        if look not in self._dots:
            pixmap = QPixmap(round(2 * half * ratio), round(2 * half * ratio))
            pixmap.setDevicePixelRatio(ratio)
            pixmap.fill(Qt.GlobalColor.transparent)
            made = QPainter(pixmap)
            made.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._dot(made, QPointF(half, half), color, chosen, bool(one.mark.note))
            made.end()
            self._dots[look] = pixmap
        painter.drawPixmap(QPointF(at.x() - half, at.y() - half), self._dots[look])

    def _dot(self, painter: QPainter, at: QPointF, color: QColor, chosen: bool, note: bool) -> None:
        """A disc with a light rim on a dark one; a hole in it says that there is a note."""
        painter.setBrush(color)
        painter.setPen(QPen(QColor(0, 0, 0, 150), 4))
        painter.drawEllipse(at, DOT, DOT)
        painter.setPen(QPen(QColor("#ffffff"), 2))
        painter.drawEllipse(at, DOT, DOT)
        if note:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor("#ffffff"))
            painter.drawEllipse(at, 2.6, 2.6)
        if chosen:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(self.view.chrome.accent, 2))
            painter.drawEllipse(at, DOT + 3.5, DOT + 3.5)

    def _paint_line(self, painter: QPainter, one: _Drawn, chosen: bool) -> None:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        closed = one.mark.kind != "ruler"
        color = self.view.chrome.accent if chosen else self.color(one.mark)
        for pen in pens(color, dashed=one.mark.kind == "roi"):
            painter.setPen(pen)
            for ring in one.rings:
                painter.drawPolygon(ring) if closed else painter.drawPolyline(ring)
            if not closed:
                _draw_ends(painter, one.rings[0])
        if chosen and one.rings[0].size() <= 200:
            draw_handles(painter, one.rings[0])

    def _paint_words(self, painter: QPainter, one: _Drawn, chosen: bool, clip: QRectF) -> None:
        """What it measures, and of the chosen one also the note, on a chip beside it."""
        words = [measure_words(one.mark, self.model.mpp)]
        if one.mark.note and (chosen or one.mark.kind != "marker"):
            words.append(shortened(one.mark.note))
        text = "\n".join(word for word in words if word)
        if not text:
            return
        if one.mark.kind == "marker":
            anchor = one.rings[0].first() + QPointF(DOT + 8, 0)
        else:
            anchor = chip_place(one.mark.kind, one.rings[0])
        draw_chip(painter, self.view, text, anchor, clip, beside=one.mark.kind == "marker")


def shortened(note: str) -> str:
    """The first line of a note, cut where it is long."""
    line = note.strip().split("\n")[0]
    return line if len(line) <= LONGEST_NOTE else line[: LONGEST_NOTE - 1].rstrip() + "…"


def chip_place(kind: str, ring: QPolygonF) -> QPointF:
    """Where the words of a line or an area stand: its middle."""
    if kind == "ruler":
        return (ring.first() + ring.last()) / 2
    return ring.boundingRect().center()


def draw_chip(painter: QPainter, view: SlideView, text: str, at: QPointF, clip: QRectF, beside: bool = False) -> None:
    """Draw a short text on a rounded ground: centred at a point, or to the right of it."""
    painter.setFont(view.font())
    metrics = QFontMetricsF(view.font())
    size = metrics.size(0, text)
    box = QRectF(0, 0, size.width() + 14, size.height() + 6)
    if beside:
        box.moveLeft(at.x())
        box.moveTop(at.y() - box.height() / 2)
    else:
        box.moveCenter(at)
    if not box.intersects(clip):
        return
    painter.setPen(QPen(view.chrome.line, 1))
    painter.setBrush(view.chrome.ground)
    painter.drawRoundedRect(box, 5, 5)
    painter.setPen(view.chrome.text)
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)


def draw_handles(painter: QPainter, ring: QPolygonF) -> None:
    """Draw the points that can be dragged."""
    painter.setPen(QPen(QColor(0, 0, 0, 170), 1))
    painter.setBrush(QColor("#ffffff"))
    for place in range(ring.size()):
        at = ring.at(place)
        painter.drawRect(QRectF(at.x() - HANDLE, at.y() - HANDLE, 2 * HANDLE, 2 * HANDLE))


def _draw_ends(painter: QPainter, line: QPolygonF) -> None:
    """Short strokes across the ends of a ruler."""
    for end, other in ((line.first(), line.at(1)), (line.last(), line.at(line.size() - 2))):
        way = other - end
        length = math.hypot(way.x(), way.y())
        if length > 0:
            across = QPointF(-way.y(), way.x()) * (6 / length)
            painter.drawLine(end - across, end + across)


def _polygon(points: np.ndarray) -> QPolygonF:
    return QPolygonF([QPointF(x, y) for x, y in points.tolist()])


def _array(ring: QPolygonF) -> np.ndarray:
    return np.array([(ring.at(i).x(), ring.at(i).y()) for i in range(ring.size())])


def _distance(point: np.ndarray, line: np.ndarray, closed: bool) -> float:
    """Distance of a point from a polyline (N, 2)."""
    if len(line) == 1:
        return float(np.hypot(*(line[0] - point)))
    a, b = (line, np.roll(line, -1, axis=0)) if closed else (line[:-1], line[1:])
    way = b - a
    length2 = (way**2).sum(1)
    share = ((point - a) * way).sum(1) / np.where(length2 > 0, length2, 1)
    nearest = a + np.clip(share, 0, 1)[:, None] * way
    return float(np.hypot(*(nearest - point).T).min())
