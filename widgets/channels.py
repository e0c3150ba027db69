"""The channels of a fluorescence slide: which are shown, in which colour, between which values.

`ChannelsPanel` floats over the slide and stays there while one works. What it changes is for the eyes only: whoever opens
the file anew (training, prediction) gets the file's own colours and windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QObject, QPointF, QRectF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import (
    QColorDialog,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from . import theme
from .background import Relay, Task, in_background
from .buttons import IconButton
from .editors import inset
from .texts import ElidedLabel, MutedLabel, heading

if TYPE_CHECKING:
    from ..engine.data.channels import Channel
    from ..engine.data.slides import Slide
    from .slide.model import SlideViewModel

BINS = 96
SAMPLE = 1024  # pixels, longest side of what is counted
WIDTH = 344
SOON_MS = 60  # a hand that drags changes the picture at most so often


@dataclass(frozen=True)
class Counts:
    """How often values occur in a channel.

    Attributes
    ----------
    bins : int64 [BINS], from `least` to `most`.
    least, most : smallest and largest value.
    window : between which values it is shown by "Auto".
    whole : the values are whole numbers.
    """

    bins: np.ndarray
    least: float
    most: float
    window: tuple[float, float]
    whole: bool


def count_values(slide: Slide) -> list[Counts]:
    """Count the values of each channel on the coarsest level, in its middle where that is large.

    Raises
    ------
    SlideError : the file cannot be read there.
    """
    from ..engine.data.channels import window_of

    level = len(slide.levels) - 1
    size = slide.levels[level]
    width, height = min(size.width, SAMPLE), min(size.height, SAMPLE)
    values = slide.read_channels(level, (size.width - width) // 2, (size.height - height) // 2, width, height)
    found = []
    for plane in values:
        finite = plane[np.isfinite(plane)]
        least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        most = most if most > least else least + 1
        bins, _ = np.histogram(finite, BINS, (least, most))
        found.append(Counts(bins, least, most, window_of(plane), plane.dtype.kind in "iu"))
    return found


class Histogram(QWidget):
    """The values of a channel, and the window in which they are shown: drag its two edges.

    Signals
    -------
    moved(low, high) : the user dragged an edge.
    """

    moved = Signal(float, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.counts: Counts | None = None
        self.low, self.high, self.color = 0.0, 1.0, "#ffffff"
        self._dragged = ""
        self.setMouseTracking(True)
        self.setFixedHeight(theme.px(44))

    def sizeHint(self) -> QSize:
        return QSize(theme.px(160), theme.px(44))

    def span(self) -> tuple[float, float]:
        """The values at the left and right edge."""
        if self.counts is None:
            return self.low, self.high
        return min(self.counts.least, self.low), max(self.counts.most, self.high)

    def place(self, value: float) -> float:
        """Where a value stands, in screen pixels from the left."""
        least, most = self.span()
        return 4 + (value - least) / (most - least) * (self.width() - 8)

    def _value(self, x: float) -> float:
        least, most = self.span()
        return least + min(max((x - 4) / (self.width() - 8), 0.0), 1.0) * (most - least)

    def paintEvent(self, event: QPaintEvent) -> None:
        c = theme.colors()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor("#14181d"))  # colours of light are seen on black
        painter.drawRoundedRect(QRectF(self.rect()), 4, 4)
        left, right, bottom = self.place(self.low), self.place(self.high), self.height() - 3.0
        if self.counts is not None:
            painter.save()
            painter.setClipRect(QRectF(2, 2, self.width() - 4, self.height() - 4))
            for part, color in (
                (QRectF(0, 0, self.width(), 99), "#5a636d"),
                (QRectF(left, 0, right - left, 99), self.color),
            ):
                painter.setClipRect(part, Qt.ClipOperation.ReplaceClip)
                painter.setBrush(QColor(color))
                painter.drawPolygon(self._outline(bottom))
            painter.restore()
        painter.setPen(QPen(QColor(255, 255, 255, 190), 1, Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(left, bottom), QPointF(right, 4))
        for name, x in (("low", left), ("high", right)):
            painter.setPen(QPen(QColor(c.focus if name == self._dragged else "#ffffff"), 2))
            painter.drawLine(QPointF(x, 3), QPointF(x, bottom))

    def _outline(self, bottom: float) -> QPolygonF:
        assert self.counts is not None
        heights = np.sqrt(self.counts.bins / max(1, self.counts.bins.max())) * (self.height() - 8)
        step = (self.counts.most - self.counts.least) / BINS
        xs = [self.place(self.counts.least + step * n) for n in range(BINS + 1)]
        points = [QPointF(xs[0], bottom)]
        for n, height in enumerate(heights):
            points += [QPointF(xs[n], bottom - height), QPointF(xs[n + 1], bottom - height)]
        return QPolygonF([*points, QPointF(xs[-1], bottom)])

    def _near(self, x: float) -> str:
        low, high = abs(x - self.place(self.low)), abs(x - self.place(self.high))
        return ("low" if low < high else "high") if min(low, high) <= 8 else ""

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._dragged = self._near(event.position().x())
            self.update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        x = event.position().x()
        if not self._dragged:
            near = bool(self._near(x))
            self.setCursor(Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.ArrowCursor)
            return
        least, most = self.span()
        value, apart = self._value(x), (most - least) / 256
        if self._dragged == "low":
            self.moved.emit(min(value, self.high - apart), self.high)
        else:
            self.moved.emit(self.low, max(value, self.low + apart))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._dragged = ""
        self.update()


class Eye(QToolButton):
    """Shows or hides; `with_shift` says whether it was pressed together with Shift, by mouse or keyboard."""

    def __init__(self) -> None:
        super().__init__()
        self.setCheckable(True)
        self.with_shift = False

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QMouseEvent | QKeyEvent):
            self.with_shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            done = super().event(event)
            self.with_shift = False
            return done
        return super().event(event)


class ChannelRow(QWidget):
    """One channel.

    Signals
    -------
    changed(Channel) : the user wants it shown so.
    alone() : the user wants this one without the others.
    """

    changed = Signal(object)
    alone = Signal()

    def __init__(self, channel: Channel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.channel = channel
        self.counts: Counts | None = None
        self.eye, self.swatch = Eye(), QToolButton()
        self.eye.setToolTip("Show or hide; with Shift: show this one alone")
        self.swatch.setToolTip("Colour")
        self.name = ElidedLabel(channel.name)
        self.auto = QPushButton("Auto")
        self.auto.setToolTip("From where nearly all of the background is black to where hardly a pixel is cut off")
        self.auto.setAccessibleName(f"Automatic window of {channel.name}")
        self.auto.setEnabled(False)
        self.histogram = Histogram()
        self.low, self.high = self._field("Darkest value"), self._field("Brightest value")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.GAP)
        grid.setVerticalSpacing(theme.TIGHT)
        top = QHBoxLayout()
        top.setSpacing(theme.TIGHT)
        for widget, stretch in ((self.eye, 0), (self.swatch, 0), (self.name, 1), (self.auto, 0)):
            top.addWidget(widget, stretch)
        grid.addLayout(top, 0, 0, 1, 2)
        grid.addWidget(self.histogram, 1, 0, 1, 2)
        grid.addWidget(self.low, 2, 0, Qt.AlignmentFlag.AlignLeft)
        grid.addWidget(self.high, 2, 1, Qt.AlignmentFlag.AlignRight)
        self.eye.clicked.connect(self._look)
        self.swatch.clicked.connect(self.choose_color)
        self.auto.clicked.connect(self._auto)
        self.histogram.moved.connect(self._set_window)
        self.low.valueChanged.connect(lambda value: self._set_window(value, self.channel.high))
        self.high.valueChanged.connect(lambda value: self._set_window(self.channel.low, value))
        self.show_channel(channel)

    def _field(self, what: str) -> QDoubleSpinBox:
        field = QDoubleSpinBox()
        field.setAccessibleName(f"{what} of {self.channel.name}")
        field.setToolTip("Shown as black" if what == "Darkest value" else "Shown as the full colour")
        field.setRange(-1e9, 1e9)
        field.setDecimals(3)
        field.setKeyboardTracking(False)
        field.setMinimumWidth(theme.px(104))
        inset(field)
        return field

    def show_channel(self, channel: Channel) -> None:
        """Show how the channel is shown now."""
        self.channel = channel
        eye = "eye" if channel.visible else "eye-off"
        self.eye.setIcon(theme.icon(eye))
        self.eye.setChecked(channel.visible)
        self.eye.setAccessibleName(f"Show {channel.name}")
        self.swatch.setIcon(_swatch(channel.color))
        self.swatch.setAccessibleName(f"Colour of {channel.name}")
        for button in (self.eye, self.swatch):
            button.setIconSize(QSize(theme.px(theme.ICON), theme.px(theme.ICON)))
        self.name.setEnabled(channel.visible)
        for field, value in ((self.low, channel.low), (self.high, channel.high)):
            field.blockSignals(True)
            field.setValue(value)
            field.blockSignals(False)
        h = self.histogram
        h.low, h.high, h.color = channel.low, channel.high, channel.color
        h.update()

    def show_counts(self, counts: Counts) -> None:
        """Show how often values occur."""
        self.counts = self.histogram.counts = counts
        self.auto.setEnabled(True)
        for field in (self.low, self.high):
            field.blockSignals(True)
            field.setDecimals(0 if counts.whole else 3)
            field.setSingleStep(max(1.0, (counts.most - counts.least) // 100) if counts.whole else 0.01)
            field.blockSignals(False)
        self.show_channel(self.channel)

    def choose_color(self) -> QColorDialog:
        """Ask for a colour, without stopping the window."""
        before = self.channel
        dialog = QColorDialog(QColor(before.color), self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(f"Colour of {before.name}")
        dialog.currentColorChanged.connect(lambda color: self.changed.emit(replace(self.channel, color=color.name())))
        dialog.rejected.connect(lambda: self.changed.emit(replace(self.channel, color=before.color)))
        dialog.open()
        return dialog

    def _look(self) -> None:
        if self.eye.with_shift:
            self.alone.emit()
        else:
            self.changed.emit(replace(self.channel, visible=not self.channel.visible))

    def _auto(self) -> None:
        if self.counts is not None:
            self._set_window(*self.counts.window)

    def _set_window(self, low: float, high: float) -> None:
        if self.counts is not None and self.counts.whole:
            low, high = round(low), round(high)
        if low < high:
            self.changed.emit(replace(self.channel, low=float(low), high=float(high)))
        else:
            self.show_channel(self.channel)  # a field that was set beyond the other goes back


class ChannelsPanel(QFrame):
    """All channels of the open slide, at the upper right of the view; Escape or the cross closes it.

    Parameters
    ----------
    view : the slide view; the panel lies on it.
    """

    closed = Signal()

    def __init__(self, model: SlideViewModel, view: QWidget) -> None:
        super().__init__(view)
        self.model = model
        self.rows: list[ChannelRow] = []
        self._task: Task | None = None
        self._wished: dict[int, Channel] = {}
        self.setProperty("kind", "popup")
        self.setAccessibleName("Channels")
        self.setCursor(Qt.CursorShape.ArrowCursor)
        close = IconButton("close", "Close (Escape)")
        close.clicked.connect(self.leave)
        self.reset = QPushButton("Reset")
        self.reset.setToolTip("Colours and windows as the file has them")
        self.reset.clicked.connect(self._reset)
        top = QHBoxLayout()
        top.addWidget(heading("Channels"), 1)
        top.addWidget(self.reset)
        top.addWidget(close)
        self._list = QWidget()
        self._column = QVBoxLayout(self._list)
        self._column.setContentsMargins(0, 0, theme.PAD, 0)
        self._column.setSpacing(theme.PAD)
        self.area = QScrollArea()
        self.area.setWidget(self._list)
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.note = MutedLabel("For the eyes only, and kept for this slide. Training sees the file's own.", wrap=True)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.PAD, theme.GAP, theme.TIGHT, theme.GAP)
        column.setSpacing(theme.GAP)
        column.addLayout(top)
        column.addWidget(self.area, 1)
        column.addWidget(self.note)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.timeout.connect(self._apply)
        self._relay = Relay(lambda _: self._slide_changed(), model.events.slide, parent=self)
        self._relay_display = Relay(lambda _: self._show(), model.events.display, parent=self)
        theme.theme_changed().connect(self._show)
        view.installEventFilter(self)
        self.hide()

    # ---- where it stands

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self.place()
        return False

    def place(self) -> None:
        """Stand at the upper right of the view, as tall as it has to be and may be."""
        room = self.parentWidget().size()
        around = self.sizeHint().height() - self.area.sizeHint().height()
        wanted = around + self._list.sizeHint().height() + 2
        width = min(theme.px(WIDTH), room.width() - 24)
        self.setGeometry(room.width() - width - 12, 12, width, max(120, min(wanted, room.height() - 24)))

    def open(self) -> None:
        """Show the channels of the open slide."""
        self._slide_changed()
        if self.model.display:
            self.show()
            self.raise_()
            self.place()
            self.rows[0].eye.setFocus()

    def leave(self) -> None:
        """Close, and give the keys back to the slide."""
        self.hide()
        self.parentWidget().setFocus()
        self.closed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.leave()
        else:
            super().keyPressEvent(event)

    # The slide below must not hear of clicks and turns of the wheel on the panel.
    def mousePressEvent(self, event: QMouseEvent) -> None:
        event.accept()

    def wheelEvent(self, event: object) -> None:
        event.accept()  # type: ignore[attr-defined]

    # ---- what it shows

    def _slide_changed(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._soon.stop()
        self._wished.clear()
        for row in self.rows:
            self._column.removeWidget(row)
            row.deleteLater()
        self.rows = []
        slide = self.model.slide
        if slide is None or not self.model.display:
            if self.isVisible():
                self.leave()
            return
        for number, channel in enumerate(self.model.display):
            row = ChannelRow(channel, self._list)
            row.changed.connect(lambda wished, number=number: self._wish(number, wished))
            row.alone.connect(lambda number=number: self._alone(number))
            self._column.addWidget(row)
            self.rows.append(row)
        self._task = in_background(
            count_values, slide, done=self._counted, failed=lambda error: self.note.setText(str(error)), owner=self
        )
        self._show()
        self.place()

    def _counted(self, counts: list[Counts]) -> None:
        self._task = None
        for row, found in zip(self.rows, counts):
            row.show_counts(found)

    def _show(self) -> None:
        for row, channel in zip(self.rows, self.model.display):
            row.show_channel(channel)
        slide = self.model.slide
        self.reset.setEnabled(slide is not None and self.model.display != slide.channels)

    # ---- what it changes

    def _wish(self, number: int, channel: Channel) -> None:
        """Show it in the row at once, on the slide at most a few times a second."""
        self._wished[number] = channel
        self.rows[number].show_channel(channel)
        if not self._soon.isActive():
            self._soon.start()

    def _apply(self) -> None:
        wished, self._wished = self._wished, {}
        if wished:
            self.model.set_display(wished.get(n, channel) for n, channel in enumerate(self.model.display))

    def _alone(self, number: int) -> None:
        self._apply()
        others = [c.visible for n, c in enumerate(self.model.display) if n != number]
        back = self.model.display[number].visible and not any(others)  # it is alone already: all come back
        self.model.set_display(replace(c, visible=back or n == number) for n, c in enumerate(self.model.display))

    def _reset(self) -> None:
        self._wished.clear()
        if self.model.slide is not None:
            self.model.set_display(self.model.slide.channels)


def _swatch(color: str) -> QIcon:
    side = 2 * theme.px(theme.ICON)
    picture = QPixmap(side, side)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(theme.colors().control), 2))
    painter.setBrush(QColor(color))
    painter.drawRoundedRect(2, 2, side - 4, side - 4, 6, 6)
    painter.end()
    return QIcon(picture)
