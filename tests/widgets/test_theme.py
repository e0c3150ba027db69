"""Colours can be read, the style sheet is complete, icons take the theme's colour, text size reaches everything."""

from __future__ import annotations

import re

import pytest
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel

from opsin.widgets import theme

THEMES = {"light": theme.LIGHT, "dark": theme.DARK}
PAIRS = [(name, text, ground) for name in THEMES for text, grounds in theme.TEXT_ON.items() for ground in grounds]


@pytest.mark.parametrize(("name", "text", "ground"), PAIRS)
def test_text_can_be_read(name, text, ground):
    colors = THEMES[name]
    assert theme.contrast(getattr(colors, text), getattr(colors, ground)) >= 4.5


@pytest.mark.parametrize("name", THEMES)
def test_borders_of_controls_and_focus_can_be_seen(name):
    colors = THEMES[name]
    for ground in (colors.window, colors.surface):
        assert theme.contrast(colors.control, ground) >= 3
        assert theme.contrast(colors.focus, ground) >= 3
        assert theme.contrast(colors.disabled, ground) >= 3


def test_contrast_is_that_of_wcag():
    assert theme.contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert theme.contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    assert theme.contrast("#336699", "#336699") == pytest.approx(1)
    assert theme.readable_on("#F0E442") == "#000000"
    assert theme.readable_on("#0072B2") == "#FFFFFF"


def test_every_text_colour_of_the_style_sheet_is_in_the_table():
    """A colour used for text in the style sheet must be one whose contrast is tested (greyed text is exempt)."""
    sheet = (theme.RESOURCES / "style.qss.in").read_text(encoding="utf-8")
    used = set(re.findall(r"(?<![-\w])color: \$(\w+)", sheet))
    assert used <= set(theme.TEXT_ON) | {"disabled"}


@pytest.mark.parametrize("size", [90, 100, 150])
def test_style_sheet_is_complete(qapp, size):
    sheet = theme.style_sheet(theme.DARK, size)
    assert "$" not in sheet
    assert theme.DARK.surface in sheet
    wanted = f"font-size: {round(28 * size / 100)}px"
    assert wanted in sheet


def test_theme_reaches_widgets_and_tells_of_it(qapp, qtbot):
    theme.apply_theme(qapp, "light")
    label = QLabel("text")
    qtbot.addWidget(label)
    with qtbot.waitSignal(theme.theme_changed()):
        theme.apply_theme(qapp, "dark", 150)
    label.ensurePolished()
    assert theme.colors() is theme.DARK
    assert label.palette().windowText().color() == QColor(theme.DARK.text)
    assert qapp.palette().window().color() == QColor(theme.DARK.window)
    assert qapp.font().pixelSize() == round(13 * 1.5)
    assert theme.px(8) == 12
    theme.apply_theme(qapp, "light")
    assert theme.px(8) == 8


@pytest.mark.parametrize("path", sorted(theme.ICONS.glob("*.svg")), ids=lambda path: path.stem)
def test_icons_draw_in_the_colour_asked_for(qapp, path):
    picture = theme.pixmap(path.stem, 24, "#FF0000").toImage()
    found = {picture.pixelColor(x, y).name() for x in range(0, 48, 2) for y in range(0, 48, 2)
             if picture.pixelColor(x, y).alpha() == 255}  # fmt: skip
    assert found, "nothing is drawn"
    if path.stem != "opsin":
        assert found == {"#ff0000"}
