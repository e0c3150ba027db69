"""The markers, rulers, areas and regions of interest of the open slide as a list: go there, edit, delete.

Part of the Annotate tab; `python -m opsin.widgets.annotations` shows it alone. It changes the model's label store.
"""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QItemSelection, QItemSelectionModel, QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHBoxLayout, QHeaderView, QPushButton, QTableView, QVBoxLayout, QWidget

from ..engine.errors import OpsinError
from ..engine.labels.marks import NAMES, Mark
from . import theme
from .background import Relay
from .slide.marks import INK, area_words, go_to, length_words, shortened
from .slide.model import SlideViewModel
from .texts import MutedLabel, heading

KIND, NOTE, SIZE = range(3)
HEADS = ("Kind", "Note", "Size")
SHORT = {"marker": "Marker", "ruler": "Ruler", "area": "Area", "roi": "Region"}
ROWS = 6  # in sight before the list scrolls
Index = QModelIndex | QPersistentModelIndex


class MarkTable(QAbstractTableModel):
    """The marks as rows: kind with the colour of its class, note, what it measures."""

    def __init__(self, model: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self.marks: list[Mark] = []

    def set_marks(self, marks: list[Mark]) -> None:
        self.beginResetModel()
        self.marks = marks
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.marks)

    def columnCount(self, parent: Index | None = None) -> int:
        return len(HEADS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return HEADS[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if section == SIZE else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        mark = self.marks[index.row()]
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return (SHORT[mark.kind], shortened(mark.note), self.size_text(mark))[column]
        if role == Qt.ItemDataRole.DecorationRole and column == KIND:
            return _dot(self._color(mark))
        if role == Qt.ItemDataRole.TextAlignmentRole and column == SIZE:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.about(mark)
        return None

    def size_text(self, mark: Mark) -> str:
        if mark.kind == "marker":
            return ""
        if mark.kind == "ruler":
            return length_words(mark.length, self.model.mpp)
        return area_words(mark.area, self.model.mpp)

    def about(self, mark: Mark) -> str:
        """All there is to say of a mark."""
        item = self.model.label_class(mark.label) if mark.label is not None else None
        name = NAMES[mark.kind]
        lines = [f"{name[:1].upper()}{name[1:]}{f', {item.name}' if item is not None else ''}", mark.note]
        if mark.kind in ("area", "roi"):
            lines.append(f"Perimeter {length_words(mark.length, self.model.mpp)}")
        lines.append(f"By {mark.author}" if mark.author else "")
        return "\n".join(line for line in lines if line)

    def _color(self, mark: Mark) -> QColor:
        item = self.model.label_class(mark.label) if mark.label is not None else None
        return QColor(item.color) if item is not None else INK


class MarkList(QTableView):
    """The list.

    Signals
    -------
    went(row), edit_wanted(), remove_wanted() : double click or Enter; F2; Delete.
    """

    went = QtSignal(int)
    edit_wanted = QtSignal()
    remove_wanted = QtSignal()

    def __init__(self, table: MarkTable, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setModel(table)
        self.setAccessibleName("Markers and measurements")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setSectionResizeMode(KIND, QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(NOTE, QHeaderView.ResizeMode.Stretch)
        head.setSectionResizeMode(SIZE, QHeaderView.ResizeMode.ResizeToContents)
        self.doubleClicked.connect(lambda index: self.went.emit(index.row()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.went.emit(self.currentIndex().row())
        elif event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.remove_wanted.emit()
        elif event.key() == Qt.Key.Key_F2:
            self.edit_wanted.emit()
        else:
            super().keyPressEvent(event)

    def fit(self) -> None:
        """Be as high as its rows, up to `ROWS`."""
        height = theme.px(26)
        self.verticalHeader().setDefaultSectionSize(height)
        rows = min(max(self.model().rowCount(), 1), ROWS)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows * height + 2 * self.frameWidth() + 2)


class MarksPanel(QWidget):
    """The list with its buttons.

    Signals
    -------
    failed(str) : one sentence about what could not be done.
    """

    failed = QtSignal(str)

    def __init__(self, model: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self._quiet = False
        self._store_relay: Relay | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.GAP)
        column.addWidget(heading("Markers and measurements"))
        self.note = MutedLabel("", wrap=True)
        self.table = MarkTable(model, self)
        self.list = MarkList(self.table, self)
        column.addWidget(self.list)
        column.addWidget(self.note)
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        self.go_button, self.edit_button = QPushButton("Go there"), QPushButton("Edit…")
        self.remove_button = QPushButton("Delete")
        self.buttons = QWidget()
        self.buttons.setLayout(row)
        row.setContentsMargins(0, 0, 0, 0)
        for button, slot, tip in (
            (self.go_button, self._go_chosen, "Brings the place into the middle of the view (double click or Enter)"),
            (self.edit_button, self.edit, "Note and class, on the slide (F2)"),
            (self.remove_button, self.remove, "Undo brings it back (Delete)"),
        ):
            button.clicked.connect(lambda _=False, slot=slot: slot())
            button.setToolTip(tip)
            row.addWidget(button, 1)
        column.addWidget(self.buttons)
        self.list.went.connect(self.go)
        self.list.edit_wanted.connect(self.edit)
        self.list.remove_wanted.connect(self.remove)
        self.list.selectionModel().selectionChanged.connect(self._picked)
        events = model.events
        self._relays = [
            Relay(lambda _: self._follow(), events.labels, parent=self),
            Relay(lambda _: self._show(), events.mpp, events.classes, parent=self),
            Relay(lambda _: self._show_chosen(), events.mark, parent=self),
        ]
        theme.theme_changed().connect(self._show)
        self._follow()

    # ---- what is shown

    def _follow(self) -> None:
        if self._store_relay is not None:
            self._store_relay.drop()
            self._store_relay = None
        if self.model.labels is not None:
            self._store_relay = Relay(lambda _: self._show(), self.model.labels.marks_changed, parent=self)
        self._show()

    def _show(self) -> None:
        store = self.model.labels
        marks = store.marks() if store is not None else []
        self._quiet = True
        self.table.set_marks(marks)
        self._quiet = False
        self.list.setVisible(bool(marks))
        self.buttons.setVisible(bool(marks))
        self.list.fit()
        self.note.setText(self._said(marks))
        self.note.setVisible(bool(self.note.text()))
        self._show_chosen()

    def _said(self, marks: list[Mark]) -> str:
        if self.model.labels is None:
            return ""
        if not marks:
            return "None on this slide. Marker (.), ruler (U), area (Q) and region of interest (V) are among the tools."
        regions = [mark for mark in marks if mark.kind == "roi"]
        said = []
        if regions:
            inside = "the region of interest" if len(regions) == 1 else f"the {len(regions)} regions of interest"
            said.append(f"Only what lies inside {inside} counts.")
        if not self.model.mpp and any(mark.kind != "marker" for mark in marks):
            said.append("Sizes are in pixels: the µm per pixel of this slide are unknown.")
        return " ".join(said)

    def _show_chosen(self) -> None:
        """Select the row of the mark that is chosen on the slide."""
        rows = [row for row, mark in enumerate(self.table.marks) if mark.id == self.model.mark]
        if rows and rows != self.rows():
            index = self.table.index(rows[0], 0)
            self._quiet = True
            flags = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows
            self.list.selectionModel().setCurrentIndex(index, flags)
            self.list.scrollTo(index)
            self._quiet = False
        elif not rows and len(self.rows()) == 1:
            self._quiet = True
            self.list.clearSelection()
            self._quiet = False
        self._enable()

    def rows(self) -> list[int]:
        """The rows that are selected."""
        return sorted(index.row() for index in self.list.selectionModel().selectedRows())

    def _picked(self, _: QItemSelection, __: QItemSelection) -> None:
        if not self._quiet:
            rows = self.rows()
            if len(rows) == 1:
                self.model.mark = self.table.marks[rows[0]].id
        self._enable()

    def _enable(self) -> None:
        rows = self.rows()
        writable = self.model.labels is not None and not self.model.labels.readonly
        self.go_button.setEnabled(len(rows) == 1)
        self.edit_button.setEnabled(len(rows) == 1 and writable)
        self.remove_button.setEnabled(bool(rows) and writable)

    # ---- what can be done

    def go(self, row: int) -> None:
        """Bring the mark of a row into the middle of the view."""
        if 0 <= row < len(self.table.marks):
            go_to(self.model, self.table.marks[row])

    def _go_chosen(self) -> None:
        for row in self.rows()[:1]:
            self.go(row)

    def edit(self) -> None:
        """Open the note of the selected mark, on the slide."""
        for row in self.rows()[:1]:
            mark = self.table.marks[row]
            go_to(self.model, mark)
            self.model.note_wanted.emit(mark.id)

    def remove(self) -> None:
        """Delete the selected marks in one undo step."""
        store, ids = self.model.labels, [self.table.marks[row].id for row in self.rows()]
        if store is None or not ids:
            return
        try:
            store.remove_marks(ids)
        except OpsinError as error:
            self.failed.emit(str(error))


def _dot(color: QColor) -> QIcon:
    side = theme.px(14)
    pixmap = QPixmap(side, side)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(color)
    painter.setPen(QPen(QColor(theme.colors().control), 1))
    painter.drawEllipse(2, 2, side - 4, side - 4)
    painter.end()
    return QIcon(pixmap)
