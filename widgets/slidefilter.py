"""The controls above the slide list: a box for words, a menu of what to show, a menu of orders, chips for what is chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import QPoint, QSize, Qt, Signal
from qtpy.QtGui import QAction, QActionGroup, QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget
from superqt import QFlowLayout

from . import theme
from .shownslides import FILTER_TEXT, FILTERS, SORTS, Criteria


class SlideFilterBar(QWidget):
    """The controls.

    Signals
    -------
    changed(Criteria) : the user wants to see this.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.criteria = Criteria()
        self.uncertain = False
        """Whether slides have an uncertainty, so that it is offered as an order."""
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.TIGHT)
        row = QHBoxLayout()
        row.setSpacing(theme.TIGHT)
        self.text = QLineEdit()
        self.text.setPlaceholderText("Search slides")
        self.text.setToolTip("Words that occur in name, slide label, split, review or patient")
        self.text.setAccessibleName("Filter slides")
        self.text.setClearButtonEnabled(True)
        self.text.textChanged.connect(lambda text: self._set(words=tuple(text.lower().split())))
        self.filter_button, self.sort_button = QToolButton(), QToolButton()
        for button, name, tip, menu in (
            (self.filter_button, "Filter", "Show only some slides", self.filter_menu),
            (self.sort_button, "Sort and group", "Order of the slides; groups by patient", self.sort_menu),
        ):
            button.setAccessibleName(name)
            button.setToolTip(tip)
            button.setCheckable(True)  # held down while it does something
            button.clicked.connect(lambda _=False, b=button, m=menu: self._open(b, m()))
            row.addWidget(button)
        row.insertWidget(0, self.text, 1)
        column.addLayout(row)
        self._chips = QWidget()
        self._flow = QFlowLayout(self._chips)
        self._flow.setContentsMargins(0, 0, 0, 0)
        self._flow.setSpacing(theme.TIGHT)
        column.addWidget(self._chips)
        self._chips.hide()
        theme.theme_changed().connect(self.restyle)
        self.restyle()

    def restyle(self) -> None:
        for button, name, on in (
            (self.filter_button, "filter", bool(self.criteria.chosen)),
            (
                self.sort_button,
                "sort",
                self.criteria.grouped or self.criteria.sort != "added" or self.criteria.backwards,
            ),
        ):
            button.setIcon(theme.icon(name))
            button.setIconSize(QSize(theme.px(theme.ICON), theme.px(theme.ICON)))
            button.setChecked(on)
        self._show_chips()

    # ---- what is chosen -------------------------------------------------------------------------------------------

    def _set(self, **changes: Any) -> None:
        self.criteria = replace(self.criteria, **changes)
        self.restyle()
        self.changed.emit(self.criteria)

    def toggle(self, key: str) -> None:
        """Ask for slides of this kind, or no longer."""
        self._set(chosen=self.criteria.chosen ^ {key})

    def set_grouped(self, on: bool) -> None:
        self._set(grouped=on)

    def clear(self) -> None:
        """Show all slides again; order and groups stay."""
        self.text.blockSignals(True)
        self.text.clear()
        self.text.blockSignals(False)
        self._set(words=(), chosen=frozenset())

    def _show_chips(self) -> None:
        chosen = [key for key in FILTER_TEXT if key in self.criteria.chosen]
        shown = [chip.property("key") for chip in self.chips()]
        if shown != chosen:
            had_focus = any(chip.hasFocus() for chip in self.chips())
            while self._flow.count():
                old = self._flow.takeAt(0).widget()
                old.hide()
                old.deleteLater()
            for key in chosen:
                chip = QPushButton(FILTER_TEXT[key])
                chip.setProperty("kind", "chip")
                chip.setProperty("key", key)
                chip.setToolTip("Press to show other slides too")
                chip.setAccessibleName(f"Filter {FILTER_TEXT[key]}; press to remove")
                chip.clicked.connect(lambda _=False, k=key: self.toggle(k))
                self._flow.addWidget(chip)
            if had_focus:
                (self.chips()[0] if chosen else self.filter_button).setFocus()
        for chip in self.chips():
            chip.setIcon(theme.icon("close"))
            chip.setIconSize(QSize(theme.px(10), theme.px(10)))
        self._chips.setVisible(bool(chosen))

    def chips(self) -> list[QPushButton]:
        """Return the chips, one for each kind that is asked for."""
        return [self._flow.itemAt(place).widget() for place in range(self._flow.count())]

    # ---- menus ----------------------------------------------------------------------------------------------------

    def _open(self, button: QToolButton, menu: QMenu) -> None:
        self.restyle()  # a press does not change what the button says
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(button.mapToGlobal(QPoint(0, button.height())))

    def filter_menu(self) -> QMenu:
        """Return the menu of what to show; it stays open while kinds are ticked."""
        menu = StayingMenu(self)
        for title, kinds in FILTERS.items():
            menu.addSection(title)
            for key, text in kinds.items():
                action = menu.addAction(text)
                action.setCheckable(True)
                action.setChecked(key in self.criteria.chosen)
                action.triggered.connect(lambda _=False, k=key: self.toggle(k))
        menu.addSeparator()
        everything = menu.addAction("Show all slides", self.clear)
        everything.setEnabled(bool(self.criteria.chosen or self.criteria.words))
        return menu

    def sort_menu(self) -> QMenu:
        """Return the menu of orders and groups."""
        menu = QMenu(self)
        group = QActionGroup(menu)
        for key, text in SORTS.items():
            if key == "uncertainty" and not self.uncertain:
                continue
            action = menu.addAction(text)
            action.setCheckable(True)
            action.setChecked(key == self.criteria.sort)
            action.setActionGroup(group)
            action.triggered.connect(lambda _=False, k=key: self._set(sort=k, backwards=False))
        menu.addSeparator()
        backwards = menu.addAction("Reverse order")
        backwards.setCheckable(True)
        backwards.setChecked(self.criteria.backwards)
        backwards.triggered.connect(lambda on: self._set(backwards=on))
        menu.addSeparator()
        grouped = menu.addAction("Group by patient")
        grouped.setCheckable(True)
        grouped.setChecked(self.criteria.grouped)
        grouped.triggered.connect(self.set_grouped)
        return menu


class StayingMenu(QMenu):
    """A menu that stays open when something in it is ticked, so that several things can be."""

    def _ticked(self, action: QAction | None) -> bool:
        if action is None or not action.isCheckable() or not action.isEnabled():
            return False
        action.trigger()
        return True

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if not self._ticked(self.actionAt(event.position().toPoint())):
            super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() not in (Qt.Key.Key_Space, Qt.Key.Key_Return) or not self._ticked(self.activeAction()):
            super().keyPressEvent(event)
