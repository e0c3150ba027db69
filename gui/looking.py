"""How slides are looked at: turned and flipped, channels, places by number; what is kept of it for each slide.

Kept in the workspace under "look.<item>": {"rotation": degrees, "mirrored": bool, "channels": [[name, colour, low, high,
visible], …] or None}; a slide that is shown as its file says has no entry.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QDialogButtonBox, QLabel, QLineEdit, QWidget

from ..engine.errors import OpsinError
from ..widgets.background import Relay
from ..widgets.slide.overlay import position_text
from ..widgets.texts import MutedLabel
from .dialogs import Sheet

if TYPE_CHECKING:
    from ..engine.data.channels import Channel
    from ..engine.workspace import Workspace
    from ..widgets.slide.model import SlideViewModel
    from .window import MainWindow

SHOWN = 4000  # milliseconds that the status bar says something
KEEP_MS = 1000  # what was changed is kept this much later
UNITS = {"px": 1.0, "µm": 1.0, "um": 1.0, "mm": 1000.0}
_PLACE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?:[,;]|\s)\s*(-?\d+(?:\.\d+)?)\s*(px|µm|um|mm)?\s*(?:\(.*\))?\s*")


class Looking:
    """The view's side of the main window: its actions, and the memory of each slide's look."""

    def __init__(self, window: MainWindow) -> None:
        self.window = window
        self.model: SlideViewModel = window.model
        self._channels: Any = None  # the panel, made when it is first asked for
        self._id = ""  # of the slide in the view
        self._workspace: Workspace | None = None
        self._kept: dict[str, Any] | None = None
        self._now: dict[str, Any] | None = None
        self._timer = QTimer(window)
        self._timer.setSingleShot(True)
        self._timer.setInterval(KEEP_MS)
        self._timer.timeout.connect(self.keep)
        events = self.model.events
        self._relays = [
            Relay(lambda _: self._slide_changed(), events.slide, parent=window),
            Relay(lambda _: self._look_changed(), self.model.viewed, parent=window),
        ]

    # ---- what is kept of a slide

    def _slide_changed(self) -> None:
        """Keep how the slide before was looked at, and show this one as it was looked at last."""
        self.keep()
        self._id = ""
        item, slide, workspace = self.window.item, self.model.slide, self.window.workspace
        if item is None or slide is None or workspace is None:
            return
        look: Any = None
        with contextlib.suppress(OpsinError):
            look = workspace.setting(f"look.{item.id}")
        if isinstance(look, dict):
            with contextlib.suppress(TypeError, ValueError):  # of another version of Opsin: as the file says
                self.model.turn_to(_angle(look.get("rotation", 0)), bool(look.get("mirrored")))
            with contextlib.suppress(TypeError, ValueError):
                self.model.set_display(_channels(look.get("channels"), slide.channels))
        self._id, self._workspace = item.id, workspace
        self._kept = self._now = self._look()

    def _look(self) -> dict[str, Any] | None:
        model, slide = self.model, self.model.slide
        own = slide is None or model.display == slide.channels
        if own and not model.rotation and not model.mirrored:
            return None
        channels = None if own else [[c.name, c.color, c.low, c.high, c.visible] for c in model.display]
        return {"rotation": model.rotation, "mirrored": model.mirrored, "channels": channels}

    def _look_changed(self) -> None:
        if self._id and self.model.slide is not None:
            self._now = self._look()
            if self._now != self._kept and not self._timer.isActive():
                self._timer.start()

    def keep(self) -> None:
        """Write how the open slide is looked at into the workspace."""
        self._timer.stop()
        if not self._id or self._now == self._kept or self._workspace is None:
            return
        self._kept = self._now
        with contextlib.suppress(OpsinError):  # a workspace that can only be read: it holds until the slide is left
            self._workspace.set_setting(f"look.{self._id}", self._now)

    # ---- magnification

    def zoom_to(self, magnification: float) -> None:
        """Show at a magnification; where the slide is never shown so small or so large, say which it is instead."""
        model = self.model
        model.zoom_to(magnification)
        ratio = model.scan_magnification * model.zoom / magnification
        if model.slide is not None and abs(ratio - 1) > 0.01:
            least = "smallest" if ratio > 1 else "largest"
            self.window.statusBar().showMessage(
                f"{magnification:g}x cannot be shown: this is the {least} possible, {model.magnification_text}.", SHOWN
            )

    # ---- turning

    def turn(self, degrees: float) -> None:
        self.model.turn_by(degrees)

    def ask_rotation(self) -> None:
        assert self.window.room is not None
        self.window.room.bar.show_rotation()

    def flip(self) -> None:
        self.model.flip()

    def upright(self) -> None:
        self.model.turn_to(0, False)

    # ---- channels, overview

    @property
    def channels(self) -> Any:
        """The panel of channels on the view."""
        if self._channels is None:
            from ..widgets.channels import ChannelsPanel

            room = self.window.room
            assert room is not None
            self._channels = ChannelsPanel(self.model, room.view)
            self._channels.closed.connect(lambda: room.bar.channels.setChecked(False))
        return self._channels

    def show_channels(self) -> None:
        """Open the panel of channels, or close it."""
        assert self.window.room is not None
        if self._channels is not None and self._channels.isVisible():
            self._channels.leave()
        else:
            self.channels.open()
        self.window.room.bar.channels.setChecked(self.channels.isVisible())

    def toggle_overview(self) -> None:
        settings = self.window.settings
        settings.overview = not settings.overview
        settings.save()
        self.apply()

    def apply(self) -> None:
        """Show the overview or not, as the settings say."""
        if self.window.room is not None:
            self.window.room.view.overview.want(self.window.settings.overview)

    def layers_for_napari(self) -> list[str]:
        """The heat maps of the open slide and how its channels are shown, as arguments of `napari_plugin`."""
        heat = [str(o.pyramid.path) for o in self.model.overlays if o.kind == "heat" and o.visible]
        look = self._look() or {}
        return heat + ([f"--look={json.dumps(look)}"] if look.get("channels") else [])

    # ---- places

    def ask_place(self) -> None:
        """Ask where to go, in pixels or micrometres."""
        dialog = PlaceDialog(self.model, self.window)
        dialog.chosen.connect(self.model.move_to)
        self.window.show_dialog(dialog)

    def copy_place(self) -> None:
        """Copy the place under the pointer; without a pointer on the slide, that in the middle of the view."""
        assert self.window.room is not None
        view = self.window.room.view
        at = self.model.centre if view.pointer is None else self.model.to_slide(view.pointer.x(), view.pointer.y())
        text = position_text(self.model, at)
        QGuiApplication.clipboard().setText(text)
        view.say(f"Copied {text}")


class PlaceDialog(Sheet):
    """A place of the slide as two numbers: "12000, 8000", "3000, 2000 µm" or "3, 2 mm".

    Signals
    -------
    chosen(x, y) : in level-0 pixels.
    """

    chosen = Signal(float, float)

    def __init__(self, model: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__("Go to place", parent)
        self.model = model
        slide = model.slide
        assert slide is not None
        size = f"{slide.width:,} x {slide.height:,} px"
        if model.mpp:
            size += f", {slide.width * model.mpp:,.0f} x {slide.height * model.mpp:,.0f} µm"
        label = QLabel("Place, counted from the upper left corner of the slide as scanned:")
        label.setWordWrap(True)
        self.column.addWidget(label)
        self.line = QLineEdit(f"{model.centre[0]:.0f}, {model.centre[1]:.0f} px")
        self.line.setAccessibleName("x and y, in px, µm or mm")
        self.line.selectAll()
        self.column.addWidget(self.line)
        self.said = MutedLabel("", wrap=True)
        self._size = f"x, y in px{', µm or mm' if model.mpp else ''}. The slide has {size}."
        self.column.addWidget(self.said)
        box = self.add_buttons("Go", "Cancel")
        self.go = next(b for b in box.buttons() if box.buttonRole(b) == QDialogButtonBox.ButtonRole.AcceptRole)
        self.line.textChanged.connect(self._check)
        self.accepted.connect(lambda: self.chosen.emit(*self.place()))
        self._check()
        self.fit(400)
        self.line.setFocus()

    def place(self) -> tuple[float, float]:
        """The place in level-0 pixels; not-a-number where the text is none."""
        return place_of(self.line.text(), self.model.mpp)

    def _check(self) -> None:
        x, y = self.place()
        slide = self.model.slide
        inside = slide is not None and 0 <= x <= slide.width and 0 <= y <= slide.height
        self.go.setEnabled(inside)
        self.said.setText(self._size if inside or not math.isfinite(x) else f"That is beside the slide. {self._size}")


def place_of(text: str, mpp: float | None) -> tuple[float, float]:
    """Two numbers with or without a unit as level-0 pixels; not-a-number where the text is no place.

    Parameters
    ----------
    mpp : µm per level-0 pixel; None: unknown, so that only pixels can be understood.
    """
    found = _PLACE.fullmatch(text.replace("\N{GREEK SMALL LETTER MU}", "µ"))
    unit = (found[3] or "px") if found else ""
    if found is None or (unit != "px" and not mpp):
        return math.nan, math.nan
    factor = 1.0 if unit == "px" else UNITS[unit] / (mpp or 1.0)
    return float(found[1]) * factor, float(found[2]) * factor


def _angle(value: Any) -> float:
    angle = float(value)
    if not math.isfinite(angle):
        raise ValueError(f"{angle} is no angle")
    return angle


def _channels(kept: Any, own: tuple[Channel, ...]) -> tuple[Channel, ...]:
    """Channels as they were kept, where they fit those of the file."""
    if not isinstance(kept, list) or len(kept) != len(own) or [row[0] for row in kept] != [c.name for c in own]:
        return own
    from ..engine.data.channels import Channel

    return tuple(Channel(str(n), str(c), _angle(low), _angle(high), bool(on)) for n, c, low, high, on in kept)
