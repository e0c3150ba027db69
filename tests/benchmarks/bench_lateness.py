"""How late the window is while it trains: a 10 ms timer on the window's thread, a real training through the job queue.

The process under test shows the runs panel, as a user would while waiting. Lateness = how much later than due the timer fires.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

INTERVAL = 0.010
BARS = {"p95": 50.0, "max": 200.0}  # ms; goals, reported either way


def rows(quick: bool) -> list[dict[str, Any]]:
    """Measure in a process of its own, off screen, and return rows: idle for comparison, then while training."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "QT_API": "pyside6"}
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); import tests.benchmarks.bench_lateness as b; b.child({quick})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=900
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    table = []
    for when, words in (("idle", "nothing runs"), ("training", "while training")):
        for name in ("p95", "max"):
            value = found[when][name]
            table.append(
                {
                    "name": f"window lateness {name}, {words}",
                    "value": value,
                    "unit": "ms",
                    "bar": f"< {BARS[name]:.0f} ms" if when == "training" else "",
                    "ok": value < BARS[name] if when == "training" else None,
                    "note": found[when]["note"],
                }
            )
    return table


def child(quick: bool) -> None:
    """Measure and print one line of JSON."""
    from qtpy.QtWidgets import QApplication

    from opsin.engine.workspace import Workspace
    from opsin.gui.jobs import JobQueue
    from opsin.widgets.runs import RunPanel
    from opsin.widgets.theme import apply_theme
    from opsin.widgets.training import TrainingPanel

    application = QApplication([])
    apply_theme(application, "light")
    with tempfile.TemporaryDirectory() as name, Workspace.create(Path(name) / "workspace") as workspace:
        _fill(workspace, Path(name))
        jobs = JobQueue()
        training, runs = TrainingPanel(workspace, jobs), RunPanel(workspace, jobs)
        runs.resize(420, 900)
        runs.show()
        watch = _Watch()
        _spin(application, 2.0 if quick else 5.0)
        idle = watch.take("runs panel shown")
        training.preset.setCurrentText("tiny")
        training.device.setCurrentIndex(training.device.findData("cpu"))
        training.form.change(steps_initial=60 if quick else 400, steps_round=30 if quick else 200)
        job = training.start()
        assert job is not None
        while not job.final:
            _spin(application, 0.2)
        steps = len(job.metrics["loss"][0])
        seconds = (job.ended or 0.0) - (job.started or 0.0)
        busy = watch.take(
            f"{job.state}, {steps} steps in {seconds:.0f} s on {os.cpu_count()} cores, start of torch included"
        )
        jobs.close("cancel")
        for panel in (training, runs):
            panel.deleteLater()
        _spin(application, 0.1)
    print(json.dumps({"idle": idle, "training": busy}))


class _Watch:
    """Counts how late a precise timer fires."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self._late: list[float] = []
        self._due = time.perf_counter() + INTERVAL
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(round(INTERVAL * 1000))
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self._late.append(max(0.0, now - self._due) * 1000)
        self._due = now + INTERVAL

    def take(self, note: str) -> dict[str, Any]:
        """Return what was seen since the last time: 95th percentile and maximum in ms."""
        import numpy as np

        late, self._late = self._late, []
        return {"p95": float(np.percentile(late, 95)), "max": float(max(late)), "note": f"{note}; {len(late)} ticks"}


def _spin(application: Any, seconds: float) -> None:
    """Run the event loop as `exec` does: sleeping until something happens."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop(application)
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()


def _fill(workspace: Any, folder: Path) -> None:
    """Four small pictures with a dark lesion in every second one, two of them outlined."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(1)
    paths = []
    for number in range(4):
        pixels = np.full((512, 640, 3), 240, np.uint8)
        pixels[20:490, 20:620] = (220, 150, 180)
        if number % 2:
            pixels[40:220, 40:260] = (110, 60, 140)
        pixels = np.clip(pixels + random.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"slide_{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    for number, item in enumerate(workspace.add(paths)):
        workspace.update(item.id, label="positive" if number % 2 else "negative", split="train", outlined=number < 2)
        if number == 1:
            ring = np.array([[40, 40], [260, 40], [260, 220], [40, 220]], float)
            workspace.labels(item).polygon([ring], 1)
