"""A process that carries out jobs sent to it and streams what their runs report; and its handle for the window.

The protocol is JSON, one object a line. In on standard input: a job (`jobs.JobSpec.plain()`), or
``{"control": "pause" | "resume" | "stop" | "cancel" | "detach", "id": job}``. Out on standard output: the events of
`runs.py`, each with ``"job": id``. When standard input ends (the window is gone) the running job stops and keeps its
checkpoint, unless it was detached before: then it goes on to its end, and reads what is asked of it from the file
``wishes.txt`` in the run's folder, one word a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import IO, Any

import psutil

from .runs import Control, Event, Run, plain

HEARTBEAT = 1.0
STUCK = 60.0
WISHES = "wishes.txt"
ASKABLE = ("pause", "resume", "stop", "cancel")


def listens(folder: Path) -> bool:
    """Tell whether a detached worker that works on the run in `folder` takes wishes."""
    return (Path(folder) / WISHES).exists()


def ask(folder: Path, wish: str) -> None:
    """Ask the detached worker of the run in `folder` for "pause", "resume", "stop" or "cancel"; it hears within a second.

    Nothing happens when the run has ended and took its letter box away.
    """
    with contextlib.suppress(OSError), (Path(folder) / WISHES).open("r+", encoding="utf-8") as file:
        file.seek(0, os.SEEK_END)
        file.write(wish + "\n")


# ---- the side of the window -----------------------------------------------------------------------------------------


def worker_command() -> list[str]:
    """Return the command that starts a worker, also where Opsin was frozen into one executable."""
    if getattr(sys, "frozen", False):
        return [sys.executable, "--worker"]
    return [sys.executable, "-m", "opsin.engine.worker"]


class WorkerProcess:
    """A worker as seen by whoever started it. Thread-safe; knows no Qt.

    Parameters
    ----------
    threads : for the numeric libraries; None = all cores but one, so that the window stays alive.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._process: subprocess.Popen[str] | None = None
        self._events: queue.Queue[Event] = queue.Queue()
        self._stderr: deque[str] = deque(maxlen=200)
        self._lock = threading.Lock()
        self._readers: list[threading.Thread] = []

    def start(self) -> None:
        """Start the process; returns at once."""
        limits = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        self._process = subprocess.Popen(
            worker_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **limits, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        for target, pipe in (
            (self._read_events, self._process.stdout),
            (self._read_stderr, self._process.stderr),
        ):
            thread = threading.Thread(target=target, args=(pipe,), daemon=True)
            thread.start()
            self._readers.append(thread)

    def send(self, job: dict[str, Any]) -> None:
        """Queue a job in the worker; starts the process when there is none."""
        if self._process is None:
            self.start()
        self._write(plain(job))

    def control(self, verb: str, job: str | None = None) -> None:
        """Pass on "pause", "resume", "stop", "cancel" or "detach" for a job (None: the one at work)."""
        self._write({"control": verb, "id": job})

    def poll(self, timeout: float = 0.0) -> list[Event]:
        """Return all events that have arrived, waiting up to `timeout` seconds for the first."""
        events = []
        try:
            events.append(self._events.get(timeout=timeout) if timeout > 0 else self._events.get_nowait())
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            return events

    def close_input(self) -> None:
        """Say that no more jobs come; an idle worker ends."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()

    def kill(self) -> None:
        """End the process and its children at once."""
        if self._process is None:
            return
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                child.kill()
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end and for the last events; return the exit status, None when it still runs."""
        if self._process is None:
            return None
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        for thread in self._readers:
            thread.join(5)
        return status

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def stderr_tail(self) -> str:
        return "\n".join(self._stderr)

    def _write(self, record: dict[str, Any]) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            assert self._process is not None and self._process.stdin is not None
            self._process.stdin.write(json.dumps(record) + "\n")
            self._process.stdin.flush()

    def _read_events(self, pipe: IO[str]) -> None:
        for line in pipe:
            try:
                self._events.put(json.loads(line))
            except ValueError:
                self._stderr.append(line.rstrip())

    def _read_stderr(self, pipe: IO[str]) -> None:
        for line in pipe:
            self._stderr.append(line.rstrip())


# ---- the side of the worker -----------------------------------------------------------------------------------------


class _Server:
    """Reads jobs and wishes from standard input in a thread, carries the jobs out one after the other."""

    def __init__(self, source: IO[str], target: IO[str]) -> None:
        self.source, self.target = source, target
        self.jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.controls: dict[str, Control] = {}
        self.current: str | None = None
        self.run: Run | None = None
        self.detached = False
        self.heard: Run | None = None
        self.read = 0  # words of its letter box that were carried out
        self.lock = threading.Lock()

    def serve(self) -> None:
        from .verbs import execute

        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        while (job := self.jobs.get()) is not None:
            self.current = job["id"]
            control = self.controls.setdefault(job["id"], Control())
            try:
                execute(job, self._send, control, self._started)
            except Exception:
                self._send(
                    {
                        "event": "message",
                        "level": "error",
                        "text": traceback.format_exc(),
                        "time": time.time(),
                    }
                )
                self._send({"event": "state", "state": "failed", "time": time.time()})
            folder = self.run.folder if self.run is not None else None
            self.run = self.current = None
            if folder is not None:
                with self.lock, contextlib.suppress(OSError):
                    (folder / WISHES).unlink(missing_ok=True)
            self.controls.pop(job["id"], None)

    def _started(self, run: Run) -> None:
        self.run = run

    def _listen(self) -> None:
        for line in self.source:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if "control" not in record:
                self.controls.setdefault(record["id"], Control())
                self.jobs.put(record)
            elif record["control"] == "detach":
                self.detached = True
            else:
                name = record.get("id") or self.current
                if name in self.controls:
                    getattr(self.controls[name], record["control"])()
        if not self.detached:
            for control in list(self.controls.values()):
                control.stop()
        self.jobs.put(None)

    def _send(self, event: Event) -> None:
        with self.lock, contextlib.suppress(OSError, ValueError):
            self.target.write(json.dumps({"job": self.current, **event}) + "\n")
            self.target.flush()

    def _hear(self, run: Run) -> None:
        """Carry out what a later window has asked of a run that was left going; the first call puts out the letter box."""
        with self.lock, contextlib.suppress(OSError):
            if run.folder is None or run is not self.run or not run.folder.is_dir():
                return
            box = run.folder / WISHES
            if self.heard is not run:
                box.write_text("", encoding="utf-8")
                self.heard, self.read = run, 0
            words = box.read_text(encoding="utf-8").split()
            for word in words[self.read :]:
                if word in ASKABLE:
                    getattr(run.control, word)()
            self.read = len(words)

    def _beat(self) -> None:
        main = threading.main_thread().ident
        process = psutil.Process()
        while True:
            time.sleep(HEARTBEAT)
            run = self.run
            if run is None:
                continue
            if self.detached:
                self._hear(run)
            seconds = run.seconds_since_boundary
            record: Event = {
                "phase": run.current_phase,
                "seconds": round(seconds, 1),
                "memory": process.memory_info().rss,
            }
            torch = sys.modules.get("torch")
            if torch is not None and run.device.startswith("cuda") and torch.cuda.is_initialized():
                record["gpu"] = torch.cuda.memory_reserved(run.device)
            if seconds > STUCK and main is not None and not run.control.pausing:
                frame = sys._current_frames().get(main)
                record["stack"] = "".join(traceback.format_stack(frame)[-12:])
            run.emit("heartbeat", **record)


def main() -> None:
    """Serve until standard input ends. Standard output carries events alone: what libraries print goes to stderr."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(10)
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    _Server(sys.stdin, events).serve()


if __name__ == "__main__":
    main()
