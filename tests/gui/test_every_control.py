"""Every control of the forms, worked with mouse and keys in the window: its value reaches the method and the run's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QCheckBox

from opsin.engine.jobs import JobSpec
from opsin.engine.runs import plain, read_record
from opsin.widgets.editors import ChoiceEditor, FloatEditor, IntEditor, OptionalEditor, SwitchEditor, TextEditor

LEFT = Qt.MouseButton.LeftButton


def open_tab(window, name):
    """Show a panel, laid out and in sight."""
    window.room.show_tab(name)
    QApplication.processEvents()
    return window.room.panel(name)


def press(button) -> None:
    """Click as the user does: only what is in sight and enabled."""
    assert button.isVisible() and button.isEnabled(), button.text()
    QTest.mouseClick(button, LEFT)


WITHOUT_CONTROL = {
    "view": "the window says what is in sight: tiles nearest to it come first",
    "item": "the window says which slide the result belongs to",
}


def operate(editor) -> None:
    """Change a setting with mouse and keys."""
    if isinstance(editor, OptionalEditor):
        if editor.box.isChecked():
            tick(editor.box)
        else:
            operate(editor.inner)
    elif isinstance(editor, SwitchEditor):
        tick(editor.box)
    elif isinstance(editor, ChoiceEditor):
        QTest.keyClick(editor.box, Qt.Key.Key_Down if editor.box.currentIndex() == 0 else Qt.Key.Key_Up)
    elif isinstance(editor, IntEditor):
        at_top = editor.box.value() + editor.box.singleStep() > editor.box.maximum()
        QTest.keyClick(editor.box, Qt.Key.Key_Down if at_top else Qt.Key.Key_Up)
    elif isinstance(editor, FloatEditor):
        value = editor.get()
        editor.line.selectAll()
        QTest.keyClicks(editor.line, f"{value * 0.9:g}" if value else "0.5")
    elif isinstance(editor, TextEditor):
        editor.line.selectAll()
        QTest.keyClicks(editor.line, "other.safetensors")
    else:
        raise AssertionError(f"no rule to operate {type(editor).__name__}")


def tick(box: QCheckBox) -> None:
    QTest.mouseClick(box, LEFT, pos=QPoint(8, box.height() // 2))


class Recorder:
    """Takes the place of the worker: carries the job out here, up to the moment at which the method is called."""

    def __init__(self, monkeypatch) -> None:
        from opsin.engine.method import get_method

        self.given: list = []
        self.method = type(get_method("hybrid_wsi"))
        monkeypatch.setattr(self.method, "train", lambda _, recipe, data, run: self._stop(recipe))
        monkeypatch.setattr(self.method, "predict", lambda _, checkpoint, path, options, run: self._stop(options))

    def _stop(self, settings):
        from opsin.engine.errors import Cancelled, OpsinError

        self.given.append(settings)
        raise OpsinError("Far enough.") from Cancelled()

    def carry_out(self, spec: JobSpec):
        """Return what the method got."""
        from opsin.engine.verbs import execute

        self.given.clear()
        execute(json.loads(json.dumps(plain(spec.plain()))))
        (settings,) = self.given
        return settings


def pressed_train(window, sent: list[JobSpec]) -> JobSpec:
    """Press Train and come back from the runs; return what was sent."""
    press(window.room.panel("train").train)
    window.room.show_tab("train")
    return sent.pop()


def test_every_control_of_the_training_form_reaches_the_run(tiny, qtbot, monkeypatch):
    """Each alone: from the widget through the job and the pipe's JSON to the method and into the run's folder."""
    recorder, sent = Recorder(monkeypatch), []
    monkeypatch.setattr(tiny.jobs, "submit", lambda spec: sent.append(spec))
    panel = open_tab(tiny, "train")
    panel.preset.setCurrentText("tiny")
    panel.form.show_all.setChecked(True)
    tiny_recipe = panel._method.recipe("tiny")
    form = panel.form
    assert set(form.rows) == set(type(tiny_recipe).model_fields), "no setting without a control"
    for name, row in form.rows.items():
        panel.scroll.ensureWidgetVisible(row.editor)
        assert row.editor.isVisible(), name
        operate(row.editor)
        assert form.differences() == [name], name
        spec = pressed_train(tiny, sent)
        value = spec.arguments["recipe"][name]
        assert value != getattr(tiny_recipe, name)
        assert {**tiny_recipe.model_dump(), name: value} == spec.arguments["recipe"]
        assert getattr(recorder.carry_out(spec), name) == value
        folder = Path(spec.arguments["run"])
        assert read_record(folder)["recipe"][name] == plain(value)
        assert yaml.safe_load((folder / "recipe.yaml").read_text()) == plain(spec.arguments["recipe"])
        assert read_record(folder)["preset"] == "tiny +1"
        QTest.mouseClick(row.reset, LEFT)
        assert not form.differences(), name


def test_preset_and_device_reach_the_run(tiny, monkeypatch):
    recorder, sent = Recorder(monkeypatch), []
    monkeypatch.setattr(tiny.jobs, "submit", lambda spec: sent.append(spec))
    panel = open_tab(tiny, "train")
    for place in range(panel.preset.count()):
        panel.preset.setCurrentIndex(place)
        name = panel.preset.currentText()
        assert recorder.carry_out(pressed_train(tiny, sent)) == panel._method.recipe(name)
    panel.device.setCurrentIndex(panel.device.findData("cpu"))
    spec = pressed_train(tiny, sent)
    recorder.carry_out(spec)
    assert spec.device == read_record(Path(spec.arguments["run"]))["device"] == "cpu"


def test_every_control_of_the_prediction_form_reaches_the_method(network, tiny, monkeypatch):
    recorder, sent = Recorder(monkeypatch), []
    monkeypatch.setattr(tiny.jobs, "submit", lambda spec: sent.append(spec))
    box = open_tab(tiny, "results").predictor
    press(box.settings_toggle)
    box.form.show_all.setChecked(True)
    fields = set(recorder.method.Options.model_fields)
    assert set(box.form.rows) == fields - set(WITHOUT_CONTROL)
    defaults = recorder.method.Options()
    for name, row in box.form.rows.items():
        operate(row.editor)
        assert box.form.differences() == [name]
        box.predict_this.click()
        given = recorder.carry_out(sent.pop())
        assert getattr(given, name) == row.editor.get() != getattr(defaults, name)
        x, y, width, height = tiny.model.visible_rect()
        assert given.item == tiny.item.id and given.view == pytest.approx((x, y, width, height), abs=1)
        QTest.mouseClick(row.reset, LEFT)
