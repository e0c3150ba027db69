"""What the thread beside a job does: takes wishes to the process, brings its events, and tells of its death.

Plain Python without Qt; `jobs.py` runs these generators with superqt and hands what they yield to the
window's thread.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from ..engine.errors import OpsinError
from ..engine.files import write_json
from ..engine.replay import EventFile, thin
from ..engine.runs import FINAL, Event, read_record
from ..engine.verbs import alive
from ..engine.worker import ASKABLE, WorkerProcess, ask, listens

PERIOD = 0.15
"""Seconds between two batches of events."""

ALL = frozenset({"pause", "resume", "stop", "cancel", "kill"})


class Wishes:
    """Controller of a running job: a letter box that the supervising thread empties.

    Parameters
    ----------
    only : what can be asked; the panels offer no other button.
    """

    def __init__(self, only: set[str] | frozenset[str] = ALL) -> None:
        self.only = frozenset(only)
        self.box: queue.SimpleQueue[str] = queue.SimpleQueue()

    def pause(self) -> None:
        self.box.put("pause")

    def resume(self) -> None:
        self.box.put("resume")

    def stop(self) -> None:
        self.box.put("stop")

    def cancel(self) -> None:
        self.box.put("cancel")

    def kill(self) -> None:
        self.box.put("kill")

    def detach(self) -> None:
        self.box.put("detach")

    def take(self) -> list[str]:
        wishes = []
        with contextlib.suppress(queue.Empty):
            while True:
                wishes.append(self.box.get_nowait())
        return wishes


def supervise(process: WorkerProcess, job: dict[str, Any], wishes: Wishes, keep: bool) -> Iterator[list[Event]]:
    """Send `job` to `process` and yield its events until it is final, has died, or was detached.

    Parameters
    ----------
    job : `JobSpec.plain()` with a resolved device.
    keep : leave the process waiting for the next job when this one is through.
    """
    asked: set[str] = set()
    pending: list[Event] = []
    sent = 0.0
    if job["arguments"].get("resume"):
        yield from earlier(Path(job["arguments"]["run"]))
    process.send(job)
    while True:
        for wish in wishes.take():
            asked.add(wish)
            if wish == "kill":
                process.kill()
            else:
                process.control(wish, job["id"])
            if wish == "detach":
                process.close_input()
                return
        was_alive = process.alive
        pending += [e for e in process.poll(0.05) if e.get("job") in (job["id"], None)]
        final = any(e["event"] == "state" and e["state"] in FINAL for e in pending)
        if not was_alive and not final:
            process.wait(5.0)
            pending += [e for e in process.poll() if e.get("job") in (job["id"], None)]
            if not any(e["event"] == "state" and e["state"] in FINAL for e in pending):
                pending += obituary(job, process.returncode, asked, process.stderr_tail)
            yield thin(pending)
            return
        now = time.monotonic()
        if pending and (final or now - sent >= PERIOD):
            yield thin(pending)
            pending, sent = [], now
        if final:
            break
    if not keep:
        process.close_input()
        if process.wait(10.0) is None:
            process.kill()


def earlier(folder: Path) -> Iterator[list[Event]]:
    """Yield what the parts of a run before this one have reported, so that its curves and its log go on."""
    file = EventFile(folder)
    while events := file.read():
        yield [{"event": "earlier", "events": thin(events), "time": events[-1].get("time", 0.0)}]


def follow(folder: Path, wishes: Wishes) -> Iterator[list[Event]]:
    """Yield the events of a run that a detached process is working on, from the first on, until it ends."""
    file = EventFile(folder)
    asked: set[str] = set()
    while True:
        for wish in wishes.take():
            asked.add(wish)
            if wish == "detach":
                return
            if wish == "kill":
                _kill(folder)
            elif wish in ASKABLE:
                ask(folder, wish)
        if not folder.is_dir():  # thrown away as was asked
            yield [{"event": "state", "state": "cancelled", "time": time.time()}]
            return
        if listens(folder):  # it puts out its letter box a moment after it was left going
            wishes.only = ALL
        try:
            ended = not alive(read_record(folder))
        except OpsinError:  # it is being thrown away
            ended = True
        state = ""
        while events := file.read():
            state = next((e["state"] for e in reversed(events) if e["event"] == "state"), state)
            yield thin(events)
        if state in FINAL:
            return
        if ended:
            yield obituary({"verb": "train", "arguments": {"run": str(folder)}}, None, asked, "")
            return
        time.sleep(PERIOD)


def obituary(job: dict[str, Any], returncode: int | None, asked: set[str], tail: str) -> list[Event]:
    """Return the events that a process which died over `job` could not send, and set its run folder right."""
    folder = Path(job["arguments"]["run"]) if job["verb"] == "train" and job["arguments"].get("run") else None
    now = time.time()
    lines = [line for line in tail.splitlines() if line.strip()][-10:]
    events: list[Event] = [{"event": "message", "level": "info", "text": line, "time": now} for line in lines]
    if "cancel" in asked:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return [*events, {"event": "state", "state": "cancelled", "time": now}]
    if "kill" in asked:
        state, level = "stopped", "warning"
        text = "The process was ended."
        if folder is not None:
            text = "The process was ended; the run goes on from its last checkpoint when it is resumed."
    else:
        state, level, text = "failed", "error", cause(returncode, tail)
    if folder is not None:
        with contextlib.suppress(OpsinError):
            write_json(folder / "run.json", {**read_record(folder), "state": state, "updated": now, "ended": text})
    return [
        *events,
        {"event": "message", "level": level, "text": text, "time": now},
        {"event": "state", "state": state, "time": now},
    ]


def cause(returncode: int | None, tail: str) -> str:
    """Return one sentence about why a worker ended, from its exit status and the last lines it wrote."""
    if "out of memory" in tail.lower() or "OutOfMemoryError" in tail:
        return "The device's memory was full; choose a smaller batch or tile, then resume."
    if returncode in (-signal.SIGTERM, -getattr(signal, "SIGKILL", 9)):
        return (
            "The process was ended from outside, most likely because the machine's memory was full; "
            "choose a smaller batch or tile, then resume."
        )
    if returncode is not None and returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        return f"The process crashed ({name}); the last lines it wrote are in the log."
    if returncode is None:
        return "The process that worked on this run is gone; resume the run to go on from its last checkpoint."
    return f"The process ended before its work was done (exit status {returncode}); the log tells more."


def _kill(folder: Path) -> None:
    """End the detached process of the run in `folder`, if it is still the one that ``run.json`` names."""
    record = read_record(folder)
    if not alive(record):
        return
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(record["pid"])
        for child in process.children(recursive=True):
            child.kill()
        process.kill()
