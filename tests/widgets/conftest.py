"""Stand-ins for the job queue: they record what was asked and let a test play the worker."""

from __future__ import annotations

import time
from typing import Any

from opsin.engine.jobs import Job, JobSpec
from psygnal import Signal


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


def event(kind: str, **content: Any) -> dict[str, Any]:
    """Return an event as a worker sends it."""
    return {"event": kind, "time": time.time(), **content}


def running(job: Job) -> Job:
    """Let a job run."""
    job.apply(event("state", state="running"))
    return job
