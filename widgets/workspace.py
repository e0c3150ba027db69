"""Workspace: the list of slides, what is known of each, and what can be done with the list.

`python -m opsin.widgets.workspace FOLDER` opens it alone.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QPoint, QSize, Qt, Signal
from qtpy.QtGui import QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QListView,
    QMenu,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.errors import OpsinError
from ..engine.relink import why_missing
from . import theme
from .background import Relay, Task, in_background
from .shownslides import Criteria, ShownSlides
from .slidefilter import SlideFilterBar
from .slidelist import ENTRY, HEADER, ID, LABEL_TEXT, REVIEW_TEXT, SPLIT_TEXT, SlideDelegate, SlideListModel
from .texts import MutedLabel, heading

if TYPE_CHECKING:
    from ..engine.workspace import Item, Workspace

THUMBNAIL_PIXELS = 256


class WorkspacePanel(QWidget):
    """The panel. It changes labels, splits and reviews itself; other things are asked of whoever shows it.

    Signals
    -------
    open_requested(str) : the user wants to see the slide with that id.
    add_requested() : the user wants to add slides.
    remove_requested(list[str]) : the user wants to take slides out.
    patient_requested(list[str]) : the user wants to say of which patient these slides are.
    clicked_open() : a slide was opened with the mouse: what follows is work in the view.
    failed(str) : one sentence about what could not be done. told(str) : one sentence about what else was changed.
    """

    open_requested = Signal(str)
    add_requested = Signal()
    remove_requested = Signal(list)
    patient_requested = Signal(list)
    clicked_open = Signal()
    failed = Signal(str)
    told = Signal(str)

    def __init__(self, workspace: Workspace | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace: Workspace | None = None
        self._relay: Relay | None = None
        self._pictures: Task | None = None
        self._asked: dict[str, str] = {}
        self.rows = SlideListModel(self)
        self.filtered = ShownSlides(self.rows, self)
        self._held: tuple[list[str], str | None, int] = ([], None, 0)
        self._build()
        theme.theme_changed().connect(self.restyle)
        self.restyle()
        self.set_workspace(workspace)

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.PAD, theme.PAD, theme.PAD, theme.PAD)
        column.setSpacing(theme.GAP)
        head = QHBoxLayout()
        head.setSpacing(theme.TIGHT)
        self.title = heading("Slides")
        self.add_button, self.menu_button = QToolButton(), QToolButton()
        self.add_button.setToolTip("Add slides (Ctrl+Shift+O)")
        self.add_button.setAccessibleName("Add slides")
        self.add_button.clicked.connect(self.add_requested)
        self.menu_button.setToolTip("What can be done with the selected slides")
        self.menu_button.setAccessibleName("Actions for the selected slides")
        self.menu_button.clicked.connect(lambda: self._open_menu(None))
        head.addWidget(self.title)
        head.addStretch(1)
        head.addWidget(self.add_button)
        head.addWidget(self.menu_button)
        column.addLayout(head)
        self.controls = SlideFilterBar()
        self.filter = self.controls.text
        self.controls.changed.connect(self._show_criteria)
        column.addWidget(self.controls)
        self.list = SlideListView()
        self.list.setModel(self.filtered)
        self.list.setItemDelegate(SlideDelegate(self.list))
        self.list.setAccessibleName("Slides")
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.customContextMenuRequested.connect(self._open_menu)
        self.list.activated.connect(lambda index: self.open_requested.emit(index.data(ID)))
        self.list.remove_pressed.connect(self._ask_remove)
        self.list.clicked_open.connect(self.clicked_open)
        self.filtered.modelAboutToBeReset.connect(self._hold)
        self.filtered.modelReset.connect(self._take_up)
        self.empty = MutedLabel("", wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        holder = QWidget()
        self._stack = QStackedLayout(holder)
        self._stack.addWidget(self.list)
        self._stack.addWidget(self.empty)
        column.addWidget(holder, 1)
        self.summary = MutedLabel("", wrap=True)
        column.addWidget(self.summary)

    def restyle(self) -> None:
        """Take over icons and text size of the theme in use."""
        for button, name in ((self.add_button, "plus"), (self.menu_button, "more")):
            button.setIcon(theme.icon(name))
            button.setIconSize(QSize(theme.px(theme.ICON), theme.px(theme.ICON)))
        self.list.scheduleDelayedItemsLayout()

    # ---- workspace ----------------------------------------------------------------------------------------------

    def set_workspace(self, workspace: Workspace | None) -> None:
        """Show the slides of this workspace, or nothing."""
        if self._relay is not None:
            self._relay.drop()
            self._relay = None
        if self._pictures is not None:
            self._pictures.cancel()
            self._pictures = None
        self.workspace = workspace
        self._asked.clear()
        self.rows.set_items([])
        self.controls.clear()
        if workspace is not None:
            self._relay = Relay(self._changed, workspace.changed, parent=self)
        self.refresh()

    def _changed(self, what: str) -> None:
        if what == "items":
            self.refresh()
        if what == "scores":
            self._show_scores()

    def refresh(self) -> None:
        """Read the items anew."""
        items = self.workspace.items() if self.workspace is not None else []
        opened = next((entry.item.id for entry in self.rows.entries if entry.opened), None)
        same = [entry.item.id for entry in self.rows.entries] == [item.id for item in items]
        self.rows.set_items(items)
        if not same:
            self.rows.set_opened(opened)
            self._show_scores()
        self._show_summary(items)
        self._make_pictures(items)

    def _show_scores(self) -> None:
        if self.workspace is not None:
            self.rows.set_scores(self.workspace.scores())
        self.controls.uncertain = any(entry.uncertainty is not None for entry in self.rows.entries)

    def _show_summary(self, items: list[Item]) -> None:
        self.title.setText(f"Slides ({len(items)})" if items else "Slides")
        counts = Counter(LABEL_TEXT[item.label].lower() for item in items)
        words = {"positive": "positive", "negative": "negative", "no label": "without a label"}
        texts = [f"{counts[word]} {said}" for word, said in words.items() if counts[word]]
        outlined = sum(item.outlined for item in items)
        if outlined:
            texts.append(f"{outlined} outlined completely")
        reviewed = sum(item.review == "reviewed" for item in items)
        if reviewed:
            texts.append(f"{reviewed} reviewed")
        self.summary.setText(" · ".join(texts))
        self.summary.setVisible(bool(items))
        self._show_empty()

    def _show_empty(self) -> None:
        if self.filtered.rowCount():
            self._stack.setCurrentWidget(self.list)
            return
        if self.rows.entries:
            self.empty.setText("No slide fits the filter.")
        else:
            self.empty.setText("No slides yet.\n\nDrop slide files here, or press + to add some.")
        self._stack.setCurrentWidget(self.empty)

    def _show_criteria(self, criteria: Criteria) -> None:
        self.list.setUniformItemSizes(not criteria.grouped)
        self.filtered.set_criteria(criteria)
        self._show_empty()

    # ---- selection ----------------------------------------------------------------------------------------------

    def selected(self) -> list[str]:
        """Return the ids of the selected slides, in the order of the list."""
        rows = sorted(index.row() for index in self.list.selectionModel().selectedIndexes())
        ids = [self.filtered.index(row, 0).data(ID) for row in rows]
        return [id for id in ids if id is not None]

    def _hold(self) -> None:
        """Remember selection and place: the rows are about to be made anew."""
        current = self.list.currentIndex()
        self._held = (self.selected(), current.data(ID) if current.isValid() else None, self._scrolled())

    def _take_up(self) -> None:
        selected, current, place = self._held
        self.select(
            [id for id in [current, *selected] if id is not None and id in {current, *selected} & set(selected)]
        )
        self.list.verticalScrollBar().setValue(place)

    def _scrolled(self) -> int:
        return self.list.verticalScrollBar().value()

    def select(self, ids: list[str]) -> None:
        """Select these slides; the first becomes the current one."""
        model = self.list.selectionModel()
        flags = QItemSelectionModel.SelectionFlag
        for place, id in enumerate(ids):
            index = self.filtered.place_of(id)
            if index.isValid():
                if place == 0:
                    model.setCurrentIndex(index, flags.ClearAndSelect)
                    self.list.scrollTo(index)
                else:
                    model.select(index, flags.Select)

    def set_opened(self, id: str | None) -> None:
        """Mark the slide that the view shows, and select it."""
        self.rows.set_opened(id)
        if id is not None:
            self.filtered.show_slide(id)
            if self.selected() != [id]:
                self.select([id])

    def neighbour(self, id: str | None, step: int) -> str | None:
        """Return the slide `step` rows further down in the list as it is filtered; None at its ends."""
        ids = self.filtered.ids()
        if not ids:
            return None
        if id not in ids:
            return ids[0 if step > 0 else -1]
        place = ids.index(id) + step
        return ids[place] if 0 <= place < len(ids) else None

    def next_to_do(self, id: str | None) -> str | None:
        """Return the next slide in the list that is not reviewed yet, from its end on to its beginning; None when all are."""
        ids = self.filtered.ids()
        place = ids.index(id) + 1 if id in ids else 0
        open_ = {entry.item.id for entry in self.rows.entries if entry.item.review != "reviewed"}
        return next((other for other in (*ids[place:], *ids[:place]) if other in open_ and other != id), None)

    # ---- what can be done ---------------------------------------------------------------------------------------

    def set_label(self, label: str | None, ids: list[str] | None = None) -> None:
        """Give the selected slides (or `ids`) a slide label."""
        self._update(ids, label=label)

    def set_split(self, split: str | None, ids: list[str] | None = None) -> None:
        self._update(ids, split=split)

    def set_outlined(self, outlined: bool, ids: list[str] | None = None) -> None:
        self._update(ids, outlined=outlined)

    def set_review(self, state: str, ids: list[str] | None = None) -> None:
        """Say how far these slides are: "to do", "marked" or "reviewed"."""
        self._update(ids, review=state)

    def set_patients(self, patients: dict[str, str | None]) -> None:
        """Say of which patient slides are: id -> patient, None = not known."""
        self.edit({id: {"patient": patient} for id, patient in patients.items()})

    def _update(self, ids: list[str] | None, **changes: Any) -> None:
        self.edit({id: changes for id in (self.selected() if ids is None else ids)})

    def edit(self, changes: dict[str, dict[str, Any]]) -> None:
        """Change slides in one step (`Workspace.edit`); say which others moved to another split with their patient."""
        if self.workspace is None:
            return
        try:
            moved = self.workspace.edit(changes)
        except OpsinError as error:
            self.failed.emit(str(error))
            return
        if moved:
            what = "1 other slide" if len(moved) == 1 else f"{len(moved)} other slides"
            self.told.emit(f"{what} of the same patient moved to the same split; Undo takes it back.")

    def _ask_remove(self) -> None:
        if self.selected():
            self.remove_requested.emit(self.selected())

    def _open_menu(self, place: QPoint | None) -> None:
        menu = self.make_menu()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if place is None:
            menu.popup(self.menu_button.mapToGlobal(QPoint(0, self.menu_button.height())))
        else:
            menu.popup(self.list.viewport().mapToGlobal(place))

    def make_menu(self) -> QMenu:
        """Return the menu for the selected slides."""
        ids = self.selected()
        menu = QMenu(self)
        open_action = menu.addAction("Open", lambda: self.open_requested.emit(ids[0]))
        labels = menu.addMenu("Slide label")
        for label, text in LABEL_TEXT.items():
            labels.addAction(text, lambda value=label: self.set_label(value, ids))
        splits = menu.addMenu("Split")
        for split, text in SPLIT_TEXT.items():
            splits.addAction(text, lambda value=split: self.set_split(value, ids))
        reviews = menu.addMenu("Review")
        for state, text in REVIEW_TEXT.items():
            reviews.addAction(text, lambda value=state: self.set_review(value, ids))
        patient = menu.addAction("Patient…", lambda: self.patient_requested.emit(ids))
        outlined = menu.addAction("Outlined completely")
        outlined.setCheckable(True)
        entries = [e for e in self.rows.entries if e.item.id in ids]
        outlined.setChecked(bool(entries) and all(e.item.outlined for e in entries))
        outlined.triggered.connect(lambda on: self.set_outlined(on, ids))
        menu.addSeparator()
        remove = menu.addAction("Remove from workspace…", lambda: self.remove_requested.emit(ids))
        for action in (
            open_action, labels.menuAction(), splits.menuAction(), reviews.menuAction(), patient, outlined, remove,
        ):  # fmt: skip
            action.setEnabled(bool(ids))
        menu.addSeparator()
        if self.controls.criteria.grouped:
            menu.addAction("Fold all patients", lambda: self.filtered.collapse_all(True))
            menu.addAction("Unfold all patients", lambda: self.filtered.collapse_all(False))
            menu.addSeparator()
        menu.addAction("Select all", self.list.selectAll)
        menu.addAction("Add slides…", self.add_requested.emit)
        return menu

    # ---- thumbnails ---------------------------------------------------------------------------------------------

    def _make_pictures(self, items: list[Item]) -> None:
        wanted = [item for item in items if self._asked.get(item.id) != item.path]
        if not wanted or self.workspace is None or self._pictures is not None:
            return
        self._asked.update((item.id, item.path) for item in wanted)
        self._pictures = in_background(
            _pictures, self.workspace, wanted, each=self._show_picture, done=self._pictures_done,
            failed=self._pictures_done, owner=self,
        )  # fmt: skip

    def _show_picture(self, found: tuple[str, str, str]) -> None:
        id, path, reason = found
        picture = QPixmap(path) if path else None
        self.rows.set_picture(id, picture if picture is not None and not picture.isNull() else None, reason)

    def _pictures_done(self, _: object) -> None:
        self._pictures = None
        if self.workspace is not None:
            self._make_pictures(self.workspace.items())


def _pictures(workspace: Workspace, items: list[Item]) -> Iterator[tuple[str, str, str]]:
    """Yield (id, path of the thumbnail or "", why the file is missing or ""); runs in a thread."""
    for item in items:
        path, reason = "", why_missing(workspace.slide_path(item))
        with contextlib.suppress(OpsinError, OSError):
            path = str(workspace.thumbnail(item, THUMBNAIL_PIXELS))
        yield item.id, path, reason


class SlideListView(QListView):
    """A list whose Delete key asks for removal and whose Enter or click opens, or folds and unfolds a patient."""

    remove_pressed = Signal()
    clicked_open = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.remove_pressed.emit()
            return
        index = self.currentIndex()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and index.isValid():
            if not self._fold(index):
                self.activated.emit(index)
            return
        if event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right) and index.isValid():
            head = index if index.data(HEADER) is not None else self.model().header_of(index)
            if head.isValid() and (head == index or event.key() == Qt.Key.Key_Left):
                patient = head.data(HEADER).patient
                self._fold(head, event.key() == Qt.Key.Key_Left)
                self._stay(patient)
            return
        super().keyPressEvent(event)

    def _fold(self, index: QModelIndex, collapsed: bool | None = None) -> bool:
        """Fold or unfold the patient of a header; False when it is none."""
        header = index.data(HEADER)
        if header is None:
            return False
        self.model().set_collapsed(header.patient, not header.collapsed if collapsed is None else collapsed)
        self._stay(header.patient)
        return True

    def _stay(self, patient: str | None) -> None:
        """Keep the header of a patient current: the rows were made anew."""
        for row in range(self.model().rowCount()):
            header = self.model().index(row).data(HEADER)
            if header is not None and header.patient == patient:
                self.selectionModel().setCurrentIndex(
                    self.model().index(row), QItemSelectionModel.SelectionFlag.NoUpdate
                )
                return

    def mouseReleaseEvent(self, event: Any) -> None:
        super().mouseReleaseEvent(event)
        index: QModelIndex = self.indexAt(event.position().toPoint())
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        if event.button() == Qt.MouseButton.LeftButton and plain and index.isValid() and index.data(ENTRY) is not None:
            self.activated.emit(index)  # one click opens: looking at slides is what the list is for
            self.clicked_open.emit()
        elif event.button() == Qt.MouseButton.LeftButton and plain and index.isValid():
            self._fold(index)

    def mouseDoubleClickEvent(self, event: Any) -> None:
        event.accept()  # the first click has opened it


if __name__ == "__main__":
    import sys

    from qtpy.QtWidgets import QApplication

    from ..engine.workspace import Workspace

    application = QApplication([])
    theme.apply_theme(application)
    panel = WorkspacePanel(Workspace.open(Path(sys.argv[1])))
    panel.resize(320, 720)
    panel.show()
    application.exec()
