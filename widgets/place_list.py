"""A list of places on slides: a small picture, the slide's name, why one should look there. Model, painting, view."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetrics, QImage, QKeyEvent, QPainter, QPainterPath, QPen
from qtpy.QtWidgets import QAbstractItemView, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from ..engine.next_places import Place
from . import theme

Index = QModelIndex | QPersistentModelIndex
PLACE, PICTURE, TOP = (Qt.ItemDataRole.UserRole + number for number in range(3))
SIDE = 56
"""Side of a picture in px at text size 100 %."""


class PlaceModel(QAbstractListModel):
    """Places, the largest value first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.places: list[Place] = []
        self.pictures: dict[str, QImage] = {}

    def clear(self) -> None:
        """Begin with an empty list; pictures stay for places that come again."""
        self.beginResetModel()
        self.places = []
        self.endResetModel()

    def add(self, places: list[Place]) -> None:
        """Put more places where their values belong."""
        for place in places:
            row = sum(other.value >= place.value for other in self.places)
            self.beginInsertRows(QModelIndex(), row, row)
            self.places.insert(row, place)
            self.endInsertRows()

    def remove(self, place: Place) -> None:
        row = self.row_of(place.key)
        if row >= 0:
            self.beginRemoveRows(QModelIndex(), row, row)
            del self.places[row]
            self.endRemoveRows()

    def row_of(self, key: str) -> int:
        """Return the row of a place, -1 when it is not there."""
        return next((row for row, place in enumerate(self.places) if place.key == key), -1)

    def set_picture(self, key: str, picture: QImage) -> None:
        self.pictures[key] = picture
        row = self.row_of(key)
        if row >= 0:
            self.dataChanged.emit(self.index(row), self.index(row))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.places)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        place = self.places[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return place.name
        if role == PLACE:
            return place
        if role == PICTURE:
            return self.pictures.get(place.key)
        if role == TOP:  # slides stand above places and have values of their own
            return max((other.value for other in self.places if other.kind == place.kind), default=1.0)
        if role == Qt.ItemDataRole.ToolTipRole:
            x, y = place.middle
            return f"{place.name}\n{place.reason}\nValue {place.value:.2f}, around {x:,.0f}, {y:,.0f} px"
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{place.name}, {place.reason}"
        return None


class PlaceDelegate(QStyledItemDelegate):
    """Paints a row: picture left; name; reason; a bar as long as the value is high."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(180), theme.px(SIDE + 16))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        place, c = index.data(PLACE), theme.colors()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        rect = QRect(option.rect)
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, QColor(c.selection))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(rect, QColor(c.raised))
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QPen(QColor(c.focus), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect.adjusted(1, 1, -2, -2))
        gap, side = theme.px(8), theme.px(SIDE)
        frame = QRect(rect.left() + gap, rect.top() + gap, side, side)
        self._picture(painter, frame, index.data(PICTURE))
        text = QRect(frame.right() + theme.px(10), frame.top(), 0, frame.height())
        text.setRight(rect.right() - gap)
        bold, small = QFont(option.font), QFont(option.font)
        bold.setWeight(QFont.Weight.DemiBold)
        small.setPixelSize(theme.px(12))
        top, line = text.top() + theme.px(4), theme.px(20)
        for font, color, words, mode in (
            (bold, c.text, place.name, Qt.TextElideMode.ElideMiddle),
            (small, c.muted, place.reason[:1].upper() + place.reason[1:], Qt.TextElideMode.ElideRight),
        ):
            painter.setFont(font)
            painter.setPen(QColor(color))
            shown = QFontMetrics(font).elidedText(words, mode, text.width())
            painter.drawText(QRect(text.left(), top, text.width(), line), Qt.AlignmentFlag.AlignVCenter, shown)
            top += line
        bar = QRectF(text.left(), top + theme.px(5), text.width(), 3)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(c.line))
        painter.drawRoundedRect(bar, 1.5, 1.5)
        bar.setWidth(max(3.0, bar.width() * min(1.0, place.value / (index.data(TOP) or 1.0))))
        painter.setBrush(QColor(c.accent))
        painter.drawRoundedRect(bar, 1.5, 1.5)
        painter.restore()

    def _picture(self, painter: QPainter, frame: QRect, picture: QImage | None) -> None:
        c = theme.colors()
        path = QPainterPath()
        path.addRoundedRect(QRectF(frame), theme.px(4), theme.px(4))
        painter.fillPath(path, QColor(c.raised))
        if picture is not None:
            painter.save()
            painter.setClipPath(path)
            painter.drawImage(QRectF(frame), picture, QRectF(picture.rect()))
            painter.restore()
        painter.setPen(QPen(QColor(c.line), 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(path)


class PlaceList(QListView):
    """The view. Enter, a click or a double click goes to a place.

    Signals
    -------
    go_requested(Place) : show this place.
    """

    go_requested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = PlaceModel(self)
        self.setModel(self.rows)
        self._delegate = PlaceDelegate(self)
        self.setItemDelegate(self._delegate)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setMinimumHeight(theme.px(160))
        self.clicked.connect(self._go)
        theme.theme_changed().connect(self.doItemsLayout)

    def current(self) -> Place | None:
        """Return the chosen place."""
        index = self.currentIndex()
        return index.data(PLACE) if index.isValid() else None

    def choose(self, row: int) -> Place | None:
        """Make a row the current one and return its place; None where there is no such row."""
        if not 0 <= row < self.rows.rowCount():
            return None
        self.setCurrentIndex(self.rows.index(row))
        return self.current()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self._go(self.currentIndex())
            return
        super().keyPressEvent(event)

    def _go(self, index: QModelIndex) -> None:
        self.go_requested.emit(index.data(PLACE))
