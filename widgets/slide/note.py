"""The small editor for the note of a mark, on the slide beside it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...engine.errors import OpsinError
from ...engine.labels.marks import NAMES, Mark
from .. import theme
from ..texts import MutedLabel, heading

if TYPE_CHECKING:
    from ...engine.labels.store import LabelStore
    from .view import SlideView

WIDTH = 268
AWAY = 18  # screen pixels from the mark


class NoteText(QPlainTextEdit):
    """Enter is done, Shift+Enter a new line, Escape gives up; Tab goes on to the next field."""

    def __init__(self, editor: NoteEditor) -> None:
        super().__init__(editor)
        self.editor = editor
        self.setTabChangesFocus(True)
        self.setPlaceholderText("Note")
        self.setAccessibleName("Note")
        self.setFixedHeight(theme.px(70))

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            event.accept()  # nothing that is typed here is meant for the window
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        plain = not event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and plain:
            self.editor.finish()
        else:
            super().keyPressEvent(event)


class NoteEditor(QFrame):
    """Note, class and removal of one mark."""

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self.view, self.model = view, view.model
        self.mark: Mark | None = None
        self.store: LabelStore | None = None  # the mark's: a note that another slide interrupts belongs to its own
        self._group: int | None = None
        self.setProperty("kind", "popup")
        self.setCursor(Qt.CursorShape.ArrowCursor)
        self.setAccessibleName("Note of a mark")
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.PAD, theme.GAP, theme.PAD, theme.PAD)
        column.setSpacing(theme.GAP)
        self.title = heading("")
        column.addWidget(self.title)
        self.text = NoteText(self)
        column.addWidget(self.text)
        self.label = QComboBox()
        self.label.setAccessibleName("Class of the mark")
        column.addWidget(self.label)
        self.about = MutedLabel("", wrap=True)
        column.addWidget(self.about)
        row = QHBoxLayout()
        self.remove_button, self.done_button = QPushButton("Delete"), QPushButton("Done")
        self.remove_button.clicked.connect(self.remove)
        self.done_button.clicked.connect(self.finish)
        self.done_button.setProperty("kind", "primary")
        row.addWidget(self.remove_button)
        row.addStretch(1)
        row.addWidget(self.done_button)
        column.addLayout(row)
        self.hide()
        QApplication.instance().focusChanged.connect(self._focus_moved)
        theme.theme_changed().connect(self._restyle)
        self._restyle()

    def _restyle(self) -> None:
        self.setFixedWidth(theme.px(WIDTH))
        self.text.setFixedHeight(theme.px(70))

    def open(self, mark: Mark, group: int | None = None) -> None:
        """Show the note of a mark beside it.

        Parameters
        ----------
        group : the undo step in which it was just made; its first note belongs to that step.
        """
        self.finish()
        self.mark, self.store, self._group = mark, self.model.labels, group
        name = NAMES[mark.kind]
        self.title.setText(name[:1].upper() + name[1:])
        self.text.setPlainText(mark.note)
        self.text.selectAll()
        self.label.clear()
        self.label.addItem("No class", None)
        for item in self.model.classes:
            swatch = QPixmap(12, 12)
            swatch.fill(QColor(item.color))
            self.label.addItem(QIcon(swatch), item.name, item.value)
        self.label.setCurrentIndex(max(0, self.label.findData(mark.label)))
        self.label.setVisible(mark.kind != "roi")
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(mark.time))
        self.about.setText(f"{mark.author}, {day}" if mark.author else day)
        self.adjustSize()
        self.place()
        self.show()
        self.raise_()
        self.text.setFocus(Qt.FocusReason.PopupFocusReason)

    def place(self) -> None:
        """Stand beside the mark, inside the view."""
        if self.mark is None:
            return
        left, top, right, bottom = self.mark.bounds
        x, y, width, height = self.model.transform.view_rect((left, top, right - left, bottom - top))
        beside = x + width + AWAY
        if beside + self.width() > self.view.width():
            beside = x - AWAY - self.width()
        self.move(
            round(min(max(beside, 8), max(8, self.view.width() - self.width() - 8))),
            round(min(max(y + height / 2 - self.height() / 2, 8), max(8, self.view.height() - self.height() - 8))),
        )

    def finish(self) -> None:
        """Keep what was written and close."""
        mark, self.mark = self.mark, None
        if mark is None:
            return
        store = self.store
        now = store.mark(mark.id) if store is not None else None
        if store is not None and now is not None:
            changed = replace(now, note=self.text.toPlainText().strip(), label=self.label.currentData())
            try:
                store.change_mark(changed, text="Edit note", group=self._group)
            except OpsinError as error:
                self.view.failed.emit(str(error))
        self._leave()

    def give_up(self) -> None:
        """Close; what was written is lost, the mark stays."""
        self.mark = None
        self._leave()

    def remove(self) -> None:
        """Remove the mark and close."""
        mark, self.mark = self.mark, None
        store = self.store
        if mark is not None and store is not None and store.mark(mark.id) is not None:
            try:
                store.remove_marks([mark.id])
            except OpsinError as error:
                self.view.failed.emit(str(error))
        self._leave()

    def _leave(self) -> None:
        if not self.isHidden():
            inside = self._holds(QApplication.focusWidget())
            self.hide()
            if inside:
                self.view.setFocus(Qt.FocusReason.OtherFocusReason)

    def _holds(self, widget: QWidget | None) -> bool:
        while widget is not None and widget is not self:
            widget = widget.parentWidget()
        return widget is self

    def _focus_moved(self, _: QWidget | None, now: QWidget | None) -> None:
        if self.mark is not None and now is not None and not self._holds(now):
            self.finish()

    def event(self, event: QEvent) -> bool:
        override = event.type() == QEvent.Type.ShortcutOverride
        if override and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape:
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.give_up()
        else:
            event.accept()  # nothing that happens here is meant for the slide below

    def mousePressEvent(self, event: object) -> None:
        """Not for the slide below."""

    def wheelEvent(self, event: object) -> None:
        """Not for the slide below."""
