"""The window: slides open, labels and settings reach the workspace, everything by keyboard, nothing blocks, clean end."""

from __future__ import annotations

import numpy as np
import pytest
from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QComboBox, QMessageBox

from opsin.engine.errors import SlideError
from opsin.engine.jobs import Job, JobSpec
from opsin.engine.workspace import Workspace
from opsin.gui.dialogs import GuideDialog, ListDialog, ResolutionDialog, SettingsDialog
from opsin.gui.settings import AppSettings
from opsin.gui.window import MainWindow
from opsin.widgets import theme
from opsin.widgets.background import finish_background
from opsin.widgets.confirm import Question
from opsin.widgets.slidebar import AdjustPopup


def items(window):
    return window.workspace.items()


def dialog(window, kind):
    """The dialog of that kind that is open now."""
    return next(d for d in window._dialogs if isinstance(d, kind))


# ---- slides ------------------------------------------------------------------------------------------------------


def test_opening_shows_slide_name_and_read_outs(opened):
    assert opened.model.slide.width == 640
    assert opened.room.bar.name.full_text() == "alpha"
    assert opened.windowTitle() == "alpha – workspace – Opsin"
    assert opened.status.magnification.text()
    assert opened.status.mpp.text() == "Resolution unknown: set it"
    assert opened.room.slides.rows.entries[0].opened


def test_next_and_previous_slide_and_the_last_one_is_remembered(opened, folder, qtbot):
    opened.book["view.next"].trigger()
    qtbot.waitUntil(lambda: opened.item is not None and opened.item.name == "beta")
    opened.book["view.next"].trigger()
    qtbot.waitUntil(lambda: opened.item.name == "gamma")
    opened.book["view.next"].trigger()
    assert opened.item.name == "gamma", "there is none after the last"
    opened.book["view.previous"].trigger()
    qtbot.waitUntil(lambda: opened.item.name == "beta")
    opened.close_workspace()
    assert opened.item is None and opened.stack.currentWidget() is opened.start
    opened.open_workspace(folder)
    qtbot.waitUntil(lambda: opened.item is not None)
    assert opened.item.name == "beta"


def test_the_newest_wish_wins(opened, qtbot):
    ids = [item.id for item in items(opened)]
    for id in (ids[1], ids[2], ids[1], ids[2]):
        opened.open_item(id)
    qtbot.waitUntil(lambda: opened.item is not None and opened.item.id == ids[2])
    finish_background()
    QApplication.processEvents()
    assert opened.item.id == ids[2]


def test_an_unreadable_slide_is_one_sentence_and_the_window_lives(opened, qtbot):
    opened.workspace.slide_path(items(opened)[1]).write_bytes(b"broken")
    opened.open_item(items(opened)[1].id)
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert "beta.png" in opened.banners.texts()[0]
    assert opened.item.name == "alpha", "the open slide stays"


def test_slides_that_cannot_be_read_come_in_one_list(opened, tmp_path, qtbot):
    for name in ("one.svs", "two.svs"):
        (tmp_path / name).write_bytes(b"nothing")
    opened.open_paths([tmp_path / "one.svs", tmp_path / "two.svs"])
    qtbot.waitUntil(lambda: any(isinstance(d, ListDialog) for d in opened._dialogs))
    text = dialog(opened, ListDialog).text.toPlainText()
    assert "one.svs" in text and "two.svs" in text
    assert not dialog(opened, ListDialog).isModal() or opened.isEnabled()
    assert len(items(opened)) == 3


def test_removing_a_slide_shows_its_neighbour(opened, qtbot):
    first = opened.item.id
    opened.remove_items([first])
    qtbot.waitUntil(lambda: opened.item is not None and opened.item.name == "beta" and len(items(opened)) == 2)


def test_removal_is_asked_for(opened, qtbot):
    opened.commands.remove_slides([opened.item.id])
    box = dialog(opened, QMessageBox)
    assert "alpha" in box.text()
    next(b for b in box.buttons() if b.text() == "Remove").click()
    qtbot.waitUntil(lambda: len(items(opened)) == 2)


# ---- what the user says of a slide ----------------------------------------------------------------------------------


def choose(box: QComboBox, value) -> None:
    box.setCurrentIndex(box.findData(value))
    box.activated.emit(box.currentIndex())


def test_label_split_and_outlined_reach_the_workspace(opened, qtbot):
    bar = opened.room.bar
    choose(bar.label, "positive")
    choose(bar.split, "val")
    qtbot.mouseClick(bar.outlined, Qt.MouseButton.LeftButton, pos=bar.outlined.rect().center())
    item = opened.workspace.item(opened.item.id)
    assert (item.label, item.split, item.outlined) == ("positive", "val", True)
    choose(bar.label, None)
    assert opened.workspace.item(opened.item.id).label is None
    assert opened.book["label.outlined"].isChecked()


def test_slide_label_by_keyboard(opened, qtbot):
    opened.activateWindow()
    qtbot.waitUntil(opened.isActiveWindow)
    opened.commands.focus_view()
    for key, label in ((Qt.Key.Key_P, "positive"), (Qt.Key.Key_N, "negative"), (Qt.Key.Key_U, None)):
        qtbot.keyClick(opened.room.view, key, Qt.KeyboardModifier.ShiftModifier)
        assert items(opened)[0].label == label
    assert opened.room.bar.label.currentData() is None


def test_mpp_dialog_shows_the_source_and_sets_it(opened, qtbot):
    qtbot.mouseClick(opened.status.mpp, Qt.MouseButton.LeftButton)
    asked = dialog(opened, ResolutionDialog)
    asked.value.setValue(0.5)
    assert "20x" in asked.magnification.text()
    asked.accept()
    assert opened.model.mpp == 0.5
    assert opened.workspace.item(opened.item.id).mpp == 0.5
    assert opened.status.mpp.text() == "0.5 µm/px, set by you"
    opened.commands.ask_mpp()
    dialog(opened, ResolutionDialog).reset.click()
    qtbot.waitUntil(lambda: opened.model.mpp is None)
    assert opened.workspace.item(opened.item.id).mpp is None


def test_brush_size_is_in_pixels_where_the_resolution_is_unknown(opened):
    assert opened.model.mpp is None and opened.model.brush_radius == 50
    assert opened.room.annotations.toolbox.brush_box.text() == "100.0 px"
    opened.set_mpp(0.5)
    assert opened.room.annotations.toolbox.brush_box.text() == "100.0 µm" and opened.model.brush_radius == 100


def test_labels_from_a_table(opened, tmp_path, qtbot):
    table = tmp_path / "labels.csv"
    table.write_text("slide,label,split\nalpha.png,positive,train\nbeta,negative,val\nomega,positive,train\n")
    opened.commands.import_label_table(table)
    qtbot.waitUntil(lambda: any(isinstance(d, ListDialog) for d in opened._dialogs))
    assert "omega" in dialog(opened, ListDialog).text.toPlainText()
    assert [(i.label, i.split) for i in items(opened)] == [("positive", "train"), ("negative", "val"), (None, None)]
    assert "2 slides" in opened.banners.texts()[0]


def test_a_table_that_fits_nothing_is_no_success(opened, tmp_path, qtbot):
    table = tmp_path / "labels.csv"
    table.write_text("slide,label\nomega,positive\n")
    opened.commands.import_label_table(table)
    qtbot.waitUntil(lambda: bool(opened.banners.banners))
    assert opened.banners.banners[0].kind == "warning" and "none of its rows" in opened.banners.texts()[0]


def press(box: Question, text: str) -> None:
    next(button for button in box.buttons() if button.text() == text).click()


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ("Overwrite", ["positive", "negative", None]),
        ("Fill gaps only", ["negative", "negative", None]),
        ("Cancel", ["negative", None, None]),
    ],
)
def test_a_table_asks_before_it_overwrites(opened, tmp_path, qtbot, answer, labels):
    opened.workspace.update(items(opened)[0].id, label="negative")
    table = tmp_path / "labels.csv"
    table.write_text("slide,label\nalpha,positive\nbeta,negative\n")
    opened.commands.import_label_table(table)
    qtbot.waitUntil(lambda: any(isinstance(d, Question) for d in opened._dialogs))
    box = dialog(opened, Question)
    assert "alpha: label negative becomes positive" in box.informativeText()
    press(box, answer)
    finish_background()
    assert [item.label for item in items(opened)] == labels


@pytest.mark.parametrize(
    ("answer", "kept"), [("Draw anew for all", False), ("Only those without", True), ("Cancel", True)]
)
def test_splits_by_chance_ask_before_they_overwrite(opened, qtbot, answer, kept):
    opened.workspace.update(items(opened)[0].id, split="test")
    opened.commands.assign_splits()
    assert items(opened)[1].split is None, "nothing happens before the answer"
    press(dialog(opened, Question), answer)
    splits = [item.split for item in items(opened)]
    assert (splits[0] == "test") == kept and (splits[1] is None) == (answer == "Cancel")


def test_splits_by_chance_without_any_ask_nothing(opened):
    opened.commands.assign_splits()
    assert all(item.split for item in items(opened)) and not opened._dialogs
    assert "for training" in opened.banners.texts()[0]


# ---- annotate -------------------------------------------------------------------------------------------------------


def test_painting_is_saved_undone_and_counted(opened, qtbot):
    opened.model.labels.stroke(np.array([[100.0, 100.0], [300.0, 200.0]]), 20, 1)
    qtbot.waitUntil(lambda: opened.status.saved.text().startswith("Saved "))
    qtbot.waitUntil(lambda: items(opened)[0].marked > 0)
    qtbot.waitUntil(lambda: opened.book["edit.undo"].isEnabled())
    opened.book["edit.undo"].trigger()
    opened.model.labels.flush()
    assert opened.model.labels.areas() == {}
    assert opened.book["edit.redo"].isEnabled()


def test_cursor_read_out_names_position_and_class(opened):
    opened.status.show_cursor(12.7, 34.2, 2, (1, 2, 3))
    assert opened.status.position.text() == "12, 34"
    assert opened.status.class_name.text() == "Normal"
    opened.status.show_cursor(-5, 10, 0, None)
    assert opened.status.position.text() == ""


def test_keyboard_alone_chooses_tools_classes_sizes_and_panels(opened, qtbot):
    opened.activateWindow()
    qtbot.waitUntil(opened.isActiveWindow)
    view = opened.room.view
    opened.commands.focus_view()
    model = opened.model
    for key, tool in (("b", "brush"), ("e", "eraser"), ("p", "polygon"), ("l", "lasso"), ("i", "pick"), ("m", "pan")):
        qtbot.keyClick(view, key)
        assert model.tool == tool
    qtbot.keyClick(view, "2")
    assert model.label == 2
    size = model.brush_um
    qtbot.keyClick(view, "]")
    assert model.brush_um > size
    zoom = model.zoom
    qtbot.keyClick(view, "+")
    assert model.zoom > zoom
    qtbot.keyClick(view, "f")
    assert model.zoom == pytest.approx(model.fit_zoom)
    qtbot.keyClick(view, "a")
    assert model.show_labels is False
    qtbot.keyClick(view, Qt.Key.Key_1, Qt.KeyboardModifier.ControlModifier)
    assert opened.focusWidget() is opened.room.slides.list
    qtbot.keyClick(opened, Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    assert opened.room.tabs.currentIndex() == 0
    qtbot.keyClick(opened, Qt.Key.Key_F9)
    assert opened.room.left.isHidden() and opened.room.right.isHidden()
    qtbot.keyClick(opened, Qt.Key.Key_F9)
    assert opened.room.left.isVisible()


def test_every_control_is_reached_with_tab(opened):
    """Walk the focus chain once round: each button, field and list of the window must be on it."""
    reached = set()
    widget = opened.nextInFocusChain()
    for _ in range(2000):
        reached.add(widget)
        widget = widget.nextInFocusChain()
    room = opened.room
    wanted = [
        room.slides.filter, room.slides.list, room.slides.add_button, room.slides.menu_button, room.bar.label, room.bar.split,
        room.bar.outlined, room.bar.adjust, room.bar.fit, room.view, *room.annotations.toolbox.tools.values(),
        room.annotations.toolbox.brush, room.annotations.toolbox.brush_box, room.annotations.table,
        room.annotations.role, room.annotations.opacity, room.annotations.undo_button, opened.status.mpp,
    ]  # fmt: skip
    for widget in wanted:
        assert widget in reached
        assert widget.focusPolicy() & Qt.FocusPolicy.TabFocus, widget
        assert widget.accessibleName() or getattr(widget, "text", lambda: "")(), widget


def test_brightness_and_contrast_reach_the_view(opened):
    opened.commands.show_adjust()
    popup = opened.room.bar.findChild(AdjustPopup)
    popup.brightness.setValue(30)
    popup.contrast.setValue(-20)
    assert (opened.model.brightness, opened.model.contrast) == (0.3, -0.2)
    button = opened.room.bar.adjust
    assert button.isChecked() and "All slides are shown with brightness +30, contrast -20" in button.toolTip()
    popup.reset.click()
    assert (opened.model.brightness, opened.model.contrast) == (0.0, 0.0)
    assert popup.brightness.value() == 0
    assert not button.isChecked() and "All slides" not in button.toolTip()
    popup.close()
    button.click()
    assert not button.isChecked(), "opening the sliders is no change of the picture"
    opened.room.bar.findChild(AdjustPopup).close()


def test_a_changed_look_of_the_slide_before_stays_told(opened, qtbot):
    opened.model.brightness = 0.2
    opened.commands.step_slide(1)
    qtbot.waitUntil(lambda: opened.item is not None and opened.item.name == "beta")
    assert opened.model.brightness == 0.2 and opened.room.bar.adjust.isChecked()


def test_when_labels_were_saved_stands_there_from_the_start(opened, folder, qtbot):
    assert opened.status.saved.text() == "", "nothing has ever been painted here"
    opened.model.labels.polygon([np.array([[0.0, 0], [50, 0], [50, 50]])], 1)
    opened.commands.close_workspace()
    opened.open_workspace(folder)
    qtbot.waitUntil(lambda: opened.item is not None)
    assert opened.status.saved.text().startswith("Saved ")
    opened.status.show_saved(86400.0 * 365)
    assert opened.status.saved.text().startswith("Saved 197"), "of another day the date stands there too"


# ---- panels and look ------------------------------------------------------------------------------------------------


def test_all_tabs_open(opened, qtbot):
    for name in ("train", "runs", "results", "annotate"):
        opened.room.show_tab(name)
        qtbot.waitUntil(lambda name=name: opened.room.panel(name).isVisible())
    assert opened.banners.texts() == []


def test_every_tab_has_a_key_and_a_place_in_the_menu(opened):
    for place, name in enumerate(("annotate", "train", "runs", "results")):
        action = opened.book[f"window.{name}"]
        assert action.shortcut().toString() == f"Ctrl+{place + 2}"
        action.trigger()
        assert opened.room.tabs.currentIndex() == place


def test_a_panel_that_fails_leaves_a_message(opened, monkeypatch):
    def fail(name):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(opened.room, "_make_panel", fail)
    opened.room.show_tab("results")
    assert "no such luck" in opened.banners.texts()[0]
    assert "RuntimeError" in opened.banners.banners[0].details
    opened.room.show_tab("annotate")
    assert opened.room.annotations.isVisible()


def test_theme_and_text_size_are_kept(opened, qapp):
    opened.commands.show_settings()
    settings = dialog(opened, SettingsDialog)
    choose(settings.theme, "dark")
    choose(settings.size_box, 130)
    assert theme.colors() is theme.DARK
    assert qapp.font().pixelSize() == round(13 * 1.3)
    assert opened.book["view.theme.dark"].isChecked() and opened.book["view.text130"].isChecked()
    assert (AppSettings.load().theme, AppSettings.load().text_size) == ("dark", 130)
    opened.commands.set_text_size(100)
    opened.commands.set_theme("light")


def test_damaged_settings_give_the_defaults(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("OPSIN_CONFIG", str(tmp_path))
    (tmp_path / "settings.json").write_text('{"theme": "purple"')
    assert AppSettings.load() == AppSettings()


def test_guide_has_a_page_for_the_main_job(opened):
    opened.commands.show_guide()
    guide = dialog(opened, GuideDialog)
    assert guide.list.count() == len(guide.pages) >= 3
    assert "Train" in guide.text.toPlainText()
    titles = [guide.list.item(row).text() for row in range(guide.list.count())]
    guide.list.setCurrentRow(titles.index("Annotations in and out"))
    assert "CAMELYON" in guide.text.toPlainText()


@pytest.mark.parametrize("size", [(1280, 720), (900, 560)])
@pytest.mark.parametrize("percent", [100, 150])
def test_nothing_is_cut_off_or_overlaps(opened, size, percent):
    """Widgets of the bar and the panels keep at least the room that their texts need."""
    opened.commands.set_text_size(percent)
    opened.resize(*size)
    QApplication.processEvents()
    bar = opened.room.bar
    row = [w for w in (bar.label, bar.split, bar.outlined, bar.adjust, bar.fit) if w.isVisible()]
    assert row[0] is bar.label and row[-1] is bar.fit
    for left, right in zip(row, row[1:]):
        assert left.geometry().right() < right.geometry().left()
    assert bar.outlined.isHidden() or bar.outlined.width() >= bar.outlined.minimumSizeHint().width()
    assert row[-1].geometry().right() <= bar.width()
    panel = opened.room.annotations
    assert panel.width() <= opened.room.tabs.width()
    for tab in range(opened.room.tabs.count()):
        assert opened.room.tabs.tabBar().tabRect(tab).right() <= opened.room.tabs.width()
    opened.commands.set_text_size(100)


# ---- end ------------------------------------------------------------------------------------------------------------


class BusyJobs:
    """A queue in which something runs."""

    added = Signal(object)

    def __init__(self) -> None:
        self.jobs = [Job(JobSpec("train", "hybrid_wsi", {}))]
        self.jobs[0].state = "running"
        self.busy = True
        self.closed: list[str] = []

    @property
    def unfinished(self) -> list[Job]:
        return self.jobs if self.busy else []

    def attach_running(self, workspace) -> list[Job]:
        return []

    def close(self, mode: str) -> None:
        self.closed.append(mode)
        self.busy = False


@pytest.fixture
def busy(qapp, qtbot, folder):
    jobs = BusyJobs()
    window = MainWindow(settings=AppSettings(theme="light"), jobs=lambda: jobs)
    qtbot.addWidget(window)
    window.show()
    window.open_workspace(folder)
    qtbot.waitUntil(lambda: window.item is not None)
    yield window
    jobs.busy = False
    window.finish("stop")
    finish_background()


@pytest.mark.parametrize(
    ("button", "mode"),
    [("Stop at a checkpoint", "stop"), ("Leave running", "detach"), ("Cancel and discard", "cancel")],
)
def test_closing_with_a_job_running_asks(busy, button, mode):
    busy.close()
    assert busy.isVisible()
    box = dialog(busy, QMessageBox)
    next(b for b in box.buttons() if b.text() == button).click()
    assert busy.jobs.closed[0] == mode
    assert not busy.isVisible()
    assert busy.workspace is None


def test_staying_changes_nothing(busy):
    busy.close()
    box = dialog(busy, QMessageBox)
    next(b for b in box.buttons() if b.text() == "Stay").click()
    assert busy.isVisible() and busy.jobs.closed == [] and busy.workspace is not None


def test_a_workspace_with_a_running_job_is_not_left(busy, tmp_path):
    assert not busy.open_workspace(tmp_path / "other")
    assert "job is running" in busy.banners.texts()[0]
    assert busy.item is not None


def test_jobs_are_paused_and_stopped_from_the_menu(busy):
    job = busy.jobs.jobs[0]
    busy.book.refresh()
    busy.book["train.pause"].trigger()
    assert job.state == "pausing"
    busy.book["train.pause"].trigger()
    assert job.state == "running"
    busy.book["train.stop"].trigger()
    assert job.state == "stopping"


def test_closing_writes_the_labels(opened, folder):
    opened.model.labels.stroke(np.array([[50.0, 50.0]]), 10, 1)
    id = opened.item.id
    opened.close()
    with Workspace.open(folder) as workspace:
        assert workspace.labels(workspace.item(id)).areas()[1] > 200


def test_errors_of_the_engine_are_shown_as_they_are(opened):
    opened.messages.error(SlideError("a.svs is empty: copy it again."))
    assert opened.banners.texts() == ["a.svs is empty: copy it again."]


def test_a_magnification_that_cannot_be_shown_is_said(opened, qtbot):
    """The slide is never smaller than half the view: 1x of it would be."""
    model = opened.model
    opened.book["view.zoom1"].trigger()
    text = opened.statusBar().currentMessage()
    assert text == f"1x cannot be shown: this is the smallest possible, {model.magnification_text}.", text
    opened.statusBar().clearMessage()
    opened.book["view.zoom40"].trigger()
    assert opened.statusBar().currentMessage() == "" and model.zoom == pytest.approx(1)


def test_hidden_annotations_are_said_in_the_view(opened, qtbot):
    """Beside the magnification, as long as they are hidden, not for a moment."""
    view = opened.room.view
    shown = view.grab().toImage()
    opened.book["view.labels"].trigger()
    hidden = view.grab().toImage()
    assert not opened.model.show_labels and hidden != shown
    opened.book["view.labels"].trigger()
    assert view.grab().toImage() == shown
