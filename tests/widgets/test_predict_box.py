"""The part of the results panel that starts predictions: what it says when it cannot, and while one waits."""

from __future__ import annotations

import pytest

from opsin.engine.jobs import JobSpec
from opsin.engine.replay import name_run
from opsin.widgets.predict import PredictBox


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
