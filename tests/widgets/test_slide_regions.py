"""Fill, cut, join, grow, shrink, holes with real mouse and key events: level-0 values, one undo step each, refusals."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from scipy import ndimage

from opsin.engine.labels import regions

from .slide_desk import Desk
from .slide_scenes import RIGHT, ArraySlide, click, drag, move

ALT = Qt.KeyboardModifier.AltModifier


@pytest.fixture(params=[1.0, 0.25])
def desk(request, qtbot, tmp_path):
    desk = Desk(qtbot, ArraySlide(2400, 1900), tmp_path, zoom=request.param)
    yield desk
    desk.close()


def _worked(desk) -> np.ndarray:
    """What the store holds after the thread is done."""
    desk.qtbot.waitUntil(lambda: not desk.view.regions.busy, timeout=20_000)
    desk.settle()
    return desk.labels()


def _square(desk, left, top, right, bottom, label=1) -> None:
    """Paint a square given in the view's pixels."""
    desk.model.label, desk.model.tool = label, "rectangle"
    drag(desk.view, [(left, top), (left + 5, top + 5), (right, bottom)])


def _frame(desk) -> None:
    """A square of class 1 with a hole."""
    _square(desk, 150, 100, 350, 300)
    drag(desk.view, [(200, 150), (250, 180), (300, 250)], RIGHT)
    desk.settle()


def _at(desk, x, y) -> tuple[int, int]:
    x, y = desk.model.to_slide(x, y)
    return int(x), int(y)


def test_fill_takes_an_enclosed_hole(desk):
    _frame(desk)
    before = desk.labels()
    shown = desk.shown()
    desk.model.label, desk.model.tool = 2, "fill"
    click(desk.view, (250, 200))
    after = _worked(desk)
    x, y = _at(desk, 250, 200)
    numbers = ndimage.label(before == 0)[0]
    assert np.array_equal(after, np.where(numbers == numbers[y, x], 2, before))
    assert not np.array_equal(desk.shown()[200, 250], shown[200, 250])
    assert np.array_equal(desk.shown()[120, 180], shown[120, 180])
    assert desk.store.undo_text == "Fill" and desk.store.undo()
    desk.settle()
    assert np.array_equal(desk.labels(), before)


def test_fill_refuses_what_is_open_to_the_edge(desk):
    _frame(desk)
    before = desk.labels()
    desk.model.tool = "fill"
    with desk.qtbot.waitSignal(desk.view.failed, timeout=20_000) as told:
        click(desk.view, (60, 60))
    assert "edge of the slide" in told.args[0]
    assert np.array_equal(_worked(desk), before) and not desk.view.regions.busy


def test_fill_gives_a_region_to_the_current_class_also_out_of_sight(desk):
    _frame(desk)
    drag(desk.view, [(150, 280), (160, 290), (170, 300)], RIGHT)  # a notch, so that it is no rectangle
    before = desk.labels()
    desk.model.zoom_at(8, 180, 120)
    desk.model.label, desk.model.tool = 2, "fill"
    click(desk.view, (180, 120))
    assert np.array_equal(_worked(desk), np.where(before == 1, 2, before))
    assert desk.store.undo_text == "Change class of region"
    click(desk.view, (180, 120), RIGHT)
    assert not _worked(desk).any() and desk.store.undo_text == "Remove region"


def test_fill_says_when_there_is_nothing_to_do_and_leaves_locked_classes_alone(desk):
    _frame(desk)
    before = desk.labels()
    desk.model.label, desk.model.tool = 1, "fill"
    click(desk.view, (180, 120))
    assert desk.view.read_out.note == "That is Tumour already"
    desk.model.update_class(1, locked=True)
    desk.model.label = 2
    click(desk.view, (180, 120))
    assert desk.view.read_out.note == "Tumour is locked"
    desk.model.update_class(1, locked=False)
    desk.model.only_unlabelled = True
    click(desk.view, (180, 120))
    assert desk.view.read_out.note == "Only what is unlabelled is painted now"
    assert np.array_equal(_worked(desk), before)


def test_escape_stops_a_fill(desk, monkeypatch):
    _frame(desk)
    before = desk.labels()
    asked = []

    def slow(labels, x, y, cancelled, closed=False):
        asked.append(cancelled)
        while not cancelled():
            pass
        raise regions.Stopped

    monkeypatch.setattr(regions, "connected", slow)
    desk.model.label, desk.model.tool = 2, "fill"
    click(desk.view, (250, 200))
    desk.qtbot.waitUntil(lambda: bool(asked), timeout=10_000)
    click(desk.view, (180, 120))
    assert "still being worked on" in desk.view.read_out.note
    QTest.keyClick(desk.view, Qt.Key.Key_Escape)
    assert desk.view.read_out.note == "Stopped; nothing was changed" and asked[0]()
    assert np.array_equal(_worked(desk), before)


def test_a_cut_makes_two_of_one_and_spares_other_classes(desk):
    _square(desk, 150, 100, 350, 300)
    _square(desk, 350, 100, 450, 300, label=2)
    desk.settle()
    before = desk.labels()
    desk.model.tool = "cut"
    drag(desk.view, [(120, 180), (250, 200), (480, 220)])
    desk.settle()
    after = desk.labels()
    assert ndimage.label(before == 1)[1] == 1 and ndimage.label(after == 1)[1] == 2
    assert np.array_equal(after == 2, before == 2)
    gone = (before == 1) & (after == 0)
    assert gone.any() and gone.sum(0).max() <= 3
    assert desk.store.undo_text == "Cut region" and desk.store.undo()
    desk.settle()
    assert np.array_equal(desk.labels(), before)
    drag(desk.view, [(20, 20), (30, 30), (60, 20)])
    assert desk.view.read_out.note == "The line crosses no region"


def test_join_bridges_two_regions_of_a_class_and_recolours_one_of_another(desk):
    _square(desk, 100, 100, 200, 200)
    _square(desk, 300, 100, 400, 200)
    _square(desk, 100, 260, 200, 320, label=2)
    desk.settle()
    before = desk.labels()
    desk.model.tool = "join"
    desk.model.brush_um = 10 * 0.5 / desk.model.zoom
    drag(desk.view, [(150, 150), (250, 150), (350, 150)])
    one = _worked(desk)
    assert ndimage.label(before == 1)[1] == 2 and ndimage.label(one == 1)[1] == 1
    assert np.array_equal(one == 2, before == 2) and not (before & (one == 0)).any()
    drag(desk.view, [(150, 180), (150, 250), (150, 300)])
    two = _worked(desk)
    assert not (two == 2).any() and ndimage.label(two == 1)[1] == 1
    assert desk.store.undo()
    desk.settle()
    assert np.array_equal(desk.labels(), one), "one step"
    with desk.qtbot.waitSignal(desk.view.failed, timeout=20_000) as told:
        drag(desk.view, [(120, 120), (130, 130), (180, 180)])
    assert "one region already" in told.args[0]
    drag(desk.view, [(120, 120), (130, 130), (600, 400)])
    assert "end on the one that joins" in desk.view.read_out.note


def test_grow_shrink_holes_and_removal_of_the_region_under_the_pointer(desk):
    _frame(desk)
    before = desk.labels()
    radius = 12 / desk.model.zoom
    desk.model.grow_um = radius * 0.5
    move(desk.view, (180, 120), Qt.MouseButton.NoButton)
    away = ndimage.distance_transform_edt(before == 0)
    desk.view.regions.grow()
    assert np.array_equal(_worked(desk) == 1, away <= radius)
    assert desk.store.undo_text == f"Grow by {radius * 0.5:.3g} µm" and desk.store.undo()
    desk.settle()
    desk.view.regions.shrink()
    assert np.array_equal(_worked(desk) == 1, ndimage.distance_transform_edt(before) > radius)
    assert desk.store.undo()
    desk.settle()
    desk.view.regions.fill_holes()
    assert np.array_equal(_worked(desk) == 1, ndimage.binary_fill_holes(before))
    with desk.qtbot.waitSignal(desk.view.failed, timeout=20_000) as told:
        desk.view.regions.fill_holes()
    assert told.args == ["This region has no holes."]
    with desk.qtbot.waitSignal(desk.view.failed, timeout=20_000) as told:
        desk.view.regions.shrink(5000)
    assert "nothing would be left" in told.args[0]
    desk.view.regions.remove()
    assert not _worked(desk).any()
    desk.view.regions.grow()
    assert desk.view.read_out.note == "There is no region here"


def test_growing_spares_locked_classes(desk):
    _square(desk, 150, 100, 350, 300)
    _square(desk, 350, 100, 450, 300, label=2)
    desk.settle()
    before = desk.labels()
    desk.model.update_class(2, locked=True)
    move(desk.view, (200, 200), Qt.MouseButton.NoButton)
    desk.view.regions.grow(20)
    after = _worked(desk)
    assert np.array_equal(after == 2, before == 2) and (after == 1).sum() > (before == 1).sum()


def test_the_menu_is_asked_for_where_the_right_button_does_not_erase(desk):
    _frame(desk)
    asked = []
    desk.view.menu_asked.connect(asked.append)
    desk.model.tool = "brush"
    click(desk.view, (180, 120), RIGHT)
    assert not asked
    desk.model.tool = "pan"
    click(desk.view, (180, 120), RIGHT)
    assert len(asked) == 1
    desk.view.pointer = None
    assert desk.view.regions.place() == desk.model.to_slide(180, 120)
    QTest.keyClick(desk.view, Qt.Key.Key_Menu)
    QTest.keyClick(desk.view, Qt.Key.Key_F10, Qt.KeyboardModifier.ShiftModifier)
    assert len(asked) == 3


def test_a_picked_region_is_meant_while_the_pointer_is_elsewhere(desk):
    _frame(desk)
    desk.model.tool = "pick"
    click(desk.view, (180, 120))
    desk.view.leaveEvent(None)
    desk.model.label = 3
    desk.view.regions.recolour()
    assert set(np.unique(_worked(desk))) == {0, 3}


def test_painting_on_the_unlabelled_alone(desk):
    _square(desk, 150, 100, 350, 300)
    desk.settle()
    before, shown = desk.labels(), desk.shown()
    desk.model.only_unlabelled, desk.model.label, desk.model.tool = True, 2, "brush"
    drag(desk.view, [(100, 200), (250, 200), (400, 200)])
    live = desk.shown()
    assert np.array_equal(live[200, 250], shown[200, 250]) and not np.array_equal(live[200, 120], shown[200, 120])
    desk.settle()
    after = desk.labels()
    assert np.array_equal(after == 1, before == 1) and (after == 2).any()
    drag(desk.view, [(250, 90), (250, 200), (250, 310)], RIGHT)
    desk.settle()
    assert (desk.labels() == 1).sum() < (before == 1).sum(), "taking away is not held up"


def test_solo_shows_one_class_and_hatching_makes_patterns(desk):
    empty = desk.shown()
    _square(desk, 150, 100, 250, 200)
    _square(desk, 300, 100, 400, 200, label=2)
    desk.settle()
    plain = desk.shown()
    desk.model.solo = 2
    shown = desk.shown()
    assert np.array_equal(shown[150, 200], empty[150, 200]) and np.array_equal(shown[150, 350], plain[150, 350])
    _square(desk, 420, 100, 440, 120, label=1)  # painting with a class that is not shown shows all again
    assert desk.model.solo is None
    desk.model.hatch = True
    desk.settle()
    hatched = desk.shown()
    for column in (200, 350):
        part, before = hatched[120:180, column - 30 : column + 30], plain[120:180, column - 30 : column + 30]
        assert (np.abs(part - before).sum(2) > 20).mean() > 0.1
    desk.model.hatch = False
    desk.settle()
    assert np.array_equal(desk.shown()[120:180, 160:240], plain[120:180, 160:240])
