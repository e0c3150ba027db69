"""Looking at slides from the window: turning, magnifications, places, channels; what is remembered of each slide."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from opsin.engine.workspace import Workspace
from opsin.gui.looking import PlaceDialog, place_of
from opsin.gui.settings import AppSettings

ALT, CTRL, SHIFT = (
    Qt.KeyboardModifier.AltModifier,
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.ShiftModifier,
)


@pytest.fixture
def stained(tmp_path):
    """Folder of a closed workspace with a fluorescence slide of three channels and a colour picture."""
    values = np.random.default_rng(3).poisson(300, (3, 400, 600)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "stained.ome.tif", values, tile=(256, 256), photometric="minisblack",
        metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "CD8", "PanCK"]}},
    )  # fmt: skip
    tifffile.imwrite(tmp_path / "plain.tif", np.full((300, 300, 3), 200, np.uint8), tile=(256, 256))
    with Workspace.create(tmp_path / "workspace") as workspace:
        workspace.add([tmp_path / "stained.ome.tif", tmp_path / "plain.tif"])
    return tmp_path / "workspace"


def ids(window) -> dict[str, str]:
    return {item.name: item.id for item in window.workspace.items()}


def open_slide(window, name, qtbot) -> None:
    id = next(id for known, id in ids(window).items() if known.startswith(name))
    window.open_item(id)
    qtbot.waitUntil(lambda: window.item is not None and window.item.id == id and window.model.slide is not None)


def key(window, key, modifiers=Qt.KeyboardModifier.NoModifier) -> None:
    QTest.keyClick(window.room.view, key, modifiers)


def test_keys_turn_flip_and_bring_back(opened, qtbot):
    model = opened.model
    opened.room.view.setFocus()
    key(opened, Qt.Key.Key_Right, ALT)
    assert model.rotation == 90
    key(opened, Qt.Key.Key_Left, ALT)
    key(opened, Qt.Key.Key_Left, ALT)
    assert model.rotation == -90
    key(opened, Qt.Key.Key_F, SHIFT)
    assert model.mirrored and model.rotation == 90
    assert opened.book["view.flip"].isChecked()
    key(opened, Qt.Key.Key_Home, ALT)
    assert (model.rotation, model.mirrored) == (0, False)


def test_keys_for_magnifications(opened):
    opened.model.set_mpp(0.25)
    opened.room.view.setFocus()
    for number, magnification in enumerate((1, 2, 5, 10, 20, 40), start=1):
        key(opened, Qt.Key(int(Qt.Key.Key_0) + number), ALT)
        if magnification >= 20:  # a picture of 640 px is in sight whole below
            assert opened.model.magnification_text == f"{magnification}x"
        assert f"Alt+{number}" in [s.toString() for s in opened.book[f"view.zoom{magnification}"].shortcuts()]


def test_the_angle_is_a_field_and_is_seen_on_the_bar(opened, qtbot):
    bar = opened.room.bar
    key(opened, Qt.Key.Key_R, SHIFT)
    popup = QApplication.activePopupWidget() or bar.show_rotation()
    popup.angle.setValue(37.5)
    assert opened.model.rotation == 37.5
    assert bar.turn.isChecked() and "37.5°" in bar.turn.toolTip()
    popup.right.click()
    assert opened.model.rotation == 127.5 and popup.angle.value() == 127.5
    popup.flip.click()
    assert opened.model.mirrored and "flipped" in bar.turn.toolTip()
    popup.reset.click()
    assert (opened.model.rotation, opened.model.mirrored) == (0, False)
    assert not bar.turn.isChecked() and not popup.reset.isEnabled()
    popup.close()


def test_each_slide_is_shown_as_it_was_looked_at_last(window, stained, qtbot):
    window.open_workspace(stained)
    open_slide(window, "stained", qtbot)
    window.model.turn_to(33, True)
    own = window.model.slide.channels
    window.looking.show_channels()
    window.looking.channels.rows[1].eye.click()
    qtbot.waitUntil(lambda: not window.model.display[1].visible)
    wished = window.model.display
    open_slide(window, "plain", qtbot)
    assert (window.model.rotation, window.model.mirrored) == (0, False)
    open_slide(window, "stained", qtbot)
    assert (window.model.rotation, window.model.mirrored) == (33, True)
    assert window.model.display == wished != own
    kept = [window.workspace.setting(f"look.{id}") for id in ids(window).values()]
    assert kept.count(None) == 1
    window.model.turn_to(0, False)
    window.looking.channels.reset.click()
    window.looking.keep()
    assert [window.workspace.setting(f"look.{id}") for id in ids(window).values()] == [None, None]


@pytest.mark.parametrize(
    "kept",
    [
        "odd", 7, {"rotation": "much"}, {"rotation": math.inf, "channels": 3}, {"channels": [["DAPI", "red", 0, 1, True]]},
        {"channels": [["DAPI", "red", 0, 1, True], ["CD8", "#ffffff", 9, 1, True], ["PanCK", "#ffffff", 0, 1, True]]},
    ],
)  # fmt: skip
def test_a_look_that_makes_no_sense_is_left_alone(window, stained, qtbot, kept):
    with Workspace.open(stained) as workspace:
        for item in workspace.items():
            workspace.set_setting(f"look.{item.id}", kept)
    window.open_workspace(stained)
    open_slide(window, "stained", qtbot)
    assert window.model.display == window.model.slide.channels
    assert window.model.rotation == 0 and not window.banners.texts()


def test_channels_are_offered_only_where_there_are_some(window, stained, qtbot):
    window.open_workspace(stained)
    open_slide(window, "plain", qtbot)
    window.book.refresh()
    assert "channels" in window.book.reasons["view.channels"]
    assert not window.room.bar.channels.isVisible()
    open_slide(window, "stained", qtbot)
    key(window, Qt.Key.Key_K, SHIFT)
    panel = window.looking.channels
    assert panel.isVisible() and window.room.bar.channels.isChecked()
    assert panel.isAncestorOf(window.focusWidget())
    key(window, Qt.Key.Key_K, SHIFT)
    assert panel.isHidden() and not window.room.bar.channels.isChecked()


@pytest.mark.parametrize(
    ("text", "mpp", "found"),
    [
        ("120, 80", None, (120, 80)), ("120.5 80 px", 0.5, (120.5, 80)), ("30;20 µm", 0.5, (60, 40)),
        ("0.3, 0.2 mm", 0.5, (600, 400)), ("30, 20 um", 0.25, (120, 80)), ("6.0, 4.0 µm  (12, 8 px)", 0.5, (12, 8)),
    ],
)  # fmt: skip
def test_places_are_understood(text, mpp, found):
    assert place_of(text, mpp) == pytest.approx(found)


@pytest.mark.parametrize(("text", "mpp"), [("", 0.5), ("12", 0.5), ("a, b", 0.5), ("3, 4 µm", None), ("1, 2 in", 1.0)])
def test_what_is_no_place_is_none(text, mpp):
    assert all(math.isnan(v) for v in place_of(text, mpp))


def test_go_to_a_place_also_in_a_turned_view(opened, qtbot):
    opened.model.set_mpp(0.5)
    opened.model.turn_to(50)
    opened.model.zoom_at(4)
    key(opened, Qt.Key.Key_G, CTRL)
    dialog = opened.findChild(PlaceDialog)
    dialog.line.setText("9000, 10")
    assert not dialog.go.isEnabled() and "beside" in dialog.said.text()
    dialog.line.setText("100, 60 µm")
    QTest.keyClick(dialog.line, Qt.Key.Key_Return)
    assert opened.model.centre == (200, 120)
    view = opened.room.view
    assert opened.model.to_view(200, 120) == pytest.approx((view.width() / 2, view.height() / 2))


def test_the_place_under_the_pointer_is_copied_and_leads_back(opened):
    model, view = opened.model, opened.room.view
    model.set_mpp(0.5)
    model.zoom_at(3)
    model.turn_to(-20)
    view.pointer = QPointF(123, 234)
    key(opened, Qt.Key.Key_C, CTRL | SHIFT)
    text = QApplication.clipboard().text()
    assert "px" in text and "µm" in text
    assert place_of(text, 0.5) == pytest.approx(model.to_slide(123, 234), abs=0.2)
    assert "Copied" in view.read_out.note
    view.pointer = None
    key(opened, Qt.Key.Key_C, CTRL | SHIFT)
    assert place_of(QApplication.clipboard().text(), 0.5) == pytest.approx(model.centre, abs=0.2)


def test_the_overview_can_be_switched_off_for_good(opened, qtbot):
    overview = opened.room.view.overview
    opened.model.zoom_at(6)
    assert overview.isVisible() and opened.book["view.overview"].isChecked()
    key(opened, Qt.Key.Key_V, SHIFT)
    assert not overview.isVisible() and not opened.book["view.overview"].isChecked()
    assert AppSettings.load().overview is False
    key(opened, Qt.Key.Key_V, SHIFT)
    assert overview.isVisible() and AppSettings.load().overview


def test_napari_gets_heat_maps_in_sight_and_channels_as_they_are_shown(window, stained, qtbot, monkeypatch):
    from opsin.engine.tiles import TilePyramid
    from opsin.gui import commands
    from opsin.widgets.slide.model import Overlay

    window.open_workspace(stained)
    open_slide(window, "stained", qtbot)
    started = []
    monkeypatch.setattr(
        commands.QProcess, "startDetached", lambda program, arguments: started.append(arguments) or True
    )
    window.commands.open_in_napari()
    assert [name.rpartition(".")[2] for name in started[0][2:]] == ["tif", "labels"]
    path = stained.parent / "a.heat"
    with TilePyramid.create(path, 600, 400, base=4, reduce="mean") as pyramid:
        window.model.add_overlay(Overlay("heat map", pyramid))
        window.model.add_overlay(Overlay("hidden", pyramid, visible=False))
        window.model.set_display([replace(c, low=3.0) for c in window.model.display])
        window.commands.open_in_napari()
        window.model.overlays = []
    slide, _, heat, look = started[1][2:]
    assert heat == str(path) and slide.endswith("stained.ome.tif")
    assert [row[2] for row in json.loads(look.removeprefix("--look="))["channels"]] == [3.0] * 3
