"""Messages: one sentence in a banner, the rest in the log; uncaught exceptions of any thread end there too."""

from __future__ import annotations

import sys
import threading

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QPushButton

from opsin.engine.errors import SlideError
from opsin.gui import messages as module
from opsin.gui.messages import BannerStack, Messages, install, open_log


@pytest.fixture
def messages(qapp):
    return Messages()


@pytest.fixture
def stack(messages, qtbot):
    stack = BannerStack(messages)
    qtbot.addWidget(stack)
    return stack


@pytest.fixture
def hooks(messages, monkeypatch):
    """Hooks that are put back afterwards."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    install(messages)


def test_newest_is_on_top_and_there_are_never_more_than_three(messages, stack):
    assert stack.isHidden()
    for number in range(5):
        messages.warning(f"number {number}")
    assert stack.texts() == ["number 4", "number 3", "number 2"]
    assert stack.dismiss()
    assert stack.texts() == ["number 3", "number 2"]
    stack.dismiss()
    stack.dismiss()
    assert not stack.dismiss()
    assert stack.isHidden()


def test_the_same_message_is_counted(messages, stack):
    for _ in range(3):
        messages.failed("The disk is full.")
    assert stack.texts() == ["The disk is full."]
    assert "(3 times)" in stack.banners[0].label.text()


def test_good_news_leaves_by_itself_and_errors_stay(messages, stack, qtbot, monkeypatch):
    monkeypatch.setattr(module, "LIFETIME_MS", 30)
    messages.failed("bad")
    messages.success("good")
    qtbot.waitUntil(lambda: stack.texts() == ["bad"])


def test_details_and_copy(messages, stack):
    try:
        raise ValueError("odd number")
    except ValueError as error:
        messages.error(error)
    banner = stack.banners[0]
    assert "odd number" in banner.sentence and "Traceback" not in banner.sentence
    assert "Traceback" in banner.details
    assert banner.trace.isHidden()
    banner.more.setChecked(True)
    assert not banner.trace.isHidden()
    next(b for b in banner.findChildren(QPushButton) if b.text() == "Copy").click()
    assert "Traceback" in QApplication.clipboard().text()


def test_an_error_for_the_user_is_its_sentence(messages, stack):
    messages.error(SlideError("a.svs is empty."))
    assert stack.texts() == ["a.svs is empty."]
    assert not stack.banners[0].more.isVisibleTo(stack)


def test_uncaught_exceptions_of_the_window_and_of_threads_arrive(messages, stack, hooks, qtbot):
    sys.excepthook(RuntimeError, RuntimeError("in the window"), None)
    assert "in the window" in stack.texts()[0]

    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: "in a thread" in stack.texts()[0])


def test_the_log_has_the_trace(messages, tmp_path, hooks):
    path = open_log(tmp_path / "config")
    try:
        raise KeyError("gone")
    except KeyError as error:
        messages.error(error)
    text = path.read_text(encoding="utf-8")
    assert "Traceback" in text and "KeyError: 'gone'" in text
    for handler in list(module.log.handlers):
        if getattr(handler, "baseFilename", "") == str(path):
            module.log.removeHandler(handler)
            handler.close()


def test_messages_lie_over_the_slide_and_move_nothing(opened, qtbot):
    view, bar = opened.room.view, opened.room.bar
    before = view.geometry()
    opened.messages.failed("The disk is full. " * 12)
    opened.messages.info("A short one.")
    assert view.geometry() == before
    stack = opened.banners

    def places():
        over = stack.geometry()
        top = bar.mapTo(stack.parentWidget(), bar.rect().bottomLeft()).y()
        return over, top

    def fits() -> bool:
        over, top = places()
        return over.top() > top and all(
            b.height() >= b.label.heightForWidth(b.label.width()) and stack.rect().contains(b.geometry())
            for b in stack.banners
        )

    qtbot.waitUntil(fits)
    assert stack.parentWidget().rect().contains(stack.geometry())
    opened.resize(940, 600)
    qtbot.waitUntil(fits)
    assert stack.parentWidget().rect().contains(stack.geometry())


def test_opened_details_take_room_over_the_slide(opened, qtbot):
    opened.messages.error(ValueError("odd"))
    height = opened.banners.height()
    opened.banners.banners[0].more.setChecked(True)
    qtbot.waitUntil(lambda: opened.banners.height() > height + 50)
    opened.banners.banners[0].more.setChecked(False)
    qtbot.waitUntil(lambda: opened.banners.height() == height)


def test_only_errors_stay_when_the_workspace_is_left(opened):
    for post in (opened.messages.failed, opened.messages.warning, opened.messages.info, opened.messages.success):
        post(f"one of {post.__name__}")
    opened.messages.failed("That went wrong.")
    assert opened.close_workspace()
    assert opened.banners.texts() == ["That went wrong."]
    assert opened.banners.isVisible()


def test_a_message_is_reached_and_closed_by_keyboard(opened, qtbot):
    opened.activateWindow()
    qtbot.waitUntil(opened.isActiveWindow)
    opened.room.view.setFocus()
    qtbot.waitUntil(opened.room.view.hasFocus)
    opened.messages.warning("Mind the gap.")
    assert opened.room.view.hasFocus(), "a message never takes the focus by itself"
    qtbot.keyClick(opened.room.view, Qt.Key.Key_F6)
    banner = opened.banners.banners[0]
    assert banner.isAncestorOf(opened.focusWidget())
    assert banner.accessibleName() == "warning: Mind the gap."
    qtbot.keyClick(opened.focusWidget(), Qt.Key.Key_Space)
    assert not opened.banners.banners


def test_a_screen_reader_is_told(opened, monkeypatch):
    told = []
    monkeypatch.setattr(module.QAccessible, "updateAccessibility", lambda event: told.append(event.type()))
    opened.messages.info("Read me.")
    assert module.QAccessible.Event.Alert in told
