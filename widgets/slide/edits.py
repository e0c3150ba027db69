"""What tools ask the slide view for: may I paint, show it at once, hand it to the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtGui import QColor

from ...engine.errors import OpsinError
from .model import ANY_LABEL
from .painting import Point, Rect, Stroke, bounds

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget as _Base

    from ...engine.labels.runs import Runs
    from ...engine.labels.store import LabelStore
    from .model import SlideViewModel
    from .scene import Scene
else:
    _Base = object


class Edits(_Base):
    """The part of `SlideView` that tools work with."""

    model: SlideViewModel
    scene: Scene
    say: Callable[..., None]
    update_level0: Callable[[Rect], None]
    failed: Any
    _store: LabelStore | None
    _tick_timer: Any

    def can_paint(self, label: int = 0) -> bool:
        """Whether a gesture may begin that leaves `label` behind; a locked class neither loses nor gains pixels."""
        if self.model.labels is None or self.model.labels.readonly:
            return False
        found = self.model.label_class(label)
        if found is None or not found.locked:
            return True
        self.say(f"{found.name} is locked")
        return False

    def class_color(self, label: int) -> QColor:
        found = self.model.label_class(label)
        return QColor(found.color) if found is not None else QColor("#7f7f7f")

    def show_label(self, label: int) -> None:
        """Painting with a hidden class would look like nothing happens: show it."""
        found = self.model.label_class(label)
        if found is not None and not found.visible:
            self.model.update_class(label, visible=True)
        if self.model.solo not in (None, label):
            self.model.solo = None
        if not self.model.show_labels:
            self.model.show_labels = True

    def label_at(self, x: float, y: float) -> int:
        """The label of the level-0 pixel at a point; 0 outside the slide."""
        store = self.model.labels
        if store is None or not (0 <= x < store.width and 0 <= y < store.height):
            return 0
        tile = store.tile(0, int(y) // 512, int(x) // 512)
        return 0 if tile is None else int(tile[int(y) % 512, int(x) % 512])

    def set_live(self, stroke: Stroke | None) -> None:
        if self.scene.labels is not None:
            self.scene.labels.live = stroke
        self._tick_timer.start() if stroke is not None else self._tick_timer.stop()

    # ---- showing at once

    def draw_stroke(self, points: list[Point], radius: float | Sequence[float], label: int) -> None:
        """Show a piece of a stroke at once; `radius` is that of all points or of each."""
        layer = self._ready(label)
        self.update_level0(layer.draw_stroke(points, radius, label, self.scene.label_keys()))

    def _ready(self, label: int, keep: frozenset[int] | None = None) -> Any:
        """The label layer, set up for drawing with a label: what is protected from it is left alone."""
        layer = self.scene.labels
        assert layer is not None
        self.scene.prepare(self.devicePixelRatioF())
        kept = self.model.keeps(label) if keep is None else keep
        if kept != layer.protected:
            layer.protected = kept
            layer.invalidate()
        return layer

    def _out_of_date(self, rect: Rect) -> None:
        """Label tiles out of sight do not show the edit yet; those in sight do, and keep it until `changed`."""
        if self.scene.labels is not None:
            self.scene.labels.invalidate(rect, keep=set(self.scene.label_keys()))

    # ---- handing over

    def submit_stroke(self, stroke: Stroke, points: np.ndarray, radius: float | np.ndarray) -> None:
        """Hand a part of a stroke to the store."""
        # `_store`, not the model's: a stroke cut short by another slide belongs to the slide it was begun on.
        assert self._store is not None
        try:
            self._store.stroke(
                points, radius, stroke.label, group=stroke.group, text=stroke.text, keep=self.model.keeps(stroke.label)
            )
        except OpsinError as error:
            self.failed.emit(str(error))
        self._out_of_date(bounds([tuple(p) for p in points], float(np.max(radius))))

    def submit_polygon(self, points: list[Point], label: int, rule: str, text: str) -> None:
        """Show a filled ring at once and hand it to the store."""
        self.submit_rings([points], label, rule, text)

    def submit_rings(self, rings: list[list[Point]], label: int, rule: str, text: str, others: bool = True) -> None:
        """Show filled rings at once and hand them to the store as one step; without `others` no other label is changed."""
        assert self._store is not None
        keep = self.model.keeps(label) | (frozenset() if others else ANY_LABEL - {label})
        rect = self._ready(label, keep).draw_polygon(rings, label, rule, self.scene.label_keys())
        text = text if label else f"{text} (subtract)"
        try:
            self._store.polygon([np.array(ring) for ring in rings], label, rule=rule, text=text, keep=keep)
        except OpsinError as error:
            self.failed.emit(str(error))
        self._out_of_date(rect)
        self.update_level0(rect)

    def submit_line(
        self, line: Sequence[Point], radius: float, label: int, only: Iterable[int], group: int | None, text: str
    ) -> None:
        """Hand a line of some radius to the store that changes pixels of some labels alone."""
        assert self._store is not None
        keep = ANY_LABEL.union((0,)).difference(only) | self.model.keeps(label)
        try:
            self._store.stroke(np.array(line), radius, label, group=group, text=text, keep=keep)
        except OpsinError as error:
            self.failed.emit(str(error))

    def submit_pixels(
        self, items: Sequence[tuple[Runs, int]], text: str, only: Iterable[int], group: int | None
    ) -> None:
        """Hand pixels to the store; they are seen as soon as it has painted them."""
        assert self._store is not None
        keep = frozenset[int]().union(*(self.model.keeps(label) for _, label in items))
        try:
            self._store.pixels(items, text=text, only=only, group=group, keep=keep)
        except OpsinError as error:
            self.failed.emit(str(error))
