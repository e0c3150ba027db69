"""Painting with real mouse events: exact in the store at level 0, seen at once, one undo step per gesture."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from opsin.engine.data.slides import open_slide
from opsin.engine.labels.raster import raster_polygon, raster_stroke
from opsin.engine.labels.store import LabelStore
from opsin.widgets.slide import SlideView

from .slide_desk import Desk
from .slide_scenes import (
    LEFT,
    MIDDLE,
    RIGHT,
    ArraySlide,
    blended,
    click,
    double_click,
    drag,
    grabbed,
    move,
    press,
    release,
    wheel,
)

ALT = Qt.KeyboardModifier.AltModifier
CHANGED = 12  # least summed difference of a pixel that is under a label


@pytest.fixture
def desk(qtbot, tmp_path):
    desk = Desk(qtbot, ArraySlide(1500, 1200), tmp_path)
    yield desk
    desk.close()


def wave(count: int = 30) -> list[tuple[float, float]]:
    return [(200 + 8.0 * i, 200 + 60 * np.sin(i / 5)) for i in range(count)]


def test_a_stroke_on_a_real_slide_is_exact_in_the_store_and_on_the_screen(qtbot, tmp_path, data):
    with open_slide(data / "wsi/slides/CMU-1-Small-Region.svs") as slide:
        desk = Desk(qtbot, slide, tmp_path, centre=(1110, 1480))  # whole pixels on the screen's pixels
        before = desk.shown()
        drag(desk.view, wave())
        live = desk.shown()
        desk.settle()
        expected = raster_stroke(desk.to_slide(*wave()), desk.model.brush_radius, 0, 0, slide.width, slide.height)
        assert np.array_equal(desk.labels(), expected.astype(np.uint8))
        shown = desk.shown()
        x, y = (round(v) for v in desk.model.to_slide(0, 0))
        mask = expected[y : y + 500, x : x + 700][:300, :600]
        tumour = desk.model.classes[0]
        colored = blended(before, tumour.color, tumour.opacity)[:300, :600]
        assert np.abs(shown[:300, :600] - np.where(mask[..., None], colored, before[:300, :600])).max() <= 3
        # What was seen while painting differs from it by a rim of single pixels at most.
        assert (np.abs(live - shown)[:300, :600].sum(2) > CHANGED).sum() < 0.02 * mask.sum()
        desk.close()


@pytest.mark.parametrize(
    ("size", "zoom"), [((3000, 2500), 3.0), ((6000, 5000), 0.37), ((9000, 7000), None), ((9000, 7000), 0.25)]
)
def test_a_stroke_is_exact_at_every_zoom(qtbot, tmp_path, size, zoom):
    desk = Desk(qtbot, ArraySlide(*size), tmp_path, zoom)
    drag(desk.view, wave(20))
    live = desk.shown()
    desk.settle()
    settled = desk.shown()
    points = desk.to_slide(*wave(20))
    expected = raster_stroke(points, desk.model.brush_radius, 0, 0, *size)
    assert np.array_equal(desk.labels(), expected.astype(np.uint8))
    rim = (np.abs(live - settled)[:300].sum(2) > CHANGED).sum()
    assert rim < 0.02 * expected.sum() * desk.model.zoom**2
    # On the screen, the class is where the store has it.
    desk.model.show_labels = False
    colored = (np.abs(settled - desk.shown()).sum(2) > CHANGED)[:300, :500]
    ys, xs = np.mgrid[0:300, 0:500]
    at_x, at_y = desk.model.to_slide(xs + 0.5, ys + 0.5)
    there = expected[np.clip(at_y.astype(int), 0, size[1] - 1), np.clip(at_x.astype(int), 0, size[0] - 1)]
    assert (colored != there).sum() < 0.03 * there.sum()
    desk.close()


def test_every_point_counts_the_last_one_too(desk):
    desk.model.brush_um = 4
    press(desk.view, (100, 100))
    for x in range(101, 200):
        move(desk.view, (x, 100 + x % 2))
    release(desk.view, (250, 180))
    desk.settle()
    x, y = (int(v) for v in desk.model.to_slide(250, 180))
    assert desk.labels()[y, x] == 1
    points = [(100, 100), *((x, 100 + x % 2) for x in range(101, 200)), (250, 180)]
    expected = raster_stroke(desk.to_slide(*points), 4, 0, 0, 1500, 1200)
    assert np.array_equal(desk.labels() == 1, expected)


def test_a_click_paints_one_dab(desk):
    click(desk.view, (300, 200))
    desk.settle()
    expected = raster_stroke(desk.to_slide((300, 200)), 20, 0, 0, 1500, 1200)
    assert np.array_equal(desk.labels() == 1, expected)


def test_a_quick_second_stroke_is_not_lost_to_the_double_click(desk):
    double_click(desk.view, (300, 200))
    desk.settle()
    assert desk.store.undo() and desk.store.undo() and not desk.store.undo()


def test_a_long_stroke_reaches_the_store_in_parts_and_is_one_undo_step(desk):
    empty = desk.shown()
    points = [(100 + i * 0.9, 200 + 40 * np.sin(i / 20)) for i in range(500)]
    press(desk.view, points[0])
    for at in points[1:450]:
        move(desk.view, at)
    desk.settle()
    assert desk.store.areas()[1] > 0  # two parts of 200 are safe before the button is released
    whole = raster_stroke(desk.to_slide(*points[:450]), 20, 0, 0, 1500, 1200)
    shown = desk.shown()
    assert ((np.abs(shown - empty)[:300].sum(2) > CHANGED).sum()) > 0.95 * whole.sum()  # the rest is still seen
    for at in points[450:-1]:
        move(desk.view, at)
    release(desk.view, points[-1])
    desk.settle()
    expected = raster_stroke(desk.to_slide(*points), 20, 0, 0, 1500, 1200)
    assert np.array_equal(desk.labels() == 1, expected)
    assert desk.model.undo()
    desk.settle()
    assert not desk.labels().any() and not desk.store.can_undo
    assert np.array_equal(desk.shown()[:300], empty[:300])
    assert desk.model.redo()
    desk.settle()
    assert np.array_equal(desk.labels() == 1, expected)


def test_a_hand_that_rests_is_saved_within_two_seconds(desk, monkeypatch):
    press(desk.view, (200, 200))
    move(desk.view, (240, 200))
    assert not desk.store.can_undo
    desk.view.tool._since -= 2.0 - desk.view._tick_timer.interval() / 1000  # nearly two seconds pass: one tick is left
    assert desk.view._tick_timer.isActive()
    desk.view.tool.tick()
    assert desk.store.can_undo, "else more than two seconds could be lost"
    move(desk.view, (280, 200))
    desk.view.tool._since -= 2.0
    desk.qtbot.waitUntil(lambda: len(desk.store._done[-1].ids) == 2, timeout=3000)  # the timer asks by itself
    release(desk.view, (280, 200))


def test_undo_and_redo_by_keys_in_the_view(desk):
    click(desk.view, (300, 200))
    desk.settle()
    QTest.keyClick(desk.view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    desk.settle()
    assert not desk.labels().any()
    redo = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(desk.view, Qt.Key.Key_Z, redo)
    desk.settle()
    assert desk.labels().any()


@pytest.mark.parametrize("how", ["eraser", "right button", "Alt"])
def test_taking_away(desk, how):
    empty = desk.shown()
    drag(desk.view, [(200, 200), (400, 200)])
    desk.settle()
    across = [(300, 100), (300, 300)]
    if how == "eraser":
        desk.model.tool = "eraser"
        drag(desk.view, across)
    elif how == "right button":
        drag(desk.view, across, RIGHT)
    else:
        drag(desk.view, across, modifiers=ALT)
    live = desk.shown()
    assert np.array_equal(live[200, 300], empty[200, 300])
    desk.settle()
    painted = raster_stroke(desk.to_slide((200, 200), (400, 200)), 20, 0, 0, 1500, 1200)
    erased = raster_stroke(desk.to_slide(*across), 20, 0, 0, 1500, 1200)
    assert np.array_equal(desk.labels() == 1, painted & ~erased)
    assert np.array_equal(desk.shown()[200, 300], empty[200, 300])


@pytest.mark.parametrize("tool", ["brush", "lasso", "polygon"])
def test_a_locked_class_gains_no_pixels_and_the_view_says_why(desk, tool):
    desk.model.update_class(1, locked=True)
    desk.model.tool = tool
    drag(desk.view, wave())
    click(desk.view, (300, 300))
    desk.settle()
    assert desk.store.areas() == {} and not desk.store.can_undo
    assert desk.view.read_out.note == "Tumour is locked"
    desk.model.label = 2
    desk.model.tool = "brush"
    drag(desk.view, wave())
    desk.settle()
    assert set(desk.store.areas()) == {2}


def test_locked_classes_stay_in_the_store_and_on_the_screen(desk):
    drag(desk.view, [(200, 200), (400, 200)])
    desk.settle()
    desk.model.update_class(1, locked=True)
    assert desk.store.protected == {1}
    desk.model.label = 2
    before = desk.shown()
    drag(desk.view, [(300, 100), (300, 300)])
    live = desk.shown()
    assert np.array_equal(live[200, 300], before[200, 300])
    assert not np.array_equal(live[150, 300], before[150, 300])
    drag(desk.view, [(350, 200), (360, 200)], RIGHT)
    desk.settle()
    first = raster_stroke(desk.to_slide((200, 200), (400, 200)), 20, 0, 0, 1500, 1200)
    second = raster_stroke(desk.to_slide((300, 100), (300, 300)), 20, 0, 0, 1500, 1200)
    assert np.array_equal(desk.labels(), np.where(first, 1, np.where(second, 2, 0)))


def test_classes_are_hidden_and_faded_one_by_one(desk):
    empty = desk.shown()
    click(desk.view, (200, 200))
    desk.model.label = 2
    click(desk.view, (400, 200))
    desk.settle()
    desk.model.update_class(1, visible=False)
    shown = desk.shown()
    assert np.array_equal(shown[200, 200], empty[200, 200]) and not np.array_equal(shown[200, 400], empty[200, 400])
    desk.model.update_class(2, opacity=1.0, color="#112233")
    assert desk.shown()[200, 400].tolist() == [0x11, 0x22, 0x33]
    desk.model.label = 1
    click(desk.view, (300, 300))  # painting with a hidden class shows it
    assert desk.model.label_class(1).visible
    desk.model.show_labels = False
    assert np.array_equal(desk.shown()[:400], empty[:400])


def test_a_polygon_is_clicked_and_closed_by_a_double_click(desk):
    desk.model.tool, desk.model.label = "polygon", 2
    empty = desk.shown()
    corners = [(100, 100), (300, 120), (320, 300)]
    for at in corners:
        move(desk.view, at, Qt.MouseButton.NoButton)
        click(desk.view, at)
    double_click(desk.view, (120, 280))
    live = desk.shown()
    assert not np.array_equal(live[200, 220], empty[200, 220])
    desk.settle()
    ring = desk.to_slide(*corners, (120, 280))
    assert np.array_equal(desk.labels() == 2, raster_polygon([ring], "nonzero", 0, 0, 1500, 1200))
    assert (np.abs(live - desk.shown())[:, :500].sum(2) > CHANGED).sum() < 800
    assert desk.store.undo() and not desk.store.undo()


def test_a_polygon_in_the_making_is_corrected_dropped_and_closed_by_keys(desk):
    desk.model.tool = "polygon"
    for at in [(100, 100), (300, 100), (300, 300), (600, 20)]:
        click(desk.view, at)
    assert not np.array_equal(grabbed(desk.view)[100, 200], grabbed(desk.view)[150, 50])
    QTest.keyClick(desk.view, Qt.Key.Key_Backspace)
    QTest.keyClick(desk.view, Qt.Key.Key_Return)
    desk.settle()
    ring = desk.to_slide((100, 100), (300, 100), (300, 300))
    assert np.array_equal(desk.labels() == 1, raster_polygon([ring], "nonzero", 0, 0, 1500, 1200))
    for at in [(400, 100), (500, 100), (500, 300)]:
        click(desk.view, at)
    QTest.keyClick(desk.view, Qt.Key.Key_Escape)
    QTest.keyClick(desk.view, Qt.Key.Key_Return)
    desk.settle()
    assert desk.store.undo() and not desk.store.undo()


def test_a_hand_that_trembles_by_four_pixels_sets_one_corner(desk):
    desk.model.tool = "polygon"
    press(desk.view, (100, 100))
    move(desk.view, (102, 101))
    release(desk.view, (103, 102))
    assert len(desk.view.tool.points) == 1
    press(desk.view, (200, 100))
    for x in range(200, 240, 10):
        move(desk.view, (x, 100 + x / 10))
    release(desk.view, (240, 130))
    assert len(desk.view.tool.points) > 4
    desk.model.tool = "pan"
    assert not desk.store.can_undo


@pytest.mark.parametrize("take_away", [False, True])
def test_a_lasso_fills_what_was_drawn_around(desk, take_away):
    if take_away:
        desk.model.brush_um = 2000
        click(desk.view, (250, 200))
        desk.settle()
    full = desk.labels() == 1
    desk.model.tool = "lasso"
    around = [(250 + 100 * np.cos(a), 200 + 80 * np.sin(a)) for a in np.linspace(0, 6.2, 60)]
    drag(desk.view, around, modifiers=ALT if take_away else Qt.KeyboardModifier.NoModifier)
    desk.settle()
    inside = raster_polygon([desk.to_slide(*around)], "nonzero", 0, 0, 1500, 1200)
    assert np.array_equal(desk.labels() == 1, full & ~inside if take_away else inside)
    steps = 2 if take_away else 1
    assert [desk.store.undo() for _ in range(steps + 1)] == [True] * steps + [False]


def test_a_click_with_the_lasso_is_no_outline(desk):
    desk.model.tool = "lasso"
    press(desk.view, (200, 200))
    move(desk.view, (202, 203))
    release(desk.view, (201, 201))
    assert not desk.store.can_undo


def test_pick_takes_the_class_under_the_pointer(desk):
    desk.model.label = 3
    click(desk.view, (200, 200))
    desk.model.label, desk.model.tool = 1, "pick"
    click(desk.view, (400, 200))
    assert desk.model.label == 1
    click(desk.view, (200, 200))
    assert desk.model.label == 3


def test_zooming_and_moving_in_the_middle_of_a_stroke_goes_on_at_the_right_place(desk):
    press(desk.view, (200, 200))
    move(desk.view, (260, 200))
    points = list(desk.to_slide((200, 200), (260, 200)))
    wheel(desk.view, (260, 200), -4)
    live = desk.shown()
    x, y = (round(v) for v in desk.model.to_view(*points[0]))
    desk.model.show_labels = False
    assert not np.array_equal(desk.shown()[y, x], live[y, x])  # the new zoom shows what is not with the store yet
    desk.model.show_labels = True
    move(desk.view, (300, 240))
    release(desk.view, (330, 240))
    points += list(desk.to_slide((300, 240), (330, 240)))
    desk.settle()
    assert np.array_equal(desk.labels() == 1, raster_stroke(np.array(points), 20, 0, 0, 1500, 1200))


def test_another_slide_in_the_middle_of_a_stroke_loses_nothing(desk):
    press(desk.view, (200, 200))
    move(desk.view, (260, 200))
    points = desk.to_slide((200, 200), (260, 200))
    desk.model.set_slide(None)
    release(desk.view, (300, 200))
    desk.store.flush()
    expected = raster_stroke(points, 20, 0, 0, 1500, 1200)
    assert np.array_equal(desk.labels() == 1, expected)


def test_labels_that_are_read_only_cannot_be_painted(qtbot, tmp_path):
    slide = ArraySlide(900, 700)
    LabelStore.create(tmp_path / "a.labels", 900, 700).close()
    with LabelStore.open(tmp_path / "a.labels", readonly=True) as store:
        view = SlideView()
        qtbot.addWidget(view)
        view.resize(400, 300)
        view.model.set_slide(slide, store)
        view.model.tool = "brush"
        drag(view, [(100, 100), (200, 200)])
        view.model.tool = "polygon"
        double_click(view, (100, 100))
        assert not store.region(0, 0, 0, 900, 700).any()
        view.model.set_slide(None)
        view.scene.tiles.loader.stop()


def test_saved_and_failed_are_told_by_the_view(desk):
    with desk.qtbot.waitSignal(desk.view.saved) as told:
        click(desk.view, (300, 200), LEFT)
    assert told.args[0] > 1e9
    with desk.qtbot.waitSignal(desk.view.failed) as told:
        desk.store.failed.emit("The disk is full.")
    assert told.args == ["The disk is full."]


def test_the_middle_button_does_not_end_a_stroke(desk):
    press(desk.view, (200, 200))
    click(desk.view, (210, 200), MIDDLE)
    move(desk.view, (400, 200))
    release(desk.view, (400, 200))
    desk.settle()
    assert np.array_equal(
        desk.labels() == 1, raster_stroke(desk.to_slide((200, 200), (400, 200)), 20, 0, 0, 1500, 1200)
    )
