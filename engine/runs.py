"""Run: one training or prediction, and the engine's only way to talk to whoever started it.

A run has a folder that is complete by itself::

    run.json            method, verb, resolved recipe, versions, seed, device, data fingerprint, state
    events.jsonl        everything that was reported          metrics.jsonl   the numbers alone
    log.txt             what happened, in words               tensorboard/    event files
    snapshots/          the frozen labels it trained on       previews/       results shown while it worked
    checkpoints/        last, best, and the training state    model_card.md

Events are plain dictionaries: ``{"event": kind, "time": unix seconds, ...}`` with the kinds

=============  ======================================================================================
state          state: starting, running, pausing, paused, stopping, done, stopped, cancelled, failed
phase          name: "index", "load", "build", "first batch", "round 1: E-step", ...
progress       done, total, what
metrics        step, values {name: number}
preview        name, kind (type of the result), path, info {item, round, ...}
region         name, kind, path, rect [x, y, width, height] in level-0 px: that part of the preview is new
message        level: info, warning, error; text
heartbeat      phase, seconds (since the last batch boundary), memory, gpu, stack (when nothing moves for 60 s)
checkpoint     path, step
result         kind, path, info
item           of a batch: done, total, item (id or None), input, state: running, done, kept, stopped, failed; error
done           value: what the verb returned, as plain data
=============  ======================================================================================
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import shutil
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Cancelled, RunError
from .files import from_json, reason, write_json
from .scale import ALONE, Team

if TYPE_CHECKING:
    from .results import Result

CHECKPOINT = Path("checkpoints") / "final.safetensors"
"""Where in its folder a finished training keeps its weights."""
Event = dict[str, Any]
Sink = Callable[[Event], None]
FINAL = ("done", "stopped", "cancelled", "failed")
RECORD: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("method", "verb", "state", "device", "command", "data"), str),
    **dict.fromkeys(("created", "updated", "process_started"), (int, float)),
    **dict.fromkeys(("recipe", "metrics", "inputs"), dict),
    "preset": (str, type(None)),
    "pid": int,
}
"""Fields of ``run.json`` that others build on, and what they must be where they stand there."""
LIBRARIES = (
    "opsin",
    "torch",
    "numpy",
    "tifffile",
    "imagecodecs",
    "openslide-python",
    "accelerate",
    "scikit-learn",
)


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: numpy and torch scalars as numbers, paths as text, NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Control:
    """What the user asked of a run; set from any thread, read by the run at its batch boundaries."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self._go.set()
        self.stop_asked = False
        self.cancel_asked = False

    def pause(self) -> None:
        self._go.clear()

    def resume(self) -> None:
        self._go.set()

    def stop(self) -> None:
        """Stop at the next batch boundary and keep what there is."""
        self.stop_asked = True
        self._go.set()

    def cancel(self) -> None:
        """Stop at the next batch boundary and throw everything away."""
        self.cancel_asked = True
        self._go.set()

    @property
    def pausing(self) -> bool:
        return not self._go.is_set()

    def wait(self) -> None:
        self._go.wait()


class Run:
    """One training or prediction.

    Parameters
    ----------
    folder : where everything is kept; None for a run that leaves nothing behind (a quick prediction, a test).
    sink : called with every event, from the thread that reports it.
    control : how the user's wishes arrive; a fresh one when None.
    device : ``"cpu"``, ``"cuda:0"``, ``"mps"``: already resolved, see `devices.resolve`.
    team : the processes that share a training; only the lead's run writes into the folder.
    """

    def __init__(
        self,
        folder: Path | None = None,
        sink: Sink | None = None,
        control: Control | None = None,
        device: str = "cpu",
        team: Team = ALONE,
    ) -> None:
        self.team = team
        self.folder = Path(folder) if folder is not None else None
        self.device = device
        self.control = control or Control()
        self._sinks: list[Sink] = [sink] if sink else []
        self._lock = threading.Lock()
        self._files: dict[str, Any] = {}
        self._board: Any = None
        self._earlier: set[str] | None = None  # numbers with their steps that stood in the run before this process
        self._lost: OSError | None = None  # why something that was reported is not on disk
        self._boundary = time.monotonic()
        self.current_phase = "starting"
        self.state = "starting"
        if self.folder is not None and team.lead:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunError(f"The run folder {self.folder} cannot be made: {error.strerror}.") from None

    def part(self, name: str) -> Path:
        """Return the folder ``name`` ("checkpoints", "snapshots", "previews") of the run, made when it is missing."""
        if self.folder is None:
            raise RunError("This run has no folder to keep files in.")
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    # ---- identity -------------------------------------------------------------------------------------------------

    def describe(self, **facts: Any) -> None:
        """Add facts to ``run.json`` (recipe, seed, fingerprint, the command that repeats the run, ...)."""
        if not self._writes:
            return
        assert self.folder is not None
        if (self.folder / "run.json").exists():
            record = read_record(self.folder)
        else:
            record = {
                "created": time.time(),
                "versions": {name: _version(name) for name in LIBRARIES},
                "python": platform.python_version(),
                "system": platform.platform(),
            }
        record.update(plain(facts))
        write_json(self.folder / "run.json", record)

    # ---- reporting ------------------------------------------------------------------------------------------------

    def emit(self, event: str, **content: Any) -> None:
        """Report an event to the sink and, but for heartbeats, to ``events.jsonl``."""
        record = {"event": event, "time": time.time(), **plain(content)}
        with self._lock:
            if self._writes and event != "heartbeat":
                self._append("events.jsonl", record)
            for sink in self._sinks:
                sink(record)

    def set_state(self, state: str) -> None:
        self.state = state
        if self.folder is not None:
            self.describe(state=state, updated=time.time())
        self.emit("state", state=state)

    def phase(self, name: str) -> None:
        """Say what is being done now ("index", "load", "first batch", "round 1: E-step")."""
        self.current_phase = name
        self._boundary = time.monotonic()
        self.emit("phase", name=name)
        self.write_log(name)

    def progress(self, done: float, total: float, what: str) -> None:
        self.emit("progress", done=done, total=total, what=what)

    def log(self, step: int | None = None, **metrics: float) -> None:
        """Report numbers; they also go to ``metrics.jsonl`` and to TensorBoard event files.

        What a resumed run does again, with the same numbers at the same step, is not written a second time.
        """
        values = plain(metrics)
        self.emit("metrics", step=step, values=values)
        if not self._writes:
            return
        with self._lock:
            earlier = self._before()
            if step is not None and json.dumps([step, values]) in earlier:
                return
            self._append("metrics.jsonl", {"step": step, "time": time.time(), **values})
            if self._board is None:
                from tensorboard.summary import Writer

                self._board = Writer(str(self.part("tensorboard")))
            try:
                for name, value in values.items():
                    if isinstance(value, int | float) and step is not None:
                        self._board.add_scalar(name, value, step)
            except OSError as error:
                self._lost = error

    def _before(self) -> set[str]:
        """Return the lines of ``metrics.jsonl`` that earlier processes wrote, without their times."""
        if self._earlier is None:
            assert self.folder is not None
            lines = [line for line in read_lines(self.folder / "metrics.jsonl") if isinstance(line, dict)]
            self._earlier = {
                json.dumps([line.pop("step", None), {k: v for k, v in line.items() if k != "time"}]) for line in lines
            }
        return self._earlier

    def message(self, text: str, level: str = "info") -> None:
        self.emit("message", text=text, level=level)
        self.write_log(text if level == "info" else f"{level}: {text}")

    def preview(self, result: Result, name: str, **info: Any) -> None:
        """Show a result that already lies on disk (`result.path`), now and in the run's record."""
        self.emit("preview", name=name, kind=type(result).__name__, path=result.path, info=info)

    def region(self, result: Result, name: str, rect: tuple[int, int, int, int]) -> None:
        """Say that the part `rect` (x, y, width, height; level-0 px) of a shown preview has changed on disk."""
        self.emit("region", name=name, kind=type(result).__name__, path=result.path, rect=rect)

    def checkpoint(self, path: Path, step: int) -> None:
        """Report a checkpoint that has been written."""
        self.emit("checkpoint", path=path, step=step)

    # ---- what the user asked --------------------------------------------------------------------------------------

    def wait_if_paused(self) -> None:
        """Call at every batch boundary: beats the heart, waits while paused, raises `Cancelled` when asked to discard."""
        self._boundary = time.monotonic()
        if self.control.pausing:
            self.set_state("paused")
            self.control.wait()
            if not (self.control.stop_asked or self.control.cancel_asked):
                self.set_state("running")
            self._boundary = time.monotonic()
        if self.control.cancel_asked:
            raise Cancelled
        if self._lost is not None:
            raise RunError(f"The run cannot be kept in {self.folder}: {reason(self._lost)}, then resume it.")

    @property
    def stopping(self) -> bool:
        """True when the method should save a checkpoint and return at this boundary; the same in all of a team."""
        return self.control.stop_asked if self.team.working_apart else self.team.stops

    @property
    def seconds_since_boundary(self) -> float:
        return time.monotonic() - self._boundary

    # ---- ends -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the files; the run may be reported to no more."""
        with self._lock:
            board, self._board = self._board, None
            files, self._files = self._files, {}
            for file in (*files.values(), *([board] if board is not None else [])):
                with contextlib.suppress(OSError):  # on a full disk: it has been said
                    file.close()

    def discard(self) -> None:
        """Remove the run's folder (cancel-and-discard)."""
        self.close()
        if self._writes and self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def write_log(self, text: str) -> None:
        if self._writes:
            with self._lock:
                self._append("log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}")

    @property
    def _writes(self) -> bool:
        return self.folder is not None and self.team.lead

    def _append(self, name: str, record: Any) -> None:
        """Add a line to a file of the run; what cannot be written ends the run at its next batch boundary."""
        assert self.folder is not None
        text = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False, allow_nan=False)
        try:
            if name not in self._files:
                self._files[name] = (self.folder / name).open("a", encoding="utf-8")
            self._files[name].write(text + "\n")
            self._files[name].flush()
        except OSError as error:
            self._lost = error


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def read_record(folder: Path) -> dict[str, Any]:
    """Return the content of ``run.json``; `RunError` when the folder is no run, or the file is damaged or of another kind."""
    path = Path(folder) / "run.json"
    try:
        record = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is not a run folder: {path.name} cannot be read ({error}).") from None
    if not isinstance(record, dict) or not record.keys() & {"method", "state", "created"}:
        raise RunError(f"{folder} is not a run folder: {path.name} does not describe a run.")
    for name, kind in RECORD.items():
        if name in record and (not isinstance(record[name], kind) or isinstance(record[name], bool)):
            raise RunError(f"{path} is damaged: '{name}' is {str(record[name])[:40]!r}; restore it from a backup.")
    return record


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a ``.jsonl`` file; a last line cut off by a kill is left out."""
    records = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                records.append(from_json(line))
            except ValueError:
                continue
    return records


def new_folder(parent: Path, name: str) -> Path:
    """Create and return an unused folder ``parent/YYYY-MM-DD_HHMMSS_name``."""
    stamp = time.strftime("%Y-%m-%d_%H%M%S")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = parent / (f"{stamp}_{name}" if number == 1 else f"{stamp}_{name}_{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise RunError(f"No run folder can be made in {parent}: {reason(error)}.") from None
    raise RunError(f"No run folder can be made in {parent}.")
