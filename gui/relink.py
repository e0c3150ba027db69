"""Find moved files: a folder is searched for slides that are not where they were, and all that are found are set right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from ..engine.relink import Found, Missing, Progress, relink, search
from ..widgets import theme
from ..widgets.background import Task, in_background
from ..widgets.texts import ErrorLabel, MutedLabel
from .dialogs import Sheet

if TYPE_CHECKING:
    from ..engine.workspace import Workspace

HOW = {"name": "same name and content", "content": "other name, same content", "other": "same name, but another slide"}


class RelinkDialog(Sheet):
    """The dialog.

    Parameters
    ----------
    workspace : its slides are looked for. missing : those that are (see `engine.relink.missing`), at least one.
    start : folder that the folder dialog begins with.

    Signals
    -------
    relinked(int) : so many slides were set right.
    """

    relinked = Signal(int)

    def __init__(
        self, workspace: Workspace, missing: Sequence[Missing], start: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__("Find moved files", parent)
        self.workspace = workspace
        self.missing = list(missing)
        self.found: dict[str, Path] = {}
        self._start = start
        self._task: Task | None = None
        count = "1 slide file is" if len(self.missing) == 1 else f"{len(self.missing)} slide files are"
        head = QLabel(
            f"{count} not where the workspace says. Choose a folder: it is searched with all folders below it."
        )
        head.setWordWrap(True)
        self.column.addWidget(head)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(["Slide", "Where it was, and where it was found"])
        self.tree.setAccessibleName("Missing slides")
        self.tree.setRootIsDecorated(False)
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self._rows: dict[str, QTreeWidgetItem] = {}
        for entry in self.missing:
            row = QTreeWidgetItem(self.tree, [entry.item.name, entry.reason])
            row.setToolTip(0, entry.item.name)
            row.setToolTip(1, str(entry.path))
            row.setIcon(0, theme.icon("missing"))
            self._rows[entry.item.id] = row
        self.column.addWidget(self.tree, 1)
        line = QHBoxLayout()
        line.setSpacing(theme.GAP)
        self.choose = QPushButton("Choose folder…")
        self.choose.clicked.connect(self._choose)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.hide()
        self.state = MutedLabel("")
        line.addWidget(self.choose)
        line.addWidget(self.progress)
        line.addWidget(self.state, 1)
        self.column.addLayout(line)
        self.error = ErrorLabel()
        self.column.addWidget(self.error)
        box = self.add_buttons("Use what was found", "Close")
        self.accept_button = next(
            b for b in box.buttons() if box.buttonRole(b) == QDialogButtonBox.ButtonRole.AcceptRole
        )
        self.accept_button.setEnabled(False)
        self.finished.connect(lambda _: self.stop())
        self.choose.setFocus()
        self.take(720, 460)

    def _choose(self) -> None:
        if self._task is not None:
            self.stop()
            self.state.setText("Search stopped.")
            return
        folder = QFileDialog.getExistingDirectory(self, "Folder to search", self._start)
        if folder:
            self.search(Path(folder))

    def search(self, folder: Path) -> None:
        """Search a folder in the background; what was found before stays."""
        self.error.say("")
        left = [entry for entry in self.missing if entry.item.id not in self.found]
        self._task = in_background(
            search, folder, left, each=self._step, done=self._done, failed=self._failed, owner=self
        )
        self.choose.setText("Stop searching")
        self.progress.setRange(0, 0)
        self.progress.show()
        self.state.setText(f"Looking into {folder.name or folder}")

    def stop(self) -> None:
        """Give up a search under way."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.choose.setText("Choose folder…")
        self.progress.hide()

    def _step(self, step: Progress | Found) -> None:
        if isinstance(step, Progress):
            self.progress.setRange(0, step.total)
            self.progress.setValue(step.done)
            self.state.setText(step.text + (f": {step.done} of {step.total}" if step.total else f": {step.done}"))
            return
        row = self._rows[step.id]
        row.setText(1, f"{step.path} ({HOW[step.how]})")
        row.setToolTip(1, str(step.path))
        c = theme.colors()
        row.setForeground(1, QColor(c.warning if step.how == "other" else c.text))
        if step.how != "other":
            self.found[step.id] = step.path
            row.setIcon(0, theme.icon("check", c.accent))
            self.accept_button.setEnabled(True)
            self.accept_button.setText(
                f"Use the {len(self.found)} found" if len(self.found) > 1 else "Use what was found"
            )

    def _done(self, _: Any) -> None:
        self.stop()
        self.state.setText(f"{len(self.found)} of {len(self.missing)} found.")
        if self.found:
            self.accept_button.setFocus()

    def _failed(self, error: BaseException) -> None:
        self.stop()
        self.error.say(str(error))

    def accept(self) -> None:
        """Set right what was found, in the background, and close."""
        self.stop()
        self.setEnabled(False)
        in_background(relink, self.workspace, dict(self.found), done=self._relinked, failed=self._refused, owner=self)

    def _relinked(self, count: int) -> None:
        self.relinked.emit(count)
        super().accept()

    def _refused(self, error: BaseException) -> None:
        self.setEnabled(True)
        self.error.say(str(error))
