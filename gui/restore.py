"""Restore a backup: what copies there are, of when, and the way back to one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDialogButtonBox, QHeaderView, QLabel, QTreeWidget, QTreeWidgetItem, QWidget

from ..engine.backups import Backup, all_backups, backups, restore
from ..engine.errors import DamagedError
from ..engine.labels.readers import readers
from ..widgets.background import in_background
from ..widgets.texts import MutedLabel
from .dialogs import Sheet
from .opening import DATABASE

if TYPE_CHECKING:
    from .window import MainWindow

BACKUP = Qt.ItemDataRole.UserRole


class RestoreDialog(Sheet):
    """The copies, by file. Signal `chosen(object)`: the `Backup` to go back to."""

    chosen = Signal(object)

    def __init__(self, head: str, copies: Mapping[str, Sequence[Backup]], parent: QWidget | None = None) -> None:
        super().__init__("Restore a backup", parent)
        label = QLabel(head)
        label.setWordWrap(True)
        self.column.addWidget(label)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(["What", "Size"])
        self.tree.setAccessibleName("Backups")
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.tree.header().setStretchLastSection(False)
        self.tree.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        for name, found in copies.items():
            top = QTreeWidgetItem(self.tree, [name])
            font = top.font(0)
            font.setBold(True)
            top.setFont(0, font)
            top.setExpanded(True)
            for backup in found:
                text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(backup.time))
                row = QTreeWidgetItem(
                    top, [text + (", put aside by a restore" if backup.kept else ""), _size(backup.size)]
                )
                row.setData(0, BACKUP, backup)
                row.setToolTip(0, str(backup.path))
        self.column.addWidget(self.tree, 1)
        self.column.addWidget(MutedLabel("The present state is kept as one more backup.", wrap=True))
        box = self.add_buttons("Restore", "Cancel")
        self.accept_button = next(
            b for b in box.buttons() if box.buttonRole(b) == QDialogButtonBox.ButtonRole.AcceptRole
        )
        self.accept_button.setEnabled(False)
        self.tree.currentItemChanged.connect(lambda *_: self.accept_button.setEnabled(self.backup() is not None))
        self.accepted.connect(lambda: self.chosen.emit(self.backup()))
        if len(copies) == 1:
            self.tree.setCurrentItem(self.tree.topLevelItem(0).child(0))
        self.take(560, 440)

    def backup(self) -> Backup | None:
        """Return the copy that is chosen."""
        item = self.tree.currentItem()
        return item.data(0, BACKUP) if item is not None else None


class Restoring:
    """Offers the copies of the open workspace, or of a file that is damaged, and goes back to the one chosen."""

    def __init__(self, window: MainWindow) -> None:
        self.window = window

    def ask(self) -> None:
        """Show all copies of the files of the open workspace."""
        window = self.window
        workspace = window.workspace
        if workspace is None:
            return

        def look() -> dict[str, list[Backup]]:
            names = {
                workspace.label_path(item.id, reader.id): item.name + (f" by {reader.name}" if reader.id else "")
                for item in workspace.items()
                for reader in readers(workspace)
            }
            found = all_backups(workspace.folder) | all_backups(workspace.folder / "labels")
            return {
                "Slide list, slide labels, classes, settings"
                if path.name == DATABASE
                else f"Labels of {names[path]}": copies
                for path, copies in sorted(
                    found.items(), key=lambda pair: (pair[0].name != DATABASE, names.get(pair[0], ""))
                )
                if path.name == DATABASE or path in names
            }

        def show(copies: dict[str, list[Backup]]) -> None:
            if not copies:
                window.messages.info(
                    "There are no backups of this workspace yet; one is made of what changes, every hour."
                )
                return
            self._show("Choose what to go back to. The workspace is closed and opened again.", copies, workspace.folder)

        in_background(look, done=show, failed=window.messages.error, owner=window)

    def failed(self, error: BaseException) -> None:
        """Show an error; where a damaged file can be restored, offer that."""
        window = self.window
        window.messages.error(error)
        if not isinstance(error, DamagedError) or not backups(error.path):
            return
        of_list = error.path.name == DATABASE
        folder = error.path.parent if of_list else error.path.parent.parent
        what = "The slide list of this workspace" if of_list else "The labels of this slide"
        head = f"{what} cannot be read: the file {error.path.name} is damaged. Choose the state to go back to."
        self._show(head, {error.path.name: backups(error.path)}, folder)

    def _show(self, head: str, copies: Mapping[str, Sequence[Backup]], folder: Path) -> None:
        dialog = RestoreDialog(head, copies, self.window)
        dialog.chosen.connect(lambda backup: self.restore(backup, folder))
        self.window.show_dialog(dialog)

    def restore(self, backup: Backup, folder: Path) -> None:
        """Close the workspace in `folder`, put the copy in its file's place in the background, and open it again."""
        window = self.window
        if window.workspace is not None and not window.close_workspace():
            return
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(backup.time))

        def done(_: Path) -> None:
            if window.open_workspace(folder, create=False):
                window.messages.success(f"The state of {when} is back; the one before is kept as a backup.")

        def failed(error: BaseException) -> None:
            window.messages.error(error)
            if backup.source.name != DATABASE:
                window.open_workspace(folder, create=False)

        in_background(restore, backup, done=done, failed=failed, owner=window)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.0f} kB"
