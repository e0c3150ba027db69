"""What the list of slides shows: kinds and words, orders, groups by patient; by mouse and by keyboard."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QPoint, Qt

from opsin.widgets import theme
from opsin.widgets.shownslides import natural
from opsin.widgets.slidelist import ENTRY, HEADER, ID, Header
from opsin.widgets.workspace import WorkspacePanel


@pytest.fixture
def panel(qtbot, qapp, workspace):
    theme.apply_theme(qapp, "light")
    panel = WorkspacePanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(300, 700)
    panel.show()
    yield panel
    panel.set_workspace(None)


def names(panel):
    rows = [panel.filtered.index(row, 0) for row in range(panel.filtered.rowCount())]
    return [index.data(HEADER).title if index.data(HEADER) else index.data(ENTRY).item.name[-1] for index in rows]


def tick(qtbot, menu, *texts):
    """Choose entries of a shown menu with the mouse."""
    for text in texts:
        action = next(action for action in menu.actions() if action.text() == text)
        qtbot.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())


def open_menu(panel, qtbot, button):
    from opsin.widgets.slidefilter import QMenu

    before = set(panel.controls.findChildren(QMenu))
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    (menu,) = set(panel.controls.findChildren(QMenu)) - before
    qtbot.waitUntil(menu.isVisible)
    return menu


def test_kinds_are_ticked_in_a_menu_that_stays_and_shown_as_chips(panel, qtbot, workspace):
    menu = open_menu(panel, qtbot, panel.controls.filter_button)
    tick(qtbot, menu, "Positive", "Training", "Validation")
    assert menu.isVisible(), "several can be ticked"
    menu.close()
    assert names(panel) == ["1", "3", "5"], "of a group one has to hold, of the groups all"
    assert [chip.text() for chip in panel.controls.chips()] == ["Positive", "Training", "Validation"]
    assert panel.controls.filter_button.isChecked()
    chip = panel.controls.chips()[1]
    chip.setFocus()
    qtbot.keyClick(chip, Qt.Key.Key_Space)
    assert names(panel) == ["5"] and len(panel.controls.chips()) == 2
    qtbot.mouseClick(panel.controls.chips()[0], Qt.MouseButton.LeftButton)
    qtbot.mouseClick(panel.controls.chips()[0], Qt.MouseButton.LeftButton)
    assert len(names(panel)) == 8 and not panel.controls.chips() and not panel.controls.filter_button.isChecked()


@pytest.mark.parametrize(
    ("key", "found"),
    [("review.reviewed", "2"), ("labels.yes", "3"), ("score.yes", "14"), ("outlined.yes", "01"), ("missing.yes", ""),
     ("label.None", "7"), ("split.None", "6")],
)  # fmt: skip
def test_every_kind_finds_its_slides(panel, workspace, key, found):
    ids = [item.id for item in workspace.items()]
    workspace.update(ids[2], review="reviewed")
    workspace.update(ids[3], marked=0.25)
    workspace.update(ids[7], label=None)
    workspace.update(ids[6], split=None)
    for number in (1, 4):
        workspace.set_score(ids[number], "run", {"score": 0.5})
    panel.controls.toggle(key)
    assert "".join(names(panel)) == found


def test_orders(panel, qtbot, workspace):
    ids = [item.id for item in workspace.items()]
    for number, value in enumerate((0.2, 0.9, None, 0.5)):
        workspace.set_score(ids[number], "run", {"score": value, "uncertainty": number / 10})
    workspace.edit({ids[4]: {"marked": 0.5}, ids[6]: {"marked": 0.1}})
    tick(qtbot, open_menu(panel, qtbot, panel.controls.sort_button), "Score")
    assert names(panel) == list("13024567"), "the highest first, those without one last"
    tick(qtbot, open_menu(panel, qtbot, panel.controls.sort_button), "Reverse order")
    assert names(panel) == list("03124567"), "those without one stay last"
    tick(qtbot, open_menu(panel, qtbot, panel.controls.sort_button), "Marked share")
    assert names(panel)[:2] == ["4", "6"]
    tick(qtbot, open_menu(panel, qtbot, panel.controls.sort_button), "Uncertainty")
    assert names(panel) == list("32104567")
    tick(qtbot, open_menu(panel, qtbot, panel.controls.sort_button), "Slide label")
    assert names(panel) == list("13570246")
    assert sorted(["s10", "s9", "S2"], key=natural) == ["S2", "s9", "s10"]


def test_an_order_that_nothing_has_is_not_offered(panel):
    assert "Uncertainty" not in [action.text() for action in panel.controls.sort_menu().actions()]


def test_patients_are_groups_that_fold(panel, qtbot, workspace):
    ids = [item.id for item in workspace.items()]
    workspace.edit({ids[0]: {"patient": "p1"}, ids[2]: {"patient": "p1"}, ids[1]: {"patient": "p2"}})
    panel.select([ids[2]])
    tick(qtbot, open_menu(panel, qtbot, panel.controls.sort_button), "Group by patient")
    assert names(panel) == ["p1", "0", "2", "p2", "1", "No patient", *"34567"]
    assert panel.selected() == [ids[2]], "the selection survives"
    header = panel.filtered.index(0, 0)
    assert header.data(HEADER).split == "Training" and header.data(HEADER).count_text == "2 slides"
    qtbot.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, pos=panel.list.visualRect(header).center())
    assert names(panel)[:3] == ["p1", "p2", "1"]
    panel.list.setFocus()
    assert panel.list.currentIndex().data(HEADER).patient == "p1"
    qtbot.keyClick(panel.list, Qt.Key.Key_Right)
    assert names(panel)[:3] == ["p1", "0", "2"]
    qtbot.keyClick(panel.list, Qt.Key.Key_Down)
    qtbot.keyClick(panel.list, Qt.Key.Key_Down)
    assert panel.selected() == [ids[2]]
    qtbot.keyClick(panel.list, Qt.Key.Key_Left)
    assert names(panel)[:3] == ["p1", "p2", "1"], "Left goes to the patient and folds"
    qtbot.keyClick(panel.list, Qt.Key.Key_Return)
    assert names(panel)[:3] == ["p1", "0", "2"]
    panel.filtered.collapse_all(True)
    assert names(panel) == ["p1", "p2", "No patient"]
    panel.set_opened(ids[1])
    assert names(panel) == ["p1", "p2", "1", "No patient"] and panel.selected() == [ids[1]]
    assert panel.neighbour(ids[1], 1) == ids[3], "the next slide, folded or not"


def test_headers_are_no_slides(panel, qtbot, workspace):
    panel.controls.set_grouped(True)
    panel.list.selectAll()
    assert len(panel.selected()) == 8
    with qtbot.assertNotEmitted(panel.open_requested):
        panel.list.setCurrentIndex(panel.filtered.index(0, 0))
        qtbot.keyClick(panel.list, Qt.Key.Key_Return)
    assert panel.filtered.rowCount() == 1 and panel.filtered.index(0, 0).data(ID) is None


def test_the_place_in_the_list_survives_an_edit(panel, qtbot, workspace):
    panel.resize(300, 320)
    qtbot.waitUntil(lambda: panel.list.verticalScrollBar().maximum() > 0)
    ids = [item.id for item in workspace.items()]
    panel.controls.toggle("split.train")
    panel.controls.toggle("split.val")
    panel.controls.toggle("split.test")
    panel.select([ids[7]])
    bar = panel.list.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.value() > 0)
    place = bar.value()
    workspace.update(ids[0], split=None)
    assert names(panel) == list("1234567") and panel.selected() == [ids[7]]
    qtbot.waitUntil(lambda: abs(bar.value() - min(place, bar.maximum())) <= 1)


def test_review_of_the_selected_and_the_next_to_do(panel, workspace):
    workspace.reviewer = "Ana"
    ids = [item.id for item in workspace.items()]
    panel.select(ids[:2])
    menu = panel.make_menu()
    reviews = next(action.menu() for action in menu.actions() if action.text() == "Review")
    next(action for action in reviews.actions() if action.text() == "Reviewed").trigger()
    assert [(workspace.item(id).review, workspace.item(id).reviewer) for id in ids[:2]] == [("reviewed", "Ana")] * 2
    assert panel.summary.text().endswith("2 reviewed")
    assert "Reviewed by Ana" in panel.filtered.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert panel.next_to_do(ids[7]) == ids[2], "from the end on to the beginning"
    panel.set_review("reviewed", ids)
    assert panel.next_to_do(ids[0]) is None


def test_slides_that_move_with_their_patient_are_said(panel, qtbot, workspace):
    ids = [item.id for item in workspace.items()]
    panel.set_patients({ids[0]: "p", ids[1]: "p"})
    with qtbot.waitSignal(panel.told) as told:
        panel.set_split("test", [ids[0]])
    assert told.args == ["1 other slide of the same patient moved to the same split; Undo takes it back."]
    assert workspace.item(ids[1]).split == "test"


def test_rows_and_headers_are_painted_differently_in_both_themes(panel, qapp, qtbot, workspace):
    workspace.update(workspace.items()[0].id, patient="p1")
    panel.controls.set_grouped(True)
    seen = []
    for name in ("light", "dark"):
        theme.apply_theme(qapp, name)
        qtbot.wait(0)
        rect = panel.list.visualRect(panel.filtered.index(0, 0))
        picture = panel.list.viewport().grab(rect).toImage()
        assert len({picture.pixel(QPoint(x, rect.height() // 2)) for x in range(picture.width())}) > 3, "text on it"
        seen.append(picture)
    theme.apply_theme(qapp, "light")
    assert seen[0] != seen[1]


def test_a_patient_that_is_a_bare_number_is_called_one():
    assert [Header(patient, 2, False).title for patient in ("0", "TCGA-01", None)] == [
        "Patient 0",
        "TCGA-01",
        "No patient",
    ]
