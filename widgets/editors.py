"""Editors for one value each: number, switch, choice, text, "automatic". `forms.py` arranges them.

Each is a QWidget with ``get()``, ``set(value)``, the signal ``edited`` and ``field``, which takes the focus.
What was set and not touched is returned as it was set, whatever the number of digits shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent, QPaintEvent, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolButton,
    QWidget,
)

from .theme import px, theme_changed

INT_MAX = 2**31 - 1


def inset(box: QAbstractSpinBox) -> None:
    """Keep the digits of a spin box off its frame, as far as those of a text field: a style sheet cannot."""
    box.lineEdit().setTextMargins(px(8), 0, 0, 0)


class QuietSpinBox(QSpinBox):
    """A spin box that lets the wheel scroll the form unless it has the focus."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.restyle()
        theme_changed().connect(self.restyle)

    def restyle(self) -> None:
        inset(self)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class QuietComboBox(QComboBox):
    """A combo box that lets the wheel scroll the form unless it has the focus; a long text ends in dots."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        room = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = option.fontMetrics.elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, room.width() - 2
        )
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


def combo_grid(combos: Mapping[str, QComboBox]) -> QGridLayout:
    """Return combo boxes one under the other, each after its label; "&" in a label marks its key."""
    grid = QGridLayout()
    grid.setHorizontalSpacing(8)
    grid.setVerticalSpacing(8)
    grid.setColumnMinimumWidth(0, px(64))
    grid.setColumnStretch(1, 1)
    for row, (text, combo) in enumerate(combos.items()):
        label = QLabel(text)
        label.setBuddy(combo)
        grid.addWidget(label, row, 0)
        grid.addWidget(combo, row, 1)
        combo.setAccessibleName(text.replace("&", ""))
        combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return grid


class Editor(QWidget):
    """Base of all editors."""

    edited = Signal()
    field: QWidget

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(4)

    def get(self) -> Any:
        """Return the value; a text that is no number comes back as it is, for the model to complain about."""
        raise TypeError(type(self).__name__)

    def set(self, value: Any) -> None:
        """Show `value` without emitting `edited`."""
        raise TypeError(type(self).__name__)

    def _hold(self, field: QWidget) -> None:
        self.field = field
        self._row.addWidget(field)
        self.setFocusProxy(field)


class SwitchEditor(Editor):
    """On or off."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QCheckBox()
        self.box.toggled.connect(lambda _: self.edited.emit())
        self._hold(self.box)
        self._row.addStretch(1)

    def get(self) -> bool:
        return self.box.isChecked()

    def set(self, value: Any) -> None:
        self.box.blockSignals(True)
        self.box.setChecked(bool(value))
        self.box.blockSignals(False)


class ChoiceEditor(Editor):
    """One of a closed list; None is shown as "automatic", the others by their words where there are any."""

    def __init__(
        self, choices: list[Any], parent: QWidget | None = None, words: Mapping[Any, str] | None = None
    ) -> None:
        super().__init__(parent)
        self.box = QuietComboBox()
        for choice in choices:
            self.box.addItem((words or {}).get(choice, "automatic" if choice is None else str(choice)), choice)
        self.box.currentIndexChanged.connect(lambda _: self.edited.emit())
        self._hold(self.box)

    def get(self) -> Any:
        return self.box.currentData()

    def set(self, value: Any) -> None:
        self.box.blockSignals(True)
        self.box.setCurrentIndex(self.box.findData(value))
        self.box.blockSignals(False)


class IntEditor(Editor):
    """A whole number; the range keeps out what the model would refuse."""

    def __init__(self, low: int, high: int, step: int = 1, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.box = QuietSpinBox()
        self.box.setRange(max(low, -INT_MAX), min(high, INT_MAX))
        self.box.setSingleStep(step)
        self.box.setGroupSeparatorShown(True)
        self.box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.box.setMinimumWidth(px(76))
        self.box.valueChanged.connect(lambda _: self.edited.emit())
        self._hold(self.box)

    def get(self) -> int:
        return self.box.value()

    def set(self, value: Any) -> None:
        self.box.blockSignals(True)
        self.box.setValue(int(value))
        self.box.blockSignals(False)


class NumberField(QLineEdit):
    """A line for a number; Up and Down change its last digit."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        sign = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1}.get(Qt.Key(event.key()))
        number = read_number(self.text())
        if sign is None or not isinstance(number, float):
            super().keyPressEvent(event)
            return
        mantissa, _, exponent = self.text().strip().replace(",", ".").lower().partition("e")
        digits = len(mantissa.partition(".")[2])
        step = 10.0 ** (int(exponent or 0) - digits)
        self.setText(show_number(round(number + sign * step, 12)))
        self.textEdited.emit(self.text())


class FloatEditor(Editor):
    """A number, also as 1e-3."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.line = NumberField()
        self.line.setMinimumWidth(56)
        self._value: Any = 0.0
        self._shown = ""
        self.line.textEdited.connect(lambda _: self.edited.emit())
        self._hold(self.line)

    def get(self) -> Any:
        text = self.line.text()
        return self._value if text == self._shown else read_number(text)

    def set(self, value: Any) -> None:
        self._value, self._shown = value, show_number(value)
        self.line.setText(self._shown)


class TextEditor(Editor):
    """A text; empty means None where the setting allows it. With `browse` a button chooses a file."""

    def __init__(self, optional: bool, browse: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.optional = optional
        self.line = QLineEdit()
        self.line.setMinimumWidth(56)
        if optional:
            self.line.setPlaceholderText("none")
        self.line.textEdited.connect(lambda _: self.edited.emit())
        self._hold(self.line)
        if browse:
            button = QToolButton()
            button.setText("…")
            button.setToolTip("Choose a file")
            button.setAccessibleName("Choose a file")
            button.clicked.connect(self._browse)
            self._row.addWidget(button)

    def get(self) -> str | None:
        text = self.line.text().strip()
        return None if self.optional and not text else text

    def set(self, value: Any) -> None:
        self.line.setText("" if value is None else str(value))

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a file", self.line.text())
        if path:
            self.line.setText(path)
            self.edited.emit()


class YamlEditor(Editor):
    """Lists and tables, as YAML in one line: ``[1, 2, 4]``."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.line = QLineEdit()
        self.line.textEdited.connect(lambda _: self.edited.emit())
        self._hold(self.line)

    def get(self) -> Any:
        try:
            return yaml.safe_load(self.line.text())
        except yaml.YAMLError:
            return self.line.text()

    def set(self, value: Any) -> None:
        plain = list(value) if isinstance(value, tuple) else value
        self.line.setText(yaml.safe_dump(plain, default_flow_style=True, width=10**6).strip().removesuffix("\n..."))


class OptionalEditor(Editor):
    """Another editor with a box "auto" before it; ticked, the value is None."""

    def __init__(self, inner: Editor, fallback: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.inner = inner
        self.box = QCheckBox("auto")
        self.box.setAccessibleDescription("automatic")
        self._hold(self.box)
        self._row.addWidget(inner, 1)
        inner.set(fallback)
        self.box.toggled.connect(self._toggled)
        inner.edited.connect(self.edited)

    def _toggled(self, automatic: bool) -> None:
        self.inner.setEnabled(not automatic)
        self.edited.emit()

    def get(self) -> Any:
        return None if self.box.isChecked() else self.inner.get()

    def set(self, value: Any) -> None:
        self.box.blockSignals(True)
        self.box.setChecked(value is None)
        self.box.blockSignals(False)
        self.inner.setEnabled(value is not None)
        if value is not None:
            self.inner.set(value)


def show_number(value: float) -> str:
    """Return at most six digits: ``0.25``, ``0.001``, ``1e-05``."""
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


def read_number(text: str) -> float | str:
    """Return the number in `text` (a comma counts as the decimal point), or the text when there is none."""
    try:
        return float(text.strip().replace(",", ".") if "." not in text else text)
    except ValueError:
        return text
