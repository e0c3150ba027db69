"""The slide view shows what the slide holds: exact at 1:1, never blank, the point under the pointer stays."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QRect, Qt
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtTest import QTest

from opsin.engine.data.slides import open_slide
from opsin.engine.labels.store import LabelStore
from opsin.engine.tiles import TilePyramid
from opsin.widgets.slide import Overlay, SlideView, SlideViewModel
from opsin.widgets.slide.colormaps import COLORMAPS, colormap
from opsin.widgets.slide.model import round_length
from opsin.widgets.slide.overlay import position_text, scale_bar
from opsin.widgets.slide.scene import PAPER
from opsin.widgets.slide.tilecache import compose

from .slide_scenes import MIDDLE, ArraySlide, click, drag, grabbed, mouse, pixels, press, release, wheel

LUMA = np.array([0.2126, 0.7152, 0.0722])


@pytest.fixture
def view(qtbot):
    view = SlideView()
    qtbot.addWidget(view)
    view.resize(700, 500)
    view.show()
    qtbot.waitUntil(view.hasFocus)
    view.clearFocus()  # its frame would be in the pictures
    yield view
    view.model.set_slide(None)
    view.scene.tiles.loader.stop()


def slide_area(view) -> tuple[slice, slice]:
    """Rows and columns of the grab that the slide covers."""
    rect = view.scene.slide_rect().intersected(QRect(0, 0, view.width(), view.height()))
    return slice(rect.top(), rect.bottom() + 1), slice(rect.left(), rect.right() + 1)


def without_chrome(picture: np.ndarray) -> np.ndarray:
    """The part where no scale bar and no overview stands."""
    return picture[: picture.shape[0] - 200]


def test_at_1_to_1_the_screen_shows_the_file_pixel_by_pixel(view, data):
    with open_slide(data / "wsi/slides/CMU-1-Small-Region.svs") as slide:
        view.model.set_slide(slide)
        view.model.move_to(1000, 1500)
        view.model.zoom_at(1 / view.model.zoom)
        assert view.wait_painted()
        expected = slide.read(0, 1000 - 350, 1500 - 250, 700, 500)
        assert np.array_equal(without_chrome(grabbed(view)), without_chrome(expected))
        view.model.set_slide(None)


@pytest.mark.parametrize("zoom", [4.0, 1.0, 0.6, 0.25, 0.11, None])
def test_no_pixel_of_the_slide_is_left_as_background(view, zoom):
    slide = ArraySlide(9000, 7000)
    view.model.set_slide(slide)
    if zoom is not None:
        view.model.move_to(4100, 3300)
        view.model.zoom_at(zoom / view.model.zoom)
    assert view.wait_painted()
    rows, columns = slide_area(view)
    shown = grabbed(view)[rows, columns]
    ground, paper = QColor(view._ground), PAPER
    for color in (ground, paper):
        same = (np.abs(shown.astype(int) - [color.red(), color.green(), color.blue()]) <= 1).all(2)
        assert not without_chrome(same).any()


def test_tissue_is_there_before_any_tile_and_the_screen_is_never_blank(view):
    slide = ArraySlide(9000, 7000)
    slide.gate.clear()
    view.model.set_slide(slide)
    rows, columns = slide_area(view)
    middle = grabbed(view)[rows, columns][50:-50, 50:-250]
    assert (middle == [PAPER.red(), PAPER.green(), PAPER.blue()]).all()
    slide.gate.set()
    assert view.wait_painted()
    slide.gate.clear()  # from here on nothing new can be decoded
    for _ in range(12):
        wheel(view, (300, 200), 2)
        middle = grabbed(view)[20:250, 20:-250]
        assert (np.abs(middle.astype(int) - [PAPER.red(), PAPER.green(), PAPER.blue()]).sum(2) > 0).all()
        assert middle.std() > 0
    slide.gate.set()
    assert view.wait_painted()


def test_tiles_that_left_the_view_are_never_decoded(view):
    slide = ArraySlide(60000, 60000, factors=(1, 4, 16, 64))
    view.model.set_slide(slide)
    assert view.wait_painted()
    view.model.zoom_at(1 / view.model.zoom)
    slide.gate.clear()
    slide.calls.clear()
    for x in range(5000, 55000, 5000):
        view.model.move_to(x, 30000)
        view.repaint()
    slide.gate.set()
    assert view.wait_painted()
    places = {x // 5000 for level, x, *_ in slide.calls if level == 0}
    # At most the two threads had begun with a tile of a place that was left.
    assert len(places - {9, 10, 11}) <= 2


def test_a_slide_without_coarse_levels_is_averaged():
    slide = ArraySlide(4200, 2100, factors=(1,))
    whole = slide.read(0, 0, 0, 4096, 2096).astype(np.float32)
    tile = compose(slide, (3, 0, 0))
    assert tile.shape == (263, 512, 3)
    assert np.abs(tile[:262] - whole.reshape(262, 8, 512, 8, 3).mean((1, 3))).max() < 2
    assert compose(slide, (3, 0, 1)).shape == (263, 13, 3)


def test_a_part_that_cannot_be_read_is_reported_once(view, qtbot):
    slide = ArraySlide(9000, 7000)
    slide.broken = True
    said = []
    view.failed.connect(said.append)
    with qtbot.waitSignal(view.failed):
        view.model.set_slide(slide)
    view.model.zoom_at(8)
    view.wait_painted()
    assert said == ["made.svs is damaged at tile 3."]


def test_zooming_with_the_wheel_keeps_the_point_under_the_pointer(view):
    view.model.set_slide(ArraySlide(9000, 7000))
    for at, notches in [((200, 130), 3), ((555.5, 400.25), -1.5), ((10, 490), 6), ((350, 250), -4)]:
        before, zoom = view.model.to_slide(*at), view.model.zoom
        wheel(view, at, notches)
        assert view.model.to_slide(*at) == pytest.approx(before, abs=1e-6)
        assert view.model.zoom / zoom == pytest.approx(1.25**notches)


def test_a_trackpad_zooms_by_its_pixels(view):
    view.model.set_slide(ArraySlide(9000, 7000))
    zoom = view.model.zoom
    wheel(view, (200, 130), 0, pixels=60)
    assert view.model.zoom > zoom


@pytest.mark.parametrize("tool", ["pan", "brush", "polygon", "lasso", "pick"])
def test_middle_drag_and_space_drag_move_in_every_tool(view, tool, tmp_path):
    slide = ArraySlide(9000, 7000)
    with LabelStore.create(tmp_path / "a.labels", slide.width, slide.height) as store:
        view.model.set_slide(slide, store)
        view.model.zoom_at(10)
        view.model.tool = tool
        x, y = view.model.centre
        drag(view, [(300, 200), (320, 220), (350, 260)], MIDDLE)
        assert view.model.centre == pytest.approx((x - 50 / view.model.zoom, y - 60 / view.model.zoom))
        QTest.keyPress(view, Qt.Key.Key_Space)
        drag(view, [(350, 260), (300, 200)])
        QTest.keyRelease(view, Qt.Key.Key_Space)
        assert view.model.centre == pytest.approx((x, y))
        assert not store.can_undo
        view.model.set_slide(None)


def test_left_drag_moves_in_the_pan_tool_and_the_slide_cannot_get_lost(view):
    view.model.set_slide(ArraySlide(9000, 7000))
    drag(view, [(300, 200), (-40000, 200)])
    assert view.model.centre[0] == 9000
    rect = view.model.visible_rect()
    assert rect[0] + rect[2] == 9000 and rect[2] > 0


def test_keys_move_zoom_and_choose(view):
    model = view.model
    model.set_slide(ArraySlide(9000, 7000))
    QTest.keyClicks(view, "+")
    assert model.zoom == pytest.approx(model.fit_zoom * 1.25**2)
    x, y = model.centre
    QTest.keyClick(view, Qt.Key.Key_Right)
    QTest.keyClick(view, Qt.Key.Key_Down)
    assert model.centre[0] > x and model.centre[1] > y
    QTest.keyClicks(view, "-")
    QTest.keyClick(view, Qt.Key.Key_Home)
    assert model.zoom == model.fit_zoom and model.centre == (4500, 3500)
    for letter, tool in [
        ("B", "brush"),
        ("e", "eraser"),
        ("P", "polygon"),
        ("L", "lasso"),
        ("I", "pick"),
        ("M", "pan"),
    ]:
        QTest.keyClicks(view, letter)
        assert model.tool == tool
    QTest.keyClicks(view, "3")
    assert model.label == 3
    size = model.brush_um
    QTest.keyClicks(view, "]]")
    QTest.keyClicks(view, "[")
    assert model.brush_um == pytest.approx(size * 1.15)
    model.tool = "brush"
    wheel(view, (300, 200), -1, Qt.KeyboardModifier.ControlModifier)
    assert model.brush_um == pytest.approx(size) and model.zoom == model.fit_zoom


def test_the_whole_slide_stays_in_sight_when_the_window_grows(view):
    view.model.set_slide(ArraySlide(9000, 7000))
    view.resize(900, 800)
    assert view.model.zoom == pytest.approx(view.model.fit_zoom)
    view.model.zoom_at(3)
    zoom = view.model.zoom
    view.resize(700, 500)
    assert view.model.zoom == zoom


def test_the_overview_moves_the_view_and_gives_way_to_small_windows(view):
    view.model.set_slide(ArraySlide(9000, 7000))
    view.model.zoom_at(10)
    small = view.overview
    assert small.isVisible()
    width, height = small.width(), small.height()
    click(small, (3 + (width - 6) * 0.25, 3 + (height - 6) * 0.75))
    assert view.model.centre == pytest.approx((2250, 5250), rel=0.02)
    view.resize(300, 240)
    assert not small.isVisible()


def test_scale_bar_and_read_outs_say_the_truth():
    model = SlideViewModel()
    model.set_viewport(700, 500)
    model.set_slide(ArraySlide(9000, 7000, mpp=0.25))
    model.zoom_to(40)
    assert model.zoom == pytest.approx(1) and model.magnification_text == "40x"
    assert scale_bar(model) == (80, "20 µm")
    model.zoom_to(12.4)
    assert model.magnification_text == "12.4x"
    model.zoom_to(1)
    length, text = scale_bar(model)
    assert text == "1 mm" and length * 0.25 / model.zoom == pytest.approx(1000)
    assert position_text(model, (100.7, 8.2)) == "25.2, 2.0 µm  (100, 8 px)"
    model.set_mpp(None)
    model.zoom_at(0.125 / model.zoom)
    assert model.magnification_text == "1:8"
    length, text = scale_bar(model)
    assert text == "1000 px" and length == pytest.approx(125)
    assert position_text(model, (100.7, 8.2)) == "100, 8 px"
    assert [round_length(x) for x in (0.7, 1, 1.9, 4.9, 5, 99, 100)] == [0.5, 1, 1, 2, 5, 50, 100]


def heat_of(path, slide, values: np.ndarray) -> TilePyramid:
    """A heat pyramid with one pixel per 8 slide pixels and `values` in its first tile."""
    heat = TilePyramid.create(path, slide.width, slide.height, base=8, reduce="mean")
    with heat.transaction():
        heat.write(0, 0, values)
    return heat


def test_a_heat_map_is_drawn_above_its_threshold_only(view, tmp_path):
    slide = ArraySlide(4000, 3000)
    values = np.zeros((512, 512), np.uint8)
    values[:200, :100], values[:200, 100:200] = 230, 100
    with heat_of(tmp_path / "a.heat", slide, values) as heat:
        view.model.set_slide(slide)
        assert view.wait_painted()
        bare = grabbed(view)
        view.model.add_overlay(Overlay("run 1", heat, threshold=0.5, opacity=1.0))
        assert view.wait_painted()
        hot = [int(v) for v in view.model.to_view(400, 400)]
        mild = [int(v) for v in view.model.to_view(1200, 400)]
        shown = grabbed(view)
        assert shown[hot[1], hot[0]].tolist() == colormap("inferno")[230].tolist()
        assert np.array_equal(shown[mild[1], mild[0]], bare[mild[1], mild[0]])
        view.model.update_overlay("run 1", threshold=0.3)
        assert grabbed(view)[mild[1], mild[0]].tolist() == colormap("inferno")[100].tolist()
        view.model.update_overlay("run 1", visible=False)
        assert np.array_equal(grabbed(view), bare)
        view.model.set_slide(None)


def test_a_heat_map_grows_while_another_writes_it(view, tmp_path):
    slide = ArraySlide(4000, 3000)
    path = tmp_path / "a.heat"
    with heat_of(path, slide, np.zeros((512, 512), np.uint8)) as writer, TilePyramid.open(path, readonly=True) as heat:
        view.model.set_slide(slide)
        view.model.add_overlay(Overlay("run", heat, opacity=1.0))
        assert view.wait_painted()
        x, y = (int(v) for v in view.model.to_view(400, 400))
        before = grabbed(view)[y, x].tolist()
        with writer.transaction():
            writer.write(0, 0, np.full((512, 512), 200, np.uint8))
        assert grabbed(view)[y, x].tolist() == before
        view.model.refresh_overlay("run", (0, 0, 4000, 3000))
        assert grabbed(view)[y, x].tolist() == colormap("inferno")[200].tolist()
        view.model.set_slide(None)


def test_colour_maps_get_brighter_step_by_step():
    for name in COLORMAPS:
        luma = colormap(name).astype(float) @ LUMA
        assert (np.diff(luma) > -0.75).all() and luma[-1] - luma[0] > 140


def test_brightness_and_contrast_change_what_is_shown_not_what_is_read(view):
    slide = ArraySlide(900, 700)
    view.model.set_slide(slide)
    view.model.zoom_at(1 / view.model.zoom)
    assert view.wait_painted()
    bare = without_chrome(grabbed(view)).astype(int)
    view.model.brightness = 0.1
    assert np.abs(without_chrome(grabbed(view)).astype(int) - np.minimum(bare + 25.5, 255)).max() <= 1
    view.model.brightness, view.model.contrast = 0.0, 0.5
    expected = np.clip((bare - 127.5) * 2 + 127.5, 0, 255)
    assert np.abs(without_chrome(grabbed(view)).astype(int) - expected).max() <= 1
    view.model.contrast = 0.0
    assert np.array_equal(without_chrome(grabbed(view)), bare)


def test_on_a_fine_screen_tiles_are_placed_in_device_pixels(view, qtbot):
    slide = ArraySlide(9000, 7000)
    view.model.set_slide(slide)
    view.model.move_to(3000, 3000)
    view.model.zoom_at(0.5 / view.model.zoom)  # 1:1 where a screen pixel is two device pixels wide
    scene = view.scene
    scene.prepare(2.0)
    assert scene.k == 0
    loader = scene.tiles.loader
    picture = QImage(1400, 1000, QImage.Format.Format_RGB32)

    def sharp() -> bool:
        scene.prepare(2.0)  # the view paints meanwhile, for its own coarser screen
        loader.want(scene.wanted())
        return not scene.wanted()

    qtbot.waitUntil(sharp)
    painter = QPainter(picture)
    scene.draw(painter, picture.rect(), QColor("black"))
    painter.end()
    assert np.array_equal(pixels(picture), slide.read(0, 3000 - 700, 3000 - 500, 1400, 1000))


def test_the_place_under_the_pointer_is_told(view, qtbot):
    slide = ArraySlide(900, 700)
    view.model.set_slide(slide)
    view.model.zoom_at(1 / view.model.zoom)
    assert view.wait_painted()
    with qtbot.waitSignal(view.cursor_moved) as told:
        mouse(view, QEvent.Type.MouseMove, (123, 45))
    x, y, label, rgb = told.args
    assert (x, y) == view.model.to_slide(123, 45) and label == 0
    assert list(rgb) == slide.read(0, int(x), int(y), 1, 1)[0, 0].tolist()


def test_the_view_is_named_focusable_and_shows_its_focus(view, qtbot):
    view.model.set_slide(ArraySlide(900, 700))
    assert view.wait_painted()
    assert view.accessibleName() and view.accessibleDescription() and view.overview.accessibleName()
    before = grabbed(view)
    view.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.waitUntil(view.hasFocus)
    changed = (grabbed(view) != before).any(2)
    assert changed[0].all() and changed[:, 0].all() and not changed[100, 100]


def test_closing_ends_the_decoding_threads(qtbot):
    view = SlideView()
    names = {t for t in threading.enumerate() if t.name.startswith("slide tiles")}
    assert len(names) >= 2
    mine = view.scene.tiles.loader._threads
    view.deleteLater()
    qtbot.waitUntil(lambda: not any(t.is_alive() for t in mine))


def test_pressing_two_buttons_does_not_mix_moving_and_painting(view, tmp_path):
    slide = ArraySlide(900, 700)
    with LabelStore.create(tmp_path / "a.labels", slide.width, slide.height) as store:
        view.model.set_slide(slide, store)
        view.model.tool = "brush"
        press(view, (300, 200), MIDDLE)
        press(view, (300, 200))
        release(view, (300, 200))
        release(view, (300, 200), MIDDLE)
        store.flush()
        assert not store.can_undo
        view.model.set_slide(None)


def test_the_model_knows_no_qt():
    code = "import sys, opsin.widgets.slide as s; s.SlideViewModel(); sys.exit('PySide6' in sys.modules or 'qtpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
