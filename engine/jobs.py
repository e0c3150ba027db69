"""A job as the window shows it: what was asked, how far it is, what it reported. Knows no Qt and no process.

`gui/jobs.py` owns the queue and feeds a job with the worker's events (`apply`); panels subscribe to `changed`.
The command line feeds one too, for its progress line.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from psygnal import Signal

from .runs import FINAL, Event


@dataclass
class JobSpec:
    """What is to be done: exactly what a worker gets as one JSON line (see `worker.py`) and the command line as arguments.

    Attributes
    ----------
    verb : "train", "predict" or "evaluate".
    method : name of the method.
    arguments : of the verb: ``data``, ``recipe`` (resolved, plain values), ``run`` (folder), ``resume``, ``checkpoint``,
        ``inputs``, ``output``, ``options``; paths as text.
    device : "auto", "cpu", "cuda:N", "mps".
    title : shown in lists.
    """

    verb: str
    method: str
    arguments: dict[str, Any]
    device: str = "auto"
    title: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def plain(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "verb": self.verb,
            "method": self.method,
            "arguments": self.arguments,
            "device": self.device,
        }


class Controller(Protocol):
    """Who carries the user's wishes to the process that works; `gui/jobs.py` and tests implement it."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def stop(self) -> None: ...
    def cancel(self) -> None: ...
    def kill(self) -> None:
        """End the process at once; the last checkpoint stays."""


class Job:
    """State machine and memory of one job.

    States: queued, starting, running, pausing, paused, stopping, cancelling, and the final done, stopped, cancelled,
    failed. Asking changes the state at once (the answer in 0.2 s); the worker's events confirm it.
    """

    changed = Signal(set)
    """Emitted with the names of what changed: "state", "phase", "progress", "metrics", "log", "preview", "region",
    "result", "heartbeat"."""

    def __init__(self, spec: JobSpec, controller: Controller | None = None) -> None:
        self.spec = spec
        self.controller = controller
        self.state = "queued"
        self.phase = ""
        self.done = 0.0
        self.total = 0.0
        self.what = ""
        self.error = ""
        self.value: Any = None
        self.started: float | None = None
        self.ended: float | None = None
        self.metrics: dict[str, tuple[list[float], list[float]]] = {}
        self.log: deque[str] = deque(maxlen=5000)
        self.previews: dict[tuple[str, str | None], Event] = {}  # (name, item) -> the newest
        self.regions: deque[Event] = deque(maxlen=10_000)
        self.results: list[Event] = []
        self.checkpoint: str | None = None
        self.heartbeat: Event = {}
        self.asked_at: float | None = None
        self._progress_start: tuple[float, float] | None = None

    # ---- asked by the user ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._ask("pausing", "pause", {"running"})

    def resume(self) -> None:
        self._ask("running", "resume", {"pausing", "paused"})

    def stop(self) -> None:
        self._ask("stopping", "stop", {"queued", "starting", "running", "pausing", "paused"})

    def cancel(self) -> None:
        self._ask("cancelling", "cancel", {"queued", "starting", "running", "pausing", "paused", "stopping"})

    def kill(self) -> None:
        if self.controller is not None and not self.final:
            self.controller.kill()

    def _ask(self, state: str, verb: str, allowed: set[str]) -> None:
        only = getattr(self.controller, "only", None)  # a run of another process can be ended, but not asked
        if self.state not in allowed or (isinstance(only, frozenset) and verb not in only):
            return
        self.state = state
        self.asked_at = time.monotonic()
        if self.controller is not None:
            getattr(self.controller, verb)()
        self.changed.emit({"state"})

    # ---- reported by the worker -----------------------------------------------------------------------------------

    def apply(self, *events: Event) -> None:
        """Take over events in order and emit `changed` once."""
        what: set[str] = set()
        for event in events:
            handler = getattr(self, "_on_" + event["event"], None)
            if handler is not None:
                what.add(handler(event) or event["event"])
        if what:
            self.changed.emit(what)

    def _on_state(self, event: Event) -> str:
        state = event["state"]
        if self.state in ("stopping", "cancelling", "pausing") and state in ("starting", "running"):
            return "state"
        self.state = state
        if self.started is None and state not in ("queued",):
            self.started = event["time"]
        if state in FINAL:
            self.ended = event["time"]
        if state in FINAL or state == "paused":
            self.asked_at = None
        self._progress_start = None
        return "state"

    def _on_phase(self, event: Event) -> str:
        self.phase = event["name"]
        self._progress_start = None
        self._note(event, event["name"])
        return "phase"

    def _on_progress(self, event: Event) -> str:
        self.done, self.total = event["done"], event["total"]
        if self._progress_start is None or event["what"] != self.what or self.done < self._progress_start[1]:
            self._progress_start = (event["time"], self.done)
        self.what = event["what"]
        self._progress_time = event["time"]
        return "progress"

    def _on_metrics(self, event: Event) -> str:
        for name, value in event["values"].items():
            if isinstance(value, int | float):
                steps, values = self.metrics.setdefault(name, ([], []))
                steps.append(event["step"] if event["step"] is not None else len(steps))
                values.append(value)
        return "metrics"

    def _on_message(self, event: Event) -> str:
        prefix = "" if event["level"] == "info" else f"{event['level']}: "
        if event["level"] == "error":
            self.error = event["text"]
        self._note(event, prefix + event["text"])
        return "log"

    def _on_preview(self, event: Event) -> str:
        self.previews[event["name"], event.get("info", {}).get("item")] = event
        return "preview"

    def _on_region(self, event: Event) -> str:
        self.regions.append(event)
        return "region"

    def _on_result(self, event: Event) -> str:
        self.results.append(event)
        return "result"

    def _on_checkpoint(self, event: Event) -> str:
        self.checkpoint = event["path"]
        return "progress"

    def _on_done(self, event: Event) -> str:
        self.value = event["value"]
        return "result"

    def _on_heartbeat(self, event: Event) -> str:
        self.heartbeat = event
        return "heartbeat"

    def _note(self, event: Event, text: str) -> None:
        self.log.append(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))}  {text}")

    # ---- derived --------------------------------------------------------------------------------------------------

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the present count is full; None while unknown."""
        if self._progress_start is None or not self.total:
            return None
        time0, done0 = self._progress_start
        if self.done <= done0:
            return None
        return (self._progress_time - time0) / (self.done - done0) * (self.total - self.done)

    @property
    def seconds_waited(self) -> float:
        """Seconds since the user asked for something that has not happened yet; 0 when nothing is due."""
        return 0.0 if self.asked_at is None else time.monotonic() - self.asked_at
