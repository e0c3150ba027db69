"""Predicting from the window, heat maps on the slide, the table, the ROC curve, the exports."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt

from opsin.engine.exports import write_scores
from opsin.engine.jobs import JobSpec
from opsin.engine.judgement import ScoreRow, best_split, honest_sentence, judge
from opsin.engine.method import get_method
from opsin.engine.tiles import TilePyramid
from opsin.widgets import layers
from opsin.widgets.plots import Histogram, RocPlot
from opsin.widgets.results import HEAT_MAP, ResultsPanel
from opsin.widgets.slide.model import SlideViewModel

SCORES = (0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.6, 0.5)


def make_heat(path, width=64, height=48, value=200):
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        TilePyramid.create(path, width, height, base=1, reduce="mean", meta={"kind": "heat"}) as pyramid,
        pyramid.transaction(),
    ):
        tile = np.zeros((512, 512), np.uint8)
        tile[:height, : width // 2] = value
        pyramid.write(0, 0, tile)
    return path


def make_picture(path):
    Image.new("RGB", (300, 200), (200, 150, 180)).save(path)
    return path


@pytest.fixture
def view(workspace):
    view = SlideViewModel()
    view.set_viewport(200, 100)
    with workspace.open_slide(workspace.items()[0]) as slide:
        view.set_slide(slide)
        yield view


@pytest.fixture
def run(make_run):
    return make_run()


@pytest.fixture
def panel(workspace, run, fake_jobs, view, qtbot):
    panel = ResultsPanel(workspace, fake_jobs, view)
    qtbot.addWidget(panel)
    panel.show()
    return panel


@pytest.fixture
def scored(panel, workspace, run, qtbot):
    for item, score in zip(workspace.items(), SCORES):
        workspace.set_score(item.id, run.name, {"score": score, "source": "top-K classifier", "area": 1.5})
    qtbot.waitUntil(lambda: all(row.score is not None for row in panel.table.rows.rows))
    return panel


def result(event, kind, item, path=None, **info):
    return event("result", kind=kind, path=path, info={"item": item, "input": "x", **info})


# ---- predicting


def test_predicting_the_open_slide_sends_what_is_in_sight_first(panel, workspace, run, view, fake_jobs):
    first = workspace.items()[0]
    workspace.update(first.id, mpp=0.5)
    panel.set_item(first.id)
    panel.predictor.predict_this.click()
    (job,) = fake_jobs.jobs
    arguments = job.spec.arguments
    assert job.spec.verb == "predict"
    assert arguments["checkpoint"] == str(run)
    assert arguments["output"] == str(workspace.folder / "heatmaps" / run.name)
    (entry,) = arguments["inputs"]
    assert entry["id"] == first.id
    assert entry["path"] == str(workspace.slide_path(first))
    assert entry["options"] == {"item": first.id, "slide_mpp": 0.5, "view": [0, 0, 64, 48]}
    get_method("hybrid_wsi").Options.checked({**arguments["options"], **entry["options"]})


def test_predicting_all_slides_starts_with_the_open_one(panel, workspace, fake_jobs):
    third = workspace.items()[2].id
    panel.set_item(third)
    panel.predictor.predict_all.click()
    ids = [entry["id"] for entry in fake_jobs.jobs[0].spec.arguments["inputs"]]
    assert ids[0] == third
    assert sorted(ids) == sorted(item.id for item in workspace.items())


def test_predicting_the_selected_slides(panel, workspace, fake_jobs):
    assert not panel.predictor.predict_selected.isEnabled()
    panel.table.selectRow(1)
    chosen = panel.table.selected_items()
    panel.predictor.predict_selected.click()
    assert [entry["id"] for entry in fake_jobs.jobs[0].spec.arguments["inputs"]] == chosen


def test_every_option_reaches_the_arguments_of_the_job(panel, workspace):
    form = panel.predictor.form
    defaults = get_method("hybrid_wsi").Options()
    others = {bool: lambda v: not v, int: lambda v: v * 2, float: lambda v: v / 2}
    for name, row in form.rows.items():
        value = getattr(defaults, name)
        if value is None:
            new = 64
        elif isinstance(value, str):
            new = next(row.editor.box.itemData(i) for i in range(5) if row.editor.box.itemData(i) != value)
        else:
            new = others[type(value)](value)
        form.change(**{name: new if name not in ("mpp", "slide_mpp") else 0.5})
        options = panel.predictor.make_spec(None).arguments["options"]
        assert list(options) == [name]
        assert options[name] == row.editor.get() != value
        form.reset(name)


def test_without_a_network_it_says_what_to_do(workspace, fake_jobs, qtbot):
    panel = ResultsPanel(workspace, fake_jobs)
    qtbot.addWidget(panel)
    assert not panel.predictor.predict_all.isEnabled()
    assert panel.predict(None) is None
    assert "Train a network first" in panel.predictor.problem.text()
    panel.set_workspace(None)
    assert not panel.table.rows.rows


def test_a_finished_training_becomes_the_network_to_use(workspace, fake_jobs, make_run, event, qtbot):
    panel = ResultsPanel(workspace, fake_jobs)
    qtbot.addWidget(panel)
    folder = make_run("running")
    job = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": str(folder), "data": "x"}))
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "final.safetensors").write_bytes(b"weights")
    job.apply(event("state", state="done"))
    assert panel.predictor.run.currentData() == str(folder)


def test_scores_are_kept_as_they_come_in(panel, workspace, run, fake_jobs, event, qtbot, tmp_path):
    item = workspace.items()[1]
    job = panel.predict(None)
    heat = make_heat(tmp_path / "a.heat")
    job.apply(
        event("state", state="running"),
        event("phase", name="predict slide_1.png"),
        event("progress", done=1, total=4, what="tiles"),
        result(event, "Heatmap", item.id, str(heat)),
        result(event, "SlideScore", item.id, score=0.75, source="mean of the K tile maxima", tiles=[], slide="s"),
    )
    assert panel.predictor.progress.isVisible()
    assert panel.predictor.bar.value() == round(1000 * 0.25 / len(workspace.items())), "of all slides"
    (kept,) = workspace.scores(run.name)
    assert (kept["item"], kept["score"]) == (item.id, 0.75)
    qtbot.waitUntil(lambda: panel.table.rows.rows[1].score == 0.75)
    assert panel.predictor.heat_map(item.id) == heat
    job.apply(event("state", state="done"))
    assert not panel.predictor.progress.isVisible()
    assert len(workspace.scores(run.name)) == 1


def test_a_failed_prediction_says_why(panel, event):
    job = panel.predict(None)
    job.apply(event("message", level="error", text="slide_1.png cannot be read."), event("state", state="failed"))
    assert panel.predictor.problem.text() == "slide_1.png cannot be read."


# ---- on the slide


def test_a_heat_map_appears_while_it_is_computed(panel, workspace, view, event, tmp_path):
    item = workspace.items()[0]
    panel.set_item(item.id)
    heat = make_heat(tmp_path / "grow.heat", value=0)
    job = panel.predict([item.id])
    job.apply(
        event("state", state="running"),
        event("preview", name="heat map", kind="Heatmap", path=str(heat), info={"item": item.id}),
    )
    overlay = view.overlay(HEAT_MAP)
    assert overlay is not None
    assert not overlay.pyramid.region(0, 0, 0, 8, 8).any()
    refreshed = []
    view.refreshed.connect(lambda name, rect: refreshed.append((name, tuple(rect))))
    with TilePyramid.open(heat) as pyramid, pyramid.transaction():
        pyramid.write(0, 0, np.full((512, 512), 201, np.uint8))
    job.apply(
        event("region", name="heat map", kind="Heatmap", path=str(heat), rect=[0, 0, 16, 16]),
        event("region", name="heat map", kind="Heatmap", path=str(heat), rect=[16, 8, 16, 16]),
    )
    assert refreshed == [(HEAT_MAP, (0, 0, 32, 24))]
    assert (view.overlay(HEAT_MAP).pyramid.region(0, 0, 0, 8, 8) == 201).all()


def test_a_second_prediction_shows_its_own_file(panel, workspace, view, event, tmp_path):
    """The new map has the path of the old one, which is gone: the old one must not stay on the slide."""
    item = workspace.items()[0]
    panel.set_item(item.id)
    path = tmp_path / "again.heat"
    for value in (100, 222):
        for old in tmp_path.glob("again.heat*"):
            old.unlink()
        make_heat(path, value=value)
        panel.predict([item.id]).apply(
            event("preview", name="heat map", kind="Heatmap", path=str(path), info={"item": item.id})
        )
        assert (view.overlay(HEAT_MAP).pyramid.region(0, 0, 0, 8, 8) == value).all()


def test_other_slides_results_are_not_shown_on_this_one(panel, workspace, view, event, tmp_path):
    first, second = workspace.items()[:2]
    panel.set_item(first.id)
    heat = make_heat(tmp_path / "b.heat")
    job = panel.predict([second.id])
    job.apply(event("preview", name="heat map", kind="Heatmap", path=str(heat), info={"item": second.id}))
    assert view.overlays == []
    panel.set_item(second.id)
    assert view.overlay(HEAT_MAP) is not None


def test_pseudo_labels_of_a_training_appear_round_by_round(panel, workspace, view, fake_jobs, event, tmp_path):
    item = workspace.items()[1]
    panel.set_item(item.id)
    job = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": str(tmp_path / "r"), "data": "x"}))
    for number in (1, 2):
        heat = make_heat(tmp_path / f"round{number}.heat")
        name = f"pseudo labels, round {number}"
        job.apply(event("preview", name=name, kind="Heatmap", path=str(heat), info={"item": item.id}))
    assert [o.name for o in view.overlays if o.visible] == ["pseudo labels, round 2"]


def test_the_heat_map_of_an_earlier_prediction_is_found_again(panel, workspace, run, view):
    item = workspace.items()[0]
    make_heat(workspace.heatmap_path(run.name, item.id))
    panel.set_item(item.id)
    assert view.overlay(HEAT_MAP) is not None


def test_sliders_and_boxes_drive_the_overlay(panel, workspace, run, view):
    item = workspace.items()[0]
    make_heat(workspace.heatmap_path(run.name, item.id))
    panel.set_item(item.id)
    panel.map.from_slider.setValue(730)
    panel.map.opacity_slider.setValue(35)
    overlay = view.overlay(HEAT_MAP)
    assert (overlay.threshold, overlay.opacity) == (0.73, 0.35)
    assert panel.map.from_text.text() == "0.730"
    box = panel.map.layers.itemAt(0).widget().box
    box.click()
    assert not view.overlay(HEAT_MAP).visible
    view.update_overlay(HEAT_MAP, visible=True)
    assert box.isChecked()


def test_unknown_kinds_and_missing_files_show_nothing(view, tmp_path):
    assert not layers.show(view, "Flow", tmp_path / "x.flo", "flow")
    assert not layers.show(view, "Heatmap", tmp_path / "missing.heat", "heat map")
    (tmp_path / "bad.heat").write_bytes(b"not a database at all, but long enough to be looked at" * 40)
    assert not layers.show(view, "Heatmap", tmp_path / "bad.heat", "heat map")


# ---- judging


def test_the_table_is_sorted_by_score_and_says_what_is_wrong(scored):
    scored.set_threshold(0.5)
    names = [next(r.name for r in scored.table.rows.rows if r.item == id) for id in scored.table.shown()]
    assert names[:3] == ["slide_1", "slide_3", "slide_5"]
    verdicts = {row.name: row.verdict(scored.threshold) for row in scored.table.rows.rows}
    assert verdicts["slide_1"] == "right"
    assert verdicts["slide_6"] == "wrong"
    scored.set_threshold(0.65)
    assert {row.verdict(scored.threshold) for row in scored.table.rows.rows if row.name == "slide_6"} == {"right"}


def test_the_operating_point_is_named_with_the_slide_that_sets_it(scored, qtbot):
    judge_box = scored.judge
    assert judge_box.split.currentData() == "test", "unseen slides come first"
    judge_box.split.setCurrentIndex(judge_box.split.findData(""))
    judge_box.split.activated.emit(judge_box.split.currentIndex())
    assert "slide_7" in judge_box.full.text()
    assert "0.500" in judge_box.full.text()
    assert "specificity 0.750 (3 of 4)" in judge_box.full.text()
    qtbot.waitUntil(lambda: "interval" in judge_box.area.text())
    assert "0.938" in judge_box.area.text()
    judge_box.use_full.click()
    assert scored.threshold == 0.5
    assert "4 found, 0 missed, 1 false alarm, 3 rightly negative" in judge_box.counts.text()


def test_the_threshold_drives_the_confusion_counts(scored):
    scored.judge.split.setCurrentIndex(scored.judge.split.findData(""))
    scored.judge.split.activated.emit(0)
    scored.threshold_slider.setValue(750)
    assert "2 found, 2 missed, 0 false alarms, 4 rightly negative" in scored.judge.counts.text()


def test_without_both_kinds_of_slides_nothing_is_claimed(panel):
    assert "n/a" in panel.judge.area.text()
    assert not panel.judge.full.isVisible()
    panel.judge.roc.grab()


def rows(*entries):
    return [ScoreRow(str(n), f"s{n}", label, split, score) for n, (label, split, score) in enumerate(entries)]


def test_a_threshold_fixed_on_validation_slides_is_read_on_test_slides():
    known = rows(
        ("positive", "val", 0.6), ("negative", "val", 0.3), ("positive", "test", 0.5),
        ("positive", "test", 0.9), ("negative", "test", 0.7),
    )  # fmt: skip
    assert "sensitivity 0.500, specificity 0.000" in honest_sentence(known)
    assert honest_sentence(known[:2]) == ""
    assert best_split(known) == "test"
    assert best_split(known[:2]) == "val"
    assert best_split(known[:1]) == ""


def test_ties_count_against_the_method():
    tied = judge(rows(("positive", None, 0.5), ("negative", None, 0.5)))
    assert tied.full == 0.5
    assert tied.full_specificity == 0.0
    assert tied.auc == 0.5


def test_the_roc_curve_is_drawn_where_it_belongs(qtbot):
    plot = RocPlot()
    qtbot.addWidget(plot)
    plot.resize(200, 200)
    empty = plot.grab().toImage()
    plot.set_curve([(0, 0), (0, 1), (1, 1)], full=(0.0, 1.0))
    image = plot.grab().toImage()
    changed = [(x, y) for x in range(0, 200, 2) for y in range(0, 200, 2) if image.pixel(x, y) != empty.pixel(x, y)]
    assert min(x for x, _ in changed) < 50
    assert min(y for _, y in changed) < 20


def test_a_histogram_has_positives_above_and_negatives_below(qtbot):
    plot = Histogram()
    qtbot.addWidget(plot)
    plot.resize(240, 120)
    plot.set_counts([0] * 19 + [9], [9] + [0] * 19, line=0.4)
    image = plot.grab().toImage()
    upper = image.pixelColor(226, 30)
    lower = image.pixelColor(28, 70)
    assert upper.red() > upper.green() + 40
    assert lower.green() > lower.red() + 20


# ---- taking it along


def test_scores_are_written_highest_first(scored, tmp_path, qtbot):
    target = tmp_path / "scores.csv"
    scored.export_scores(target)
    qtbot.waitUntil(lambda: "is written" in scored.note.text())
    with target.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["slide"] for line in lines[:2]] == ["slide_1", "slide_3"]
    assert lines[0]["called"] == "positive"
    assert lines[-1]["called"] == "negative"


def test_unscored_slides_come_last_in_the_file(tmp_path):
    write_scores(tmp_path / "x.csv", rows(("positive", None, None), ("negative", None, 0.1)), 0.5)
    assert (tmp_path / "x.csv").read_text().splitlines()[-1].startswith("s0,positive")


def test_a_slide_with_nothing_to_score_stands_apart(scored, workspace, run, tmp_path, qtbot):
    """No tissue: not a score of 0, which would count as rightly negative, and not as if it had not been predicted."""
    empty, later = workspace.items()[1], workspace.add([make_picture(tmp_path / "later.png")])[0]
    workspace.set_score(empty.id, run.name, {"score": None, "source": "no tissue found", "area": 0.0})
    qtbot.waitUntil(lambda: len(scored.table.shown()) == 9 and scored.table.rows.rows[1].score is None)
    assert scored.table.shown()[-2:] == [empty.id, later.id]
    assert workspace.scores(run.name)[-1]["item"] == empty.id
    model = scored.table.model()
    assert [model.index(row, 1).data() for row in (7, 8)] == ["n/a", ""]
    assert "No score: no tissue found" in model.index(7, 0).data(Qt.ItemDataRole.ToolTipRole)
    scored.judge.split.setCurrentIndex(scored.judge.split.findData(""))
    scored.judge.split.activated.emit(0)
    assert (
        empty.name not in [row.name for row in scored.judge.judgement.rows] and scored.judge.judgement.auc is not None
    )
    assert scored.judge.unscored.isVisible()
    assert scored.judge.unscored.text() == f"Not judged, without a score: {empty.name} (no tissue found)."
    write_scores(tmp_path / "x.csv", scored.table.rows.rows, 0.5)
    with (tmp_path / "x.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-2:]
    assert [(row["slide"], row["score"], row["called"], row["scored by"]) for row in last] == [
        (empty.name, "", "n/a", "no tissue found"),
        (later.name, "", "", ""),
    ]


@pytest.mark.parametrize("suffix", [".geojson", ".xml", ".tif"])
def test_a_heat_map_is_exported_in_the_formats_of_its_field(suffix, panel, workspace, run, tmp_path, qtbot):
    item = workspace.items()[0]
    make_heat(workspace.heatmap_path(run.name, item.id))
    panel.set_item(item.id)
    panel.set_threshold(0.5)
    target = tmp_path / f"out{suffix}"
    panel.export_heatmap(target)
    qtbot.waitUntil(lambda: "is written" in panel.note.text() or panel.problem.isVisible(), timeout=20000)
    assert not panel.problem.isVisible(), panel.problem.text()
    if suffix == ".geojson":
        features = json.loads(target.read_text())["features"]
        assert len(features) == 1
        xs = [x for x, _ in features[0]["geometry"]["coordinates"][0]]
        assert (min(xs), max(xs)) == (0, 32)
    assert target.stat().st_size > 100


def test_an_export_that_fails_says_so_and_leaves_no_file(panel, workspace, run, tmp_path, qtbot):
    item = workspace.items()[0]
    make_heat(workspace.heatmap_path(run.name, item.id))
    panel.set_item(item.id)
    blocked = tmp_path / "file"
    blocked.write_text("")
    panel.export_heatmap(blocked / "out.geojson")
    qtbot.waitUntil(panel.problem.isVisible)
    assert "cannot be written" in panel.problem.text()


def test_a_slide_is_opened_from_the_table(panel, qtbot, workspace):
    with qtbot.waitSignal(panel.open_requested) as caught:
        panel.table.activated.emit(panel.table.model().index(0, 0))
    assert caught.args[0] in {item.id for item in workspace.items()}


def test_rectangles_are_joined():
    assert layers.around([[0, 0, 4, 4], [10, 2, 5, 5]]) == (0, 0, 15, 7)
    assert SimpleNamespace(rect=layers.around([[1, 2, 3, 4]])).rect == (1, 2, 3, 4)
