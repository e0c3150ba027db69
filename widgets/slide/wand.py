"""The wand: what looks like the place that is clicked, around it. A drag adds the places it passes.

It paints what has no label, or its own: the labels of other classes stay.

It looks at the slide as sharp as it is shown, at what is in sight with a margin, in a thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QBrush, QColor, QMouseEvent, QPainter, QPainterPath, QPolygonF

from ..background import Task, in_background
from .outline import Outline
from .painting import Point

if TYPE_CHECKING:
    from ...engine.data.slides import Slide
    from .view import SlideView

MARGIN = 0.25  # of the view's size that is looked at beyond each of its edges
MOST = 3_000_000  # pixels that are looked at; above, it looks less closely
REACH = 160.0  # screen pixels around a place beyond which nothing is selected: a drag goes on from there
APART = 6.0  # screen pixels between two places that a drag adds


@dataclass(frozen=True)
class Window:
    """What is looked at: a part of the slide, `downsample` level-0 pixels to a pixel."""

    x: float
    y: float
    width: int
    height: int
    downsample: float


class Wand(Outline):
    """Selects connected pixels of similar colour."""

    name = "wand"
    text = "Wand"

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self.seeds: list[Point] = []
        self.rings: list[list[Point]] = []
        self._down = False
        self._task: Task | None = None
        self._asked = 0  # seeds that the work under way knows
        self._seen: tuple[Window, np.ndarray] | None = None
        in_background(_warm_up, failed=lambda _: None, owner=view)

    # ---- events

    @property
    def busy(self) -> bool:
        return bool(self.seeds)

    def press(self, event: QMouseEvent, at: Point) -> None:
        if self.seeds or not self._start(event):
            return
        self._down = True
        self.seeds = [at]
        self._look()

    def move(self, event: QMouseEvent, at: Point) -> None:
        if self._down and math.dist(at, self.seeds[-1]) * self.model.zoom >= APART:
            self.seeds.append(at)
            self._look()

    def release(self, event: QMouseEvent, at: Point) -> None:
        if self._down:
            self.move(event, at)
            self._down = False
            self._finish()

    def key(self, key: int) -> bool:
        if not self.seeds or key != Qt.Key.Key_Escape:
            return False
        self.cancel()
        return True

    def cancel(self) -> None:
        self._down = False
        self._end()

    def wheel(self, steps: float) -> bool:
        """Alt or Ctrl and the wheel: the tolerance."""
        self.model.wand_tolerance = min(max(self.model.wand_tolerance * 1.15**steps, 1.0), 100.0)
        return True

    # ---- looking

    def _window(self) -> Window:
        """What is in sight with a margin, upright on the slide."""
        slide, (width, height) = self.model.slide, self.model.viewport
        assert slide is not None
        dx, dy = MARGIN * width, MARGIN * height
        corners = [self.model.to_slide(x, y) for x in (-dx, width + dx) for y in (-dy, height + dy)]
        corners = [(min(max(x, 0.0), slide.width), min(max(y, 0.0), slide.height)) for x, y in corners]
        left, top = math.floor(min(x for x, _ in corners)), math.floor(min(y for _, y in corners))
        right, bottom = math.ceil(max(x for x, _ in corners)), math.ceil(max(y for _, y in corners))
        downsample = max(1.0, 1 / self.model.zoom, math.sqrt((right - left) * (bottom - top) / MOST))
        return Window(
            left, top, max(1, int((right - left) / downsample)), max(1, int((bottom - top) / downsample)), downsample
        )

    def _look(self) -> None:
        if self._task is not None:
            return
        slide = self.model.slide
        if slide is None:
            return
        window = self._window()
        known = self._seen[1] if self._seen is not None and self._seen[0] == window else None
        seeds, tolerance, reach = list(self.seeds), self.model.wand_tolerance, REACH / self.model.zoom
        self._asked = len(seeds)
        self._task = in_background(
            lambda: select(slide, window, known, seeds, tolerance, reach),
            done=lambda found: self._found(window, *found),
            failed=self._failed,
            owner=self.view,
        )

    def _found(self, window: Window, pixels: np.ndarray, rings: list[list[Point]]) -> None:
        self._task = None
        if not self.seeds:
            return
        self._seen, self.rings = (window, pixels), rings
        self.view.update()
        if self._asked < len(self.seeds):
            self._look()
        elif not self._down:
            self._finish()

    def _failed(self, error: BaseException) -> None:
        self._end()
        self.view.failed.emit(f"The wand could not look at the slide: {error}.")

    def _finish(self) -> None:
        """Paint what is selected, as soon as all places were looked at."""
        if self._task is not None or not self.seeds:
            return
        if self._asked < len(self.seeds):
            self._look()
            return
        rings = self.rings
        self._end()
        if rings:
            self.view.submit_rings(
                rings, 0 if self.subtract else self.model.label, "evenodd", self.text, others=self.subtract
            )

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task, self._seen, self.seeds, self.rings, self._asked = None, None, [], [], 0
        self.view.update()

    def paint(self, painter: QPainter) -> None:
        if not self.rings:
            return
        path = QPainterPath()
        for ring in self.rings:
            path.addPolygon(QPolygonF([QPointF(*self.model.to_view(*point)) for point in ring]))
            path.closeSubpath()
        fill = QColor(self.color())
        fill.setAlpha(70)
        painter.fillPath(path, QBrush(fill))
        for ring in self.rings:
            self.draw_line(painter, self.screen([*ring, ring[0]]))


def _warm_up() -> None:
    """Import what the first click needs."""
    import_module("skimage.measure")
    import_module("opsin.engine.labels.similar")


def select(
    slide: Slide, window: Window, pixels: np.ndarray | None, seeds: list[Point], tolerance: float, reach: float
) -> tuple[np.ndarray, list[list[Point]]]:
    """Return what the window shows (uint8 [h, w, 3]; `pixels` when it was read before) and the rings of the selection.

    reach : level-0 pixels around each seed within which its colour is followed.
    """
    from ...engine.labels.similar import similar, smooth_outline

    if pixels is None:
        pixels = slide.read_scaled(window.x, window.y, window.width, window.height, window.downsample)
    places = [((x - window.x) / window.downsample, (y - window.y) / window.downsample) for x, y in seeds]
    rings = smooth_outline(similar(pixels, places, tolerance, reach / window.downsample))
    origin = np.array([window.x, window.y])
    scaled = (ring * window.downsample + origin for ring in rings)
    return pixels, [[(float(x), float(y)) for x, y in ring] for ring in scaled]
