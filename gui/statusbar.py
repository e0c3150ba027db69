"""The bar at the bottom: magnification, resolution with its source, cursor, class there, the job at work, when last saved,
the device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QLabel, QPushButton, QStatusBar, QWidget

from ..engine.devices import list_devices
from ..widgets import theme
from ..widgets.background import Relay
from ..widgets.slide.model import SlideViewModel

if TYPE_CHECKING:
    from ..engine.jobs import Job

DEVICE_MS = 2000
JOB_MS = 250
STATES = {"queued": "waits", "starting": "starting", "paused": "paused", "pausing": "pausing", "stopping": "stopping",
          "cancelling": "stopping"}  # fmt: skip


def job_text(job: Job) -> str:
    """A running job in a few words: `Training quick: round 2: E-step, 34 %`."""
    if job.state in STATES:
        return f"{job.spec.words}: {STATES[job.state]}"
    parts = [job.phase] if job.phase else []
    if job.total:
        parts.append(f"{100 * min(job.done / job.total, 1):.0f} %")
    return f"{job.spec.words}: {', '.join(parts) or 'running'}"


class StatusBar(QStatusBar):
    """The bar.

    Signals
    -------
    mpp_clicked() : the user wants to correct the resolution.
    runs_asked() : the user wants to see the jobs.
    """

    mpp_clicked = Signal()
    runs_asked = Signal()

    def __init__(self, model: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self.setSizeGripEnabled(False)
        self.magnification = QLabel()
        self.magnification.setToolTip("Magnification on this screen: 10x is 1 µm per screen pixel")
        self.mpp = QPushButton()
        self.mpp.setToolTip("Resolution of the slide and where it comes from; press to correct it")
        self.position = QLabel()
        self.position.setToolTip("Cursor in full-resolution pixels")
        self.class_name = QLabel()
        self.class_name.setToolTip("Class under the cursor")
        self.saved = QLabel()
        self.saved.setToolTip("When the labels were last written to disk; they are saved as you paint")
        self.device = QLabel()
        for widget in (self.magnification, self.mpp, self.position, self.class_name):
            self.addWidget(widget)
        self.job = QPushButton()
        self.job.setToolTip("What is at work; press to see it under Runs")
        self.job.hide()
        self._jobs: Any = None
        self.job.clicked.connect(self.runs_asked)
        self._job_timer = QTimer(self)
        self._job_timer.setSingleShot(True)
        self._job_timer.setInterval(JOB_MS)
        self._job_timer.timeout.connect(self.show_job)
        for widget in (self.job, self.saved, self.device):
            self.addPermanentWidget(widget)
        self.mpp.clicked.connect(self.mpp_clicked)
        self._relays = [
            Relay(lambda _: self._show_view(), model.viewed, model.events.zoom, parent=self),
            Relay(
                lambda _: self._show_mpp(), model.events.mpp, model.events.mpp_source, model.events.slide, parent=self
            ),
        ]
        theme.theme_changed().connect(self.restyle)
        self._timer = QTimer(self)
        self._timer.setInterval(DEVICE_MS)
        self._timer.timeout.connect(self.show_device)
        self._timer.start()
        self.restyle()
        self._show_view()
        self._show_mpp()

    def restyle(self) -> None:
        """Keep room for the widest numbers, so that nothing moves while the pointer does."""
        metrics = self.fontMetrics()
        for label, widest in ((self.magnification, "0.00x"), (self.position, "000,000, 000,000")):
            label.setMinimumWidth(metrics.horizontalAdvance(widest) + theme.px(16))
        self.class_name.setMinimumWidth(theme.px(96))

    def _show_view(self) -> None:
        self.magnification.setText(self.model.magnification_text if self.model.slide is not None else "")

    def _show_mpp(self) -> None:
        slide = self.model.slide
        self.mpp.setVisible(slide is not None)
        if self.model.mpp:
            self.mpp.setText(f"{self.model.mpp:.4g} µm/px, {self.model.mpp_source}")
        else:
            self.mpp.setText("Resolution unknown: set it")
        self._show_view()
        if slide is None:
            self.position.clear()
            self.class_name.clear()
            self.saved.clear()

    def follow(self, jobs: Any) -> None:
        """Show from now on what is at work in this queue."""
        self._jobs = jobs
        self._followed = Relay(lambda _: self._job_soon(), parent=self)
        for job in jobs.jobs:
            self._followed.listen(job.changed)
        self._relays.append(Relay(self._job_added, jobs.added, parent=self))
        self._job_soon()

    def _job_added(self, job: Job) -> None:
        self._followed.listen(job.changed)
        self._job_soon()

    def _job_soon(self) -> None:
        if not self._job_timer.isActive():
            self._job_timer.start()

    def show_job(self) -> None:
        """Show the job at work (else the first that waits), and how many there are besides."""
        left = [job for job in self._jobs.jobs if not job.final] if self._jobs is not None else []
        left.sort(key=lambda job: job.state == "queued")
        self.job.setVisible(bool(left))
        if left:
            text = job_text(left[0]) + (f"  +{len(left) - 1}" if len(left) > 1 else "")
            metrics = self.job.fontMetrics()
            self.job.setText(metrics.elidedText(text, Qt.TextElideMode.ElideMiddle, theme.px(300)))
            self.job.setAccessibleName(text)

    def show_cursor(self, x: float, y: float, label: int, rgb: object) -> None:
        """Show where the pointer is and which class lies there."""
        slide = self.model.slide
        if slide is None or not (0 <= x < slide.width and 0 <= y < slide.height):
            self.position.clear()
            self.class_name.clear()
            return
        self.position.setText(f"{int(x):,}, {int(y):,}")
        found = self.model.label_class(label) if label else None
        self.class_name.setText(found.name if found is not None else "Removed class" if label else "")

    def show_saved(self, moment: float | None) -> None:
        """Show when the labels were last made durable; nothing when that is not known."""
        if not moment:
            self.saved.clear()
            return
        then = time.localtime(moment)
        today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", then)
        self.saved.setText(time.strftime("Saved %H:%M:%S" if today else "Saved %Y-%m-%d %H:%M", then))

    def show_unsaved(self) -> None:
        """Say that labels wait to be saved."""
        self.saved.setText("Not saved yet")

    def show_device(self) -> None:
        """Show the preferred device and its free memory."""
        if not self.isVisible():
            return
        devices = list_devices()
        first = devices[0]
        self.device.setText(f"{first.title}: {first.free / 2**30:.1f} of {first.total / 2**30:.0f} GiB free")
        self.device.setToolTip("\n".join(device.summary for device in devices))
