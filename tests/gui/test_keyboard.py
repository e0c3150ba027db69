"""By keyboard alone: everything that takes the focus has a name, Tab reaches all of it and comes round, the focus is seen."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMenuBar,
    QPlainTextEdit,
    QPushButton,
    QTabBar,
    QTextEdit,
    QToolButton,
    QWidget,
)

from opsin.engine.recent import remember
from opsin.gui.room import TABS
from opsin.widgets.slide.view import SlideView

CONTROLS = (
    QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QPlainTextEdit, QTabBar,
    QTextEdit, SlideView,
)  # fmt: skip


def name_of(widget):
    """What a screen reader says: own name, text, or that of the label before it."""
    text = getattr(widget, "text", None)
    own = widget.accessibleName() or (text() if callable(text) and isinstance(widget, QAbstractButton) else "")
    buddies = [label for label in widget.window().findChildren(QLabel) if label.buddy() is widget]
    return own or next((label.text() for label in buddies), "")


def controls(root):
    """What takes the focus by Tab, parts of compound controls left out."""
    found = []
    for widget in root.findChildren(QWidget):
        inside = isinstance(widget.parent(), QAbstractSpinBox | QComboBox | QAbstractScrollArea)
        if (
            isinstance(widget, CONTROLS)
            and not inside
            and widget.isVisibleTo(root)
            and widget.isEnabledTo(root)
            and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        ):
            found.append(widget)
    return found


def describe(widget):
    path = [type(widget).__name__]
    while (widget := widget.parentWidget()) is not None:
        path.append(widget.objectName() or type(widget).__name__)
    return " in ".join(path[:5])


@pytest.fixture
def pages(opened, qtbot):
    """Bring each page of the window to the front in turn."""

    def each():
        for name in TABS:
            opened.room.show_tab(name)
            if name == "train":
                opened.room.panel("train").form.show_all.setChecked(True)
            if name == "results":
                opened.room.panel("results").predictor.settings_toggle.setChecked(True)
            qtbot.wait(0)
            yield name

    return each


def test_everything_that_takes_the_focus_has_a_name(opened, pages):
    nameless = [f"{page}: {describe(w)}" for page in pages() for w in controls(opened) if not name_of(w).strip()]
    assert nameless == []


def test_the_start_page_has_names_too(window, tmp_path, qtbot):
    remember(tmp_path / "gone")
    window.show_start()
    qtbot.waitUntil(lambda: window.start.cards[0].forget.isVisible())
    found = controls(window)
    assert {"Open workspace…", "Open slides…", "Try a sample", "Guide"} <= {name_of(w) for w in found}
    assert any("Remove gone" in name_of(w) for w in found)
    assert all(name_of(w).strip() for w in found)


def test_buttons_with_only_an_icon_say_what_they_do(opened, pages):
    silent = []
    for page in pages():
        for button in opened.findChildren(QAbstractButton):
            icon_only = (
                isinstance(button, QToolButton | QPushButton) and not button.text() and not button.icon().isNull()
            )
            inside = isinstance(button.parent(), QLineEdit | QTabBar | QMenuBar)  # Qt's own, not in the Tab order
            if icon_only and not inside and not (button.toolTip() and button.accessibleName()):
                silent.append(f"{page}: {describe(button)}")
    assert silent == []


def test_shortcuts_of_buttons_stand_in_their_tooltips(opened):
    room = opened.room
    for button, keys in (
        (room.slides.add_button, "Ctrl+Shift+O"),
        (room.bar.fit, "F"),
        (room.bar.adjust, "Shift+C"),
        (room.bar.outlined, "Shift+O"),
        (room.annotations.toolbox.tools["brush"], "B"),
        (room.annotations.toolbox.brush, "["),
    ):
        assert f"({keys}" in button.toolTip(), button.toolTip()


def walk(window, qtbot, most=400):
    """Press Tab until the focus comes round; return what had it, in order."""
    seen = []
    current = QApplication.focusWidget()
    for _ in range(most):
        qtbot.keyClick(current or window, Qt.Key.Key_Tab)
        current = QApplication.focusWidget()
        if current in seen:
            return seen
        seen.append(current)
    raise AssertionError(f"Tab does not come round within {most} steps")


def test_tab_reaches_every_control_and_comes_round(opened, pages, qtbot):
    opened.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is opened)
    for page in pages():
        opened.room.slides.filter.setFocus()
        wanted = controls(opened)
        seen = walk(opened, qtbot)
        left_out = [
            describe(w) for w in wanted if w not in seen and w.focusProxy() is None and not _of_a_group(w, seen)
        ]
        assert left_out == [], page


def _of_a_group(widget, seen):
    """Of buttons that exclude each other Tab stops at one; the arrow keys reach the others."""
    group = widget.group() if isinstance(widget, QAbstractButton) else None
    return group is not None and group.exclusive() and any(button in seen for button in group.buttons())


def test_tab_goes_from_left_to_right(opened, qtbot):
    opened.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is opened)
    opened.room.show_tab("annotate")
    opened.room.slides.filter.setFocus()
    seen = [opened.room.slides.filter, *walk(opened, qtbot)]

    def first(part):
        return next(i for i, w in enumerate(seen) if part.isAncestorOf(w) or part is w)

    room = opened.room
    assert first(room.slides) < first(room.bar) < first(room.view) < first(room.tabs)


@pytest.mark.parametrize("theme_name", ["light", "dark"])
def test_the_focus_can_be_seen_on_every_kind_of_control(opened, theme_name, qtbot):
    opened.commands.set_theme(theme_name)
    opened.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is opened)
    room = opened.room
    room.show_tab("train")
    panel = room.panel("train")
    bar = room.bar
    kinds = [
        room.slides.filter, room.slides.list, room.slides.add_button, bar.label, bar.outlined, panel.train,
        panel.form.rows["batch_size"].editor.box, panel.form.rows["learning_rate"].editor.line, room.tabs.tabBar(), room.view,
    ]  # fmt: skip
    unseen = []
    for widget in kinds:
        room.slides.menu_button.setFocus()
        qtbot.wait(0)
        before = widget.grab().toImage()
        widget.setFocus(Qt.FocusReason.TabFocusReason)
        qtbot.wait(0)
        if isinstance(widget, QLineEdit | QAbstractSpinBox):
            pixel = widget.rect().topLeft()  # the frame, not the blinking cursor
            after = widget.grab().toImage()
            middle = widget.width() // 2
            same = after.pixel(middle, pixel.y() + 1) == before.pixel(middle, pixel.y() + 1)
        else:
            same = widget.grab().toImage() == before
        if same:
            unseen.append(describe(widget))
    opened.commands.set_theme("light")
    assert unseen == []


def test_check_boxes_and_combos_take_their_keys(opened, qtbot):
    bar = opened.room.bar
    bar.outlined.setFocus()
    qtbot.keyClick(bar.outlined, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: opened.workspace.item(opened.item.id).outlined)
    assert isinstance(bar.outlined, QCheckBox)
    bar.label.setFocus()
    before = bar.label.currentIndex()
    qtbot.keyClick(bar.label, Qt.Key.Key_Down)
    assert bar.label.currentIndex() == before + 1
    qtbot.waitUntil(lambda: opened.workspace.item(opened.item.id).label == bar.label.currentData())
