"""The list of actions: unique, without conflicts, complete in menus, palette and shortcut list, greyed with a reason."""

from __future__ import annotations

from collections import Counter

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QMenu

from opsin.gui.actions import ACTIONS, MENUS
from opsin.gui.palette import CommandPalette, Entry, entries, ranked, score
from opsin.gui.shortcuts import ShortcutsDialog


def test_ids_are_unique_and_menus_known():
    assert [id for id, count in Counter(a.id for a in ACTIONS).items() if count > 1] == []
    assert {a.menu.partition("/")[0] for a in ACTIONS} == set(MENUS)


def test_no_two_actions_share_a_shortcut():
    keys = Counter(QKeySequence(key).toString() for a in ACTIONS for key in a.keys)
    assert [key for key, count in keys.items() if count > 1] == []
    assert "" not in keys, "a shortcut that Qt does not understand"


def test_every_action_has_something_to_do(window):
    for action in ACTIONS:
        target = window.commands
        for part in action.call.split("."):
            if part == "model":
                target = window.model
            else:
                target = getattr(target, part)
        assert callable(target), action.id


def _in_menus(window) -> set[str]:
    found: set[str] = set()

    def walk(menu: QMenu) -> None:
        for action in menu.actions():
            if action.menu() is not None:
                walk(action.menu())
            elif not action.isSeparator():
                found.add(action.objectName())

    for top in window.menuBar().actions():
        walk(top.menu())
    return found


def test_every_action_is_in_a_menu_and_in_the_palette(window):
    assert _in_menus(window) == {a.id for a in ACTIONS}
    assert {e.id for e in entries(window.book)} == {a.id for a in ACTIONS} - {"edit.palette"}


def test_every_shortcut_is_listed(window, qtbot):
    dialog = ShortcutsDialog(window.book, window)
    qtbot.addWidget(dialog)
    shown = {
        dialog.tree.topLevelItem(i).child(j).text(0)
        for i in range(dialog.tree.topLevelItemCount())
        for j in range(dialog.tree.topLevelItem(i).childCount())
    }
    assert {window.book[a.id].text().removesuffix("…") for a in ACTIONS if a.keys} <= shown
    dialog.filter.setText("undo")
    visible = [i for i in range(dialog.tree.topLevelItemCount()) if not dialog.tree.topLevelItem(i).isHidden()]
    assert len(visible) == 1


def test_what_cannot_be_done_is_greyed_and_says_why(window):
    window.book.refresh()
    assert not window.book["edit.undo"].isEnabled()
    assert "first" in window.book.reasons["tool.brush"]
    assert "first" in window.book["tool.brush"].toolTip()
    assert window.book["file.open"].isEnabled()


def test_reasons_change_with_what_is_open(opened):
    book = opened.book
    book.refresh()
    assert book["tool.brush"].isEnabled()
    assert book.reasons["edit.undo"] == "There is nothing to undo."
    assert book.reasons["train.pause"] == "No job is running."
    assert "heat map" in book.reasons["view.heat"]
    assert book["class.1"].text() == "Tumour" and book["class.1"].isEnabled()
    assert not book["class.9"].isEnabled()


@pytest.mark.parametrize(
    ("query", "first"),
    [("undo", "Undo"), ("brsh", "Brush"), ("bright", "Brightness and contrast"), ("expann", "Export annotations")],
)
def test_fuzzy_search_finds_it(window, query, first):
    assert ranked(query, [Entry(e.id, e.text, e.where, e.keys, "") for e in entries(window.book)])[0].text == first


def test_fuzzy_score_orders_sensibly():
    assert score("undo", "Undo") > score("undo", "Unusual document")
    assert score("zzz", "Undo") == 0
    assert score("slide fit", "Fit slide") > 0
    assert score("", "anything") > 0


def test_palette_runs_with_the_keyboard_and_refuses_what_is_grey(opened, qtbot):
    opened.commands.show_palette()
    palette = opened.findChild(CommandPalette)
    palette.line.setText("eraser")
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    assert opened.model.tool == "eraser"
    opened.commands.show_palette()
    palette = opened.findChildren(CommandPalette)[-1]
    palette.line.setText("redo")
    assert palette.shown()[0].reason
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    assert palette.isVisible(), "a greyed command does not run"
    palette.close()


def test_palette_moves_with_arrow_keys(opened, qtbot):
    opened.commands.show_palette()
    palette = opened.findChild(CommandPalette)
    qtbot.keyClick(palette.line, Qt.Key.Key_Down)
    qtbot.keyClick(palette.line, Qt.Key.Key_Down)
    assert palette.list.currentRow() == 2
    qtbot.keyClick(palette.line, Qt.Key.Key_Up)
    assert palette.list.currentRow() == 1
    palette.close()
