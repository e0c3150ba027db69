"""The panel that starts a training: method, preset, device, what it will be trained on, every setting, Train."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.continuing import continued, first_recipe, told
from ..engine.devices import list_devices
from ..engine.errors import OpsinError
from ..engine.jobs import Job, JobSpec
from ..engine.marked import MarkedRoles
from ..engine.method import Method, get_method, method_names
from ..engine.replay import run_name
from ..engine.runs import plain, read_record
from .background import Relay, in_background
from .buttons import IconButton
from .editors import QuietComboBox, combo_grid
from .forms import SettingsForm
from .scrolling import PanelScroll
from .texts import ErrorLabel, MutedLabel, heading

DEFAULTS = "published values"
PRESETS = {
    "paper": "Preset paper: the settings as published; for a large GPU.",
    "workstation": "Preset workstation: the published network on one GPU, overnight.",
    "quick": "Preset quick: a small network, minutes on two processor cores.",
    "tiny": "Preset tiny: seconds, to try the controls; what it learns means nothing.",
}
"""What the presets that every method has are for (see `resources/recipes`)."""


class TrainingPanel(QWidget):
    """Start trainings on the slides of a workspace.

    Parameters
    ----------
    workspace : the open `Workspace`, or None.
    jobs : where trainings are submitted, see `gui/jobs.py`.

    Signals
    -------
    started(Job) : a training was submitted.
    """

    started = Signal(object)

    def __init__(self, workspace: Any, jobs: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace: Any = None
        self.jobs = jobs
        self.form: SettingsForm | None = None
        self._method: Method | None = None
        self._marked: MarkedRoles | None = None
        self._roles: dict[str, frozenset[str]] | None = None  # what is painted where; None until it was looked at
        self._looking = self._look_again = False
        self._build()
        self._relay: Relay | None = None
        self._clock = QTimer(self)
        self._clock.setInterval(2000)
        self._clock.timeout.connect(self._show_devices)
        self._show_devices()
        self.set_workspace(workspace)
        self.method.addItems(method_names())

    # ---- the parts --------------------------------------------------------------------------------------

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(12, 12, 12, 12)
        column.setSpacing(8)
        self.method, self.preset, self.device = QuietComboBox(), QuietComboBox(), QuietComboBox()
        column.addLayout(combo_grid({"&Method": self.method, "&Preset": self.preset, "&Device": self.device}))
        self.about = MutedLabel(wrap=True)
        column.addWidget(self.about)

        column.addSpacing(4)
        column.addWidget(heading("Trained on"))
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        column.addWidget(self.summary)
        self.warnings = QLabel()
        self.warnings.setProperty("kind", "warning")
        self.warnings.setWordWrap(True)
        column.addWidget(self.warnings)
        self._form_place = QVBoxLayout()
        column.addLayout(self._form_place)
        column.addStretch(1)
        self.scroll = PanelScroll(inside)
        layout.addWidget(self.scroll, 1)
        layout.addWidget(self._make_foot())
        self.method.currentTextChanged.connect(self.set_method)
        self.preset.currentTextChanged.connect(self._choose_preset)
        self.device.currentIndexChanged.connect(lambda _: self._refresh())

    def _make_foot(self) -> QWidget:
        foot = QFrame()
        foot.setProperty("kind", "panel")
        column = QVBoxLayout(foot)
        column.setContentsMargins(12, 8, 12, 12)
        column.setSpacing(8)
        line = QFrame()
        line.setProperty("kind", "line")
        column.addWidget(line)
        self.problem = ErrorLabel()
        column.addWidget(self.problem)
        self.train = QPushButton("Train")
        self.train.setProperty("kind", "primary")
        self.train.setMinimumHeight(36)
        self.train.clicked.connect(self.start)
        column.addWidget(self.train)
        row = QHBoxLayout()
        row.setSpacing(4)
        self.command = QLineEdit()
        self.command.setReadOnly(True)
        self.command.setAccessibleName("Command that does the same")
        self.command.setToolTip("The same training from the shell")
        copy = self.copy = IconButton("copy", "Copy as command")
        copy.clicked.connect(lambda: QApplication.clipboard().setText(self.command.text()))
        row.addWidget(self.command, 1)
        row.addWidget(copy)
        column.addLayout(row)
        return foot

    # ---- what is chosen ---------------------------------------------------------------------------------

    def set_workspace(self, workspace: Any) -> None:
        """Work on another workspace, or on none."""
        if self._relay is not None:
            self._relay.drop()
            self._relay = None
        self.workspace = workspace
        self._marked = self._roles = None
        if workspace is not None:
            self._marked = MarkedRoles(workspace.folder)
            self._relay = Relay(self._on_workspace, workspace.changed, parent=self)
        self._refresh()

    def set_method(self, name: str) -> None:
        """Show the presets and the form of another method."""
        if not name or (self._method is not None and self._method.name == name):
            return
        self._method = get_method(name)
        if self.form is not None:
            self._form_place.removeWidget(self.form)
            self.form.deleteLater()
        self.form = SettingsForm(self._method.Recipe)
        self.form.changed.connect(self._refresh)
        self._form_place.addWidget(self.form)
        presets = self._method.presets()
        self.preset.blockSignals(True)
        self.preset.clear()
        for name in presets or [DEFAULTS]:
            self.preset.addItem(name)
            self.preset.setItemData(self.preset.count() - 1, PRESETS.get(name, ""), Qt.ItemDataRole.ToolTipRole)
        first = next((name for name in ("quick", "workstation") if name in presets), "")
        self.preset.setCurrentIndex(max(0, self.preset.findText(first)))
        self.preset.blockSignals(False)
        self._choose_preset(self.preset.currentText())

    def _choose_preset(self, name: str) -> None:
        if self._method is None or self.form is None:
            return
        try:
            recipe = self._method.recipe(None if name == DEFAULTS else name)
        except OpsinError as error:
            self.problem.say(str(error))
            return
        self.form.set_value(recipe)
        paper = self._method.paper
        about = f"{self._method.title} ({'arXiv ' if paper[:4].isdigit() else ''}{paper})."
        self.about.setText("\n".join(part for part in (about, PRESETS.get(name, "")) if part))

    def continue_from(self, folder: str) -> None:
        """Show the settings with which a training goes on from the run in `folder`, with what was corrected since.

        The run's preset is the base, so that what differs from it is marked, and stands in the command.
        """
        try:
            record, recipe = read_record(Path(folder)), continued(Path(folder))
            first = first_recipe(Path(folder))
        except OpsinError as error:
            self.problem.say(str(error))
            return
        self.method.setCurrentText(str(record.get("method", "")))
        preset = str(record.get("preset") or "").split(" +")[0]
        if preset and self.preset.findText(preset) >= 0:
            self.preset.setCurrentText(preset)
        assert self._method is not None and self.form is not None
        self._choose_preset(self.preset.currentText())
        try:
            value = self._method.Recipe.checked(recipe, f"the settings of {Path(folder).name}")
        except OpsinError as error:
            self.problem.say(str(error))
            return
        self.form.change(**value.model_dump())
        self.about.setText(f"Continues “{run_name(Path(folder)) or Path(folder).name}”. {told(recipe, first)}")
        self.scroll.verticalScrollBar().setValue(0)
        self.train.setFocus()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show_devices()
        self._refresh()
        self._clock.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._clock.stop()

    def _show_devices(self) -> None:
        devices = list_devices()
        if [self.device.itemData(i) for i in range(self.device.count())] != [d.id for d in devices]:
            chosen = self.device.currentData()
            self.device.blockSignals(True)
            self.device.clear()
            for device in devices:
                self.device.addItem("", device.id)
            self.device.setCurrentIndex(max(0, self.device.findData(chosen)))
            self.device.blockSignals(False)
        for index, device in enumerate(devices):
            self.device.setItemText(index, device.summary)
            self.device.setItemData(index, device.summary, Qt.ItemDataRole.ToolTipRole)

    def _on_workspace(self, what: str) -> None:
        if what in ("items", "classes") and self.isVisible():
            self._refresh()

    def _look(self) -> None:
        """Look in the background at what is painted; labels change while the panel is shown."""
        if self._looking:
            self._look_again = True
            return
        if self.workspace is None or self._marked is None:
            return
        workspace, marked = self.workspace, self._marked
        ids, classes = [item.id for item in workspace.items()], workspace.classes
        self._looking, self._look_again = True, False

        def done(roles: dict[str, frozenset[str]]) -> None:
            self._looking = False
            if marked is self._marked and roles != self._roles:
                self._roles = roles
                self._say()
            if self._look_again or marked is not self._marked:
                self._look()

        def failed(error: BaseException) -> None:
            self._looking = False
            self.problem.say(str(error))

        in_background(marked.look, ids, classes, workspace.counting, done=done, failed=failed, owner=self)

    # ---- what it says -----------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._say()
        self._look()

    def _say(self) -> None:
        items = self.workspace.items() if self.workspace is not None else []
        summary, warnings = describe_items(items, self._roles)
        self.summary.setText(summary)
        self.warnings.setText("\n".join(warnings))
        self.warnings.setVisible(bool(warnings))
        self.command.setText(self.command_text())
        self.command.setCursorPosition(0)
        problem = self.obstacle()
        self.train.setEnabled(not problem)
        self.train.setToolTip(problem or "Start the training in the background")
        self.problem.say(problem if self.workspace is not None and items else "")

    def obstacle(self) -> str:
        """Return one sentence about why a training cannot start, empty when it can."""
        if self.workspace is None:
            return "Open a workspace first."
        if not self.workspace.items():
            return "Add slides to the workspace first."
        if self.form is None:
            return "No method is installed."
        if not self.form.valid:
            return "A setting above needs attention."
        training = [item for item in self.workspace.items() if item.split in (None, "train")]
        if not training:
            return "There is nothing to train on: give some slides the split “train”."
        if self._roles is not None and not any(learnt(item, self._roles) for item in training):
            return "There is nothing to train on yet: paint tumour on a training slide first."
        return ""

    def command_text(self) -> str:
        """Return the shell command that starts the same training."""
        if self._method is None or self.form is None:
            return ""
        preset = self.preset.currentText()
        words = ["opsin", "train", self._method.name]
        words += ["--data", str(self.workspace.folder) if self.workspace is not None else "WORKSPACE"]
        words += ["--recipe", "paper" if preset == DEFAULTS else preset]
        for name in self.form.differences():
            value = yaml.safe_dump(plain(self.form.rows[name].editor.get()), default_flow_style=True)
            words += ["--set", f"{name}={value.replace('...', '').strip()}"]
        words += ["--device", self.device.currentData() or "auto"]
        return shlex.join(words)

    # ---- what it does -----------------------------------------------------------------------------------

    def start(self) -> Job | None:
        """Submit the training that is shown; None when something stands in the way, which is then said."""
        problem = self.obstacle()
        if problem:
            self.problem.say(problem)
            return None
        assert self._method is not None and self.form is not None
        try:
            job = self.jobs.submit(self.make_spec())
        except OpsinError as error:
            self.problem.say(str(error))
            return None
        self.started.emit(job)
        return job

    def make_spec(self) -> JobSpec:
        """Return the job as it would be submitted now, with a new run folder."""
        assert self._method is not None and self.form is not None and self.workspace is not None
        recipe = self.form.value().model_dump()
        changes = len(self.form.differences())
        preset = self.preset.currentText()
        if changes:
            preset += f" +{changes}"
        self.workspace.flush()
        folder = self.workspace.new_run_folder(self._method.name)
        arguments = {
            "data": str(self.workspace.folder),
            "recipe": recipe,
            "run": str(folder),
            "resume": False,
            "preset": preset,
        }
        return JobSpec("train", self._method.name, arguments, self.device.currentData() or "auto", folder.name)


def learnt(item: Any, roles: dict[str, frozenset[str]] | None) -> frozenset[str]:
    """Return what a training learns from the pixels of a slide: "positive", "negative", both or nothing.

    Parameters
    ----------
    roles : slide id -> roles of what is painted there; None: not known yet.
    """
    painted = roles.get(item.id, frozenset()) if roles is not None else frozenset()
    if roles is None and item.marked > 0:
        painted = frozenset({"positive", "negative"})
    return (painted | ({"negative"} if item.outlined else frozenset())) & {"positive", "negative"}


def describe_items(items: list[Any], roles: dict[str, frozenset[str]] | None = None) -> tuple[str, list[str]]:
    """Return what a training would use, in words, and what is missing, one sentence each.

    Parameters
    ----------
    roles : see `learnt`.
    """
    if not items:
        return "No slides yet.", []
    training = [item for item in items if item.split in (None, "train")]
    held = {name: sum(item.split == name for item in items) for name in ("val", "test")}
    found = [learnt(item, roles) for item in training]
    complete = sum(item.outlined for item in training)
    drawn = sum(bool(what) for what in found)
    positive = sum(item.label == "positive" for item in training)
    negative = sum(item.label == "negative" for item in training)
    unknown = len(training) - positive - negative
    marked = f"{drawn} painted" + (f" ({complete} outlined completely)" if complete else "")
    parts = [
        f"<b>{count(len(training), 'slide')}</b> for training: {marked}, "
        f"{positive} positive, {negative} negative" + (f", {unknown} without a label" if unknown else "")
    ]
    if held["val"] or held["test"]:
        parts.append(f"Held back: {held['val']} for validation, {held['test']} for testing")
    warnings = []
    if not training:
        warnings.append("All slides are held back; give some the split “train”.")
    elif not drawn:
        warnings.append("No training slide is outlined: paint the lesions on at least one.")
    elif not any("negative" in what for what in found):
        warnings.append(
            "Nothing normal is marked, so the first round will take all tissue for tumour: tick “Outlined completely” "
            "where all tumour is outlined, or paint normal tissue."
        )
    elif roles is not None and not any("positive" in what for what in found):
        warnings.append("No tumour is painted on a training slide: nothing shows what tumour looks like.")
    if training and not positive:
        warnings.append("No training slide is labelled positive.")
    if training and not negative:
        warnings.append("No training slide is labelled negative.")
    if not held["val"] and not held["test"]:
        warnings.append("No slide is held back, so results cannot be judged on slides the network has not seen.")
    return ".<br>".join(parts) + ".", warnings


def count(number: int, word: str) -> str:
    """Return "1 slide", "2 slides"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
