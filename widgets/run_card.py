"""The card of one job: how far it is, what it reports, and what can be asked of it; also of a finished run, read-only."""

from __future__ import annotations

import time
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor, QHideEvent, QPainter, QPaintEvent, QShowEvent
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.jobs import Job
from .background import Relay
from .buttons import Disclosure
from .plots import CurvePlot, plot_loader
from .texts import ElidedLabel, ErrorLabel, MutedLabel
from .theme import colors

PERIOD = 200
"""ms between two updates of a visible card: 5 Hz."""
PATIENCE = 3.0
"""Seconds a request may wait before the card offers to end the process."""

STALE = 5.0
"""Seconds without a heartbeat after which the card says so."""

ALL = frozenset({"pause", "resume", "stop", "cancel", "kill"})

STATE_WORDS = {
    "queued": "Waiting",
    "starting": "Starting",
    "running": "Running",
    "pausing": "Pausing…",
    "paused": "Paused",
    "stopping": "Stopping…",
    "cancelling": "Cancelling…",
    "done": "Done",
    "stopped": "Stopped",
    "cancelled": "Cancelled",
    "failed": "Failed",
    "interrupted": "Interrupted",
    "unreadable": "Unreadable",
}


class RunCard(QFrame):
    """Shows a `Job`. Asking is answered at once; the rest is brought up to date five times a second while visible.

    Signals
    -------
    resume_requested : go on with this stopped, failed or interrupted run.
    repeat_requested : do it again from the beginning; it kept nothing to go on from.
    """

    resume_requested = Signal()
    repeat_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("kind", "card")
        self.job: Job | None = None
        self.resumable = self.repeatable = False
        self.note = ""
        self._dirty: set[str] = set()
        self._relay: Relay | None = None
        self._logged = ""
        self._last_beat = 0.0
        self._build()
        self._timer = QTimer(self)
        self._timer.setInterval(PERIOD)
        self._timer.timeout.connect(self.update_now)

    # ---- the parts --------------------------------------------------------------------------------------

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(8)
        head = QHBoxLayout()
        head.setSpacing(8)
        self.dot = StateDot()
        self.state = QLabel()
        self.state.setProperty("kind", "section")
        self.title = ElidedLabel()
        self.title.setProperty("kind", "muted")
        self.title.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        head.addWidget(self.dot)
        head.addWidget(self.state)
        head.addWidget(self.title, 1)
        layout.addLayout(head)

        self.now = QWidget()
        line = QHBoxLayout(self.now)
        line.setContentsMargins(0, 0, 0, 0)
        self.phase = QLabel()
        self.phase.setWordWrap(True)
        self.left = MutedLabel()
        line.addWidget(self.phase, 1)
        line.addWidget(self.left)
        layout.addWidget(self.now)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.bar.setAccessibleName("Progress")
        layout.addWidget(self.bar)
        self.facts = MutedLabel(wrap=True)
        layout.addWidget(self.facts)
        self.about_labels = MutedLabel(
            "Labels changed now enter with the next round; those of the last round, with the next training.", wrap=True
        )
        self.about_labels.hide()
        layout.addWidget(self.about_labels)
        self.error = ErrorLabel()
        layout.addWidget(self.error)

        self.offer = QFrame()
        self.offer.setProperty("banner", "warning")
        self.offer.setProperty("inset", True)
        offered = QVBoxLayout(self.offer)
        offered.setContentsMargins(12, 8, 12, 8)
        self.offer_text = QLabel()
        self.offer_text.setWordWrap(True)
        self.kill = QPushButton("End the process")
        self.kill.clicked.connect(lambda: self.job and self.job.kill())
        offered.addWidget(self.offer_text)
        offered.addWidget(self.kill, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self.offer)

        layout.addWidget(self._make_buttons())
        layout.addWidget(self._make_question())
        for widget in (self.offer, self.resume, self.repeat, self.pause, self.stop, self.cancel):
            widget.hide()  # until a job says what can be asked of it
        self.loss = CurvePlot("Loss")
        self.other_losses = CurvePlot("Other losses")
        self.metrics = CurvePlot("Metrics", unit_range=True)
        self.rounds = CurvePlot("By round", points=True)
        for plot in (self.loss, self.other_losses, self.metrics, self.rounds):
            plot.hide()
            layout.addWidget(plot)
        layout.addStretch(0)

        self.log_toggle = Disclosure("Log")
        self.log_toggle.toggled.connect(self._show_log)
        layout.addWidget(self.log_toggle, 0, Qt.AlignmentFlag.AlignLeft)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(2000)
        self.log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.log.setMinimumHeight(140)
        self.log.setAccessibleName("Log")
        self.log.hide()
        layout.addWidget(self.log)
        self.stack = QPlainTextEdit()
        self.stack.setReadOnly(True)
        self.stack.setMinimumHeight(120)
        self.stack.setAccessibleName("What the worker is doing")
        self.stack.hide()
        layout.addWidget(self.stack)

    def _make_buttons(self) -> QWidget:
        self.buttons = QWidget()
        row = QHBoxLayout(self.buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        self.pause = QPushButton("Pause")
        self.pause.clicked.connect(self._pause_or_resume)
        self.stop = QPushButton("Stop and keep")
        self.stop.clicked.connect(lambda: self.job and self.job.stop())
        self.cancel = QPushButton("Discard…")
        self.cancel.setProperty("kind", "danger")
        self.cancel.setToolTip("End and throw away everything this run has made")
        self.cancel.clicked.connect(lambda: self._ask(True))
        self.resume = QPushButton("Resume")
        self.resume.setProperty("kind", "primary")
        self.resume.setToolTip("Go on from the last checkpoint")
        self.resume.clicked.connect(self.resume_requested)
        self.repeat = QPushButton("Start again")
        self.repeat.setProperty("kind", "primary")
        self.repeat.setToolTip("A new run with the same settings; this one kept nothing to go on from")
        self.repeat.clicked.connect(self.repeat_requested)
        for button in (self.resume, self.repeat, self.pause, self.stop, self.cancel):
            row.addWidget(button)
        row.addStretch(1)
        return self.buttons

    def _make_question(self) -> QWidget:
        """Return the question asked in place before a run is thrown away."""
        self.question = QFrame()
        self.question.setProperty("banner", "error")
        self.question.setProperty("inset", True)
        box = QVBoxLayout(self.question)
        box.setContentsMargins(12, 8, 12, 8)
        self.question_text = QLabel("Throw away this run and everything it has made?")
        self.question_text.setWordWrap(True)
        box.addWidget(self.question_text)
        row = QHBoxLayout()
        self.discard = QPushButton("Discard the run")
        self.discard.setProperty("kind", "danger")
        self.discard.clicked.connect(self._discard)
        self.keep = QPushButton("Keep going")
        self.keep.clicked.connect(lambda: self._ask(False))
        row.addWidget(self.keep)
        row.addWidget(self.discard)
        row.addStretch(1)
        box.addLayout(row)
        self.question.hide()
        return self.question

    # ---- what is shown ----------------------------------------------------------------------------------

    def set_job(
        self, job: Job | None, title: str = "", resumable: bool = False, repeatable: bool = False, note: str = ""
    ) -> None:
        """Show another job, or nothing.

        Parameters
        ----------
        resumable : the run is not at work and can go on: offer that.
        repeatable : the run is not at work and can only be started again: offer that.
        note : what is known of the finished run beside what it reported, one sentence.
        """
        if self._relay is not None:
            self._relay.drop()
            self._relay = None
        self.job, self.resumable, self.repeatable, self.note = job, resumable, repeatable, note
        self._logged = ""
        self._last_beat = 0.0
        self.log.clear()
        self.question.hide()
        self.title.set_text(title or (job.spec.title if job else ""))
        if job is not None:
            plot_loader().load()
            self._relay = Relay(self._changed, job.changed, parent=self)
            self._dirty = {"state", "phase", "progress", "metrics", "log", "heartbeat"}
            self.update_now()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._dirty |= {"state", "phase", "progress", "metrics", "log", "heartbeat"}
        self.update_now()
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()

    def _changed(self, what: set[str]) -> None:
        self._dirty |= what
        if "heartbeat" in what:
            self._last_beat = time.monotonic()
        if "state" in what:
            self._show_state()

    def update_now(self) -> None:
        """Bring everything up to date that changed since the last time."""
        job = self.job
        if job is None:
            return
        dirty, self._dirty = self._dirty, set()
        self._show_state()
        self._show_progress(job)
        if dirty & {"log", "phase", "state"} and self.log.isVisible():
            self._append_log(job)
        if "metrics" in dirty:
            self._show_curves(job)

    def _show_state(self) -> None:
        job = self.job
        if job is None:
            return
        state = job.state
        only = getattr(job.controller, "only", ALL) if job.controller is not None else frozenset()
        active = at_work(job)
        beat = self._last_beat
        stale = active and state == "running" and beat and time.monotonic() - beat > STALE
        self.dot.set_state(state, bool(stale))
        self.state.setText(STATE_WORDS.get(state, state.capitalize()))
        training, paused = job.spec.verb == "train", state in ("paused", "pausing")
        self.buttons.setVisible(
            (active and bool(only & {"pause", "stop", "cancel"})) or self.resumable or self.repeatable
        )
        self.resume.setVisible(self.resumable and not active)
        self.repeat.setVisible(self.repeatable and not self.resumable and not active)
        self.pause.setVisible(active and "pause" in only and training and state != "queued")
        self.pause.setText("Resume" if paused else "Pause")
        self.pause.setToolTip("Go on where it was paused" if paused else "Hold at the next batch; nothing is lost")
        self.pause.setEnabled(state in ("running", "paused", "pausing"))
        self.stop.setVisible(active and "stop" in only)
        self.stop.setEnabled(state in ("queued", "starting", "running", "pausing", "paused"))
        self.stop.setText("Remove from the queue" if state == "queued" else "Stop and keep" if training else "Stop")
        self.stop.setToolTip(
            "It has not begun: nothing is lost"
            if state == "queued"
            else "Save a checkpoint at the next batch and end; the run can be resumed"
            if training
            else "End at the next tile; slides that are through keep their results"
        )
        self.cancel.setVisible(active and "cancel" in only and training and state != "queued")
        self.cancel.setEnabled(state != "cancelling")
        self.about_labels.setVisible(active and training and state != "queued" and "rounds" in self._recipe(job))
        waits = state in ("pausing", "stopping", "cancelling") and job.seconds_waited > PATIENCE
        self.offer.setVisible(active and "kill" in only and (waits or only == {"kill"}))
        kept = "" if state == "cancelling" else " You can end the process now and keep the last checkpoint."
        if waits:
            self.offer_text.setText("A batch is taking long." + kept)
        else:
            self.offer_text.setText("Another window or a shell started this run." + kept)
        if not active:
            self.question.hide()
        self.error.say(job.error if state == "failed" else "")

    def _show_progress(self, job: Job) -> None:
        beat = job.heartbeat
        seconds = float(beat.get("seconds") or 0)
        phase = job.phase or beat.get("phase", "")
        self.phase.setText(phase[:1].upper() + phase[1:] if not job.final else "")
        if job.state == "queued":
            self.phase.setText(f"Begins after: {job.waits_for}" if job.waits_for else "Waiting for its turn")
        share = job.share
        self.bar.setVisible(not job.final and job.state != "queued")
        if share is not None:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * share))
        elif job.state in ("starting", "running"):
            self.bar.setRange(0, 0)
        self.left.setText(time_left(job))
        facts = []
        if not job.final and len(job.plan) > 1 and 0 <= job.step < len(job.plan):
            facts.append(f"{'step' if job.spec.verb == 'train' else 'slide'} {job.step + 1} of {len(job.plan)}")
        if job.total and not job.final:
            facts.append(f"{job.what}: {job.done:,.0f} of {job.total:,.0f}")
        if job.started is not None:
            facts.append(f"{duration(job.worked())} {'in all' if job.final else 'so far'}")
        if not job.final and beat.get("memory"):
            facts.append(f"memory {beat['memory'] / 2**30:.1f} GiB")
        if not job.final and beat.get("gpu"):
            facts.append(f"GPU {beat['gpu'] / 2**30:.1f} GiB")
        if not job.final and seconds > 10:
            facts.append(f"last batch {duration(seconds)} ago")
        if self.note and not at_work(job):
            facts.append(self.note)
        self.facts.setText("  ·  ".join(facts))
        self.facts.setVisible(bool(facts))
        stack = "" if job.final else str(beat.get("stack") or "")
        if stack != self.stack.toPlainText():
            self.stack.setPlainText(stack)
        self.stack.setVisible(bool(stack) and self.log_toggle.isChecked())
        if stack and seconds > 60:
            self.left.setText("nothing moves; see the log")
        self.now.setVisible(bool(self.phase.text() or self.left.text()))

    @staticmethod
    def _recipe(job: Job) -> dict[str, Any]:
        return job.spec.arguments.get("recipe") or {}

    def _show_curves(self, job: Job) -> None:
        by_step, by_round = split_curves(job.metrics)
        losses = {n: c for n, c in by_step.items() if "loss" in n.lower()}
        shares = {n: c for n, c in by_step.items() if n not in losses and is_share(n, c[1])}
        losses, others = same_steps(losses)
        for plot, curves in (
            (self.loss, losses),
            (self.other_losses, others),
            (self.metrics, shares),
            (self.rounds, by_round),
        ):
            plot.set_curves(short_names(curves))
            plot.setVisible(bool(curves))

    def _show_log(self, shown: bool) -> None:
        self.log.setVisible(shown)
        self.stack.setVisible(shown and bool(self.stack.toPlainText()))
        if shown and self.job is not None:
            self._append_log(self.job)

    def _append_log(self, job: Job) -> None:
        """Add the lines that came since the last one shown; the job keeps a bounded number of them."""
        lines = list(job.log)
        new = lines
        if self._logged:
            places = [i for i, text in enumerate(lines) if text is self._logged]
            new = lines[places[-1] + 1 :] if places else lines
        if new:
            self.log.appendPlainText("\n".join(new))
            self._logged = lines[-1]

    # ---- what is asked ----------------------------------------------------------------------------------

    def _pause_or_resume(self) -> None:
        if self.job is not None:
            if self.job.state in ("paused", "pausing"):
                self.job.resume()
            else:
                self.job.pause()

    def _ask(self, shown: bool) -> None:
        self.question.setVisible(shown)
        (self.keep if shown else self.cancel).setFocus()

    def _discard(self) -> None:
        self.question.hide()
        if self.job is not None:
            self.job.cancel()


class StateDot(QWidget):
    """A dot in the colour of a state; hollow when the worker has not been heard of for a while."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state, self._stale = "", False
        self.setFixedSize(12, 12)

    def set_state(self, state: str, stale: bool = False) -> None:
        if (state, stale) != (self._state, self._stale):
            self._state, self._stale = state, stale
            self.setToolTip("Nothing heard from the worker for some seconds" if stale else "")
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = QColor(state_color(self._state))
        painter.setPen(color)
        painter.setBrush(Qt.BrushStyle.NoBrush if self._stale else color)
        painter.drawEllipse(2, 2, 8, 8)
        painter.end()


def state_color(state: str) -> str:
    """Return the colour that stands for a state."""
    c = colors()
    if state in ("starting", "running"):
        return c.accent
    if state in ("pausing", "paused", "stopping", "cancelling", "interrupted"):
        return c.warning
    return {"done": c.negative, "failed": c.error, "unreadable": c.error}.get(state, c.control)


def at_work(job: Job) -> bool:
    """Tell whether a job runs or is about to."""
    return not (job.final or job.state in ("interrupted", "unreadable"))


def time_left(job: Job) -> str:
    """Return how long the whole job will take, or the step at work as long as nobody can tell more; "" when unknown."""
    if not at_work(job) or job.state in ("queued", "paused"):
        return ""
    left = job.seconds_left
    if left is not None:
        return f"{duration(left)} left"
    step = job.step_seconds_left
    return "" if step is None else f"{duration(step)} left in this step"


def duration(seconds: float) -> str:
    """Return a time span as a person would say it: "45 s", "12 min", "3 h 05 min"."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def is_share(name: str, values: list[Any]) -> bool:
    """Tell whether all values lie between 0 and 1, as accuracies, areas under curves and overlaps do."""
    return not name.startswith("seconds") and bool(values) and min(values) >= 0 and max(values) <= 1


def split_curves(curves: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell curves that count training steps from those that count rounds: their axes have nothing in common.

    A curve counts rounds when it has few points, at small numbers, while another goes on far beyond them.
    """
    longest = max((steps[-1] for steps, _ in curves.values() if steps), default=0)
    rounds = {n: c for n, c in curves.items() if len(c[0]) <= 50 and c[0][-1] <= 50 and longest > 3 * c[0][-1]}
    return {n: c for n, c in curves.items() if n not in rounds}, rounds


def same_steps(curves: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell the curves that count the steps of the main one ("loss", else the first) from those that count their own."""
    main = curves.get("loss") or next(iter(curves.values()), None)
    same = {n: c for n, c in curves.items() if main is not None and c[0] and main[0] and c[0][-1] == main[0][-1]}
    return same, {n: c for n, c in curves.items() if n not in same}


def short_names(curves: dict[str, Any]) -> dict[str, Any]:
    """Drop a prefix that all names share up to a slash: it tells them apart from nothing."""
    heads = {name.rpartition("/")[0] for name in curves}
    if len(heads) == 1 and heads != {""}:
        return {name.rpartition("/")[2]: curve for name, curve in curves.items()}
    return curves
