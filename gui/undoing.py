"""Undo where the user is: in the slide list what was said of slides, elsewhere the newest step of that and of what was painted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QApplication, QMenu, QMenuBar, QWidget

from ..engine.errors import OpsinError

if TYPE_CHECKING:
    from .window import MainWindow

LONGEST = 60
SHOWN = 4000  # milliseconds that the status bar says what was undone
WORDS = {"undo": "undone", "redo": "done again"}


class Undoing(QObject):
    """Knows where the focus was last, and undoes there.

    Attributes
    ----------
    in_list : the workspace's edits alone are undone, not the labels'.
    by_itself : the focus went to the list only because what had it was hidden (the start page).
    """

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window = window
        self.in_list = False
        self.by_itself = False
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.focusChanged.connect(self._focus_changed)

    def _focus_changed(self, old: QWidget | None, now: QWidget | None) -> None:
        room = self.window.room
        if now is None or room is None or isinstance(now, QMenu | QMenuBar) or now.window() is not self.window:
            return
        here = room.slides is now or room.slides.isAncestorOf(now)
        self.by_itself = here and old is not None and not old.isVisible()
        if here and (old is None or self.by_itself):
            return  # the window came to the front, or what had the focus was hidden: nobody chose the list
        if here != self.in_list:
            self.in_list = here
            self.window.book.refresh()

    def undo(self) -> None:
        """Take the last step back."""
        self._step("undo")

    def redo(self) -> None:
        """Make the step again that was taken back last."""
        self._step("redo")

    def of_slides(self, need: str) -> bool:
        """Return whether what was said of slides is undone (redone) next, not what was painted: the newest step of both.

        In the list of slides always; redo goes forward, so it takes the older one of the two that were taken back.
        """
        workspace, labels = self.window.workspace, self.window.model.labels
        if workspace is None or self.in_list:
            return self.in_list
        try:
            said = workspace.edits.undo_time if need == "undo" else workspace.edits.redo_time
        except OpsinError:
            return False
        painted = None
        if labels is not None and self.window.item is not None and not labels.readonly:
            painted = labels.undo_time if need == "undo" else labels.redo_time
        if said is None or painted is None:
            return said is not None
        return said > painted if need == "undo" else said < painted

    def _step(self, verb: str) -> None:
        window = self.window
        if not self.of_slides(verb):
            text = self._what(verb)
            getattr(window.commands.room.annotations, verb)()
            if text:
                window.statusBar().showMessage(f"{WORDS[verb].capitalize()}: {text[:1].lower()}{text[1:]}.", SHOWN)
            return
        if window.workspace is None:
            return
        try:
            text = window.workspace.undo_edit() if verb == "undo" else window.workspace.redo_edit()
        except OpsinError as error:
            window.messages.error(error)
            return
        if text:
            window.messages.info(f"{WORDS[verb].capitalize()}: {text}.")

    def lacking(self, need: str) -> str:
        """Return why there is nothing to undo or redo of what was said of slides."""
        return "" if self._what(need) else f"Nothing that was said of slides can be {WORDS[need]}."

    def text(self, need: str) -> str:
        """Return the text of the menu entry: it names what it does."""
        what = self._what(need)
        what = what if len(what) <= LONGEST else f"{what[:LONGEST]}…"
        return f"{need.capitalize()} {what[:1].lower()}{what[1:]}" if what else need.capitalize()

    def _what(self, need: str) -> str:
        workspace, labels = self.window.workspace, self.window.model.labels
        if self.of_slides(need):
            if workspace is None:
                return ""
            try:
                return workspace.edits.undo_text if need == "undo" else workspace.edits.redo_text
            except OpsinError:
                return ""
        if labels is None or self.window.item is None:
            return ""
        return str(labels.undo_text if need == "undo" else labels.redo_text)
