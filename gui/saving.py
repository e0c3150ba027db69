"""When labels cannot be saved (a full disk, a lost share): say so once, keep trying, and say when all is safe again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMessageBox

from ..engine.errors import OpsinError
from ..widgets.confirm import Question

if TYPE_CHECKING:
    from .window import MainWindow

RETRY_MS = 3000


class Saving:
    """Watches the label stores of the window's workspace from the first failure on until all edits are on disk.

    Attributes
    ----------
    sentence : why labels are not saved at the moment; empty while all is well.
    """

    def __init__(self, window: MainWindow) -> None:
        self.window = window
        self.sentence = ""
        self.timer = QTimer(window)
        self.timer.setInterval(RETRY_MS)
        self.timer.timeout.connect(self.try_again)

    def failed(self, sentence: str) -> None:
        """Take a sentence from the slide view: about labels that cannot be saved, or about something else."""
        labels = self.window.model.labels
        if labels is None or labels.problem is None:
            self.window.messages.failed(sentence)
            return
        self._say(labels.problem)
        self.timer.start()

    def try_again(self) -> None:
        """Look how it went since the last time, and try again where something still waits."""
        workspace = self.window.workspace
        problems = workspace.unsaved() if workspace is not None else {}
        if problems:
            found = next((problem for problem in problems.values() if problem), "")
            if found:
                self._say(found)
            if workspace is not None:
                workspace.retry()
            return
        self.timer.stop()
        if self.sentence:
            self.window.banners.withdraw(self.sentence)
            self.sentence = ""
            if workspace is not None:
                self.window.messages.success("All labels are saved again.")
                labels = self.window.model.labels
                self.window.status.show_saved(labels.last_saved if labels is not None else None)

    def flushed(self) -> bool:
        """Wait until all labels are on disk; False, and a message, when they cannot be written."""
        try:
            if self.window.workspace is not None:
                self.window.workspace.flush()
        except OpsinError as error:
            self._say(str(error))
            self.timer.start()
            return False
        return True

    def may_close(self) -> bool:
        """The same before the window closes: asks, without blocking, what to do when labels cannot be written."""
        if self.flushed():
            return True
        box = Question("Close Opsin", "Some labels are not saved yet.", self.sentence, self.window)
        again = box.add("Try again", QMessageBox.ButtonRole.AcceptRole)
        lose = box.add("Close without them", QMessageBox.ButtonRole.DestructiveRole, "danger")
        box.add_stay("Stay")

        def answer(button: object) -> None:
            if button is again:
                self.window.close()
            elif button is lose:
                self.window.finish("stop")

        box.buttonClicked.connect(answer)
        self.window.show_dialog(box)
        return False

    def _say(self, sentence: str) -> None:
        self.window.status.show_unsaved()
        if sentence != self.sentence:
            self.window.banners.withdraw(self.sentence)
            self.sentence = sentence
            self.window.messages.failed(sentence)
