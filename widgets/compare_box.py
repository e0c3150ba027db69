"""Compare readers: two readers' labels of the open slide side by side in numbers, as a list of places, and what to do there.

It shows and asks; `gui/comparing.py` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ..engine.labels.difference import Comparison
from ..engine.labels.readers import Reader
from . import theme
from .buttons import Disclosure
from .slide.marks import area_words
from .texts import MutedLabel

COLORS = ("#0072B2", "#D55E00", "#F0E442")
"""Of what only the first, only the second, and both readers have labelled, but otherwise (Okabe and Ito)."""
COUNT_NOTE = "Training, evaluation and the marked share of slides use the labels of this reader alone."
DONE, MINE, THEIRS, AREA = range(4)
CHOICES = {"mine": "mine taken", "theirs": "theirs taken", "leave": "left"}


@dataclass(frozen=True)
class Row:
    """A place in which the readers differ: names of the classes it mostly has, area as text."""

    mine: str
    theirs: str
    area: str


class DifferenceList(QTreeWidget):
    """The places, the largest first. Signals: `go_asked(int)` with the row, by Enter or a double click."""

    go_asked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderLabels(["", "Mine", "Theirs", "Area"])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setAllColumnsShowFocus(True)
        self.setAccessibleName("Places in which the readers differ")
        self.headerItem().setTextAlignment(AREA, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        head = self.header()
        head.setStretchLastSection(False)
        for column, mode in ((DONE, "Fixed"), (MINE, "Stretch"), (THEIRS, "Stretch"), (AREA, "ResizeToContents")):
            head.setSectionResizeMode(column, getattr(QHeaderView.ResizeMode, mode))
        self.setMinimumHeight(theme.px(150))
        self.itemDoubleClicked.connect(lambda item, _: self.go_asked.emit(self.indexOfTopLevelItem(item)))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.row() >= 0:
            self.go_asked.emit(self.row())
            return
        super().keyPressEvent(event)

    def row(self) -> int:
        """Return the chosen row, -1 for none."""
        item = self.currentItem()
        return -1 if item is None else self.indexOfTopLevelItem(item)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show these places, none of them done."""
        self.clear()
        for row in rows:
            item = QTreeWidgetItem(["", row.mine, row.theirs, row.area])
            item.setTextAlignment(AREA, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.addTopLevelItem(item)
        self.setColumnWidth(DONE, theme.px(28))

    def tick(self, row: int, choice: str) -> None:
        """Say what was decided of a place: a key of `CHOICES`, "" for nothing yet."""
        item = self.topLevelItem(row)
        if item is not None:
            item.setText(DONE, "✓" if choice else "")
            words = f"{item.text(MINE)} / {item.text(THEIRS)}, {item.text(AREA)}"
            words += f": {CHOICES[choice]}" if choice else ""
            item.setToolTip(DONE, CHOICES.get(choice, ""))
            item.setData(MINE, Qt.ItemDataRole.AccessibleTextRole, words)


class CompareBox(QWidget):
    """The section below the row "Reader", to be opened.

    Signals
    -------
    compare_asked(str) : with the reader of this id. cancel_asked().
    go_asked(int) : show the place of a row. step_asked(int) : the next (1) or the one before (-1).
    settle_asked(str) : "mine", "theirs" or "leave" for the chosen place. in_view_asked() : theirs, for all places in sight.
    undo_asked() : take the last decision back. counting_asked(str) : this reader's labels count from now on.
    shown(bool) : draw the difference on the slide, or not.
    """

    compare_asked = Signal(str)
    cancel_asked = Signal()
    go_asked = Signal(int)
    step_asked = Signal(int)
    settle_asked = Signal(str)
    in_view_asked = Signal()
    undo_asked = Signal()
    counting_asked = Signal(str)
    shown = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.GAP)
        self.title = Disclosure("Compare readers")
        column.addWidget(self.title)
        self.body = QWidget()
        column.addWidget(self.body)
        inner = QVBoxLayout(self.body)
        inner.setContentsMargins(0, 0, 0, theme.GAP)
        inner.setSpacing(theme.GAP)
        inner.addLayout(self._counting_rows())
        inner.addLayout(self._compare_row())
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("How far the comparison is")
        self.note = MutedLabel("", wrap=True)
        inner.addWidget(self.bar)
        inner.addWidget(self.note)
        self.result = QWidget()
        inner.addWidget(self.result)
        self._build_result()
        self.bar.hide()
        self.note.hide()
        self.result.hide()
        self.body.hide()
        self.title.toggled.connect(self.body.setVisible)
        self.hide()

    def _counting_rows(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(theme.TIGHT)
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        label = QLabel("Labels that count in training")
        self.counting = QComboBox()
        self.counting.setAccessibleName("Reader whose labels count in training")
        self.counting.setToolTip(COUNT_NOTE)
        self.counting.activated.connect(lambda place: self.counting_asked.emit(str(self.counting.itemData(place))))
        label.setBuddy(self.counting)
        row.addWidget(label)
        row.addWidget(self.counting, 1)
        column.addLayout(row)
        column.addWidget(MutedLabel(COUNT_NOTE, wrap=True))
        return column

    def _compare_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        label = QLabel("Compare with")
        self.other = QComboBox()
        self.other.setAccessibleName("Reader to compare with")
        label.setBuddy(self.other)
        self.compare_button, self.cancel_button = QPushButton("Compare"), QPushButton("Cancel")
        self.compare_button.clicked.connect(self.ask_compare)
        self.cancel_button.clicked.connect(lambda: self.cancel_asked.emit())
        self.cancel_button.hide()
        for widget, stretch in ((label, 0), (self.other, 1), (self.compare_button, 0), (self.cancel_button, 0)):
            row.addWidget(widget, stretch)
        return row

    def _build_result(self) -> None:
        column = QVBoxLayout(self.result)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.GAP)
        self.show_box = QCheckBox("Show the difference on the slide")
        self.show_box.toggled.connect(self.shown)
        column.addWidget(self.show_box)
        legend = QHBoxLayout()
        legend.setSpacing(theme.TIGHT)
        self.legend = [QLabel(), QLabel(), QLabel("Other class")]
        for color, text in zip(COLORS, self.legend, strict=True):
            swatch, square = QLabel(), QPixmap(theme.px(12), theme.px(12))
            square.fill(QColor(color))
            swatch.setPixmap(square)
            legend.addWidget(swatch)
            legend.addWidget(text)
            legend.addSpacing(theme.GAP)
        legend.addStretch(1)
        column.addLayout(legend)
        self.numbers = QLabel()
        self.numbers.setTextFormat(Qt.TextFormat.RichText)
        self.numbers.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.numbers.setWordWrap(True)
        column.addWidget(self.numbers)
        self.list = DifferenceList()
        self.list.go_asked.connect(self.go_asked)
        self.list.currentItemChanged.connect(lambda *_: self._enable())
        column.addWidget(self.list)
        self.rest = MutedLabel("", wrap=True)
        column.addWidget(self.rest)
        grid = QGridLayout()
        grid.setSpacing(theme.TIGHT)
        self.buttons: dict[str, QPushButton] = {}
        for place, (name, text, tip) in enumerate((
            ("previous", "Previous", "Go to the place before"),
            ("next", "Next", "Go to the next place"),
            ("undo", "Take back", "Take the last decision back"),
            ("mine", "Take mine", ""), ("theirs", "Take theirs", ""),
            ("leave", "Leave", "Settle nothing here: the place stays unlabelled in the agreed labels"),
        )):  # fmt: skip
            button = self.buttons[name] = QPushButton(text)
            button.setToolTip(tip)
            grid.addWidget(button, place // 3, place % 3)
        self.buttons["in view"] = QPushButton("Take all of theirs in view")
        self.buttons["in view"].setToolTip("For all places that lie wholly in sight and are not settled yet")
        grid.addWidget(self.buttons["in view"], 2, 0, 1, 3)
        column.addLayout(grid)
        self.buttons["previous"].clicked.connect(lambda: self.step_asked.emit(-1))
        self.buttons["next"].clicked.connect(lambda: self.step_asked.emit(1))
        self.buttons["undo"].clicked.connect(lambda: self.undo_asked.emit())
        self.buttons["in view"].clicked.connect(lambda: self.in_view_asked.emit())
        for name in CHOICES:
            self.buttons[name].clicked.connect(lambda _=False, name=name: self.settle_asked.emit(name))

    # ---- what is shown ------------------------------------------------------------------------------------------

    def show_readers(self, readers: Sequence[Reader], counting: str, others: Sequence[Reader]) -> None:
        """Offer these readers; `others` are those to compare with. Where there is one reader alone the section hides."""
        for box, known, now in ((self.counting, readers, counting), (self.other, others, self.other.currentData())):
            box.clear()
            for reader in known:
                box.addItem(reader.name, reader.id)
            box.setCurrentIndex(max(0, box.findData(now)))
        self.compare_button.setEnabled(bool(others))
        self.setVisible(len(readers) > 1)

    def ask_compare(self) -> None:
        """As the button "Compare"."""
        if self.other.currentData() is not None:
            self.compare_asked.emit(str(self.other.currentData()))

    def show_progress(self, share: float | None) -> None:
        """Say how far it is, 0 to 1; None when nothing is at work."""
        busy = share is not None
        self.bar.setVisible(busy)
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * (share or 0.0)))
        self.compare_button.setVisible(not busy)
        self.cancel_button.setVisible(busy)

    def say(self, text: str) -> None:
        """Show a sentence below the button; "" for none."""
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def clear(self) -> None:
        """Show no result."""
        self.list.clear()
        self.result.hide()
        self.show_progress(None)
        self.say("")

    def show_result(
        self, names: tuple[str, str], found: Comparison, classes: dict[int, str], rows: Sequence[Row], mpp: float | None
    ) -> None:
        """Show numbers and places.

        Parameters
        ----------
        names : of the first and the second reader. classes : label -> name. mpp : µm per level-0 pixel, None unknown.
        """
        mine, theirs = names
        self.legend[0].setText("Only mine")
        self.legend[1].setText("Only theirs")
        for widget, name in ((self.legend[0], mine), (self.legend[1], theirs)):
            widget.setToolTip(f"Labelled by {name} alone")
        self.legend[2].setToolTip("Labelled by both, as different classes")
        self.buttons["mine"].setToolTip(f"The agreed labels get those of {mine} here")
        self.buttons["theirs"].setToolTip(f"The agreed labels get those of {theirs} here")
        self.numbers.setText(numbers_text(names, found, classes, mpp))
        self.list.show_rows(rows)
        self.list.setVisible(bool(rows))
        more = f"{found.more:,} smaller places, {area_words(found.more_area, mpp)} in all, are not listed."
        self.rest.setText(more if found.more else "")
        self.rest.setVisible(bool(found.more))
        self.result.show()
        self.set_undo("")
        self._enable()

    def set_undo(self, text: str) -> None:
        """Say which decision can be taken back; "" for none."""
        self.buttons["undo"].setEnabled(bool(text))
        self.buttons["undo"].setToolTip(f"Take back: {text}" if text else "No decision to take back")

    def set_shown(self, on: bool) -> None:
        """The difference is drawn on the slide, or not."""
        self.show_box.blockSignals(True)
        self.show_box.setChecked(on)
        self.show_box.blockSignals(False)

    def _enable(self) -> None:
        some, chosen = self.list.topLevelItemCount() > 0, self.list.row() >= 0
        for name in ("previous", "next", "in view"):
            self.buttons[name].setEnabled(some)
        for name in CHOICES:
            self.buttons[name].setEnabled(chosen)


def numbers_text(names: tuple[str, str], found: Comparison, classes: dict[int, str], mpp: float | None) -> str:
    """Return the table of classes and the agreement as rich text."""
    if not found.labelled:
        return "Neither reader has labelled anything here."
    head = "".join(f"<th align='right'>{text}</th>" for text in (*map(escape, names), "Dice"))
    lines = [f"<tr><th align='left'>Class</th>{head}</tr>"]
    for value in found.values:
        first, second, _ = found.areas(value)
        dice = found.dice(value)
        cells = (area_words(first, mpp), area_words(second, mpp), "–" if dice is None else f"{dice:.3f}")
        row = "".join(f"<td align='right'>{cell}</td>" for cell in cells)
        lines.append(f"<tr><td>{escape(classes.get(value, f'Label {value}'))}</td>{row}</tr>")
    kappa = "–" if found.kappa is None else f"{found.kappa:.3f}".replace("-", "−")
    areas = [area_words(pixels, mpp).replace(" ", "\u00a0") for pixels in (found.differing, found.labelled)]
    differs = f"{areas[0]} of {areas[1]} labelled"
    table = f"<table width='100%' cellspacing='0' cellpadding='2'>{''.join(lines)}</table>"
    return f"{table}<p style='margin-top:4px'>Cohen's kappa {kappa}. The readers differ on {differs}.</p>"
