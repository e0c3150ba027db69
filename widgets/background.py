"""Work that must not hold up the window, and events that come from other threads.

`in_background` runs a function in a thread (superqt) and brings its result back to the window's thread; `Relay` does the
same for events of engine objects, which may come from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QThreadPool, Signal, Slot
from superqt.utils import create_worker

Callback = Callable[[Any], Any]


class Task(QObject):
    """A call under way. `cancel` drops its callbacks; a generator also ends at its next yield."""

    finished = Signal()

    def __init__(self, worker: Any, done: Callback | None, failed: Callback | None, each: Callback | None) -> None:
        super().__init__()
        self._worker = worker
        self._done, self._failed, self._each = done, failed, each
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_errored)
        if hasattr(worker, "yielded") and each is not None:
            worker.yielded.connect(self._on_yielded)
        worker.finished.connect(self._on_finished)

    def cancel(self) -> None:
        self._done = self._failed = self._each = None
        if hasattr(self._worker, "send"):
            self._worker.quit()

    @Slot(object)
    def _on_yielded(self, value: Any) -> None:
        if self._each is not None:
            self._each(value)

    @Slot(object)
    def _on_returned(self, value: Any) -> None:
        if self._done is not None:
            self._done(value)

    @Slot(object)
    def _on_errored(self, error: Any) -> None:
        if self._failed is not None:
            self._failed(error)

    @Slot()
    def _on_finished(self) -> None:
        self._done = self._failed = self._each = None
        _tasks.discard(self)
        self.finished.emit()


_tasks: set[Task] = set()


def in_background(
    function: Callable[..., Any],
    *arguments: Any,
    done: Callback | None = None,
    failed: Callback | None = None,
    each: Callback | None = None,
    owner: QObject | None = None,
) -> Task:
    """Run `function(*arguments)` in a thread; the callbacks run on the window's thread.

    Parameters
    ----------
    done : gets what it returned.
    failed : gets the exception it raised; without it, the exception goes to `sys.excepthook`.
    each : gets what a generator function yields.
    owner : when this object is destroyed, the callbacks are not called any more.
    """
    worker = create_worker(function, *arguments, _start_thread=False, _ignore_errors=True)
    task = Task(worker, done, failed or _report, each)
    _tasks.add(task)
    if owner is not None:
        owner.destroyed.connect(task.cancel)
    worker.start()
    return task


def _report(error: BaseException) -> None:
    import sys

    sys.excepthook(type(error), error, error.__traceback__)


def finish_background(milliseconds: int = 10_000) -> bool:
    """Drop all callbacks and wait until no thread is at work; False when some still are after that time."""
    for task in list(_tasks):
        task.cancel()
    return QThreadPool.globalInstance().waitForDone(milliseconds)


class Relay(QObject):
    """Calls a function on the window's thread whenever one of some psygnal signals is emitted, from whatever thread.

    The function gets the signal's first argument, None when there is none. `drop` ends it.
    """

    _arrived = Signal(object)

    def __init__(self, function: Callback, *signals: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._function: Callback | None = function
        self._signals: list[Any] = []
        self._arrived.connect(self._call)
        self.listen(*signals)

    def listen(self, *signals: Any) -> None:
        """Listen to these signals too."""
        for signal in signals:
            signal.connect(self._forward)
            self._signals.append(signal)

    def drop(self) -> None:
        """Listen to nothing any more; what is still on its way is not delivered."""
        self._function = None
        for signal in self._signals:
            signal.disconnect(self._forward, missing_ok=True)
        self._signals.clear()

    def _forward(self, *values: Any) -> None:
        try:
            self._arrived.emit(values[0] if values else None)
        except RuntimeError:  # the window is gone, the engine object is not
            self._signals.clear()

    @Slot(object)
    def _call(self, value: Any) -> None:
        if self._function is not None:
            self._function(value)
