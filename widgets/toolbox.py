"""Tool buttons and brush size of the slide view, bound to a `SlideViewModel`."""

from __future__ import annotations

import math

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from . import theme
from .background import Relay
from .editors import inset
from .slide.model import BRUSH_UM, SlideViewModel
from .slide.toolset import TOOLSET

STEPS = 1000  # of the brush slider, which is logarithmic


class ToolBox(QWidget):
    """A row of tools and a row for the brush."""

    def __init__(self, model: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self._quiet = False
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.GAP)
        column.addLayout(self._tool_row())
        column.addLayout(self._brush_row())
        self._relays = [
            Relay(lambda _: self._show_tool(), model.events.tool, parent=self),
            Relay(
                lambda _: self._show_brush(), model.events.brush_um, model.events.mpp, model.events.slide, parent=self
            ),
        ]
        self.restyle()
        self._show_tool()
        self._show_brush()

    def _tool_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.TIGHT)
        self.tools: dict[str, QToolButton] = {}
        group = QButtonGroup(self)
        for info in TOOLSET:
            tool, name, help_text = info.name, info.title, info.help
            button = QToolButton()
            button.setCheckable(True)
            button.setToolTip(f"{name} ({info.key})\n{help_text}")
            button.setAccessibleName(name)
            button.setAccessibleDescription(help_text)
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda _=False, t=tool: setattr(self.model, "tool", t))
            group.addButton(button)
            row.addWidget(button)
            self.tools[tool] = button
        return row

    def _brush_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        label = QLabel("Brush")
        self.brush = QSlider(Qt.Orientation.Horizontal)
        self.brush.setRange(0, STEPS)
        self.brush.setSingleStep(10)
        self.brush.setPageStep(50)
        self.brush.setAccessibleName("Brush size")
        self.brush.setToolTip("Brush diameter on the tissue ([ and ])")
        self.brush_box = QDoubleSpinBox()
        self.brush_box.setRange(*BRUSH_UM)
        self.brush_box.setDecimals(1)
        self.brush_box.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.brush_box.setKeyboardTracking(False)
        self.brush_box.setAccessibleName("Brush diameter")
        label.setBuddy(self.brush_box)
        row.addWidget(label)
        row.addWidget(self.brush, 1)
        row.addWidget(self.brush_box)
        self.brush.valueChanged.connect(self._slide_brush)
        self.brush_box.valueChanged.connect(self._enter_brush)
        return row

    def restyle(self) -> None:
        """Take over icons and text size of the theme in use."""
        for tool, button in self.tools.items():
            button.setIcon(theme.icon(tool))
            button.setIconSize(QSize(theme.px(22), theme.px(22)))
            button.setMinimumHeight(theme.px(36))
        self.brush_box.setFixedWidth(theme.px(112))
        inset(self.brush_box)

    def _show_tool(self) -> None:
        self.tools[self.model.tool].setChecked(True)

    def _show_brush(self) -> None:
        self._quiet = True
        known = self.model.mpp or self.model.slide is None
        self.brush.setToolTip(
            "Brush diameter on the tissue ([ and ])"
            if known
            else "Brush diameter in pixels of the slide, whose resolution is unknown ([ and ])"
        )
        self.brush_box.setSuffix(" µm" if known else " px")
        self.brush_box.setValue(self.model.brush_um)
        self.brush.setValue(size_to_step(self.model.brush_um))
        self._quiet = False

    def _slide_brush(self, step: int) -> None:
        if not self._quiet:
            self.model.brush_um = step_to_size(step)

    def _enter_brush(self, size: float) -> None:
        if not self._quiet:
            self.model.brush_um = size


def size_to_step(size: float) -> int:
    """Return the slider's place of a brush size."""
    low, high = (math.log(value) for value in BRUSH_UM)
    return round((math.log(min(max(size, BRUSH_UM[0]), BRUSH_UM[1])) - low) / (high - low) * STEPS)


def step_to_size(step: int) -> float:
    """Return the brush size at a place of the slider, with two digits that count."""
    low, high = (math.log(value) for value in BRUSH_UM)
    return float(f"{math.exp(low + step / STEPS * (high - low)):.2g}")
