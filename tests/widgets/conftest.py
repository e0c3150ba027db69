"""What tests of panels share: a job queue that starts nothing, a small workspace, runs on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from psygnal import Signal

from opsin.engine.jobs import Job, JobSpec
from opsin.engine.runs import Run
from opsin.engine.verbs import CHECKPOINT
from opsin.engine.workspace import Workspace
from opsin.widgets.background import finish_background


class Asked:
    """Controller that notes what it was asked."""

    def __init__(self) -> None:
        self.wishes: list[str] = []

    def pause(self) -> None:
        self.wishes.append("pause")

    def resume(self) -> None:
        self.wishes.append("resume")

    def stop(self) -> None:
        self.wishes.append("stop")

    def cancel(self) -> None:
        self.wishes.append("cancel")

    def kill(self) -> None:
        self.wishes.append("kill")


class FakeJobs:
    """Job queue that starts nothing."""

    added = Signal(object)
    finished = Signal(object)
    changed = Signal()

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.moved: list[tuple[Job, int]] = []
        self.removed: list[Job] = []

    def submit(self, spec: JobSpec) -> Job:
        job = Job(spec, Asked())
        self.jobs.append(job)
        self.added.emit(job)
        return job

    def move(self, job: Job, places: int) -> None:
        self.moved.append((job, places))

    def remove(self, job: Job) -> None:
        self.removed.append(job)


def event(what: str, /, **content: Any) -> dict[str, Any]:
    """Return an event as a worker sends it."""
    return {"event": what, "time": time.time(), **content}


@pytest.fixture
def fake_jobs() -> FakeJobs:
    """A job queue that starts nothing."""
    return FakeJobs()


@pytest.fixture(name="event")
def event_fixture():
    """Make an event as a worker sends it: ``event("phase", name="load")``."""
    return event


@pytest.fixture
def workspace(tmp_path):
    """A workspace with eight tiny slides: odd ones positive; the first two outlined; train, val and test."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(8):
        path = tmp_path / f"slide_{number}.png"
        Image.fromarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
        paths.append(path)
    workspace = Workspace.create(tmp_path / "workspace")
    splits = ("train", "train", "train", "train", "val", "val", "test", "test")
    for number, item in enumerate(workspace.add(paths)):
        workspace.update(
            item.id,
            label="positive" if number % 2 else "negative",
            split=splits[number],
            outlined=number < 2,
        )
    yield workspace
    workspace.close()


@pytest.fixture
def make_run(workspace):
    """Make a run on disk, as a worker leaves it."""

    def make(state: str = "done", metrics: dict[str, Any] | None = None, **recipe: Any) -> Path:
        folder = workspace.new_run_folder("hybrid_wsi")
        run = Run(folder)
        run.describe(
            method="hybrid_wsi",
            verb="train",
            preset="tiny",
            device="cpu",
            data=str(workspace.folder),
            recipe=recipe,
            metrics=metrics or {},
            command="opsin train hybrid_wsi --data x",
        )
        run.set_state("running")
        run.phase("round 1: first batch")
        for step in range(40):
            run.log(step=step, loss=1 / (step + 1))
        run.message("all is well")
        (run.part("checkpoints") / "state.safetensors").write_bytes(b"state")
        run.set_state(state)
        run.close()
        if state == "done":
            (folder / CHECKPOINT).parent.mkdir(exist_ok=True)
            (folder / CHECKPOINT).write_bytes(b"weights")
        return folder

    return make


@pytest.fixture(autouse=True)
def _no_work_left(request):
    """Let background threads end before their objects go."""
    yield
    if "qapp" in request.fixturenames:
        finish_background()
