"""Letters go to the list or box that has the focus: typing there searches it, whatever tool has that letter as its key."""

from __future__ import annotations

import time

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QApplication, QComboBox

from ..widgets.workspace import SlideListView


class Letters(QObject):
    """Watches all keys before they become shortcuts.

    Any sign that is typed goes to a box of choices or the list of slides; to other lists letters go, and other signs while a
    name is being typed. Shift and a letter stay a shortcut in lists: searching does not tell capitals.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        self._application = application
        self._last: tuple[QObject | None, float] = (None, 0.0)
        application.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and self._is_typing(watched, event)
        ):
            self._last = (watched, time.monotonic())
            event.accept()
            return True
        return False

    def _is_typing(self, watched: QObject, event: QKeyEvent) -> bool:
        plain = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        text = event.text()
        if plain != Qt.KeyboardModifier.NoModifier or not text.isprintable() or not text.strip():
            return False
        if isinstance(watched, QComboBox):
            return not watched.isEditable()
        if not isinstance(watched, QAbstractItemView):
            return False
        if isinstance(watched, SlideListView) or text.isalpha():
            return True
        before, when = self._last
        return before is watched and time.monotonic() - when < self._application.keyboardInputInterval() / 1000
