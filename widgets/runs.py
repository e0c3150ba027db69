"""The panel of runs: what is at work now, what was done before, how two runs differ, and what can be done with them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from qtpy.QtCore import QItemSelectionModel, QModelIndex, Qt, QTimer, QUrl, Signal
from qtpy.QtGui import QColor, QDesktopServices, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QMenu,
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
from ..engine.replay import INTERRUPTED, EventFile, job_of, resumable, resume_spec, thin
from ..engine.runs import FINAL
from ..engine.verbs import CHECKPOINT, command_line
from .background import Relay, in_background
from .buttons import IconButton
from .run_card import STATE_WORDS, RunCard, state_color
from .scrolling import PanelScroll
from .tables import RowsModel
from .texts import ErrorLabel, MutedLabel

COLUMNS = ("Started", "Preset", "State", "Result", "Method")
KEY_METRICS = ("specificity", "spec", "auc", "dice", "iou", "kappa", "accuracy", "loss")
SHORT = {"specificity": "spec.", "spec": "spec.", "auc": "AUC", "dice": "Dice", "iou": "IoU"}


@dataclass
class RunRow:
    """One line of the table: a run on disk, a job of this window, or both.

    Attributes
    ----------
    folder : of the run; empty for a job that has none.
    record : content of ``run.json``, empty before there is one.
    job : the job of this window or the one followed; None for earlier runs.
    seen : unix time at which the job was first seen; what counts until there is a record.
    """

    folder: str
    record: dict[str, Any] = field(default_factory=dict)
    job: Job | None = None
    seen: float = 0.0

    @property
    def state(self) -> str:
        return self.job.state if self.job is not None else str(self.record.get("state", INTERRUPTED))

    @property
    def created(self) -> float:
        return float(self.record.get("created", self.seen))

    @property
    def rank(self) -> int:
        """Place in the table: at work, waiting, through."""
        return 2 if self.state in (*FINAL, INTERRUPTED, "unreadable") else int(self.state == "queued")

    @property
    def method(self) -> str:
        return self.job.spec.method if self.job is not None else str(self.record.get("method", ""))

    @property
    def preset(self) -> str:
        if self.job is not None and self.job.spec.verb != "train":
            return {"predict": "Prediction", "evaluate": "Evaluation"}[self.job.spec.verb]
        arguments = self.job.spec.arguments if self.job is not None else self.record
        return str(arguments.get("preset") or "")

    @property
    def title(self) -> str:
        return Path(self.folder).name if self.folder else (self.job.spec.title if self.job else "")

    @property
    def checkpoint(self) -> bool:
        return bool(self.folder) and (Path(self.folder) / CHECKPOINT).exists()

    @property
    def result(self) -> str:
        return key_metric(self.record.get("metrics") or {})

    @property
    def command(self) -> str:
        if self.record.get("command"):
            return str(self.record["command"])
        return command_line(self.job.spec.plain()) if self.job is not None else ""


class RunsModel(RowsModel):
    """The rows for a table view; row 0 is the newest."""

    columns = COLUMNS
    rows: list[RunRow]

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return (
                short_time(row.created),
                row.preset,
                STATE_WORDS.get(row.state, row.state),
                row.result,
                row.method,
            )[index.column()]
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return state_dot(row.state)
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.title
        return None


class RunPanel(QWidget):
    """All runs of a workspace and the card of the chosen one.

    Parameters
    ----------
    workspace : the open `Workspace`, or None.
    jobs : the queue, see `gui/jobs.py`.

    Signals
    -------
    checkpoint_chosen(str) : predict with the run in this folder.
    """

    checkpoint_chosen = Signal(str)

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
        header.setSectionResizeMode(COLUMNS.index("Preset"), QHeaderView.ResizeMode.Stretch)
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
        self.menu.addSeparator()
        self.move_up = self.menu.addAction("Move up in the queue", lambda: self._move(-1))
        self.move_down = self.menu.addAction("Move down in the queue", lambda: self._move(1))
        self.remove = self.menu.addAction("Remove from the queue", self._remove)
        self.more.setMenu(self.menu)
        row.addWidget(self.more)
        column.addLayout(row)
        self.problem = ErrorLabel()
        column.addWidget(self.problem)
        splitter.addWidget(upper)

        self.card = RunCard()
        self.card.resume_requested.connect(self.resume)
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
        self.open_folder.setEnabled(one is not None and bool(one.folder))
        self.copy_command.setEnabled(one is not None and bool(one.command))
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
        can_resume = job is not None and bool(row.record) and row.job is None and resumable(row.record)
        if row.job is not None and row.job.final and row.folder:
            can_resume = row.job.spec.verb == "train" and row.job.state in ("stopped", "failed")
        if job is not self.card.job or can_resume != self.card.resumable:
            self.card.set_job(job, row.title, can_resume)

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


def key_metric(metrics: dict[str, Any]) -> str:
    """Return the number that says most about a run, with its name; empty when there is none."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    for key in KEY_METRICS:
        for name, value in numbers.items():
            if key in name.lower():
                short = SHORT.get(key, name.rpartition("/")[2].replace("_", " "))
                if len(short) > 12:  # a column is narrow; the card and the log have the whole name
                    short = key
                return f"{short} {value:.3g}"
    return ""


def difference_html(one: RunRow, other: RunRow) -> str:
    """Return a table of the settings and metrics in which two runs differ."""

    def values(row: RunRow) -> dict[str, Any]:
        recipe = row.record.get("recipe") or (row.job.spec.arguments.get("recipe") if row.job else {}) or {}
        metrics = row.record.get("metrics") or {}
        numbers = {k: f"{v:.4g}" for k, v in metrics.items() if isinstance(v, int | float)}
        return {**recipe, "device": row.record.get("device", ""), **numbers}

    left, right = values(one), values(other)
    names = [n for n in {**left, **right} if left.get(n) != right.get(n)]
    if not names:
        return "<p>The two runs have the same settings.</p>"
    lines = [
        f"<tr><td style='padding:2px 12px 2px 0'>{escape(name)}</td>"
        f"<td style='padding:2px 12px 2px 0'>{escape(str(left.get(name, '-')))}</td>"
        f"<td style='padding:2px 0'>{escape(str(right.get(name, '-')))}</td></tr>"
        for name in names
    ]
    head = "".join(f"<th align='left' style='padding-right:12px'>{escape(t)}</th>" for t in (
        "Setting", short_time(one.created), short_time(other.created)
    ))  # fmt: skip
    return f"<table cellspacing='0'><tr>{head}</tr>{''.join(lines)}</table>"


def short_time(seconds: float) -> str:
    """Return "14:03" for today, else "25 Nov 14:03"."""
    moment = time.localtime(seconds)
    today = time.strftime("%Y%m%d", moment) == time.strftime("%Y%m%d")
    return time.strftime("%H:%M" if today else "%-d %b %H:%M" if hasattr(time, "tzset") else "%d %b %H:%M", moment)


def state_dot(state: str) -> QPixmap:
    """Return a dot in the colour of a state, for a table cell."""
    picture = QPixmap(24, 24)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(state_color(state)))
    painter.drawEllipse(4, 4, 16, 16)
    painter.end()
    picture.setDevicePixelRatio(2.0)
    return picture
