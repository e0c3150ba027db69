"""The dialog before an export: format, slides, and where coordinates begin; and the sheet that shows how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QGridLayout, QLabel, QProgressBar, QPushButton, QWidget

from ..engine.labels.formats import FORMATS, ORIGIN, Format, Options
from ..widgets import theme
from ..widgets.editors import QuietComboBox, inset
from ..widgets.texts import ElidedLabel, MutedLabel
from .dialogs import Sheet

if TYPE_CHECKING:
    from ..engine.labels.shapes import Origin

THIS, SELECTED, ALL = "this", "selected", "all"


class ExportDialog(Sheet):
    """What is exported and how. Enter asks for the file, or the folder where there are many.

    Parameters
    ----------
    slide : name of the open slide, "" for none with labels. selected, labelled : how many slides are selected, and how many
        have labels at all.
    cropped : whether the open slide has a bounds box that is not the whole slide; None = not known.
    """

    def __init__(
        self, slide: str, selected: int, labelled: int, cropped: bool | None, parent: QWidget | None = None
    ) -> None:
        super().__init__("Export annotations", parent)
        self._cropped = cropped
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.WIDE)
        grid.setVerticalSpacing(theme.PAD)
        grid.setColumnStretch(1, 1)
        self._grid, self._labels = grid, dict[QWidget, QLabel]()
        self.format = QuietComboBox()
        for item in FORMATS:
            self.format.addItem(item.title, item.name)
        self.slides = QuietComboBox()
        if slide:
            self.slides.addItem(f"The open slide, {slide}", THIS)
        if selected > 1:
            self.slides.addItem(f"The {selected:,} selected slides", SELECTED)
        self.slides.addItem(f"All slides with labels ({labelled:,})", ALL)
        self.origin = QuietComboBox()
        self.origin.addItem("Begin at the corner of the whole slide", "slide")
        self.origin.addItem("QuPath's origin: begin at the bounds box", "bounds")
        self.simplify = QDoubleSpinBox()
        self.simplify.setRange(0.0, 100.0)
        self.simplify.setDecimals(1)
        self.simplify.setSingleStep(0.5)
        self.simplify.setSpecialValueText("Exact, along pixel edges")
        self.simplify.setPrefix("Drop points, off by at most ")
        self.simplify.setSuffix(" px")
        inset(self.simplify)
        self.runs = QCheckBox("Run lengths in place of polygons (exact to the pixel)")
        self.marks = QCheckBox("Also markers, rulers, measured areas and regions of interest")
        self.marks.setChecked(True)
        self.inside = QCheckBox("Only what lies inside the regions of interest, where a slide has any")
        self.numbered = QCheckBox("Name the files by number, not by slide")
        self.numbered.setToolTip("Names of slides may tell who the patient is.")
        self.about = MutedLabel(wrap=True)
        self._row("Format", self.format)
        grid.addWidget(self.about, grid.rowCount(), 1)
        self._row("Slides", self.slides)
        self._row("Coordinates", self.origin)
        self._row("Outlines", self.simplify)
        for box in (self.runs, self.marks, self.inside, self.numbered):
            grid.addWidget(box, grid.rowCount(), 1)
        self.column.addLayout(grid)
        self.note = MutedLabel(wrap=True)
        self.column.addWidget(self.note)
        self.column.addStretch(1)
        self.add_buttons("Export…", "Cancel")
        for combo in (self.format, self.slides, self.origin):
            combo.currentIndexChanged.connect(lambda _: self._show())
        self.setMinimumWidth(theme.px(580))
        self._show()
        self.format.setFocus()

    def _row(self, text: str, editor: QWidget) -> None:
        label = QLabel(text)
        label.setBuddy(editor)
        editor.setAccessibleName(text)
        row = self._grid.rowCount()
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(editor, row, 1)
        self._labels[editor] = label

    @property
    def chosen_format(self) -> Format:
        return FORMATS[self.format.currentIndex()]

    @property
    def many(self) -> bool:
        return self.slides.currentData() != THIS

    @property
    def chosen_origin(self) -> Origin:
        return self.origin.currentData() if self._offers_origin() else "slide"

    @property
    def options(self) -> Options:
        """The choices that the format has."""
        vector = not self.chosen_format.raster
        return Options(
            tolerance=self.simplify.value() if vector else 0.0,
            runs=self.runs.isChecked() and self.chosen_format.name == "coco",
            marks=self.marks.isChecked(),
            inside=self.inside.isChecked(),
        )

    def _offers_origin(self) -> bool:
        return self.chosen_format.has_origin and (self.many or self._cropped is not False)

    def _show(self) -> None:
        """Offer what the format can, and say what will be written."""
        kind = self.chosen_format
        self.about.setText(kind.help)
        for editor, shown in ((self.origin, self._offers_origin()), (self.simplify, not kind.raster)):
            editor.setVisible(shown)
            self._labels[editor].setVisible(shown)
        self.runs.setVisible(kind.name == "coco")
        self.marks.setVisible(kind.name in ("geojson", "asap"))
        self.numbered.setVisible(self.many)
        if kind.raster:
            text = "One pixel of the file is one full-resolution (level-0) pixel of the whole slide."
        elif self.chosen_origin == "bounds":
            text = (
                "Coordinates are full-resolution (level-0) pixels; (0, 0) is the upper left corner of the bounds box to which "
                "QuPath crops some slides. Slides without such a box are written as usual."
            )
        else:
            text = ORIGIN
        self.note.setText(f"{text} The file says so too. It holds no path, patient or picture.")
        self.fit(580)


class ProgressSheet(Sheet):
    """How far an export or import is. Signals: `cancelled()`."""

    cancelled = Signal()

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(title, parent)
        self.what = ElidedLabel()
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(title)
        self.column.addWidget(self.what)
        self.column.addWidget(self.bar)
        box = self.add_buttons(dismiss="Cancel")
        self.cancel_button: QPushButton = box.buttons()[0]
        self.rejected.connect(self.cancelled)
        self.fit(440)

    def show_progress(self, share: float, text: str) -> None:
        self.bar.setValue(round(1000 * share))
        self.what.set_text(text)
