"""A view that is turned or mirrored: places are exact, tools paint where the pointer is, the screen is never blank."""

import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt
from qtpy.QtTest import QTest

from opsin.engine.labels.raster import raster_polygon, raster_stroke
from opsin.engine.labels.store import LabelStore
from opsin.widgets.slide import SlideView
from opsin.widgets.slide.transform import ViewTransform, turning

from .slide_scenes import (
    LEFT,
    MIDDLE,
    ArraySlide,
    click,
    double_click,
    drag,
    grabbed,
    mouse,
    move,
    press,
    release,
    wheel,
)

BOTH = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier
CHANGED = 12  # least summed difference of a pixel that is under a label
TURNS = [(37.0, False), (90.0, False), (-123.5, True)]


@pytest.fixture
def view(qtbot):
    view = SlideView()
    qtbot.addWidget(view)
    view.resize(701, 500)  # an odd width: the middle of the view lies between its pixels one way only
    view.show()
    qtbot.waitUntil(view.hasFocus)
    view.clearFocus()
    yield view
    view.model.set_slide(None)
    view.scene.tiles.loader.stop()


@pytest.fixture
def store(tmp_path):
    store = LabelStore.create(tmp_path / "slide.labels", 3000, 2400)
    yield store
    store.close()


def show(view, slide, store=None, zoom=1.0, rotation=0.0, mirrored=False):
    view.model.set_slide(slide, store)
    view.model.move_to(slide.width / 2, slide.height / 2)
    view.model.zoom_at(zoom / view.model.zoom)
    view.model.turn_to(rotation, mirrored)
    assert view.wait_painted()


def at_pixels(model, left, top, width, height):
    """Level-0 points under the middles of the view's pixels: two arrays [height, width]."""
    ys, xs = np.mgrid[top : top + height, left : left + width]
    return model.to_slide(xs + 0.5, ys + 0.5)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [-720.0, -37.25, 0.0, 90.0, 123.4, 180.0, 270.0])
def test_the_way_back_leads_to_where_it_came_from(rotation, mirrored):
    t = ViewTransform((812.5, 77.25), 0.37, (701.0, 500.0), rotation, mirrored)
    for at in ((0.0, 0.0), (3000.5, 17.0), (-4.0, 999.9)):
        assert t.to_slide(*t.to_view(*at)) == pytest.approx(at, abs=1e-9)
    assert t.to_view(812.5, 77.25) == (350.5, 250.0)
    a, b, c, d = t.matrix
    assert a * d - b * c == pytest.approx(-1 if mirrored else 1)


def test_turning_is_clockwise_and_exact_for_quarters():
    right_then_down = ViewTransform((0.0, 0.0), 1.0, (0.0, 0.0), 90.0)
    assert right_then_down.to_view(5.0, 2.0) == (-2.0, 5.0)  # what lay to the right lies below
    assert turning(270.0, False) == turning(-90.0, False) == (0.0, 1.0, -1.0, 0.0)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("rotation", "quarters"), [(90, 3), (180, 2), (-90, 1)])
def test_a_quarter_turn_shows_the_file_pixel_by_pixel(view, rotation, quarters, mirrored):
    slide = ArraySlide(3000, 2400)
    show(view, slide, rotation=rotation, mirrored=mirrored)
    shown = grabbed(view)[20:280, 20:480]
    x, y = at_pixels(view.model, 20, 20, 460, 260)
    around = slide.read(0, 1000, 700, 1000, 1000)
    part = around[int(y.min()) - 700 : int(y.max()) - 699, int(x.min()) - 1000 : int(x.max()) - 999]
    turned = np.rot90(part[:, ::-1] if mirrored else part, quarters)
    # Where the middle of the view lies between pixels, half a pixel is left to chance.
    fits = [
        np.array_equal(shown[3:-3, 3:-3], turned[3 + dy :, 3 + dx :][: shown.shape[0] - 6, : shown.shape[1] - 6])
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    assert fits.count(True) == 1


@pytest.mark.parametrize("zoom", [6.0, 1.0, 0.05])
@pytest.mark.parametrize(("rotation", "mirrored"), TURNS)
def test_each_pixel_shows_the_place_that_the_pointer_would_name(view, zoom, rotation, mirrored):
    """On a slide whose colour says where one is: red grows to the right, green downwards."""
    slide = ArraySlide(3000, 2400, factors=(1,))
    slide._pixels = lambda level, x, y, width, height: np.stack(  # type: ignore[method-assign]
        np.broadcast_arrays(
            (np.arange(x, x + width) * 250 // 3000)[None, :], (np.arange(y, y + height) * 250 // 2400)[:, None], 77
        ),
        axis=2,
    ).astype(np.uint8)
    show(view, slide, zoom=zoom, rotation=rotation, mirrored=mirrored)
    shown = grabbed(view)[:300, :500].astype(float)
    x, y = at_pixels(view.model, 0, 0, 500, 300)
    margin = 3 / zoom
    inside = (x > margin) & (y > margin) & (x < 3000 - margin) & (y < 2400 - margin)
    assert inside.sum() > 500
    allowed = 2.5 + 1.5 * 250 / 2400 / zoom
    assert np.abs(shown[..., 0] - x * 250 / 3000)[inside].max() <= allowed
    assert np.abs(shown[..., 1] - y * 250 / 2400)[inside].max() <= allowed
    assert (shown[..., 2][inside] == 77).all()  # no seam, no hole
    outside = (x < -margin) | (y < -margin) | (x > 3000 + margin) | (y > 2400 + margin)
    ground = view._ground
    assert (np.abs(shown[outside] - [ground.red(), ground.green(), ground.blue()]) <= 1).all()


@pytest.mark.parametrize("zoom", [3.0, 0.4])
@pytest.mark.parametrize(("rotation", "mirrored"), TURNS)
def test_painting_labels_the_places_that_the_pointer_covers(view, store, zoom, rotation, mirrored):
    slide = ArraySlide(3000, 2400)
    show(view, slide, store, zoom, rotation, mirrored)
    view.model.tool = "brush"
    view.model.brush_um = 40 * view.model.mpp / zoom
    wave = [(180 + 8.0 * i, 160 + 60 * np.sin(i / 5)) for i in range(30)]
    drag(view, wave)
    view.pointer = None
    live = grabbed(view).astype(float)
    store.flush()
    QTest.qWait(1)
    assert view.wait_painted()
    settled = grabbed(view).astype(float)
    points = np.array([view.model.to_slide(*at) for at in wave])
    expected = raster_stroke(points, view.model.brush_radius, 0, 0, 3000, 2400)
    assert np.array_equal(store.region(0, 0, 0, 3000, 2400), expected.astype(np.uint8))
    rim = (np.abs(live - settled)[:300].sum(2) > CHANGED).sum()
    assert rim < 0.03 * expected.sum() * zoom**2
    view.model.show_labels = False
    colored = (np.abs(settled - grabbed(view)).sum(2) > CHANGED)[:300, :500]
    x, y = at_pixels(view.model, 0, 0, 500, 300)
    there = expected[np.clip(y.astype(int), 0, 2399), np.clip(x.astype(int), 0, 2999)]
    assert (colored != there).sum() < 0.05 * there.sum()


@pytest.mark.parametrize(("rotation", "mirrored"), TURNS)
def test_a_polygon_and_the_picked_class_are_where_the_corners_were_clicked(view, store, rotation, mirrored):
    show(view, ArraySlide(3000, 2400), store, 1.0, rotation, mirrored)
    view.model.tool, view.model.label = "polygon", 2
    ring = [(150.0, 100.0), (400.0, 120.0), (330.0, 300.0)]
    for at in ring[:2]:
        click(view, at)
    double_click(view, ring[2])
    store.flush()
    corners = np.array([view.model.to_slide(*at) for at in ring])
    expected = raster_polygon([corners], "nonzero", 0, 0, 3000, 2400)
    assert ((store.region(0, 0, 0, 3000, 2400) == 2) != expected).sum() == 0
    view.model.label = 1
    view.model.tool = "pick"
    click(view, (300, 170))
    assert view.model.label == 2


@pytest.mark.parametrize(("rotation", "mirrored"), TURNS)
def test_wheel_and_drag_keep_the_place_under_the_pointer(view, rotation, mirrored):
    show(view, ArraySlide(3000, 2400), zoom=0.8, rotation=rotation, mirrored=mirrored)
    model, at = view.model, (211.0, 143.0)
    for notches in (3, -2, 0.5):
        before = model.to_slide(*at)
        wheel(view, at, notches)
        assert model.to_slide(*at) == pytest.approx(before, abs=1e-6)
    before = model.to_slide(*at)
    drag(view, [at, (230.0, 160.0), (260.0, 190.0)], button=MIDDLE)
    assert model.to_slide(260.0, 190.0) == pytest.approx(before, abs=1e-6)


def test_the_whole_slide_fits_at_every_angle_and_stays_so(view):
    view.model.set_slide(ArraySlide(9000, 2000))
    for rotation in range(0, 360, 25):
        view.model.turn_to(rotation)
        assert view.model.fitted and view.model.all_in_sight
    view.model.zoom_at(3)
    zoom, centre = view.model.zoom, view.model.centre
    view.model.turn_by(40)
    assert (view.model.zoom, view.model.centre) == (zoom, centre)


def test_turning_goes_around_and_another_slide_lies_as_scanned(view):
    model = view.model
    model.set_slide(ArraySlide(3000, 2400))
    for wished, found in ((450, 90), (-90, -90), (270, -90), (180, 180), (-180, 180), (360, 0)):
        model.turn_to(wished)
        assert model.rotation == found
    model.turn_to(30, True)
    model.set_slide(ArraySlide(3000, 2400))
    assert (model.rotation, model.mirrored) == (0, False)


def test_flip_swaps_left_and_right_of_what_is_on_the_screen(view):
    show(view, ArraySlide(3000, 2400), rotation=90)
    view.resize(700, 500)
    assert view.wait_painted()
    before = grabbed(view)[50:250, 150:550]
    view.model.flip()
    assert view.wait_painted()
    assert np.array_equal(grabbed(view)[50:250, 150:550], before[:, ::-1])
    view.model.flip()
    assert (view.model.rotation, view.model.mirrored) == (90, False)


def test_shift_alt_drag_turns_around_the_middle_whatever_the_tool(view, store):
    show(view, ArraySlide(3000, 2400), store)
    for tool in ("brush", "pan", "polygon"):
        view.model.tool = tool
        view.model.turn_to(0)
        centre = view.model.centre
        middle = QPointF(350.5, 250)
        press(view, (middle.x() + 200, middle.y()), modifiers=BOTH)
        move(view, (middle.x() + 150, middle.y() + 150), modifiers=BOTH)
        assert view.model.rotation == pytest.approx(45)
        move(view, (middle.x() + 4, middle.y() + 190), modifiers=BOTH)
        assert view.model.rotation == 90  # held at a quarter
        move(view, (middle.x() + 3, middle.y() - 2), modifiers=BOTH)  # too near to the middle to have a direction
        assert view.model.rotation == 90
        assert "90°" in view.read_out.note
        release(view, (middle.x(), middle.y() + 190), modifiers=BOTH)
        move(view, (middle.x() + 200, middle.y()), held=Qt.MouseButton.NoButton)
        assert view.model.rotation == 90
        assert view.model.centre == centre
    store.flush()
    assert not store.region(0, 0, 0, 3000, 2400).any() and not view.tool.points


def test_a_turned_view_is_never_blank_while_it_moves(view):
    slide = ArraySlide(9000, 7000)
    view.model.set_slide(slide)
    view.model.turn_to(33)
    assert view.wait_painted()
    slide.gate.clear()  # from here on nothing new can be decoded
    view.model.zoom_at(20)
    ground, paper = view._ground, (243, 238, 242)
    for _ in range(12):
        view.model.pan(-60, 35)
        view.model.turn_by(7)
        middle = grabbed(view)[20:280, 20:480].astype(int)
        assert (np.abs(middle - [ground.red(), ground.green(), ground.blue()]).sum(2) > 0).all()
        assert (np.abs(middle - paper).sum(2) > 0).all()
    slide.gate.set()
    assert view.wait_painted()


def test_only_tiles_that_a_turned_view_shows_are_asked_for(view):
    slide = ArraySlide(60000, 60000, factors=(1, 4, 16, 64))
    slide.gate.clear()
    view.model.set_slide(slide)
    view.resize(3800, 900)
    view.model.zoom_at(0.9 / view.model.zoom)
    view.model.turn_to(45)
    wanted = [key for key in view.scene.wanted() if key[0] >= 0]
    _, _, width, height = view.model.visible_rect()
    everything = (int(width // 512) + 3) * (int(height // 512) + 3)
    assert len(wanted) < 0.75 * everything
    centre = view.model.centre
    for corner in ((0, 0), (3799, 0), (3799, 899), (0, 899)):
        at = view.model.to_slide(*corner)
        assert (0, int(at[1] // 512), int(at[0] // 512)) in wanted
    assert wanted[0] in {(0, int(centre[1] // 512) - dy, int(centre[0] // 512) - dx) for dx in (0, 1) for dy in (0, 1)}
    slide.gate.set()


@pytest.mark.parametrize(("rotation", "mirrored"), TURNS)
def test_the_map_lies_like_the_view_and_a_click_in_it_goes_there(view, rotation, mirrored):
    show(view, ArraySlide(3000, 2400), zoom=1.5, rotation=rotation, mirrored=mirrored)
    assert view.overview.isVisible()
    x, y, width, height = view.overview.frame()
    assert width / height == pytest.approx(701 / 500, rel=0.01)
    inside = view.overview._inside()
    at = (x + width / 2 + 6, y + height / 2 - 4)
    before = view.model.to_slide(350.5 + 6 * 701 / width, 250 - 4 * 500 / height)
    click(view.overview, (at[0] + inside.x(), at[1] + inside.y()))
    assert view.model.centre == pytest.approx(before, abs=1.0)


def test_the_map_hides_while_the_whole_slide_is_in_sight_and_by_wish(view):
    view.model.set_slide(ArraySlide(3000, 2400))
    assert not view.overview.isVisible()
    view.model.zoom_at(3)
    assert view.overview.isVisible()
    view.overview.want(False)
    view.model.zoom_at(1.2)
    assert not view.overview.isVisible()
    view.overview.want(True)
    assert view.overview.isVisible()
    view.model.fit()
    assert not view.overview.isVisible()


def test_the_ring_of_the_brush_leaves_no_trace_in_a_turned_view(view, store):
    show(view, ArraySlide(3000, 2400), store, rotation=33)
    view.model.tool = "brush"
    view.model.brush_um = 60 * view.model.mpp
    before = grabbed(view)[:300, :500]
    for x in range(100, 300, 25):
        mouse(view, mouse_move(), (x, 150), held=Qt.MouseButton.NoButton)
        view.grab()
    mouse(view, mouse_move(), (600, 450), held=Qt.MouseButton.NoButton)
    assert np.array_equal(grabbed(view)[:300, :500], before)


def mouse_move():
    from qtpy.QtCore import QEvent

    return QEvent.Type.MouseMove


def test_a_stroke_repaints_its_surroundings_only(view, store, monkeypatch):
    show(view, ArraySlide(3000, 2400), store, rotation=33)
    view.model.tool = "brush"
    view.model.brush_um = 40 * view.model.mpp
    press(view, (200, 150), LEFT)
    view.repaint()
    asked = []
    monkeypatch.setattr(view, "update", lambda *rect: asked.append(rect))
    move(view, (208, 152))
    release(view, (208, 152))
    assert asked
    for rect in asked:
        width, height = (rect[2], rect[3]) if len(rect) == 4 else (rect[0].width(), rect[0].height())
        assert max(width, height) < 120
