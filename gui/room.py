"""The room a workspace is worked in: slide list on the left, slide view in the middle, panels on the right.

Made when the first workspace is opened, so that the start page is there at once. It arranges widgets and connects them;
what is open is kept by `window.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QSize, Qt
from qtpy.QtWidgets import QDockWidget, QLabel, QTabWidget, QVBoxLayout, QWidget

from ..engine.labels.marks import user_name
from ..widgets import theme
from ..widgets.annotations import AnnotationsPanel
from ..widgets.background import Relay
from ..widgets.layers import LiveLayers, show
from ..widgets.scrolling import PanelScroll
from ..widgets.slide.view import SlideView
from ..widgets.slidebar import SlideBar
from ..widgets.workspace import WorkspacePanel
from .letters import Letters
from .readers import Readers

if TYPE_CHECKING:
    from ..engine.workspace import Item, Workspace
    from .window import MainWindow

TABS = {"annotate": "Annotate", "train": "Train", "runs": "Runs", "results": "Results", "check": "Check"}
LEFT_WIDTH, RIGHT_WIDTH = 256, 380


class PanelTabs(QTabWidget):
    """The panels, one above the other; as wide as the widest of them needs."""

    def minimumSizeHint(self) -> QSize:
        return super().minimumSizeHint().expandedTo(QSize(theme.px(336), 0))


class Room(QObject):
    """The widgets of the room; `page` is the middle, `left` and `right` are docks of the window.

    Parameters
    ----------
    window : gets the docks and what the widgets ask for.
    jobs : the queue.
    """

    def __init__(self, window: MainWindow, jobs: Any) -> None:
        super().__init__(window)
        self.window = window
        self.model = window.model
        self.jobs = jobs
        self.live = LiveLayers(jobs, self.model)
        self.model.author = window.settings.reviewer or user_name()
        self._told: set[str] = set()  # jobs whose end was said
        self._jobs_relay = Relay(self._follow, jobs.added, parent=self)
        self.page = QWidget()
        column = QVBoxLayout(self.page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.bar = SlideBar(self.model)
        self.bar.changed.connect(window.change_item)
        self.bar.channels_asked.connect(window.looking.show_channels)
        self.view = SlideView(self.model)
        self.view.cursor_moved.connect(window.status.show_cursor)
        self.view.saved.connect(window.status.show_saved)
        self.view.failed.connect(window.saving.failed)
        self.view.menu_asked.connect(window.commands.regions.show_menu)
        self.view.overview.want(window.settings.overview)
        column.addWidget(self.bar)
        column.addWidget(self.view, 1)
        window.banners.stand_below(self.bar)
        window.status.follow(jobs)
        window.status.runs_asked.connect(lambda: self.show_tab("runs"))
        self.letters = Letters(self)
        self.slides = WorkspacePanel()
        self.slides.open_requested.connect(window.open_item)
        self.slides.add_requested.connect(window.commands.ask_slides)
        self.slides.remove_requested.connect(window.commands.remove_slides)
        self.slides.failed.connect(window.messages.failed)
        self.slides.told.connect(window.messages.info)
        self.slides.patient_requested.connect(window.commands.slides.ask_patient)
        self.slides.clicked_open.connect(lambda: self.view.setFocus(Qt.FocusReason.MouseFocusReason))
        self.annotations = AnnotationsPanel(self.model)
        self.annotations.failed.connect(window.messages.failed)
        window.keys.show_on(self.annotations)
        self.readers = Readers(window, self)
        self.annotations.toolbox.options.region_edit.connect(window.commands.regions.edit)
        self._panels: dict[str, Any] = {"annotate": self.annotations}
        self.tabs = PanelTabs()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        self.tabs.tabBar().setAccessibleName("Panels")
        for name, text in TABS.items():
            page = QWidget()
            page.setObjectName(name)
            QVBoxLayout(page).setContentsMargins(0, 0, 0, 0)
            self.tabs.addTab(page, text)
        self._place("annotate", self.annotations)
        self.tabs.currentChanged.connect(lambda place: self.panel(list(TABS)[place]))
        self.tabs.tabBar().setUsesScrollButtons(False)
        self.restyle()
        theme.theme_changed().connect(self.restyle)
        # Tab goes through them in the order in which they join the window: from left to right
        window.commands.correct.attach(self)
        self.left = self._dock("Slides", self.slides, Qt.DockWidgetArea.LeftDockWidgetArea)
        window.stack.addWidget(self.page)
        self.right = self._dock("Panels", self.tabs, Qt.DockWidgetArea.RightDockWidgetArea)
        events = self.model.events
        self._relays = [
            Relay(
                lambda _: window.book.refresh(), events.tool, events.label, events.labels, events.overlays,
                events.classes, events.show_labels, parent=self,
            ),
            Relay(lambda _: window.name_classes(), events.classes, parent=self),
        ]  # fmt: skip

    def restyle(self) -> None:
        """Keep room for the text size of the theme in use."""
        self.slides.setMinimumWidth(theme.px(200))
        self.tabs.updateGeometry()

    def _dock(self, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title, self.window)
        dock.setObjectName(title)
        dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
        dock.setTitleBarWidget(QWidget())  # the panels say themselves what they are
        dock.setWidget(widget)
        self.window.addDockWidget(area, dock)
        return dock

    # ---- panels -------------------------------------------------------------------------------------------------

    def _place(self, name: str, widget: QWidget) -> None:
        page = self.tabs.findChild(QWidget, name)
        if name == "annotate":
            widget = PanelScroll(widget)
        page.layout().addWidget(widget)

    def panel(self, name: str) -> Any:
        """Return the panel of a tab; made when it is first asked for."""
        if name not in self._panels:
            try:
                made = self._make_panel(name)
            except Exception as error:  # a panel that fails must not take the window along
                self.window.messages.error(error)
                made = QLabel("This panel could not be opened; see the message above.")
                made.setAlignment(Qt.AlignmentFlag.AlignCenter)
            self._panels[name] = made
            self._place(name, made)
        return self._panels[name]

    def _make_panel(self, name: str) -> QWidget:
        workspace = self.window.workspace
        if name == "train":
            from ..widgets.training import TrainingPanel

            training = TrainingPanel(workspace, self.jobs)
            training.started.connect(lambda _: self.show_tab("runs"))
            return training
        if name == "runs":
            from ..widgets.runs import RunPanel

            runs = RunPanel(workspace, self.jobs)
            runs.checkpoint_chosen.connect(self._use_run)
            runs.runs_changed.connect(self._runs_changed)
            runs.continue_chosen.connect(self.window.commands.correct.continue_from)
            runs.rounds.set_view(self.model)
            runs.set_item(self.window.item.id if self.window.item is not None else None)
            return runs
        if name == "check":
            from ..widgets.next_box import CheckPanel

            check = CheckPanel(workspace, self.jobs)
            check.go_requested.connect(self.window.commands.correct.go_to)
            check.continue_requested.connect(self.window.commands.correct.continue_from)
            check.failed.connect(self.window.messages.failed)
            return check
        from ..widgets.results import ResultsPanel

        results = ResultsPanel(workspace, self.jobs, self.model)
        results.open_requested.connect(self.window.open_item)
        asked = self.window.commands.results
        results.folder_requested.connect(asked.ask_folder)
        results.report_requested.connect(asked.ask_report)
        results.export_requested.connect(asked.ask_export)
        self.live.set_item(None)  # from here on the panel shows what jobs report of the open slide
        results.set_item(self.window.item.id if self.window.item is not None else None)
        return results

    def _runs_changed(self) -> None:
        if "results" in self._panels:
            self._panels["results"].refresh_runs()

    def _follow(self, job: Any) -> None:
        """Say when a job ends, wherever the user is by then."""

        def changed(what: set[str]) -> None:
            if "state" not in what or not job.final or job.spec.id in self._told:
                return
            self._told.add(job.spec.id)
            words, messages = job.spec.words, self.window.messages
            if job.state == "failed":
                messages.failed(f"{words} failed: {job.error or 'the log under Runs tells more'}")
            elif job.state == "done":
                messages.success(f"{words}: done.")

        Relay(changed, job.changed, parent=self)

    def _use_run(self, folder: str) -> None:
        self.show_tab("results")
        self.panel("results").refresh_runs(folder)

    def _each(self, method: str) -> list[Callable[..., Any]]:
        """Methods of that name of the panels that have one."""
        return [getattr(panel, method) for panel in self._panels.values() if hasattr(panel, method)]

    # ---- what is open -------------------------------------------------------------------------------------------

    def set_workspace(self, workspace: Workspace | None) -> None:
        if workspace is not None and self.jobs.attach_running(workspace):
            self.window.messages.info("A training that was left running goes on; it is shown under Runs.")
        if workspace is None:
            self.window.banners.leave()
        self.readers.set_workspace(workspace)
        self.slides.set_workspace(workspace)
        self.window.commands.slides.set_workspace(workspace)
        for function in self._each("set_workspace"):
            function(workspace)

    def set_item(self, item: Item | None) -> None:
        """Another slide is in the view (or none): bar, list, live layers and panels follow."""
        self.bar.set_item(item)
        self.slides.set_opened(item.id if item else None)
        self.window.commands.slides.set_item(item)
        workspace = self.window.workspace
        if "results" not in self._panels:
            self.live.set_item(item.id if item else None, item is not None and item.label == "negative")
            if item is not None and workspace is not None:
                for path in workspace.heatmaps(item)[:1]:
                    show(self.model, "Heatmap", path, "heat map")
        for function in self._each("set_item"):
            function(item.id if item else None)
        self.window.commands.correct.opened(item)

    # ---- arrangement --------------------------------------------------------------------------------------------

    def show_tab(self, name: str) -> None:
        """Bring a tab to the front and put the focus on it."""
        self.right.show()
        self.tabs.setCurrentIndex(list(TABS).index(name))
        self.panel(name)
        self.tabs.tabBar().setFocus(Qt.FocusReason.ShortcutFocusReason)

    def show_slides(self) -> None:
        self.left.show()
        self.slides.list.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def set_docks_visible(self, on: bool) -> None:
        self.left.setVisible(on)
        self.right.setVisible(on)

    def toggle_docks(self) -> None:
        """Hide both docks, or show them again."""
        self.set_docks_visible(self.left.isHidden() and self.right.isHidden())

    def reset(self) -> None:
        """Both docks at their first width."""
        self.set_docks_visible(self.window.workspace is not None)
        widths = [theme.px(LEFT_WIDTH), theme.px(RIGHT_WIDTH)]
        self.set_widths(*widths)

    def widths(self) -> tuple[int, int]:
        """Return the widths of both docks in px."""
        return self.left.width(), self.right.width()

    def set_widths(self, left: int, right: int) -> None:
        """Give both docks these widths in px."""
        self.window.resizeDocks([self.left, self.right], [left, right], Qt.Orientation.Horizontal)
