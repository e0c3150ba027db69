"""Edits of whole regions: fill, change of class, grow, shrink, holes, removal. They are worked out in a thread.

A region is what hangs together of one class. Which one is meant: the one a menu was opened on, else the one under the
pointer, else the one picked last, else the one in the middle of the view.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from ...engine.errors import LabelError
from ...engine.labels.store import LabelStore
from ..background import Task, in_background
from .painting import Point

if TYPE_CHECKING:
    from ...engine.labels.runs import Runs
    from .view import SlideView

Cancelled = Callable[[], bool]
BUSY_MS = 300  # work that is done sooner is not spoken of


@dataclass
class Edit:
    """What came out: pixels to paint, in order, each with the label values that may give way to them.

    lines : (points, radius, label, values that may give way) of strokes that belong to it.
    """

    text: str
    items: Sequence[tuple[Runs, int, tuple[int, ...]]] = ()
    lines: Sequence[tuple[Sequence[Point], float, int, tuple[int, ...]]] = field(default=())


class RegionWork(QObject):
    """The region edits of one view, one at a time."""

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self.view, self.model = view, view.model
        self.picked: Point | None = None  # level 0
        self.menu_at: Point | None = None  # the same, while and after a menu is open, until the pointer moves
        self._task: Task | None = None
        self._stop = threading.Event()
        self._busy = QTimer(self, singleShot=True, interval=BUSY_MS)
        self._busy.timeout.connect(lambda: self.view.say("Working on the region… Esc stops", hold=True))

    # ---- which region

    def place(self) -> Point:
        """The level-0 point whose region is meant."""
        if self.menu_at is not None:
            return self.menu_at
        if self.view.pointer is not None:
            return self.model.to_slide(self.view.pointer.x(), self.view.pointer.y())
        if self.picked is not None:
            return self.picked
        return self.model.to_slide(self.model.viewport[0] / 2, self.model.viewport[1] / 2)

    # ---- what can be done; `at` is a level-0 point

    def fill(self, at: Point, label: int) -> None:
        """Give the connected place at a point to a class: an enclosed hole, or a region of another class."""
        value = self.view.label_at(*at)
        if value == label:
            name = self._name(label)
            self.view.say(f"That is {name} already" if label else "There is nothing to take away")
            return
        if self._may(value, label):
            self._start(_Fill(at, value, label))

    def recolour(self) -> None:
        """Give the region to the current class."""
        if self._value():
            self.fill(self.place(), self.model.label)

    def remove(self) -> None:
        """Take the region away."""
        if self._value():
            self.fill(self.place(), 0)

    def fill_holes(self) -> None:
        """Fill what is unlabelled inside the region."""
        value = self._value()
        if value and self._may(0, value):
            self._start(_Holes(self.place(), value))

    def grow(self, um: float | None = None) -> None:
        """Make the region larger by some µm all around (None: as set in the tool box)."""
        value = self._value()
        if value and self._may(0, value):
            self._start(_Resize(self.place(), value, self._pixels(um), self._words(um)))

    def shrink(self, um: float | None = None) -> None:
        """Make the region smaller by some µm all around (None: as set in the tool box)."""
        value = self._value()
        if value and self._may(value, 0):
            self._start(_Resize(self.place(), value, -self._pixels(um), self._words(um)))

    def join(self, line: Sequence[Point]) -> None:
        """Make the region at a line's end one with that at its beginning: of its class, with a bridge where they do not touch."""
        first, last = self.view.label_at(*line[0]), self.view.label_at(*line[-1])
        if not first or not last:
            self.view.say("Begin on the region that stays, end on the one that joins it")
        elif self._may(last, first) and self._may(0, first):
            self._start(_Join(line, first, last, max(self.model.brush_radius, 0.5)))

    def _value(self) -> int:
        """The label of the region that is meant; 0, said so, when there is none."""
        value = self.view.label_at(*self.place())
        if not value:
            self.view.say("There is no region here")
        return value

    def _may(self, old: int, new: int) -> bool:
        """Whether pixels of one label may become another; said where not."""
        if not self.view.can_paint(old) or not self.view.can_paint(new):
            return False
        if new and old in self.model.keeps(new):
            self.view.say("Only what is unlabelled is painted now")
            return False
        if new:
            self.view.show_label(new)
        return True

    def _name(self, label: int) -> str:
        found = self.model.label_class(label)
        return found.name if found is not None else f"class {label}"

    def _pixels(self, um: float | None) -> float:
        return (self.model.grow_um if um is None else um) / (self.model.mpp or 1.0)

    def _words(self, um: float | None) -> str:
        return f"{self.model.grow_um if um is None else um:.3g} {'µm' if self.model.mpp else 'px'}"

    # ---- the thread

    @property
    def busy(self) -> bool:
        return self._task is not None

    def cancel(self) -> bool:
        """Give up what is under way; False when nothing is."""
        if self._task is None:
            return False
        self._stop.set()
        self._task.cancel()
        self._end("Stopped; nothing was changed")
        return True

    def _start(self, work: Callable[[LabelStore, Cancelled], Edit]) -> None:
        store = self.view._store
        if store is None:
            return
        if self._task is not None:
            self.view.say("The last region is still being worked on; Esc stops that")
            return
        stop = self._stop = threading.Event()

        def run() -> Edit:
            store.flush()  # what was painted just now counts
            return work(store, stop.is_set)

        self._task = in_background(run, done=lambda edit: self._done(store, edit), failed=self._failed, owner=self)
        self._busy.start()

    def _done(self, store: LabelStore, edit: Edit) -> None:
        self._end("")
        if store is not self.view._store:
            return
        group = store.new_group()
        for runs, label, only in edit.items:
            self.view.submit_pixels([(runs, label)], edit.text, only, group)
        for line, radius, label, only in edit.lines:
            self.view.submit_line(line, radius, label, only, group, edit.text)

    def _failed(self, error: BaseException) -> None:
        self._end("")
        self.view.failed.emit(
            str(error) if isinstance(error, LabelError) else f"The region could not be changed: {error}."
        )

    def _end(self, note: str) -> None:
        self._task = None
        self._busy.stop()
        self.view.say(note)


@dataclass
class _Fill:
    at: Point
    value: int
    label: int

    def __call__(self, store: LabelStore, cancelled: Cancelled) -> Edit:
        from ...engine.labels.regions import connected

        region = connected(store, int(self.at[0]), int(self.at[1]), cancelled, closed=not self.value)
        text = "Remove region" if not self.label else "Fill" if not self.value else "Change class of region"
        return Edit(text, [(region, self.label, (self.value,))])


@dataclass
class _Holes:
    at: Point
    value: int

    def __call__(self, store: LabelStore, cancelled: Cancelled) -> Edit:
        from ...engine.labels.regions import connected

        holes = connected(store, int(self.at[0]), int(self.at[1]), cancelled).holes()
        if not len(holes):
            raise LabelError("This region has no holes.")
        return Edit("Fill holes", [(holes, self.value, (0,))])


@dataclass
class _Resize:
    at: Point
    value: int
    by: float  # level-0 pixels, below 0 to shrink
    words: str

    def __call__(self, store: LabelStore, cancelled: Cancelled) -> Edit:
        from ...engine.labels.regions import connected, grown, shrunk

        region = connected(store, int(self.at[0]), int(self.at[1]), cancelled)
        if self.by > 0:
            more = grown(region, self.by, store.width, store.height, cancelled) - region
            if not len(more):
                raise LabelError(
                    f"The region does not grow by {self.words}: it fills the slide, or that is under a pixel."
                )
            return Edit(f"Grow by {self.words}", [(more, self.value, tuple(v for v in range(256) if v != self.value))])
        left = shrunk(region, -self.by, store.width, store.height, cancelled)
        if not len(left):
            raise LabelError(f"The region is nowhere wider than twice {self.words}: nothing would be left of it.")
        if left.area == region.area:
            raise LabelError(f"The region does not shrink by {self.words}: that is under a pixel.")
        return Edit(f"Shrink by {self.words}", [(region - left, 0, (self.value,))])


@dataclass
class _Join:
    line: Sequence[Point]
    first: int
    last: int
    radius: float

    def __call__(self, store: LabelStore, cancelled: Cancelled) -> Edit:
        from ...engine.labels.regions import connected, grown

        (x0, y0), (x1, y1) = self.line[0], self.line[-1]
        one = connected(store, int(x0), int(y0), cancelled)
        if self.first == self.last and one.contains(int(x1), int(y1)):
            raise LabelError("Both ends lie in one region already; nothing was changed.")
        other = connected(store, int(x1), int(y1), cancelled)
        touch = len(grown(other, 1.0, store.width, store.height, cancelled) & one) > 0
        edit = Edit("Join regions")
        if self.first != self.last:
            edit.items = [(other, self.first, (self.last,))]
        if not touch:
            edit.lines = [(self.line, self.radius, self.first, (0, self.last))]
        return edit
