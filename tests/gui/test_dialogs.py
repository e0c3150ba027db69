"""Dialogs: no text is cut off, at any text size; questions are answered safely; the guide can be read."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QPushButton

from opsin.gui.dialogs import AboutDialog, GuideDialog, ListDialog, ResolutionDialog, SettingsDialog, ask_about_jobs
from opsin.widgets import theme
from opsin.widgets.confirm import Question


@pytest.fixture(params=[100, 150])
def size(request, qapp):
    theme.apply_theme(qapp, "light", request.param)
    yield request.param
    theme.apply_theme(qapp, "light", 100)


def make(name, parent):
    return {
        "about": lambda: AboutDialog("1.2.3", parent),
        "settings": lambda: SettingsDialog("light", 100, "/home/a user/.config/opsin", parent),
        "resolution": lambda: ResolutionDialog("a slide", 0.25, "file (Aperio MPP)", parent),
        "list": lambda: ListDialog("Slides", "2 could not be read:", ["one", "two"], parent),
        "jobs": lambda: ask_about_jobs(parent, 1, lambda _: None),
        "question": lambda: _question(parent),
    }[name]()


def _question(parent):
    box = Question("Remove", "Remove 'alpha' from the workspace?", "Slide files stay where they are.", parent)
    box.add("Remove", Question.ButtonRole.DestructiveRole, "danger")
    box.add_stay()
    return box


@pytest.mark.parametrize("name", ["about", "settings", "resolution", "list", "jobs", "question"])
def test_no_text_of_a_dialog_is_cut_off(window, size, name, qtbot):
    dialog = make(name, window)
    dialog.show()
    qtbot.wait(0)
    for label in dialog.findChildren(QLabel):
        if label.isVisible() and label.text():
            needed = label.heightForWidth(label.width()) if label.wordWrap() else label.sizeHint().height()
            assert label.height() >= needed, label.text()
            assert label.wordWrap() or label.width() >= label.sizeHint().width(), label.text()
    for button in dialog.findChildren(QPushButton):
        assert button.width() >= button.sizeHint().width(), button.text()
    dialog.close()


def test_enter_and_escape_answer_a_question_with_no(window, qtbot):
    for key in (Qt.Key.Key_Return, Qt.Key.Key_Escape):
        answers = []
        box = ask_about_jobs(window, 2, answers.append)
        qtbot.waitUntil(box.isVisible)
        qtbot.keyClick(box, key)
        qtbot.waitUntil(lambda answers=answers: answers == [""])


def test_what_throws_away_looks_dangerous(window):
    box = _question(window)
    remove = next(button for button in box.buttons() if button.text() == "Remove")
    assert remove.property("kind") == "danger"
    assert box.defaultButton() is not remove
    box.close()


def test_every_page_of_the_guide_has_a_title_larger_than_its_text(window, size, qtbot):
    guide = GuideDialog(window)
    guide.show()
    for row in range(guide.list.count()):
        guide.list.setCurrentRow(row)
        document = guide.text.document()
        first, second = document.begin(), document.begin().next()
        assert first.text() == guide.list.item(row).text()
        assert first.begin().fragment().charFormat().font().pixelSize() == theme.px(20)
        assert second.blockFormat().lineHeight() == 135
        assert guide.list.visualItemRect(guide.list.item(row)).height() >= theme.px(28)
    guide.close()


def test_dialogs_close_with_escape(window, qtbot):
    window.commands.show_settings()
    dialog = window.findChild(QDialog)
    qtbot.waitUntil(dialog.isVisible)
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: window._dialogs == [])
