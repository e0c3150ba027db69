"""Curves that grow while something trains (pyqtgraph, imported when shown), the ROC curve, a histogram."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib import import_module
from itertools import pairwise
from threading import Thread
from typing import Any
from zlib import crc32

import numpy as np
from qtpy.QtCore import QObject, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen, QPolygonF, QShowEvent
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from .texts import MutedLabel
from .theme import colors, px, theme_changed

MAX_POINTS = 5000
"""Points drawn per curve; longer ones keep the extremes of each stretch."""

CURVE_COLORS = {
    False: ("#0072B2", "#C24A00", "#007A58", "#A8457F", "#8A6A00", "#505C6A"),
    True: ("#6CB8EE", "#F09A5B", "#4FCBA3", "#E39AC4", "#E9C46A", "#A9B3BF"),
}
"""Okabe and Ito's hues, darkened or lightened until they can be read on the theme's ground."""


class _Loader(QObject):
    """Imports pyqtgraph once, in a thread: a third of a second that the window must not stand still for."""

    ready = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.module: Any = None
        self._asked = False

    def load(self) -> None:
        """Start the import; `ready` is emitted when `module` is there."""
        if not self._asked:
            self._asked = True
            Thread(target=self._import, name="pyqtgraph", daemon=True).start()

    def _import(self) -> None:
        self.module = import_module("pyqtgraph")
        self.ready.emit()  # received on the window's thread


@cache
def plot_loader() -> _Loader:
    """Return the one loader of the application."""
    return _Loader()


FIXED = {"loss": 0, "slide_loss": 1, "slide_classifier_loss": 1, "positive_tiles_kept": 1, "negative_tiles_kept": 2}
"""Places in `CURVE_COLORS` of curves that stand beside each other."""


def color_places(names: Iterable[str]) -> dict[str, int]:
    """Return name -> place in `CURVE_COLORS`: told by the names, never by their order; two differ as long as there are enough."""
    places: dict[str, int] = {}
    count = len(CURVE_COLORS[False])
    for name in sorted(names, key=lambda name: (name not in FIXED, name)):
        place = FIXED.get(name, crc32(name.encode()) % count)
        while place in places.values() and len(places) < count:
            place = (place + 1) % count
        places[name] = place
    return places


Curve = tuple[Sequence[float], Sequence[float]]


def same_curve(one: tuple[Sequence[float], Sequence[float]], other: tuple[Sequence[float], Sequence[float]]) -> bool:
    """Whether two curves cover each other."""
    return list(one[0]) == list(other[0]) and list(one[1]) == list(other[1])


def thin_curve(x: Sequence[float], y: Sequence[float], limit: int = MAX_POINTS) -> Curve:
    """Return at most `limit` points of a curve: of each stretch the lowest and the highest, in order."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    if len(xs) <= limit:
        return xs, ys
    edges = np.linspace(0, len(xs), limit // 2 + 1).astype(int)
    keep = []
    for start, end in pairwise(edges):
        part = ys[start:end]
        keep += sorted({start + int(np.argmin(part)), start + int(np.argmax(part))})
    return xs[keep], ys[keep]


class CurvePlot(QWidget):
    """Curves over steps, with a line above that names each and gives its last value."""

    def __init__(
        self, title: str, unit_range: bool = False, points: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.title = title
        self._unit_range = unit_range
        self._points = points
        self._data: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
        self._drawn: dict[str, int] = {}
        self._plot: Any = None
        self._items: dict[str, Any] = {}
        self.legend = MutedLabel(title)
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.legend)
        self.setFixedHeight(px(164))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(f"Plot: {title}")
        theme_changed().connect(self._recolor)
        plot_loader().ready.connect(self._loaded)

    def sizeHint(self) -> QSize:
        return QSize(px(320), px(164))

    def set_curves(self, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
        """Show these curves, name -> (steps, values); drawn now when visible, else when it becomes so."""
        self._data = dict(curves)
        if self.isVisible():
            self._draw()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._draw()

    def _loaded(self) -> None:
        if self.isVisible():
            self._draw()

    def _draw(self) -> None:
        if self._plot is None:
            if not self._data:
                return
            if plot_loader().module is None:
                plot_loader().load()
                return
            self._make_plot()
        shades = CURVE_COLORS[colors().dark]
        for name in set(self._items) - set(self._data):
            self._plot.removeItem(self._items.pop(name))
            self._drawn.pop(name, None)
        words = [f"<b>{escape(self.title)}</b>"]
        places = color_places(self._data)
        for name, (x, y) in self._data.items():
            shade = shades[places[name]]
            if name not in self._items:
                self._items[name] = self._plot.plot(antialias=True)
            covered = any(
                same_curve(curve, (x, y)) for other, curve in self._data.items() if places[other] < places[name]
            )
            self._items[name].setPen(self._pen(shade, dashed=covered))
            self._items[name].setZValue(places[name])
            if self._drawn.get(name) != len(x):
                symbol = "o" if self._points or len(x) == 1 else None
                self._items[name].setData(
                    *thin_curve(x, y), symbol=symbol, symbolSize=5, symbolBrush=shade, symbolPen=None
                )
                self._drawn[name] = len(x)
            value = f"{y[-1]:.4g}" if len(y) and y[-1] is not None else "-"
            words.append(f'<span style="color:{shade}">{escape(name.replace("_", " "))} <b>{value}</b></span>')
        self.legend.setText("&nbsp;&nbsp; ".join(words))

    def _make_plot(self) -> None:
        self._plot = plot_loader().module.PlotWidget()
        self._plot.setMenuEnabled(False)
        self._plot.hideButtons()
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.getPlotItem().setContentsMargins(0, 4, 4, 0)
        if self._unit_range:
            self._plot.setYRange(0, 1, padding=0.05)
        if self._points:
            # rounds are whole numbers, and a single one wants room at both sides
            self._plot.getAxis("bottom").setTickSpacing(1, 1)
            self._plot.getPlotItem().getViewBox().setLimits(minXRange=2)
        self.layout().addWidget(self._plot, 1)
        self._recolor()

    def _pen(self, shade: str, dashed: bool = False) -> Any:
        return plot_loader().module.mkPen(shade, width=1.6, **({"dash": [4, 4]} if dashed else {}))

    def _recolor(self) -> None:
        self.setFixedHeight(px(164))
        if self._plot is None:
            return
        c = colors()
        self._plot.setBackground(QColor(c.surface))
        font = QFont(self.font())
        font.setPixelSize(px(11))
        for side in ("left", "bottom"):
            axis = self._plot.getAxis(side)
            axis.setPen(c.line)
            axis.setTextPen(c.muted)
            axis.setTickFont(font)
            axis.setStyle(tickLength=-4)
        self._plot.getAxis("left").setWidth(px(44))
        self._plot.getAxis("bottom").setHeight(px(22))
        self._plot.showGrid(x=False, y=True, alpha=0.15)
        self._drawn.clear()  # the points take the colours of the theme too
        self._draw()


class _Chart(QWidget):
    """A small chart with axes, drawn with QPainter so that it is sharp on every screen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme_changed().connect(self.update)

    def _frame(self, painter: QPainter, left: int, bottom: int, x_title: str, y_title: str) -> QRectF:
        c = colors()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(self.font())
        font.setPixelSize(px(11))
        painter.setFont(font)
        area = QRectF(left, 6.5, self.width() - left - 8.5, self.height() - px(bottom) - 7)
        painter.fillRect(area, QColor(c.surface))
        painter.setPen(QPen(QColor(c.muted)))
        below = QRectF(area.left(), self.height() - px(16), area.width(), px(15))
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, x_title)
        painter.save()
        painter.translate(px(12), area.center().y())
        painter.rotate(-90)
        beside = QRectF(-area.height() / 2, -px(12), area.height(), px(15))
        painter.drawText(beside, Qt.AlignmentFlag.AlignCenter, y_title)
        painter.restore()
        return area


class RocPlot(_Chart):
    """The ROC curve with the operating point at 100 % sensitivity and the one in use."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._curve: list[tuple[float, float]] = []
        self._full: tuple[float, float] | None = None
        self._current: tuple[float, float] | None = None
        self.setAccessibleName("ROC curve")
        self.restyle()
        theme_changed().connect(self.restyle)

    def restyle(self) -> None:
        """Take over the text size of the theme."""
        self.setFixedSize(px(168), px(176))

    def set_curve(
        self,
        curve: Sequence[tuple[float, float]],
        full: tuple[float, float] | None = None,
        current: tuple[float, float] | None = None,
    ) -> None:
        """Show `curve`, points (1 - specificity, sensitivity) from (0, 0) to (1, 1).

        Parameters
        ----------
        full, current : the points at 100 % sensitivity and at the threshold in use.
        """
        self._curve, self._full, self._current = list(curve), full, current
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        c = colors()
        painter = QPainter(self)
        area = self._frame(painter, px(40), 34, "1 − specificity", "sensitivity")
        for share, text in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
            x, y = area.left() + share * area.width(), area.bottom() - share * area.height()
            painter.setPen(QPen(QColor(c.line), 1))
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(QColor(c.muted))
            below = QRectF(x - px(15), area.bottom() + 2, px(30), px(14))
            painter.drawText(below, Qt.AlignmentFlag.AlignCenter, text)
            right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(area.left() - px(28), y - px(8), px(22), px(16)), right, text)
        if not self._curve:
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, "n/a")
            painter.end()
            return

        def place(point: tuple[float, float]) -> QPointF:
            return QPointF(area.left() + point[0] * area.width(), area.bottom() - point[1] * area.height())

        painter.setPen(QPen(QColor(c.control), 1, Qt.PenStyle.DotLine))
        painter.drawLine(place((0, 0)), place((1, 1)))
        points = [place(p) for p in self._curve]
        fill = QColor(c.accent)
        fill.setAlpha(28)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(fill)
        painter.drawPolygon(QPolygonF([*points, place((1, 0)), place((0, 0))]))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(c.accent), 2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
        painter.drawPolyline(QPolygonF(points))
        if self._full is not None:
            painter.setBrush(QColor(c.accent))
            painter.setPen(QPen(QColor(c.surface), 1.5))
            painter.drawEllipse(place(self._full), 5, 5)
        if self._current is not None:
            painter.setBrush(QColor(c.surface))
            painter.setPen(QPen(QColor(c.text), 2))
            painter.drawEllipse(place(self._current), 4, 4)
        painter.end()


class Histogram(_Chart):
    """How often each probability occurs, for positive and negative slides, above and below one line."""

    def __init__(self, title: str = "highest probability of a tile", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = title
        self._counts: tuple[list[int], list[int]] = ([], [])
        self._line: float | None = None
        self.setMinimumHeight(110)
        self.setAccessibleName(f"Histogram: {title}")

    def set_counts(self, positive: Sequence[int], negative: Sequence[int], line: float | None = None) -> None:
        """Show counts in equal bins over 0..1; `line` marks a threshold."""
        self._counts, self._line = (list(positive), list(negative)), line
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        c = colors()
        painter = QPainter(self)
        area = self._frame(painter, px(22), 32, self._title, "tiles")
        middle = area.center().y()
        for counts, shade, sign in zip(self._counts, (c.positive, c.negative), (-1, 1)):
            if not counts:
                continue
            width = area.width() / len(counts)
            # square root: the many tiles near 0 would hide the few that matter
            top = max(1.0, max(counts)) ** 0.5
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(shade))
            for index, count in enumerate(counts):
                height = (area.height() / 2 - 2) * count**0.5 / top
                y = middle - height if sign < 0 else middle
                painter.drawRect(QRectF(area.left() + index * width + 0.5, y, max(width - 1, 0.5), height))
        painter.setPen(QPen(QColor(c.control), 1))
        painter.drawLine(QPointF(area.left(), middle), QPointF(area.right(), middle))
        if self._line is not None:
            x = area.left() + self._line * area.width()
            painter.setPen(QPen(QColor(c.text), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
        painter.setPen(QColor(c.muted))
        for share, text in ((0.0, "0"), (0.5, "0.5"), (1.0, "1")):
            x = area.left() + share * area.width()
            below = QRectF(x - px(15), area.bottom() + 2, px(30), px(14))
            painter.drawText(below, Qt.AlignmentFlag.AlignCenter, text)
        painter.end()
