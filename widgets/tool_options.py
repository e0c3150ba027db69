"""What can be set for tools: brush, wand, regions, what painting may change, what the pen does."""

from __future__ import annotations

import math

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from . import theme
from .background import Relay
from .editors import inset
from .slide.model import BRUSH_UM, SlideViewModel
from .slide.toolset import tool_info

STEPS = 1000  # of the brush slider, which is logarithmic
WAND = (1.0, 100.0)


def spin_box(low: float, high: float, name: str, decimals: int = 1) -> QDoubleSpinBox:
    """Return a field for a number that steps by a tenth of itself."""
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setDecimals(decimals)
    box.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
    box.setKeyboardTracking(False)
    box.setAccessibleName(name)
    return box


class ToolOptions(QWidget):
    """Rows below the tool buttons; those of the wand and of regions are there while their tools are.

    Signals
    -------
    region_edit(str) : "grow", "shrink" or "fill_holes" was pressed, for the region that was picked or is in the middle.
    """

    region_edit = Signal(str)

    def __init__(self, model: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self._quiet = False
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.GAP)
        column.addLayout(self._brush_row())
        self.wand_row, self.region_row = self._wand_row(), self._region_row()
        column.addWidget(self.wand_row)
        column.addWidget(self.region_row)
        switches = QHBoxLayout()
        switches.setSpacing(theme.GAP)
        self.only_unlabelled = self._switch(
            "Only on unlabelled", "only_unlabelled", "Painting changes no pixel that has a label already"
        )
        self.pen_pressure = self._switch(
            "Pen pressure", "pen_pressure", "The harder a pen is pressed, the larger the brush and the eraser"
        )
        for box in (self.only_unlabelled, self.pen_pressure):
            switches.addWidget(box)
        switches.addStretch(1)
        column.addLayout(switches)
        events = model.events
        self._relays = [
            Relay(lambda _: self._show_rows(), events.tool, parent=self),
            Relay(lambda _: self._show(), events.brush_um, events.mpp, events.slide, events.wand_tolerance,
                  events.grow_um, events.only_unlabelled, events.pen_pressure, parent=self),
        ]  # fmt: skip
        self.restyle()
        self._show_rows()
        self._show()

    # ---- building

    def _brush_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        label = QLabel("Brush")
        self.brush = QSlider(Qt.Orientation.Horizontal)
        self.brush.setRange(0, STEPS)
        self.brush.setSingleStep(10)
        self.brush.setPageStep(50)
        self.brush.setAccessibleName("Brush size")
        self.brush_box = spin_box(*BRUSH_UM, "Brush diameter")
        label.setBuddy(self.brush_box)
        row.addWidget(label)
        row.addWidget(self.brush, 1)
        row.addWidget(self.brush_box)
        self.brush.valueChanged.connect(lambda step: self._take("brush_um", step_to_size(step)))
        self.brush_box.valueChanged.connect(lambda size: self._take("brush_um", size))
        return row

    def _wand_row(self) -> QWidget:
        place = QWidget()
        row = QHBoxLayout(place)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.GAP)
        label = QLabel("Tolerance")
        self.wand = QSlider(Qt.Orientation.Horizontal)
        self.wand.setRange(round(WAND[0]), round(WAND[1]))
        self.wand.setAccessibleName("Tolerance of the wand")
        self.wand_box = spin_box(*WAND, "Tolerance of the wand, number")
        label.setBuddy(self.wand_box)
        tip = "Colour difference up to which places are alike: 2 can just be seen, black and white are 100 apart"
        for widget in (self.wand, self.wand_box):
            widget.setToolTip(tip)
        row.addWidget(label)
        row.addWidget(self.wand, 1)
        row.addWidget(self.wand_box)
        self.wand.valueChanged.connect(lambda value: self._take("wand_tolerance", float(value)))
        self.wand_box.valueChanged.connect(lambda value: self._take("wand_tolerance", value))
        return place

    def _region_row(self) -> QWidget:
        place = QWidget()
        row = QHBoxLayout(place)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.TIGHT)
        self.region_buttons: dict[str, QPushButton] = {}
        for call, text, tip in (
            ("grow", "Grow", "Make the picked region larger all around (Shift+G)"),
            ("shrink", "Shrink", "Make the picked region smaller all around (Shift+S)"),
            ("fill_holes", "Fill holes", "Fill what is unlabelled inside the picked region (Shift+H)"),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, c=call: self.region_edit.emit(c))
            self.region_buttons[call] = button
        label = QLabel("by")
        self.grow_box = spin_box(0.1, 5000.0, "By how much regions grow and shrink")
        label.setBuddy(self.grow_box)
        for widget in (self.region_buttons["grow"], self.region_buttons["shrink"], label, self.grow_box):
            row.addWidget(widget)
        row.addStretch(1)
        row.addWidget(self.region_buttons["fill_holes"])
        self.grow_box.valueChanged.connect(lambda value: self._take("grow_um", value))
        return place

    def _switch(self, text: str, name: str, tip: str) -> QCheckBox:
        box = QCheckBox(text)
        box.setToolTip(tip)
        box.toggled.connect(lambda on: self._take(name, on))
        return box

    def restyle(self) -> None:
        """Take over the text size of the theme in use."""
        for box in (self.brush_box, self.wand_box, self.grow_box):
            box.setFixedWidth(theme.px(112 if box is not self.grow_box else 98))
            inset(box)

    # ---- model

    def _take(self, name: str, value: float | bool) -> None:
        if not self._quiet:
            setattr(self.model, name, value)

    def _show_rows(self) -> None:
        self.wand_row.setVisible(self.model.tool == "wand")
        self.region_row.setVisible(self.model.tool == "pick" or tool_info(self.model.tool).group == "region")

    def _show(self) -> None:
        model, self._quiet = self.model, True
        known = model.mpp or model.slide is None
        keys = "([ and ], or Alt and the wheel)"
        self.brush.setToolTip(
            f"Brush diameter on the tissue {keys}"
            if known
            else f"Brush diameter in pixels of the slide, whose resolution is unknown {keys}"
        )
        for box, value in ((self.brush_box, model.brush_um), (self.grow_box, model.grow_um)):
            box.setSuffix(" µm" if known else " px")
            box.setValue(value)
        self.brush.setValue(size_to_step(model.brush_um))
        self.wand_box.setValue(model.wand_tolerance)
        self.wand.setValue(round(model.wand_tolerance))
        self.only_unlabelled.setChecked(model.only_unlabelled)
        self.pen_pressure.setChecked(model.pen_pressure)
        self._quiet = False


def size_to_step(size: float) -> int:
    """Return the slider's place of a brush size."""
    low, high = (math.log(value) for value in BRUSH_UM)
    return round((math.log(min(max(size, BRUSH_UM[0]), BRUSH_UM[1])) - low) / (high - low) * STEPS)


def step_to_size(step: int) -> float:
    """Return the brush size at a place of the slider, with two digits that count."""
    low, high = (math.log(value) for value in BRUSH_UM)
    return float(f"{math.exp(low + step / STEPS * (high - low)):.2g}")
