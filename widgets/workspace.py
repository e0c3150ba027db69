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
    QLineEdit,
    QListView,
    QMenu,
    QStackedLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.errors import OpsinError
from . import theme
from .background import Relay, Task, in_background
from .slidelist import ENTRY, ID, LABEL_TEXT, SPLIT_TEXT, SlideDelegate, SlideFilter, SlideListModel
from .texts import MutedLabel, heading

if TYPE_CHECKING:
    from ..engine.workspace import Item, Workspace

THUMBNAIL_PIXELS = 256


class WorkspacePanel(QWidget):
    """The panel. It changes labels and splits itself; opening, adding and removing are asked of whoever shows it.

    Signals
    -------
    open_requested(str) : the user wants to see the slide with that id.
    add_requested() : the user wants to add slides.
    remove_requested(list[str]) : the user wants to take slides out.
    failed(str) : one sentence about what could not be done.
    """

    open_requested = Signal(str)
    add_requested = Signal()
    remove_requested = Signal(list)
    failed = Signal(str)

    def __init__(self, workspace: Workspace | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.workspace: Workspace | None = None
        self._relay: Relay | None = None
        self._pictures: Task | None = None
        self._asked: set[str] = set()
        self.rows = SlideListModel(self)
        self.filtered = SlideFilter(self)
        self.filtered.setSourceModel(self.rows)
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
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter by name, label, split")
        self.filter.setAccessibleName("Filter slides")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._filter)
        column.addWidget(self.filter)
        self.list = SlideListView()
        self.list.setModel(self.filtered)
        self.list.setItemDelegate(SlideDelegate(self.list))
        self.list.setAccessibleName("Slides")
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.customContextMenuRequested.connect(self._open_menu)
        self.list.activated.connect(lambda index: self.open_requested.emit(index.data(ID)))
        self.list.remove_pressed.connect(self._ask_remove)
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
        if workspace is not None:
            self._relay = Relay(self._changed, workspace.changed, parent=self)
        self.refresh()

    def _changed(self, what: str) -> None:
        if what == "items":
            self.refresh()

    def refresh(self) -> None:
        """Read the items anew."""
        items = self.workspace.items() if self.workspace is not None else []
        selected = self.selected()
        opened = next((entry.item.id for entry in self.rows.entries if entry.opened), None)
        same = [entry.item.id for entry in self.rows.entries] == [item.id for item in items]
        self.rows.set_items(items)
        if not same:
            self.rows.set_opened(opened)
            self.select(selected)
        self._show_summary(items)
        self._make_pictures(items)

    def _show_summary(self, items: list[Item]) -> None:
        self.title.setText(f"Slides ({len(items)})" if items else "Slides")
        counts = Counter(LABEL_TEXT[item.label].lower() for item in items)
        texts = [f"{counts[word]} {word}" for word in ("positive", "negative", "unknown") if counts[word]]
        outlined = sum(item.outlined for item in items)
        if outlined:
            texts.append(f"{outlined} outlined completely")
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

    def _filter(self, text: str) -> None:
        self.filtered.set_text(text)
        self._show_empty()

    # ---- selection ----------------------------------------------------------------------------------------------

    def selected(self) -> list[str]:
        """Return the ids of the selected slides, in the order of the list."""
        rows = sorted(index.row() for index in self.list.selectionModel().selectedIndexes())
        return [self.filtered.index(row, 0).data(ID) for row in rows]

    def select(self, ids: list[str]) -> None:
        """Select these slides; the first becomes the current one."""
        model = self.list.selectionModel()
        flags = QItemSelectionModel.SelectionFlag
        for place, id in enumerate(ids):
            index = self.filtered.mapFromSource(self.rows.index(self.rows.row_of(id)))
            if index.isValid():
                if place == 0:
                    model.setCurrentIndex(index, flags.ClearAndSelect)
                    self.list.scrollTo(index)
                else:
                    model.select(index, flags.Select)

    def set_opened(self, id: str | None) -> None:
        """Mark the slide that the view shows, and select it."""
        self.rows.set_opened(id)
        if id is not None and self.selected() != [id]:
            self.select([id])

    def neighbour(self, id: str | None, step: int) -> str | None:
        """Return the slide `step` rows further down in the list as it is filtered; None at its ends."""
        ids = [self.filtered.index(row, 0).data(ID) for row in range(self.filtered.rowCount())]
        if not ids:
            return None
        if id not in ids:
            return ids[0 if step > 0 else -1]
        place = ids.index(id) + step
        return ids[place] if 0 <= place < len(ids) else None

    # ---- what can be done ---------------------------------------------------------------------------------------

    def set_label(self, label: str | None, ids: list[str] | None = None) -> None:
        """Give the selected slides (or `ids`) a slide label."""
        self._update(ids, label=label)

    def set_split(self, split: str | None, ids: list[str] | None = None) -> None:
        self._update(ids, split=split)

    def set_outlined(self, outlined: bool, ids: list[str] | None = None) -> None:
        self._update(ids, outlined=outlined)

    def _update(self, ids: list[str] | None, **changes: Any) -> None:
        if self.workspace is None:
            return
        try:
            for id in self.selected() if ids is None else ids:
                self.workspace.update(id, **changes)
        except OpsinError as error:
            self.failed.emit(str(error))

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
        outlined = menu.addAction("Outlined completely")
        outlined.setCheckable(True)
        entries = [e for e in self.rows.entries if e.item.id in ids]
        outlined.setChecked(bool(entries) and all(e.item.outlined for e in entries))
        outlined.triggered.connect(lambda on: self.set_outlined(on, ids))
        menu.addSeparator()
        remove = menu.addAction("Remove from workspace…", lambda: self.remove_requested.emit(ids))
        for action in (open_action, labels.menuAction(), splits.menuAction(), outlined, remove):
            action.setEnabled(bool(ids))
        menu.addSeparator()
        menu.addAction("Select all", self.list.selectAll)
        menu.addAction("Add slides…", self.add_requested.emit)
        return menu

    # ---- thumbnails ---------------------------------------------------------------------------------------------

    def _make_pictures(self, items: list[Item]) -> None:
        wanted = [item for item in items if item.id not in self._asked]
        if not wanted or self.workspace is None or self._pictures is not None:
            return
        self._asked.update(item.id for item in wanted)
        self._pictures = in_background(
            _pictures, self.workspace, wanted, each=self._show_picture, done=self._pictures_done,
            failed=self._pictures_done, owner=self,
        )  # fmt: skip

    def _show_picture(self, found: tuple[str, str, bool]) -> None:
        id, path, missing = found
        picture = QPixmap(path) if path else None
        self.rows.set_picture(id, picture if picture is not None and not picture.isNull() else None, missing)

    def _pictures_done(self, _: object) -> None:
        self._pictures = None
        if self.workspace is not None:
            self._make_pictures(self.workspace.items())


def _pictures(workspace: Workspace, items: list[Item]) -> Iterator[tuple[str, str, bool]]:
    """Yield (id, path of the thumbnail or "", file missing); runs in a thread."""
    for item in items:
        path, missing = "", not workspace.slide_path(item).exists()
        with contextlib.suppress(OpsinError, OSError):
            path = str(workspace.thumbnail(item, THUMBNAIL_PIXELS))
        yield item.id, path, missing


class SlideListView(QListView):
    """A list whose Delete key asks for removal and whose Enter or double click opens."""

    remove_pressed = Signal()

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
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.activated.emit(self.currentIndex())
            return
        super().keyPressEvent(event)

    def mouseReleaseEvent(self, event: Any) -> None:
        super().mouseReleaseEvent(event)
        index: QModelIndex = self.indexAt(event.position().toPoint())
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        if event.button() == Qt.MouseButton.LeftButton and plain and index.isValid() and index.data(ENTRY) is not None:
            self.activated.emit(index)  # one click opens: looking at slides is what the list is for

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
