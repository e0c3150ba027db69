"""Reading a run back from its folder: its job as it was reported, finished or at work in another process.

The window shows earlier runs with it, follows runs that it left going when it was closed, and finds those
whose process died. Knows no Qt and no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import RunError
from .files import from_json, reason, write_text
from .jobs import Job, JobSpec
from .runs import FINAL, Event, read_record
from .verbs import alive

INTERRUPTED = "interrupted"
NAME = "name.txt"


def state_of(record: dict[str, Any]) -> str:
    """Return the true state of a run: what ``run.json`` says, or "interrupted" when its process died."""
    state = str(record.get("state", INTERRUPTED))
    return state if state in FINAL or alive(record) else INTERRUPTED


def job_of(folder: Path) -> Job:
    """Return a job that stands for the run in `folder`; feed it with the events of `EventFile`.

    Raises
    ------
    RunError : the folder is no run.
    """
    folder = Path(folder)
    record = read_record(folder)
    arguments = {"run": str(folder), "data": record.get("data", ""), "recipe": record.get("recipe") or {}}
    if record.get("preset"):
        arguments["preset"] = record["preset"]
    job = Job(
        JobSpec(
            verb=record.get("verb", "train"),
            method=record.get("method", ""),
            arguments=arguments,
            device=record.get("device", "auto"),
            title=folder.name,
        )
    )
    job.state = state_of(record)
    return job


def resumable(record: dict[str, Any], folder: Path) -> bool:
    """Return whether a run with this ``run.json`` can go on: a training that has ended, is not finished and kept something."""
    return startable(record) and any((Path(folder) / "checkpoints").glob("*"))


def startable(record: dict[str, Any]) -> bool:
    """Return whether a run is a training that has ended without being finished: it can go on or be started again."""
    return record.get("verb", "train") == "train" and state_of(record) in ("stopped", "failed", INTERRUPTED)


def resume_spec(folder: Path) -> JobSpec:
    """Return the job that goes on with the run in `folder`, with the settings it was started with.

    Raises
    ------
    RunError : the folder is no run, or the run cannot go on.
    """
    folder = Path(folder)
    record = read_record(folder)
    if not resumable(record, folder):
        raise RunError(f"The run in {folder} is {state_of(record)}; there is nothing to resume.")
    return _again(record, folder, resume=True)


def repeat_spec(folder: Path, target: Path) -> JobSpec:
    """Return the job that does in `target` what the run in `folder` was to do, from the beginning."""
    return _again(read_record(folder), target, resume=False)


def _again(record: dict[str, Any], folder: Path, resume: bool) -> JobSpec:
    arguments = {
        "data": record.get("data", ""),
        "recipe": record.get("recipe") or {},
        "run": str(folder),
        "resume": resume,
    }
    if record.get("preset"):
        arguments["preset"] = record["preset"]
    return JobSpec("train", record["method"], arguments, record.get("device", "auto"), folder.name)


def run_name(folder: Path) -> str:
    """Return the name that somebody gave to the run in `folder`, "" without one."""
    try:
        return (Path(folder) / NAME).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def name_run(folder: Path, name: str) -> None:
    """Give the run in `folder` a name, one line, kept in its folder; an empty one takes it away.

    A file of its own: ``run.json`` belongs to the process that works on the run.

    Raises
    ------
    RunError : the name cannot be written.
    """
    path = Path(folder) / NAME
    try:
        if words := " ".join(name.split()):
            write_text(path, words + "\n")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"The name of the run cannot be kept in {folder}: {reason(error)}.") from None


_NUMBER = (int, float)
_MOST = 1e11  # no count, and no time before the year 5000, is beyond it
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "state": {"state": str},
    "plan": {"steps": list},
    "phase": {"name": str},
    "progress": {"done": _NUMBER, "total": _NUMBER, "what": str},
    "metrics": {"values": dict, "step": (*_NUMBER, type(None))},
    "message": {"text": str, "level": str},
    "preview": {"name": str},
    "item": {"done": _NUMBER},
    "checkpoint": {"path": str},
}
"""What a `Job` builds on in each kind of event."""


def _sound(event: object) -> bool:
    """Whether a line of an event file is an event as a run writes it; others are left out, like a line cut short."""
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return False
    name = event["event"]
    for field, kind in {"time": _NUMBER, **_FIELDS.get(name, {})}.items():
        value = event.get(field, ...)
        if not isinstance(value, kind) or (isinstance(value, _NUMBER) and not abs(value) < _MOST):
            return False
    if name == "plan" and not all(isinstance(step, str) for step in event["steps"]):
        return False
    return isinstance(event.get("info", {}), dict) and (name != "done" or "value" in event)


class EventFile:
    """The ``events.jsonl`` of a run, read in parts as it grows."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / "events.jsonl"
        self._offset = 0

    def read(self, limit: int = 1 << 20) -> list[Event]:
        """Return the events of the next `limit` bytes; an unfinished line waits for the next call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                block = file.read(limit)
        except OSError:
            return []
        end = block.rfind(b"\n") + 1
        self._offset += end
        events = []
        for line in block[:end].splitlines():
            try:
                event = from_json(line)
            except ValueError:
                continue
            if _sound(event):
                events.append(event)
        return events


def thin(events: list[Event]) -> list[Event]:
    """Leave out progress and heartbeats that a later one in the list makes old."""
    last = {event["event"]: index for index, event in enumerate(events)}
    latest = ("progress", "heartbeat")
    return [e for index, e in enumerate(events) if e["event"] not in latest or last[e["event"]] == index]
