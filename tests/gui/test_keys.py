"""Keys: presets without conflicts, every key can be changed in the list of shortcuts, menus and tool tips say which there are."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from qtpy.QtCore import Qt

from opsin.engine.errors import OpsinError
from opsin.gui.actions import ACTIONS
from opsin.gui.keymap import FIXED, PRESETS, RESERVED, native, preset_keys
from opsin.gui.palette import entries
from opsin.gui.settings import AppSettings, config_folder
from opsin.gui.shortcuts import ShortcutsDialog


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("OPSIN_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def dialog(window, qtbot):
    window.keys.show()
    dialog = window.findChild(ShortcutsDialog)
    qtbot.waitExposed(dialog)
    return dialog


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_has_a_conflict(name):
    keys = preset_keys(name)
    assert keys.keys() == {action.id for action in ACTIONS}
    counts = Counter(key for many in keys.values() for key in many)
    assert [key for key, count in counts.items() if count > 1] == []
    assert "" not in counts, "a key that Qt does not understand"
    assert not set(counts) & set(RESERVED) - {"Shift+Del"}


def test_the_keys_of_qupath_do_what_they_do_there():
    keys = preset_keys("qupath")
    by_key = {key: id for id, many in keys.items() for key in many}
    expected = {
        "M": "tool.pan", "R": "tool.rectangle", "O": "tool.ellipse", "L": "tool.ruler", "P": "tool.polygon", "V": "tool.ruler",
        "B": "tool.brush", "W": "tool.wand", ".": "tool.marker", "A": "view.labels", "Shift+F": "view.hatch",
        "N": "marks.show", "D": "view.heat", "C": "view.heat", "Ctrl+L": "edit.palette", "Shift+S": "tool.pick",
    }  # fmt: skip
    assert {key: by_key.get(key) for key in expected} == expected
    own = preset_keys("opsin")
    assert all(keys[id] for id in keys if own[id]), "no command loses its key by the preset"


def test_a_key_is_recorded_kept_and_used(window, qtbot, dialog):
    dialog.choose("view.channels")
    qtbot.keyClick(dialog.recorder, Qt.Key.Key_Y, Qt.KeyboardModifier.AltModifier)
    assert window.keys.of("view.channels") == ("Alt+Y",)
    assert window.book["view.channels"].shortcut().toString() == "Alt+Y"
    assert "Alt+Y" in window.book["view.channels"].toolTip()
    assert next(e.keys for e in entries(window.book) if e.id == "view.channels") == native(["Alt+Y"])
    assert "now does" in dialog.said.text()
    assert json.loads((config_folder() / "settings.json").read_text())["keys"] == {"view.channels": ["Alt+Y"]}
    assert AppSettings.load().keys == {"view.channels": ["Alt+Y"]}
    dialog.reset.click()
    assert window.keys.of("view.channels") == ("Shift+K",)
    assert AppSettings.load().keys == {}


def test_a_conflict_names_the_other_command_and_offers_to_move_the_key(window, qtbot, dialog):
    dialog.choose("tool.brush")
    qtbot.keyClick(dialog.recorder, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert "Undo" in dialog.said.text()
    assert window.keys.of("tool.brush") == ("B",), "nothing is changed without an answer"
    assert dialog.move_key.isVisible()
    qtbot.mouseClick(dialog.move_key, Qt.MouseButton.LeftButton)
    assert window.keys.of("tool.brush") == ("Ctrl+Z",)
    assert window.keys.of("edit.undo") == ()
    assert window.book["edit.undo"].shortcuts() == []
    dialog.choose("edit.undo")
    dialog.reset.click()
    assert window.keys.of("edit.undo") == ("Ctrl+Z",)
    assert window.keys.of("tool.brush") == ()
    assert "Brush" in dialog.said.text()
    dialog.reset_all.click()
    assert window.keys.of("tool.brush") == ("B",)
    assert not dialog.reset_all.isEnabled()


def test_numbers_and_keys_of_lists_stay(window, qtbot, dialog):
    dialog.choose("tool.brush")
    qtbot.keyClick(dialog.recorder, Qt.Key.Key_3)
    assert "classes" in dialog.said.text()
    qtbot.keyClick(dialog.recorder, Qt.Key.Key_Return)
    assert "meaning of its own" in dialog.said.text()
    assert window.keys.of("tool.brush") == ("B",)
    dialog.choose(f"{FIXED}3")
    assert not dialog.recorder.isEnabled()
    with pytest.raises(OpsinError):
        window.keys.give("class.3", "Alt+Z")


def test_a_preset_is_chosen_and_a_search_finds_commands_and_keys(window, qtbot, dialog):
    dialog.preset.setFocus()
    qtbot.keyClick(dialog.preset, Qt.Key.Key_Down)
    if window.keys.preset != "qupath":
        dialog.preset.activated.emit(dialog.preset.currentIndex())
    assert window.book["edit.palette"].shortcut().toString() == "Ctrl+L"
    qtbot.keyClicks(dialog.filter, "ruler")
    shown = [
        top.child(row).text(1)
        for top in (dialog.tree.topLevelItem(i) for i in range(dialog.tree.topLevelItemCount()))
        for row in range(top.childCount())
        if not top.child(row).isHidden()
    ]
    assert "L, V" in shown
    assert AppSettings.load().key_preset == "qupath"


def test_the_list_is_saved_as_a_page_to_print(window, dialog, tmp_path):
    window.keys.give("view.channels", "Alt+Y")
    dialog.save_list(tmp_path / "keys.html")
    page = (tmp_path / "keys.html").read_text(encoding="utf-8")
    assert "Alt+Y" in page
    assert "Zoom at the pointer" in page
    dialog.save_list(tmp_path / "keys.html" / "keys.html")
    assert "cannot be written" in dialog.said.text()


def test_tool_buttons_say_the_keys_there_are(window, folder, qtbot):
    window.open_workspace(folder)
    tools = window.room.annotations.toolbox.tools
    assert tools["ruler"].toolTip().startswith("Ruler (U)")
    window.keys.set_preset("qupath")
    assert tools["ruler"].toolTip().startswith("Ruler (L)")
    window.keys.give("edit.undo", "Alt+Z")
    assert window.room.annotations.step_keys[0] == "Alt+Z"


def test_settings_of_another_version_do_no_harm(tmp_path):
    settings = AppSettings(key_preset="emacs", keys={"no.such": ["A"], "tool.brush": ["", "Ctrl+B"], "class.1": ["Q"]})
    from opsin.gui.window import MainWindow

    window = MainWindow(settings=settings)
    assert window.keys.of("tool.brush") == ("Ctrl+B",)
    assert window.keys.of("class.1") == ("1",)
    window.finish("stop")
