"""SlideViewModel: what a slide view shows and with which tool one paints. Knows no Qt.

Coordinates are level-0 pixels of the slide, x right, y down; pixel (i, j) covers [i, i+1) x [j, j+1).
Screen lengths are device-independent pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from psygnal import Signal, SignalGroupDescriptor

from ...engine.labels.classes import DEFAULT_CLASSES, LabelClass
from .transform import Rect, ViewTransform

if TYPE_CHECKING:
    from ...engine.data.channels import Channel
    from ...engine.data.slides import Slide
    from ...engine.labels.store import LabelStore
    from ...engine.tiles import TilePyramid

MAX_ZOOM = 40.0  # screen pixels per level-0 pixel
ANY_LABEL = frozenset(range(1, 256))
BRUSH_UM = (0.5, 20000.0)  # smallest and largest brush diameter


@dataclass
class Overlay:
    """One picture over the slide: a heat map, or labels that are not the user's own (pseudo labels).

    Change it through `SlideViewModel.update_overlay`, so that views hear of it.
    """

    name: str
    pyramid: TilePyramid
    colormap: str = "inferno"
    threshold: float = 0.5  # probability below which nothing is drawn
    opacity: float = 0.6
    visible: bool = True
    kind: Literal["heat", "labels"] = "heat"
    yields: bool = False  # not drawn where something is painted by hand: a proposal, which a person has decided on
    colors: tuple[str, ...] = ()  # "#rrggbb" of the values from 1 on, of labels that have other ones than the classes
    above: bool = False  # drawn over the user's labels


@dataclass(eq=False)
class SlideViewModel:
    """What is shown, from where, and the tool in hand. `events.<field>` (psygnal) tells of every change."""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()
    refreshed: ClassVar[Signal] = Signal(str, object)  # overlay name, level-0 rect or None for all of it
    note_wanted: ClassVar[Signal] = Signal(str)  # id of the mark whose note is to be written
    viewed: ClassVar[Signal] = Signal()  # place, zoom, turn, size of the view changed, or how the slide is shown

    slide: Slide | None = None
    labels: LabelStore | None = None
    mpp: float | None = None  # µm per level-0 pixel
    mpp_source: str = "unknown"
    classes: list[LabelClass] = field(default_factory=lambda: [c.model_copy() for c in DEFAULT_CLASSES])
    tool: str = "pan"  # one of `toolset.TOOLS`
    label: int = 1
    brush_um: float = 100.0  # diameter; in level-0 pixels where mpp is unknown
    brightness: float = 0.0  # -1 … 1, 0 = as scanned
    contrast: float = 0.0  # -1 … 1, 0 = as scanned
    display: tuple[Channel, ...] = ()  # how the channels of a fluorescence slide are shown; empty for RGB
    label_opacity: float = 1.0  # times the opacity of each class
    show_labels: bool = True
    solo: int | None = None  # the one label that is shown, None = all whose class is visible
    hatch: bool = False  # classes are told apart by their pattern too
    only_unlabelled: bool = False  # painting changes no pixel that has a label; taking away is not held up
    wand_tolerance: float = 12.0  # colour difference (CIE 1976) up to which pixels are alike for the wand
    pen_pressure: bool = True  # the harder the pen is pressed, the larger the brush
    grow_um: float = 10.0  # by how much regions grow and shrink; level-0 pixels where mpp is unknown
    mark: str | None = None  # id of the chosen marker, ruler, area or region of interest
    show_marks: bool = True  # markers, rulers and areas; regions of interest are always shown
    author: str = ""  # who makes the marks
    overlays: list[Overlay] = field(default_factory=list)
    centre: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0  # screen pixels per level-0 pixel
    rotation: float = 0.0  # degrees by which the slide is turned clockwise, above -180 up to 180
    mirrored: bool = False  # left and right are swapped, before it is turned
    viewport: tuple[float, float] = (0.0, 0.0)  # size of the view on the screen, set by the view
    fitted: bool = True  # the whole slide is shown and follows the size of the view

    def __post_init__(self) -> None:
        self._placed: tuple[Any, ViewTransform] = (None, ViewTransform((0.0, 0.0), 1.0, (0.0, 0.0)))

    # ---- what is shown

    def set_slide(self, slide: Slide | None, labels: LabelStore | None = None) -> None:
        """Show a slide (or nothing) with its labels, whole and as scanned; overlays of the slide before are dropped."""
        self.overlays = []
        self.mark = None
        self.rotation, self.mirrored = 0.0, False
        self.labels = None
        self.display = slide.display if slide else ()
        self.slide = slide
        self.mpp = slide.mpp if slide else None
        self.mpp_source = slide.mpp_source if slide else "unknown"
        self.labels = labels
        self._protect()
        self.fit()

    def set_mpp(self, mpp: float | None, source: str = "set by you") -> None:
        """Correct the resolution [µm per level-0 pixel]."""
        self.mpp = mpp
        self.mpp_source = source if mpp else "unknown"

    def set_display(self, channels: Iterable[Channel]) -> None:
        """Show the channels of a fluorescence slide so; for the eyes only, whoever opens the file anew gets its own."""
        if self.slide is not None:
            self.slide.display = tuple(channels)
            self.display = self.slide.display
            self.viewed.emit()

    def add_overlay(self, overlay: Overlay) -> None:
        """Show an overlay above the others; one of the same name is replaced in its place."""
        names = [o.name for o in self.overlays]
        if overlay.name in names:
            self.overlays = [overlay if o.name == overlay.name else o for o in self.overlays]
        else:
            self.overlays = [*self.overlays, overlay]

    def update_overlay(self, name: str, **changes: Any) -> None:
        """Change threshold, opacity, colormap or visibility of the overlay `name`."""
        self.overlays = [replace(o, **changes) if o.name == name else o for o in self.overlays]

    def remove_overlay(self, name: str) -> None:
        self.overlays = [o for o in self.overlays if o.name != name]

    def overlay(self, name: str) -> Overlay | None:
        return next((o for o in self.overlays if o.name == name), None)

    def refresh_overlay(self, name: str, rect: Rect | None = None) -> None:
        """Another process wrote tiles of the overlay inside `rect` (level 0; None = anywhere): read them again."""
        overlay = self.overlay(name)
        if overlay is not None:
            overlay.pyramid.refresh(rect)
            self.refreshed.emit(name, rect)

    # ---- classes

    def set_classes(self, classes: Iterable[LabelClass]) -> None:
        """Take over the class table; locked classes become protected in the label store."""
        self.classes = [c.model_copy() for c in classes]
        if self.classes and self.label not in {c.value for c in self.classes}:
            self.label = self.classes[0].value
        self._protect()

    def update_class(self, value: int, **changes: Any) -> None:
        """Change colour, eye, lock, … of one class."""
        self.set_classes(c.model_copy(update=changes) if c.value == value else c for c in self.classes)

    def label_class(self, value: int) -> LabelClass | None:
        return next((c for c in self.classes if c.value == value), None)

    def select_key(self, key: str) -> bool:
        """Make the class with this key current; without such a key the digit counts the classes. True = found."""
        wanted = key.lower()
        for c in self.classes:
            if wanted and c.key.lower() == wanted:
                self.label = c.value
                return True
        if key.isdigit() and 1 <= int(key) <= len(self.classes) and not self.classes[int(key) - 1].key:
            self.label = self.classes[int(key) - 1].value
            return True
        return False

    def _protect(self) -> None:
        if self.labels is not None:
            self.labels.protected = frozenset(c.value for c in self.classes if c.locked)

    def keeps(self, label: int) -> frozenset[int]:
        """The label values that painting with `label` (0 = taking away) leaves alone."""
        locked = frozenset(c.value for c in self.classes if c.locked)
        return locked | ANY_LABEL if self.only_unlabelled and label else locked

    # ---- brush

    @property
    def brush_radius(self) -> float:
        """Radius of the brush in level-0 pixels."""
        return self.brush_um / (self.mpp or 1.0) / 2

    def scale_brush(self, factor: float) -> None:
        self.brush_um = min(max(self.brush_um * factor, BRUSH_UM[0]), BRUSH_UM[1])

    # ---- undo

    def undo(self) -> bool:
        return self.labels.undo() if self.labels is not None and not self.labels.readonly else False

    def redo(self) -> bool:
        return self.labels.redo() if self.labels is not None and not self.labels.readonly else False

    # ---- navigation

    def set_viewport(self, width: float, height: float) -> None:
        """The view has this size now; a slide shown whole stays shown whole."""
        if (width, height) == self.viewport:
            return
        self.viewport = (width, height)
        if self.fitted:
            self.fit()
        else:
            self.viewed.emit()

    @property
    def fit_zoom(self) -> float:
        """The zoom at which the whole slide is in sight, with a narrow margin."""
        if self.slide is None or not all(self.viewport):
            return 1.0
        margin = min(24.0, 0.04 * min(self.viewport))
        width, height = self.transform.size_of(self.slide.width, self.slide.height)
        return min((self.viewport[0] - 2 * margin) / width, (self.viewport[1] - 2 * margin) / height)

    def fit(self) -> None:
        """Show the whole slide."""
        if self.slide is not None:
            self.centre = (self.slide.width / 2, self.slide.height / 2)
            self.zoom = min(max(self.fit_zoom, 1e-6), MAX_ZOOM)
        self.fitted = True
        self.viewed.emit()

    def move_to(self, x: float, y: float) -> None:
        """Put the level-0 point in the middle; the middle stays on the slide, so that it cannot get lost."""
        if self.slide is None:
            return
        self.centre = (min(max(x, 0.0), self.slide.width), min(max(y, 0.0), self.slide.height))
        self.fitted = False
        self.viewed.emit()

    def pan(self, dx: float, dy: float) -> None:
        """Move the slide by screen pixels (right and down are positive)."""
        x, y = self.transform.slide_vector(dx, dy)
        self.move_to(self.centre[0] - x, self.centre[1] - y)

    def zoom_at(self, factor: float, x: float | None = None, y: float | None = None) -> None:
        """Zoom by `factor`; the slide point under the screen point (x, y) stays there (None = the middle)."""
        if self.slide is None or factor <= 0:
            return
        smallest = min(0.5 * self.fit_zoom, 1.0)
        zoom = min(max(self.zoom * factor, smallest), MAX_ZOOM)
        if x is None or y is None:
            x, y = self.viewport[0] / 2, self.viewport[1] / 2
        fixed = self.to_slide(x, y)
        self.zoom = zoom
        dx, dy = self.transform.slide_vector(x - self.viewport[0] / 2, y - self.viewport[1] / 2)
        self.move_to(fixed[0] - dx, fixed[1] - dy)

    def zoom_to(self, magnification: float) -> None:
        """Show at an objective's magnification (0.25 µm per screen pixel = 40x); without mpp 40 means 1:1."""
        self.zoom_at(magnification / self.scan_magnification / self.zoom)

    @property
    def scan_magnification(self) -> float:
        """Magnification at 1:1: 10 / mpp by the convention of scanners; 40 where mpp is unknown."""
        return 10 / self.mpp if self.mpp else 40.0

    @property
    def magnification_text(self) -> str:
        """The read-out: `12.4x`, or `1:8` where the resolution is unknown."""
        if self.mpp:
            value = self.scan_magnification * self.zoom
            return f"{value:.3g}x" if value < 100 else f"{value:.0f}x"
        ratio = self.zoom if self.zoom >= 1 else 1 / self.zoom
        text = f"{ratio:.1f}".removesuffix(".0") if ratio < 10 else f"{ratio:.0f}"
        return f"{text}:1" if self.zoom > 1 else f"1:{text}"

    # ---- turning

    def turn_to(self, degrees: float, mirrored: bool | None = None) -> None:
        """Turn the slide so that it lies `degrees` clockwise of how it was scanned; the middle of the view stays."""
        degrees = 180.0 - (180.0 - degrees) % 360.0
        self.rotation = round(degrees, 6) + 0.0
        if mirrored is not None:
            self.mirrored = mirrored
        self.fit() if self.fitted else self.viewed.emit()

    def turn_by(self, degrees: float) -> None:
        """Turn the slide on the screen, clockwise where `degrees` is positive."""
        self.turn_to(self.rotation + degrees)

    def flip(self) -> None:
        """Swap left and right of what is on the screen, as it lies now."""
        self.turn_to(-self.rotation, not self.mirrored)

    # ---- places

    @property
    def transform(self) -> ViewTransform:
        """Where places of the slide stand in the view at this moment."""
        now = (self.centre, self.zoom, self.viewport, self.rotation, self.mirrored)
        if now != self._placed[0]:
            self._placed = (now, ViewTransform(*now))
        return self._placed[1]

    def to_slide(self, x: float, y: float) -> tuple[float, float]:
        """Level-0 point under a point of the view."""
        return self.transform.to_slide(x, y)

    def to_view(self, x: float, y: float) -> tuple[float, float]:
        """Point of the view at a level-0 point."""
        return self.transform.to_view(x, y)

    def visible_rect(self) -> Rect:
        """What is in sight, clipped to the slide: x, y, width, height in level-0 pixels.

        In a view that is turned by other than quarters it is the upright rectangle around that.
        """
        if self.slide is None:
            return (0.0, 0.0, 0.0, 0.0)
        left, top, width, height = self.transform.slide_rect((0.0, 0.0, *self.viewport))
        right, bottom = min(left + width, float(self.slide.width)), min(top + height, float(self.slide.height))
        left, top = max(left, 0.0), max(top, 0.0)
        return (left, top, max(right - left, 0.0), max(bottom - top, 0.0))

    @property
    def all_in_sight(self) -> bool:
        """Whether no part of the slide lies outside of the view."""
        if self.slide is None:
            return False
        x, y, width, height = self.transform.view_rect((0.0, 0.0, self.slide.width, self.slide.height))
        return x > -1 and y > -1 and x + width < self.viewport[0] + 1 and y + height < self.viewport[1] + 1


def round_length(longest: float) -> float:
    """Largest of 1, 2, 5 x 10^n that is not above `longest`: the length of a scale bar."""
    if longest <= 0 or not math.isfinite(longest):
        return 1.0
    power = 10.0 ** math.floor(math.log10(longest) + 1e-12)
    return next(step * power for step in (5, 2, 1) if step * power <= longest * (1 + 1e-9))
