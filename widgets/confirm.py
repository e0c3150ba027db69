"""A question before something is thrown away: one bold sentence, what it means, and buttons that say what they do."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QMessageBox, QPushButton, QWidget

from . import theme


class Question(QMessageBox):
    """A sheet over its parent; it answers by the signal ``buttonClicked`` and goes away by itself.

    Parameters
    ----------
    title : of the window.
    question : one sentence.
    meaning : what an answer leads to.
    icon : of `resources/icons`.
    """

    def __init__(self, title: str, question: str, meaning: str, parent: QWidget | None, icon: str = "warning") -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setText(question)
        self.setInformativeText(meaning)
        c = theme.colors()
        tint = {"warning": c.warning, "error": c.error}.get(icon, c.accent)
        self.setIconPixmap(theme.pixmap(icon, theme.px(28), tint))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        text = self.findChild(QLabel, "qt_msgbox_label")
        if text is not None:
            text.setProperty("kind", "section")
        more = self.findChild(QLabel, "qt_msgbox_informativelabel")
        if more is not None:
            more.setMinimumWidth(theme.px(320))

    def add(self, text: str, role: QMessageBox.ButtonRole, kind: str = "") -> QPushButton:
        """Add a button; `kind` is "danger", "primary" or "" for a plain one."""
        button = self.addButton(text, role)
        button.setProperty("kind", kind)
        button.style().unpolish(button)
        button.style().polish(button)
        return button

    def add_stay(self, text: str = "Cancel") -> QPushButton:
        """Add the button that changes nothing: Enter and Escape press it."""
        button = self.addButton(text, QMessageBox.ButtonRole.RejectRole)
        self.setDefaultButton(button)
        self.setEscapeButton(button)
        return button
