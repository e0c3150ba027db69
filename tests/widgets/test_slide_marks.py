"""Markers, rulers, areas and regions of interest with real mouse and key events on the slide view."""

import math

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from opsin.engine.labels.marks import Mark
from opsin.engine.labels.store import LabelStore
from opsin.widgets.slide import SlideView
from opsin.widgets.slide.marks import area_words, go_to, length_words, measure_words

from .slide_scenes import ArraySlide, click, double_click, drag, grabbed, move, press, release

SHIFT = Qt.KeyboardModifier.ShiftModifier


class Desk:
    """A view of a slide at 1:1 with an empty store."""

    def __init__(self, qtbot, folder, mpp=0.5) -> None:
        self.slide = ArraySlide(3000, 2400, mpp=mpp)
        self.store = LabelStore.create(folder / "a.labels", 3000, 2400)
        self.view = SlideView()
        qtbot.addWidget(self.view)
        self.view.resize(800, 600)
        self.view.show()
        self.model = self.view.model
        self.model.author = "A. B."
        self.model.set_slide(self.slide, self.store)
        self.model.move_to(1500, 1200)
        self.model.zoom_at(1 / self.model.zoom)
        self.model.tool = "marker"
        qtbot.waitUntil(self.view.isActiveWindow)
        assert self.view.wait_painted()

    def key(self, key) -> None:
        QTest.keyClick(self.view, key)

    @property
    def note(self):
        return self.view.marks.note

    def close(self) -> None:
        self.model.set_slide(None)
        self.view.scene.tiles.loader.stop()
        self.store.close()


@pytest.fixture
def desk(qtbot, tmp_path):
    desk = Desk(qtbot, tmp_path)
    yield desk
    desk.close()


def test_a_click_sets_a_marker_with_its_note_in_one_undo_step(desk, qtbot):
    click(desk.view, (300, 200))
    (mark,) = desk.store.marks()
    assert mark.kind == "marker" and mark.points == ((1400.0, 1100.0),) and mark.author == "A. B."
    qtbot.waitUntil(desk.note.text.hasFocus)
    QTest.keyClicks(desk.note.text, "Mitosis?")
    desk.note.label.setCurrentIndex(desk.note.label.findData(2))
    QTest.keyClick(desk.note.text, Qt.Key.Key_Return)
    assert not desk.note.isVisible() and desk.view.hasFocus()
    (now,) = desk.store.marks()
    assert (now.id, now.note, now.label, now.points) == (mark.id, "Mitosis?", 2, mark.points)
    desk.model.undo()
    assert desk.store.marks() == [] and not desk.store.can_undo
    desk.model.redo()
    assert desk.store.marks() == [now]


def test_escape_keeps_the_marker_and_drops_what_was_written(desk, qtbot):
    click(desk.view, (300, 200))
    qtbot.waitUntil(desk.note.text.hasFocus)
    QTest.keyClicks(desk.note.text, "no")
    QTest.keyClick(desk.note.text, Qt.Key.Key_Escape)
    assert not desk.note.isVisible()
    assert [mark.note for mark in desk.store.marks()] == [""]


def test_a_note_is_kept_when_one_goes_on_elsewhere_or_opens_another_slide(desk, qtbot):
    click(desk.view, (300, 200))
    qtbot.waitUntil(desk.note.text.hasFocus)
    QTest.keyClicks(desk.note.text, "first")
    desk.view.setFocus()
    assert [mark.note for mark in desk.store.marks()] == ["first"] and not desk.note.isVisible()
    click(desk.view, (500, 400))
    qtbot.waitUntil(desk.note.text.hasFocus)
    QTest.keyClicks(desk.note.text, "second")
    desk.model.set_slide(ArraySlide(600, 500), None)
    assert [mark.note for mark in desk.store.marks()] == ["first", "second"]


def test_a_marker_is_moved_by_dragging_and_removed_by_delete(desk):
    desk.store.add_marks([Mark("marker", ((1400.0, 1100.0),), note="x")])
    drag(desk.view, [(301, 201), (340, 230), (400, 250)])
    assert [mark.points for mark in desk.store.marks()] == [((1500.0, 1150.0),)]
    assert desk.store.undo_text == "Move marker"
    desk.key(Qt.Key.Key_Delete)
    assert desk.store.marks() == []
    desk.model.undo()
    desk.model.undo()
    assert [mark.points for mark in desk.store.marks()] == [((1400.0, 1100.0),)]


def test_a_press_that_turns_into_a_drag_sets_no_marker(desk):
    drag(desk.view, [(300, 200), (340, 230), (400, 250)])
    assert desk.store.marks() == []


def test_a_double_click_on_a_mark_opens_its_note_and_its_button_removes_it(desk, qtbot):
    desk.store.add_marks([Mark("marker", ((1400.0, 1100.0),), note="x")])
    double_click(desk.view, (300, 200))
    assert desk.note.isVisible() and desk.note.text.toPlainText() == "x" and len(desk.store.marks()) == 1
    qtbot.mouseClick(desk.note.remove_button, Qt.MouseButton.LeftButton)
    assert desk.store.marks() == [] and not desk.note.isVisible()


def test_a_ruler_measures_in_micrometres_and_stays_until_it_is_removed(desk):
    desk.model.tool = "ruler"
    drag(desk.view, [(100, 100), (200, 150), (400, 500)])
    (mark,) = desk.store.marks()
    assert mark.kind == "ruler" and mark.points == ((1200.0, 1000.0), (1400.0 + 100, 1400.0))
    assert mark.length == pytest.approx(500) and measure_words(mark, desk.model.mpp) == "250 µm"
    click(desk.view, (700, 80))
    assert desk.store.marks() == [mark], "a click draws no ruler"
    press(desk.view, (400, 500))
    move(desk.view, (500, 300))
    assert desk.view.marks.moved is not None and desk.store.marks() == [mark], "nothing is stored while one drags"
    desk.view.grab()
    release(desk.view, (500, 300))
    (now,) = desk.store.marks()
    assert now.points == ((1200.0, 1000.0), (1600.0, 1200.0))
    desk.key(Qt.Key.Key_Backspace)
    assert desk.store.marks() == []


@pytest.mark.parametrize("turned", [0, 37])
def test_shift_turns_a_ruler_in_steps_of_15_degrees_on_the_screen(desk, turned):
    desk.model.turn_by(turned)
    desk.model.tool = "ruler"
    press(desk.view, (200, 200), modifiers=SHIFT)
    move(desk.view, (390, 260), modifiers=SHIFT)
    release(desk.view, (390, 260), modifiers=SHIFT)
    (mark,) = desk.store.marks()
    (x0, y0), (x1, y1) = (desk.model.to_view(*point) for point in mark.points)
    assert (x0, y0) == pytest.approx((200, 200), abs=1e-6)
    assert math.degrees(math.atan2(y1 - y0, x1 - x0)) == pytest.approx(15, abs=1e-6)


def test_escape_gives_up_what_is_being_drawn(desk):
    desk.model.tool = "ruler"
    press(desk.view, (200, 200))
    move(desk.view, (390, 260))
    desk.key(Qt.Key.Key_Escape)
    release(desk.view, (390, 260))
    desk.model.tool = "area"
    for at in ((200, 200), (300, 200), (300, 300)):
        click(desk.view, at)
    desk.key(Qt.Key.Key_Escape)
    assert desk.store.marks() == []


@pytest.mark.parametrize("way", ["enter", "double", "first"])
def test_an_area_is_drawn_corner_by_corner(desk, way):
    desk.model.tool = "area"
    corners = [(100, 100), (300, 100), (300, 250), (500, 400), (100, 250)]
    for at in corners[:3]:
        click(desk.view, at)
        move(desk.view, (at[0] + 20, at[1]), held=Qt.MouseButton.NoButton)
    click(desk.view, corners[3])
    desk.key(Qt.Key.Key_Backspace)
    if way == "double":
        double_click(desk.view, corners[4])
    else:
        click(desk.view, corners[4])
        desk.key(Qt.Key.Key_Return) if way == "enter" else click(desk.view, (102, 101))
    (mark,) = desk.store.marks()
    assert mark.points == ((1200, 1000), (1400, 1000), (1400, 1150), (1200, 1150)) and mark.area == 200 * 150
    assert measure_words(mark, 0.5) == "7,500 µm², perimeter 350 µm"


def test_a_drag_makes_a_rectangle_along_the_screen_and_shift_a_square(desk):
    desk.model.tool = "area"
    drag(desk.view, [(100, 100), (150, 160), (400, 300)])
    (first,) = desk.store.marks()
    assert first.points == ((1200, 1000), (1500, 1000), (1500, 1200), (1200, 1200)) and first.is_rectangle
    drag(desk.view, [(500, 100), (520, 160), (600, 250)], modifiers=SHIFT)
    release(desk.view, (600, 250))
    square = desk.store.marks()[1]
    assert square.area == pytest.approx(150 * 150) and square.is_rectangle
    desk.model.turn_by(30)
    drag(desk.view, [(300, 450), (350, 500), (450, 550)])
    turned = desk.store.marks()[2]
    assert turned.area == pytest.approx(150 * 100) and not turned.is_rectangle


def test_outside_the_regions_of_interest_the_slide_is_dimmed(desk):
    before = grabbed(desk.view).astype(int)
    desk.model.tool = "roi"
    drag(desk.view, [(200, 100), (250, 160), (400, 300)])
    drag(desk.view, [(350, 250), (450, 360), (600, 500)])
    desk.model.mark = None
    desk.view.pointer = None
    after = grabbed(desk.view).astype(int)
    mask = desk.store.roi().mask(1100, 900, 800, 600)
    assert mask[150, 300] and mask[400, 500] and mask[275, 375] and not mask[450, 250]
    edge = np.zeros_like(mask)
    edge[95:505, 195:605] = True
    edge[105:245, 205:395] = False  # inside the first, away from the second
    edge[305:495, 355:595] = False
    same = mask & ~edge
    changed = np.abs(after - before).sum(2)
    assert (changed[same] == 0).all(), "what counts looks as before"
    outside = ~mask & ~edge
    outside[440:, :340] = outside[380:, 600:] = False  # scale bar, overview
    assert after[outside].mean() < 0.75 * before[outside].mean()
    assert (changed[outside] > 0).mean() > 0.98
    desk.store.remove_marks([mark.id for mark in desk.store.marks()])
    QApplication.processEvents()
    assert np.array_equal(grabbed(desk.view), before.astype(np.uint8))


def test_marks_can_be_hidden_but_regions_stay_in_sight(desk):
    desk.store.add_marks([Mark("marker", ((1500.0, 1200.0),)), Mark("roi", ((1200, 1000), (1800, 1000), (1800, 1500)))])
    shown = grabbed(desk.view)
    desk.model.show_marks = False
    hidden = grabbed(desk.view)
    assert np.abs(shown.astype(int) - hidden)[290:310, 390:410].sum() > 1000
    assert [mark.kind for mark in desk.view.marks.marks()] == ["roi"]


def test_what_another_thread_adds_is_drawn(desk, qtbot):
    import threading

    before = grabbed(desk.view)
    thread = threading.Thread(target=lambda: desk.store.add_marks([Mark("marker", ((1500.0, 1200.0),))]))
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: not np.array_equal(grabbed(desk.view), before))


def test_undo_of_the_chosen_mark_leaves_none_chosen(desk):
    desk.model.tool = "ruler"
    drag(desk.view, [(100, 100), (200, 150), (400, 500)])
    assert desk.model.mark is not None
    desk.model.undo()
    assert desk.model.mark is None


def test_going_to_a_mark_brings_it_into_the_middle_and_whole_into_sight(desk):
    marker, area = desk.store.add_marks(
        [Mark("marker", ((200.0, 300.0),)), Mark("area", ((0, 0), (2800, 0), (2800, 2000), (0, 2000)))]
    )
    go_to(desk.model, marker)
    assert desk.model.centre == (200.0, 300.0) and desk.model.zoom == pytest.approx(1) and desk.model.mark == marker.id
    go_to(desk.model, area)
    assert desk.model.centre == (1400.0, 1000.0)
    for point in area.points:
        x, y = desk.model.to_view(*point)
        assert 0 <= x <= 800 and 0 <= y <= 600
    desk.model.fit()
    go_to(desk.model, marker)
    assert desk.model.zoom >= desk.model.fit_zoom and desk.model.centre == (200.0, 300.0)


def test_without_a_resolution_lengths_are_in_pixels_and_that_is_said(qtbot, tmp_path):
    desk = Desk(qtbot, tmp_path, mpp=None)
    desk.model.tool = "ruler"
    drag(desk.view, [(100, 100), (200, 150), (400, 500)])
    assert measure_words(desk.store.marks()[0], desk.model.mpp) == "500 px (µm per pixel unknown)"
    desk.close()


@pytest.mark.parametrize(
    ("pixels", "said"), [(1, "0.500 µm"), (30, "15.0 µm"), (1999, "1,000 µm"), (2000, "1.00 mm"), (2.5e5, "125 mm")]
)
def test_lengths_in_words(pixels, said):
    assert length_words(pixels, 0.5) == said
    assert length_words(pixels, None) == f"{pixels:,.0f} px"


@pytest.mark.parametrize(
    ("pixels", "said"), [(4, "1.00 µm²"), (20_000, "5,000 µm²"), (400_000, "0.100 mm²"), (4e8, "100 mm²")]
)
def test_areas_in_words(pixels, said):
    assert area_words(pixels, 0.5) == said


def test_the_note_stands_inside_the_view_and_follows_the_slide(desk, qtbot):
    desk.store.add_marks([Mark("marker", ((1880.0, 1480.0),))])
    double_click(desk.view, (780, 580))
    assert desk.view.rect().contains(desk.note.geometry())
    assert not desk.note.geometry().contains(780, 580)
    before = desk.note.pos()
    desk.model.pan(-300, -200)
    assert desk.note.pos() != before and desk.view.rect().contains(desk.note.geometry())
