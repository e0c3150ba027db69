"""The annotation panel changes the view model and the workspace's classes, and shows what they are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt

from opsin.engine.class_table import Usage
from opsin.engine.labels.store import LabelStore
from opsin.engine.workspace import Workspace
from opsin.widgets.annotations import AnnotationsPanel, area_text, removal_text
from opsin.widgets.classes import EYE, KEY, LOCK, NAME
from opsin.widgets.confirm import Question
from opsin.widgets.slide.model import SlideViewModel
from opsin.widgets.toolbox import size_to_step, step_to_size


@pytest.fixture
def workspace(tmp_path):
    with Workspace.create(tmp_path / "w") as workspace:
        yield workspace


@pytest.fixture
def store(tmp_path):
    with LabelStore.create(tmp_path / "a.labels", 1000, 800) as store:
        yield store


@pytest.fixture
def panel(qtbot, workspace, store):
    model = SlideViewModel()
    model.mpp = 0.5
    model.labels = store
    panel = AnnotationsPanel(model, workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 640)
    panel.show()
    yield panel
    panel.set_workspace(None)
    model.labels = None


def test_tool_buttons_and_model_follow_each_other(panel, qtbot):
    for tool, button in panel.toolbox.tools.items():
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert panel.model.tool == tool
        assert button.toolTip() and button.accessibleName()
    panel.model.tool = "lasso"
    assert panel.toolbox.tools["lasso"].isChecked()


def test_brush_slider_and_field_reach_the_model(panel):
    panel.toolbox.brush_box.setValue(42.5)
    assert panel.model.brush_um == 42.5
    panel.toolbox.brush.setValue(size_to_step(500))
    assert panel.model.brush_um == pytest.approx(500, rel=0.02)
    panel.model.brush_um = 7.0
    assert panel.toolbox.brush_box.value() == 7.0
    assert panel.toolbox.brush_box.suffix() == " µm"


@pytest.mark.parametrize("size", [0.5, 1, 30, 250, 20000])
def test_brush_scale_goes_there_and_back(size):
    assert step_to_size(size_to_step(size)) == pytest.approx(size, rel=0.03)


def test_every_field_of_a_class_reaches_workspace_and_view(panel, workspace):
    rows = panel.table_model
    assert rows.setData(rows.index(0, NAME), "Carcinoma")
    assert rows.setData(rows.index(0, KEY), "7")
    panel.table.act(rows.index(0, EYE))
    panel.table.act(rows.index(0, LOCK))
    rows.change(0, color="#123456")
    panel.table.selectRow(0)
    panel.opacity.setValue(80)
    panel.role.setCurrentIndex(panel.role.findData("ignore"))
    panel.role.activated.emit(panel.role.currentIndex())
    for c in (workspace.classes[0], panel.model.classes[0]):
        assert (c.name, c.key, c.visible, c.locked, c.color, c.opacity, c.role) == (
            "Carcinoma", "7", False, True, "#123456", 0.8, "ignore",
        )  # fmt: skip
    assert panel.model.labels.protected == {1}


def test_a_key_belongs_to_one_class_and_letters_to_the_tools(panel, qtbot):
    rows = panel.table_model
    assert rows.setData(rows.index(0, KEY), "2")
    assert [c.key for c in panel.model.classes] == ["2", "", "3"]
    with qtbot.waitSignal(panel.failed) as said:
        assert not rows.setData(rows.index(0, KEY), "b")
    assert "digit" in said.args[0]


def test_two_classes_cannot_have_one_name(panel, qtbot):
    rows = panel.table_model
    with qtbot.waitSignal(panel.failed):
        assert not rows.setData(rows.index(0, NAME), "Normal")
    assert panel.model.classes[0].name == "Tumour"


def test_class_table_is_worked_by_keyboard(panel, qtbot):
    panel.table.setFocus()
    panel.table.setCurrentIndex(panel.table_model.index(1, EYE))
    qtbot.keyClick(panel.table, Qt.Key.Key_Space)
    assert panel.model.classes[1].visible is False
    qtbot.keyClick(panel.table, Qt.Key.Key_Right)
    qtbot.keyClick(panel.table, Qt.Key.Key_Space)
    assert panel.model.classes[1].locked is True
    qtbot.keyClick(panel.table, Qt.Key.Key_Down)
    assert panel.model.label == panel.model.classes[2].value


def test_selected_row_is_the_class_painted_with(panel):
    panel.table.selectRow(1)
    assert panel.model.label == 2
    panel.model.label = 3
    assert panel.table.currentIndex().row() == 2


def test_classes_are_added_and_removed(panel, workspace, qtbot):
    panel.add_class()
    added = workspace.classes[-1]
    assert added.value == 4 and added.key == "4" and added.color not in {c.color for c in workspace.classes[:-1]}
    assert panel.model.label == 4
    assert added.role == "ignore" and panel.role.currentData() == "ignore"  # nobody has said yet what it means
    panel.remove_class(4)
    assert [c.value for c in workspace.classes] == [1, 2, 3]
    for value in (1, 2):
        panel.remove_class(value)
    assert not panel.remove_button.isEnabled()
    with qtbot.waitSignal(panel.failed):
        panel.ask_remove_class()
    assert [c.value for c in workspace.classes] == [3]


def test_a_new_class_never_takes_over_the_pixels_of_a_removed_one(panel, workspace):
    panel.remove_class(1)
    panel.add_class()
    assert [c.value for c in workspace.classes] == [2, 3, 4]


def test_removed_classes_are_offered_again(panel, workspace, qtbot):
    panel.remove_class(1)
    panel.add_button.click()
    qtbot.waitUntil(panel.add_menu.isVisible)
    offered = {action.text(): action for action in panel.add_menu.actions()}
    assert list(offered) == ["New class", "", "Bring back 'Tumour'"]
    offered["Bring back 'Tumour'"].trigger()
    panel.add_menu.hide()
    assert workspace.classes[-1].name == "Tumour" and workspace.classes[-1].value == 1
    assert panel.model.label == 1
    panel.add_button.click()
    assert [c.value for c in workspace.classes] == [2, 3, 1, 4]  # with nothing to bring back, + adds at once


def test_removal_says_how_much_was_painted(panel, workspace, tmp_path, qtbot):
    Image.new("RGB", (600, 500), "white").save(tmp_path / "s.png")
    item = workspace.add([tmp_path / "s.png"])[0]
    workspace.update(item.id, mpp=1.0)
    workspace.labels(item).polygon([np.array([[0.0, 0], [400, 0], [400, 250], [0, 250]])], 1)
    panel.model.label = 1
    panel.ask_remove_class()
    qtbot.waitUntil(lambda: bool(panel.findChildren(Question)))
    box = panel.findChildren(Question)[0]
    assert "It covers 0.10 mm² on 1 slide." in box.informativeText() and "shown in grey" in box.informativeText()
    next(b for b in box.buttons() if b.text() == "Remove").click()
    assert [c.name for c in workspace.classes] == ["Normal", "Exclude"]


def test_removal_of_an_unused_class_says_so():
    assert removal_text(Usage(0, 0, None)).startswith("No slide carries it.")
    assert "1,234 pixels on 2 slides" in removal_text(Usage(2, 1234, None))
    assert "stays in the label files" in removal_text(None)


def test_undo_and_redo_say_what(panel, store, qtbot):
    assert not panel.undo_button.isEnabled()
    store.stroke(np.array([[50.0, 50.0]]), 10, 1, text="Brush")
    qtbot.waitUntil(panel.undo_button.isEnabled)
    assert "brush" in panel.undo_button.toolTip()
    qtbot.mouseClick(panel.undo_button, Qt.MouseButton.LeftButton)
    assert not store.can_undo
    qtbot.waitUntil(panel.redo_button.isEnabled)
    qtbot.mouseClick(panel.redo_button, Qt.MouseButton.LeftButton)
    store.flush()
    assert store.areas()[1] > 250


def test_labelled_area_appears_in_mm2(panel, store, qtbot):
    store.polygon([np.array([[0.0, 0], [400, 0], [400, 200], [0, 200]])], 2)
    qtbot.waitUntil(lambda: panel.table_model.areas.get(2) == "0.02 mm²")
    assert 1 not in panel.table_model.areas


def test_areas_in_words():
    assert area_text(0, 0.5) == ""
    assert area_text(4_000_000, 0.5) == "1.00 mm²"
    assert area_text(100, 0.5) == "25 µm²"
    assert area_text(100, None) == "100 px"


def test_without_labels_the_tools_rest(panel):
    panel.model.labels = None
    assert not panel.toolbox.isEnabled()
    assert panel.note.isVisible()
    assert not panel.undo_button.isEnabled()


def test_classes_changed_elsewhere_are_shown(panel, workspace):
    workspace.set_classes(workspace.classes[:2])
    assert [c.value for c in panel.model.classes] == [1, 2]
    assert panel.table_model.rowCount() == 2


def test_alt_and_a_click_on_the_eye_shows_a_class_alone(panel, qtbot):
    model = panel.model
    table = panel.table
    eye = table.visualRect(panel.table_model.index(1, EYE)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.AltModifier, eye)
    assert model.solo == model.classes[1].value and all(c.visible for c in model.classes)
    assert panel.table_model.data(panel.table_model.index(0, EYE), Qt.ItemDataRole.AccessibleTextRole) == "hidden"
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.AltModifier, eye)
    assert model.solo is None
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, eye)
    assert not model.classes[1].visible and model.solo is None


def test_options_belong_to_their_tools(panel, qtbot):
    model = panel.model
    options = panel.toolbox.options
    model.tool = "wand"
    assert options.wand_row.isVisibleTo(panel) and not options.region_row.isVisibleTo(panel)
    options.wand_box.setValue(33)
    assert model.wand_tolerance == 33 and options.wand.value() == 33
    model.tool = "fill"
    assert options.region_row.isVisibleTo(panel) and not options.wand_row.isVisibleTo(panel)
    options.grow_box.setValue(25)
    assert model.grow_um == 25
    asked = []
    options.region_edit.connect(asked.append)
    for button in options.region_buttons.values():
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked == ["grow", "shrink", "fill_holes"]
    options.only_unlabelled.click()
    options.pen_pressure.setChecked(False)
    panel.hatch.setChecked(True)
    assert model.only_unlabelled and not model.pen_pressure and model.hatch
    model.hatch = model.only_unlabelled = False
    assert not panel.hatch.isChecked() and not options.only_unlabelled.isChecked()
