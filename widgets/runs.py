"""The panel of runs: what is at work now, what was done before, how two runs differ, and what can be done with them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from qtpy.QtCore import QItemSelectionModel, Qt, QTimer, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QMenu,
    QMessageBox,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QTableView,
    QTextBrowser,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.errors import OpsinError
from ..engine.jobs import Job
from ..engine.replay import INTERRUPTED, EventFile, job_of, name_run, repeat_spec, resume_spec, run_name, thin
from ..engine.runs import FINAL
from .background import Relay, in_background
from .buttons import IconButton
from .confirm import Question
from .round_box import RoundBox
from .run_card import RunCard
from .run_rows import COLUMNS, RunRow, RunsModel, corrected_note, difference_html, kept_note, short_time
from .scrolling import PanelScroll
from .texts import ErrorLabel, MutedLabel


class RunPanel(QWidget):
    """All runs of a workspace and the card of the chosen one.

    Parameters
    ----------
    workspace : the open `Workspace`, or None.
    jobs : the queue, see `gui/jobs.py`.

    Signals
    -------
    checkpoint_chosen(str) : predict with the run in this folder.
    continue_chosen(str) : train on from the run in this folder.
    runs_changed : a run was deleted or got another name.
    """

    checkpoint_chosen = Signal(str)
    continue_chosen = Signal(str)
    runs_changed = Signal()

    def __init__(self, workspace: Any, jobs: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace = workspace
        self.jobs = jobs
        self.model = RunsModel()
        self._seen: dict[str, float] = {}
        self._loaded: dict[str, Job] = {}
        self._build()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(100)
        self._soon.timeout.connect(self.refresh)
        self._added = Relay(self._on_added, jobs.added, parent=self)
        self._order = Relay(lambda _: self._soon.start(), jobs.finished, jobs.changed, parent=self)
        self._states = Relay(self._on_job, *(job.changed for job in jobs.jobs), parent=self)
        self.set_workspace(workspace)

    # ---- the parts --------------------------------------------------------------------------------------

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        layout.addWidget(splitter)
        upper = QWidget()
        column = QVBoxLayout(upper)
        column.setContentsMargins(12, 12, 12, 8)
        column.setSpacing(8)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.setMinimumHeight(96)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setAccessibleName("Runs")
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(COLUMNS.index("Name"), QHeaderView.ResizeMode.Stretch)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_selected())
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.table.customContextMenuRequested.connect(
            lambda point: self.menu.popup(self.table.viewport().mapToGlobal(point))
        )
        column.addWidget(self.table, 1)
        row = QHBoxLayout()
        row.setSpacing(8)
        self.use = QPushButton("Use for prediction")
        self.use.setToolTip("Predict with the network that this run has trained")
        self.use.clicked.connect(self._use)
        row.addWidget(self.use)
        row.addStretch(1)
        self.more = IconButton("more", "More")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self)
        self.open_folder = self.menu.addAction("Open folder", self._open_folder)
        self.copy_command = self.menu.addAction("Copy command", self._copy_command)
        self.rename = self.menu.addAction("Rename…", self._ask_name)
        self.delete = self.menu.addAction("Delete…", self._ask_delete)
        self.menu.addSeparator()
        self.move_up = self.menu.addAction("Move up in the queue", lambda: self._move(-1))
        self.move_down = self.menu.addAction("Move down in the queue", lambda: self._move(1))
        self.remove = self.menu.addAction("Remove from the queue", self._remove)
        self.more.setMenu(self.menu)
        row.addWidget(self.more)
        column.addLayout(row)
        self.train_on = QPushButton("Continue with corrections")
        self.train_on.setToolTip("Train on from the weights of this run with what was corrected since, as a new run")
        self.train_on.clicked.connect(lambda: self.continue_chosen.emit(self.selected()[0].folder))
        column.addWidget(self.train_on, 0, Qt.AlignmentFlag.AlignLeft)
        self.rounds = RoundBox()
        column.addWidget(self.rounds)
        self.problem = ErrorLabel()
        column.addWidget(self.problem)
        splitter.addWidget(upper)

        self.card = RunCard()
        self.card.resume_requested.connect(self.resume)
        self.card.repeat_requested.connect(self.repeat)
        self.difference = QTextBrowser()
        self.difference.setFrameShape(QFrame.Shape.NoFrame)
        self.difference.setStyleSheet("border: none; background: transparent; padding: 4px 12px;")
        self.difference.setAccessibleName("How the two runs differ")
        self.empty = MutedLabel("Trainings and predictions appear here with their progress.", wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignTop)
        inside = QWidget()
        box = QVBoxLayout(inside)
        box.setContentsMargins(12, 4, 12, 12)
        box.addWidget(self.card)
        box.addStretch(1)
        scroll = PanelScroll(inside)
        self.stack = QStackedWidget()
        padded = QWidget()
        QVBoxLayout(padded).addWidget(self.empty)
        for page in (padded, scroll, self.difference):
            self.stack.addWidget(page)
        splitter.addWidget(self.stack)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([240, 400])

    # ---- which runs there are ---------------------------------------------------------------------------

    def set_workspace(self, workspace: Any) -> None:
        """Show the runs of another workspace, or none; runs that were left going are followed."""
        self.workspace = workspace
        self._loaded.clear()
        if workspace is not None and hasattr(self.jobs, "attach"):
            own = {job.spec.arguments.get("run") for job in self.jobs.jobs}
            for record in workspace.runs():
                if record["folder"] not in own and record.get("state") not in (
                    *FINAL,
                    INTERRUPTED,
                    "unreadable",
                ):
                    self.jobs.attach(Path(record["folder"]))
        self.refresh()

    def set_item(self, item: str | None) -> None:
        """Another slide is open (its id): the rounds that have proposed something for it are offered."""
        self.rounds.set_item(item)

    def refresh(self) -> None:
        """Read the runs again, keeping the selection."""
        chosen = [row.folder or id(row.job) for row in self.selected()]
        records = {r["folder"]: r for r in self.workspace.runs()} if self.workspace is not None else {}
        rows = []
        for job in reversed(self.jobs.jobs):
            folder = str(job.spec.arguments.get("run") or "")
            if job.final and not folder and not self._here(job):
                continue
            if job.final and (job.state == "cancelled" or (folder and folder not in records)):
                continue
            if any(row.folder == folder for row in rows if folder):
                continue  # an earlier part of a run that was resumed
            seen = self._seen.setdefault(job.spec.id, time.time())
            rows.append(RunRow(folder, records.pop(folder, {}), job, seen))
        rows += [RunRow(folder, record) for folder, record in records.items()]
        order = {job.spec.id: place for place, job in enumerate(self.jobs.jobs)}
        rows.sort(key=lambda row: (row.rank, order[row.job.spec.id] if row.rank == 1 and row.job else -row.created))
        self.model.set_rows(rows)
        self.table.setColumnHidden(COLUMNS.index("Method"), len({row.method for row in rows}) < 2)
        places = [n for n, row in enumerate(rows) if (row.folder or id(row.job)) in chosen]
        if not places and rows:
            places = [0]
        self._select(places)

    def _here(self, job: Job) -> bool:
        """Tell whether what a job without a run folder made belongs to the open workspace."""
        output = job.spec.arguments.get("output") or job.spec.arguments.get("data") or ""
        return self.workspace is not None and str(output).startswith(str(self.workspace.folder))

    def choose(self, job: Job) -> None:
        """Select the row of a job."""
        self.refresh()
        for number, row in enumerate(self.model.rows):
            if row.job is job:
                self._select([number])

    def selected(self) -> list[RunRow]:
        numbers = sorted(index.row() for index in self.table.selectionModel().selectedRows())
        return [self.model.rows[n] for n in numbers if n < len(self.model.rows)]

    def _select(self, places: list[int]) -> None:
        selection = self.table.selectionModel()
        selection.blockSignals(True)
        selection.clear()
        flags = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
        for place in places:
            selection.select(self.model.index(place, 0), flags)
        selection.blockSignals(False)
        self.table.viewport().update()
        self._show_selected()

    def _on_added(self, job: Job) -> None:
        self._states.listen(job.changed)
        self.choose(job)

    def _on_job(self, what: set[str]) -> None:
        if what & {"state"}:
            self._soon.start()

    # ---- the chosen run ---------------------------------------------------------------------------------

    def _show_selected(self) -> None:
        rows = self.selected()
        one = rows[0] if len(rows) == 1 else None
        waiting = one is not None and one.job is not None and one.state == "queued"
        self.use.setEnabled(one is not None and one.checkpoint)
        self.train_on.setEnabled(one is not None and one.checkpoint and one.final)
        folder = Path(one.folder) if one is not None and one.folder else None
        self.rounds.set_run(folder, one is not None and not one.final)
        self.open_folder.setEnabled(one is not None and bool(one.folder))
        self.copy_command.setEnabled(one is not None and bool(one.command))
        self.rename.setEnabled(one is not None and bool(one.folder))
        self.delete.setEnabled(bool(rows) and all(row.final and row.folder for row in rows))
        for action in (self.move_up, self.move_down, self.remove):
            action.setVisible(waiting)
        self.problem.say("")
        if len(rows) == 2:
            self.difference.setHtml(difference_html(*rows))
            self.stack.setCurrentIndex(2)
        elif one is not None:
            self.stack.setCurrentIndex(1)
            self._show_card(one)
        else:
            self.stack.setCurrentIndex(0)

    def _show_card(self, row: RunRow) -> None:
        job = row.job or self._load(row)
        shown = (
            row.name if row.name != row.preset else row.title,
            row.resumable,
            row.repeatable,
            " ".join(note for note in (kept_note(row.record), corrected_note(row.record)) if note),
        )
        card = self.card
        if job is not card.job or shown != (card.title.full_text(), card.resumable, card.repeatable, card.note):
            card.set_job(job, *shown)

    def _load(self, row: RunRow) -> Job | None:
        """Return a job for an earlier run, filled in a background thread from what the run reported."""
        if row.folder in self._loaded:
            return self._loaded[row.folder]
        try:
            job = job_of(Path(row.folder))
        except OpsinError as error:
            self.problem.say(str(error))
            return None
        self._loaded[row.folder] = job
        file = EventFile(Path(row.folder))

        def read() -> Any:
            while events := file.read(1 << 19):
                yield thin(events)

        def finish(_: Any) -> None:
            job.state = row.state
            job.changed.emit({"state", "metrics", "log"})

        in_background(read, each=lambda events: job.apply(*events), done=finish, owner=self)
        return job

    # ---- what can be done with it -----------------------------------------------------------------------

    def resume(self) -> None:
        """Go on with the chosen run."""
        rows = self.selected()
        if len(rows) != 1:
            return
        try:
            self._loaded.pop(rows[0].folder, None)
            self.jobs.submit(resume_spec(Path(rows[0].folder)))
        except OpsinError as error:
            self.problem.say(str(error))

    def repeat(self) -> None:
        """Do again what the chosen run was to do, as a new run."""
        rows = self.selected()
        if len(rows) != 1 or self.workspace is None:
            return
        try:
            target = self.workspace.new_run_folder(rows[0].method)
            self.workspace.flush()
            self.jobs.submit(repeat_spec(Path(rows[0].folder), target))
        except OpsinError as error:
            self.problem.say(str(error))

    def _ask_name(self) -> None:
        row = self.selected()[0]
        box = QInputDialog(self)
        box.setWindowTitle("Rename")
        box.setLabelText("Name of the run (empty: as its preset)")
        box.setTextValue(run_name(Path(row.folder)))
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.textValueSelected.connect(lambda text: self.set_name(row.folder, text))
        box.open()

    def set_name(self, folder: str, name: str) -> None:
        """Give a run a name; it is kept in its folder."""
        try:
            name_run(Path(folder), name)
        except OpsinError as error:
            self.problem.say(str(error))
        self.refresh()
        self.runs_changed.emit()

    def _ask_delete(self) -> None:
        """Ask whether the chosen runs are to go to the bin; their size is counted first, in the background."""
        rows = self.selected()
        in_background(
            lambda: sum(size_of(Path(row.folder)) for row in rows),
            done=lambda size: self._confirm_delete(rows, size),
            owner=self,
        )

    def _confirm_delete(self, rows: list[RunRow], size: int) -> None:
        what = f"{len(rows)} runs"
        if len(rows) == 1:
            what = f"the run “{rows[0].name}” of {short_time(rows[0].created)}"
        elif rows:
            what += f", {short_time(min(r.created for r in rows))} to {short_time(max(r.created for r in rows))}"
        meaning = "Settings, log, frozen labels and networks go with it. Heat maps and scores it has made stay."
        box = Question("Delete", f"Move {what} to the bin ({in_bytes(size)})?", meaning, self, icon="trash")
        move = box.add("Move to the bin", QMessageBox.ButtonRole.DestructiveRole, "danger")
        box.add_stay("Keep")
        box.buttonClicked.connect(lambda button: self._delete(rows) if button is move else None)
        box.open()

    def _delete(self, rows: list[RunRow]) -> None:
        from send2trash import send2trash

        def work() -> None:
            for row in rows:
                send2trash(row.folder)

        def done(_: Any) -> None:
            self.refresh()
            self.runs_changed.emit()

        def failed(error: BaseException) -> None:
            self.refresh()
            self.problem.say(f"The run cannot be moved to the bin: {error}.")

        in_background(work, done=done, failed=failed, owner=self)

    def _use(self) -> None:
        self.checkpoint_chosen.emit(self.selected()[0].folder)

    def _open_folder(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self.selected()[0].folder))

    def _copy_command(self) -> None:
        QApplication.clipboard().setText(self.selected()[0].command)

    def _move(self, places: int) -> None:
        self.jobs.move(self.selected()[0].job, places)

    def _remove(self) -> None:
        self.jobs.remove(self.selected()[0].job)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def in_bytes(size: float) -> str:
    """Return a size as a person would say it: "3 kB", "12.5 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
