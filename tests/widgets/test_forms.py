"""The form made from a settings model: every control reaches the value, and so the run."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import model_validator
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from opsin.engine.errors import RecipeError
from opsin.engine.method import Settings, get_method, method_names, setting
from opsin.widgets.editors import (
    ChoiceEditor,
    FloatEditor,
    IntEditor,
    OptionalEditor,
    SwitchEditor,
    TextEditor,
)
from opsin.widgets.forms import SettingsForm, grouped

MODELS = [
    pytest.param(model, id=f"{name}-{model.__name__}")
    for name in method_names()
    for model in (get_method(name).Recipe, get_method(name).Options)
]


class Sample(Settings):
    steps: int = setting(10, "Steps", "How many.", unit="steps", group="Training", ge=1, le=100)
    rate: float = setting(1e-3, "Rate", "How fast.", group="Training", gt=0, le=1)
    third: float = setting(1 / 3, "Third", "A share.", group="Training")
    kind: Literal["a", "b"] = setting("a", "Kind", "Which.", group="Network")
    weights: str | None = setting(None, "Weights", "A file.", group="Network")
    base: int | None = setting(None, "Base", "A power.", group="Network", ge=1, le=64, advanced=True)
    scales: list[int] = setting([1, 2], "Scales", "Which scales.", group="Network")
    switch: bool = setting(True, "Switch", "On or off.", group="Network")

    @model_validator(mode="after")
    def _consistent(self):
        if self.steps == 13:
            raise ValueError("13 steps are too many for the superstitious")
        return self


def operate(editor, qtbot):
    """Change an editor as a user would: with mouse and keys."""
    if isinstance(editor, OptionalEditor):
        if editor.box.isChecked():
            editor.box.click()
        else:
            operate(editor.inner, qtbot)
    elif isinstance(editor, SwitchEditor):
        editor.box.click()
    elif isinstance(editor, ChoiceEditor):
        editor.box.setCurrentIndex((editor.box.currentIndex() + 1) % editor.box.count())
    elif isinstance(editor, IntEditor):
        at_top = editor.box.value() + editor.box.singleStep() > editor.box.maximum()
        qtbot.keyClick(editor.box, Qt.Key.Key_Down if at_top else Qt.Key.Key_Up)
    elif isinstance(editor, FloatEditor):
        value = editor.get()
        editor.line.selectAll()
        qtbot.keyClicks(editor.line, f"{value * 0.9:g}" if value else "0.5")
    elif isinstance(editor, TextEditor):
        editor.line.selectAll()
        qtbot.keyClicks(editor.line, "other")
    else:
        raise AssertionError(f"no rule to operate {type(editor).__name__}")


@pytest.mark.parametrize("model", MODELS)
def test_every_control_of_every_method_reaches_the_value(model, qtbot):
    form = SettingsForm(model)
    qtbot.addWidget(form)
    form.show_all.setChecked(True)
    form.show()
    defaults = model()
    left_out = {n for n, info in model.model_fields.items() if info.json_schema_extra["group"] == ""}
    assert set(form.rows) == set(model.model_fields) - left_out
    for name in form.rows:
        form.set_value(defaults)
        row = form.rows[name]
        assert row.editor.isVisible(), f"{name} cannot be reached with all settings shown"
        with qtbot.waitSignal(form.changed):
            operate(row.editor, qtbot)
        shown = {other: r.editor.get() for other, r in form.rows.items()}
        assert shown[name] != getattr(defaults, name), f"{name} did not change"
        others = {other for other in shown if other != name and shown[other] != getattr(defaults, other)}
        assert not others, f"{name} also changed {others}"
        if form.valid:
            assert getattr(form.value(), name) == shown[name]
        assert form.differences() == [name]


@pytest.mark.parametrize("model", MODELS)
def test_defaults_come_back_exactly(model, qtbot):
    form = SettingsForm(model)
    qtbot.addWidget(form)
    assert form.value() == model()
    assert form.differences() == []


def test_an_unchanged_number_keeps_all_its_digits(qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    assert form.rows["third"].editor.line.text() == "0.333333"
    assert form.value().third == 1 / 3


@pytest.mark.parametrize(("text", "number"), [("1e-4", 1e-4), ("0,25", 0.25), (" 0.5 ", 0.5), ("2E-2", 0.02)])
def test_numbers_are_read_as_people_write_them(text, number, qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    line = form.rows["rate"].editor.line
    line.selectAll()
    qtbot.keyClicks(line, text)
    assert form.value().rate == number


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fast", "'fast' is not a number."),
        ("", "Enter a number."),
        ("0", "Must be more than 0."),
        ("3", "Must be at most 1."),
    ],
)
def test_what_is_wrong_stands_under_the_field_in_one_sentence(text, sentence, qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    form.show()
    row = form.rows["rate"]
    row.editor.line.clear()
    qtbot.keyClicks(row.editor.line, text)
    if not text:
        row.editor.line.textEdited.emit("")
    assert row.error.isVisible()
    assert row.error.text() == sentence
    assert not form.valid
    with pytest.raises(RecipeError, match="Rate: "):
        form.value()
    form.reset("rate")
    assert not row.error.isVisible()
    assert form.valid


def test_a_conflict_between_settings_is_said_below_the_form(qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    form.show()
    form.change(steps=13)
    assert form.problem.text() == "13 steps are too many for the superstitious."
    assert form.problem.isVisible()


def test_up_and_down_change_the_last_digit(qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    line = form.rows["rate"].editor.line
    line.setText("0.25")
    qtbot.keyClick(line, Qt.Key.Key_Up)
    assert form.value().rate == 0.26
    line.setText("1e-3")
    qtbot.keyClick(line, Qt.Key.Key_Up)
    assert form.value().rate == 0.002


def test_changes_are_marked_and_taken_back(qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    form.show()
    form.set_value(Sample(steps=20))
    row = form.rows["steps"]
    assert not row.reset.isVisible()
    qtbot.keyClick(row.editor.box, Qt.Key.Key_Up)
    assert row.reset.isVisible()
    assert "20" in row.reset.toolTip()
    row.reset.click()
    assert form.value().steps == 20
    assert not row.reset.isVisible()


def test_advanced_settings_are_hidden_until_asked_for_or_changed(qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    form.show()
    assert not form.rows["base"].editor.isVisible()
    form.set_value(Sample())
    form.change(base=8)
    assert form.rows["base"].editor.isVisible(), "a changed setting is never hidden"
    form.reset("base")
    assert not form.rows["base"].editor.isVisible()
    form.show_all.click()
    assert form.rows["base"].editor.isVisible()


def test_a_value_that_may_be_automatic(qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    editor = form.rows["base"].editor
    assert form.value().base is None
    assert not editor.inner.isEnabled()
    editor.box.click()
    assert form.value().base == 1
    editor.box.click()
    assert form.value().base is None


def test_lists_are_written_as_yaml(qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    line = form.rows["scales"].editor.line
    assert line.text() == "[1, 2]"
    line.clear()
    qtbot.keyClicks(line, "[4, 8]")
    assert form.value().scales == [4, 8]


def test_the_wheel_scrolls_the_page_and_not_the_number(qtbot):
    form = SettingsForm(Sample)
    qtbot.addWidget(form)
    form.show()
    box = form.rows["steps"].editor.box
    box.clearFocus()
    wheel = QWheelEvent(
        QPointF(5, 5),
        QPointF(box.mapToGlobal(QPoint(5, 5))),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(box, wheel)
    assert form.value().steps == 10


def test_groups_keep_the_order_of_the_model_with_general_last():
    groups = grouped(get_method("hybrid_wsi").Recipe)
    assert list(groups)[-1] == "General"
    assert list(grouped(Sample)) == ["Training", "Network"]


def test_every_control_says_what_it_is_for(qtbot):
    for name in method_names():
        form = SettingsForm(get_method(name).Recipe)
        qtbot.addWidget(form)
        for row in form.rows.values():
            assert row.editor.field.toolTip()
            assert row.editor.field.whatsThis()
            assert row.editor.field.accessibleName()


def test_steps_take_the_place_of_epochs(qtbot):
    """Of two settings for one thing the one in force is shown; both when all settings are."""
    method = get_method("hybrid_wsi")
    form = SettingsForm(method.Recipe)
    qtbot.addWidget(form)
    epochs, steps = form.rows["initial_epochs"], form.rows["steps_initial"]
    assert epochs.shown and not steps.shown
    form.set_value(method.Recipe(steps_initial=80))
    assert steps.shown and not epochs.shown
    form.show_all.click()
    assert steps.shown and epochs.shown
    form.show_all.click()
    form.change(initial_epochs=5.0)
    assert steps.shown and epochs.shown, "what the user changed stays in sight"


def test_settings_without_effect_are_hidden(qtbot):
    """What another choice makes idle is out of sight, unless it was changed or all settings are shown."""
    recipe = get_method("hybrid_wsi").Recipe
    form = SettingsForm(recipe)
    qtbot.addWidget(form)
    form.show()
    box = form.rows["supervision"].editor.field
    assert [box.itemText(i) for i in range(box.count())] == [
        "hybrid supervision", "pixel labels only", "self-training", "max-pool MIL", "gated-attention MIL",
    ]  # fmt: skip
    rows = form.rows

    def seen(*names):
        return [rows[name].editor.isVisible() for name in names]

    assert seen("reweighting", "threshold", "stage2", "bag_tiles") == [True, True, True, False]
    box.setFocus()
    qtbot.keyClicks(box, "s")  # self-training
    assert form.value().supervision == "self_training"
    assert seen("reweighting", "threshold", "stage2", "bag_tiles") == [False, True, True, False]
    form.change(supervision="attention_mil", threshold=0.3)
    assert seen("reweighting", "threshold", "stage2", "bag_tiles") == [False, True, False, True], "a changed one stays"
    assert "hybrid supervision" in rows["supervision"].reset.toolTip()
    form.show_all.setChecked(True)
    assert all(seen("reweighting", "threshold", "stage2", "bag_tiles"))
