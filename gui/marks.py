"""What the menus do with markers, rulers, areas and regions of interest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt

from ..engine.errors import OpsinError
from ..engine.labels.marks import NAMES
from ..widgets.background import in_background
from ..widgets.slide.marks import area_words, go_to, length_words

if TYPE_CHECKING:
    from ..engine.labels.store import LabelStore
    from .window import MainWindow


class Marks(QObject):
    """Part of the window."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window, self.model = window, window.model

    def show_list(self) -> None:
        """Put the focus on the list of marks in the Annotate tab."""
        room = self.window.room
        assert room is not None
        room.show_tab("annotate")
        panel = room.annotations.marks
        panel.list.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def step(self, by: int) -> None:
        """Go to the next marker, or with -1 to the one before; from none, to the first or the last."""
        store = self.model.labels
        markers = store.marks("marker") if store is not None else []
        if not markers:
            self.window.messages.info("There is no marker on this slide; the marker tool (.) sets one with a click.")
            return
        places = [mark.id for mark in markers]
        now = places.index(self.model.mark) if self.model.mark in places else (-1 if by > 0 else 0)
        go_to(self.model, markers[(now + by) % len(markers)])

    def edit(self) -> None:
        """Open the note of the chosen mark."""
        if self.model.mark is None:
            self.window.messages.info("Choose a marker or a measurement first, with its tool or in the list.")
        else:
            self.model.note_wanted.emit(self.model.mark)

    def remove(self) -> None:
        """Delete the chosen mark."""
        store, chosen = self.model.labels, self.model.mark
        if store is None or chosen is None:
            self.window.messages.info("Choose a marker or a measurement first, with its tool or in the list.")
            return
        self._try(lambda: store.remove_marks([chosen]))

    def clear_regions(self) -> None:
        """Remove all regions of interest of the slide, in one undo step."""
        store = self.model.labels
        regions = store.marks("roi") if store is not None else []
        if store is None or not regions:
            self.window.messages.info(f"This slide has no {NAMES['roi']}; all of it counts.")
            return
        self._try(lambda: store.remove_marks([mark.id for mark in regions]))

    def toggle(self) -> None:
        """Show or hide markers, rulers and areas."""
        self.model.show_marks = not self.model.show_marks

    def measure(self) -> None:
        """Say area and perimeter of the labelled region under the pointer, or of the one picked last."""
        room, store = self.window.room, self.model.labels
        if room is None or store is None:
            return
        view = room.view
        x, y = view.regions.place()
        label = view.label_at(x, y)
        if not label:
            view.say("Nothing is labelled there: point at a region first")
            return
        found = self.model.label_class(label)
        name = found.name if found is not None else f"Label {label}"
        view.say(f"Measuring {name}…", hold=True)

        def done(size: tuple[int, float]) -> None:
            area, perimeter = area_words(size[0], self.model.mpp), length_words(size[1], self.model.mpp)
            unknown = "" if self.model.mpp else " (µm per pixel unknown)"
            view.say("")
            self.window.messages.info(f"{name}, region under the pointer: {area}, perimeter {perimeter}{unknown}.")

        def failed(error: BaseException) -> None:
            view.say("")
            self.window.messages.error(error)

        in_background(_measured, store, int(x), int(y), done=done, failed=failed, owner=self)

    def _try(self, change: Callable[[], object]) -> None:
        try:
            change()
        except OpsinError as error:
            self.window.messages.error(error)


def _measured(store: LabelStore, x: int, y: int) -> tuple[int, float]:
    from ..engine.labels.region_size import region_size

    return region_size(store, x, y)
