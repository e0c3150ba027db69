"""Readers in the window: whose labels of the open slide are shown and painted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QInputDialog

from ..engine.errors import OpsinError
from ..engine.labels.readers import LONGEST, add_reader, readers
from ..widgets.background import Relay
from ..widgets.reader_box import ReaderBox
from .comparing import Comparing

if TYPE_CHECKING:
    from ..engine.workspace import Workspace
    from .room import Room
    from .window import MainWindow


class Readers(QObject):
    """Ties the row "Reader" of the Annotate tab to the workspace."""

    def __init__(self, window: MainWindow, room: Room) -> None:
        super().__init__(window)
        self.window = window
        self.box = ReaderBox(room.annotations)
        room.annotations.layout().insertWidget(0, self.box)
        self.box.chosen.connect(self.choose)
        self.box.add_asked.connect(self.ask_add)
        self.comparing = Comparing(self, room)
        room.annotations.layout().insertWidget(1, self.comparing.box)
        self.set_workspace(window.workspace)

    def set_workspace(self, workspace: Workspace | None) -> None:
        """Show the readers of another workspace: at work is who is called as the settings say, else whose labels count."""
        if workspace is None:
            self.show_readers()
            return
        known, name = readers(workspace), self.window.settings.reviewer_name.casefold()
        if workspace.reader is None:
            workspace.reader = next((r.id for r in known if r.name.casefold() == name), workspace.counting)
        self.show_readers()

    def show_readers(self) -> None:
        """Offer the readers as the workspace has them."""
        workspace = self.window.workspace
        known = readers(workspace) if workspace is not None else []
        self.box.show_readers(known, (workspace.reader or "") if workspace is not None else "")
        self.comparing.refresh()

    def choose(self, id: str) -> None:
        """Show and paint another reader's labels; place and zoom stay."""
        window, workspace, item = self.window, self.window.workspace, self.window.item
        if workspace is None:
            return
        try:
            labels = workspace.labels(item, id) if item is not None else None
        except OpsinError as error:
            window.messages.error(error)
            self.show_readers()
            return
        workspace.reader = id
        self.show_readers()
        if labels is None:
            return
        before, window.model.labels = window.model.labels, labels
        if window._store_relay is not None:
            window._store_relay.drop()
        window._store_relay = Relay(window._labels_changed, labels.changed, labels.saved, parent=window)
        if before is not None and before.readonly:
            before.close()
        window.model.mark = None
        window.book.refresh()

    def ask_add(self) -> None:
        """Ask for a name and add a reader, who is at work from then on."""
        dialog = QInputDialog(self.window)
        dialog.setWindowTitle("Add reader")
        dialog.setLabelText(f"Name of the reader (at most {LONGEST} letters):")
        dialog.textValueSelected.connect(self.add)
        self.window.show_dialog(dialog)

    def add(self, name: str) -> None:
        """Add a reader and let him work."""
        if self.window.workspace is None:
            return
        try:
            reader = add_reader(self.window.workspace, name)
        except OpsinError as error:
            self.window.messages.error(error)
            return
        self.choose(reader.id)
