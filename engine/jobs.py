"""A job as the window shows it: what was asked, how far it is, what it reported. Knows no Qt and no process.

`gui/jobs.py` owns the queue and feeds a job with the worker's events (`apply`); panels subscribe to `changed`.
The command line feeds one too, for its progress line.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from psygnal import Signal

from .runs import FINAL, Event

Only = Literal["all", "missing", "failed"]
"""What of the inputs of a prediction is to be done: all, what is not done yet, what failed before."""


@dataclass
class JobSpec:
    """What is to be done: exactly what a worker gets as one JSON line (see `worker.py`) and the command line as arguments.

    Attributes
    ----------
    verb : "train", "predict" or "evaluate".
    method : name of the method.
    arguments : of the verb: ``data``, ``recipe`` (resolved, plain values), ``run`` (folder), ``resume``, ``checkpoint``,
        ``inputs``, ``output``, ``options``, ``only`` (see `Only`); paths as text.
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

    @property
    def words(self) -> str:
        """What is done, in words that follow others or begin a sentence: "Training quick", "Predict 20 slides"."""
        if self.verb != "train":
            return self.title or {"predict": "Prediction", "evaluate": "Evaluation"}[self.verb]
        name = str(self.arguments.get("name") or self.arguments.get("preset") or "")
        return f"Training {name}".strip()


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

    Attributes
    ----------
    plan : names of the phases that are steps of the whole job, in order ("round 1: E-step"); empty when nobody said them.
        Steps with the same words after the colon are taken to last equally long.
    step : place in the plan of the step at work, -1 before the first.
    waits_for : words of the job that a queued one waits for.

    States: queued, starting, running, pausing, paused, stopping, cancelling, and the final done, stopped, cancelled,
    failed. Asking changes the state at once (the answer in 0.2 s); the worker's events confirm it.
    """

    changed = Signal(set)
    """Emitted with the names of what changed: "state", "phase", "progress", "metrics", "log", "preview", "region",
    "result", "item", "heartbeat"."""

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
        self.items: dict[str, Event] = {}  # id or path of an input -> the newest that was said of it
        self.checkpoint: str | None = None
        self.heartbeat: Event = {}
        self.asked_at: float | None = None
        self.plan: list[str] = ["slide"] * len(spec.arguments.get("inputs") or []) if spec.verb == "predict" else []
        self.step = 0 if self.plan else -1
        self.waits_for = ""
        self._progress_start: tuple[float, float] | None = None
        self._progress_time = 0.0
        self._worked = 0.0  # seconds at work, but for those since `_since`
        self._since: float | None = None
        self._newest = 0.0  # time of the newest event
        self._step_worked = 0.0  # seconds of work when the step began
        self._lasted: dict[str, list[float]] = {}  # kind of a step -> seconds of those that are through
        self._recalling = False
        self._rejoin: set[str] = set()  # curves that an earlier part of the run has left

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
                what |= handler(event)
                self._newest = max(self._newest, event["time"])
        if what:
            self.changed.emit(what)

    def _on_earlier(self, event: Event) -> set[str]:
        """Take over ``events`` of an earlier part of the run: what they report, but not its states."""
        since, self._since, self._recalling = self._since, None, True
        for each in event["events"]:
            handler = getattr(self, "_on_" + each["event"], None)
            if handler is not None:
                handler(each)
                self._newest = max(self._newest, each["time"])
        self._recalling = False
        self._clock("stopped", self._newest)
        self._since, self._rejoin = since, set(self.metrics)
        self._step_worked = self._worked
        self.phase, self.error, self.done, self.total = "", "", 0.0, 0.0
        self._progress_start = None
        return {"phase", "progress", "metrics", "log", "preview"}

    def _clock(self, state: str, now: float) -> None:
        """Count the seconds at work: not those of a pause, nor those between two parts of a run."""
        fresh = state == "running" and self._since is not None and self._running
        if self._since is not None and (fresh or state in ("paused", *FINAL)):
            # a process that was killed has said nothing at its end
            self._worked += max(0.0, (self._newest if fresh else now) - self._since)
            self._since = None
        if state in ("starting", "running") and self._since is None:
            self._since = now
            if self.metrics and not self._paused:
                self._rejoin = set(self.metrics)
                self._step_worked = self._worked
        self._running, self._paused = state == "running", state == "paused"

    _running = _paused = False

    def _on_state(self, event: Event) -> set[str]:
        state = event["state"]
        self._clock(state, event["time"])
        self._progress_start = None
        if self._recalling:
            return {"state"}
        if self.state in ("stopping", "cancelling", "pausing") and state in ("starting", "running"):
            return {"state"}
        self.state = state
        if self.started is None and state not in ("queued",):
            self.started = event["time"]
        if state in FINAL:
            self.ended = event["time"]
        if state in FINAL or state == "paused":
            self.asked_at = None
        return {"state"}

    def _on_plan(self, event: Event) -> set[str]:
        self.plan, self.step = list(event["steps"]), -1
        return {"progress"}

    def _on_phase(self, event: Event) -> set[str]:
        self.phase = event["name"]
        self._progress_start = None
        if self.spec.verb == "train" and event["name"] in self.plan:
            self._begin_step(self.plan.index(event["name"]), event["time"])
        self._note(event, event["name"])
        return {"phase"}

    def _on_item(self, event: Event) -> set[str]:
        self.items[str(event.get("item") or event.get("input"))] = event
        if self.spec.verb == "predict":
            if event.get("state") == "kept":  # it took no time: it says nothing of those to come
                self.step = int(event["done"])
            else:
                self._begin_step(int(event["done"]), event["time"])
            self._progress_start = None
        return {"progress", "item"}

    @property
    def failed_items(self) -> list[Event]:
        """What was said of the inputs that could not be used."""
        return [event for event in self.items.values() if event.get("state") == "failed"]

    def _begin_step(self, step: int, now: float) -> None:
        """Another step begins: the one before is through, and how long it took is kept."""
        worked = self.worked(now)
        if step == self.step + 1 and 0 <= self.step < len(self.plan):
            self._lasted.setdefault(kind_of(self.plan[self.step]), []).append(worked - self._step_worked)
        self.step, self._step_worked = step, worked
        self.done = self.total = 0.0

    def _on_progress(self, event: Event) -> set[str]:
        self.done, self.total = event["done"], event["total"]
        if self._progress_start is None or event["what"] != self.what or self.done < self._progress_start[1]:
            self._progress_start = (event["time"], self.done)
        self.what = event["what"]
        self._progress_time = event["time"]
        return {"progress"}

    def _on_metrics(self, event: Event) -> set[str]:
        for name, value in event["values"].items():
            if isinstance(value, int | float):
                steps, values = self.metrics.setdefault(name, ([], []))
                step = event["step"] if event["step"] is not None else len(steps)
                if name in self._rejoin:  # steps after the last checkpoint are made again
                    self._rejoin.discard(name)
                    while steps and steps[-1] >= step:
                        steps.pop()
                        values.pop()
                steps.append(step)
                values.append(value)
        return {"metrics"}

    def _on_message(self, event: Event) -> set[str]:
        prefix = "" if event["level"] == "info" else f"{event['level']}: "
        if event["level"] == "error":
            self.error = event["text"]
        self._note(event, prefix + event["text"])
        return {"log"}

    def _on_preview(self, event: Event) -> set[str]:
        self.previews[event["name"], event.get("info", {}).get("item")] = event
        return {"preview"}

    def _on_region(self, event: Event) -> set[str]:
        self.regions.append(event)
        return {"region"}

    def _on_result(self, event: Event) -> set[str]:
        self.results.append(event)
        return {"result"}

    def _on_checkpoint(self, event: Event) -> set[str]:
        self.checkpoint = event["path"]
        return {"progress"}

    def _on_done(self, event: Event) -> set[str]:
        self.value = event["value"]
        return {"result"}

    def _on_heartbeat(self, event: Event) -> set[str]:
        self.heartbeat = event
        return {"heartbeat"}

    def _note(self, event: Event, text: str) -> None:
        self.log.append(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))}  {text}")

    # ---- derived --------------------------------------------------------------------------------------------------

    @property
    def final(self) -> bool:
        return self.state in FINAL

    def worked(self, now: float | None = None) -> float:
        """Return the seconds at work up to `now`, in all parts of the run and without its pauses."""
        if self._since is None:
            return self._worked
        if now is None:
            # what is read back from a run whose process died ends with its last event
            now = time.time() if self.state not in (*FINAL, "interrupted", "unreadable") else self._newest
        return self._worked + max(0.0, now - self._since)

    @property
    def share(self) -> float | None:
        """How much of the whole job is done, 0..1, steps taken as equally long; None while unknown."""
        part = min(1.0, self.done / self.total) if self.total else 0.0
        if not self.plan:
            return part if self.total else None
        return min(1.0, (max(0, self.step) + part) / len(self.plan)) if self.step >= 0 else 0.0

    @property
    def step_seconds_left(self) -> float | None:
        """Estimated seconds until the present count is full; None while unknown."""
        if self._progress_start is None or not self.total:
            return None
        time0, done0 = self._progress_start
        if self.done <= done0:
            return None
        return (self._progress_time - time0) / (self.done - done0) * (self.total - self.done)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the whole job is done; None while a step lies ahead whose kind was not yet seen."""
        left = self.step_seconds_left
        if not self.plan:
            return left
        if not 0 <= self.step < len(self.plan):
            return None
        kinds = [kind_of(name) for name in self.plan]
        if left is None:
            lasted = self._lasted.get(kinds[self.step])
            if not lasted:
                return None
            now = None if self._since is None else self._newest
            left = max(0.0, lasted[-1] - (self.worked(now) - self._step_worked))
        seen = {**self._lasted}
        if kinds[self.step] not in seen and self._progress_start is not None:
            # the step at work is the first of its kind: it tells how long the others will take
            seen[kinds[self.step]] = [self.worked(self._newest) - self._step_worked + left]
        for kind in kinds[self.step + 1 :]:
            if kind not in seen:
                return None
            left += seen[kind][-1] if self.spec.verb == "train" else sum(seen[kind]) / len(seen[kind])
        return left

    @property
    def seconds_waited(self) -> float:
        """Seconds since the user asked for something that has not happened yet; 0 when nothing is due."""
        return 0.0 if self.asked_at is None else time.monotonic() - self.asked_at


def kind_of(step: str) -> str:
    """Return what a step of a plan has in common with its like in other rounds: the words after the colon."""
    return step.partition(": ")[2] or step
