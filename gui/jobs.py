"""The queue of jobs: one at a time on each device, each supervised by a thread that watches a worker process.

A training gets a fresh process, which gives all its memory back when it ends. Predictions go to one warm
process per device, which keeps its models loaded until a training needs the device. Whatever happens to a
process, the window gets a sentence and lives on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEventLoop, QObject, QThreadPool, QTimer, Signal
from superqt.utils import create_worker

from ..engine.devices import resolve
from ..engine.jobs import Job, JobSpec
from ..engine.replay import INTERRUPTED, job_of
from ..engine.runs import FINAL, Event
from ..engine.worker import WorkerProcess, listens
from .supervise import ALL, Wishes, follow, supervise

if TYPE_CHECKING:
    from ..engine.workspace import Workspace


class JobQueue(QObject):
    """All jobs of this session, in the order in which they were submitted.

    Parameters
    ----------
    make_process : makes a worker's handle; tests put their own here.

    Signals
    -------
    added(Job), finished(Job) : a job was submitted; its process is through with it.
    changed() : the order of the waiting jobs, or which of them are running, changed.
    idle() : nothing runs and nothing waits any more.
    """

    added = Signal(object)
    finished = Signal(object)
    changed = Signal()
    idle = Signal()

    def __init__(
        self, make_process: Callable[[], WorkerProcess] = WorkerProcess, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.jobs: list[Job] = []
        self._make_process = make_process
        self._device: dict[str, str] = {}
        self._active: dict[str, tuple[Job, WorkerProcess | None]] = {}
        self._warm: dict[str, WorkerProcess] = {}
        self._threads: dict[str, Any] = {}  # keeps the superqt workers alive until they end
        self._closed = False

    # ---- the queue -------------------------------------------------------------------------------

    def submit(self, spec: JobSpec) -> Job:
        """Take a job in; it starts at once when its device is free.

        Raises
        ------
        DeviceError : there is no such device.
        """
        device = resolve(spec.device)
        job = Job(spec)
        job.controller = _Waiting(self, job)
        self._device[spec.id] = device
        self.jobs.append(job)
        self.added.emit(job)
        self._start_next()
        return job

    def attach(self, folder: Path) -> Job:
        """Show a run that another process is working on: an earlier window left it going.

        Raises
        ------
        RunError : the folder is no run.
        """
        for job in self.jobs:
            if not job.final and job.spec.arguments.get("run") == str(folder):
                return job
        job = job_of(folder)
        self._device[job.spec.id] = ""
        job.controller = wishes = Wishes(only=ALL if listens(folder) else {"kill"})
        self.jobs.append(job)
        self.added.emit(job)
        self._watch(job, None, partial(follow, Path(folder), wishes))
        return job

    def attach_running(self, workspace: Workspace) -> list[Job]:
        """Follow the runs of a workspace that other processes are working on; return those not followed before."""
        known = list(self.jobs)
        for record in workspace.runs():
            own = any(job.spec.arguments.get("run") == record["folder"] for job in known)
            if not own and record["state"] not in (*FINAL, INTERRUPTED, "unreadable"):
                self.attach(Path(record["folder"]))
        return [job for job in self.jobs if job not in known]

    def waiting(self) -> list[Job]:
        """Return the jobs that have not started, first the one that is next."""
        return [job for job in self.jobs if job.state == "queued" and job.spec.id not in self._active]

    def move(self, job: Job, places: int) -> None:
        """Let a waiting job pass (`places` < 0) or be passed by that many other waiting jobs."""
        order = self.waiting()
        if job not in order:
            return
        slots = [self.jobs.index(other) for other in order]
        index = order.index(job)
        order.insert(max(0, min(len(order) - 1, index + places)), order.pop(index))
        for slot, other in zip(slots, order):
            self.jobs[slot] = other
        self.changed.emit()

    def remove(self, job: Job) -> None:
        """Take a waiting job out of the queue; what an earlier part of its run left on disk stays."""
        if job not in self.waiting():
            return
        folder = job.spec.arguments.get("run")
        if folder and Path(folder).is_dir() and not any(Path(folder).iterdir()):
            Path(folder).rmdir()
        job.apply({"event": "state", "state": "cancelled", "time": time.time()})
        self.finished.emit(job)
        self.changed.emit()

    @property
    def running(self) -> list[Job]:
        return [job for job, _ in self._active.values()]

    @property
    def unfinished(self) -> list[Job]:
        """Jobs of this window that run or wait; those left running by an earlier window are not among them."""
        own = [job for job, process in self._active.values() if process is not None and not job.final]
        return [*own, *self.waiting()]

    @property
    def busy(self) -> bool:
        """True while a job that this window started runs, waits or is being wound up."""
        own = [job for job, process in self._active.values() if process is not None]
        return bool(own or self.waiting())

    # ---- end of the window -----------------------------------------------------------------------

    def close(self, mode: str = "stop", grace: float = 30.0) -> None:
        """End all work; returns when nothing of it is left in this process. The window stays alive meanwhile.

        Parameters
        ----------
        mode : "stop" lets runs save a checkpoint and end, "detach" leaves them going on their own, "cancel"
            throws away what they made. Waiting jobs leave the queue in any case.
        grace : seconds after which a process that does not answer is ended; its last checkpoint stays.
        """
        if mode not in ("stop", "detach", "cancel"):
            raise ValueError(f"mode is 'stop', 'detach' or 'cancel', not {mode!r}")
        self._closed = True
        for job in self.waiting():
            self.remove(job)
        for job, process in list(self._active.values()):
            wishes = job.controller
            assert isinstance(wishes, Wishes)
            if mode == "detach" or process is None:
                wishes.detach()
                self._warm = {device: other for device, other in self._warm.items() if other is not process}
            elif mode == "stop":
                job.stop()
            else:
                job.cancel()
        self._wait(grace)
        for job, _ in list(self._active.values()):
            job.kill()
        self._wait(10.0)
        for process in self._warm.values():
            process.close_input()
            process.kill()
            process.wait(2.0)
        self._warm.clear()

    def _wait(self, seconds: float) -> None:
        if not self._active:
            return
        loop = QEventLoop()
        self.idle.connect(loop.quit)
        QTimer.singleShot(int(seconds * 1000), loop.quit)
        loop.exec()

    # ---- starting and watching -------------------------------------------------------------------

    def _start_next(self) -> None:
        if self._closed:
            return
        taken = {self._device[id]: job for id, (job, _) in self._active.items()}
        for job in self.waiting():
            device = self._device[job.spec.id]
            if device in taken:
                job.waits_for = taken[device].spec.words
            else:
                taken[device] = job
                self._start(job, device)
        self.changed.emit()

    def _start(self, job: Job, device: str) -> None:
        warm = self._warm.get(device)
        keep = job.spec.verb == "predict"
        if warm is not None and not (keep and warm.alive):
            warm.kill()  # a training needs the device's memory
            del self._warm[device]
            warm = None
        process = warm or self._make_process()
        if keep:
            self._warm[device] = process
        job.controller = wishes = Wishes()
        record = {**job.spec.plain(), "device": device}
        job.apply({"event": "state", "state": "starting", "time": time.time()})
        self._watch(job, process, partial(supervise, process, record, wishes, keep))

    def _watch(self, job: Job, process: WorkerProcess | None, events: Callable[[], Any]) -> None:
        self._active[job.spec.id] = (job, process)

        def generator() -> Any:
            yield from events()

        worker = create_worker(generator, _start_thread=False, _ignore_errors=True)
        self._threads[job.spec.id] = worker
        bridge = _Bridge(self, job)
        worker.yielded.connect(bridge.apply)
        worker.errored.connect(bridge.fail)
        worker.finished.connect(bridge.end)
        # a supervising thread sleeps nearly always: it must not take a place from threads that compute
        QThreadPool.globalInstance().releaseThread()
        worker.start()

    def _ended(self, job: Job) -> None:
        QThreadPool.globalInstance().reserveThread()
        self._threads.pop(job.spec.id, None)
        _, process = self._active.pop(job.spec.id)
        device = self._device[job.spec.id]
        if process is not None and self._warm.get(device) is process and not process.alive:
            del self._warm[device]
        self.finished.emit(job)
        self._start_next()
        if not self._active and not self.waiting():
            self.idle.emit()


class _Bridge(QObject):
    """Brings what the supervising thread hands over to the job, on the window's thread."""

    def __init__(self, queue: JobQueue, job: Job) -> None:
        super().__init__(queue)
        self.queue, self.job = queue, job

    def apply(self, events: list[Event]) -> None:
        self.job.apply(*events)

    def fail(self, error: Exception) -> None:
        now = time.time()
        text = f"The worker cannot be supervised: {type(error).__name__}: {error}."
        self.job.apply(
            {"event": "message", "level": "error", "text": text, "time": now},
            {"event": "state", "state": "failed", "time": now},
        )

    def end(self) -> None:
        self.queue._ended(self.job)
        self.deleteLater()


class _Waiting:
    """Controller of a job that has not started: there is nothing to ask but to leave the queue."""

    def __init__(self, queue: JobQueue, job: Job) -> None:
        self._queue, self._job = queue, job

    def pause(self) -> None:
        """A waiting job has nothing to pause."""

    def resume(self) -> None:
        """A waiting job has nothing to resume."""

    def stop(self) -> None:
        self._leave()

    def cancel(self) -> None:
        self._leave()

    def kill(self) -> None:
        self._leave()

    def _leave(self) -> None:
        self._job.state = "queued"  # the state asked for was already noted; the job never ran
        self._queue.remove(self._job)
