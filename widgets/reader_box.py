"""Reader: whose labels are shown and painted, with an entry that adds one."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

from ..engine.labels.readers import Reader
from . import theme

ADD = "Add reader…"


class ReaderBox(QWidget):
    """The row. Signals: `chosen(str)` with the reader's id, `add_asked()`."""

    chosen = Signal(str)
    add_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.GAP)
        label = QLabel("Reader")
        self.box = QComboBox()
        self.box.setAccessibleName("Reader whose labels are shown and painted")
        self.box.setToolTip("Each reader has labels of his own on every slide, with an undo of their own")
        label.setBuddy(self.box)
        row.addWidget(label)
        row.addWidget(self.box, 1)
        self._now = 0
        self.box.activated.connect(self._take)

    def show_readers(self, readers: Sequence[Reader], now: str) -> None:
        """Offer these readers; `now` is the id of the one at work."""
        self.box.clear()
        for reader in readers:
            self.box.addItem(reader.name, reader.id)
        self.box.insertSeparator(self.box.count())
        self.box.addItem(ADD)
        self._now = max(0, self.box.findData(now))
        self.box.setCurrentIndex(self._now)
        self.setEnabled(bool(readers))

    def _take(self, place: int) -> None:
        if place == self.box.count() - 1:
            self.box.setCurrentIndex(self._now)
            self.add_asked.emit()
        elif place != self._now:
            self.chosen.emit(str(self.box.itemData(place)))
