"""The main window: start page or workspace, docks, what is open. What the menus do is in `commands.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QByteArray, QEvent, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QDialog, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from ..engine.errors import LabelError, OpsinError
from ..widgets import theme
from ..widgets.background import Relay, Task, finish_background, in_background
from ..widgets.slide.model import SlideViewModel
from .actions import ActionBook
from .commands import Commands
from .dialogs import ListDialog, ask_about_jobs
from .exchange import Exchange
from .keymap import Keys
from .looking import Looking
from .messages import BannerStack, Messages
from .opening import make_sample, plan, sample_folder, without_slides
from .reader_commands import ReaderCommands
from .saving import Saving
from .settings import AppSettings
from .start import Recent, StartPage
from .statusbar import StatusBar

if TYPE_CHECKING:
    from ..engine.workspace import Item, Workspace
    from .room import Room

MARKED_DELAY_MS = 1500


class MainWindow(QMainWindow):
    """The window.

    Parameters
    ----------
    messages : where everybody posts what the user should read.
    settings : of the application; the ones on disk when None.
    jobs : makes the job queue when the first workspace is opened; tests put their own here.
    """

    def __init__(
        self,
        messages: Messages | None = None,
        settings: AppSettings | None = None,
        jobs: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__()
        self.setObjectName("main")
        self.messages = messages or Messages(self)
        self.settings = settings or AppSettings.load()
        self.model = SlideViewModel()
        self.workspace: Workspace | None = None
        self.item: Item | None = None
        self.jobs: Any = None
        self.room: Room | None = None
        self._make_jobs = jobs or _job_queue
        self._relay: Relay | None = None
        self._store_relay: Relay | None = None
        self._ticket = 0
        self._sample: Task | None = None
        self._dialogs: list[QDialog] = []
        self._closing = False
        self.exchange = Exchange(self)
        self.saving = Saving(self)
        self.looking = Looking(self)
        self.readers = ReaderCommands(self)
        self.commands = Commands(self)
        self._marked_timer = QTimer(self)
        self._marked_timer.setSingleShot(True)
        self._marked_timer.setInterval(MARKED_DELAY_MS)
        self._marked_timer.timeout.connect(self._count_marked)
        self.setAcceptDrops(True)
        self.setWindowTitle("Opsin")
        self.setWindowIcon(theme.icon("opsin"))
        self.setMinimumSize(900, 560)
        self._build()
        self.book = ActionBook(self.commands, self)
        self.book.fill(self.menuBar())
        self.start.action_requested.connect(lambda id: self.book[id].trigger())
        self.keys = Keys(self)
        self._restore()
        self.show_start()

    # ---- building -----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        middle = QWidget()
        column = QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        self.stack = QStackedWidget()
        column.addWidget(self.stack, 1)
        self.banners = BannerStack(self.messages, middle)
        self.setCentralWidget(middle)
        self.start = StartPage()
        self.start.open_requested.connect(lambda folder: self.open_workspace(folder, create=False))
        self.start.forget_requested.connect(self._forget)
        self.start.cancel_requested.connect(self._cancel_sample)
        self.stack.addWidget(self.start)
        self.status = StatusBar(self.model)
        self.status.mpp_clicked.connect(self.commands.ask_mpp)
        self.setStatusBar(self.status)

    def _make_room(self) -> Room:
        """Make the room on first use: slide view, panels, job queue."""
        from .room import Room

        self.jobs = self._make_jobs()
        room = Room(self, self.jobs)
        room.reset()
        if self.settings.docks:
            QTimer.singleShot(0, lambda: room.set_widths(*self.settings.docks))  # after the first layout
        return room

    # ---- start page ---------------------------------------------------------------------------------------------

    def show_start(self) -> None:
        """Show the start page with the recent workspaces."""
        from ..engine.recent import recent_workspaces

        self.start.show_recent([Recent(Path(entry.folder), entry.opened) for entry in recent_workspaces()])
        self.stack.setCurrentWidget(self.start)
        self.status.hide()
        if self.room is not None:
            self.room.set_docks_visible(False)
        self._show_title()
        self.book.refresh()

    def _forget(self, folder: Path) -> None:
        from ..engine.recent import forget

        forget(folder)
        self.show_start()

    def make_sample(self, folder: Path | None = None) -> None:
        """Make the artificial slides in the background, then open their workspace."""
        if self._sample is not None:
            return
        target = folder or sample_folder()
        if self.workspace is not None:
            self.messages.info("Making a sample; it opens when it is ready.")
        self._sample = in_background(
            make_sample,
            target,
            each=lambda at: self.start.show_progress(*at),
            done=lambda _: self._sample_ready(target),
            failed=self._sample_failed,
            owner=self,
        )

    def _sample_ready(self, folder: Path) -> None:
        self._sample = None
        self.start.show_progress(0, 0, "")
        self.open_workspace(folder)

    def _sample_failed(self, error: BaseException) -> None:
        self._cancel_sample()
        self.messages.error(error)

    def _cancel_sample(self) -> None:
        if self._sample is not None:
            self._sample.cancel()
            self._sample = None
        self.start.show_progress(0, 0, "")

    # ---- workspace ----------------------------------------------------------------------------------------------

    def open_paths(self, paths: list[Path]) -> None:
        """Open whatever the paths are, by the rule of `opening.plan`."""
        from ..engine.workspace import Workspace

        wanted = plan(paths, self.workspace is not None)
        if wanted.slides and wanted.workspace is not None and not Workspace.is_workspace(wanted.workspace):
            reasons = [without_slides(path) for path in wanted.slides]
            if all(reasons):  # a workspace is not made for nothing
                self.messages.warning(reasons[0])
                return
        if wanted.workspace is not None and not self.open_workspace(wanted.workspace, show=not wanted.slides):
            return
        if wanted.slides:
            self.add_slides(wanted.slides)
        if wanted.annotations:
            self.exchange.take(wanted.annotations)

    def open_workspace(self, folder: Path, show: bool = True, create: bool = True) -> bool:
        """Open the workspace in `folder` and `show` its last slide; `create` it when there is none. False = failed."""
        from ..engine.recent import remember
        from ..engine.workspace import Workspace

        folder = Path(folder)
        if self.workspace is not None and self.workspace.folder == folder.resolve():
            return True
        if not self.close_workspace(start=False):
            return False
        try:
            self.workspace = Workspace.open_or_create(folder) if create else Workspace.open(folder)
            remember(self.workspace.folder)
        except (OpsinError, OSError) as error:
            self.commands.restoring.failed(error)
            self.show_start()
            return False
        if self.room is None:
            self.room = self._make_room()
        self._relay = Relay(self._workspace_changed, self.workspace.changed, parent=self)
        self.room.set_workspace(self.workspace)
        self.stack.setCurrentWidget(self.room.page)
        self.room.set_docks_visible(True)
        self.status.show()
        self._show_title()
        self.name_classes()
        self.book.refresh()
        QTimer.singleShot(0, self.status.show_device)
        if show:
            ids = [item.id for item in self.workspace.items()]
            last = self.workspace.setting("last_item")
            if ids:
                self.open_item(last if last in ids else ids[0])
        return True

    def close_workspace(self, start: bool = True) -> bool:
        """Write what is queued and go back to the start page; False when jobs run that need the workspace."""
        if self.workspace is None:
            return True
        if self.jobs is not None and self.jobs.unfinished and not self._closing:
            self.messages.warning("A job is running in this workspace: stop it or wait for its end before leaving.")
            return False
        if not self._closing and not self.saving.flushed():
            return False
        workspace, self.workspace = self.workspace, None
        self._leave_item()
        if self._relay is not None:
            self._relay.drop()
            self._relay = None
        if self.room is not None:
            self.room.set_workspace(None)
        try:
            workspace.close(discard=True)
        except OpsinError as error:
            self.messages.error(error)
        self.saving.try_again()
        if start:
            self.show_start()
        return True

    def add_slides(self, paths: list[Path]) -> None:
        """Add slide files and folders in the background; show the first, list what could not be read."""
        workspace = self.workspace
        if workspace is None:
            return

        def work() -> tuple[list[Any], list[tuple[str, str]]]:
            return workspace.add(paths), list(workspace.rejected)

        in_background(work, done=self._slides_added, failed=self.messages.error, owner=self)

    def _slides_added(self, found: tuple[list[Any], list[tuple[str, str]]]) -> None:
        items, rejected = found
        if self.workspace is None:
            return
        if items:
            self.open_item(items[0].id)
        if not items and not rejected:
            self.messages.warning("No slides were found there.")
        if len(rejected) == 1:
            self.messages.failed(rejected[0][1])
        elif rejected:
            head = f"{len(items)} slides were added, {len(rejected)} could not be read:"
            self.show_dialog(ListDialog("Slides that could not be added", head, [text for _, text in rejected], self))

    def remove_items(self, ids: list[str]) -> None:
        """Take slides out of the workspace, in the background."""
        workspace = self.workspace
        if workspace is None or self.room is None:
            return
        if self.item is not None and self.item.id in ids:
            slides = self.room.slides
            after = slides.neighbour(self.item.id, 1) or slides.neighbour(self.item.id, -1)
            self._leave_item()
            self._show_title()
            if after is not None and after not in ids:
                self.open_item(after)
        in_background(workspace.remove, ids, failed=self.messages.error, owner=self)

    def _workspace_changed(self, what: str) -> None:
        if what != "items" or self.workspace is None or self.item is None or self.room is None:
            return
        with contextlib.suppress(OpsinError):  # it may just have been removed
            self.item = self.workspace.item(self.item.id)
            self.room.bar.set_item(self.item)
        self.book.refresh()

    # ---- the open slide -----------------------------------------------------------------------------------------

    def open_item(self, id: str) -> None:
        """Open a slide of the workspace in the background and show it; the newest wish wins."""
        workspace = self.workspace
        if workspace is None or (self.item is not None and self.item.id == id):
            return
        self._ticket += 1
        ticket = self._ticket

        def work() -> tuple[Any, ...]:
            item = workspace.item(id)
            slide = workspace.open_slide(item)
            try:
                return item, slide, workspace.labels(item), ""
            except LabelError as error:
                return item, slide, workspace.labels_to_read(item), str(error)

        def done(found: tuple[Any, ...]) -> None:
            item, slide, labels, problem = found
            if ticket == self._ticket and self.workspace is workspace:
                self._show_item(item, slide, labels)
                if problem:
                    self.messages.warning(problem)
            else:
                slide.close()
                if labels.readonly:
                    labels.close()

        in_background(work, done=done, failed=lambda error: self.commands.slides.open_failed(id, error), owner=self)

    def _show_item(self, item: Item, slide: Any, labels: Any) -> None:
        assert self.workspace is not None and self.room is not None
        self._leave_item()
        self.item = item
        self.model.set_classes(self.workspace.classes)
        self.model.set_slide(slide, labels)
        self._store_relay = Relay(self._labels_changed, labels.changed, labels.saved, parent=self)
        self.room.set_item(item)
        try:
            self.workspace.set_setting("last_item", item.id)
        except OpsinError as error:
            self.messages.error(error)
        self._show_title()
        self.book.refresh()
        self.status.show_saved(labels.last_saved)

    def _leave_item(self) -> None:
        """Take the open slide out of the view and close its file."""
        self._ticket += 1
        if self._store_relay is not None:
            self._store_relay.drop()
            self._store_relay = None
        if self._marked_timer.isActive() and self.workspace is not None:
            self._marked_timer.stop()
            self._count_marked()
        slide, labels, self.item = self.model.slide, self.model.labels, None
        if slide is not None:
            self.model.set_slide(None)
            slide.close()
        if labels is not None and labels.readonly:
            labels.close()
        if self.room is not None:
            self.room.set_item(None)

    def _labels_changed(self, _: object) -> None:
        self._marked_timer.start()
        self.book.refresh()

    def _count_marked(self) -> None:
        if self.workspace is not None and self.item is not None:
            in_background(self.workspace.update_marked, self.item.id, failed=lambda _: None, owner=self)

    def change_item(self, changes: dict[str, Any]) -> None:
        """Change fields of the open slide's item."""
        if self.workspace is None or self.item is None:
            return
        if self.room is not None:
            self.room.slides.edit({self.item.id: changes})

    def set_mpp(self, value: float | None) -> None:
        """Correct the resolution of the open slide; None = as its file says."""
        if self.workspace is None or self.item is None:
            return
        self.change_item({"mpp": value})
        if value is not None:
            self.model.set_mpp(value)
            return
        workspace, id = self.workspace, self.item.id

        def work() -> tuple[float | None, str]:
            with workspace.open_slide(workspace.item(id)) as slide:
                return slide.mpp, slide.mpp_source

        in_background(work, done=lambda found: self.model.set_mpp(*found), failed=self.messages.error, owner=self)

    # ---- look ---------------------------------------------------------------------------------------------------

    def apply_look(self) -> None:
        """Show theme and text size of the settings, and keep them."""
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        theme.apply_theme(application, self.settings.theme, self.settings.text_size)
        self.book.restyle()
        self.settings.save()
        self.book.refresh()

    def _show_title(self) -> None:
        parts = ["Opsin"]
        if self.workspace is not None:
            folder = self.workspace.folder
            parts.insert(0, folder.parent.name if folder.name == "opsin" and folder.parent.name else folder.name)
        if self.item is not None:
            parts.insert(0, self.item.name)
        self.setWindowTitle(" – ".join(parts))

    def name_classes(self) -> None:
        for number in range(1, 10):
            c = self.commands._class_of(number)
            self.book[f"class.{number}"].setText(c.name if c is not None else f"Class {number}")
            self.book[f"class.{number}"].setVisible(c is not None)

    def show_dialog(self, dialog: QDialog) -> None:
        """Open a dialog without stopping the window."""
        self._dialogs.append(dialog)
        dialog.finished.connect(lambda _: self._dialogs.remove(dialog) if dialog in self._dialogs else None)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def last_folder(self) -> str:
        return self.settings.last_folder or str(Path.home())

    def remember_folder(self, folder: Path) -> None:
        self.settings.last_folder = str(folder)

    def running_jobs(self) -> list[Any]:
        return [job for job in self.jobs.jobs if not job.final] if self.jobs is not None else []

    # ---- events -------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self.open_paths(paths)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.ThemeChange and self.settings.theme == "system":
            self.apply_look()

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self._closing and not self.saving.may_close():
            event.ignore()
            return
        if not self._closing and self.jobs is not None and self.jobs.unfinished:
            event.ignore()
            self.show_dialog(ask_about_jobs(self, len(self.jobs.unfinished), self.finish))
            return
        if not self._closing:
            self._shut_down("stop")
        event.accept()

    def finish(self, mode: str) -> None:
        """End with the jobs stopped ("stop"), left running ("detach") or thrown away ("cancel"); "" stays open."""
        if not mode or self._closing:
            return
        if mode != "detach":
            self.messages.info("Stopping at the next batch; a checkpoint is written first.")
        self._shut_down(mode)
        self.close()

    def _shut_down(self, mode: str) -> None:
        self._closing = True
        self._keep()
        if self.jobs is not None:
            self.jobs.close(mode)
        self._cancel_sample()
        self.close_workspace(start=False)
        finish_background()

    def _keep(self) -> None:
        self.settings.geometry = bytes(self.saveGeometry().toHex().data()).decode()
        if self.room is not None and self.workspace is not None:
            self.settings.docks = self.room.widths()
        self.settings.save()

    def _restore(self) -> None:
        if not self.settings.geometry or not self.restoreGeometry(QByteArray.fromHex(self.settings.geometry.encode())):
            screen = self.screen().availableGeometry()
            self.resize(min(1440, int(screen.width() * 0.9)), min(900, int(screen.height() * 0.9)))


def _job_queue() -> Any:
    from .jobs import JobQueue

    return JobQueue()
