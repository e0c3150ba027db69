"""Small texts with a role: heading, muted, error. One place, so that panels look alike."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QLabel, QSizePolicy, QWidget


def heading(text: str) -> QLabel:
    """Return a label that heads a group."""
    label = QLabel(text)
    label.setProperty("kind", "section")
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


class MutedLabel(QLabel):
    """A text that steps back: units, notes, times."""

    def __init__(self, text: str = "", wrap: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setProperty("kind", "muted")
        self.setWordWrap(wrap)


class ErrorLabel(QLabel):
    """One sentence about what is wrong; takes no room while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.setProperty("kind", "error")
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self.hide()

    def say(self, text: str) -> None:
        self.setText(text)
        self.setVisible(bool(text))


def rule() -> QFrame:
    """Return a thin horizontal line."""
    line = QFrame()
    line.setProperty("kind", "line")
    line.setFixedHeight(1)
    return line
