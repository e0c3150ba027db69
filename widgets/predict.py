"""Choosing a trained network and slides, and predicting: the upper part of the results panel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.batch import read_states
from ..engine.devices import list_devices
from ..engine.errors import OpsinError
from ..engine.jobs import Job, JobSpec, Only
from ..engine.method import get_method, method_names
from ..engine.replay import run_name
from ..engine.verbs import CHECKPOINT
from ..engine.workspace_predict import ScoreKeeper, inputs_of, output_of
from .background import Relay
from .buttons import Disclosure, IconButton
from .editors import QuietComboBox, combo_grid
from .forms import SettingsForm
from .run_card import time_left
from .run_rows import short_time
from .texts import ErrorLabel, MutedLabel

if TYPE_CHECKING:
    from .slide.model import SlideViewModel


class PredictBox(QWidget):
    """Predict slides of a workspace with one of its networks; keeps the scores that come in.

    Signals
    -------
    run_changed : another network was chosen.
    selected_wanted : the slides selected elsewhere are to be predicted.
    folder_wanted : a folder of slides is to be added and predicted.
    states_changed : `states` says something else.
    """

    run_changed = Signal()
    selected_wanted = Signal()
    folder_wanted = Signal()
    states_changed = Signal()

    def __init__(self, jobs: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace: Any = None
        self.jobs = jobs
        self.view: SlideViewModel | None = None
        self.item: str | None = None
        self.form: SettingsForm | None = None
        self._method = ""
        self._job: Job | None = None
        self._taken: dict[str, int] = {}
        self._scores = ScoreKeeper()
        self.states: dict[str, tuple[str, str]] = {}
        """State (as `engine.batch` has them, and "waiting") and error of each slide, by id, of the current network."""
        self._build()
        self._relay = Relay(self._on_added, jobs.added, parent=self)

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        self.run, self.device = QuietComboBox(), QuietComboBox()
        column.addLayout(combo_grid({"&Network": self.run, "&Device": self.device}))
        self.run.currentIndexChanged.connect(lambda _: self._run_changed())
        row_ = QHBoxLayout()
        row_.setSpacing(8)
        self.predict_this = QPushButton("Predict this slide")
        self.predict_this.setToolTip("Predict the slide that is open")
        self.predict_this.setProperty("kind", "primary")
        self.predict_this.clicked.connect(lambda: self.predict([self.item] if self.item else []))
        self.predict_all = QPushButton("All")
        self.predict_all.setToolTip("Predict all slides of the workspace, the open one first")
        self.predict_all.clicked.connect(lambda: self.predict(None))
        self.more = IconButton("more", "Predict slides without a result, those that failed, or a folder")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        self.predict_missing = menu.addAction("Slides without a result", lambda: self.predict(None, "missing"))
        self.predict_missing.setToolTip("Those done with this network and these settings stay as they are")
        self.predict_failed = menu.addAction("Slides that failed", self.try_again)
        menu.addSeparator()
        menu.addAction("A folder of slides…", self.folder_wanted)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(self._name_failed)
        self.more.setMenu(menu)
        self.predict_selected = QPushButton("Selected")
        self.predict_selected.setToolTip("Predict the slides that are selected in the table below")
        self.predict_selected.clicked.connect(self.selected_wanted)
        self._tips = {}
        for button in (self.predict_this, self.predict_all, self.predict_selected):
            self._tips[button.text()] = button.toolTip()
            row_.addWidget(button)
        row_.addWidget(self.more)
        row_.addStretch(1)
        column.addLayout(row_)
        self.settings_toggle = Disclosure("Settings")
        self.settings_toggle.toggled.connect(self._show_settings)
        column.addWidget(self.settings_toggle, 0, Qt.AlignmentFlag.AlignLeft)
        self._form_place = QVBoxLayout()
        column.addLayout(self._form_place)
        self.progress = QWidget()
        lines = QVBoxLayout(self.progress)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.setSpacing(4)
        upper = QHBoxLayout()
        self.progress_text = MutedLabel()
        self.progress_text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.stop = QPushButton("Stop")
        self.stop.clicked.connect(lambda: self._job and self._job.stop())
        self.pause = QPushButton("Pause")
        self.pause.clicked.connect(self._pause)
        upper.addWidget(self.progress_text, 1)
        upper.addWidget(self.pause)
        upper.addWidget(self.stop)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the prediction")
        lines.addLayout(upper)
        lines.addWidget(self.bar)
        self.progress.hide()
        column.addWidget(self.progress)
        self.problem = ErrorLabel()
        column.addWidget(self.problem)
        self.failures = QWidget()
        line = QHBoxLayout(self.failures)
        line.setContentsMargins(0, 0, 0, 0)
        self.failures_text = MutedLabel(wrap=True)
        self.again = QPushButton("Try again")
        self.again.setToolTip("Predict only the slides that failed")
        self.again.clicked.connect(self.try_again)
        line.addWidget(self.failures_text, 1)
        line.addWidget(self.again, 0, Qt.AlignmentFlag.AlignTop)
        self.failures.hide()
        column.addWidget(self.failures)

    def refresh_runs(self, chosen: str = "") -> None:
        """Read again which networks there are; `chosen` (a run's folder or a checkpoint file) becomes the current one."""
        current = chosen or self.run.currentData() or ""
        self.run.blockSignals(True)
        self.run.clear()
        for record in self.workspace.runs() if self.workspace is not None else []:
            if record.get("verb", "train") == "train" and (Path(record["folder"]) / CHECKPOINT).exists():
                name = run_name(Path(record["folder"])) or record.get("preset") or record.get("method", "")
                self.run.addItem(f"{name}, {short_time(record.get('created', 0))}", record["folder"])
                self.run.setItemData(self.run.count() - 1, record["folder"], Qt.ItemDataRole.ToolTipRole)
        if chosen and self.run.findData(chosen) < 0:
            self.run.addItem(Path(chosen).name, chosen)
        self.run.setCurrentIndex(max(0, self.run.findData(current)) if self.run.count() else -1)
        self.run.blockSignals(False)
        if not self.device.count():
            for device in list_devices():
                self.device.addItem(device.summary, device.id)
        self._run_changed()

    @property
    def run_id(self) -> str:
        """Name under which scores and heat maps of the current network are kept."""
        folder = self.run.currentData()
        return Path(folder).stem if folder else ""

    def _run_changed(self) -> None:
        method = self._method or next(iter(method_names()), "")
        if self.workspace is not None:
            for record in self.workspace.runs():
                if record["folder"] == self.run.currentData():
                    method = record.get("method", method)
        if method != self._method:
            self._method = method
            if self.form is not None:
                self._form_place.removeWidget(self.form)
                self.form.deleteLater()
            self.form = SettingsForm(get_method(method).Options)
            self.form.setVisible(self.settings_toggle.isChecked())
            self._form_place.addWidget(self.form)
        self._read_states()
        self.run_changed.emit()

    # ---- the state of each slide --------------------------------------------------------------------------

    def _read_states(self) -> None:
        """Read how the predictions of the current network ended; what is under way says more."""
        self.states = {}
        if self.workspace is not None and self.run_id:
            known = read_states(self.workspace.folder / "heatmaps" / self.run_id)
            self.states = {
                id: ("stopped" if record["state"] == "running" else record["state"], record.get("error", ""))
                for id, record in known.items()
            }
        for job in self.jobs.jobs:
            if self._is_current(job):
                self._take_states(job)
        self._show_failures()

    def _is_current(self, job: Job) -> bool:
        return job.spec.verb == "predict" and Path(job.spec.arguments.get("output") or "").name == self.run_id

    def _take_states(self, job: Job) -> None:
        for entry in job.spec.arguments["inputs"]:
            id = entry.get("id") if isinstance(entry, dict) else None
            if id is None:
                continue
            said = job.items.get(id)
            if said is not None:
                if said["state"] != "kept":
                    state = "stopped" if said["state"] == "running" and job.final else said["state"]
                    self.states[id] = (state, said.get("error", ""))
            elif not job.final and job.spec.arguments.get("only", "all") == "all":
                self.states[id] = ("waiting", "")
            elif self.states.get(id, ("",))[0] == "waiting":
                del self.states[id]

    def failed(self) -> list[str]:
        """Return the ids of the slides that the current network could not predict."""
        known = {item.id for item in self.workspace.items()} if self.workspace is not None else set()
        return [id for id, (state, _) in self.states.items() if state == "failed" and id in known]

    def try_again(self) -> None:
        """Predict the slides that failed, and nothing else."""
        ids = self.failed()
        if ids:
            self.predict(ids)

    def _name_failed(self) -> None:
        count = len(self.failed())
        self.predict_failed.setEnabled(count > 0)
        self.predict_failed.setText(f"Slides that failed ({count})" if count else "Slides that failed")

    def _show_failures(self) -> None:
        ids = self.failed()
        self.failures.setVisible(bool(ids))
        if ids:
            one = self.states[ids[0]][1]
            words = one if len(ids) == 1 else f"{len(ids)} slides could not be predicted. First: {one}"
            self.failures_text.setText(words)
            self.failures_text.setToolTip("\n".join(self.states[id][1] for id in ids[:20]))

    def _pause(self) -> None:
        if self._job is None:
            return
        if self._job.state in ("paused", "pausing"):
            self._job.resume()
        else:
            self._job.pause()

    def _show_settings(self, shown: bool) -> None:
        if self.form is not None:
            self.form.setVisible(shown)

    def predict(self, items: list[str] | None, only: Only = "all") -> Job | None:
        """Predict the slides with these ids (None: all, the open one first); of them `only` what is asked for."""
        self.problem.say("")
        try:
            job = self.jobs.submit(self.make_spec(items, only))
        except OpsinError as error:
            self.problem.say(str(error))
            return None
        return job

    def make_spec(self, items: list[str] | None, only: Only = "all") -> JobSpec:
        """Return the job that predicts these slides.

        Raises
        ------
        OpsinError : there is no network or no slide, or a setting is wrong.
        """
        if self.workspace is None or not self.run.currentData():
            raise OpsinError("Train a network first, or choose a run that has finished.")
        assert self.form is not None
        known = {item.id: item for item in self.workspace.items()}
        ids = list(known) if items is None else [id for id in items if id in known]
        if not ids:
            raise OpsinError("Open or select a slide first.")
        ids.sort(key=lambda id: id != self.item)
        options = self.form.value().model_dump()
        changed = {name: options[name] for name in self.form.differences()}
        inputs = inputs_of(self.workspace, (known[id] for id in ids), options, changed)
        if ids[0] == self.item and self.view is not None and "view" in options:
            inputs[0]["options"]["view"] = [round(value) for value in self.view.visible_rect()]
        arguments = {
            "checkpoint": str(self.run.currentData()),
            "inputs": inputs,
            "output": str(output_of(self.workspace, Path(self.run.currentData()))),
            "options": changed,
            "only": only,
        }
        title = known[ids[0]].name if len(ids) == 1 else f"{len(ids)} slides"
        if only == "missing":
            title = "slides without a result"
        return JobSpec("predict", self._method, arguments, self.device.currentData() or "auto", f"Predict {title}")

    def _on_added(self, job: Job) -> None:
        Relay(lambda what: self._on_job(job, what), job.changed, parent=self)
        if job.spec.verb == "predict":
            self._show(job)
            self._follow_states(job)

    def _follow_states(self, job: Job) -> None:
        if self._is_current(job):
            self._take_states(job)
            self._show_failures()
            self.states_changed.emit()

    def _on_job(self, job: Job, what: set[str]) -> None:
        if job.spec.verb == "train":
            if "state" in what and job.final:
                folder = Path(job.spec.arguments.get("run") or "")
                self.refresh_runs(str(folder) if (folder / CHECKPOINT).exists() else "")
            return
        if job.spec.verb != "predict":
            return
        if "result" in what:
            self._take_results(job)
        if what & {"state", "progress", "phase"}:
            self._show(job)
        if what & {"state", "item"}:
            self._follow_states(job)

    def _take_results(self, job: Job) -> None:
        """Keep the scores that came in; the workspace tells the table."""
        taken = self._taken.get(job.spec.id, 0)
        events, self._taken[job.spec.id] = job.results[taken:], len(job.results)
        run = Path(job.spec.arguments["output"]).name
        for event in events:
            if self.workspace is None:
                continue
            try:
                self._scores.take(self.workspace, run, event)
            except OpsinError as error:
                self.problem.say(str(error))

    def _show(self, job: Job) -> None:
        """Show how far a prediction is; one that waits does not hide one at work."""
        if self._job is not None and not self._job.final and job is not self._job and job.state == "queued":
            return
        self._job = job
        self.progress.setVisible(not job.final)
        share = job.share
        if share is not None and job.state != "queued":
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * share))
        else:
            self.bar.setRange(0, 0)
        if job.state == "queued":
            words = f"{job.spec.words}: begins after {job.waits_for}" if job.waits_for else f"{job.spec.words}: waiting"
        else:
            words = job.phase[:1].upper() + job.phase[1:]
            if len(job.plan) > 1 and 0 <= job.step < len(job.plan):
                words += f" ({job.step + 1} of {len(job.plan)})"
        if job.state in ("paused", "pausing"):
            words = f"{words}, {'paused' if job.state == 'paused' else 'pausing after this batch'}"
        left = time_left(job) if job.state == "running" else ""
        self.pause.setVisible(job.state in ("running", "pausing", "paused"))
        self.pause.setText("Resume" if job.state in ("pausing", "paused") else "Pause")
        self.pause.setToolTip(
            "Go on" if job.state in ("pausing", "paused") else "Rest after the batch at work; nothing is lost"
        )
        self.progress_text.setText(words + (f", {left}" if left else ""))
        self.progress_text.setToolTip(self.progress_text.text())
        self.stop.setText("Remove" if job.state == "queued" else "Stop")
        self.stop.setToolTip(
            "Take it out of the queue; it has not begun"
            if job.state == "queued"
            else "End at the next tile; slides that are through keep their results"
        )
        self.stop.setEnabled(job.state not in ("stopping", "cancelling"))
        if job.state == "failed":
            self.problem.say(job.error)

    def heat_map(self, item: str | None) -> Path | None:
        """Return the file with the current network's heat map of a slide, None without one."""
        if item is None or self.workspace is None or not self.run_id:
            return None
        kept = next((s.get("heatmap") for s in self.workspace.scores(self.run_id) if s["item"] == item), None)
        for path in (kept, self._scores.maps.get((self.run_id, item)), self.workspace.heatmap_path(self.run_id, item)):
            if path and Path(path).exists():
                return Path(path)
        return None

    def enable(self, selected: bool) -> None:
        """Offer what can be done; `selected`: slides are selected in the table."""
        ready = self.workspace is not None and self.run.count() > 0
        self.run.setEnabled(self.run.count() > 0)
        self.run.setPlaceholderText("no trained network yet")
        slides = ready and bool(self.workspace.items())
        for button, usable, lacking in (
            (self.predict_this, ready and self.item is not None, "Open a slide first."),
            (self.predict_all, slides, "Add slides to the workspace first."),
            (self.predict_selected, ready and selected, "Select slides in the table below first."),
        ):
            button.setEnabled(usable)
            tip = lacking if ready else "Train a network first: under Train."
            button.setToolTip(self._tips[button.text()] if usable else tip)
