"""The slides of a workspace as a list: thumbnail, name, label, split, review, how much is marked. Model and painting."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QFontMetrics, QPainter, QPainterPath, QPen, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from . import theme

if TYPE_CHECKING:
    from ..engine.workspace import Item

ID, ENTRY, HEADER = (Qt.ItemDataRole.UserRole + number for number in range(3))
LABEL_TEXT = {"positive": "Positive", "negative": "Negative", None: "No label"}
SPLIT_TEXT = {"train": "Training", "val": "Validation", "test": "Test", None: "No split"}
REVIEW_TEXT = {"to do": "To do", "marked": "Marked", "reviewed": "Reviewed"}
THUMBNAIL = 56
Index = QModelIndex | QPersistentModelIndex


@dataclass
class Entry:
    """A row: the item and what is found out about it in the background."""

    item: Item
    picture: QPixmap | None = None
    reason: str = ""
    """Why there is no slide file; empty while there is one."""
    opened: bool = False
    score: float | None = None
    uncertainty: float | None = None

    @property
    def missing(self) -> bool:
        return bool(self.reason)


def patient_text(patient: str | None) -> str:
    """Return how a patient is called in the list: a bare number gets the word, "" of None."""
    return f"Patient {patient}" if patient and patient.isdigit() else patient or ""


@dataclass(frozen=True)
class Header:
    """A row above the slides of a patient: how many are shown, whether they are folded away, their split."""

    patient: str | None
    count: int
    collapsed: bool
    split: str = ""

    @property
    def title(self) -> str:
        return patient_text(self.patient) or "No patient"

    @property
    def count_text(self) -> str:
        return f"{self.count} slide{'' if self.count == 1 else 's'}"


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

    def set_picture(self, id: str, picture: QPixmap | None, reason: str) -> None:
        """Show a thumbnail that was made meanwhile, and why the slide file is not there ("" when it is)."""
        row = self.row_of(id)
        if row >= 0:
            self.entries[row].picture = picture
            self.entries[row].reason = reason
            self.dataChanged.emit(self.index(row), self.index(row))

    def set_scores(self, scores: list[dict[str, Any]]) -> None:
        """Take over the slides' scores (`Workspace.scores`)."""
        found = {entry["item"]: entry for entry in scores}
        for entry in self.entries:
            values = found.get(entry.item.id, {})
            entry.score, entry.uncertainty = values.get("score"), values.get("uncertainty")
        if self.entries:
            self.dataChanged.emit(self.index(0), self.index(len(self.entries) - 1))

    def set_opened(self, id: str | None) -> None:
        """Mark the slide that is open in the view."""
        for row, entry in enumerate(self.entries):
            if entry.opened != (entry.item.id == id):
                entry.opened = entry.item.id == id
                self.dataChanged.emit(self.index(row), self.index(row))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.entries)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        return self.value(self.entries[index.row()], role)

    def value(self, entry: Entry, role: int) -> Any:
        """Return what a row says of a slide."""
        item = entry.item
        if role == Qt.ItemDataRole.DisplayRole:
            return item.name
        if role == ID:
            return item.id
        if role == ENTRY:
            return entry
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(_told(entry))
        if role == Qt.ItemDataRole.AccessibleTextRole:
            parts = [item.name, LABEL_TEXT[item.label], SPLIT_TEXT[item.split], REVIEW_TEXT[item.review]]
            parts += [f"patient {item.patient}"] if item.patient else []
            return ", ".join([*parts, "file not found" if entry.missing else marked_text(item)])
        return None


def _told(entry: Entry) -> list[str]:
    item = entry.item
    mpp = item.mpp or item.slide_mpp
    size = f"{item.width:,} x {item.height:,} px"
    lines = [item.name, size + (f", {mpp:.4g} µm per pixel" if mpp else ", resolution unknown")]
    if item.patient:
        lines.append(f"Patient {item.patient}")
    if item.review == "reviewed":
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.reviewed)) if item.reviewed else "earlier"
        lines.append(f"Reviewed by {item.reviewer or 'somebody'}, {when}")
    if entry.score is not None:
        lines.append(f"Score {entry.score:.3f}")
    if entry.missing:
        lines.append(entry.reason)
        lines.append("File, Find moved files… looks for it.")
    return lines


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


def state_text(item: Item) -> str:
    """Return the third line of a row: review, and how much is labelled."""
    text = REVIEW_TEXT[item.review]
    if item.marked:
        text = ("" if item.review == "marked" else f"{text} · ") + marked_text(item)
    return text


class SlideDelegate(QStyledItemDelegate):
    """Paints a row: picture left; name; a chip for the label, split and patient; review and marked area. Or a header."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(180), theme.px(32 if index.data(HEADER) is not None else THUMBNAIL + 16))

    def _header(self, painter: QPainter, option: QStyleOptionViewItem, header: Header) -> None:
        c, rect = theme.colors(), QRect(option.rect)
        painter.save()
        painter.fillRect(rect, QColor(c.raised))
        side = theme.px(14)
        arrow = QRect(rect.left() + theme.px(8), rect.center().y() - side // 2, side, side)
        painter.drawPixmap(arrow, theme.pixmap("chevron-right" if header.collapsed else "chevron-down", side, c.muted))
        font, small = QFont(option.font), QFont(option.font)
        font.setWeight(QFont.Weight.DemiBold)
        small.setPixelSize(theme.px(12))
        note = " · ".join(part for part in (header.split, header.count_text) if part)
        text = rect.adjusted(theme.px(28), 0, -theme.px(8), 0)
        wide = QFontMetrics(small).horizontalAdvance(note)
        if wide > text.width() // 2:
            note = header.count_text
            wide = QFontMetrics(small).horizontalAdvance(note)
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.setFont(small)
        painter.setPen(QColor(c.muted))
        painter.drawText(text, Qt.AlignmentFlag.AlignRight | middle, note)
        painter.setFont(font)
        painter.setPen(QColor(c.text if header.patient else c.muted))
        room = text.width() - wide - theme.px(8)
        title = QFontMetrics(font).elidedText(header.title, Qt.TextElideMode.ElideMiddle, room)
        painter.drawText(text, Qt.AlignmentFlag.AlignLeft | middle, title)
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QPen(QColor(c.focus), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect.adjusted(1, 1, -2, -2))
        painter.restore()

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        header: Header | None = index.data(HEADER)
        if header is not None:
            self._header(painter, option, header)
            return
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
        if entry.missing and entry.picture is not None:
            mark = QRect(frame.right() - theme.px(18), frame.top(), theme.px(18), theme.px(18))
            painter.fillRect(mark, QColor(c.surface))
            painter.drawPixmap(mark.adjusted(2, 2, -2, -2), theme.pixmap("missing", mark.width(), c.error))
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
        split = " · ".join(
            part for part in (SPLIT_TEXT[item.split] if item.split else "", patient_text(item.patient)) if part
        )
        if rest.width() >= theme.px(36):  # dots alone say nothing
            painter.drawText(rest, left, metrics.elidedText(split, Qt.TextElideMode.ElideRight, rest.width()))
        below = middle.translated(0, line)
        note = "File not found" if entry.missing else state_text(item)
        painter.setPen(QColor(c.error if entry.missing else c.muted))
        painter.drawText(below, left, metrics.elidedText(note, Qt.TextElideMode.ElideRight, below.width()))
