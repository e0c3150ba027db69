"""The slides of a workspace as a list: thumbnail, name, label, split, how much is marked. Model and painting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    QSortFilterProxyModel,
    Qt,
)
from qtpy.QtGui import QColor, QFont, QFontMetrics, QPainter, QPainterPath, QPen, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from . import theme

if TYPE_CHECKING:
    from ..engine.workspace import Item

ID, ENTRY = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1
LABEL_TEXT = {"positive": "Positive", "negative": "Negative", None: "Unknown"}
SPLIT_TEXT = {"train": "Training", "val": "Validation", "test": "Test", None: "No split"}
THUMBNAIL = 56
Index = QModelIndex | QPersistentModelIndex


@dataclass
class Entry:
    """A row: the item and what is found out about it in the background."""

    item: Item
    picture: QPixmap | None = None
    missing: bool = False
    opened: bool = False


class SlideListModel(QAbstractListModel):
    """Rows in the order of the workspace."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.entries: list[Entry] = []

    def set_items(self, items: list[Item]) -> None:
        """Show these; thumbnails and selection survive when only fields changed."""
        if [entry.item.id for entry in self.entries] == [item.id for item in items]:
            for entry, item in zip(self.entries, items):
                entry.item = item
            if items:
                self.dataChanged.emit(self.index(0), self.index(len(items) - 1))
            return
        known = {entry.item.id: entry for entry in self.entries}
        self.beginResetModel()
        self.entries = []
        for item in items:
            entry = known.get(item.id, Entry(item))
            entry.item = item
            self.entries.append(entry)
        self.endResetModel()

    def row_of(self, id: str) -> int:
        """Return the row of an item, -1 when it is not there."""
        return next((row for row, entry in enumerate(self.entries) if entry.item.id == id), -1)

    def set_picture(self, id: str, picture: QPixmap | None, missing: bool) -> None:
        """Show a thumbnail that was made meanwhile, or that the slide file is not there."""
        row = self.row_of(id)
        if row >= 0:
            self.entries[row].picture = picture
            self.entries[row].missing = missing
            self.dataChanged.emit(self.index(row), self.index(row))

    def set_opened(self, id: str | None) -> None:
        """Mark the slide that is open in the view."""
        for row, entry in enumerate(self.entries):
            if entry.opened != (entry.item.id == id):
                entry.opened = entry.item.id == id
                self.dataChanged.emit(self.index(row), self.index(row))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.entries)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry = self.entries[index.row()]
        item = entry.item
        if role == Qt.ItemDataRole.DisplayRole:
            return item.name
        if role == ID:
            return item.id
        if role == ENTRY:
            return entry
        if role == Qt.ItemDataRole.ToolTipRole:
            size = f"{item.width:,} x {item.height:,} px"
            mpp = item.mpp or item.slide_mpp
            lines = [item.name, size + (f", {mpp:.4g} µm per pixel" if mpp else ", resolution unknown")]
            if item.patient:
                lines.append(f"Patient {item.patient}")
            if entry.missing:
                lines.append("The slide file was not found; add it again from where it is now.")
            return "\n".join(lines)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{item.name}, {LABEL_TEXT[item.label]}, {SPLIT_TEXT[item.split]}, {marked_text(item)}"
        return None


class SlideFilter(QSortFilterProxyModel):
    """Rows that contain all words of the filter in name, label, split or patient."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._words: list[str] = []

    def set_text(self, text: str) -> None:
        self._words = text.lower().split()
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:
        model = self.sourceModel()
        assert isinstance(model, SlideListModel)
        entry = model.entries[row]
        item = entry.item
        parts = [item.name, LABEL_TEXT[item.label], SPLIT_TEXT[item.split], item.patient or ""]
        parts += ["outlined"] if item.outlined else []
        parts += ["marked"] if item.marked else []
        parts += ["missing"] if entry.missing else []
        text = " ".join(parts).lower()
        return all(word in text for word in self._words)


def marked_text(item: Item) -> str:
    """Return how much of a slide is labelled, in words."""
    if not item.marked:
        return "Nothing marked"
    mpp = item.mpp or item.slide_mpp
    if mpp:
        area = item.marked * item.width * item.height * mpp * mpp / 1e6
        return f"{area:.2f} mm² marked" if area >= 0.005 else f"{area * 1e6:,.0f} µm² marked"
    share = item.marked * 100
    return f"{share:.1f} % marked" if share >= 0.1 else "< 0.1 % marked"


class SlideDelegate(QStyledItemDelegate):
    """Paints a row: picture left; name; a chip for the label; split and marked area below."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(180), theme.px(THUMBNAIL + 16))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        entry: Entry = index.data(ENTRY)
        item, c = entry.item, theme.colors()
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        rect = QRect(option.rect)
        if selected:
            painter.fillRect(rect, QColor(c.selection))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(rect, QColor(c.raised))
        if entry.opened:
            painter.fillRect(QRect(rect.left(), rect.top(), theme.px(3), rect.height()), QColor(c.accent))
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QPen(QColor(c.focus), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect.adjusted(1, 1, -2, -2))
        gap = theme.px(8)
        side = theme.px(THUMBNAIL)
        frame = QRect(rect.left() + gap + theme.px(2), rect.top() + gap, side, side)
        self._picture(painter, frame, entry)
        text = QRect(frame.right() + theme.px(10), frame.top(), 0, frame.height())
        text.setRight(rect.right() - gap)
        self._texts(painter, text, entry, option.font)
        if item.outlined:
            mark = QRect(frame.right() - theme.px(15), frame.bottom() - theme.px(15), theme.px(15), theme.px(15))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(c.accent))
            painter.drawEllipse(mark)
            painter.drawPixmap(mark.adjusted(2, 2, -2, -2), theme.pixmap("check", mark.width(), c.on_accent))
        painter.restore()

    def _picture(self, painter: QPainter, frame: QRect, entry: Entry) -> None:
        c = theme.colors()
        path = QPainterPath()
        path.addRoundedRect(QRectF(frame), 4, 4)
        painter.save()
        painter.setClipPath(path)
        painter.fillRect(frame, QColor("#FFFFFF") if entry.picture is not None else QColor(c.raised))
        if entry.picture is not None:
            size = entry.picture.size().scaled(frame.size(), Qt.AspectRatioMode.KeepAspectRatio)
            target = QRect(0, 0, size.width(), size.height())
            target.moveCenter(frame.center())
            painter.drawPixmap(target, entry.picture)
        else:
            name = "missing" if entry.missing else "slide"
            target = QRect(0, 0, theme.px(24), theme.px(24))
            target.moveCenter(frame.center())
            painter.drawPixmap(target, theme.pixmap(name, theme.px(24), c.muted))
        painter.restore()
        painter.setPen(QPen(QColor(c.line), 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(QRectF(frame).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)

    def _texts(self, painter: QPainter, text: QRect, entry: Entry, base: QFont) -> None:
        item, c = entry.item, theme.colors()
        line = text.height() // 3
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        bold, small = QFont(base), QFont(base)
        bold.setWeight(QFont.Weight.DemiBold)
        small.setPixelSize(theme.px(12))
        painter.setFont(bold)
        painter.setPen(QColor(c.muted if entry.missing else c.text))
        top = QRect(text.left(), text.top(), text.width(), line)
        painter.drawText(top, left, QFontMetrics(bold).elidedText(item.name, Qt.TextElideMode.ElideMiddle, top.width()))
        painter.setFont(small)
        metrics = QFontMetrics(small)
        middle = top.translated(0, line)
        word = LABEL_TEXT[item.label]
        chip = QRect(middle.left(), 0, metrics.horizontalAdvance(word) + theme.px(12), metrics.height() + theme.px(2))
        chip.moveTop(middle.center().y() - chip.height() // 2)
        ground, ink = {
            "positive": (c.positive_ground, c.positive),
            "negative": (c.negative_ground, c.negative),
            None: (c.raised, c.muted),
        }[item.label]
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(ground))
        painter.drawRoundedRect(chip, chip.height() / 2, chip.height() / 2)
        painter.setPen(QColor(ink))
        painter.drawText(chip, Qt.AlignmentFlag.AlignCenter, word)
        painter.setPen(QColor(c.muted))
        rest = QRect(chip.right() + theme.px(8), middle.top(), middle.right() - chip.right() - theme.px(8), line)
        split = SPLIT_TEXT[item.split] if item.split else ""
        if rest.width() >= theme.px(36):  # dots alone say nothing
            painter.drawText(rest, left, metrics.elidedText(split, Qt.TextElideMode.ElideRight, rest.width()))
        below = middle.translated(0, line)
        note = "File not found" if entry.missing else marked_text(item)
        painter.setPen(QColor(c.error if entry.missing else c.muted))
        painter.drawText(below, left, metrics.elidedText(note, Qt.TextElideMode.ElideRight, below.width()))
