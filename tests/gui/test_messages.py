"""Messages: one sentence in a banner, the rest in the log; uncaught exceptions of any thread end there too."""

from __future__ import annotations

import sys
import threading

import pytest
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
