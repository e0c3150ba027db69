"""Two thresholds that must not be mixed up: of slide scores, per network, and of what is drawn of a heat map."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from opsin.engine.jobs import JobSpec
from opsin.engine.judgement import SPLITS, ScoreRow, first_threshold, rounded_down
from opsin.engine.tiles import TilePyramid
from opsin.widgets.layers import LiveLayers
from opsin.widgets.results import HEAT_MAP, ResultsPanel
from opsin.widgets.slide.model import SlideViewModel
from opsin.widgets.theme import apply_theme

SCORES = (0.1, 0.9, 0.3, 0.8, 0.2, 0.53598, 0.6, 0.5)


def make_heat(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        TilePyramid.create(path, 64, 48, base=1, reduce="mean", meta={"kind": "heat"}) as pyramid,
        pyramid.transaction(),
    ):
        tile = np.zeros((512, 512), np.uint8)
        tile[:48, :32] = value
        pyramid.write(0, 0, tile)
    return path


@pytest.fixture
def runs(make_run):
    return make_run(), make_run()


@pytest.fixture
def view(workspace):
    view = SlideViewModel()
    view.set_viewport(200, 100)
    with workspace.open_slide(workspace.items()[1]) as slide:
        view.set_slide(slide)
        yield view


@pytest.fixture
def panel(workspace, runs, fake_jobs, view, qtbot):
    for item, score in zip(workspace.items(), SCORES):
        workspace.set_score(item.id, runs[0].name, {"score": score, "source": "top-K classifier", "area": 1.5})
    panel = ResultsPanel(workspace, fake_jobs, view)
    qtbot.addWidget(panel)
    panel.show()
    panel.use_run(str(runs[0]))
    return panel


def judged(panel, split=""):
    panel.judge.split.setCurrentIndex(panel.judge.split.findData(split))
    panel.judge.split.activated.emit(0)
    return panel.judge


# ---- what is written finds what it says


def test_the_threshold_as_it_is_written_misses_no_slide(panel):
    """0.53598 written as 0.536 would miss the very slide that sets it."""
    box = judged(panel, "val")
    assert box.judgement.full == 0.53598
    assert "at 0.535, set by <b>slide_5</b>" in box.full.text()
    box.use_full.click()
    assert panel.threshold == 0.535 and panel.threshold_text.text() == "0.535"
    assert panel.threshold_slider.value() == 535
    assert "<b>At 0.535</b>: 1 found, 0 missed, 0 false alarms" in box.counts.text()
    panel.threshold_slider.setValue(534)
    panel.threshold_slider.setValue(535)  # by hand, what was read
    assert "0 missed" in box.counts.text()


@pytest.mark.parametrize(
    "threshold, others, text",
    [
        (0.53598, [], "0.535"),
        (0.5, [0.4999], "0.500"),
        (0.57, [], "0.570"),
        (0.53598, [0.5355], "0.5359"),  # 0.535 would call one slide more
        (0.123456789, [0.123456788], "0.123456789"),
        (0.0004, [], "0.000"),
        (1.0, [], "1.000"),
    ],
)
def test_rounding_down_calls_the_same_slides(threshold, others, text):
    scores = np.array([threshold, *others])
    assert rounded_down(threshold, scores) == text
    assert ((scores >= float(text)) == (scores >= threshold)).all()


def test_one_false_alarm_is_one(panel):
    box = judged(panel)
    panel.set_threshold(0.5)
    assert ", 1 false alarm, " in box.counts.text()
    panel.set_threshold(0.25)
    assert ", 2 false alarms, " in box.counts.text()


# ---- where it begins, and whose it is


def test_without_a_choice_it_finds_all_positives_of_other_slides_than_the_test_slides(panel):
    assert panel.threshold == 0.535
    assert panel.threshold_from.isVisible() and "every positive validation slide" in panel.threshold_from.text()
    rows = [ScoreRow("a", "a", "positive", "test", 0.1), ScoreRow("b", "b", "negative", "test", 0.05)]
    assert first_threshold(rows) == (0.5, "")
    assert first_threshold([*rows, ScoreRow("c", "c", "positive", None, 0.3), ScoreRow("d", "d", "negative", None, 0.2)]) == (
        0.3, "finds every positive training slide",
    )  # fmt: skip


def test_each_network_has_its_own_threshold_and_keeps_it(panel, workspace, runs, fake_jobs, qtbot):
    panel.set_threshold(0.22)
    assert not panel.threshold_from.isVisible()
    panel.use_run(str(runs[1]))
    assert panel.threshold == 0.5, "what was chosen for one network says nothing about another"
    panel.threshold_slider.setValue(640)
    panel.use_run(str(runs[0]))
    assert panel.threshold == 0.22 and panel.threshold_slider.value() == 220
    again = ResultsPanel(workspace, fake_jobs)
    qtbot.addWidget(again)
    again.use_run(str(runs[1]))
    assert again.threshold == 0.64


def test_a_network_without_scores_says_so(panel, runs):
    assert not panel.unscored.isVisible()
    panel.use_run(str(runs[1]))
    assert panel.unscored.isVisible() and "not scored any slide" in panel.unscored.text()


# ---- slides and places


def test_the_slide_threshold_leaves_the_heat_map_alone_and_the_other_way_round(panel, workspace, runs, view, tmp_path):
    item = workspace.items()[1]
    make_heat(workspace.heatmap_path(runs[0].name, item.id), 200)
    panel.set_item(item.id)
    verdicts = [row.verdict(panel.table.rows.threshold) for row in panel.table.rows.rows]
    panel.map.from_slider.setValue(730)
    assert view.overlay(HEAT_MAP).threshold == 0.73
    assert panel.threshold == 0.535
    assert [row.verdict(panel.table.rows.threshold) for row in panel.table.rows.rows] == verdicts
    judged(panel, "val").use_full.click()
    panel.threshold_slider.setValue(220)
    assert view.overlay(HEAT_MAP).threshold == 0.73 and panel.map.from_text.text() == "0.730"
    assert [row.verdict(panel.table.rows.threshold) for row in panel.table.rows.rows] != verdicts


def test_outlines_are_exported_as_they_are_drawn(panel, workspace, runs, monkeypatch, tmp_path, qtbot):
    item = workspace.items()[1]
    make_heat(workspace.heatmap_path(runs[0].name, item.id), 200)  # p = 0.78
    panel.set_item(item.id)
    asked = []

    def ask(parent, title, name, filters):
        asked.append(title)
        return str(tmp_path / "out.geojson"), filters

    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    panel.set_threshold(0.95)
    panel.map.from_slider.setValue(400)
    panel.export_outlines.trigger()
    qtbot.waitUntil(lambda: "is written" in panel.note.text())
    assert asked == ["Export outlines drawn from 0.400"]
    assert '"Polygon"' in (tmp_path / "out.geojson").read_text()


def test_the_table_of_scores_says_at_which_threshold_slides_are_called(panel, workspace, tmp_path, qtbot):
    panel.set_threshold(0.55)
    panel.export_scores(tmp_path / "scores.csv")
    qtbot.waitUntil(lambda: "is written" in panel.note.text())
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0].endswith(",threshold") and all(line.endswith(",0.55") for line in lines[1:])
    assert panel.note.isVisible()
    panel.set_workspace(None)
    assert not panel.note.isVisible(), "it said so of the workspace before"


# ---- another network's heat map


def test_a_prediction_with_another_network_does_not_lay_its_map_on_the_slide(
    panel, workspace, runs, view, event, tmp_path
):
    """A training ended while the network before it was still predicting: what it finds must not be taken for the new one's."""
    item = workspace.items()[1]
    panel.set_item(item.id)
    job = panel.predict([item.id])
    heat = make_heat(tmp_path / "old.heat", 200)
    job.apply(event("preview", name="heat map", kind="Heatmap", path=str(heat), info={"item": item.id}))
    assert view.overlay(HEAT_MAP) is not None
    panel.use_run(str(runs[1]))
    assert view.overlay(HEAT_MAP) is None
    info = {"item": item.id, "input": "x"}
    job.apply(event("preview", name="heat map", kind="Heatmap", path=str(heat), info=info))
    job.apply(event("result", kind="Heatmap", path=str(heat), info=info))
    assert view.overlay(HEAT_MAP) is None
    panel.set_item(item.id)  # as when the slide is opened anew
    assert view.overlay(HEAT_MAP) is None
    panel.use_run(str(runs[0]))
    assert view.overlay(HEAT_MAP) is not None, "it is there again with its network"


# ---- the table and the list of splits


def test_the_longest_split_is_not_cut(panel, qapp):
    box = panel.judge.split
    longest = max(SPLITS.values(), key=len)
    room = box.width() - box.fontMetrics().horizontalAdvance(longest)
    assert room >= 24, "its arrow has room beside the text"


def test_names_of_slides_are_not_cut_in_favour_of_the_split(panel, qapp):
    panel.resize(430, 860)
    qapp.processEvents()
    table = panel.table
    assert table.isColumnHidden(4)
    assert table.columnWidth(0) > table.fontMetrics().horizontalAdvance("a_longer_name")


def arrow_rows(header):
    """Return the extents of the dark pixels in each row of the sort arrow in the header of the scores."""
    left, width = header.sectionViewportPosition(1), header.sectionSize(1)
    image = header.grab().toImage()
    ratio = image.devicePixelRatio()
    ground = image.pixelColor(int((left + 2) * ratio), int(4 * ratio)).lightness()
    extents = []
    for y in range(int(5 * ratio), int((header.height() - 5) * ratio)):
        dark = [
            x
            for x in range(int((left + width - 22) * ratio), int((left + width - 2) * ratio))
            if abs(image.pixelColor(x, y).lightness() - ground) > 60
        ]
        if dark:
            extents.append(dark[-1] - dark[0])
    return extents


def test_the_arrow_points_down_where_the_highest_score_stands_first(panel, qapp):
    before = qapp.styleSheet()
    apply_theme(qapp, "light")
    try:
        header = panel.table.horizontalHeader()
        rows = arrow_rows(header)
        assert len(rows) > 2 and rows.index(max(rows)) < len(rows) / 2, "wide above, narrow below"
        panel.table.sortByColumn(1, panel.table._sorted.sortOrder().AscendingOrder)
        rows = arrow_rows(header)
        assert len(rows) > 2 and rows.index(max(rows)) >= len(rows) / 2
    finally:
        qapp.setStyleSheet(before)


# ---- pseudo labels


def pseudo(number, heat, item, event):
    return event("preview", name=f"pseudo labels, round {number}", kind="Heatmap", path=str(heat), info={"item": item})


def test_pseudo_labels_do_not_come_between_the_brush_and_the_tissue(workspace, view, fake_jobs, event, tmp_path):
    live = LiveLayers(fake_jobs, view)
    live.set_item("a")
    job = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": str(tmp_path / "r"), "data": "x"}))
    view.tool = "brush"
    job.apply(pseudo(1, make_heat(tmp_path / "1.heat", 200), "a", event))
    assert [(o.name, o.visible) for o in view.overlays] == [("pseudo labels, round 1", False)]
    view.update_overlay("pseudo labels, round 1", visible=True)  # who wants to see them does
    job.apply(pseudo(2, make_heat(tmp_path / "2.heat", 200), "a", event))
    assert [o.name for o in view.overlays if o.visible] == ["pseudo labels, round 2"]
    view.update_overlay("pseudo labels, round 2", visible=False)
    view.tool = "pan"
    job.apply(pseudo(3, make_heat(tmp_path / "3.heat", 200), "a", event))
    assert not any(o.visible for o in view.overlays), "who has switched them off has them off in the next round"


def test_pseudo_labels_of_a_negative_slide_are_switched_off_and_explained(
    panel, workspace, view, fake_jobs, event, tmp_path, qtbot
):
    negative = workspace.items()[0]
    panel.set_item(negative.id)
    job = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": str(tmp_path / "r"), "data": "x"}))
    job.apply(pseudo(1, make_heat(tmp_path / "1.heat", 200), negative.id, event))
    assert [o.visible for o in view.overlays] == [False]
    qtbot.waitUntil(panel.map.note.isVisible)
    assert "before the label of the slide corrects them" in panel.map.note.text()


# ---- nothing to be seen


def test_a_map_below_what_is_drawn_says_so_and_can_be_shown(panel, workspace, runs, view, qtbot):
    item = workspace.items()[1]
    make_heat(workspace.heatmap_path(runs[0].name, item.id), 101)  # p = 0.394
    panel.set_item(item.id)
    qtbot.waitUntil(panel.map.note.isVisible)
    assert panel.map.note.text() == "No place on this slide reaches 0.500; the highest value is 0.394."
    panel.map.show_more.click()
    assert view.overlay(HEAT_MAP).threshold == pytest.approx(0.196, abs=0.001)
    assert not panel.map.note.isVisible() and not panel.map.show_more.isVisible()


def test_a_map_with_something_to_see_says_nothing(panel, workspace, runs, view, qtbot):
    item = workspace.items()[1]
    make_heat(workspace.heatmap_path(runs[0].name, item.id), 200)
    panel.set_item(item.id)
    qtbot.waitUntil(lambda: panel.map._highest is not None)
    assert not panel.map.note.isVisible() and not panel.map.show_more.isVisible()
