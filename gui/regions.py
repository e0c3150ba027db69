"""Edits of regions for the window: actions, the menu of the slide view, and what is remembered of the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QPoint
from qtpy.QtWidgets import QMenu

from ..widgets.background import Relay

if TYPE_CHECKING:
    from ..widgets.slide.regions import RegionWork
    from .window import MainWindow

MENU = ("region.recolour", "region.holes", "region.grow", "region.shrink", "region.remove")
KEPT = ("pen_pressure", "hatch")  # settings of the tools that stay from one start to the next


class Regions(QObject):
    """Part of the window."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window, model = window, window.model
        for name in KEPT:
            setattr(model, name, getattr(window.settings, name))
        self._relay = Relay(lambda _: self._keep(), *(getattr(model.events, name) for name in KEPT), parent=self)

    def _keep(self) -> None:
        for name in KEPT:
            setattr(self.window.settings, name, getattr(self.window.model, name))
        self.window.settings.save()

    @property
    def work(self) -> RegionWork:
        """What edits the regions of the open slide."""
        assert self.window.room is not None
        return self.window.room.view.regions

    def recolour(self) -> None:
        self.work.recolour()

    def fill_holes(self) -> None:
        self.work.fill_holes()

    def grow(self) -> None:
        self.work.grow()

    def shrink(self) -> None:
        self.work.shrink()

    def remove(self) -> None:
        self.work.remove()

    @property
    def drawing_by_keys(self) -> bool:
        """Whether the cross hair is shown."""
        return self.window.room is not None and self.window.room.view.cross is not None

    def toggle_cross(self) -> None:
        """Show the cross hair that draws by keyboard, or take it away."""
        assert self.window.room is not None
        self.window.room.view.toggle_cross()

    def toggle_only_unlabelled(self) -> None:
        self.window.model.only_unlabelled = not self.window.model.only_unlabelled

    def toggle_hatch(self) -> None:
        self.window.model.hatch = not self.window.model.hatch

    def toggle_solo(self) -> None:
        """Show the current class alone, or all again."""
        model = self.window.model
        model.solo = None if model.solo == model.label else model.label

    def edit(self, what: str) -> None:
        """Do what a button of the Annotate tab asks for: "grow", "shrink" or "fill_holes"."""
        self.work.menu_at = None
        getattr(self, what)()

    def show_menu(self, at: QPoint) -> None:
        """Open the menu of the region that the slide view was asked about."""
        window = self.window
        if window.model.labels is None:
            return
        window.book.refresh()
        menu = QMenu(window)
        menu.setToolTipsVisible(True)
        for id in MENU:
            menu.addAction(window.book[id])
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(at)
