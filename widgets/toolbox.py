"""Tool buttons and what can be set for tools, bound to a `SlideViewModel`."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from . import theme
from .background import Relay
from .slide.model import SlideViewModel
from .slide.toolset import TOOLSET
from .tool_options import ToolOptions, size_to_step, step_to_size

__all__ = ["ToolBox", "size_to_step", "step_to_size"]

GROUPS = ("look", "paint", "region")  # in this order; then the others, as they come
COLUMNS = 8


class ToolBox(QWidget):
    """Rows of tools, and below them what can be set."""

    def __init__(self, model: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.GAP)
        column.addLayout(self._buttons())
        self.options = ToolOptions(model, self)
        self.brush, self.brush_box = self.options.brush, self.options.brush_box
        column.addWidget(self.options)
        self._relays = [Relay(lambda _: self._show_tool(), model.events.tool, parent=self)]
        self.restyle()
        self._show_tool()

    def _buttons(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(theme.TIGHT)
        self.tools: dict[str, QToolButton] = {}
        group = QButtonGroup(self)
        order = {name: place for place, name in enumerate(GROUPS)}
        for place, info in enumerate(sorted(TOOLSET, key=lambda tool: order.get(tool.group, len(order)))):
            button = QToolButton()
            button.setCheckable(True)
            button.setToolTip(f"{info.title} ({info.key})\n{info.help}")
            button.setAccessibleName(info.title)
            button.setAccessibleDescription(info.help)
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda _=False, t=info.name: setattr(self.model, "tool", t))
            group.addButton(button)
            grid.addWidget(button, place // COLUMNS, place % COLUMNS)
            self.tools[info.name] = button
        return grid

    def restyle(self) -> None:
        """Take over icons and text size of the theme in use."""
        for tool, button in self.tools.items():
            button.setIcon(theme.icon(tool))
            button.setIconSize(QSize(theme.px(20), theme.px(20)))
            button.setMinimumHeight(theme.px(34))
        self.options.restyle()

    def _show_tool(self) -> None:
        self.tools[self.model.tool].setChecked(True)
