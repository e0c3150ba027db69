"""A form made from a pydantic model: a row per setting, with unit, range, help and a mark on changes.

`training.py` shows a method's recipe with it, `results.py` its options. Nothing here knows a method: title,
unit, group and help come from the fields (`engine.method.setting`).
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from ..engine.errors import RecipeError
from .editors import (
    INT_MAX,
    ChoiceEditor,
    Editor,
    FloatEditor,
    IntEditor,
    OptionalEditor,
    SwitchEditor,
    TextEditor,
    YamlEditor,
    show_number,
)
from .texts import ErrorLabel, MutedLabel, heading
from .theme import px, theme_changed

LABEL_WIDTH = 132
FILE_NAMES = ("weights", "checkpoint", "file", "path")


class SettingsForm(QWidget):
    """Edit a settings model.

    Parameters
    ----------
    model_class : the pydantic model; each field becomes a row under its group's heading.

    Signals
    -------
    changed : something was edited; `value` gives the new model or raises.
    """

    changed = Signal()

    def __init__(self, model_class: type[BaseModel], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model_class = model_class
        self.rows: dict[str, SettingRow] = {}
        self._baseline: BaseModel | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self._groups: list[tuple[QWidget, list[str]]] = []
        self._grids: list[QGridLayout] = []
        for group, names in grouped(model_class).items():
            box = QWidget()
            grid = QGridLayout(box)
            grid.setContentsMargins(0, 8, 0, 4)
            grid.setHorizontalSpacing(8)
            grid.setVerticalSpacing(4)
            grid.setColumnStretch(1, 1)
            grid.addWidget(heading(group), 0, 0, 1, 3)
            self._grids.append(grid)
            for name in names:
                self.rows[name] = SettingRow(name, model_class.model_fields[name], grid)
                self.rows[name].editor.edited.connect(self._edited)
                self.rows[name].reset.clicked.connect(lambda _=False, n=name: self.reset(n))
            self._groups.append((box, names))
            layout.addWidget(box)
        self.problem = ErrorLabel()
        layout.addWidget(self.problem)
        self.show_all = QCheckBox("Show all settings")
        self.show_all.setToolTip("Also show the settings that seldom need a change")
        self.show_all.toggled.connect(lambda _: self._arrange())
        self.show_all.setVisible(any(row.advanced for row in self.rows.values()))
        layout.addWidget(self.show_all)
        self._baseline = model_class()
        self._fill(self._baseline)
        self.restyle()
        theme_changed().connect(self.restyle)

    def restyle(self) -> None:
        """Give all groups the same columns, in the text size in use: name, editor, unit."""
        units = max(
            (row.unit.fontMetrics().horizontalAdvance(row.unit.text()) for row in self.rows.values()), default=0
        )
        for row in self.rows.values():
            row.name_box.setFixedWidth(px(LABEL_WIDTH))
            row.reset.setFixedSize(px(24), px(24))
        for grid in self._grids:
            grid.setColumnMinimumWidth(2, units + 2)

    # ---- values ----------------------------------------------------------------------------------

    def value(self) -> Any:
        """Return the model with the values shown; `RecipeError` with one sentence when they do not fit."""
        model, errors = self._built()
        if model is None:
            name, sentence = next(iter(errors.items()))
            title = self.rows[name].title if name in self.rows else ""
            raise RecipeError(f"{title}: {sentence}" if title else sentence)
        return model

    def set_value(self, model: BaseModel) -> None:
        """Show `model`; it becomes what changes are counted from (the preset)."""
        self._baseline = model
        self._fill(model)
        self.changed.emit()

    def change(self, **values: Any) -> None:
        """Show other values for some settings, as if the user had entered them."""
        for name, value in values.items():
            self.rows[name].editor.set(value)
        self._edited()

    def reset(self, name: str) -> None:
        """Take back what was changed from the preset in one setting."""
        self.rows[name].editor.set(getattr(self._baseline, name))
        self._edited()

    def differences(self) -> list[str]:
        """Names of the settings that differ from the preset."""
        return [name for name, row in self.rows.items() if row.editor.get() != getattr(self._baseline, name)]

    @property
    def valid(self) -> bool:
        return self._built()[0] is not None

    # ---- inside ----------------------------------------------------------------------------------

    def _fill(self, model: BaseModel) -> None:
        for name, row in self.rows.items():
            row.editor.set(getattr(model, name))
        self._check()

    def _edited(self) -> None:
        self._check()
        self.changed.emit()

    def _built(self) -> tuple[BaseModel | None, dict[str, str]]:
        base = self._baseline
        hidden = {} if base is None else {n: getattr(base, n) for n in type(base).model_fields if n not in self.rows}
        values = {**hidden, **{name: row.editor.get() for name, row in self.rows.items()}}
        try:
            return self.model_class(**values), {}
        except ValidationError as error:
            found: dict[str, str] = {}
            for entry in error.errors():
                found.setdefault(str(entry["loc"][0]) if entry["loc"] else "", sentence(entry))
            return None, found

    def _check(self) -> None:
        _, errors = self._built()
        changed = set(self.differences())
        for name, row in self.rows.items():
            row.mark(name in changed, getattr(self._baseline, name))
            row.complain(errors.get(name, ""))
            if row.unless:
                row.replaced = self.rows[row.unless].replaces = self.rows[row.unless].editor.get() is not None
            row.idle = any(self.rows[other].editor.get() not in values for other, values in row.when.items())
        self.problem.say(" ".join(text for name, text in errors.items() if name not in self.rows))
        self._arrange()

    def _arrange(self) -> None:
        """Hide advanced settings and those that another replaces or makes idle, but never one that was changed or is wrong."""
        for box, names in self._groups:
            shown = [n for n in names if self.show_all.isChecked() or self.rows[n].important]
            for name in names:
                self.rows[name].setVisible(name in shown)
            box.setVisible(bool(shown))


class SettingRow:
    """One setting in the grid: name (with reset once it is changed), editor, unit, and below it what is wrong."""

    def __init__(self, name: str, info: FieldInfo, grid: QGridLayout) -> None:
        extra = _extra(info)
        self.name = name
        self.title = info.title or name
        self.advanced = bool(extra.get("advanced", False))
        self.unless = str(extra.get("unless", ""))
        self.when: dict[str, list[str]] = extra.get("when", {})
        self.words: dict[Any, str] = extra.get("words", {})
        self.idle = False
        self.replaced = False
        self.replaces = False
        self.changed = False
        self.wrong = False
        self.editor = make_editor(name, info)
        self.label = QLabel(self.title)
        self.label.setWordWrap(True)
        self.label.setBuddy(self.editor.field)
        self.unit = MutedLabel(str(extra.get("unit", "")))
        self.reset = QToolButton()
        self.reset.setText("↺")
        self.reset.setAutoRaise(True)
        self.reset.setAccessibleName(f"Reset {self.title}")
        self.name_box = QWidget()
        name_row = QHBoxLayout(self.name_box)
        name_row.setContentsMargins(0, 0, 0, 0)
        name_row.setSpacing(2)
        name_row.addWidget(self.label, 1)
        name_row.addWidget(self.reset)
        self.error = ErrorLabel()
        help_text = info.description or ""
        limits = describe_limits(info)
        for widget in (self.label, self.editor, self.editor.field):
            widget.setToolTip(f"<p>{help_text}</p>" + (f"<p>{limits}</p>" if limits else ""))
            widget.setWhatsThis(f"<b>{self.title}</b> ({name})<br>{help_text} {limits}")
        self.editor.field.setAccessibleName(self.title)
        self.editor.field.setAccessibleDescription(help_text)
        row = grid.rowCount()
        grid.addWidget(self.name_box, row, 0, Qt.AlignmentFlag.AlignVCenter)
        wide = isinstance(self.editor, ChoiceEditor) and not self.unit.text()  # words need the room
        grid.addWidget(self.editor, row, 1, 1, 2 if wide else 1)
        grid.addWidget(self.unit, row, 2, Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(self.error, row + 1, 1, 1, 2)
        self.shown = True

    @property
    def important(self) -> bool:
        if (self.replaced or self.idle) and not (self.changed or self.wrong):
            return False
        return not self.advanced or self.replaces or self.changed or self.wrong

    def setVisible(self, visible: bool) -> None:
        self.shown = visible
        for widget in (self.name_box, self.label, self.editor, self.unit):
            widget.setVisible(visible)
        self.reset.setVisible(visible and self.changed)
        self.error.setVisible(visible and self.wrong)

    def mark(self, changed: bool, preset: Any) -> None:
        self.changed = changed
        font = self.label.font()
        font.setBold(changed)
        self.label.setFont(font)
        said = self.words.get(preset) if self.words else describe(preset)
        self.reset.setToolTip(f"Changed; the preset says {said}. Click to take it back.")

    def complain(self, text: str) -> None:
        self.wrong = bool(text)
        self.error.say(text)


def grouped(model_class: type[BaseModel]) -> dict[str, list[str]]:
    """Return heading -> names of settings, in the order of the model, "General" last.

    Settings of the group "" are left out: the window sets them by itself (what is in sight, the slide's id).
    """
    groups: dict[str, list[str]] = {}
    for name, info in model_class.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        groups.setdefault(str(extra.get("group", "General")), []).append(name)
    groups.pop("", None)
    if "General" in groups:
        groups["General"] = groups.pop("General")
    return groups


def _extra(info: FieldInfo) -> dict[str, Any]:
    """Return what `engine.method.setting` says of a field beside type and limits."""
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def make_editor(name: str, info: FieldInfo) -> Editor:
    """Return the editor for a field's type."""
    kind, optional = info.annotation, False
    if get_origin(kind) in (Union, types.UnionType):
        parts = [part for part in get_args(kind) if part is not type(None)]
        optional = len(parts) < len(get_args(kind))
        kind = parts[0] if len(parts) == 1 else Any
    if get_origin(kind) is Literal:
        return ChoiceEditor(([None] if optional else []) + list(get_args(kind)), words=_extra(info).get("words"))
    if kind in (str, Path):
        return TextEditor(optional, browse=kind is Path or name.endswith(FILE_NAMES))
    low, high, step = limits_of(info)
    inner: Editor
    if kind is bool:
        if optional:
            return ChoiceEditor([None, True, False])
        return SwitchEditor()
    if kind is int:
        inner = IntEditor(-INT_MAX if low is None else int(low), INT_MAX if high is None else int(high), int(step or 1))
        fallback: Any = max(int(low or 0), int(step or 1))
    elif kind is float:
        inner = FloatEditor()
        fallback = max(float(low or 0.0), 1.0 if high is None or high > 1 else float(high) / 2)
    else:
        return YamlEditor()
    return OptionalEditor(inner, fallback) if optional else inner


def limits_of(info: FieldInfo) -> tuple[float | None, float | None, float | None]:
    """Return lowest and highest allowed value (for ints included) and the step, None where there is none."""
    low = high = step = None
    closed = 1 if info.annotation in (int, int | None) else 0
    for limit in info.metadata:
        if getattr(limit, "ge", None) is not None:
            low = limit.ge
        if getattr(limit, "gt", None) is not None:
            low = limit.gt + closed
        if getattr(limit, "le", None) is not None:
            high = limit.le
        if getattr(limit, "lt", None) is not None:
            high = limit.lt - closed
        if getattr(limit, "multiple_of", None) is not None:
            step = limit.multiple_of
    return low, high, step


def describe_limits(info: FieldInfo) -> str:
    """Return the allowed range in words, empty when there is none."""
    low, high, step = limits_of(info)
    words = ""
    if low is not None and high is not None:
        words = f"From {show_number(low)} to {show_number(high)}"
    elif low is not None:
        words = f"At least {show_number(low)}"
    elif high is not None:
        words = f"At most {show_number(high)}"
    if step:
        words = f"{words}, a multiple of {show_number(step)}" if words else f"A multiple of {show_number(step)}"
    return words + "." if words else ""


def describe(value: Any) -> str:
    """Return a value as a person would write it."""
    if value is None:
        return "automatic"
    if isinstance(value, bool):
        return "on" if value else "off"
    return show_number(value) if isinstance(value, int | float) else str(value)


def sentence(error: Any) -> str:
    """Return one sentence for an entry of pydantic's error list."""
    context = error.get("ctx", {})
    kind = error["type"]
    if kind in ("float_parsing", "float_type", "int_parsing", "int_type", "int_from_float"):
        word = "number" if kind.startswith("float") else "whole number"
        return f"'{error['input']}' is not a {word}." if str(error["input"]).strip() else f"Enter a {word}."
    for key, words in (
        ("ge", "at least"),
        ("gt", "more than"),
        ("le", "at most"),
        ("lt", "less than"),
        ("multiple_of", "a multiple of"),
    ):
        if key in context:
            return f"Must be {words} {show_number(context[key])}."
    text = str(error["msg"]).removeprefix("Value error, ")
    return text[:1].upper() + text[1:].rstrip(".") + "."
