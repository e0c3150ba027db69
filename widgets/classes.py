"""The table of label classes: colour, name, key, labelled area, eye and lock; everything can be done by keyboard.

Rows come from `SlideViewModel.classes`; every edit goes out as the signal `edited` with the whole new list, so that one
place (`annotations.py`) keeps workspace and view in step.
"""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPen
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from ..engine.labels.classes import LabelClass
from . import theme

COLOR, NAME, KEY, AREA, EYE, LOCK = range(6)
HEADS = ("", "Class", "Key", "Area", "", "")
Index = QModelIndex | QPersistentModelIndex


class ClassModel(QAbstractTableModel):
    """The classes as rows.

    Signals
    -------
    edited(list[LabelClass]) : the user changed something.
    refused(str) : why an edit was not taken.
    """

    edited = Signal(object)
    refused = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.classes: list[LabelClass] = []
        self.areas: dict[int, str] = {}
        self.solo: int | None = None

    def set_classes(self, classes: list[LabelClass], solo: int | None = None) -> None:
        """Show these; the selection stays where it was when only fields changed. `solo`: the value that is shown alone."""
        self.solo = solo
        same = [c.value for c in classes] == [c.value for c in self.classes]
        if same:
            self.classes = list(classes)
            if classes:
                self.dataChanged.emit(self.index(0, 0), self.index(len(classes) - 1, LOCK))
            return
        self.beginResetModel()
        self.classes = list(classes)
        self.endResetModel()

    def is_shown(self, c: LabelClass) -> bool:
        """Whether the slide view shows a class."""
        return c.visible if self.solo is None else c.value == self.solo

    def set_areas(self, areas: dict[int, str]) -> None:
        """Show the labelled area of each class, in words."""
        self.areas = areas
        if self.classes:
            self.dataChanged.emit(self.index(0, AREA), self.index(len(self.classes) - 1, AREA))

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.classes)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return len(HEADS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return HEADS[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if section == AREA else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() in (NAME, KEY) else flags

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        c = self.classes[index.row()]
        column = index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return {NAME: c.name, KEY: c.key, AREA: self.areas.get(c.value, "")}.get(column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return {
                COLOR: "Colour (Enter to change)",
                NAME: "Name (F2 to rename)",
                KEY: "Number key that chooses the class (F2 to change)",
                AREA: "Labelled area on this slide",
                EYE: self._eye_tip(c),
                LOCK: "Locked: its pixels stay, and none are added (Space to unlock)"
                if c.locked
                else "Not locked (Space to protect its pixels from edits)",
            }[column]
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return {
                COLOR: f"Colour {c.color}", NAME: c.name, KEY: f"Key {c.key or 'none'}", AREA: self.areas.get(c.value, ""),
                EYE: "shown" if self.is_shown(c) else "hidden", LOCK: "locked" if c.locked else "not locked",
            }[column]  # fmt: skip
        if role == Qt.ItemDataRole.TextAlignmentRole and column == AREA:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def _eye_tip(self, c: LabelClass) -> str:
        if self.solo == c.value:
            return "Shown alone (Alt + click to show all)"
        if self.solo is not None:
            return "Hidden while another class is shown alone (Alt + click on that eye to show all)"
        return f"{'Shown (Space to hide' if c.visible else 'Hidden (Space to show'}, Alt + click to show it alone)"

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        text = str(value).strip()
        c = self.classes[index.row()]
        if index.column() == NAME:
            if not text or text == c.name:
                return False
            if any(other.name == text for other in self.classes):
                self.refused.emit(f"There already is a class '{text}'.")
                return False
            self.change(index.row(), name=text)
            return True
        if index.column() == KEY:
            if text and text not in "123456789":
                self.refused.emit("The key of a class is a digit from 1 to 9: letters belong to the tools.")
                return False
            changed = [
                other.model_copy(update={"key": text if other is c else "" if other.key == text else other.key})
                for other in self.classes
            ]
            self.edited.emit(changed)
            return True
        return False

    def change(self, row: int, **changes: Any) -> None:
        """Change fields of the class in a row."""
        self.edited.emit([c.model_copy(update=changes) if place == row else c for place, c in enumerate(self.classes)])


class ClassTable(QTableView):
    """The view on a `ClassModel`. Signals: `color_wanted(row)`, `solo_wanted(row)`."""

    color_wanted = Signal(int)
    solo_wanted = Signal(int)

    def __init__(self, model: ClassModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.classes = model
        self._alt = False  # held at the last press
        self.setModel(model)
        self.setItemDelegate(ClassDelegate(self))
        self.setAccessibleName("Classes")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setMinimumSectionSize(theme.px(20))
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.horizontalHeader().setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        model.modelReset.connect(self._fit)
        self.clicked.connect(lambda index: self.act(index) if index.column() in (EYE, LOCK) else None)
        self.doubleClicked.connect(lambda index: self.act(index) if index.column() == COLOR else None)
        self.resize_rows()

    def resize_rows(self) -> None:
        """Take over the text size of the theme."""
        self.verticalHeader().setDefaultSectionSize(theme.px(30))
        for column, width in ((COLOR, 30), (KEY, 36), (AREA, 84), (EYE, 30), (LOCK, 30)):
            self.setColumnWidth(column, theme.px(width))
        self._fit()

    def _fit(self) -> None:
        rows = max(3, min(10, self.classes.rowCount()))
        self.setFixedHeight(rows * theme.px(30) + max(self.horizontalHeader().sizeHint().height(), theme.px(24)) + 4)

    def act(self, index: QModelIndex) -> None:
        """What a click on a cell, Space or Enter does."""
        c = self.classes.classes[index.row()]
        if index.column() == EYE and (self._alt or self.classes.solo is not None):
            self.solo_wanted.emit(index.row())
        elif index.column() == EYE:
            self.classes.change(index.row(), visible=not c.visible)
        elif index.column() == LOCK:
            self.classes.change(index.row(), locked=not c.locked)
        elif index.column() == COLOR:
            self.color_wanted.emit(index.row())

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._alt = bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        self._alt = False
        index = self.currentIndex()
        keys = (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if event.key() in keys and index.isValid() and self.state() != QAbstractItemView.State.EditingState:
            if index.column() in (NAME, KEY):
                self.edit(index)
            else:
                self.act(index)
            return
        super().keyPressEvent(event)


class ClassDelegate(QStyledItemDelegate):
    """Draws the colour as a swatch, eye and lock as icons."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(theme.px(28), theme.px(30))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        if index.column() not in (COLOR, EYE, LOCK):
            super().paint(painter, option, index)
            return
        colors = theme.colors()
        model = index.model()
        assert isinstance(model, ClassModel)
        c = model.classes[index.row()]
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(option.rect, QColor(colors.selection))
        side = theme.px(16)
        middle = QRectF(option.rect).center()
        box = QRectF(middle.x() - side / 2, middle.y() - side / 2, side, side)
        if index.column() == COLOR:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(QColor(colors.control), 1))
            painter.setBrush(QColor(c.color))
            painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
        else:
            on = model.is_shown(c) if index.column() == EYE else c.locked
            name = ("eye" if on else "eye-off") if index.column() == EYE else ("lock" if on else "unlock")
            loud = on if index.column() == LOCK else not on
            tint = colors.text if loud else colors.muted
            painter.drawPixmap(box.toRect(), theme.pixmap(name, side, tint))
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QPen(QColor(colors.focus), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(option.rect.adjusted(1, 1, -2, -2))
        painter.restore()
