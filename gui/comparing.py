"""Compares two readers' labels of the open slide, and settles where they differ: what the section "Compare readers" asks for."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt

from ..engine.errors import OpsinError
from ..engine.labels.difference import Comparison, Difference, Differing, compare, counted_regions, main_classes
from ..engine.labels.readers import AGREED, FIRST, add_agreed, reader_name, readers, set_counting
from ..engine.labels.settling import begin, take
from ..widgets.background import Relay, Task, in_background
from ..widgets.compare_box import COLORS, CompareBox, Row
from ..widgets.slide.marks import area_words
from ..widgets.slide.model import Overlay

if TYPE_CHECKING:
    from ..engine.labels.store import LabelStore
    from .readers import Readers
    from .room import Room

OVERLAY = "difference of readers"
OPACITY = 0.8
SMALLEST = 48  # screen pixels that a place has at least, as far as that is not above `NEAREST`
NEAREST = 4.0  # screen pixels per level-0 pixel
STALE = "Labels have changed since: compare again to see what differs now."
NOTHING_TAKEN = "Nothing was taken: the labels there have changed since. Compare again."
COMPARE_FIRST = "Compare with another reader first."

_Result = tuple[Comparison, Difference, Difference, list[tuple[int, int]]]  # the second difference is a plain one


@dataclass
class _Step:
    """A decision that can be taken back: what stood at the rows before, and the text of the undo step ("" for none)."""

    before: dict[int, str]
    text: str


@dataclass
class _Pair:
    """Two readers who are being compared on the open slide."""

    item: str
    first: str
    second: str
    names: tuple[str, str]
    stores: tuple[LabelStore, LabelStore]
    plain: Difference
    found: Comparison
    choices: dict[int, str] = field(default_factory=dict)
    steps: list[_Step] = field(default_factory=list)
    begun: bool = False


class Comparing(QObject):
    """Part of the window; `box` is the section."""

    def __init__(self, part: Readers, room: Room) -> None:
        super().__init__(part)
        self.part, self.window, self.model = part, part.window, part.window.model
        self.room = room
        self.pair: _Pair | None = None
        self._mine = FIRST
        self._task: Task | None = None
        self._settling = False
        self._changed: Relay | None = None
        self.box = box = CompareBox(room.annotations)
        box.compare_asked.connect(self.start)
        box.cancel_asked.connect(self.cancel)
        box.go_asked.connect(self.go)
        box.step_asked.connect(self.step)
        box.settle_asked.connect(self.settle)
        box.in_view_asked.connect(self.take_in_view)
        box.undo_asked.connect(self.undo)
        box.counting_asked.connect(self.count)
        box.shown.connect(lambda on: self.model.update_overlay(OVERLAY, visible=on))
        events = self.model.events
        self._relays = [
            Relay(lambda _: self.clear(), events.slide, parent=self),
            Relay(lambda _: self._show_shown(), events.overlays, parent=self),
        ]

    # ---- readers ------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Readers were added, another one is at work, or another workspace is open."""
        workspace = self.window.workspace
        if workspace is None:
            self.clear()
            self._mine = FIRST
            self.box.show_readers([], FIRST, [])
            return
        known = readers(workspace)
        if workspace.reader != AGREED:
            self._mine = workspace.reader or FIRST
        elif self._mine not in {reader.id for reader in known}:
            self._mine = FIRST
        if self.pair is not None and self.pair.first != self._mine:
            self.clear()
        others = [reader for reader in known if reader.id not in (self._mine, AGREED)]
        self.box.show_readers(known, workspace.counting, others)

    def count(self, id: str) -> None:
        """Let the labels of this reader count."""
        workspace = self.window.workspace
        if workspace is None:
            return
        try:
            set_counting(workspace, id)
        except OpsinError as error:
            self.window.messages.error(error)
        self.refresh()
        self.window._marked_timer.start()

    # ---- comparing ----------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Open the section and compare."""
        if self.box.other.count() == 0:
            self.window.messages.info("Add a second reader first: Annotate tab, Reader, Add reader.")
            return
        self.room.show_tab("annotate")
        self.box.title.setChecked(True)
        if self._task is None:
            self.box.ask_compare()
        self.box.other.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def start(self, other: str) -> None:
        """Compare with the reader of this id, in the background."""
        workspace, item = self.window.workspace, self.window.item
        if workspace is None or item is None:
            self.window.messages.info("Open a slide first.")
            return
        self.clear()
        names = reader_name(workspace, self._mine), reader_name(workspace, other)
        for id, name in zip((self._mine, other), names, strict=True):
            if not workspace.has_labels(item, id):
                self.box.say(f"{name} has not labelled this slide yet.")
                return
        try:
            stores = workspace.labels(item, self._mine), workspace.labels(item, other)
        except OpsinError as error:
            self.window.messages.error(error)
            return
        first = self._mine

        def done(result: _Result) -> None:
            self._task = None
            found, shown, plain, classes = result
            self.pair = _Pair(item.id, first, other, names, stores, plain, found)
            self._show(shown, classes)

        self.box.show_progress(0.0)
        self._task = in_background(
            _compared, *stores, each=self.box.show_progress, done=done, failed=self._failed, owner=self
        )

    def _failed(self, error: BaseException) -> None:
        self._task = None
        self.box.show_progress(None)
        self.window.messages.error(error)

    def cancel(self) -> None:
        """Give the comparison up."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.box.show_progress(None)

    def clear(self) -> None:
        """Drop the comparison, and take the difference off the slide."""
        self.cancel()
        self.pair = None
        if self._changed is not None:
            self._changed.drop()
            self._changed = None
        if self.model.overlay(OVERLAY) is not None:
            self.model.remove_overlay(OVERLAY)
        self.box.clear()

    def _show(self, shown: Difference, classes: list[tuple[int, int]]) -> None:
        assert self.pair is not None
        pair, mpp = self.pair, self.model.mpp
        names = {0: "Unlabelled", **{c.value: c.name for c in self.model.classes}}
        rows = [
            Row(names.get(one, f"Label {one}"), names.get(other, f"Label {other}"), area_words(region.area, mpp))
            for (one, other), region in zip(classes, pair.found.regions, strict=True)
        ]
        self.box.show_progress(None)
        self.box.show_result(pair.names, pair.found, names, rows, mpp)
        self.model.add_overlay(
            Overlay(OVERLAY, shown.as_pyramid(), kind="labels", colors=COLORS, above=True, opacity=OPACITY)
        )
        self.box.say("" if pair.found.differing else f"{pair.names[0]} and {pair.names[1]} do not differ here.")
        self._changed = Relay(self._labels_changed, *(store.changed for store in pair.stores), parent=self)

    def _labels_changed(self, rect: tuple[float, float, float, float]) -> None:
        self.model.refresh_overlay(OVERLAY, rect)
        self.box.say(STALE)

    def _show_shown(self) -> None:
        overlay = self.model.overlay(OVERLAY)
        self.box.set_shown(overlay is not None and overlay.visible)

    # ---- going there --------------------------------------------------------------------------------------------

    def _ready(self) -> _Pair | None:
        """Return what is compared; None, and say so, when that is nothing."""
        if self.pair is None:
            self.window.messages.info(COMPARE_FIRST)
        elif not self.pair.found.regions:
            self.window.messages.info(f"{self.pair.names[0]} and {self.pair.names[1]} do not differ here.")
        else:
            return self.pair
        return None

    def go(self, row: int) -> None:
        """Bring the place of a row into the middle, as large as the view has room for."""
        if self.pair is None or not 0 <= row < len(self.pair.found.regions):
            return
        left, top, right, bottom = self.pair.found.regions[row].box
        model = self.model
        width, height = model.transform.size_of(right - left, bottom - top)
        room = min(0.7 * model.viewport[0] / width, 0.7 * model.viewport[1] / height)
        if room < model.zoom:
            model.zoom_at(room / model.zoom)
        elif max(width, height) * model.zoom < SMALLEST:
            model.zoom_at(max(model.zoom, min(room, NEAREST)) / model.zoom)
        model.move_to((left + right) / 2, (top + bottom) / 2)

    def step(self, by: int) -> None:
        """Choose the next place, or with -1 the one before, and go there."""
        pair = self._ready()
        if pair is None:
            return
        now, count = self.box.list.row(), len(pair.found.regions)
        row = (now + by) % count if now >= 0 else (0 if by > 0 else count - 1)
        self.box.list.setCurrentItem(self.box.list.topLevelItem(row))
        self.go(row)

    # ---- settling -----------------------------------------------------------------------------------------------

    def settle(self, choice: str) -> None:
        """Decide the chosen place: "mine", "theirs" or "leave"."""
        pair = self._ready()
        if pair is None:
            return
        row = self.box.list.row()
        if row < 0:
            self.window.messages.info("Choose a place in the list first.")
        elif choice != "leave":
            self._take(choice, [row])
        elif not pair.choices.get(row):  # what was taken stays
            self._decided({row: choice}, "")

    def take_in_view(self) -> None:
        """Take the other reader's labels for all places in sight that are not settled yet, as one step."""
        pair = self._ready()
        if pair is None:
            return
        x, y, width, height = self.model.visible_rect()
        rows = [
            row
            for row, region in enumerate(pair.found.regions)
            if not pair.choices.get(row) and _inside(region.box, (x, y, x + width, y + height))
        ]
        if rows:
            self._take("theirs", rows)
        else:
            self.box.say("No place that is not settled yet lies wholly in sight.")

    def _take(self, choice: str, rows: list[int]) -> None:
        pair, workspace, item = self.pair, self.window.workspace, self.window.item
        if pair is None or workspace is None or item is None or self._settling:
            return
        side = 0 if choice == "mine" else 1
        known = len(readers(workspace))
        try:
            add_agreed(workspace)
            agreed = workspace.labels(item, AGREED)
        except OpsinError as error:
            self.window.messages.error(error)
            return
        if len(readers(workspace)) != known:
            self.part.show_readers()
        regions = [pair.found.regions[row] for row in rows]
        text = f"Labels of {pair.names[side]} taken" + (f" in {len(rows)} places" if len(rows) > 1 else "")
        self._settling = True

        def done(pixels: int) -> None:
            self._settling = False
            pair.begun = True
            if self.pair is not pair:
                return
            if pixels:
                self._decided(dict.fromkeys(rows, choice), text)
            self.box.say("" if pixels else NOTHING_TAKEN)

        def failed(error: BaseException) -> None:
            self._settling = False
            self.window.messages.error(error)

        in_background(
            _taken, agreed, pair.stores[side], pair.plain, regions, text, not pair.begun,
            done=done, failed=failed, owner=self,
        )  # fmt: skip

    def _decided(self, choices: dict[int, str], text: str) -> None:
        assert self.pair is not None
        pair = self.pair
        pair.steps.append(_Step({row: pair.choices.get(row, "") for row in choices}, text))
        self._tick(choices)

    def _tick(self, choices: dict[int, str]) -> None:
        assert self.pair is not None
        self.pair.choices |= choices
        for row, choice in choices.items():
            self.box.list.tick(row, choice)
        steps = self.pair.steps
        self.box.set_undo((steps[-1].text or "place left") if steps else "")

    def undo(self) -> None:
        """Take the last decision back."""
        pair, workspace, item = self.pair, self.window.workspace, self.window.item
        if pair is None or workspace is None or item is None or self._settling:
            return
        if not pair.steps:
            self.window.messages.info("No decision to take back.")
            return
        step = pair.steps[-1]
        if step.text:
            try:
                agreed = workspace.labels(item, AGREED)
                agreed.flush()
                if agreed.undo_text != step.text:
                    self.box.say("The agreed labels were changed since: choose the reader Agreed and undo there.")
                    return
                agreed.undo()
            except OpsinError as error:
                self.window.messages.error(error)
                return
        pair.steps.pop()
        self._tick(step.before)
        self.box.say("")


def _inside(box: tuple[int, int, int, int], rect: tuple[float, float, float, float]) -> bool:
    return box[0] >= rect[0] and box[1] >= rect[1] and box[2] <= rect[2] and box[3] <= rect[3]


def _compared(first: LabelStore, second: LabelStore) -> Generator[float, None, _Result]:
    first.flush()
    second.flush()
    regions = counted_regions(first, second)
    shown, plain = Difference(first, second, regions), Difference(first, second, regions, plain=True)
    found: Comparison | None = None
    for value in compare(shown):
        if isinstance(value, Comparison):
            found = value
        else:
            yield 0.9 * value
    assert found is not None
    classes = []
    for number, region in enumerate(found.regions):
        if number % 16 == 0:
            yield 0.9 + 0.1 * number / len(found.regions)
        classes.append(main_classes(shown, region))
    return found, shown, plain, classes


def _taken(
    agreed: LabelStore, source: LabelStore, plain: Difference, regions: list[Differing], text: str, first: bool
) -> int:
    if first:
        begin(agreed, plain)
    pixels = take(agreed, source, plain, regions, text)
    agreed.flush()
    return pixels
