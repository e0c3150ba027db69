"""The panels, the queue and the real worker together: train with `tiny`, pause, stop, resume, predict, look at the pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from opsin.engine.replay import state_of
from opsin.engine.workspace import Workspace
from opsin.gui.jobs import JobQueue
from opsin.widgets.results import HEAT_MAP, ResultsPanel
from opsin.widgets.runs import RunPanel
from opsin.widgets.slide.model import SlideViewModel
from opsin.widgets.training import TrainingPanel


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> list[Path]:
    """Four pale slides with dark tissue; the odd ones have a darker lesion in the upper left."""
    folder = tmp_path_factory.mktemp("slides")
    random = np.random.default_rng(1)
    paths = []
    for number in range(4):
        pixels = np.full((256, 320, 3), 240, np.uint8)
        pixels[20:236, 20:300] = (220, 150, 180)
        if number % 2:
            pixels[40:120, 40:140] = (110, 60, 140)
        pixels = np.clip(pixels + random.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"slide_{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture
def workspace(slides, tmp_path):
    with Workspace.create(tmp_path / "workspace") as workspace:
        for number, item in enumerate(workspace.add(slides)):
            workspace.update(item.id, label="positive" if number % 2 else "negative", split="train")
            if number < 2:
                workspace.update(item.id, outlined=True)
            if number == 1:
                ring = np.array([[40, 40], [140, 40], [140, 120], [40, 120]], float)
                workspace.labels(item).polygon([ring], 1)
        yield workspace


@pytest.fixture
def jobs(qapp):
    queue = JobQueue()
    yield queue
    queue.close("cancel", grace=2.0)


def wait(qtbot, condition, seconds=50):
    qtbot.waitUntil(condition, timeout=seconds * 1000)


def train(workspace, jobs, qtbot, **changes):
    panel = TrainingPanel(workspace, jobs)
    qtbot.addWidget(panel)
    panel.preset.setCurrentText("tiny")
    panel.device.setCurrentIndex(panel.device.findData("cpu"))
    panel.form.change(**changes)
    panel.train.click()
    return jobs.jobs[-1]


@pytest.mark.timeout(180)
def test_train_then_predict_then_see(workspace, jobs, qtbot):
    """The whole way: every number reaches the card, pseudo labels and the heat map reach the slide, the score the table."""
    view = SlideViewModel()
    view.set_viewport(320, 256)
    runs, results = RunPanel(workspace, jobs), ResultsPanel(workspace, jobs, view)
    for panel in (runs, results):
        qtbot.addWidget(panel)
        panel.show()
    item = workspace.items()[3]
    with workspace.open_slide(item) as slide:
        view.set_slide(slide)
        results.set_item(item.id)
        job = train(workspace, jobs, qtbot)
        wait(qtbot, lambda: job.final, 100)
        assert job.state == "done", "\n".join(job.log)
        assert runs.card.job is job
        runs.card.update_now()
        assert runs.card.loss.isVisible()
        assert len(job.metrics["loss"][0]) >= 6
        assert any(overlay.name.startswith("pseudo labels") for overlay in view.overlays)
        recipe = json.loads((Path(job.spec.arguments["run"]) / "run.json").read_text())["recipe"]
        assert recipe == job.spec.arguments["recipe"], "what was shown is what was run"

        results.predictor.predict_this.click()
        prediction = jobs.jobs[-1]
        wait(qtbot, lambda: prediction.final)
        assert prediction.state == "done", "\n".join(prediction.log)
        wait(qtbot, lambda: any(row.score is not None for row in results.table.rows.rows))
        heat = view.overlay(HEAT_MAP).pyramid.region(0, 0, 0, 120, 90)
        assert heat.any(), "the heat map on the slide has been computed"
        assert results.heat_map() == workspace.heatmap_path(results.predictor.run_id, item.id)
    assert runs.selected()[0].job is prediction


@pytest.mark.timeout(180)
def test_pause_stop_resume_and_a_kill(workspace, jobs, qtbot):
    panel = RunPanel(workspace, jobs)
    qtbot.addWidget(panel)
    panel.show()
    card = panel.card
    job = train(workspace, jobs, qtbot, steps_initial=4000)
    wait(qtbot, lambda: len(job.metrics.get("loss", ([], []))[0]) > 3)
    card.pause.click()
    wait(qtbot, lambda: job.state == "paused", 10)
    steps = len(job.metrics["loss"][0])
    qtbot.wait(400)
    assert len(job.metrics["loss"][0]) == steps, "nothing moves while it is paused"
    card.pause.click()
    wait(qtbot, lambda: len(job.metrics["loss"][0]) > steps, 20)
    card.stop.click()
    assert job.state == "stopping"
    wait(qtbot, lambda: job.final and not jobs.busy, 20)
    folder = Path(job.spec.arguments["run"])
    assert job.state == json.loads((folder / "run.json").read_text())["state"] == "stopped"

    wait(qtbot, card.resume.isVisible, 5)
    card.resume.click()
    resumed = jobs.jobs[-1]
    wait(qtbot, lambda: resumed.metrics.get("loss", ([0], []))[0][-1] >= steps)
    assert resumed.metrics["loss"][0][0] > 1, "it goes on where it stopped, not at the beginning"
    psutil.Process(json.loads((folder / "run.json").read_text())["pid"]).kill()
    wait(qtbot, lambda: resumed.final and not jobs.busy, 20)
    assert resumed.state == "failed"
    assert "memory" in resumed.error
    wait(qtbot, card.error.isVisible, 5)
    wait(qtbot, card.resume.isVisible, 5)


@pytest.mark.timeout(180)
def test_a_detached_training_goes_on_and_is_found_again(workspace, qtbot, qapp):
    first = JobQueue()
    job = train(workspace, first, qtbot, steps_initial=4000)
    wait(qtbot, lambda: len(job.metrics.get("loss", ([], []))[0]) > 3)
    first.close("detach")
    assert not first.running
    second = JobQueue()
    try:
        panel = RunPanel(workspace, second)
        qtbot.addWidget(panel)
        panel.show()
        (followed,) = second.jobs
        before = len(job.metrics["loss"][0])
        wait(qtbot, lambda: len(followed.metrics.get("loss", ([], []))[0]) > before + 3, 20)
        panel.choose(followed)
        assert panel.card.state.text() == "Running"
        assert not panel.card.pause.isVisible()
        panel.card.kill.click()
        wait(qtbot, lambda: followed.final, 20)
    finally:
        for other in second.jobs:
            other.kill()
        second.close("stop")
    record = json.loads((Path(job.spec.arguments["run"]) / "run.json").read_text())
    assert state_of(record) == "stopped"


def test_the_panels_import_no_torch():
    modules = "training, runs, results, forms, plots, layers"
    code = (
        f"import sys; from opsin.widgets import {modules}; import opsin.gui.jobs; "
        "from opsin.engine.method import get_method; get_method('hybrid_wsi').Recipe; "
        "bad = {'torch', 'napari', 'open3d', 'pyqtgraph', 'pandas'} & set(sys.modules); print(bad); sys.exit(bool(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
