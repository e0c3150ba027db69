"""The status bar says what is at work; a press shows it under Runs."""

from __future__ import annotations

import pytest
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from opsin.engine.jobs import Job, JobSpec
from opsin.gui.statusbar import StatusBar, job_text
from opsin.widgets.slide.model import SlideViewModel


class Queue:
    """A job queue that starts nothing."""

    added = Signal(object)

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def add(self, verb: str, **arguments) -> Job:
        job = Job(JobSpec(verb, "hybrid_wsi", arguments))
        self.jobs.append(job)
        self.added.emit(job)
        return job


def event(what: str, /, **content) -> dict:
    return {"event": what, "time": 1.0, **content}


@pytest.fixture
def bar(qtbot):
    bar = StatusBar(SlideViewModel())
    qtbot.addWidget(bar)
    bar.resize(1200, 24)
    bar.show()
    return bar


def test_a_job_is_shown_from_its_first_event_to_its_end(bar, qtbot):
    queue = Queue()
    early = queue.add("train", preset="quick")
    bar.follow(queue)
    qtbot.waitUntil(lambda: bar.job.text() == "Training quick: waits")
    early.apply(event("state", state="running"), event("phase", name="round 1: E-step"))
    early.apply(event("progress", done=1, total=3, what="slides"))
    qtbot.waitUntil(lambda: bar.job.text() == "Training quick: round 1: E-step, 33 %")
    late = queue.add("predict", inputs=["a"])
    qtbot.waitUntil(lambda: bar.job.text().endswith("+1"))
    assert bar.job.text().startswith("Training")
    early.apply(event("state", state="done"))
    late.apply(event("state", state="running"))
    qtbot.waitUntil(lambda: bar.job.text().startswith("Prediction:"))
    late.apply(event("state", state="failed"))
    qtbot.waitUntil(lambda: bar.job.isHidden())


def test_words_for_each_state():
    job = Job(JobSpec("train", "hybrid_wsi", {"name": "first"}))
    for state, text in (
        ("running", "running"),
        ("paused", "paused"),
        ("stopping", "stopping"),
        ("starting", "starting"),
    ):
        job.state = state
        assert job_text(job) == f"Training first: {text}"


def test_a_press_shows_the_runs(opened, qtbot):
    job = Job(JobSpec("train", "hybrid_wsi", {"preset": "quick"}))
    opened.jobs.jobs.append(job)
    opened.status.follow(opened.jobs)
    qtbot.waitUntil(opened.status.job.isVisible)
    QTest.mouseClick(opened.status.job, Qt.MouseButton.LeftButton)
    assert opened.room.tabs.currentWidget().objectName() == "runs"
    job.apply(event("state", state="done"))
    opened.jobs.jobs.remove(job)
