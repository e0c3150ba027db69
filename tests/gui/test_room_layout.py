"""The room at common sizes of window and text: everything lies inside the window, whatever is open or said."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QPoint, QSize
from qtpy.QtWidgets import QPushButton

from opsin.gui.room import TABS
from opsin.gui.shortcuts import ShortcutsDialog
from opsin.widgets import theme


@pytest.fixture
def set_size(opened, qtbot):
    """Give the window and its texts a size."""

    def change(size, percent):
        opened.commands.set_text_size(percent)
        opened.resize(*size)
        qtbot.wait(0)

    yield change
    opened.commands.set_text_size(100)


def outside(window):
    """Parts of the room that are not wholly inside the window."""
    room = window.room
    parts = {"slides": room.left, "slide": room.page, "panels": room.right, "status": window.status}
    found = []
    for name, part in parts.items():
        left, right = part.mapTo(window, QPoint(0, 0)).x(), part.mapTo(window, QPoint(part.width(), 0)).x()
        if left < 0 or right > window.width():
            found.append(f"{name}: {left} to {right} of {window.width()}")
        if part.minimumSizeHint().width() > part.width():
            found.append(f"{name} has {part.width()} of {part.minimumSizeHint().width()} px")
    return found


def settle(window, qtbot):
    """Wait until the layout has come to rest; it must do so with everything inside."""

    def check():
        assert outside(window) == []

    qtbot.waitUntil(check, timeout=5000)


@pytest.mark.parametrize(
    ("size", "percent"), [((1280, 720), 150), ((1280, 720), 100), ((900, 560), 100), ((1440, 900), 130)]
)
def test_all_parts_lie_inside_the_window(opened, set_size, size, percent, qtbot):
    set_size(size, percent)
    for tab in TABS:
        opened.room.show_tab(tab)
        settle(opened, qtbot)
    opened.messages.error(RuntimeError("AVeryLongWordThatCannotBeBrokenAnywhere in a message"))
    settle(opened, qtbot)
    assert opened.width() == size[0]


def test_the_buttons_of_a_message_go_below_it_where_there_is_little_room(opened, qtbot):
    opened.messages.failed("A sentence that is long enough to need more than one line in a narrow window, as some are.")
    banner = opened.banners.banners[0]
    copy = next(b for b in banner.findChildren(QPushButton) if b.text() == "Copy")
    for width, below in ((900, False), (300, True), (900, False)):
        banner.setParent(None)
        banner.resize(width, banner.heightForWidth(width))
        banner.show()
        qtbot.waitUntil(lambda below=below: (copy.y() >= banner.label.geometry().bottom()) == below)
        banner.resize(width, banner.heightForWidth(width))
        qtbot.waitUntil(lambda: banner.label.height() >= banner.label.heightForWidth(banner.label.width()))
    banner.close()


def test_icons_grow_with_the_text(opened, set_size):
    room = opened.room
    room.show_tab("results")
    buttons = [
        room.slides.add_button, room.slides.menu_button, room.bar.fit, room.bar.adjust, room.annotations.add_button,
        room.annotations.undo_button, room.panel("results").export,
    ]  # fmt: skip
    for percent in (100, 150):
        set_size((1280, 720), percent)
        assert {b.iconSize().width() for b in buttons} == {theme.px(theme.ICON)}


def test_a_dialog_is_never_larger_than_the_screen(opened, set_size, monkeypatch):
    set_size((1280, 720), 150)
    dialog = ShortcutsDialog(opened.book, opened)
    screen = dialog.screen().availableGeometry().size()
    assert dialog.size().boundedTo(screen - QSize(40, 80)) == dialog.size()
    dialog.take(9000, 9000)
    assert dialog.size() == screen - QSize(40, 80)
    dialog.close()


def test_a_slider_has_a_round_knob_at_every_text_size(qapp):
    for size in theme.TEXT_SIZES:
        rule = theme.style_sheet(theme.LIGHT, size).partition("QSlider::handle:horizontal {")[2].partition("}")[0]
        values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in rule.split(";"))}
        knob = int(values["width"].removesuffix("px")) + 4  # with its frame
        groove = max(1, round(4 * size / 100))
        margin = -int(values["margin"].split()[0].removesuffix("px"))
        assert int(values["border-radius"].removesuffix("px")) == knob / 2
        assert abs(groove + 2 * margin - knob) <= 1, "as high as wide"


def test_the_menu_names_only_classes_that_there_are(opened):
    names = [opened.book[f"class.{n}"].text() for n in range(1, 10) if opened.book[f"class.{n}"].isVisible()]
    assert names == [c.name for c in opened.workspace.classes]
    opened.room.annotations.add_class()
    assert opened.book["class.4"].isVisible()
    assert not opened.book["class.5"].isVisible()
    opened.commands.select_class(4)
    assert opened.model.label == opened.workspace.classes[3].value
