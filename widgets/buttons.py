"""Buttons with one of our line icons, which follow the theme."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QToolButton, QWidget

from .theme import ICON, icon, px, theme_changed


class IconButton(QToolButton):
    """A tool button with an icon and, where `text` is given, a text beside it.

    Parameters
    ----------
    name : of the icon in `resources/icons`.
    tip : tooltip; also what a screen reader says when there is no text.
    """

    def __init__(self, name: str, tip: str = "", text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name = name
        self.setToolTip(tip)
        self.setText(text)
        self.setAccessibleName(text or tip)
        if text:
            self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._tint()
        theme_changed().connect(self._tint)

    def _tint(self) -> None:
        self.setIcon(icon(self._name))
        self.setIconSize(QSize(px(ICON), px(ICON)))


class Disclosure(QToolButton):
    """A line with an arrow that shows and hides what stands below it; `toggled` says when."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setText(text)
        self.setCheckable(True)
        self.setProperty("kind", "disclosure")
        self.setArrowType(Qt.ArrowType.RightArrow)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggled.connect(self._turn)

    def _turn(self, shown: bool) -> None:
        self.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
