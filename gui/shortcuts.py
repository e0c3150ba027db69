"""Keyboard shortcuts: all commands with their keys, to search, to change and to print."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QKeyCombination, Qt, Signal
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from ..engine.errors import OpsinError
from ..engine.files import replacing
from ..widgets import theme
from ..widgets.texts import MutedLabel
from .dialogs import Sheet
from .keymap import FIXED, PRESETS, native, portable

if TYPE_CHECKING:
    from .actions import ActionBook

ID = Qt.ItemDataRole.UserRole
_MODIFIERS = (Qt.Key.Key_Control, Qt.Key.Key_Shift, Qt.Key.Key_Alt, Qt.Key.Key_Meta, Qt.Key.Key_AltGr)


class KeyRecorder(QLineEdit):
    """Takes one key with its modifiers instead of text. Signals: `recorded(str)`; Escape and Tab leave it as they do elsewhere."""

    recorded = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setPlaceholderText("Click here, then press a key")
        self.setAccessibleName("New key")

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()  # the key is meant for us, whatever it does elsewhere
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = Qt.Key(event.key())
        if key in (Qt.Key.Key_Escape, Qt.Key.Key_Tab, Qt.Key.Key_Backtab):
            event.ignore()
        elif key not in _MODIFIERS and key != Qt.Key.Key_unknown:
            modifiers = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
            pressed = QKeySequence(QKeyCombination(modifiers, key))
            self.setText(native([pressed.toString()]))
            self.recorded.emit(portable(pressed.toString()))


class ShortcutsDialog(Sheet):
    """All keys, by menu, with a filter; made from the list of actions. Changes act at once and are kept."""

    EXTRA = (
        ("Slide view", "Move", "Drag, middle drag, Space + drag, arrow keys"),
        ("Slide view", "Zoom at the pointer", "Wheel"),
        ("Slide view", "Erase while painting", "Right button"),
        ("Slide view", "Close a polygon; give it up", "Enter; Escape"),
        ("Slide list", "Open; remove", "Enter; Delete"),
        ("Slide list", "Fold or unfold a patient", "Left, Right"),
        ("Slide list", "Find a slide by its name", "Type it"),
        ("Class table", "Show or hide, lock, colour; rename", "Space; F2"),
    )

    def __init__(self, book: ActionBook, parent: QWidget | None = None) -> None:
        super().__init__("Keyboard shortcuts", parent)
        self.book, self.keys = book, book.host.window.keys
        self._wanted = ""  # a key that another action has, until the user says what becomes of it
        self._build()
        self._rows: dict[str, QTreeWidgetItem] = {}
        self._fill()
        self.keys.changed.connect(self._show_keys)
        self.tree.currentItemChanged.connect(lambda *_: self._choose())
        self._choose()
        self.take(640, 680)
        self.filter.setFocus()

    def _build(self) -> None:
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Search commands and keys")
        self.filter.setAccessibleName("Filter shortcuts")
        self.filter.setClearButtonEnabled(True)
        self.filter.textChanged.connect(self._filter)
        self.preset = QComboBox()
        self.preset.setAccessibleName("Preset of keys")
        for name, title in PRESETS.items():
            self.preset.addItem(f"Keys of {title}", name)
        self.preset.setCurrentIndex(self.preset.findData(self.keys.preset))
        self.preset.activated.connect(lambda _: self.keys.set_preset(self.preset.currentData()))
        top = QHBoxLayout()
        top.setSpacing(theme.GAP)
        top.addWidget(self.filter, 1)
        top.addWidget(self.preset)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(["Command", "Keys"])
        self.tree.setAccessibleName("Shortcuts")
        self.tree.setRootIsDecorated(False)
        self.tree.setIndentation(theme.px(16))
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.tree.header().setStretchLastSection(False)
        self.tree.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.name = QLabel()
        self.recorder = KeyRecorder()
        self.recorder.recorded.connect(self._record)
        self.take_away, self.reset = QPushButton("No key"), QPushButton("Reset")
        self.take_away.setToolTip("Leave this command without a key")
        self.reset.setToolTip("The key that the preset has")
        self.take_away.clicked.connect(self._take)
        self.reset.clicked.connect(self._reset)
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        for widget, stretch in ((self.name, 2), (self.recorder, 2), (self.take_away, 0), (self.reset, 0)):
            row.addWidget(widget, stretch)
        self.said = MutedLabel("", wrap=True)
        self.move_key = QPushButton("Move it here")
        self.move_key.clicked.connect(self._move)
        self.move_key.hide()
        answer = QHBoxLayout()
        answer.setSpacing(theme.GAP)
        answer.addWidget(self.said, 1)
        answer.addWidget(self.move_key)
        for part in (top, self.tree, row, answer):
            self.column.addWidget(part, 1) if isinstance(part, QWidget) else self.column.addLayout(part)
        box = self.add_buttons()
        self.reset_all, self.save = QPushButton("Reset all"), QPushButton("Save list…")
        self.reset_all.clicked.connect(self._reset_all)
        self.save.setToolTip("As a page to print")
        self.save.clicked.connect(self._ask_save)
        box.addButton(self.reset_all, box.ButtonRole.ResetRole)
        box.addButton(self.save, box.ButtonRole.ActionRole)
        for button in (*box.buttons(), self.move_key, self.take_away, self.reset):
            button.setAutoDefault(False)  # Enter belongs to the key that is recorded

    def _fill(self) -> None:
        tops: dict[str, QTreeWidgetItem] = {}
        rows = [(a.menu.partition("/")[0], self._text(a.id), "", a.id) for a in self.book.entries.values()]
        for menu, text, keys, id in [*rows, *((*row, "") for row in self.EXTRA)]:
            if menu not in tops:
                tops[menu] = QTreeWidgetItem(self.tree, [menu])
                tops[menu].setFlags(Qt.ItemFlag.ItemIsEnabled)
                font = tops[menu].font(0)
                font.setBold(True)
                tops[menu].setFont(0, font)
                tops[menu].setExpanded(True)
            item = QTreeWidgetItem(tops[menu], [text, keys])
            item.setData(0, ID, id)
            if id:
                self._rows[id] = item
        self._show_keys()

    def _text(self, id: str) -> str:
        return self.book[id].text().removesuffix("…")

    def _show_keys(self) -> None:
        for id, item in self._rows.items():
            item.setText(1, native(self.keys.of(id)))
            font = item.font(1)
            font.setBold(self.keys.is_own(id))
            item.setFont(1, font)
        self.preset.setCurrentIndex(self.preset.findData(self.keys.preset))
        self.reset_all.setEnabled(bool(self.keys.window.settings.keys))
        self._show_buttons()

    def _filter(self, text: str) -> None:
        for place in range(self.tree.topLevelItemCount()):
            top = self.tree.topLevelItem(place)
            any_shown = False
            for row in range(top.childCount()):
                child = top.child(row)
                fits = text.lower() in f"{child.text(0)} {child.text(1)}".lower()
                child.setHidden(not fits)
                any_shown |= fits
            top.setHidden(not any_shown)

    # ---- one command

    @property
    def current(self) -> str:
        """Id of the chosen command whose keys can be changed, "" for none."""
        item = self.tree.currentItem()
        id = str(item.data(0, ID) or "") if item is not None else ""
        return "" if id.startswith(FIXED) else id

    def choose(self, id: str) -> None:
        """Put the selection on a command."""
        self.tree.setCurrentItem(self._rows[id])

    def _choose(self) -> None:
        id = self.current
        self.name.setText(self._text(id) if id else "Choose a command to change its key")
        self.recorder.clear()
        self._say("")
        self._show_buttons()

    def _show_buttons(self) -> None:
        id = self.current
        self.recorder.setEnabled(bool(id))
        self.take_away.setEnabled(bool(id) and bool(self.keys.of(id)))
        self.reset.setEnabled(bool(id) and self.keys.is_own(id))

    def _say(self, text: str, wanted: str = "") -> None:
        self.said.setText(text)
        self._wanted = wanted
        self.move_key.setVisible(bool(wanted))

    def _record(self, key: str) -> None:
        id = self.current
        reason, holder = self.keys.refusal(id, key), self.keys.holder(key)
        if reason:
            self._say(reason)
        elif holder == id:
            self._say(f"{native([key])} does this already.")
        elif holder is not None:
            self._say(f"{native([key])} already does “{self._text(holder)}”.", key)
        else:
            self._give(key)

    def _give(self, key: str) -> None:
        try:
            self.keys.give(self.current, key)
        except OpsinError as error:
            self._say(str(error))
            return
        self._say(f"{native([key])} now does “{self._text(self.current)}”.")

    def _move(self) -> None:
        self._give(self._wanted)
        self.recorder.setFocus()

    def _take(self) -> None:
        self.keys.take(self.current)
        self.recorder.clear()
        self._say("")

    def _reset(self) -> None:
        lost = self.keys.reset(self.current)
        self.recorder.clear()
        self._say(f"“{self._text(lost)}” has lost this key by that." if lost else "")

    def _reset_all(self) -> None:
        self.keys.reset_all()
        self._say("All keys are those of the preset again.")

    # ---- printing

    def page(self) -> str:
        """Return the list as a HTML page."""
        parts = []
        for place in range(self.tree.topLevelItemCount()):
            top = self.tree.topLevelItem(place)
            rows = [(top.child(row).text(0), top.child(row).text(1)) for row in range(top.childCount())]
            lines = "".join(
                f"<tr><td>{html.escape(text)}</td><td>{html.escape(keys)}</td></tr>" for text, keys in rows if keys
            )
            parts.append(f"<h2>{html.escape(top.text(0))}</h2><table>{lines}</table>")
        style = "body{font:10pt sans-serif;columns:2}td:first-child{width:16em}h2{font-size:12pt;break-after:avoid}"
        title = f"Opsin: keyboard shortcuts ({PRESETS[self.keys.preset]})"
        head = f'<meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        return f"<!DOCTYPE html><html><head>{head}</head><body><h1>{title}</h1>{''.join(parts)}</body></html>"

    def _ask_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save list of shortcuts", "opsin-keys.html", "Web page (*.html)")
        if path:
            self.save_list(Path(path))

    def save_list(self, path: Path) -> None:
        """Write the list as a page."""
        try:
            with replacing(path) as temporary:
                temporary.write_text(self.page(), encoding="utf-8")
        except (OpsinError, OSError) as error:
            self._say(f"{path.name} cannot be written: {error}")
            return
        self._say(f"Saved as {path.name}.")
