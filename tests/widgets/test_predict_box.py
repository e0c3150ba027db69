"""The part of the results panel that starts predictions: what it says when it cannot, and while one waits."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from opsin.engine.files import write_json
from opsin.engine.jobs import JobSpec
from opsin.engine.replay import name_run
from opsin.widgets.predict import PredictBox
from opsin.widgets.results import ResultsPanel


@pytest.fixture
def box(workspace, fake_jobs, qtbot):
    box = PredictBox(fake_jobs)
    qtbot.addWidget(box)
    box.workspace = workspace
    box.show()
    return box


def test_grey_buttons_say_what_is_missing(box, make_run):
    box.refresh_runs()
    box.enable(False)
    for button in (box.predict_this, box.predict_all, box.predict_selected):
        assert not button.isEnabled() and button.toolTip().startswith("Train a network first")
    make_run()
    box.refresh_runs()
    box.enable(False)
    assert box.predict_this.toolTip() == "Open a slide first."
    assert box.predict_selected.toolTip().startswith("Select slides")
    assert box.predict_all.isEnabled() and box.predict_all.toolTip().startswith("Predict all slides")


def test_a_network_is_listed_by_the_name_of_its_run(box, make_run):
    name_run(make_run(), "second try")
    box.refresh_runs()
    assert box.run.currentText().startswith("second try, ")


def test_a_waiting_prediction_says_what_it_waits_for(box, fake_jobs, event):
    job = fake_jobs.submit(JobSpec("predict", "hybrid_wsi", {"inputs": ["a", "b"]}, "cpu", "Predict 2 slides"))
    job.waits_for = "Training quick"
    box._show(job)
    assert box.progress_text.text() == "Predict 2 slides: begins after Training quick"
    assert box.stop.text() == "Remove" and box.stop.isEnabled()
    job.apply(event("state", state="running"), event("phase", name="predict a.svs"))
    box._show(job)
    assert box.progress_text.text() == "Predict a.svs (1 of 2)" and box.stop.text() == "Stop"


# ---- batches --------------------------------------------------------------------------------------------------------


def item(event, id, state, done, error=""):
    return event("item", done=done, total=3, item=id, input=f"{id}.svs", state=state, error=error)


@pytest.fixture
def batch(box, make_run, fake_jobs, workspace):
    """A prediction of three slides; (job, ids)."""
    make_run()
    box.refresh_runs()
    ids = [item.id for item in workspace.items()[:3]]
    return box.predict(ids), ids


def test_each_slide_of_a_batch_has_its_state(box, batch, event):
    job, ids = batch
    assert [box.states[id][0] for id in ids] == ["waiting"] * 3
    job.apply(event("state", state="running"), item(event, ids[0], "running", 0))
    assert [box.states[id][0] for id in ids] == ["running", "waiting", "waiting"]
    job.apply(item(event, ids[0], "done", 1), item(event, ids[1], "failed", 2, "It is empty."))
    job.apply(item(event, ids[2], "running", 2))
    assert [box.states[id][0] for id in ids] == ["done", "failed", "running"]
    job.apply(event("state", state="stopped"))
    assert box.states[ids[2]] == ("stopped", "")
    assert not box.failures.isHidden() and box.failures_text.text() == "It is empty."


def test_only_what_failed_is_tried_again(box, batch, event, fake_jobs, qtbot):
    job, ids = batch
    job.apply(item(event, ids[1], "failed", 2, "It is empty."), event("state", state="done"))
    qtbot.mouseClick(box.again, Qt.MouseButton.LeftButton)
    assert [entry["id"] for entry in fake_jobs.jobs[-1].spec.arguments["inputs"]] == [ids[1]]
    assert box.states[ids[1]][0] == "waiting" and box.failures.isHidden()
    fake_jobs.jobs[-1].apply(item(event, ids[1], "done", 1), event("state", state="done"))
    assert box.failed() == [] and box.failures.isHidden()


def test_what_failed_is_known_after_a_restart(box, batch, workspace, qtbot, fake_jobs):
    _, ids = batch
    folder = workspace.folder / "heatmaps" / box.run_id
    for id, state in zip(ids, ("failed", "running", "done")):
        write_json(folder / "items" / f"{id}.json", {"state": state, "error": "Broken." if state == "failed" else ""})
    fake_jobs.jobs.clear()
    again = PredictBox(fake_jobs)
    qtbot.addWidget(again)
    again.workspace = workspace
    again.refresh_runs()
    assert [again.states[id] for id in ids] == [("failed", "Broken."), ("stopped", ""), ("done", "")]
    assert again.failures_text.text() == "Broken."


def test_slides_without_a_result_are_a_choice(box, batch, fake_jobs):
    box.predict_missing.trigger()
    arguments = fake_jobs.jobs[-1].spec.arguments
    assert arguments["only"] == "missing" and len(arguments["inputs"]) == 8
    assert fake_jobs.jobs[-1].spec.words == "Predict slides without a result"


def test_a_batch_is_paused_and_resumed(box, batch, event, qtbot):
    job, _ = batch
    assert not box.pause.isVisible()
    job.apply(event("state", state="running"))
    qtbot.mouseClick(box.pause, Qt.MouseButton.LeftButton)
    assert job.controller.wishes == ["pause"] and box.pause.text() == "Resume"
    job.apply(event("state", state="paused"))
    assert box.progress_text.text().endswith(", paused")
    qtbot.mouseClick(box.pause, Qt.MouseButton.LeftButton)
    assert job.controller.wishes == ["pause", "resume"] and box.pause.text() == "Pause"


def test_the_table_says_what_is_at_work_and_what_failed(workspace, fake_jobs, make_run, event, qtbot):
    make_run()
    panel = ResultsPanel(workspace, fake_jobs)
    qtbot.addWidget(panel)
    ids = [item.id for item in workspace.items()[:3]]
    job = panel.predict(ids)
    job.apply(event("state", state="running"), item(event, ids[0], "failed", 1, "It is empty."))
    job.apply(item(event, ids[1], "running", 1))
    rows = {row.item: number for number, row in enumerate(panel.table.rows.rows)}
    cell = lambda id, role=0: panel.table.rows.data(panel.table.rows.index(rows[id], 1), role)  # noqa: E731
    assert [cell(id) for id in ids] == ["failed", "at work", "waiting"]
    assert "It is empty." in cell(ids[0], Qt.ItemDataRole.ToolTipRole)
