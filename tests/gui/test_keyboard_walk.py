"""From opening a slide to a finished report with keys alone; only the system's own file dialogs are stood in for."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QDesktopServices
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from opsin.gui.results import ReportDialog

K = Qt.Key
CTRL, SHIFT, NONE = (
    Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.NoModifier
)  # fmt: skip


class Hands(QObject):
    """Presses keys where the focus is, as the system would."""

    def __init__(self, window, qtbot):
        super().__init__()
        self.window, self.qtbot = window, qtbot

    def focus(self) -> QWidget:
        return QApplication.activePopupWidget() or QApplication.focusWidget() or self.window

    def press(self, *keys, with_=NONE, times=1):
        for _ in range(times):
            for key in keys:
                QTest.keyClick(self.focus(), key, with_)

    def tab_to(self, widget, most=120):
        for _ in range(most):
            if QApplication.focusWidget() is widget:
                return
            self.press(K.Key_Tab)
        raise AssertionError(f"Tab does not lead to {widget.accessibleName() or widget}")


@pytest.fixture
def hands(window, qtbot):
    qtbot.waitUntil(window.isActiveWindow)
    return Hands(window, qtbot)


def test_from_opening_a_slide_to_the_report(window, hands, tiny_workspace, network, tmp_path, monkeypatch, qtbot):
    report = tmp_path / "report.html"
    shown = []
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(tiny_workspace))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(report), ""))
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: shown.append(url.toLocalFile()) or True)

    hands.press(K.Key_O, with_=CTRL)
    qtbot.waitUntil(lambda: window.item is not None)
    hands.press(K.Key_1, with_=CTRL)
    hands.press(K.Key_End)
    hands.press(K.Key_Return)
    qtbot.waitUntil(lambda: window.item.name == "slide_3")

    hands.press(K.Key_0, with_=CTRL)  # the slide view
    hands.press(K.Key_P)
    hands.press(K.Key_1)
    assert window.model.tool == "polygon" and window.model.label == 1
    assert window.model.labels.areas() == {}
    hands.press(K.Key_X)
    hands.press(K.Key_Space)
    for way in (K.Key_Right, K.Key_Down, K.Key_Left):
        hands.press(way, times=9)
        hands.press(K.Key_Space)
    hands.press(K.Key_Return)
    window.model.labels.flush()
    side = 72 / window.model.zoom  # nine steps of eight screen pixels
    assert window.model.labels.areas()[1] == pytest.approx(side * side, rel=0.03)
    hands.press(K.Key_Escape)
    assert window.room.view.cross is None

    hands.press(K.Key_P, with_=SHIFT)
    hands.press(K.Key_D, with_=SHIFT)
    item = window.workspace.item(window.item.id)
    assert (item.label, item.review) == ("positive", "reviewed")

    hands.press(K.Key_P, with_=CTRL)
    qtbot.waitUntil(lambda: bool(window.jobs.running))
    (job,) = window.jobs.running
    qtbot.waitUntil(lambda: job.final, timeout=50_000)
    assert job.state == "done"
    results = window.room.panel("results")
    qtbot.waitUntil(lambda: all(row.score is not None for row in results.table.rows.rows))

    window.activateWindow()  # without a window manager nobody gives the focus back that a progress sheet or a message took
    qtbot.waitUntil(window.isActiveWindow)
    hands.press(K.Key_R, with_=CTRL)
    hands.tab_to(results.threshold_slider)
    before = results.threshold
    hands.press(K.Key_Right, times=3)
    assert results.threshold > before

    hands.press(K.Key_R, with_=CTRL | SHIFT)
    qtbot.waitUntil(lambda: isinstance(QApplication.activeWindow(), ReportDialog))
    hands.press(K.Key_Return)
    qtbot.waitUntil(lambda: shown == [str(report)])
    page = report.read_text(encoding="utf-8")
    assert "ROC" in page and f"{results.threshold:.2f}" in page


@pytest.mark.parametrize(("tool", "share"), [(K.Key_R, 1.0), (K.Key_O, 3.1416 / 4)])
def test_dragged_tools_start_and_end_with_space(opened, hands, qtbot, tool, share):
    opened.room.show_tab("annotate")
    hands.press(K.Key_0, with_=CTRL)
    hands.press(tool)
    hands.press(K.Key_X)
    hands.press(K.Key_Space)
    hands.press(K.Key_Right, K.Key_Down, with_=SHIFT)
    assert opened.room.view.tool.busy
    hands.press(K.Key_Space)
    opened.model.labels.flush()
    side = 64 / opened.model.zoom
    assert opened.model.labels.areas()[opened.model.label] == pytest.approx(share * side * side, rel=0.04)


def test_a_brush_stroke_by_keys_is_one_step_of_undo(opened, hands, qtbot):
    hands.press(K.Key_0, with_=CTRL)
    hands.press(K.Key_B)
    hands.press(K.Key_X)
    hands.press(K.Key_Space)
    hands.press(K.Key_Right, times=10)
    hands.press(K.Key_Space)
    opened.model.labels.flush()
    assert opened.model.labels.areas()
    hands.press(K.Key_Z, with_=CTRL)
    opened.model.labels.flush()
    assert not opened.model.labels.areas()


def test_escape_gives_up_the_drawing_then_the_cross_hair(opened, hands, qtbot):
    hands.press(K.Key_0, with_=CTRL)
    hands.press(K.Key_R)
    hands.press(K.Key_X)
    hands.press(K.Key_Space)
    hands.press(K.Key_Right, times=4)
    hands.press(K.Key_Escape)
    view = opened.room.view
    assert view.cross is not None and not view.tool.busy
    hands.press(K.Key_Escape)
    assert view.cross is None
    assert not opened.model.labels.areas()


def test_at_the_edge_the_slide_moves_and_the_mouse_takes_over(opened, hands, qtbot):
    hands.press(K.Key_0, with_=CTRL)
    hands.press(K.Key_Plus, times=3)
    hands.press(K.Key_B)
    hands.press(K.Key_X)
    view, before = opened.room.view, opened.model.centre
    hands.press(K.Key_Right, with_=SHIFT, times=12)
    assert opened.model.centre[0] > before[0]
    assert view.pointer.x() <= view.width()
    QTest.mouseMove(view, view.rect().center())
    QTest.mouseMove(view, view.rect().center() / 2)
    qtbot.waitUntil(lambda: view.cross is None)
