"""Fluorescence: channels are shown as one wishes, at once and for the eyes only; the picture is never blank meanwhile."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QColorDialog

from opsin.engine.data.channels import Channel, composite
from opsin.engine.data.slides import Level, Slide
from opsin.widgets.channels import ChannelsPanel, count_values
from opsin.widgets.slide import SlideView
from opsin.widgets.slidebar import SlideBar

from .slide_scenes import grabbed, move, press, release, wheel

OWN = (Channel("DAPI", "#0000ff", 100, 1100), Channel("CD8", "#ff0000", 0, 500))


class StainedSlide(Slide):
    """Two channels of 16 bits: values that grow to the right, and values that grow downwards."""

    def __init__(self, size: int = 1000) -> None:
        super().__init__(Path("stained.ome.tif"))
        self.levels = [Level(size, size, 1, 1, 256, 256)]
        self._set_channels(OWN, np.dtype(np.uint16))
        self.reads = 0

    def _native(self, level, x, y, width, height):
        self.reads += 1
        across, down = np.arange(x, x + width)[None, :], np.arange(y, y + height)[:, None]
        return np.stack([np.broadcast_to(v, (height, width)) for v in (across, down)]).astype(np.uint16)


@pytest.fixture
def view(qtbot):
    view = SlideView()
    qtbot.addWidget(view)
    view.resize(700, 560)
    view.show()
    qtbot.waitUntil(view.hasFocus)
    view.clearFocus()
    yield view
    view.model.set_slide(None)
    view.scene.tiles.loader.stop()


@pytest.fixture
def panel(view, qtbot):
    view.model.set_slide(StainedSlide())
    view.model.zoom_at(1 / view.model.zoom)
    assert view.wait_painted()
    panel = ChannelsPanel(view.model, view)
    panel.open()
    qtbot.waitUntil(lambda: panel.rows[1].auto.isEnabled())
    return panel


def expected(view, display, rect=(20, 20, 300, 400)):
    left, top, width, height = rect
    x, y = (int(v) for v in view.model.to_slide(left + 0.5, top + 0.5))
    return composite(view.model.slide.read_channels(0, x, y, width, height), display)


def shown(view, rect=(20, 20, 300, 400)):
    left, top, width, height = rect
    return grabbed(view)[top : top + height, left : left + width]


def test_what_is_set_is_seen_and_the_file_s_own_comes_back(view, panel, qtbot):
    view.model.zoom_at(1.0)
    assert np.array_equal(shown(view), expected(view, OWN))
    row = panel.rows[0]
    QTest.mouseClick(row.eye, Qt.MouseButton.LeftButton)
    row.low.setValue(300)  # one change right after the other: both count
    qtbot.waitUntil(lambda: view.model.display[0].low == 300)
    assert view.model.display == (replace(OWN[0], visible=False, low=300.0), OWN[1])
    assert view.wait_painted()
    assert np.array_equal(shown(view), expected(view, view.model.display))
    assert view.model.slide.channels == OWN
    QTest.mouseClick(panel.reset, Qt.MouseButton.LeftButton)
    assert view.model.display == OWN and not panel.reset.isEnabled()
    assert row.low.value() == 100 and row.eye.isChecked()
    assert view.wait_painted()
    assert np.array_equal(shown(view), expected(view, OWN))


def test_the_old_picture_stays_until_the_new_one_is_there(view, panel):
    before = shown(view)
    view.model.set_display([replace(c, visible=c.name == "CD8") for c in OWN])
    view.scene.tiles.loader.want([])
    assert np.array_equal(shown(view), before)
    assert view.wait_painted()
    assert np.array_equal(shown(view), expected(view, view.model.display))


def test_pixels_that_were_read_before_a_change_do_not_pass_for_new_ones(view):
    """The loader is in the middle of a tile when the display changes."""
    slide = StainedSlide()
    view.model.set_slide(slide)
    view.model.zoom_at(1 / view.model.zoom)
    native, held = slide._native, []

    def slow(*rect):
        values = native(*rect)
        if not held:
            held.append(True)
            view.model.slide.display = [replace(c, visible=False) for c in OWN]
            view.model.display = view.model.slide.display
            view.model.viewed.emit()
        return values

    view.model.set_display([replace(c, low=1.0) for c in OWN])
    slide._native = slow
    assert view.wait_painted()
    assert held and not shown(view).any()


def test_shift_shows_one_channel_alone_and_then_all_again(view, panel):
    shift, eye = Qt.KeyboardModifier.ShiftModifier, panel.rows[1].eye
    for visible in ((False, True), (True, True), (False, True)):
        if all(visible):
            QTest.keyClick(eye, Qt.Key.Key_Space, shift)
        else:
            QTest.mouseClick(eye, Qt.MouseButton.LeftButton, shift)
        assert tuple(c.visible for c in view.model.display) == visible


def test_the_edges_in_the_histogram_can_be_dragged(view, panel, qtbot):
    histogram = panel.rows[0].histogram
    start = histogram.place(1100)
    press(histogram, (start + 2, 20))
    move(histogram, (histogram.place(700), 20))
    release(histogram, (histogram.place(700), 20))
    qtbot.waitUntil(lambda: abs(view.model.display[0].high - 700) <= 4)
    assert view.model.display[0].low == 100
    press(histogram, (histogram.place(100), 20))
    move(histogram, (5000, 20))  # beyond the other edge: they never cross
    release(histogram, (5000, 20))
    qtbot.waitUntil(lambda: view.model.display[0].low > 600)
    assert view.model.display[0].low < view.model.display[0].high


def test_auto_takes_nearly_all_values_and_a_field_never_crosses_the_other(view, panel, qtbot):
    panel.rows[1].low.setValue(900)  # above what is bright now: it goes back
    assert panel.rows[1].low.value() == 0
    QTest.mouseClick(panel.rows[1].auto, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: view.model.display[1].high > 500)
    assert view.model.display[1].low <= 2 and 990 <= view.model.display[1].high <= 1000


def test_a_colour_is_seen_while_it_is_chosen_and_given_up_by_escape(view, panel, qtbot):
    dialog = panel.rows[0].choose_color()
    dialog.setCurrentColor(QColor("#00ff00"))
    qtbot.waitUntil(lambda: view.model.display[0].color == "#00ff00")
    dialog.reject()
    qtbot.waitUntil(lambda: view.model.display[0].color == "#0000ff")
    assert isinstance(dialog, QColorDialog)


def test_the_panel_keeps_its_clicks_to_itself_and_leaves_by_escape(view, panel):
    centre, zoom = view.model.centre, view.model.zoom
    press(panel, (10, 10))
    move(panel, (60, 60))
    release(panel, (60, 60))
    wheel(panel, (10, 10), 3)
    assert (view.model.centre, view.model.zoom) == (centre, zoom)
    assert panel.geometry().right() < view.width() and panel.geometry().bottom() < view.height()
    view.resize(640, 300)
    assert panel.geometry().bottom() < 300
    QTest.keyClick(panel, Qt.Key.Key_Escape)
    assert panel.isHidden() and view.hasFocus()


def test_another_slide_has_its_own_channels_and_a_colour_picture_none(view, panel, qtbot):
    bar = SlideBar(view.model)
    qtbot.addWidget(bar)
    assert bar.channels.isVisibleTo(bar)
    view.model.set_display([replace(c, visible=False) for c in OWN])
    other = StainedSlide(600)
    view.model.set_slide(other)
    assert view.model.display == OWN and panel.isVisible()
    qtbot.waitUntil(lambda: panel.rows[0].auto.isEnabled())
    view.model.set_slide(None)
    assert panel.isHidden() and not panel.rows and not bar.channels.isVisibleTo(bar)


def test_values_are_counted_in_the_middle_of_the_coarsest_level():
    slide = StainedSlide(5000)
    across, down = count_values(slide)
    assert across.bins.sum() == 1024 * 1024
    assert (across.least, across.most) == (1988, 3011) and across.whole
    assert 1988 <= down.window[0] < 2000 and 3000 < down.window[1] <= 3011
