"""What the demo works the window with: eyes, a mouse, patience."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.errors import OpsinError
from .demo_report import Report

PATIENCE = 3600.0
"""Seconds that a training may take."""


class DemoError(OpsinError):
    """A step of the demo did not come to its end."""


class Hands:
    """Works a window from outside.

    Parameters
    ----------
    output : folder that pictures and report go to.
    """

    def __init__(self, application: Any, window: Any, output: Path) -> None:
        self.application, self.window, self.output = application, window, output
        self.report = Report(output)
        self.step = "start"
        self.ending = False
        self.trouble = ""
        window.messages.posted.connect(self._posted)

    def aim(self, ring: np.ndarray, fill: float) -> None:
        """Bring a ring to the middle of the view and turn the wheel until it fills that share of the view's height."""
        from qtpy.QtCore import QPoint, QPointF, Qt
        from qtpy.QtGui import QWheelEvent

        model, view = self.window.model, self.window.room.view
        low, high = ring.min(0), ring.max(0)
        wanted = fill * view.height() / float((high - low).max())
        model.fit()
        model.move_to(*((low + high) / 2))
        for _ in range(200):
            if model.zoom >= wanted * 0.97:
                break
            at = QPointF(view.width() / 2, view.height() / 2)
            notch = round(min(120.0, 1200 * (wanted / model.zoom - 1)))
            none = (Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False)
            turn = QWheelEvent(at, QPointF(view.mapToGlobal(at.toPoint())), QPoint(), QPoint(0, max(4, notch)), *none)
            self.application.sendEvent(view, turn)
            self.spin(0.02)
        model.move_to(*((low + high) / 2))

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.step = name
        print(f"{name[:1].upper()}{name[1:]} …", flush=True)
        start = time.monotonic()
        yield
        self.report.seconds[name] = time.monotonic() - start

    def exports(self) -> Path:
        folder = self.output / "exports"
        folder.mkdir(exist_ok=True)
        return folder

    def open(self, item: str) -> None:
        self.window.open_item(item)
        self.until(lambda: self.window.item is not None and self.window.item.id == item, "open the slide")

    def at_view(self, point: np.ndarray) -> Any:
        from qtpy.QtCore import QPoint

        x, y = self.window.model.to_view(float(point[0]), float(point[1]))
        return QPoint(round(x), round(y))

    def background(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns; the window stays alive meanwhile."""
        with ThreadPoolExecutor(1) as pool:
            future: Future[Any] = pool.submit(work)
            self.until(future.done, self.step, PATIENCE)
            return future.result()

    def require(self, good: bool, sentence: str) -> None:
        if not good:
            raise DemoError(sentence)

    def spin(self, seconds: float) -> None:
        """Let the window work for a while."""
        from qtpy.QtCore import QEventLoop, QTimer

        loop = QEventLoop()
        QTimer.singleShot(max(1, round(seconds * 1000)), loop.quit)
        loop.exec()
        if self.trouble:
            raise DemoError(self.trouble)
        if not self.window.isVisible():
            raise DemoError("the window was closed")

    def until(self, ready: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while not ready():
            self.require(time.monotonic() < end, f"it took longer than {seconds:.0f} s to {what}")
            self.spin(0.03)

    def picture(self, name: str, text: str, widget: Any = None, now: bool = False) -> None:
        """Take a picture of the window, or of a dialog, when all that is in sight is sharp, or just as it is `now`."""
        if not now:
            self.spin(0.4)
            while self.window.banners.dismiss():  # what was said about an earlier step
                pass
            self.spin(0.1)
        room = self.window.room
        if not now and room is not None and room.view.isVisible() and self.window.model.slide is not None:
            self.require(room.view.wait_painted(30.0), "the slide did not become sharp within 30 s")
        self.report.add_picture((widget or self.window).grab(), name, text)

    def _posted(self, kind: str, sentence: str, details: str) -> None:
        if kind == "error" and not self.ending:
            self.trouble = sentence
            print(details, end="", flush=True)
