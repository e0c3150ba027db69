"""What a tool is. It gets mouse events with their level-0 coordinates and edits the labels through the view.

Right button or Alt = take away instead of add, with every painting tool. Moving the slide (Space, middle button) and
zooming are the view's business and work in the middle of a stroke. The tools and where they stand: `toolset.py`.
Between screen and slide only `model.to_slide` and `model.to_view` are used: the view may be turned.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPen

from .painting import Point
from .toolset import tool_info

if TYPE_CHECKING:
    from .view import SlideView

ERASING = QColor("#30363d")  # lines of what takes labels away
CLICK = 4.0  # screen pixels a hand may move during a click


def pens(color: QColor, dashed: bool = False) -> list[QPen]:
    """Pens for one line, drawn one over the other: seen on white glass, pink tissue and dark nuclei alike."""
    pens = []
    for shade, width in ((QColor(0, 0, 0, 120), 4.2), (QColor(255, 255, 255, 235), 3.2), (color, 1.8)):
        pens.append(QPen(shade, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap, Qt.PenJoinStyle.RoundJoin))
    if dashed:
        pens[-1].setDashPattern([3, 2])
    return pens


class Tool:
    """What the mouse does. `view` is the slide view it works on."""

    name: ClassVar[str] = ""
    cursor: ClassVar[Qt.CursorShape] = Qt.CursorShape.CrossCursor
    paints: ClassVar[bool] = True  # the right button and a pen's eraser take away; else the right button opens a menu

    def __init__(self, view: SlideView) -> None:
        self.view = view
        self.model = view.model

    def press(self, event: QMouseEvent, at: Point) -> None:
        """A button that is the tool's went down."""

    def move(self, event: QMouseEvent, at: Point) -> None:
        """The mouse moved, with a button down or not."""

    def release(self, event: QMouseEvent, at: Point) -> None:
        """The tool's button went up."""

    def double_click(self, event: QMouseEvent, at: Point) -> None:
        """The second press of a double click; most tools take it as one more press."""
        self.press(event, at)

    def key(self, key: int) -> bool:
        """Take a key; False = not mine."""
        return False

    @property
    def busy(self) -> bool:
        """Whether something is under way that Escape gives up."""
        return bool(getattr(self, "points", ()))

    def cancel(self) -> None:
        """Drop what is under way (another tool was chosen, another slide opened)."""

    def wheel(self, steps: float) -> bool:
        """The wheel was turned with Alt or Ctrl, `steps` notches; False = zoom with it."""
        return False

    def tick(self) -> None:
        """Called a few times a second while a button is down."""

    def reach(self) -> float | None:
        """How far what `paint` draws around the pointer reaches, screen pixels; None when nothing follows the pointer."""
        return None

    def paint(self, painter: QPainter) -> None:
        """Draw on top of the view, in screen coordinates."""

    def subtracts(self, event: QMouseEvent) -> bool:
        """Whether this gesture takes away."""
        return event.button() == Qt.MouseButton.RightButton or bool(event.modifiers() & Qt.KeyboardModifier.AltModifier)


class Pan(Tool):
    """Left drag moves the slide: the view does that itself."""

    name = "pan"
    paints = False
    cursor = Qt.CursorShape.OpenHandCursor


class Pick(Tool):
    """A click makes the class under the pointer current, and its region the one that is meant by the region edits."""

    name = "pick"
    paints = False
    cursor = Qt.CursorShape.PointingHandCursor

    def release(self, event: QMouseEvent, at: Point) -> None:
        label = self.view.label_at(*at)
        if label and self.model.label_class(label) is not None:
            self.model.label = label
            self.view.regions.picked = at


def make_tool(name: str, view: SlideView) -> Tool:
    """Return the tool of that name for a view; `KeyError` when there is none."""
    module, _, made = tool_info(name).place.partition(":")
    found: type[Tool] = getattr(import_module(f".{module}", __package__), made)
    return found(view)
