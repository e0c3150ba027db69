"""Rectangle, ellipse and wand with real mouse events: level-0 values, pixels on the screen, at several zooms and turned."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from opsin.engine.labels.raster import raster_polygon
from opsin.engine.labels.similar import similar, smooth_outline
from opsin.widgets.slide.wand import REACH

from .slide_desk import Desk
from .slide_scenes import RIGHT, ArraySlide, blended, click, drag, grabbed, move, press, release, wheel

ALT, SHIFT, CTRL = (
    Qt.KeyboardModifier.AltModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
)


@pytest.fixture(params=[1.0, 0.25])
def desk(request, qtbot, tmp_path):
    desk = Desk(qtbot, ArraySlide(2400, 1900), tmp_path, zoom=request.param)
    yield desk
    desk.close()


def _inside(desk, *corners):
    """Which level-0 pixels lie in the polygon of these points of the view."""
    return raster_polygon([desk.to_slide(*corners)], "nonzero", 0, 0, desk.slide.width, desk.slide.height)


def test_a_rectangle_is_exact_and_its_size_is_said(desk):
    desk.model.tool, before = "rectangle", desk.shown()
    press(desk.view, (200, 150))
    move(desk.view, (340, 210))
    um = 0.5 / desk.model.zoom
    assert desk.view.read_out.note.startswith(f"{140 * um:.4g} × {60 * um:.4g} µm")
    live = grabbed(desk.view)
    assert not np.array_equal(live[180, 270], before[180, 270].astype(np.uint8)), "it is seen while it is dragged"
    release(desk.view, (360, 230))
    desk.settle()
    expected = _inside(desk, (200, 150), (360, 150), (360, 230), (200, 230))
    assert np.array_equal(desk.labels() == 1, expected) and expected.any()
    tumour = desk.model.classes[0]
    colored = blended(before[160:220, 210:350], tumour.color, tumour.opacity)
    assert np.abs(desk.shown()[160:220, 210:350] - colored).max() <= 3
    assert desk.store.undo_text == "Rectangle" and desk.store.undo() and not desk.store.undo()


@pytest.mark.parametrize(("keys", "corners"), [
    (SHIFT, [(200, 150), (300, 150), (300, 250), (200, 250)]),
    (CTRL, [(100, 90), (300, 90), (300, 210), (100, 210)]),
    (SHIFT | CTRL, [(100, 50), (300, 50), (300, 250), (100, 250)]),
])  # fmt: skip
def test_shift_makes_a_square_and_ctrl_begins_in_the_middle(desk, keys, corners):
    desk.model.tool = "rectangle"
    drag(desk.view, [(200, 150), (250, 190), (300, 210)], modifiers=keys)
    desk.settle()
    assert np.array_equal(desk.labels() == 1, _inside(desk, *corners))


def test_an_ellipse_is_an_ellipse_at_level_0(desk):
    desk.model.tool = "ellipse"
    drag(desk.view, [(200, 150), (300, 200), (420, 260)])
    desk.settle()
    (x0, y0), (x1, y1) = desk.to_slide((200, 150), (420, 260))
    y, x = np.mgrid[: desk.slide.height, : desk.slide.width] + 0.5
    away = np.hypot((x - (x0 + x1) / 2) / (x1 - x0) * 2, (y - (y0 + y1) / 2) / (y1 - y0) * 2)
    found = desk.labels() == 1
    unlike = found != (away <= 1)
    assert np.abs(away[unlike] - 1).max(initial=0) < 0.001 and unlike.sum() < 50 and found.any()
    assert desk.store.undo_text == "Ellipse"


@pytest.mark.parametrize("how", ["right button", "Alt"])
def test_shapes_take_away(desk, how):
    desk.model.tool = "rectangle"
    drag(desk.view, [(100, 100), (300, 200), (400, 300)])
    if how == "Alt":
        drag(desk.view, [(200, 150), (250, 180), (300, 200)], modifiers=ALT)
    else:
        drag(desk.view, [(200, 150), (250, 180), (300, 200)], RIGHT)
    desk.settle()
    outer = _inside(desk, (100, 100), (400, 100), (400, 300), (100, 300))
    inner = _inside(desk, (200, 150), (300, 150), (300, 200), (200, 200))
    assert np.array_equal(desk.labels() == 1, outer & ~inner)
    assert desk.store.undo_text == "Rectangle (subtract)"


def test_a_rectangle_stands_upright_on_a_turned_slide(desk):
    desk.model.turn_to(30, mirrored=True)
    desk.model.tool = "rectangle"
    drag(desk.view, [(250, 150), (300, 190), (420, 260)])
    desk.settle()
    assert np.array_equal(desk.labels() == 1, _inside(desk, (250, 150), (420, 150), (420, 260), (250, 260)))


def test_a_click_is_no_shape_and_escape_gives_up(desk):
    desk.model.tool = "ellipse"
    press(desk.view, (200, 200))
    release(desk.view, (202, 203))
    press(desk.view, (200, 200))
    move(desk.view, (300, 300))
    QTest.keyClick(desk.view, Qt.Key.Key_Escape)
    release(desk.view, (300, 300))
    desk.settle()
    assert not desk.store.can_undo


# ---- wand


class Tissue(ArraySlide):
    """Purple discs of two kinds on white, with grain."""

    def __init__(self) -> None:
        super().__init__(2048, 2048, factors=(1, 4))
        rng = np.random.default_rng(1)
        y, x = np.mgrid[:2048, :2048]
        self.disc = np.hypot(x - 1000, y - 1000) < 300
        self.other = np.hypot(x - 1450, y - 1000) < 100
        self.hole = np.hypot(x - 1000, y - 900) < 60
        picture = np.full((2048, 2048, 3), 240.0)
        picture[self.disc & ~self.hole] = (150, 80, 160)
        picture[self.other] = (150, 80, 160)
        self.picture = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)

    def _pixels(self, level, x, y, width, height):
        step = int(self.levels[level].downsample_x)
        return np.ascontiguousarray(self.picture[::step, ::step][y : y + height, x : x + width])


@pytest.fixture(params=[1.0, 0.2, 0.37])
def tissue(request, qtbot, tmp_path):
    desk = Desk(qtbot, Tissue(), tmp_path, zoom=request.param, centre=(1000, 1000))
    desk.model.tool = "wand"
    yield desk
    desk.close()


def _spot(desk, x, y):
    return desk.model.to_view(x, y)


def _painted(desk, steps=1):
    desk.qtbot.waitUntil(lambda: len(desk.store._done) == steps, timeout=20_000)
    desk.settle()
    return desk.labels() == 1


def test_the_wand_takes_what_looks_alike_and_hangs_together(tissue):
    slide = tissue.slide
    click(tissue.view, _spot(tissue, 1000, 1100))
    found = _painted(tissue)
    wanted = slide.disc & ~slide.hole
    # what is in sight, with a margin of a quarter on each side
    left, top = tissue.to_slide((-175, -125))[0]
    right, bottom = tissue.to_slide((875, 625))[0]
    seen = np.zeros_like(wanted)
    seen[max(0, int(top)) : int(bottom), max(0, int(left)) : int(right)] = True
    y, x = np.mgrid[:2048, :2048]
    near = np.hypot(x - 1000, y - 1100) <= REACH / tissue.model.zoom  # a click does not flood all that is alike
    wanted &= seen & near
    assert (found & wanted).sum() / (found | wanted).sum() > 0.95
    assert not found[slide.hole].any() or found[slide.hole].mean() < 0.1
    assert not (found & slide.other).any() and not (found & ~seen).any()
    assert tissue.store.undo_text == "Wand" and tissue.store.undo() and not tissue.store.undo()


def test_a_drag_of_the_wand_adds_places_and_alt_takes_away(tissue):
    if tissue.model.zoom == 1.0:
        tissue.model.move_to(1250, 1000)
    drag(tissue.view, [_spot(tissue, 1200, 1000), _spot(tissue, 1330, 1000), _spot(tissue, 1450, 1000)])
    found = _painted(tissue)
    assert found[1000, 1200] and found[1000, 1450] and found[1000, 1325], "the place between was passed too"
    click(tissue.view, _spot(tissue, 1450, 1000), modifiers=ALT)
    assert not _painted(tissue, 2)[tissue.slide.other].mean() > 0.1


def test_the_tolerance_is_set_by_alt_and_wheel(tissue):
    before = tissue.model.wand_tolerance
    zoom = tissue.model.zoom
    wheel(tissue.view, (300, 200), 2, ALT)
    assert tissue.model.wand_tolerance == pytest.approx(before * 1.15**2) and tissue.model.zoom == zoom
    tissue.model.wand_tolerance = 90
    click(tissue.view, _spot(tissue, 1000, 1100))
    found = _painted(tissue)
    y, x = np.mgrid[:2048, :2048]
    far, reach = np.hypot(x - 1000, y - 1100), REACH / tissue.model.zoom
    assert found[far < 0.97 * reach].all() and not found[far > 1.03 * reach].any(), (
        "everything is alike now, but not afar"
    )


def test_the_wand_leaves_other_classes_and_goes_on_with_the_drag(tissue):
    """What is labelled stays; what lies beyond the reach of the click is taken when the drag comes there."""
    tissue.store.polygon([np.array([[960, 1080], [990, 1080], [990, 1120], [960, 1120]], float)], 2)
    tissue.settle()
    click(tissue.view, _spot(tissue, 1020, 1100))
    tissue.qtbot.waitUntil(lambda: len(tissue.store._done) == 2, timeout=20_000)
    tissue.settle()
    labels = tissue.labels()
    assert (labels[1082:1118, 962:988] == 2).all(), "another class is not overwritten"
    assert labels[1100, 1000] == 1 and labels[1100, 950] == 1, "it goes round it"
    tissue.model.label = 2
    click(tissue.view, _spot(tissue, 1020, 1100), modifiers=ALT)
    tissue.qtbot.waitUntil(lambda: len(tissue.store._done) == 3, timeout=20_000)
    tissue.settle()
    assert not tissue.labels()[1100, 1000], "taking away takes every class"


def test_escape_drops_what_the_wand_selects(tissue):
    press(tissue.view, _spot(tissue, 1000, 1100))
    tissue.qtbot.waitUntil(lambda: bool(tissue.view.tool.rings), timeout=20_000)
    assert not np.array_equal(grabbed(tissue.view), tissue.shown()) or tissue.view.tool.rings
    QTest.keyClick(tissue.view, Qt.Key.Key_Escape)
    release(tissue.view, _spot(tissue, 1000, 1100))
    tissue.settle()
    assert not tissue.store.can_undo and not tissue.view.tool.rings


def test_similar_pixels_and_their_outline():
    picture = np.full((80, 100, 3), 250, np.uint8)
    picture[20:60, 30:70] = (120, 60, 140)
    mask = similar(picture, [(50, 40), (-5, 3)], 20)
    assert mask[22:58, 32:68].all() and mask.sum() < 44 * 44
    assert not similar(picture, [(200, 200)], 20).any()
    (ring,) = smooth_outline(mask)
    again = raster_polygon([ring], "evenodd", 0, 0, 100, 80)
    assert not (mask & ~again).any() and (again & ~mask).sum() < 180
    assert len(smooth_outline(np.pad(np.zeros((20, 20), bool), 15, constant_values=True))) == 2, "a hole is a ring too"
