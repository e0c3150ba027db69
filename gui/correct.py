"""Correct while it learns: accept or reject what the network proposes, region by region, and go from place to place.

A region is a connected part of the uppermost map in sight, as it is drawn. "This is right" labels it with a class that means
positive in training, "this is wrong" with one that means negative; labels that are there already stay. Either is one undo
step, and an ordinary label from then on: the next round of a training begins with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QMenu, QWidget

from ..engine.errors import OpsinError
from ..engine.labels.store import EVERY
from ..engine.look import Region, class_of, region_at
from ..engine.tiles import TILE
from ..widgets.background import in_background
from ..widgets.layers import show

if TYPE_CHECKING:
    from ..engine.next_places import Place, Source
    from ..engine.workspace import Item
    from ..widgets.slide.model import Overlay
    from .room import Room
    from .window import MainWindow

MOVED = 4.0  # screen pixels a hand may move during a click
AROUND = 2.5  # a place that one goes to fills this part of the view, the larger the smaller
ROLES = {"positive": "This is right", "negative": "This is wrong"}
LOOKING_TOOLS = ("pan", "pick")  # with the others the right button takes labels away


class Correct(QObject):
    """What the room does with proposals of the network and lists of places."""

    room: Room

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window, self.model = window, window.model
        self.menu: QMenu | None = None
        self._pressed: QPointF | None = None
        self._wanted: tuple[Place, Source | None] | None = None

    def attach(self, room: Room) -> None:
        """Work in this room, from its beginning on."""
        self.room = room
        room.view.installEventFilter(self)

    # ---- a region of the map ------------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """A click with the right button on a region opens its menu; with painting tools the button is theirs."""
        if isinstance(event, QMouseEvent) and event.button() == Qt.MouseButton.RightButton:
            if event.type() == QEvent.Type.MouseButtonPress and self.model.tool in LOOKING_TOOLS:
                self._pressed = event.position()
            elif event.type() == QEvent.Type.MouseButtonRelease and self._pressed is not None:
                moved = event.position() - self._pressed
                self._pressed = None
                if max(abs(moved.x()), abs(moved.y())) <= MOVED:
                    self.open_menu(event.position().toPoint())
        return False

    def open_menu(self, place: QPoint) -> None:
        """Show what can be said of the region under a point of the view; nothing where none is drawn."""
        at = self.model.to_slide(place.x(), place.y())
        overlay = self.overlay_at(*at)
        if overlay is None:
            return
        self.menu = menu = QMenu(self.room.view)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.destroyed.connect(lambda: setattr(self, "menu", None))
        menu.addSection(overlay.name[:1].upper() + overlay.name[1:])
        for role, id in (("positive", "correct.right"), ("negative", "correct.wrong")):
            action = menu.addAction(self._text(role), lambda role=role: self.say(role, at))
            action.setShortcut(self.window.book[id].shortcut())
            action.setEnabled(self._value(role) is not None and self._writes)
        menu.addSeparator()
        name = overlay.name
        menu.addAction(f"Hide {name}", lambda: self.model.update_overlay(name, visible=False))
        menu.popup(self.room.view.mapToGlobal(place))

    def _text(self, role: str) -> str:
        value = self._value(role)
        found = self.model.label_class(value) if value is not None else None
        return f"{ROLES[role]}: {found.name}" if found is not None else f"{ROLES[role]} (no class means {role})"

    def _value(self, role: str) -> int | None:
        return class_of(self.model.classes, role, self.model.label)

    @property
    def _writes(self) -> bool:
        return self.model.labels is not None and not self.model.labels.readonly

    def overlay_at(self, x: float, y: float) -> Overlay | None:
        """Return the uppermost map that draws something at a level-0 point, where nothing is painted by hand."""
        labels = self.model.labels
        if labels is not None and 0 <= x < labels.width and 0 <= y < labels.height and self.room.view.label_at(x, y):
            return None
        for overlay in reversed(self.model.overlays):
            pyramid = overlay.pyramid
            if (
                not overlay.visible
                or overlay.kind != "heat"
                or not (0 <= x < pyramid.width and 0 <= y < pyramid.height)
            ):
                continue
            column, row = int(x) // pyramid.base, int(y) // pyramid.base
            tile = pyramid.tile(0, row // TILE, column // TILE)
            value = 0 if tile is None else int(tile[row % TILE, column % TILE])
            if value and value >= overlay.threshold * 255:
                return overlay
        return None

    def accept(self) -> None:
        """Label the region under the pointer, or in the middle of the view, as positive."""
        self.say("positive", self._here())

    def reject(self) -> None:
        """Label the region under the pointer, or in the middle of the view, as negative."""
        self.say("negative", self._here())

    def _here(self) -> tuple[float, float]:
        pointer = self.room.view.pointer
        width, height = self.model.viewport
        return self.model.to_slide(*((pointer.x(), pointer.y()) if pointer is not None else (width / 2, height / 2)))

    def say(self, role: str, at: tuple[float, float]) -> None:
        """Label the region at a level-0 point with the class for `role`; its outline is found in the background."""
        overlay, labels, value = self.overlay_at(*at), self.model.labels, self._value(role)
        if overlay is None:
            self.window.messages.info(
                "There is no proposal of the network there: show pseudo labels or a heat map and point at a coloured region."
            )
            return
        if labels is None or labels.readonly:
            self.window.messages.warning("The labels of this slide can only be looked at now.")
            return
        if value is None:
            self.window.messages.warning(
                f"No unlocked class means “{role}” in training: add one under Annotate, or change the meaning of one."
            )
            return

        def paint(region: Region | None) -> None:
            if region is None:
                return
            group, text = labels.new_group(), f"{ROLES[role]} ({overlay.name})"
            self.room.view.show_label(value)
            try:
                for rings in region.polygons:  # what is labelled already stays
                    labels.polygon(rings, value, keep=EVERY - {0}, group=group, text=text)
            except OpsinError as error:
                self.window.messages.error(error)
                return
            found = self.model.label_class(value)
            self.room.view.say(f"Labelled {found.name if found is not None else value}")

        states = painted_states()
        in_background(
            region_at, overlay.pyramid, labels, states, *at, overlay.threshold,
            done=paint, failed=self.window.messages.error, owner=self,
        )  # fmt: skip

    # ---- going to a place ---------------------------------------------------------------------------------------

    def go_to(self, place: Place, source: Source | None = None) -> None:
        """Show a place of a list, with the map that it comes from; its slide is opened where it is not."""
        self._wanted = (place, source)
        item = self.window.item
        if item is not None and item.id == place.item:
            self.opened(item)
        else:
            self.window.open_item(place.item)

    def opened(self, item: Item | None) -> None:
        """A slide is in the view: go to the place that it was opened for."""
        if item is None or self._wanted is None or self._wanted[0].item != item.id:
            return
        (place, source), self._wanted = self._wanted, None
        if source is not None:
            self.show_map(source.path(item.id), source.round)
        x, y, width, height = place.rect
        if place.kind == "slide":
            self.model.fit()
            return
        room = min(self.model.viewport[0] / width, self.model.viewport[1] / height) / AROUND
        self.model.zoom_at(min(room, 1.0) / self.model.zoom)
        self.model.move_to(x + width / 2, y + height / 2)

    def show_map(self, path: Path, round: int | None) -> None:
        """Show a map of the open slide above it: pseudo labels of a round, or (None) a prediction."""
        from ..widgets.results import HEAT_MAP

        name = HEAT_MAP if round is None else pseudo_name(round)
        for other in list(self.model.overlays):
            if other.visible and other.name != name:
                self.model.update_overlay(other.name, visible=False)
        shown = self.model.overlay(name)
        if shown is not None and Path(shown.pyramid.path) == path:
            self.model.update_overlay(name, visible=True)
        else:
            show(self.model, "Heatmap", path, name, visible=True)

    # ---- the list -----------------------------------------------------------------------------------------------

    def next(self, step: Any = 1) -> None:
        """Go to the next place of the list (or, with -1, to the one before)."""
        self._list().step(int(step))

    def done(self) -> None:
        """Take the current place from the list."""
        self._list().done()

    def continue_from(self, folder: str) -> None:
        """Show the form with the settings with which a training goes on from a run."""
        self.room.show_tab("train")
        self.room.panel("train").continue_from(folder)

    def _list(self) -> Any:
        self.room.tabs.setCurrentWidget(self.room.tabs.findChild(QWidget, "check"))
        return self.room.panel("check")


def pseudo_name(round: int) -> str:
    """Name of the layer with the pseudo labels of a round, as a training reports it."""
    return f"pseudo labels, round {round}"


def painted_states() -> np.ndarray:
    """Return int8 [256] for `look`: any label decides about a place, whatever it means."""
    from ..engine.look import LEFT_OUT, UNDECIDED

    states = np.full(256, LEFT_OUT, np.int8)
    states[0] = UNDECIDED
    return states
