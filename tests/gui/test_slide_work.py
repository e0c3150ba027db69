"""Undo where the user is, review by keys, patients, moved files, backups, two windows: through the real window."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QPushButton

from opsin.engine.backups import back_up, backups
from opsin.engine.workspace import Workspace
from opsin.gui.dialogs import SettingsDialog
from opsin.gui.patients import GuessPatientsDialog, PatientDialog
from opsin.gui.relink import RelinkDialog
from opsin.gui.restore import RestoreDialog
from opsin.widgets.slidelist import ENTRY


@pytest.fixture
def alone(opened, qtbot):
    """The window with a slide open, in front, so that keys reach its widgets."""
    opened.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is opened)
    opened.room.view.setFocus()
    return opened


def dialog(window, kind, qtbot):
    qtbot.waitUntil(lambda: any(isinstance(d, kind) and d.isVisible() for d in window._dialogs))
    return next(d for d in window._dialogs if isinstance(d, kind))


def press(box, text, qtbot):
    button = next(b for b in box.findChildren(QPushButton) if b.text() == text)
    assert button.isEnabled(), text
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def row_of(window, name):
    slides = window.room.slides
    return next(
        index for index in (slides.filtered.index(row, 0) for row in range(slides.filtered.rowCount()))
        if index.data(ENTRY) is not None and index.data(ENTRY).item.name == name
    )  # fmt: skip


def test_ctrl_z_undoes_where_the_focus_is(alone, qtbot):
    window, workspace = alone, alone.workspace
    view, slides = window.room.view, window.room.slides
    qtbot.keyClick(view, Qt.Key.Key_B)
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=view.rect().center())
    qtbot.mouseMove(view, view.rect().center() + QPoint(20, 0))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=view.rect().center() + QPoint(20, 0))
    qtbot.waitUntil(lambda: window.model.labels.can_undo)
    slides.list.setFocus()
    qtbot.keyClick(slides.list, Qt.Key.Key_P, Qt.KeyboardModifier.ShiftModifier)
    assert workspace.item(window.item.id).label == "positive"
    window.book.refresh()
    assert window.book["edit.undo"].text() == f"Undo slide label positive of {window.item.name}"
    qtbot.keyClick(slides.list, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert workspace.item(window.item.id).label is None and window.model.labels.can_undo
    assert window.book["edit.redo"].text() == f"Redo slide label positive of {window.item.name}"
    qtbot.keyClick(slides.list, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert workspace.item(window.item.id).label == "positive"
    qtbot.keyClick(slides.list, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    view.setFocus()
    assert window.book["edit.undo"].text() == "Undo brush"
    qtbot.keyClick(view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.model.labels.can_undo and workspace.item(window.item.id).label is None


@pytest.mark.parametrize("key", [Qt.Key.Key_O, Qt.Key.Key_P, Qt.Key.Key_D])
def test_ctrl_z_in_the_view_undoes_the_newest_step(alone, qtbot, key):
    """A slide key after a stroke: Ctrl+Z takes the key back, then the stroke; redo goes the same way forward."""
    window, workspace, view = alone, alone.workspace, alone.room.view
    id = window.item.id

    def said():
        item = workspace.item(id)
        return item.label, item.outlined, item.review == "reviewed"

    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    before = said()
    window.model.labels.stroke([[50, 50]], 9, 1)
    qtbot.keyClick(view, key, shift)
    after = said()
    assert after != before
    qtbot.keyClick(view, Qt.Key.Key_Z, control)
    assert said() == before and window.model.labels.can_undo, "the newest step alone"
    assert any(text.startswith("Undone: ") for text in window.banners.texts())
    window.book.refresh()
    assert window.book["edit.undo"].text() == "Undo brush"
    qtbot.keyClick(view, Qt.Key.Key_Z, control)
    assert not window.model.labels.can_undo and window.statusBar().currentMessage() == "Undone: brush."
    qtbot.keyClick(view, Qt.Key.Key_Z, control | shift)
    assert window.model.labels.can_undo and said() == before, "the older one first"
    qtbot.keyClick(view, Qt.Key.Key_Z, control | shift)
    assert said() == after


def test_letters_search_lists_and_boxes_and_choose_tools_elsewhere(alone, qtbot):
    window = alone
    view, slides, bar = window.room.view, window.room.slides, window.room.bar
    qtbot.keyClick(view, Qt.Key.Key_V if window.model.tool != "pan" else Qt.Key.Key_B)
    tool = window.model.tool
    slides.list.setFocus()
    slides.list.setCurrentIndex(row_of(window, "alpha"))
    qtbot.keyClick(slides.list, Qt.Key.Key_B)
    assert slides.list.currentIndex().data(ENTRY).item.name == "beta" and window.model.tool == tool
    bar.label.setFocus()
    bar.label.setCurrentIndex(0)
    qtbot.keyClick(bar.label, Qt.Key.Key_P)
    assert bar.label.currentText() == "Positive" and window.model.tool == tool
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_B)
    assert window.model.tool == "brush"


def test_a_click_in_the_list_leads_to_the_view_so_that_tools_have_their_keys(alone, qtbot):
    slides = alone.room.slides
    place = slides.list.visualRect(row_of(alone, "gamma")).center()
    qtbot.mouseClick(slides.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: alone.item is not None and alone.item.name == "gamma")
    assert QApplication.focusWidget() is alone.room.view


def test_review_by_keys_alone(alone, qtbot):
    window, workspace = alone, alone.workspace
    window.commands.slides.set_reviewer("  Ana ")
    first = window.item.id
    qtbot.keyClick(window.room.view, Qt.Key.Key_D, Qt.KeyboardModifier.ShiftModifier)
    found = workspace.item(first)
    assert (found.review, found.reviewer) == ("reviewed", "Ana") and found.reviewed
    qtbot.keyClick(window.room.view, Qt.Key.Key_PageDown, Qt.KeyboardModifier.AltModifier)
    qtbot.waitUntil(lambda: window.item is not None and window.item.id != first)
    for item in workspace.items():
        workspace.update(item.id, review="reviewed")
    window.commands.slides.next_to_do()
    assert "All slides are reviewed." in window.banners.texts()


def test_painting_on_a_reviewed_slide_takes_the_review_back(alone, qtbot):
    window = alone
    id = window.item.id
    window.workspace.update(id, review="reviewed")
    window.model.labels.stroke([[50, 50]], 9, 1)
    qtbot.waitUntil(lambda: window.workspace.item(id).review == "marked", timeout=10_000)


def test_the_name_of_the_reviewer_is_a_setting(alone, qtbot):
    alone.commands.show_settings()
    box = dialog(alone, SettingsDialog, qtbot)
    assert box.name.text(), "the name of the login"
    box.name.selectAll()
    qtbot.keyClicks(box.name, "Dr. B")
    box.name.setModified(True)
    box.name.clearFocus()
    box.name.editingFinished.emit()
    assert alone.settings.reviewer == "Dr. B" and alone.workspace.reviewer == "Dr. B"
    box.close()


def test_the_patient_of_the_selected_slides(alone, qtbot):
    window, workspace = alone, alone.workspace
    ids = [item.id for item in workspace.items()]
    workspace.update(ids[0], split="test")
    window.room.slides.select(ids[:2])
    window.commands.slides.ask_patient(ids[:2])
    box = dialog(window, PatientDialog, qtbot)
    qtbot.keyClicks(box.line, "P 7")
    qtbot.keyClick(box.line, Qt.Key.Key_Return)
    assert [(workspace.item(id).patient, workspace.item(id).split) for id in ids] == [
        ("P 7", "test"), ("P 7", "test"), (None, None),
    ]  # fmt: skip


def test_patients_from_names_are_seen_before_they_are_taken(alone, qtbot):
    window, workspace = alone, alone.workspace
    for number, item in enumerate(workspace.items()):
        workspace.update(item.id, name=f"case{number // 2}_HE_{number}")
    window.book["edit.patients"].trigger()
    box = dialog(window, GuessPatientsDialog, qtbot)
    assert box.pattern.currentText() == "{*}_*" and box.table.item(2, 1).text() == "case1"
    assert box.summary.text() == "3 of 3 slides fit, of 2 patients."
    box.pattern.lineEdit().selectAll()
    qtbot.keyClicks(box.pattern.lineEdit(), "{*_*")
    assert not box.accept_button.isEnabled() and "braces" in box.error.text()
    box.pattern.lineEdit().selectAll()
    qtbot.keyClicks(box.pattern.lineEdit(), "{**}_*")
    assert box.table.item(0, 1).text() == "case0_HE"
    assert [item.patient for item in workspace.items()] == [None] * 3
    press(box, "Set patients", qtbot)
    assert [item.patient for item in workspace.items()] == ["case0_HE", "case0_HE", "case1_HE"]
    assert workspace.undo_edit() and [item.patient for item in workspace.items()] == [None] * 3


def test_opening_a_missing_slide_offers_to_find_it_and_all_are_set_right(
    folder, slides, window, tmp_path, qtbot, monkeypatch
):
    new = tmp_path / "archive" / "deep"
    new.mkdir(parents=True)
    (slides / "alpha.png").rename(new / "alpha.png")
    (slides / "beta.png").rename(new / "renamed.png")
    window.open_workspace(folder)
    box = dialog(window, RelinkDialog, qtbot)
    assert len(box.missing) == 2 and "moved, renamed or deleted" in box.tree.topLevelItem(0).text(1)
    entries = window.room.slides.rows.entries
    qtbot.waitUntil(lambda: entries[0].missing and entries[1].missing)
    assert "moved, renamed or deleted" in row_of(window, "alpha").data(Qt.ItemDataRole.ToolTipRole)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "archive"))
    press(box, "Choose folder…", qtbot)
    qtbot.waitUntil(lambda: len(box.found) == 2 and box.progress.isHidden())
    assert "other name, same content" in box.tree.topLevelItem(1).text(1)
    press(box, "Use the 2 found", qtbot)
    qtbot.waitUntil(lambda: not any(entry.missing for entry in window.room.slides.rows.entries))
    assert {Path(item.path).name for item in window.workspace.items()} == {"alpha.png", "renamed.png", "gamma.png"}


def test_a_search_for_moved_files_can_be_stopped(folder, slides, window, tmp_path, qtbot, monkeypatch):
    (slides / "alpha.png").rename(tmp_path / "gone.txt")
    window.open_workspace(folder)
    box = dialog(window, RelinkDialog, qtbot)
    box.search(tmp_path)
    press(box, "Stop searching", qtbot)
    assert box.state.text() == "Search stopped." and box.choose.text() == "Choose folder…" and not box.found
    assert not box.accept_button.isEnabled()
    box.reject()


def test_the_table_of_slides_is_written(alone, tmp_path, qtbot, monkeypatch):
    alone.workspace.update(alone.item.id, label="negative", review="reviewed")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "out"), ""))
    alone.book["file.table"].trigger()
    qtbot.waitUntil((tmp_path / "out.csv").exists)
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("slide,label,split,patient,review") and lines[1].startswith("alpha,negative,,,reviewed")


def test_a_backup_is_restored_from_the_menu(alone, qtbot):
    window, folder = alone, alone.workspace.folder
    window.commands.slides.keeper.stop()
    id = window.item.id
    window.workspace.update(id, label="negative")
    back_up(folder / "opsin.sqlite")
    window.workspace.update(id, label="positive")
    window.book["file.restore"].trigger()
    box = dialog(window, RestoreDialog, qtbot)
    assert box.tree.topLevelItem(0).text(0).startswith("Slide list") and not box.accept_button.isEnabled()
    box.tree.setCurrentItem(box.tree.topLevelItem(0).child(0))
    press(box, "Restore", qtbot)
    qtbot.waitUntil(
        lambda: window.workspace is not None and window.workspace.item(id).label == "negative", timeout=10_000
    )
    kept = [backup for backup in backups(folder / "opsin.sqlite") if backup.kept]
    with closing(sqlite3.connect(kept[0].path)) as connection:
        assert connection.execute("SELECT label FROM item WHERE id = ?", (id,)).fetchone()[0] == "positive"


@pytest.mark.parametrize("which", ["workspace", "labels"])
def test_a_damaged_file_offers_its_backups(folder, window, qtbot, which):
    with Workspace.open(folder) as workspace:
        item = workspace.items()[0]
        workspace.update(item.id, label="negative")
        store = workspace.labels(item)
        store.stroke([[50, 50]], 9, 1)
        areas = store.areas()
    path = folder / "opsin.sqlite" if which == "workspace" else folder / "labels" / f"{item.id}.labels"
    back_up(path)
    path.write_bytes(b"noise" * 2000)
    window.open_workspace(folder)
    box = dialog(window, RestoreDialog, qtbot)
    press(box, "Restore", qtbot)
    qtbot.waitUntil(lambda: window.item is not None and window.item.id == item.id, timeout=10_000)
    assert window.workspace.item(item.id).label == "negative" and window.model.labels.areas() == areas != {}


def test_a_second_window_follows_the_first(alone, qtbot):
    from opsin.gui.settings import AppSettings
    from opsin.gui.window import MainWindow

    item = alone.item
    second = MainWindow(settings=AppSettings(theme="light"))
    qtbot.addWidget(second)
    second.show()
    second.open_workspace(alone.workspace.folder)
    second.open_item(item.id)
    qtbot.waitUntil(lambda: second.item is not None and second.item.id == item.id)
    assert second.model.labels.readonly
    alone.model.labels.stroke([[50, 50]], 9, 1)
    qtbot.waitUntil(lambda: second.model.labels.tile(0, 0, 0) is not None, timeout=2000)
    alone.workspace.update(item.id, label="positive")
    qtbot.waitUntil(lambda: second.item.label == "positive", timeout=2000)
    assert second.room.bar.label.currentData() == "positive"
    second.finish("stop")
