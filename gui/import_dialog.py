"""The dialog before an import: what each class of the file becomes, prefilled with what its name says."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QCheckBox, QComboBox, QDialogButtonBox, QFrame, QGridLayout, QLabel, QScrollArea, QWidget

from ..engine.labels.classes import LabelClass
from ..engine.labels.mapping import (
    CLEAR,
    SKIP,
    UNNAMED,
    Target,
    count_classes,
    mark_mapping,
    new_class,
    quoted,
    shortened,
)
from ..widgets import theme
from ..widgets.editors import QuietComboBox
from ..widgets.texts import MutedLabel, heading
from .dialogs import Sheet

if TYPE_CHECKING:
    from ..engine.labels.shapes import Origin, Outline, Outlines

NEW = "new"
"""A class of the file becomes a new class of the workspace, with its name and colour."""
ROOM_ROWS = 10


class MappingDialog(Sheet):
    """What each class of a file becomes; where all names are known, Enter is all.

    Import can be pressed as soon as something would be painted or erased; the sentence above it says what will be left out.

    Parameters
    ----------
    taken : label values that a new class must not get, beside those of `classes`.
    """

    def __init__(
        self,
        path: Path,
        slide: str,
        outlines: Outlines,
        classes: Sequence[LabelClass],
        parent: QWidget | None = None,
        taken: Collection[int] = (),
    ) -> None:
        from ..engine.labels.exchange import class_mapping

        super().__init__("Import annotations", parent)
        self.boxes: dict[str, QComboBox] = {}
        self.marks = [outline for outline in outlines if outline.mark]
        outlines = [outline for outline in outlines if not outline.mark]
        self._classes = list(classes)
        self._taken = taken
        self._colors = {outline.class_name: outline.color for outline in reversed(outlines)}
        self._mapping = class_mapping(outlines, classes)
        counts = self._counts = count_classes(outlines)
        self.head = QLabel(f"{_outlines(len(outlines))} from {shortened(path.name, 60)} into {shortened(slide, 60)}")
        self.head.setTextFormat(Qt.TextFormat.PlainText)
        self.head.setProperty("kind", "heading")
        self.head.setWordWrap(True)
        self.column.addWidget(self.head)
        self.doubt = QLabel()
        self.doubt.setTextFormat(Qt.TextFormat.PlainText)
        self.doubt.setProperty("kind", "warning")
        self.doubt.setWordWrap(True)
        self.doubt.hide()
        self.column.addWidget(self.doubt)
        if counts:
            self.column.addWidget(MutedLabel("Choose what each class of the file becomes on the slide.", wrap=True))
        self.column.addWidget(self._table(counts), 1)
        self.marks_box = QCheckBox(_marks_text(self.marks))
        self.marks_box.setChecked(True)
        self.marks_box.setVisible(bool(self.marks))
        self.marks_box.toggled.connect(lambda _: self._show())
        self.column.addWidget(self.marks_box)
        self.column.addWidget(self._origin_row())
        self.column.addWidget(self.origin_note)
        self.note = QLabel()
        self.note.setTextFormat(Qt.TextFormat.PlainText)
        self.note.setWordWrap(True)
        self.column.addWidget(self.note)
        buttons = self.add_buttons("Import", "Cancel")
        self.import_button = next(
            b for b in buttons.buttons() if buttons.buttonRole(b) == QDialogButtonBox.ButtonRole.AcceptRole
        )
        self._show()
        first = next((name for name in counts if self._mapping[name] == SKIP), "")
        if self.import_button.isEnabled():
            self.import_button.setFocus()
        elif first in self.boxes:
            self.boxes[first].setFocus()
        self.resize(theme.px(600), theme.px(220 + 37 * min(len(counts), ROOM_ROWS) + 36 * bool(self.marks)))

    def warn(self, sentence: str) -> None:
        """Show why this may be the wrong slide; "" for no doubt."""
        self.doubt.setText(sentence)
        self.doubt.setVisible(bool(sentence))

    def name_many(self, files: int, slides: int) -> None:
        """Say that the outlines come from several files and go to the slides of their names."""
        count = _outlines(sum(self._counts.values()))
        self.head.setText(
            f"{count} from {files:,} file{'' if files == 1 else 's'} into {slides:,} slide{'' if slides == 1 else 's'}"
        )

    def offer_origin(self, guess: Origin) -> None:
        """Let the user say where the coordinates begin: the slide has a bounds box that is not the whole slide."""
        self.origin_box.setCurrentIndex(self.origin_box.findData(guess))
        self._show_origin(guess == "bounds")
        self.origin_row.show()
        self.origin_note.show()
        self.resize(self.width(), self.height() + theme.px(110))

    def origin(self) -> Origin | None:
        """Return where the coordinates begin, None where there was no question."""
        return self.origin_box.currentData() if self.origin_row.isVisibleTo(self) else None

    def with_marks(self) -> bool:
        """Whether points, lines and regions of interest are added as marks."""
        return bool(self.marks) and self.marks_box.isChecked()

    def _origin_row(self) -> QWidget:
        self.origin_row = QWidget()
        grid = QGridLayout(self.origin_row)
        grid.setContentsMargins(0, 0, 0, 0)
        self.origin_box = QuietComboBox()
        self.origin_box.addItem("The corner of the whole slide", "slide")
        self.origin_box.addItem("The bounds box (QuPath's origin)", "bounds")
        self.origin_box.setAccessibleName("Coordinates begin at")
        label = QLabel("Coordinates begin at")
        label.setBuddy(self.origin_box)
        self.origin_note = MutedLabel(wrap=True)
        self.origin_note.hide()
        grid.addWidget(label, 0, 0)
        grid.addWidget(self.origin_box, 0, 1)
        grid.setColumnStretch(1, 1)
        self.origin_row.hide()
        return self.origin_row

    def _show_origin(self, guessed: bool) -> None:
        text = "This slide has a bounds box: QuPath counts from its corner, ASAP and Opsin from the corner of the whole slide."
        if guessed:
            text = f"{text} Read from the whole slide's corner, the outlines would miss the tissue."
        self.origin_note.setText(text)

    def _table(self, counts: dict[str, int]) -> QScrollArea:
        inside = QWidget()
        grid = QGridLayout(inside)
        grid.setContentsMargins(0, 0, theme.PAD if len(counts) > ROOM_ROWS else 0, 0)
        grid.setVerticalSpacing(theme.GAP)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        grid.addWidget(heading("In the file"), 0, 0, 1, 2)
        grid.addWidget(heading("Outlines"), 0, 2, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(heading("Becomes"), 0, 3)
        for row, (name, count) in enumerate(counts.items(), start=1):
            color = QLabel()
            color.setPixmap(_swatch(self._colors[name]).pixmap(_size()))
            label = QLabel()
            label.setTextFormat(Qt.TextFormat.PlainText)
            full = shortened(name, 200) or "Without a class"
            text = label.fontMetrics().elidedText(full, Qt.TextElideMode.ElideMiddle, theme.px(220))
            label.setText(text)
            label.setToolTip(html.escape(full) if text != full else "")
            box = self.boxes[name] = self._box(name)
            label.setBuddy(box)
            grid.addWidget(color, row, 0)
            grid.addWidget(label, row, 1)
            grid.addWidget(QLabel(f"{count:,}"), row, 2, right)
            grid.addWidget(box, row, 3)
        grid.setHorizontalSpacing(theme.PAD)
        grid.setColumnMinimumWidth(1, theme.px(150))
        grid.setColumnStretch(3, 1)
        grid.setRowStretch(len(counts) + 1, 1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(inside)
        return scroll

    def _box(self, name: str) -> QComboBox:
        box, blank = QuietComboBox(), QIcon(_picture())  # blank: so that all texts begin at the same place
        box.setIconSize(_size())
        box.setMinimumContentsLength(12)
        for item in self._classes:
            box.addItem(_swatch(item.color), item.name, item.value)
        box.insertSeparator(box.count())
        if name.strip() and all(item.name.casefold() != name.strip().casefold() for item in self._classes):
            box.addItem(_swatch(self._colors[name]), f"New class '{shortened(name, 24)}'", NEW)
        box.addItem(blank, "Leave out", SKIP)
        box.addItem(blank, "Erase what is labelled there", CLEAR)
        target = self._mapping[name]
        box.setCurrentIndex(box.findData(target.value if isinstance(target, LabelClass) else target))
        box.setAccessibleName(f"{shortened(name) or 'Without a class'} becomes")
        box.currentIndexChanged.connect(lambda _: self._show())
        return box

    def _show(self) -> None:
        """Say what will happen, and let nobody press Import for nothing."""
        left = [name for name, box in self.boxes.items() if box.currentData() == SKIP]
        nothing = len(left) == len(self.boxes) and not self.with_marks()
        self.import_button.setEnabled(not nothing)
        if nothing:
            text = "Nothing would be imported yet: choose what the outlines become."
        elif left:
            text = f"Left out: {quoted(left)}. The import is one step of Undo."
        else:
            text = "The import is one step of Undo."
        guess = self._guessed()
        if guess is not None:
            text = f"The outlines say no class and are taken for '{guess}': change that if they mean something else. {text}"
        self.note.setText(text)
        self.note.setProperty("kind", "warning" if nothing else "muted")
        self.note.style().polish(self.note)

    def _guessed(self) -> str | None:
        """Name of the class that outlines without a class become by a guess that the user has not changed."""
        for name, box in self.boxes.items():
            target = self._mapping[name]
            if (
                name.strip().casefold() in UNNAMED
                and isinstance(target, LabelClass)
                and box.currentData() == target.value
            ):
                return target.name
        return None

    def choices(self) -> dict[str, Target]:
        """Return class name in the file -> class (perhaps a new one), "clear" or "skip".

        `AnnotationError` when there is no room for that many new classes.
        """
        found: dict[str, Target] = mark_mapping(self.marks, self._classes)
        known = {item.value: item for item in self._classes}
        for name, box in self.boxes.items():
            value = box.currentData()
            if value == NEW:
                made = new_class(name, self._colors[name], list(known.values()), self._taken)
                found[name] = known[made.value] = made
            else:
                found[name] = known[value] if isinstance(value, int) else value
        return found


def _outlines(count: int) -> str:
    return "1 outline" if count == 1 else f"{count:,} outlines"


def _size() -> QSize:
    return QSize(theme.px(14), theme.px(14))


def _picture() -> QPixmap:
    picture = QPixmap(_size() * 2)
    picture.fill(Qt.GlobalColor.transparent)
    return picture


def _marks_text(marks: Sequence[Outline]) -> str:
    """What can be added beside labels, in words."""
    from ..engine.labels.mark_outlines import marks_of
    from ..engine.labels.marks import NAMES

    counts = Counter(mark.kind for mark in marks_of(marks, {}))
    plural = {"roi": "regions of interest"}
    texts = [
        f"1 {NAMES[kind]}" if count == 1 else f"{count:,} {plural.get(kind, NAMES[kind] + 's')}"
        for kind, count in counts.items()
    ]
    return f"Also add {', '.join(texts)}"


def _swatch(color: str) -> QIcon:
    """A square of a colour with a thin border, so that it is seen on light and dark ground."""
    picture = _picture()
    side = picture.width()
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(theme.colors().control), 2))
    painter.setBrush(QColor(color))
    painter.drawRoundedRect(1, 1, side - 2, side - 2, 4, 4)
    painter.end()
    return QIcon(picture)
