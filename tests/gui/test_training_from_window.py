"""From the window to the worker and back: train with `tiny`, pause, stop, discard, resume, predict, look at the pixels."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMessageBox

from opsin.engine import worker
from opsin.engine.data.slides import open_slide
from opsin.engine.labels.exchange import read_annotations
from opsin.engine.labels.raster import raster_polygon
from opsin.engine.replay import state_of
from opsin.engine.runs import plain, read_lines, read_record
from opsin.engine.tiles import TilePyramid
from opsin.gui.settings import AppSettings
from opsin.gui.window import MainWindow
from opsin.widgets.results import HEAT_MAP

LEFT = Qt.MouseButton.LeftButton
LONG = 4000  # steps that a test never waits for


def press(button) -> None:
    """Click as the user does: only what is in sight and enabled."""
    assert button.isVisible() and button.isEnabled(), button.text()
    QTest.mouseClick(button, LEFT)


def wait(qtbot, condition, seconds=50) -> None:
    qtbot.waitUntil(condition, timeout=seconds * 1000)


def open_tab(window, name):
    """Click on a tab; return its panel, laid out and in sight."""
    QApplication.processEvents()
    bar = window.room.tabs.tabBar()
    QTest.mouseClick(bar, LEFT, pos=bar.tabRect([*("annotate", "train", "runs", "results")].index(name)).center())
    QApplication.processEvents()
    assert window.room.tabs.currentWidget().objectName() == name
    return window.room.panel(name)


def train(window, **changes):
    """Choose `tiny` on the CPU, change some settings, press Train; return the job."""
    panel = open_tab(window, "train")
    panel.method.setCurrentText("hybrid_wsi")
    panel.preset.setCurrentText("tiny")
    panel.device.setCurrentIndex(panel.device.findData("cpu"))
    panel.form.change(**changes)
    press(panel.train)
    assert window.room.tabs.currentWidget().objectName() == "runs", "the run is in sight at once"
    return window.jobs.jobs[-1]


def losses(job) -> int:
    return len(job.metrics.get("loss", ([], []))[0])


def folder_of(job) -> Path:
    return Path(job.spec.arguments["run"])


# ---- the whole way -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_train_and_see_it_at_work(tiny, qtbot):
    """Phases, heartbeat, live losses; pseudo labels lie on the open slide as soon as the E-step has made them."""
    seen: list[tuple[str, bool, int]] = []  # phase, pseudo labels on the slide, points of the loss plot
    beats = []

    def look(what: set[str]) -> None:
        shown = [o for o in tiny.model.overlays if o.name.startswith("pseudo labels, round 1")]
        drawn = bool(shown) and bool(shown[0].pyramid.region(0, 0, 0, *shown[0].pyramid.level_size(0)).any())
        seen.append((job.phase, drawn, losses(job)))
        if "heartbeat" in what:
            beats.append(job.heartbeat)

    job = train(tiny, rounds=1)
    job.changed.connect(look)
    card = tiny.room.panel("runs").card
    assert card.job is job and card.state.text() in ("Starting", "Running", "Waiting")
    wait(qtbot, lambda: card.loss.isVisible() and not job.final)
    wait(qtbot, lambda: job.final)
    assert job.state == "done", "\n".join(job.log)
    reported = [e["name"] for e in read_lines(folder_of(job) / "events.jsonl") if e["event"] == "phase"]
    wanted = ["index", "build", "round 0: load", "round 0: first batch", "round 0: training", "round 1: E-step"]
    wanted += ["round 1: load", "round 1: first batch", "round 1: training"]
    assert [name for name in reported if name in wanted] == wanted
    assert {"index", "round 0: first batch"} <= {phase for phase, _, _ in seen}
    assert beats and all(beat["memory"] > 1e8 and beat["phase"] for beat in beats)
    training = [(drawn, count) for phase, drawn, count in seen if phase.startswith("round 1") and count < 10]
    assert any(drawn for drawn, _ in training), "before the training of the round is through"
    wait(qtbot, lambda: card.state.text() == "Done", 5)
    assert len(job.metrics["loss"][0]) == 6 + 4, "each step has its point"
    (overlay,) = (o for o in tiny.model.overlays if o.name == "pseudo labels, round 1")
    assert overlay.visible and Path(overlay.pyramid.path).is_relative_to(folder_of(job))
    record = read_record(folder_of(job))
    assert record["recipe"] == job.spec.arguments["recipe"], "what was shown is what was run"
    assert record["state"] == "done" and record["command"].startswith("opsin train hybrid_wsi --data ")
    wait(qtbot, tiny.room.panel("runs").use.isEnabled, 5)


@pytest.mark.timeout(120)
def test_predict_and_see_the_result(network, tiny, tmp_path, qtbot):
    """The map grows on the slide, from the middle of the view outwards; threshold, table, ROC and exports say the same."""
    big = tmp_path / "big.png"
    random = np.random.default_rng(5)
    tissue = np.kron(random.integers(90, 200, (12, 14, 1)), np.ones((50, 50, 1))) + np.array([30, -40, 20])
    Image.fromarray(np.clip(tissue + random.normal(0, 4, tissue.shape), 0, 255).astype(np.uint8)).save(big)
    tiny.open_paths([big])
    wait(qtbot, lambda: tiny.item is not None and tiny.item.name == "big")
    tiny.model.move_to(580, 480)
    tiny.model.zoom_at(4 / tiny.model.zoom)
    results = open_tab(tiny, "results")
    press(results.predictor.settings_toggle)
    results.predictor.form.change(batch=1, overlap=0.5)
    filled, away = [], []  # pixels of the map, and their mean distance from the middle of the view, as it grows

    def grown(name: str, _: object) -> None:
        pyramid = tiny.model.overlay(name).pyramid
        rows, columns = np.nonzero(pyramid.region(0, 0, 0, *pyramid.level_size(0)))
        if len(rows):
            filled.append(len(rows))
            away.append(np.hypot(columns * pyramid.base - 580, rows * pyramid.base - 480).mean())

    tiny.model.refreshed.connect(grown)
    press(results.predictor.predict_this)
    job = tiny.jobs.jobs[-1]
    wait(qtbot, lambda: job.final)
    assert job.state == "done", "\n".join(job.log)
    assert filled[0] < filled[-1] and filled == sorted(filled), "seen as it grew"
    assert away == sorted(away) and away[0] < 0.8 * away[-1], "nearest to the view first"

    # the threshold on the screen
    tiny.model.fit()
    view = tiny.room.view
    heat = tiny.model.overlay(HEAT_MAP).pyramid
    raw = heat.region(0, 0, 0, *heat.level_size(0)).astype(int)  # 0: not computed, else 1 + 254 p
    low, high = (np.quantile(raw[raw > 0], [0.2, 0.8]) - 1) / 254
    pictures = []
    for threshold in (low, high):
        results.map.from_slider.setValue(int(1000 * threshold))
        assert tiny.model.overlay(HEAT_MAP).threshold == pytest.approx(threshold, abs=0.001)
        assert view.wait_painted()
        pictures.append(view.grab().toImage())
    assert pictures[0] != pictures[1]

    # the table
    results.predictor.form.reset("batch")
    results.predictor.form.reset("overlap")
    press(results.predictor.predict_all)
    job = tiny.jobs.jobs[-1]
    wait(qtbot, lambda: job.final and all(row.score is not None for row in results.table.rows.rows))
    assert job.state == "done", "\n".join(job.log)
    scores = {row.item: row.score for row in results.table.rows.rows}
    shown = [scores[id] for id in results.table.shown()]
    assert len(shown) == 5 and shown == sorted(shown, reverse=True)
    labelled = [(scores[i.id], i.label == "positive", i.name) for i in tiny.workspace.items() if i.label]
    least, _, name = min(row for row in labelled if row[1])
    right = sum(score < least for score, positive, _ in labelled if not positive)
    assert f"at {results.judge.judgement.full_text}, set by <b>{name}</b>" in results.judge.full.text()
    assert f"({right} of 2)" in results.judge.full.text()
    assert results.judge.area.text().startswith("<b>AUC</b> ") and "n/a" not in results.judge.area.text()
    assert len(results.judge.judgement.points) >= 2, "the curve"
    results.judge.use_full.click()
    assert least - 0.001 < results.threshold <= least

    # what is exported says what is shown
    results.map.from_slider.setValue(int(1000 * high))
    width, height, base = heat.width, heat.height, heat.base
    files = [tmp_path / name for name in ("map.tif", "map.geojson", "map.xml", "scores.csv")]
    for path in files[:3]:
        results.export_heatmap(path)
    results.export_scores(files[3])
    wait(qtbot, lambda: all(path.exists() for path in files), 20)
    with TilePyramid.open(results.heat_map(), readonly=True) as shown_map:
        raw = shown_map.region(0, 0, 0, *heat.level_size(0)).astype(int)
    called = (raw > 0) & ((raw - 1) / 254 >= results.map.threshold - 1e-9)
    for path in files[1:3]:
        mask = np.zeros((height, width), bool)
        for outline in sorted(read_annotations(path), key=lambda outline: outline.exclude):  # ASAP's holes come last
            x, y, right, bottom = (int(v) for v in outline.bounds)
            place = (slice(y, bottom), slice(x, right))
            inside = raster_polygon(outline.rings, "evenodd", x, y, right - x, bottom - y)
            mask[place] = mask[place] & ~inside if outline.exclude else mask[place] | inside
        rows, columns = np.arange(height) // base, np.arange(width) // base
        assert called.any() and np.array_equal(mask, called[rows][:, columns]), path.name
    with open_slide(files[0]) as again:
        assert abs(again.width - raw.shape[1]) <= 1 and abs(again.height - raw.shape[0]) <= 1
    table = files[3].read_text().splitlines()
    assert len(table) == 6 and float(table[1].split(",")[3]) == pytest.approx(max(scores.values()))


# ---- pause, stop, discard, resume ----------------------------------------------------------------------------------------


def answered(button, label) -> str:
    """Press; return what stands there then. It must have changed within 0.2 s, without waiting for the worker."""
    before, start = label.text(), time.perf_counter()
    press(button)
    assert label.text() != before
    assert time.perf_counter() - start < 0.2
    return label.text()


@pytest.mark.timeout(120)
def test_pause_go_on_stop_and_discard(tiny, qtbot):
    job = train(tiny, steps_initial=LONG)
    runs = tiny.room.panel("runs")
    card = runs.card
    wait(qtbot, lambda: losses(job) > 3)
    assert answered(card.pause, card.state) == "Pausing…" and card.pause.text() == "Resume"
    wait(qtbot, lambda: job.state == "paused", 10)
    steps, beat = losses(job), job.heartbeat
    wait(qtbot, lambda: job.heartbeat is not beat and card.state.text() == "Paused")
    assert losses(job) == steps, "nothing moves while it is paused, and the worker is alive"
    assert answered(card.pause, card.state) == "Running"
    wait(qtbot, lambda: losses(job) > steps, 20)
    assert answered(card.stop, card.state) == "Stopping…"
    wait(qtbot, lambda: job.final and not tiny.jobs.busy, 20)
    folder = folder_of(job)
    assert job.state == read_record(folder)["state"] == "stopped"

    wait(qtbot, runs.use.isEnabled, 5)
    press(runs.use)
    results = tiny.room.panel("results")
    assert results.predictor.run.currentData() == str(folder), "what a stopped run has learnt can be used"
    assert results.predictor.predict_this.isEnabled()
    from opsin.engine.verbs import load_checkpoint

    assert load_checkpoint(folder, "hybrid_wsi").tensors

    open_tab(tiny, "runs")
    wait(qtbot, card.resume.isVisible, 5)
    press(card.resume)
    resumed = tiny.jobs.jobs[-1]
    wait(qtbot, lambda: losses(resumed) > losses(job))
    reached = resumed.metrics["loss"][0]
    assert reached == list(range(1, len(reached) + 1)), "it goes on where it stopped, and the curve with it"
    press(card.cancel)
    press(card.keep)
    assert resumed.state == "running" and not card.question.isVisible()
    press(card.cancel)
    assert answered(card.discard, card.state) == "Cancelling…"
    wait(qtbot, lambda: resumed.final and not tiny.jobs.busy, 20)
    assert resumed.state == "cancelled" and not folder.exists()
    wait(qtbot, lambda: not runs.model.rows, 5)


@pytest.mark.timeout(180)
def test_a_killed_run_is_shown_as_such_and_resumed_ends_as_if_it_had_not_been(tiny, qtbot):
    import torch

    from opsin.engine.checkpoints import Checkpoint
    from opsin.engine.verbs import execute

    recipe = {"rounds": 1, "steps_round": 100, "stage2": False}
    job = train(tiny, **recipe)
    card = tiny.room.panel("runs").card
    wait(qtbot, lambda: losses(job) > 8)  # round 1 is under way
    folder = folder_of(job)
    psutil.Process(read_record(folder)["pid"]).kill()
    wait(qtbot, lambda: job.final and not tiny.jobs.busy and card.error.isVisible(), 20)
    assert job.state == "failed" and card.state.text() == "Failed"
    assert "ended from outside" in card.error.text()
    assert 8 < losses(job) < 106

    wait(qtbot, card.resume.isVisible, 5)
    press(card.resume)
    resumed = tiny.jobs.jobs[-1]
    wait(qtbot, lambda: resumed.final and not tiny.jobs.busy)
    assert resumed.state == "done", "\n".join(resumed.log)
    reached = resumed.metrics["loss"][0]
    assert folder_of(resumed) == folder and reached == list(range(1, len(reached) + 1)), "one curve, no step twice"
    assert "\n".join(resumed.log).count("round 0: first batch") == 1, "round 0 is not done again"
    other = tiny.room.panel("train").make_spec()  # the same settings, carried out in one go
    assert other.arguments["recipe"] == job.spec.arguments["recipe"]
    threads = torch.get_num_threads()
    torch.set_num_threads(worker.WorkerProcess().threads)
    assert execute(plain(other.plain())) == "done"
    torch.set_num_threads(threads)
    with_kill, without = (
        Checkpoint.load(f / "checkpoints" / "final.safetensors", "hybrid_wsi").tensors
        for f in (folder, Path(other.arguments["run"]))
    )
    assert with_kill.keys() == without.keys()
    for name, tensor in without.items():
        assert bool((with_kill[name] == tensor).all()), name


DEAF = textwrap.dedent(
    """
    # Stands in for a worker whose batch takes for ever.
    import json, sys, time
    job = json.loads(sys.stdin.readline())
    def say(event, **content):
        print(json.dumps({"job": job["id"], "event": event, "time": time.time(), **content}), flush=True)
    with open(job["arguments"]["run"] + "/run.json", "w") as file:
        json.dump({"method": "hybrid_wsi", "verb": "train", "state": "running"}, file)
    say("state", state="running")
    say("phase", name="round 0: first batch")
    time.sleep(1000)
    """
)


@pytest.mark.parametrize("wish", ["pause", "stop"])
def test_a_batch_that_takes_long_leads_to_the_offer_to_end_the_process(tiny, qtbot, monkeypatch, tmp_path, wish):
    program = tmp_path / "worker.py"
    program.write_text(DEAF)
    monkeypatch.setattr(worker, "worker_command", lambda: [sys.executable, str(program)])
    job = train(tiny)
    card = tiny.room.panel("runs").card
    wait(qtbot, lambda: job.state == "running" and card.phase.text() == "Round 0: first batch", 10)
    answered(getattr(card, wish), card.state)
    card.update_now()
    assert not card.offer.isVisible()
    job.asked_at -= 3.1  # so long ago
    wait(qtbot, card.offer.isVisible, 5)
    assert "last checkpoint" in card.offer_text.text()
    press(card.kill)
    wait(qtbot, lambda: job.final and not tiny.jobs.busy, 10)
    assert job.state == "stopped" and state_of(read_record(folder_of(job))) == "stopped"
    wait(qtbot, card.repeat.isVisible, 5)
    assert not card.offer.isVisible() and not card.resume.isVisible(), "it kept nothing to go on from"


@pytest.mark.timeout(120)
def test_closing_while_training_asks_and_a_run_left_going_is_found_again(tiny, tiny_workspace, qtbot):
    job = train(tiny, steps_initial=LONG)
    wait(qtbot, lambda: losses(job) > 3)
    tiny.close()
    assert tiny.isVisible(), "it asks first"
    box = next(d for d in tiny._dialogs if isinstance(d, QMessageBox))
    press(next(b for b in box.buttons() if b.text() == "Leave running"))
    wait(qtbot, lambda: not tiny.isVisible(), 10)
    folder = folder_of(job)
    assert state_of(read_record(folder)) == "running"
    before = losses(job)

    again = MainWindow(settings=AppSettings(theme="light"))
    qtbot.addWidget(again)
    again.show()
    again.open_workspace(tiny_workspace)
    (followed,) = again.jobs.jobs
    try:
        assert "left running" in again.banners.texts()[0]
        wait(qtbot, lambda: losses(followed) > before + 3, 20)
        runs = open_tab(again, "runs")
        assert [row.folder for row in runs.model.rows] == [str(folder)]
        assert runs.card.job is followed and runs.card.state.text() == "Running"
        wait(qtbot, runs.card.pause.isVisible, 10)
        press(runs.card.pause)
        wait(qtbot, lambda: followed.state == "paused", 20)
        press(runs.card.stop)
        wait(qtbot, lambda: followed.final, 20)
        assert state_of(read_record(folder)) == "stopped"
        wait(qtbot, runs.card.resume.isVisible, 5)
    finally:
        followed.kill()
        again.close()


def test_the_panels_import_no_torch():
    modules = "training, runs, results, forms, plots, layers"
    code = (
        f"import sys; from opsin.widgets import {modules}; import opsin.gui.jobs; "
        "from opsin.engine.method import get_method; get_method('hybrid_wsi').Recipe; "
        "bad = {'torch', 'napari', 'open3d', 'pyqtgraph', 'pandas'} & set(sys.modules); print(bad); sys.exit(bool(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
