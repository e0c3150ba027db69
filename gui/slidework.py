"""Work with the list of slides: review, patients, moved files, the table of all; and what runs beside an open workspace."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from ..engine.errors import OpsinError
from ..widgets.background import in_background
from .patients import GuessPatientsDialog, PatientDialog

if TYPE_CHECKING:
    from ..engine.relink import Missing
    from ..engine.watching import BackupKeeper, Watcher
    from ..engine.workspace import Item, Workspace
    from .window import MainWindow


class SlideWork:
    """What the menus do with slides as a whole."""

    def __init__(self, window: MainWindow) -> None:
        self.window = window
        self.watcher: Watcher | None = None
        self.keeper: BackupKeeper | None = None

    # ---- beside an open workspace ---------------------------------------------------------------------------------

    def set_workspace(self, workspace: Workspace | None) -> None:
        """Watch another workspace (or none) for changes of other windows, and make backups of it."""
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher = None
        if self.keeper is not None:
            self.keeper.stop()
            self.keeper = None
        self.window.exchange.set_workspace(workspace)
        if workspace is None:
            return
        from ..engine.watching import BackupKeeper, Watcher

        workspace.reviewer = self.window.settings.reviewer_name
        try:
            self.watcher = Watcher(workspace)
            self.keeper = BackupKeeper(workspace)
        except OpsinError as error:
            self.window.messages.error(error)

    def set_item(self, item: Item | None) -> None:
        """Another slide is in the view: follow its labels where another window writes them, keep a copy where this one does."""
        labels = self.window.model.labels if item is not None else None
        if item is not None and self.window.commands.undoing.by_itself:
            self.window.commands.focus_view()
        if self.watcher is not None:
            self.watcher.follow(labels)
        if self.keeper is not None and labels is not None:
            self.keeper.look()

    def set_reviewer(self, name: str) -> None:
        """Take another name for reviews from here on."""
        self.window.settings.reviewer = name.strip()
        self.window.settings.save()
        if self.window.workspace is not None:
            self.window.workspace.reviewer = self.window.settings.reviewer_name

    # ---- review ---------------------------------------------------------------------------------------------------

    def set_review(self, state: str) -> None:
        """Say how far the selected slides, or the open one, are."""
        self.window.commands.room.slides.set_review(state, self.window.commands._ids())

    def next_to_do(self) -> None:
        """Open the next slide in the list that is not reviewed yet."""
        window = self.window
        slides = window.commands.room.slides
        other = slides.next_to_do(window.item.id if window.item is not None else None)
        if other is not None:
            window.open_item(other)
        elif any(entry.item.review != "reviewed" for entry in slides.rows.entries):
            window.messages.info("No other slide in the list as it is filtered is left to review.")
        else:
            window.messages.success("All slides are reviewed.")

    # ---- patients -------------------------------------------------------------------------------------------------

    def ask_patient(self, ids: list[str] | None = None) -> None:
        """Ask of which patient the selected slides, or the open one, are."""
        window = self.window
        ids = ids or window.commands._ids()
        if window.workspace is None or not ids:
            return
        items = window.workspace.items()
        known = sorted({item.patient for item in items if item.patient})
        dialog = PatientDialog([item for item in items if item.id in set(ids)], known, window)
        dialog.chosen.connect(window.commands.room.slides.set_patients)
        window.show_dialog(dialog)

    def guess_patients(self) -> None:
        """Read patients from slide names: of the slides that are selected in the list, else of all."""
        window = self.window
        if window.workspace is None:
            return
        items, selected = window.workspace.items(), set(window.commands.room.slides.selected())
        if len(selected) > 1:
            items = [item for item in items if item.id in selected]
        if not items:
            window.messages.info("There are no slides yet.")
            return
        dialog = GuessPatientsDialog(items, window)
        dialog.chosen.connect(window.commands.room.slides.set_patients)
        window.show_dialog(dialog)

    # ---- files ----------------------------------------------------------------------------------------------------

    def find_moved(self) -> None:
        """Look which slide files are missing, in the background; then offer to search for them."""
        window = self.window
        workspace = window.workspace
        if workspace is None:
            return
        from ..engine.relink import missing
        from .relink import RelinkDialog

        def show(found: list[Missing]) -> None:
            if window.workspace is not workspace:
                return
            if not found:
                window.messages.success("All slide files are where they should be.")
                return
            dialog = RelinkDialog(workspace, found, window.last_folder(), window)
            dialog.relinked.connect(self._relinked)
            window.show_dialog(dialog)

        in_background(missing, workspace, done=show, failed=window.messages.error, owner=window)

    def _relinked(self, count: int) -> None:
        self.window.messages.success("1 slide was found." if count == 1 else f"{count} slides were found.")
        slides = self.window.commands.room.slides
        if self.window.item is None and slides.selected():
            self.window.open_item(slides.selected()[0])

    def open_failed(self, id: str, error: BaseException) -> None:
        """Say why a slide could not be opened; offer the search where its file is missing, a backup where it is damaged."""
        window = self.window
        window.commands.restoring.failed(error)
        if window.workspace is None or not isinstance(error, OpsinError):
            return
        from ..engine.relink import why_missing

        with contextlib.suppress(OpsinError):
            if why_missing(window.workspace.slide_path(window.workspace.item(id))):
                self.find_moved()

    def ask_table(self) -> None:
        """Ask for a name and write the table of all slides."""
        window = self.window
        if window.workspace is None:
            return
        name = str(Path(window.last_folder()) / f"{window.workspace.folder.name} slides.csv")
        path, _ = QFileDialog.getSaveFileName(window, "Export slide table", name, "Tables (*.csv)")
        if path:
            window.remember_folder(Path(path).parent)
            self.export_table(Path(path) if Path(path).suffix else Path(path).with_suffix(".csv"))

    def export_table(self, path: Path) -> None:
        """Write the table of all slides in the background."""
        window = self.window
        if window.workspace is not None:
            in_background(
                window.workspace.write_slide_table, path, failed=window.messages.error, owner=window,
                done=lambda count: window.messages.success(
                    f"Wrote {count} slide{'' if count == 1 else 's'} to {path}."
                ),
            )  # fmt: skip
