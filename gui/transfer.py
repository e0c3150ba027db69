"""An export or import under way: in a thread, with a sheet that shows how far it is and cancels it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ..engine.errors import Cancelled
from ..widgets.background import in_background
from .export_dialog import ProgressSheet

if TYPE_CHECKING:
    from ..engine.transfer import Inner, Step
    from .window import MainWindow

PATIENCE_MS = 400
"""Work that ends sooner shows no sheet."""
_PAUSE = 0.1  # seconds between two signals of progress


class Transfer(QObject):
    """Runs a function that yields what became of each slide or file.

    Parameters
    ----------
    make : from a function that takes notice of (done, total) within one slide, returns the steps.
    finished : gets the steps that were done, and whether the rest was cancelled.
    """

    progressed = Signal(float, str)

    def __init__(
        self,
        window: MainWindow,
        title: str,
        total: int,
        make: Callable[[Inner], Iterator[Step]],
        finished: Callable[[list[Step], bool], None],
    ) -> None:
        super().__init__(window)
        self.window, self._total, self._make, self._finished = window, total, make, finished
        self._stop = threading.Event()
        self.steps: list[Step] = []
        self._told = 0.0
        self.sheet: ProgressSheet | None = ProgressSheet(title, window)
        self.sheet.cancelled.connect(self.cancel)
        window.destroyed.connect(self._stop.set)
        self.sheet.show_progress(0, "Starting")
        self.progressed.connect(self._show)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._show_sheet)
        self._timer.start(PATIENCE_MS)
        in_background(self._work, done=self._done, failed=self._failed, owner=self)

    def cancel(self) -> None:
        """End the work at its next step; the sheet, which the user may have closed, is gone."""
        self._stop.set()
        self._timer.stop()
        self.sheet = None

    # ---- in the thread ---------------------------------------------------------------------------------------------

    def _work(self) -> bool:
        try:
            for step in self._make(self._inner):
                self.steps.append(step)
                self._tell(0.0, step.name)
                if self._stop.is_set():
                    raise Cancelled
        except Cancelled:
            return len(self.steps) < self._total
        return False

    def _inner(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise Cancelled
        if time.monotonic() - self._told > _PAUSE:
            self._tell(done / max(total, 1), "")

    def _tell(self, share: float, name: str) -> None:
        self._told = time.monotonic()
        done = len(self.steps)
        number = min(done + 1, self._total)
        text = f"{number:,} of {self._total:,}" if self._total > 1 else "Working"
        self.progressed.emit(min(1.0, (done + share) / max(self._total, 1)), text + (f", done: {name}" if name else ""))

    # ---- in the window ---------------------------------------------------------------------------------------------

    def _show_sheet(self) -> None:
        if self.sheet is not None:
            self.window.show_dialog(self.sheet)

    def _show(self, share: float, text: str) -> None:
        if self.sheet is not None:
            self.sheet.show_progress(share, text)

    def _end(self) -> None:
        self._timer.stop()
        sheet, self.sheet = self.sheet, None
        if sheet is not None:
            sheet.cancelled.disconnect(self.cancel)
            if sheet.isVisible():
                sheet.close()
            else:
                sheet.deleteLater()

    def _done(self, cancelled: bool) -> None:
        self._end()
        self._finished(self.steps, cancelled)
        self.deleteLater()

    def _failed(self, error: BaseException) -> None:
        self._end()
        self.window.messages.error(error)
        self.deleteLater()
