"""Command palette: everything one can do, found by a few letters, run with Enter (Ctrl+Shift+P)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qtpy.QtCore import QEvent, QModelIndex, QObject, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFontMetrics, QKeyEvent, QKeySequence, QPainter
from qtpy.QtWidgets import (
    QDialog,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from ..widgets import theme
from ..widgets.texts import MutedLabel
from .actions import ActionBook

ENTRY = Qt.ItemDataRole.UserRole
ROW, MOST_ROWS = 32, 12


@dataclass(frozen=True)
class Entry:
    """A line of the palette; `reason` says why it cannot be run now."""

    id: str
    text: str
    where: str
    keys: str
    reason: str


EXACT, START, WORDS, INSIDE, LETTERS = 5.0, 4.0, 3.0, 2.0, 1.0


def score(query: str, text: str, where: str = "") -> float:
    """Return how well `query` finds a command by its name `text` and its menu `where`; 0 = not at all.

    The name itself comes first, then names that start with it, then those (with their menu) in which all words of the
    query start words, then those that contain them, then names that have the letters in order. Of those that fit
    alike, the name counts more than the menu, and the shorter name more than the longer.
    """
    wanted, name = query.lower().split(), text.lower()
    if not wanted:
        return 1.0
    whole, every = " ".join(wanted), f"{name} {where.lower()}"
    shortness = 0.4 / (1 + len(name) / 20)
    if name == whole:
        return EXACT
    if name.startswith(whole):
        return START + shortness
    for places, extra in ((name, 0.5), (every, 0.0)):
        starts = re.findall(r"\w+", places)
        if all(any(start.startswith(word) for start in starts) for word in wanted):
            return WORDS + extra + shortness
    for places, extra in ((name, 0.5), (every, 0.0)):
        if all(word in places for word in wanted):
            return INSIDE + extra + shortness
    wish = "".join(wanted)
    for start in re.finditer(rf"\b{re.escape(wish[0])}", name):  # the first letter starts a word
        letters = iter(name[start.start() :])
        if all(letter in letters for letter in wish):
            return LETTERS + shortness
    return 0.0


def entries(book: ActionBook) -> list[Entry]:
    """Return all actions but the palette itself."""
    book.refresh()
    return [
        Entry(
            action.id,
            book[action.id].text().removesuffix("…"),
            action.menu.replace("/", " › "),
            book[action.id].shortcut().toString(QKeySequence.SequenceFormat.NativeText),
            book.reasons[action.id],
        )
        for action in book.entries.values()
        if action.id != "edit.palette"
    ]


def ranked(query: str, candidates: list[Entry]) -> list[Entry]:
    """Return the entries that fit, best first; of those that fit alike, what can be run comes first."""
    scored = [(score(query, e.text, e.where), place, e) for place, e in enumerate(candidates)]
    fitting = [entry for entry in scored if entry[0] > 0]
    return [e for _, _, e in sorted(fitting, key=lambda s: (-int(s[0]), bool(s[2].reason), -s[0], s[1]))]


class CommandPalette(QDialog):
    """The palette as a small window at the top of its parent."""

    chosen = Signal(str)

    def __init__(self, book: ActionBook, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAccessibleName("Find a command")
        self._all = entries(book)
        self.line = QLineEdit()
        self.line.setPlaceholderText("Find a command")
        self.line.setAccessibleName("Find a command")
        self.line.setClearButtonEnabled(False)
        self.line.addAction(theme.icon("search", theme.colors().muted), QLineEdit.ActionPosition.LeadingPosition)
        self.list = QListWidget()
        self.list.setItemDelegate(EntryDelegate(self.list))
        self.list.setUniformItemSizes(True)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.GAP, theme.GAP, theme.GAP, theme.GAP)
        column.setSpacing(theme.GAP)
        column.addWidget(self.line)
        column.addWidget(self.list)
        self.line.textChanged.connect(self._search)
        self.line.installEventFilter(self)
        self.list.itemClicked.connect(lambda _: self._run())
        self.setObjectName("palette")
        self.line.setFixedWidth(min(theme.px(604), parent.width() - theme.px(80)))
        self.nothing = MutedLabel("No command has this name.")
        self.nothing.setContentsMargins(theme.PAD, theme.TIGHT, theme.PAD, theme.PAD)
        column.addWidget(self.nothing)
        column.setSizeConstraint(QVBoxLayout.SizeConstraint.SetFixedSize)
        self._search("")
        self.adjustSize()
        corner = parent.mapToGlobal(parent.rect().topLeft())
        self.move(corner.x() + (parent.width() - self.width()) // 2, corner.y() + theme.px(72))
        self.line.setFocus()

    def shown(self) -> list[Entry]:
        return [self.list.item(row).data(ENTRY) for row in range(self.list.count())]

    def _search(self, query: str) -> None:
        self.list.clear()
        for entry in ranked(query, self._all):
            item = QListWidgetItem()
            item.setData(ENTRY, entry)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{entry.text}, {entry.keys or 'no key'}. {entry.reason}")
            item.setToolTip(entry.reason)
            self.list.addItem(item)
        self.list.setCurrentRow(0)
        rows = max(1, min(MOST_ROWS, self.list.count()))
        self.list.setFixedHeight(rows * theme.px(ROW) + 2 * self.list.frameWidth() + 2)
        self.list.setVisible(self.list.count() > 0)
        self.nothing.setVisible(self.list.count() == 0)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.line and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {
                Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: 8, Qt.Key.Key_PageUp: -8,
            }.get(Qt.Key(event.key()))  # fmt: skip
            if step is not None:
                row = max(0, min(self.list.count() - 1, self.list.currentRow() + step))
                self.list.setCurrentRow(row)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run()
                return True
        return super().eventFilter(watched, event)

    def _run(self) -> None:
        item = self.list.currentItem()
        if item is None or item.data(ENTRY).reason:
            return
        self.close()
        self.chosen.emit(item.data(ENTRY).id)


class EntryDelegate(QStyledItemDelegate):
    """Name and menu on the left, key or reason on the right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(0, theme.px(ROW))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        entry: Entry = index.data(ENTRY)
        c = theme.colors()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        rect = QRect(option.rect)
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(c.selection))
            painter.drawRoundedRect(rect.adjusted(1, 1, -1, -1), theme.px(5), theme.px(5))
        rect.adjust(theme.px(10), 0, -theme.px(10), 0)
        metrics = QFontMetrics(option.font)
        painter.setFont(option.font)
        right = entry.reason or entry.keys
        painter.setPen(QColor(c.muted))
        painter.drawText(rect, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, right)
        room = rect.width() - metrics.horizontalAdvance(right) - theme.px(16)
        painter.setPen(QColor(c.disabled if entry.reason else c.text))
        text = metrics.elidedText(entry.text, Qt.TextElideMode.ElideRight, room)
        painter.drawText(rect, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)
        used = metrics.horizontalAdvance(text) + theme.px(10)
        painter.setPen(QColor(c.muted))
        where = metrics.elidedText(entry.where, Qt.TextElideMode.ElideRight, max(0, room - used))
        painter.drawText(
            rect.adjusted(used, 0, 0, 0), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, where
        )
        painter.restore()
