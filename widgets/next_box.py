"""What to check next: uncertain places, and labels that are likely wrong; go there, decide, train on.

Where the lists come from and how they are sorted stands in `engine/next_places.py` and `engine/label_errors.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import QSize, QTimer, Signal
from qtpy.QtGui import QImage, QShowEvent
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from ..engine import next_places
from ..engine.errors import OpsinError
from ..engine.label_errors import change_labels, is_kept, keep_label, kept_count, label_errors, release_labels
from ..engine.look import class_of
from ..engine.methods.hybrid_wsi.data import class_states
from ..engine.next_places import DONE, Place, Source, remember, remembered, sources, uncertain_places
from .background import Relay, Task, in_background
from .buttons import IconButton
from .editors import QuietComboBox, combo_grid
from .place_list import PlaceList
from .texts import ErrorLabel, MutedLabel

PIXELS = 112  # side of a picture
PICTURED = 60  # places, at most, that get one: nobody scrolls further at one sitting
SOON_MS = 3000
NEXT, ERRORS = "next", "errors"
ABOUT = {
    NEXT: "Places where the network cannot decide, or speaks against the label of the slide. What you paint there teaches it most.",
    ERRORS: "Places where a label and the network contradict each other and the network is sure. Either may be wrong.",
}
NOTHING = {
    NEXT: "Nothing to look at. Slides outlined completely are left out, negative ones listed only where the network contradicts.",
    ERRORS: "No label is in doubt.",
}
NO_SOURCE = "Predict slides under Results, or start a training: then the places to look at are listed here."


class CheckPanel(QWidget):
    """The two lists, what can be decided about a place, and the button that trains on.

    Parameters
    ----------
    workspace : the open `Workspace`, or None.
    jobs : the queue, see `gui/jobs.py`.

    Signals
    -------
    go_requested(Place, Source) : show this place on its slide.
    continue_requested(str) : train on from the run in this folder.
    failed(str) : one sentence.
    """

    go_requested = Signal(object, object)
    continue_requested = Signal(str)
    failed = Signal(str)

    def __init__(self, workspace: Any, jobs: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace: Any = None
        self.jobs = jobs
        self.kind = NEXT
        self._sources: list[Source] = []
        self._listing: Task | None = None
        self._picturing: Task | None = None
        self._stale = True
        self._told: list[str] = []
        self._problems: list[str] = []
        self._build()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.timeout.connect(self._look_if_seen)
        self._jobs = [
            Relay(lambda job: self._states.listen(job.changed), jobs.added, parent=self),
            Relay(lambda _: self._soon.start(), jobs.finished, parent=self),
        ]
        self._states = Relay(self._on_job, *(job.changed for job in jobs.jobs), parent=self)
        self.set_workspace(workspace)

    # ---- the parts --------------------------------------------------------------------------------------

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 12, 12, 12)
        column.setSpacing(8)
        kinds = QHBoxLayout()
        kinds.setSpacing(4)
        self.kinds = QButtonGroup(self)
        for kind, text in ((NEXT, "Look at next"), (ERRORS, "Label errors")):
            button = QPushButton(text)
            button.setObjectName(kind)
            button.setCheckable(True)
            button.setChecked(kind == self.kind)
            button.setProperty("kind", "quiet")
            button.setToolTip(ABOUT[kind])
            self.kinds.addButton(button)
            kinds.addWidget(button, 1)
        self.kinds.buttonClicked.connect(lambda button: self.show_kind(button.objectName()))
        column.addLayout(kinds)
        self.source = QuietComboBox()
        column.addLayout(combo_grid({"&From": self.source}))
        self.source.activated.connect(lambda _: self.look())
        self.note = MutedLabel(wrap=True)
        column.addWidget(self.note)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.bar.setAccessibleName("Share of the slides that were looked through")
        self.bar.hide()
        column.addWidget(self.bar)
        self.list = PlaceList()
        self.list.setAccessibleName("Places to check")
        self.list.go_requested.connect(self._go)
        self.list.selectionModel().currentChanged.connect(lambda *_: self._enable())
        column.addWidget(self.list, 1)
        self.problem = ErrorLabel()
        column.addWidget(self.problem)
        column.addLayout(self._decisions())
        self.train_on = QPushButton("Continue with corrections")
        self.train_on.setToolTip(
            "Train on from the weights of this network with what was corrected since; the settings are shown first"
        )
        self.train_on.clicked.connect(self._continue)
        column.addWidget(self.train_on)

    def _decisions(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self.done_button = QPushButton("Done")
        self.done_button.setToolTip("Take it from the list and go to the next (Ctrl+D)")
        self.done_button.clicked.connect(self.done)
        self.keep = QPushButton("Keep the label")
        self.keep.setToolTip("The label is right: it is not listed again")
        self.keep.clicked.connect(self.done)
        self.change = QPushButton("Change")
        self.change.setToolTip("Take the network's side: repaint what is in doubt there, or change the slide's label")
        self.change.clicked.connect(self.take_networks_side)
        for button in (self.done_button, self.keep, self.change):
            row.addWidget(button)
        row.addStretch(1)
        self.back = QPushButton()
        self.back.setProperty("kind", "link")
        self.back.setToolTip("List again what was taken from the list")
        self.back.clicked.connect(self.bring_back)
        row.addWidget(self.back)
        self.previous = IconButton("chevron-up", "Previous place (Ctrl+Shift+J)")
        self.following = IconButton("chevron-down", "Next place (Ctrl+J)")
        self.again = IconButton("redo", "Look through the slides again")
        self.previous.clicked.connect(lambda: self.step(-1))
        self.following.clicked.connect(lambda: self.step(1))
        self.again.clicked.connect(self.look)
        for tool in (self.previous, self.following, self.again):
            row.addWidget(tool)
        return row

    def sizeHint(self) -> QSize:
        return QSize(360, 600)

    # ---- what is listed ---------------------------------------------------------------------------------

    def set_workspace(self, workspace: Any) -> None:
        """Work on another workspace, or on none."""
        self._cancel()
        self.workspace = workspace
        self.list.rows.clear()
        self.list.rows.pictures.clear()
        self._stale = True
        self._look_if_seen()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._look_if_seen()

    def _on_job(self, what: set[str]) -> None:
        if what & {"preview", "result"}:
            self._soon.start() if not self._soon.isActive() else None

    def _look_if_seen(self) -> None:
        """Look again where there is something newer than what was listed; a hidden panel waits until it is shown."""
        if not self.isVisible():
            self._stale = True
            return
        before = self._current()
        self._read_sources()
        if self._stale or before != self._current():
            self.look(read=False)

    def _read_sources(self) -> None:
        chosen = self.source.currentData()
        self._sources = sources(self.workspace) if self.workspace is not None else []
        newest = self.source.currentIndex() <= 0
        self.source.clear()
        for source in self._sources:
            self.source.addItem(source.title, source.key)
        place = self.source.findData(chosen)
        # whoever looks at the newest goes on to look at the newest
        self.source.setCurrentIndex(place if place > 0 and not newest else 0 if self._sources else -1)
        self.source.setEnabled(bool(self._sources))

    def _current(self) -> Source | None:
        place = self.source.currentIndex()
        return self._sources[place] if 0 <= place < len(self._sources) else None

    def show_kind(self, kind: str) -> None:
        """Show the list of uncertain places ("next") or of likely label errors ("errors")."""
        if kind != self.kind:
            self.kind = kind
            for button in self.kinds.buttons():
                button.setChecked(button.objectName() == kind)
            self.look()

    def look(self, read: bool = True) -> None:
        """Look through the slides in the background; places appear as they are found."""
        self._cancel()
        if read:
            self._read_sources()
        source = self._current()
        self._stale = False
        self._told, self._problems = [], []
        self.list.rows.clear()
        self.problem.say("")
        self._say()
        if self.workspace is None or source is None:
            return
        states = class_states(self.workspace.classes)
        kind, workspace = self.kind, self.workspace
        hidden = remembered(workspace, DONE)

        def found() -> Iterator[tuple[float, list[Place], str, str]]:
            if kind == NEXT:
                for share, places, problem in uncertain_places(workspace, source, states):
                    yield share, [p for p in places if f"{source.key}|{p.key}" not in hidden], problem, ""
            else:
                for share, places, problem, told in label_errors(workspace, source, states):
                    yield share, [p for p in places if not is_kept(workspace, p)], problem, told

        self.bar.setValue(0)
        self.bar.show()
        self._listing = in_background(
            found, each=self._add, done=lambda _: self._listed(), failed=self._list_failed, owner=self
        )

    def _cancel(self) -> None:
        for task in (self._listing, self._picturing):
            if task is not None:
                task.cancel()
        self._listing = self._picturing = None
        self.bar.hide()

    def _add(self, found: tuple[float, list[Place], str, str]) -> None:
        share, places, problem, told = found
        self.bar.setValue(round(1000 * share))
        self.list.rows.add(places)
        self._problems += [problem] if problem else []
        self._told += [told] if told else []
        self._say()

    def _listed(self) -> None:
        self._listing = None
        self.bar.hide()
        self.problem.say("\n".join(self._problems[:3]))
        self._say()
        self._make_pictures()

    def _list_failed(self, error: BaseException) -> None:
        self._listing = None
        self.bar.hide()
        self.problem.say(str(error))

    def _say(self) -> None:
        if self._current() is None:
            self.note.setText(NO_SOURCE)
        elif self._listing is None and not self.list.rows.places:
            self.note.setText("\n".join([NOTHING[self.kind], *self._told]))
        else:
            self.note.setText("\n".join([ABOUT[self.kind], *self._told]))
        self._enable()

    def _enable(self) -> None:
        place, source = self.list.current(), self._current()
        self.done_button.setVisible(self.kind == NEXT)
        self.keep.setVisible(self.kind == ERRORS)
        self.change.setVisible(self.kind == ERRORS)
        for button in (self.done_button, self.keep, self.change):
            button.setEnabled(place is not None)
        for tool in (self.previous, self.following):
            tool.setEnabled(bool(self.list.rows.places))
        self.again.setEnabled(source is not None)
        self.train_on.setEnabled(source is not None and source.goes_on)
        count = self._taken()
        self.back.setText(f"Bring back {count}")
        self.back.setVisible(bool(count))

    # ---- pictures ---------------------------------------------------------------------------------------

    def _make_pictures(self) -> None:
        rows = self.list.rows
        wanted = [place for place in rows.places[:PICTURED] if place.key not in rows.pictures]
        if wanted and self.workspace is not None:
            self._picturing = in_background(
                pictures, self.workspace, wanted, each=lambda found: rows.set_picture(found[0], image_of(found[1])),
                done=lambda _: None, failed=lambda _: None, owner=self,
            )  # fmt: skip

    # ---- what is decided --------------------------------------------------------------------------------

    def _go(self, place: Place) -> None:
        self.go_requested.emit(place, self._current())

    def step(self, step: int = 1) -> None:
        """Go to the next place of the list, or (-1) to the one before."""
        row = self.list.currentIndex().row() + step if self.list.currentIndex().isValid() else 0
        place = self.list.choose(min(max(row, 0), self.list.rows.rowCount() - 1))
        if place is not None:
            self._go(place)

    def done(self) -> None:
        """Take the current place from the list for good, and go to the next one."""
        place, source = self.list.current(), self._current()
        if place is None or source is None or self.workspace is None:
            return
        try:
            if self.kind == NEXT:
                remember(self.workspace, DONE, f"{source.key}|{place.key}")
            else:
                keep_label(self.workspace, place)
        except OpsinError as error:
            self.failed.emit(str(error))
            return
        self._take_away(place)

    def _take_away(self, place: Place, go: bool = True) -> None:
        row = self.list.rows.row_of(place.key)
        self.list.rows.remove(place)
        after = self.list.choose(min(row, self.list.rows.rowCount() - 1))
        if go and after is not None:
            self._go(after)
        self._say()

    def _taken(self) -> int:
        source = self._current()
        if self.workspace is None or source is None:
            return 0
        if self.kind == ERRORS:
            return kept_count(self.workspace)
        return sum(key.startswith(f"{source.key}|") for key in remembered(self.workspace, DONE))

    def bring_back(self) -> None:
        """List again what was taken from the list."""
        source = self._current()
        if self.workspace is None or source is None:
            return
        if self.kind == ERRORS:
            release_labels(self.workspace)
        else:
            next_places.forget(self.workspace, DONE, f"{source.key}|")
        self.look()

    def take_networks_side(self) -> None:
        """Change the label in doubt to what the network says, as one undo step; its slide is shown."""
        place, source, workspace = self.list.current(), self._current(), self.workspace
        if place is None or source is None or workspace is None or place.kind not in ("pixels", "slide"):
            return
        if place.kind == "slide":
            try:
                workspace.update(place.item, label="positive" if place.says else "negative")
            except OpsinError as error:
                self.failed.emit(str(error))
                return
            self._take_away(place)
            return
        self._go(place)
        classes = workspace.classes
        values = class_of(classes, "negative"), class_of(classes, "positive")
        in_background(
            change_labels, workspace, source, place, class_states(classes), values,
            done=lambda _: self._take_away(place, go=False), failed=lambda error: self.failed.emit(str(error)), owner=self,
        )  # fmt: skip

    def _continue(self) -> None:
        source = self._current()
        if source is not None:
            self.continue_requested.emit(str(source.run))


def pictures(workspace: Any, places: list[Place], side: int = PIXELS) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (key, uint8 [side, side, 3]) of places with a margin around; runs in a thread. Unreadable ones are left out."""
    by_item: dict[str, list[Place]] = {}
    for place in places:
        by_item.setdefault(place.item, []).append(place)
    for id, own in by_item.items():
        try:
            with workspace.open_slide(workspace.item(id)) as slide:
                for place in own:
                    (x, y), span = place.middle, max(place.rect[2], place.rect[3])
                    span *= 1.0 if place.kind == "slide" else 1.5
                    span = max(span, float(side))
                    yield place.key, slide.read_scaled(x - span / 2, y - span / 2, side, side, span / side)
        except (OpsinError, OSError):
            continue


def image_of(pixels: np.ndarray) -> QImage:
    """Return a picture of uint8 [h, w, 3]."""
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    return QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
