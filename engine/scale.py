"""One training on several devices or machines: starting the processes, and how they work together.

``opsin train … --devices N`` starts N processes of the same command (`launch`); each joins the others (`join`) and gets a
`Team`. All carry out the same code on the same run folder; the lead (rank 0) alone writes and reports. In steps the team shares
each batch and adds up gradients (`training.fit`); elsewhere its members work apart, each on the slides it takes (`apart`,
`shared`). torchrun may start the processes as well: the variables are the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .errors import Ended, RunError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
JOIN_SECONDS = 300
STOPPED = 130  # exit status of a process that the user stopped
GRACE = 60.0
"""Seconds that the others get to end by themselves when one process has ended."""
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Team:
    """The processes of a training as one of them sees them. This one is alone: every question has its own answer.

    Attributes
    ----------
    rank, world : number of this process, and how many there are.
    working_apart : nothing is agreed upon at present; what the user asks of this process counts at once.
    stops : what the team agreed upon last: True when any of its processes was asked to stop.
    """

    rank = 0
    world = 1
    working_apart = True
    stops = False

    @property
    def lead(self) -> bool:
        """True in the one process that writes and reports."""
        return self.rank == 0

    def agree(self, stop: bool) -> bool:
        """Tell whether any process wants to stop; all get the same answer."""
        return stop

    def wait(self) -> None:
        """Wait until all processes are here."""

    def add_up(self, values: torch.Tensor) -> None:
        """Replace `values` in every process by the sum over all of them."""

    def spread(self, values: torch.Tensor) -> None:
        """Replace `values` in every process by those of the lead."""

    def gather(self, values: Sequence[str]) -> list[str]:
        """Return the texts of all processes, in the order of their ranks."""
        return list(values)

    def shared(self, items: Sequence[T]) -> Iterator[T]:
        """Yield each of `items` in one process only: in the one that is free first."""
        yield from items

    @contextlib.contextmanager
    def apart(self, control: Any) -> Iterator[None]:
        """In this block each process works by itself; at its end they wait for each other and agree whether to stop."""
        yield

    @contextlib.contextmanager
    def lead_first(self) -> Iterator[None]:
        """In this block the lead goes first: what it makes on disk the others find there."""
        yield

    def last_words(self, sentence: str, details: str) -> None:
        """Leave for the lead why this process fails."""

    def heard(self) -> list[tuple[str, str]]:
        """Return (sentence, details) of the others that failed."""
        return []

    def leave(self) -> None:
        """The work is done, or cannot go on."""


ALONE = Team()


class _Joined(Team):
    """One of several processes, connected by torch.distributed."""

    working_apart = False

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self._store = store
        self._counts = {"shared": 0, "gathered": 0}

    def agree(self, stop: bool) -> bool:
        import torch

        flag = torch.tensor([float(stop)])
        self.add_up(flag)
        self.stops = bool(flag.item() > 0)
        return self.stops

    def wait(self) -> None:
        import torch

        self.add_up(torch.zeros(1))

    def add_up(self, values: torch.Tensor) -> None:
        import torch.distributed as dist

        with self._connected():
            dist.all_reduce(values)

    def spread(self, values: torch.Tensor) -> None:
        import torch.distributed as dist

        with self._connected():
            dist.broadcast(values, 0)

    def gather(self, values: Sequence[str]) -> list[str]:
        number = self._next("gathered")
        with self._connected():
            self._store.set(f"gathered {number} {self.rank}", json.dumps(list(values)))
        self.wait()
        with self._connected():
            found = [json.loads(self._store.get(f"gathered {number} {rank}")) for rank in range(self.world)]
        return [text for texts in found for text in texts]

    def shared(self, items: Sequence[T]) -> Iterator[T]:
        name = f"shared {self._next('shared')}"
        while True:
            if self.heard():
                raise Ended("Another process of this training has failed.")
            with self._connected():
                place = self._store.add(name, 1) - 1
            if place >= len(items):
                return
            yield items[place]

    @contextlib.contextmanager
    def apart(self, control: Any) -> Iterator[None]:
        self.working_apart = True
        try:
            yield
        finally:
            self.working_apart = False
        self.agree(control.stop_asked)

    @contextlib.contextmanager
    def lead_first(self) -> Iterator[None]:
        if not self.lead:
            self.wait()
        yield
        if self.lead:
            self.wait()

    def last_words(self, sentence: str, details: str) -> None:
        words = json.dumps([f"Process {self.rank + 1} of {self.world}: {sentence}", details])
        with contextlib.suppress(RuntimeError, ValueError):
            self._store.set(f"failed {self.rank}", words)

    def heard(self) -> list[tuple[str, str]]:
        names = [f"failed {rank}" for rank in range(self.world)]
        with contextlib.suppress(RuntimeError, ValueError):
            return [tuple(json.loads(self._store.get(name))) for name in names if self._store.check([name])]
        return []

    def leave(self) -> None:
        import torch.distributed as dist

        with contextlib.suppress(RuntimeError, ValueError):
            dist.destroy_process_group()

    def _next(self, name: str) -> int:
        self._counts[name] += 1
        return self._counts[name]

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise Ended(
                f"Another of the {self.world} processes of this training has ended, so it cannot go on; "
                f"start it again with --resume. ({_first_line(error)})"
            ) from error


def place() -> int | None:
    """Return the number of this process on its machine; None when it works alone."""
    return int(os.environ.get("LOCAL_RANK", "0")) if member() else None


def join(device: str) -> Team:
    """Meet the other processes, where there are others; return once all are there.

    Raises
    ------
    RunError : they did not all come within `JOIN_SECONDS`.
    """
    if not member():
        return ALONE
    import torch
    import torch.distributed as dist

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        store, rank, world = next(dist.rendezvous("env://", timeout=timedelta(seconds=JOIN_SECONDS)))
        # a paused lead keeps the others waiting: as long as it likes
        patience = timedelta(days=30)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=dist.PrefixStore("group", store),
            rank=rank,
            world_size=world,
            timeout=patience,
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"The processes of this training did not find each other ({_first_line(error)}).") from error
    # accelerate is asked for device and precision alone: it must not see that there are others
    for name in VARIABLES:
        os.environ.pop(name, None)
    store.set_timeout(patience)
    return _Joined(dist.PrefixStore("team", store), rank, world)


def member() -> bool:
    """Return whether this process was started as one of several; to be asked before `join`."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leave_at_once(status: int) -> NoReturn:
    """End this process with `status`, without the interpreter's tidying up.

    Everything is written and closed by then. What torch's communication leaves behind (its threads, its store) now and then
    aborts a process that tidies up, after all its work is done.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def launch(words: Sequence[str], devices: int, nodes: int = 1) -> int:
    """Run ``opsin WORDS`` in `devices` processes on this machine, one of `nodes`; return the exit status.

    With several machines, the same command is started on each with the variables NODE_RANK (0, 1, …), MASTER_ADDR and
    MASTER_PORT; the run's folder must lie on a disk that all of them share.
    """
    node = int(os.environ.get("NODE_RANK", "0"))
    if nodes > 1 and "MASTER_ADDR" not in os.environ:
        raise RunError("With --nodes, MASTER_ADDR must name the first machine, and NODE_RANK be 0, 1, … on each.")
    shared = {
        "WORLD_SIZE": str(devices * nodes),
        "LOCAL_WORLD_SIZE": str(devices),
        "MASTER_ADDR": os.environ.get("MASTER_ADDR", "127.0.0.1") if nodes > 1 else "127.0.0.1",
        "MASTER_PORT": os.environ.get("MASTER_PORT", "29500") if nodes > 1 else str(_free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices))),
    }
    command = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "opsin.engine.cli"]
    processes: list[subprocess.Popen[bytes]] = []

    def interrupted(*_: Any) -> None:
        """Ctrl-C reaches all processes from the terminal: they stop at their next batch, and this one waits for them."""

    def terminated(*_: Any) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = {
        which: signal.signal(which, what)
        for which, what in ((signal.SIGINT, interrupted), (signal.SIGTERM, terminated))
    }
    try:
        for number in range(devices):
            own = {"RANK": str(node * devices + number), "LOCAL_RANK": str(number)}
            processes.append(subprocess.Popen([*command, *words], env={**os.environ, **shared, **own}))
        return _supervise(processes)
    finally:
        _end(processes)
        for which, what in before.items():
            signal.signal(which, what)


def _supervise(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all to end and return the status of the first that failed. The others then get `GRACE` seconds."""
    failed: list[int] = []
    deadline = float("inf")
    while any(process.poll() is None for process in processes):
        if not failed:
            failed = [p.returncode for p in processes if p.returncode not in (None, 0, STOPPED)]
            if failed:
                deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:  # it does not notice by itself: it computes, or waits for the one that is gone
            _end(processes)
        with contextlib.suppress(subprocess.TimeoutExpired):
            next(p for p in processes if p.returncode is None).wait(0.1)
    if processes[0].returncode < 0:  # the one that speaks had no time to say anything
        print(
            f"opsin: one of the {len(processes)} processes was ended from outside, so the others ended too; go on with --resume.",
            file=sys.stderr,
        )
    worst = failed or [p.returncode for p in processes]
    return max(1 if status < 0 else status for status in worst)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
