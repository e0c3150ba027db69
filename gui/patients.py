"""Of which patient slides are: said for the selected ones, or read from their names by a pattern that the user sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QCompleter,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from ..engine.errors import OpsinError
from ..engine.patients import PATTERNS, likely_pattern, named_patients
from ..widgets import theme
from ..widgets.texts import ErrorLabel, MutedLabel
from .dialogs import Sheet

if TYPE_CHECKING:
    from ..engine.workspace import Item

NOTE = "Slides of one patient always stay in the same split: a new slide takes over the split of the others."


class PatientDialog(Sheet):
    """One patient for some slides. Signal `chosen(object)`: dict slide id -> patient or None."""

    chosen = Signal(object)

    def __init__(self, items: Sequence[Item], known: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__("Patient", parent)
        self._ids = [item.id for item in items]
        head = QLabel(items[0].name if len(items) == 1 else f"{len(items)} slides")
        head.setProperty("kind", "heading")
        head.setWordWrap(True)
        head.setTextFormat(Qt.TextFormat.PlainText)
        self.column.addWidget(head)
        patients = {item.patient for item in items}
        self.line = QLineEdit(next(iter(patients)) or "" if len(patients) == 1 else "")
        self.line.setPlaceholderText("Different patients" if len(patients) > 1 else "Name or number; empty = not known")
        self.line.setAccessibleName("Patient")
        self.line.setMaxLength(200)
        completer = QCompleter(sorted(known), self.line)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.line.setCompleter(completer)
        self.column.addWidget(self.line)
        self.column.addWidget(MutedLabel(NOTE, wrap=True))
        self.add_buttons("Set patient", "Cancel")
        self.accepted.connect(lambda: self.chosen.emit(dict.fromkeys(self._ids, self.line.text().strip() or None)))
        self.line.setFocus()
        self.fit(420)


class GuessPatientsDialog(Sheet):
    """Patients read from slide names. Signal `chosen(object)`: dict slide id -> patient."""

    chosen = Signal(object)

    def __init__(self, items: Sequence[Item], parent: QWidget | None = None) -> None:
        super().__init__("Patients from slide names", parent)
        self._items = list(items)
        self.found: dict[str, str] = {}
        label = QLabel(
            "Pattern: the part in braces is the patient, * is any text, ** as much as fits, ? one character."
        )
        label.setWordWrap(True)
        self.column.addWidget(label)
        self.pattern = QComboBox()
        self.pattern.setEditable(True)
        self.pattern.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.pattern.setAccessibleName("Pattern")
        for pattern, words in PATTERNS.items():
            self.pattern.addItem(pattern)
            self.pattern.setItemData(self.pattern.count() - 1, words, Qt.ItemDataRole.ToolTipRole)
        self.column.addWidget(self.pattern)
        self.words = MutedLabel("", wrap=True)
        self.column.addWidget(self.words)
        self.error = ErrorLabel()
        self.column.addWidget(self.error)
        self.table = QTableWidget(len(self._items), 2)
        self.table.setHorizontalHeaderLabels(["Slide", "Patient"])
        self.table.setAccessibleName("What the pattern finds")
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setTabKeyNavigation(False)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for row, item in enumerate(self._items):
            self.table.setItem(row, 0, QTableWidgetItem(item.name))
            self.table.setItem(row, 1, QTableWidgetItem(""))
        self.column.addWidget(self.table, 1)
        self.summary = QLabel("")
        self.summary.setWordWrap(True)
        self.column.addWidget(self.summary)
        self.column.addWidget(MutedLabel(NOTE, wrap=True))
        box = self.add_buttons("Set patients", "Cancel")
        self.accept_button = next(
            b for b in box.buttons() if box.buttonRole(b) == QDialogButtonBox.ButtonRole.AcceptRole
        )
        self.accepted.connect(lambda: self.chosen.emit(self.found))
        self.pattern.editTextChanged.connect(self._show)
        self.pattern.setEditText(likely_pattern([item.name for item in self._items]))
        self._show(self.pattern.currentText())
        self.take(560, 600)

    def _show(self, pattern: str) -> None:
        try:
            self.found = named_patients({item.id: item.name for item in self._items}, pattern)
            self.error.say("")
        except OpsinError as error:
            self.found = {}
            self.error.say(str(error))
        self.words.setText(PATTERNS.get(pattern, "").capitalize() + ("." if pattern in PATTERNS else ""))
        self.words.setVisible(pattern in PATTERNS)
        muted = theme.colors().muted
        for row, item in enumerate(self._items):
            cell = self.table.item(row, 1)
            patient = self.found.get(item.id)
            cell.setText(patient or (f"{item.patient} (stays)" if item.patient else "no patient found"))
            cell.setForeground(QColor(theme.colors().text if patient else muted))
        counts = Counter(self.found.values())
        slides = "1 slide" if len(self._items) == 1 else f"{len(self._items)} slides"
        people = "1 patient" if len(counts) == 1 else f"{len(counts)} patients"
        self.summary.setText(f"{len(self.found)} of {slides} fit, of {people}.")
        self.accept_button.setEnabled(bool(self.found))
