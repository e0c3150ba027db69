"""The loop: predict, go through what is uncertain, decide, train on; with mouse and keys in the real window."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from opsin.engine.checkpoints import Checkpoint
from opsin.engine.tiles import TilePyramid
from opsin.widgets.next_box import image_of, pictures
from opsin.widgets.round_box import RoundBox

LEFT = Qt.MouseButton.LeftButton


def heat(path, *boxes, ground: int = 1):
    """A map of 320 x 256 px at base 2; boxes (x0, y0, x1, y1, byte value) in level-0 px."""
    values = np.full((256, 512), ground, np.uint8)
    for x0, y0, x1, y1, value in boxes:
        values[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    with TilePyramid.create(path, 320, 256, base=2, reduce="mean", meta={"kind": "heat"}) as pyramid:
        with pyramid.transaction():
            pyramid.write(0, 0, values[:128, :160])


@pytest.fixture
def ids(tiny) -> dict[str, str]:
    return {item.name: item.id for item in tiny.workspace.items()}


@pytest.fixture
def predicted(tiny, network, ids):
    """Predictions: on slide_3 (open) two uncertain places, on slide_2 (negative) a score that speaks against it; slide_1 is
    outlined: tumour where the network sees none."""
    run = network.name
    workspace = tiny.workspace
    heat(workspace.heatmap_path(run, ids["slide_3"]), (64, 64, 96, 96, 128), (192, 128, 224, 160, 200))
    heat(workspace.heatmap_path(run, ids["slide_2"]), (128, 32, 160, 64, 250))
    heat(workspace.heatmap_path(run, ids["slide_1"]), (40, 40, 140, 80, 250))
    for name, score in (("slide_3", 0.9), ("slide_2", 0.98), ("slide_1", 0.8), ("slide_0", 0.05)):
        workspace.set_score(ids[name], run, {"score": score, "source": "x"})
    return tiny


def panel_of(window, qtbot, kind: str = "next"):
    window.commands.show_tab("check")
    panel = window.room.panel("check")
    listed(panel, qtbot)
    if kind != "next":
        button = next(b for b in panel.kinds.buttons() if b.objectName() == kind)
        QTest.mouseClick(button, LEFT)
        listed(panel, qtbot)
    return panel


def listed(panel, qtbot) -> list[str]:
    qtbot.waitUntil(lambda: panel._listing is None and not panel._stale)
    return [place.name for place in panel.list.rows.places]


def row_at(panel, row: int) -> QPoint:
    return panel.list.visualRect(panel.list.rows.index(row)).center()


def test_places_are_listed_by_value_with_pictures(predicted, qtbot):
    panel = panel_of(predicted, qtbot)
    rows = panel.list.rows
    assert [place.name for place in rows.places] == ["slide_3", "slide_2", "slide_3"]
    assert rows.places[1].reason == "labelled negative, score 0.98"
    values = [place.value for place in rows.places]
    assert values == sorted(values, reverse=True)
    qtbot.waitUntil(lambda: len(rows.pictures) == 3)
    assert all(not picture.isNull() for picture in rows.pictures.values())
    assert panel.source.currentText() == "Predictions of tiny"


def test_enter_goes_to_the_place_and_shows_the_map_on_its_slide(predicted, qtbot, ids):
    panel = panel_of(predicted, qtbot)
    panel.list.setFocus()
    QTest.keyClick(panel.list, Qt.Key.Key_Down)
    QTest.keyClick(panel.list, Qt.Key.Key_Home)
    QTest.keyClick(panel.list, Qt.Key.Key_Return)
    assert predicted.item.name == "slide_3"
    assert predicted.model.centre == pytest.approx((80, 80))
    QTest.mouseDClick(panel.list.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, row_at(panel, 1))
    QTest.mouseClick(panel.list.viewport(), LEFT, Qt.KeyboardModifier.NoModifier, row_at(panel, 1))
    qtbot.waitUntil(lambda: predicted.item is not None and predicted.item.name == "slide_2")
    qtbot.waitUntil(lambda: predicted.model.centre == pytest.approx((144, 48)))
    shown = predicted.model.overlay("heat map")
    assert shown is not None and shown.visible and ids["slide_2"] in str(shown.pyramid.path)


def test_keys_step_through_the_list_and_done_is_kept_in_the_workspace(predicted, qtbot):
    panel = panel_of(predicted, qtbot)
    view = predicted.room.view
    view.setFocus()
    QTest.keyClick(view, Qt.Key.Key_J, Qt.KeyboardModifier.ControlModifier)
    assert panel.list.currentIndex().row() == 0 and predicted.model.centre == pytest.approx((80, 80))
    first = panel.list.current()
    QTest.keyClick(view, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    assert [place.name for place in panel.list.rows.places] == ["slide_2", "slide_3"]
    qtbot.waitUntil(lambda: predicted.item is not None and predicted.item.name == "slide_2")
    QTest.keyClick(view, Qt.Key.Key_J, Qt.KeyboardModifier.ControlModifier)
    assert panel.list.currentIndex().row() == 1
    shift = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(view, Qt.Key.Key_J, shift)
    assert panel.list.currentIndex().row() == 0
    panel.look()
    assert listed(panel, qtbot) == ["slide_2", "slide_3"], "what is done stays away"
    assert panel.back.text() == "Bring back 1"
    QTest.mouseClick(panel.back, LEFT)
    listed(panel, qtbot)
    assert panel.list.rows.row_of(first.key) == 0


def test_a_label_that_is_right_is_kept_and_not_listed_again(predicted, qtbot):
    panel = panel_of(predicted, qtbot, "errors")
    kinds = {(place.kind, place.name) for place in panel.list.rows.places}
    assert ("slide", "slide_2") in kinds and ("pixels", "slide_1") in kinds
    assert panel.list.rows.places[0].kind == "slide"
    assert "training slides among them" in panel.note.text()
    count = len(panel.list.rows.places)
    panel.list.choose(0)
    QTest.mouseClick(panel.keep, LEFT)
    panel.look()
    listed(panel, qtbot)
    assert len(panel.list.rows.places) == count - 1
    assert all(place.kind == "pixels" for place in panel.list.rows.places)


def test_change_takes_the_networks_side_in_one_undo_step(predicted, qtbot, ids):
    panel = panel_of(predicted, qtbot, "errors")
    row = next(n for n, p in enumerate(panel.list.rows.places) if (p.name, p.given) == ("slide_1", 1))
    store = predicted.workspace.labels(predicted.workspace.item(ids["slide_1"]))
    store.flush()
    before = store.region(0, 40, 40, 100, 80)
    assert (before == 1).all()
    panel.list.choose(row)
    QTest.mouseClick(panel.change, LEFT)
    qtbot.waitUntil(lambda: (store.region(0, 40, 40, 100, 80) == 2).any())
    store.flush()
    assert (store.region(0, 40, 40, 100, 40) == 1).all() and (store.region(0, 40, 80, 100, 40) == 2).all()
    qtbot.waitUntil(lambda: predicted.item is not None and predicted.item.name == "slide_1")
    qtbot.waitUntil(predicted.book["edit.undo"].isEnabled)
    predicted.book["edit.undo"].trigger()
    store.flush()
    assert np.array_equal(store.region(0, 40, 40, 100, 80), before)


def test_change_corrects_the_label_of_a_slide(predicted, qtbot, ids):
    panel = panel_of(predicted, qtbot, "errors")
    panel.list.choose(0)
    QTest.mouseClick(panel.change, LEFT)
    assert predicted.workspace.item(ids["slide_2"]).label == "positive"


def test_without_a_map_the_panel_says_where_places_come_from(tiny, qtbot):
    panel = panel_of(tiny, qtbot)
    assert panel.note.text().startswith("Predict slides under Results")
    assert not panel.train_on.isEnabled() and not panel.done_button.isEnabled()


def test_pseudo_labels_of_a_run_at_work_are_listed_as_rounds_come(tiny, network, qtbot, ids):
    (network / "checkpoints" / "final.safetensors").rename(network / "weights")
    heat(network / "previews" / "round_1" / f"{ids['slide_3']}.heat", (64, 64, 96, 96, 128))
    panel = panel_of(tiny, qtbot)
    assert panel.source.currentText() == "Pseudo labels of tiny, round 1" and not panel.train_on.isEnabled()
    assert [place.rect for place in panel.list.rows.places] == [(64, 64, 32, 32)]
    heat(network / "previews" / "round_2" / f"{ids['slide_3']}.heat", (128, 64, 160, 96, 128))
    panel._look_if_seen()
    listed(panel, qtbot)
    assert panel.source.currentText() == "Pseudo labels of tiny, round 2"
    assert [place.rect for place in panel.list.rows.places] == [(128, 64, 32, 32)]
    panel.step(1)
    shown = tiny.model.overlay("pseudo labels, round 2")
    assert shown is not None and shown.visible and shown.yields


def test_continue_fills_the_form_with_the_best_weights_and_fewer_first_steps(predicted, network, qtbot, tmp_path):
    from opsin.engine.runs import read_record, write_json
    from opsin.engine.verbs import CHECKPOINT

    recipe = Checkpoint.load(network / CHECKPOINT, "hybrid_wsi").header["recipe"]
    write_json(network / "run.json", {**read_record(network), "recipe": recipe})
    panel = panel_of(predicted, qtbot)
    QTest.mouseClick(panel.train_on, LEFT)
    training = predicted.room.panel("train")
    assert predicted.room.tabs.currentWidget().objectName() == "train"
    value = training.form.value()
    assert value.initial_checkpoint == str(network / CHECKPOINT)
    assert (value.steps_initial, value.steps_round) == (2, 4)
    assert "2 first steps instead of 6" in training.about.text() and training.about.text().startswith("Continues “")
    command = training.command.text()
    assert f"initial_checkpoint={network / CHECKPOINT}" in command and "--set steps_initial=2" in command
    spec = training.make_spec()
    assert spec.arguments["recipe"]["initial_checkpoint"] == str(network / CHECKPOINT)
    assert spec.arguments["run"] != str(network)


def test_a_finished_run_offers_to_continue(tiny, network, qtbot):
    tiny.commands.show_tab("runs")
    runs = tiny.room.panel("runs")
    runs.refresh()
    assert runs.train_on.isEnabled()
    chosen = []
    runs.continue_chosen.connect(chosen.append)
    QTest.mouseClick(runs.train_on, LEFT)
    assert chosen == [str(network)] and tiny.room.tabs.currentWidget().objectName() == "train"


def test_the_rounds_of_a_run_can_be_shown_beside_it(tiny, network, qtbot, ids):
    for round in (1, 2):
        heat(network / "previews" / f"round_{round}" / f"{ids['slide_3']}.heat", (64, 64, 96, 96, 128))
    tiny.commands.show_tab("runs")
    runs = tiny.room.panel("runs")
    runs.refresh()
    box: RoundBox = runs.rounds
    qtbot.waitUntil(box.isVisible)
    assert box.rounds() == [1, 2] and box.group.checkedId() == 0
    QTest.mouseClick(box.group.button(1), LEFT)
    assert tiny.model.overlay("pseudo labels, round 1").visible
    QTest.mouseClick(box.group.button(2), LEFT)
    assert [o.name for o in tiny.model.overlays if o.visible] == ["pseudo labels, round 2"]
    QTest.mouseClick(box.group.button(0), LEFT)
    assert not any(o.visible for o in tiny.model.overlays if o.name.startswith("pseudo"))
    heat(network / "previews" / "round_3" / f"{ids['slide_3']}.heat", (64, 64, 96, 96, 128))
    box.refresh()
    assert box.rounds() == [1, 2, 3] and box.group.button(3) is not None
    tiny.open_item(ids["slide_0"])
    qtbot.waitUntil(lambda: tiny.item is not None and tiny.item.name == "slide_0")
    assert not box.isVisible(), "nothing was proposed for this slide"


def test_pictures_of_slides_that_cannot_be_read_are_left_out(predicted, qtbot, tiny_workspace):
    panel = panel_of(predicted, qtbot)
    places = panel.list.rows.places
    found = dict(pictures(predicted.workspace, places, 40))
    assert set(found) == {place.key for place in places}
    assert all(pixels.shape == (40, 40, 3) and pixels.dtype == np.uint8 for pixels in found.values())
    assert image_of(next(iter(found.values()))).width() == 40
