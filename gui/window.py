"""The main window: start page or workspace, docks, what is open. What the menus do is in `commands.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QByteArray, QEvent, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDockWidget,
    QLabel,
    QMainWindow,
    QScrollArea,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from ..engine.errors import OpsinError
from ..widgets import theme
from ..widgets.background import Relay, Task, finish_background, in_background
from ..widgets.slide.model import SlideViewModel
from .actions import ActionBook
from .commands import Commands
from .dialogs import ListDialog, ask_about_jobs
from .exchange import Exchange
from .messages import BannerStack, Messages
from .opening import make_sample, plan, sample_folder
from .settings import AppSettings
from .start import Recent, StartPage
from .statusbar import StatusBar

if TYPE_CHECKING:
    from ..engine.workspace import Item, Workspace

TABS = {"annotate": "Annotate", "train": "Train", "runs": "Runs", "results": "Results"}
MARKED_DELAY_MS = 1500
LEFT_WIDTH, RIGHT_WIDTH = 288, 368


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
        self.live: Any = None
        self._make_jobs = jobs or _job_queue
        self._relay: Relay | None = None
        self._store_relay: Relay | None = None
        self._ticket = 0
        self._sample: Task | None = None
        self._dialogs: list[QDialog] = []
        self._closing = False
        self._room_built = False
        self.exchange = Exchange(self)
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
        escape = QShortcut(QKeySequence("Escape"), self, context=Qt.ShortcutContext.WindowShortcut)
        escape.activated.connect(lambda: self.banners.dismiss())
        self._restore()
        self.show_start()

    # ---- building -----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        middle = QWidget()
        column = QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.banners = BannerStack(self.messages)
        self.stack = QStackedWidget()
        column.addWidget(self.banners)
        column.addWidget(self.stack, 1)
        self.setCentralWidget(middle)
        self.start = StartPage()
        self.start.open_requested.connect(self.open_workspace)
        self.start.forget_requested.connect(self._forget)
        self.start.cancel_requested.connect(self._cancel_sample)
        self.stack.addWidget(self.start)
        self.status = StatusBar(self.model)
        self.status.mpp_clicked.connect(self.commands.ask_mpp)
        self.setStatusBar(self.status)

    def _build_room(self) -> None:
        """Make what a workspace needs: slide view, panels, job queue. Not before one is opened: the start page is quick."""
        from ..widgets.annotations import AnnotationsPanel
        from ..widgets.layers import LiveLayers
        from ..widgets.slide.view import SlideView
        from ..widgets.slidebar import SlideBar
        from ..widgets.workspace import WorkspacePanel

        self.jobs = self._make_jobs()
        self.live = LiveLayers(self.jobs, self.model)
        room = QWidget()
        column = QVBoxLayout(room)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.bar = SlideBar(self.model)
        self.bar.changed.connect(self._change_item)
        self.view = SlideView(self.model)
        self.view.cursor_moved.connect(self.status.show_cursor)
        self.view.saved.connect(self.status.show_saved)
        self.view.failed.connect(self.messages.failed)
        column.addWidget(self.bar)
        column.addWidget(self.view, 1)
        self.room = room
        self.stack.addWidget(room)
        self.slides = WorkspacePanel()
        self.slides.open_requested.connect(self.open_item)
        self.slides.add_requested.connect(self.commands.ask_slides)
        self.slides.remove_requested.connect(self.commands.remove_slides)
        self.slides.failed.connect(self.messages.failed)
        annotations = AnnotationsPanel(self.model)
        annotations.failed.connect(self.messages.failed)
        self._panels: dict[str, Any] = {"annotate": annotations}
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        for name, text in TABS.items():
            page = QWidget()
            page.setObjectName(name)
            QVBoxLayout(page).setContentsMargins(0, 0, 0, 0)
            self.tabs.addTab(page, text)
        self._place("annotate", annotations)
        self.tabs.currentChanged.connect(lambda place: self.panel(list(TABS)[place]))
        self.left = self._dock("Slides", self.slides, Qt.DockWidgetArea.LeftDockWidgetArea)
        self.right = self._dock("Panels", self.tabs, Qt.DockWidgetArea.RightDockWidgetArea)
        events = self.model.events
        self._model_relay = Relay(
            lambda _: self.book.refresh(), events.tool, events.label, events.labels, events.overlays, events.classes,
            events.show_labels, parent=self,
        )  # fmt: skip
        self._class_relay = Relay(lambda _: self._name_classes(), events.classes, parent=self)
        self._room_built = True
        self.reset_layout()
        if self.settings.docks:
            self.restoreState(QByteArray.fromHex(self.settings.docks.encode()))

    def _dock(self, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title, self)
        dock.setObjectName(title)
        dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
        dock.setTitleBarWidget(QWidget())  # the panels say themselves what they are
        dock.setWidget(widget)
        self.addDockWidget(area, dock)
        return dock

    def _place(self, name: str, widget: QWidget) -> None:
        page = self.tabs.findChild(QWidget, name)
        assert page is not None
        if name == "annotate":
            scroll = QScrollArea()
            scroll.setWidgetResizable(True)
            scroll.setFrameShape(QScrollArea.Shape.NoFrame)
            scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            scroll.setWidget(widget)
            widget = scroll
        page.layout().addWidget(widget)

    def panel(self, name: str) -> Any:
        """Return the panel of a tab; made when it is first asked for."""
        if name not in self._panels:
            try:
                made = self._make_panel(name)
            except Exception as error:
                self.messages.error(error)
                made = QLabel("This panel could not be opened; see the message above.")
                made.setAlignment(Qt.AlignmentFlag.AlignCenter)
            self._panels[name] = made
            self._place(name, made)
        return self._panels[name]

    def _make_panel(self, name: str) -> QWidget:
        if name == "train":
            from ..widgets.training import TrainingPanel

            training = TrainingPanel(self.workspace, self.jobs)
            training.started.connect(lambda _: self.show_tab("runs"))
            return training
        if name == "runs":
            from ..widgets.runs import RunPanel

            runs = RunPanel(self.workspace, self.jobs)
            runs.checkpoint_chosen.connect(self._use_run)
            return runs
        from ..widgets.results import ResultsPanel

        return ResultsPanel(self.workspace, self.jobs)

    def _use_run(self, folder: str) -> None:
        self.show_tab("results")
        results = self.panel("results")
        if hasattr(results, "use_run"):
            results.use_run(folder)

    # ---- start page ---------------------------------------------------------------------------------------------

    def show_start(self) -> None:
        """Show the start page with the recent workspaces."""
        from ..engine.recent import recent_workspaces

        self.start.show_recent([Recent(Path(entry.folder), entry.opened) for entry in recent_workspaces()])
        self.stack.setCurrentWidget(self.start)
        self.status.hide()
        if self._room_built:
            self.left.hide()
            self.right.hide()
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
        wanted = plan(paths, self.workspace is not None)
        if wanted.workspace is not None and not self.open_workspace(wanted.workspace, show=not wanted.slides):
            return
        if wanted.slides:
            self.add_slides(wanted.slides)
        for path in wanted.annotations:
            items = self.workspace.items() if self.workspace is not None else []
            self.exchange.import_file(path, next((item for item in items if item.name == path.stem), None))

    def open_workspace(self, folder: Path, show: bool = True) -> bool:
        """Open the workspace in `folder`, or make one there; `show` its last slide. False when that failed."""
        from ..engine.recent import remember
        from ..engine.workspace import Workspace

        folder = Path(folder)
        if self.workspace is not None and self.workspace.folder == folder.resolve():
            return True
        if not self.close_workspace(start=False):
            return False
        try:
            self.workspace = Workspace.open_or_create(folder)
            remember(self.workspace.folder)
        except (OpsinError, OSError) as error:
            self.messages.error(error)
            self.show_start()
            return False
        if not self._room_built:
            self._build_room()
        self._relay = Relay(self._workspace_changed, self.workspace.changed, parent=self)
        self.slides.set_workspace(self.workspace)
        for panel in self._panels.values():
            if hasattr(panel, "set_workspace"):
                panel.set_workspace(self.workspace)
        self.stack.setCurrentWidget(self.room)
        self.left.show()
        self.right.show()
        self.status.show()
        self._show_title()
        self._name_classes()
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
        if self.jobs is not None and self.jobs.busy and not self._closing:
            self.messages.warning("A job is running in this workspace: stop it or wait for its end before leaving.")
            return False
        workspace, self.workspace = self.workspace, None
        self._leave_item()
        if self._relay is not None:
            self._relay.drop()
            self._relay = None
        self.slides.set_workspace(None)
        for panel in self._panels.values():
            if hasattr(panel, "set_workspace"):
                panel.set_workspace(None)
        try:
            workspace.close()
        except OpsinError as error:
            self.messages.error(error)
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
        elif self.item is None:
            self.slides.refresh()
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
        if workspace is None:
            return
        if self.item is not None and self.item.id in ids:
            after = self.slides.neighbour(self.item.id, 1) or self.slides.neighbour(self.item.id, -1)
            self._leave_item()
            self._show_title()
            if after is not None and after not in ids:
                self.open_item(after)
        in_background(workspace.remove, ids, failed=self.messages.error, owner=self)

    def _workspace_changed(self, what: str) -> None:
        if what != "items" or self.workspace is None or self.item is None:
            return
        with contextlib.suppress(OpsinError):  # it may just have been removed
            self.item = self.workspace.item(self.item.id)
            self.bar.set_item(self.item)
        self.book.refresh()

    # ---- the open slide -----------------------------------------------------------------------------------------

    def open_item(self, id: str) -> None:
        """Open a slide of the workspace in the background and show it; the newest wish wins."""
        workspace = self.workspace
        if workspace is None or (self.item is not None and self.item.id == id):
            return
        self._ticket += 1
        ticket = self._ticket

        def work() -> tuple[Any, Any, Any]:
            item = workspace.item(id)
            slide = workspace.open_slide(item)
            return item, slide, workspace.labels(item)

        def done(found: tuple[Any, Any, Any]) -> None:
            if ticket == self._ticket and self.workspace is workspace:
                self._show_item(*found)
            else:
                found[1].close()

        in_background(work, done=done, failed=self.messages.error, owner=self)

    def _show_item(self, item: Item, slide: Any, labels: Any) -> None:
        assert self.workspace is not None
        self._leave_item()
        self.item = item
        self.model.set_classes(self.workspace.classes)
        self.model.set_slide(slide, labels)
        self._store_relay = Relay(self._labels_changed, labels.changed, labels.saved, parent=self)
        self.bar.set_item(item)
        self.slides.set_opened(item.id)
        self.live.set_item(item.id)
        self._show_results_of(item)
        self.workspace.set_setting("last_item", item.id)
        self._show_title()
        self.book.refresh()
        if labels.last_saved:
            self.status.show_saved(labels.last_saved)

    def _show_results_of(self, item: Item) -> None:
        """Show the newest heat map of the slide, if there is one."""
        from ..widgets.layers import show

        assert self.workspace is not None
        for path in self.workspace.heatmaps(item)[:1]:
            show(self.model, "Heatmap", path, "heat map")
        for panel in self._panels.values():
            if hasattr(panel, "set_item"):
                panel.set_item(item.id)

    def _leave_item(self) -> None:
        """Take the open slide out of the view and close its file."""
        self._ticket += 1
        if self._store_relay is not None:
            self._store_relay.drop()
            self._store_relay = None
        if self._marked_timer.isActive() and self.workspace is not None:
            self._marked_timer.stop()
            self._count_marked()
        slide, self.item = self.model.slide, None
        if slide is not None:
            self.model.set_slide(None)
            slide.close()
        if self._room_built:
            self.live.set_item(None)
            self.bar.set_item(None)
            self.slides.set_opened(None)

    def _labels_changed(self, _: object) -> None:
        self._marked_timer.start()
        self.book.refresh()

    def _count_marked(self) -> None:
        if self.workspace is not None and self.item is not None:
            in_background(self.workspace.update_marked, self.item.id, failed=lambda _: None, owner=self)

    def _change_item(self, changes: dict[str, Any]) -> None:
        if self.workspace is None or self.item is None:
            return
        try:
            self.workspace.update(self.item.id, **changes)
        except OpsinError as error:
            self.messages.error(error)

    def set_mpp(self, value: float | None) -> None:
        """Correct the resolution of the open slide; None = as its file says."""
        if self.workspace is None or self.item is None:
            return
        self._change_item({"mpp": value})
        if value is not None:
            self.model.set_mpp(value)
            return
        workspace, id = self.workspace, self.item.id

        def work() -> tuple[float | None, str]:
            with workspace.open_slide(workspace.item(id)) as slide:
                return slide.mpp, slide.mpp_source

        in_background(work, done=lambda found: self.model.set_mpp(*found), failed=self.messages.error, owner=self)

    # ---- look ---------------------------------------------------------------------------------------------------

    def show_tab(self, name: str) -> None:
        """Bring a tab to the front and put the focus on it."""
        if not self._room_built:
            return
        self.right.show()
        self.tabs.setCurrentIndex(list(TABS).index(name))
        self.panel(name)
        self.tabs.tabBar().setFocus(Qt.FocusReason.ShortcutFocusReason)

    def toggle_panels(self) -> None:
        """Hide both docks, or show them again."""
        on = self.left.isHidden() and self.right.isHidden()
        self.left.setVisible(on)
        self.right.setVisible(on)

    def reset_layout(self) -> None:
        """Both docks at their first width."""
        if not self._room_built:
            return
        self.left.setVisible(self.workspace is not None)
        self.right.setVisible(self.workspace is not None)
        self.resizeDocks(
            [self.left, self.right], [theme.px(LEFT_WIDTH), theme.px(RIGHT_WIDTH)], Qt.Orientation.Horizontal
        )

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

    def _name_classes(self) -> None:
        for number in range(1, 10):
            c = self.commands._class_of(number)
            self.book[f"class.{number}"].setText(c.name if c is not None else f"Class {number}")

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
        if not self._closing and self.jobs is not None and self.jobs.busy:
            event.ignore()
            self.show_dialog(ask_about_jobs(self, len(self.running_jobs()), self.finish))
            return
        if not self._closing:
            self._shut_down("stop")
        event.accept()

    def finish(self, mode: str) -> None:
        """End with the jobs stopped ("stop"), left running ("detach") or thrown away ("cancel"); "" stays open."""
        if not mode:
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
        if self._room_built and self.workspace is not None:
            self.settings.docks = bytes(self.saveState().toHex().data()).decode()
        self.settings.save()

    def _restore(self) -> None:
        if not self.settings.geometry or not self.restoreGeometry(QByteArray.fromHex(self.settings.geometry.encode())):
            screen = self.screen().availableGeometry()
            self.resize(min(1440, int(screen.width() * 0.9)), min(900, int(screen.height() * 0.9)))


def _job_queue() -> Any:
    from .jobs import JobQueue

    return JobQueue()
