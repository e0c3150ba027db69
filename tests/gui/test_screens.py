"""Every panel and dialog can be rendered at both sizes, in both themes, and nothing in it is cut off or hard to read."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from opsin.widgets import theme

from .screens import SIZES, contrast, make_workspace, pale, scenes, troubles


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("screens") / "Sample")


@pytest.mark.parametrize(("name", "size"), [("light", SIZES[0]), ("dark", SIZES[1])])
def test_every_panel_and_dialog(window, place, qapp, qtbot, name, size):
    theme.apply_theme(qapp, name)
    window.resize(*size)
    window.open_workspace(place)
    qtbot.waitUntil(lambda: window.item is not None)
    seen = {}
    for scene, widget in scenes(window):
        assert not widget.grab().isNull()
        seen[scene] = troubles(widget)
    assert {scene: lines for scene, lines in seen.items() if lines} == {}
    assert len(seen) == 12
    assert pale() == []
    theme.apply_theme(qapp, "light")


def test_what_is_cut_off_is_found(qtbot):
    root = QWidget()
    row = QHBoxLayout(root)
    label, button = QLabel("A text that is far too long for its place"), QPushButton("Out")
    label.setFixedWidth(40)
    row.addWidget(label)
    button.setParent(root)
    button.move(190, 10)
    root.resize(200, 60)
    qtbot.addWidget(root)
    root.show()
    lines = troubles(root)
    assert any("is cut off: 40 of" in line for line in lines)
    assert any("'Out' lies outside" in line for line in lines)


def test_contrast_is_that_of_wcag(qapp):
    from qtpy.QtGui import QColor

    assert contrast(QColor("white"), QColor("black")) == pytest.approx(21)
    assert contrast(QColor("#777777"), QColor("white")) == pytest.approx(4.48, abs=0.01)
