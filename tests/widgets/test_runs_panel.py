"""The card of a job and the panel of runs."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QInputDialog

from opsin.engine.jobs import Job, JobSpec
from opsin.widgets.confirm import Question
from opsin.widgets.plots import CurvePlot, color_places, same_curve, thin_curve
from opsin.widgets.run_card import PATIENCE, RunCard, duration, same_steps, split_curves
from opsin.widgets.run_rows import difference_html, key_metric
from opsin.widgets.runs import RunPanel


@pytest.fixture
def job(fake_jobs, event):
    job = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": "", "recipe": {}}, "cpu", "a run"))
    job.apply(event("state", state="running"))
    return job


@pytest.fixture
def card(job, qtbot):
    card = RunCard()
    qtbot.addWidget(card)
    card.set_job(job)
    card.show()
    return card


# ---- the card


def test_buttons_ask_and_answer_at_once(card, job):
    start = time.monotonic()
    card.pause.click()
    assert job.controller.wishes == ["pause"]
    assert card.state.text() == "Pausing…"
    assert card.pause.text() == "Resume" and "paused" in card.pause.toolTip()
    assert time.monotonic() - start < 0.2
    card.pause.click()
    card.stop.click()
    assert job.controller.wishes == ["pause", "resume", "stop"]
    assert card.state.text() == "Stopping…"
    assert not card.stop.isEnabled()


def test_discarding_asks_first(card, job):
    card.cancel.click()
    assert card.question.isVisible()
    assert job.controller.wishes == []
    card.keep.click()
    assert not card.question.isVisible()
    card.cancel.click()
    card.discard.click()
    assert job.controller.wishes == ["cancel"]
    assert card.state.text() == "Cancelling…"


def test_a_request_that_waits_long_offers_to_end_the_process(card, job, event):
    card.stop.click()
    card.update_now()
    assert not card.offer.isVisible()
    job.asked_at -= PATIENCE + 0.5
    card.update_now()
    assert card.offer.isVisible()
    card.kill.click()
    assert job.controller.wishes == ["stop", "kill"]
    job.apply(event("state", state="stopped"))
    assert not card.offer.isVisible()


def test_going_on_after_a_pause_never_offers_to_end_the_process(card, job, event):
    card.pause.click()
    job.apply(event("state", state="paused"))
    card.pause.click()
    job.apply(event("state", state="running"))
    job.asked_at = time.monotonic() - 100
    card.update_now()
    assert not card.offer.isVisible()


def test_phase_progress_time_and_memory_are_shown(card, job, event):
    now = time.time()
    job.apply(
        event("phase", name="round 1: E-step"),
        {**event("progress", done=10, total=100, what="slides"), "time": now - 30},
        {**event("progress", done=40, total=100, what="slides"), "time": now},
        event("heartbeat", phase="round 1", seconds=0.2, memory=3 * 2**30, gpu=5 * 2**30),
    )
    card.update_now()
    assert card.phase.text() == "Round 1: E-step"
    assert card.bar.value() == 400
    assert card.left.text() == "60 s left"
    for text in ("slides: 40 of 100", "memory 3.0 GiB", "GPU 5.0 GiB"):
        assert text in card.facts.text()


def test_a_stuck_worker_shows_where_it_is(card, job, event):
    job.apply(event("heartbeat", phase="load", seconds=75, memory=1, stack="File x.py, line 3, in read"))
    card.log_toggle.click()
    card.update_now()
    assert card.stack.isVisible()
    assert "line 3" in card.stack.toPlainText()
    assert "nothing moves" in card.left.text()
    job.apply(event("heartbeat", phase="load", seconds=0.1, memory=1))
    card.update_now()
    assert not card.stack.isVisible()


def test_the_log_grows_and_stays_bounded(card, job, event):
    card.log_toggle.click()
    for number in range(3):
        job.apply(event("message", level="info", text=f"line {number}"))
        card.update_now()
    assert [line.split("  ")[1] for line in card.log.toPlainText().splitlines()] == ["line 0", "line 1", "line 2"]
    job.apply(*(event("message", level="info", text=f"more {n}") for n in range(6000)))
    card.update_now()
    assert card.log.blockCount() <= 2000
    assert card.log.toPlainText().endswith("more 5999")


def test_a_failure_is_one_sentence_and_the_run_can_go_on(card, job, event, qtbot):
    job.apply(event("message", level="error", text="The slide x.svs cannot be read."), event("state", state="failed"))
    card.set_job(job, resumable=True)
    card.update_now()
    assert card.error.isVisible()
    assert card.error.text() == "The slide x.svs cannot be read."
    assert not card.pause.isVisible()
    with qtbot.waitSignal(card.resume_requested):
        card.resume.click()


def test_curves_are_drawn_only_while_visible(card, job, event, qtbot):
    card.hide()
    job.apply(*(event("metrics", step=n, values={"loss": 1.0 / (n + 1), "dice": n / 100}) for n in range(50)))
    assert card.loss._plot is None
    card.show()
    assert card.loss.isVisible()
    qtbot.waitUntil(lambda: card.loss._plot is not None and card.metrics._plot is not None)
    assert len(card.loss._items["loss"].getData()[0]) == 50
    assert list(card.metrics._items) == ["dice"]


def test_a_hidden_card_does_no_work(card):
    assert card._timer.isActive()
    card.hide()
    assert not card._timer.isActive()


def test_another_job_replaces_the_first_one(card, job, fake_jobs, event):
    other = fake_jobs.submit(JobSpec("predict", "hybrid_wsi", {}, "cpu", "Predict x"))
    card.set_job(other)
    job.apply(event("state", state="failed"))
    assert card.state.text() == "Waiting"
    assert not card.pause.isVisible(), "a prediction is not paused"


def test_a_waiting_job_says_for_what_and_can_leave_the_queue(card, fake_jobs):
    job = fake_jobs.submit(JobSpec("predict", "hybrid_wsi", {"inputs": ["a"]}, "cpu", "Predict a"))
    job.waits_for = "Training quick"
    card.set_job(job)
    assert card.phase.text() == "Begins after: Training quick" and card.phase.isVisible()
    assert card.stop.isVisible() and card.stop.isEnabled()
    assert card.stop.text() == "Remove from the queue" and "checkpoint" not in card.stop.toolTip()
    card.stop.click()
    assert job.controller.wishes == ["stop"]


def test_what_stop_does_is_said_for_each_kind_of_job(card, fake_jobs, event):
    assert "checkpoint" in card.stop.toolTip()
    job = fake_jobs.submit(JobSpec("predict", "hybrid_wsi", {"inputs": ["a"]}, "cpu", "Predict a"))
    job.apply(event("state", state="running"))
    card.set_job(job)
    assert card.stop.text() == "Stop" and "checkpoint" not in card.stop.toolTip()


def test_bar_and_time_left_are_those_of_the_whole_training(card, job, event):
    now = job.started + 30
    job.apply(
        event("plan", steps=["round 0: load", "round 1: E-step", "round 1: load"]),
        {**event("phase", name="round 0: load"), "time": now - 30},
        {**event("progress", done=0, total=10, what="steps"), "time": now - 30},
        {**event("progress", done=5, total=10, what="steps"), "time": now - 15},
    )
    card.update_now()
    assert card.bar.value() == 167
    assert card.left.text() == "15 s left in this step", "how long an E-step takes is not known yet"
    assert "step 1 of 3" in card.facts.text()
    job.apply(
        {**event("phase", name="round 1: E-step"), "time": now},
        {**event("progress", done=0, total=10, what="slides"), "time": now},
        {**event("progress", done=5, total=10, what="slides"), "time": now + 5},
    )
    card.update_now()
    assert card.bar.value() == 500
    assert card.left.text() == "35 s left"


def test_what_is_painted_during_a_run_is_said_to_enter(card, fake_jobs, event):
    job = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": "", "recipe": {"rounds": 3}}, "cpu", "x"))
    card.set_job(job)
    assert not card.about_labels.isVisible()
    job.apply(event("state", state="running"))
    assert card.about_labels.isVisible() and "next round" in card.about_labels.text()
    job.apply(event("state", state="done"))
    assert not card.about_labels.isVisible()


def test_a_run_of_another_process_can_only_be_ended(card, event):
    class Only:
        only = frozenset({"kill"})

    job = Job(JobSpec("train", "hybrid_wsi", {}), Only())
    job.apply(event("state", state="running"))
    card.set_job(job)
    assert not card.pause.isVisible()
    assert not card.stop.isVisible()
    assert card.offer.isVisible()


# ---- curves


def test_thinning_keeps_the_extremes():
    y = np.zeros(100_000)
    y[12345], y[54321] = 5.0, -3.0
    x, thin = thin_curve(np.arange(len(y)), y)
    assert len(thin) <= 5000
    assert thin.max() == 5.0
    assert thin.min() == -3.0
    assert (np.diff(x) >= 0).all()


def test_a_curve_plot_survives_a_change_of_theme(qtbot):
    from opsin.widgets.theme import apply_theme

    plot = CurvePlot("Loss")
    qtbot.addWidget(plot)
    plot.show()
    plot.set_curves({"loss": ([0, 1, 2], [3.0, 2.0, 1.0])})
    qtbot.waitUntil(lambda: plot._plot is not None)
    light = plot.grab().toImage().pixelColor(60, 60)
    application = QApplication.instance()
    apply_theme(application, "dark")
    dark = plot.grab().toImage().pixelColor(60, 60)
    apply_theme(application, "light")
    assert light.lightness() > 200 > 60 > dark.lightness()


def test_a_curve_has_the_colour_of_its_name():
    names = ["slide_classifier_loss", "positive_tiles_kept", "negative_tiles_kept", "auc"]
    places = color_places(names)
    assert places == color_places(names[::-1]) and len(set(places.values())) == len(names)
    assert color_places(["loss"]) == {"loss": 0} and color_places(["slide_loss", "loss"])["loss"] == 0
    assert len(color_places([str(n) for n in range(20)])) == 20


def test_rounds_and_steps_do_not_share_an_axis():
    curves = {"loss": (list(range(500)), [0.1] * 500), "slide_loss": ([1, 2], [0.5, 0.4])}
    by_step, by_round = split_curves(curves)
    assert list(by_step) == ["loss"]
    assert list(by_round) == ["slide_loss"]


def test_losses_of_another_training_have_a_chart_of_their_own():
    """The slide classifier counts its own steps: beside the patch network's its curve would mean nothing."""
    main, part, own = ([1, 2, 3], [3.0, 2.0, 1.0]), ([1, 2, 3], [1.0, 1.0, 0.5]), ([1, 2], [0.7, 0.6])
    same, others = same_steps({"slide_loss": own, "loss": main, "edge_loss": part})
    assert set(same) == {"loss", "edge_loss"} and others == {"slide_loss": own}
    assert same_steps({"slide_loss": own}) == ({"slide_loss": own}, {})
    assert same_steps({}) == ({}, {})


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (11100, "3 h 05 min")])
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


# ---- the panel


@pytest.fixture
def panel(workspace, fake_jobs, qtbot):
    panel = RunPanel(workspace, fake_jobs)
    qtbot.addWidget(panel)
    panel.show()
    return panel


def texts(panel):
    model = panel.model
    return [[model.data(model.index(r, c)) for c in range(model.columnCount())] for r in range(model.rowCount())]


def test_finished_runs_are_listed_newest_first_with_their_key_metric(panel, make_run):
    make_run(metrics={"specificity_at_100": 0.5, "auc": 0.9}, rounds=2)
    make_run("stopped")
    panel.refresh()
    assert [(row[2], row[3]) for row in texts(panel)] == [("Stopped", ""), ("Done", "spec. 0.5")]


def test_a_finished_run_is_read_back_into_the_card(panel, make_run, qtbot):
    make_run()
    panel.refresh()
    qtbot.waitUntil(lambda: panel.card.job is not None and len(panel.card.job.metrics.get("loss", ((),))[0]) == 40)
    qtbot.waitUntil(lambda: panel.card.state.text() == "Done")
    assert any("all is well" in line for line in panel.card.job.log)
    assert not panel.card.buttons.isVisible(), "a finished run is only looked at"
    assert panel.use.isEnabled()


def test_a_run_that_kept_nothing_is_started_again_and_not_resumed(panel, make_run, fake_jobs):
    folder = make_run("failed", rounds=5)
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    panel.refresh()
    assert panel.card.repeat.isVisible() and not panel.card.resume.isVisible()
    panel.card.repeat.click()
    (job,) = fake_jobs.jobs
    assert job.spec.arguments["resume"] is False
    assert job.spec.arguments["run"] != str(folder)
    assert job.spec.arguments["recipe"] == {"rounds": 5} and job.spec.arguments["preset"] == "tiny"


def test_the_kept_round_is_said_with_its_loss(panel, make_run):
    folder = make_run(metrics={"stage 2 loss, round 1": 0.8254, "stage 2 loss, round 2": 0.5344})
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "round": 2, "stage2_losses": {"1": 0.8254, "2": 0.5344}}))
    panel.refresh()
    assert texts(panel)[0][3] == "round 2, loss 0.534"
    panel.card.update_now()
    assert "Kept: round 2, slide classifier's loss 0.534 (0.825 after round 1)." in panel.card.facts.text()


def test_a_run_can_be_named_and_the_name_lies_in_its_folder(panel, make_run, qtbot):
    folder = make_run()
    panel.refresh()
    panel.rename.trigger()
    box = panel.findChild(QInputDialog)
    box.setTextValue("  the good\none ")
    with qtbot.waitSignal(panel.runs_changed):
        box.accept()
    assert (folder / "name.txt").read_text() == "the good one\n"
    assert texts(panel)[0][1] == "the good one"
    assert panel.card.title.full_text() == "the good one"
    panel.set_name(str(folder), "")
    assert not (folder / "name.txt").exists() and texts(panel)[0][1] == "tiny"


def test_a_run_goes_to_the_bin_after_a_question(panel, make_run, qtbot, monkeypatch):
    kept, folder = make_run(), make_run("stopped")
    (folder / "big").write_bytes(bytes(2_500_000))
    binned = []

    def to_bin(path):
        binned.append(path)
        shutil.rmtree(path)

    monkeypatch.setattr("send2trash.send2trash", to_bin)
    panel.refresh()
    for answer, left in (("Keep", 2), ("Move to the bin", 1)):
        panel.delete.trigger()
        qtbot.waitUntil(lambda: panel.findChild(Question) is not None)
        box = panel.findChild(Question)
        assert "the run “tiny” of " in box.text() and "2.5" in box.text() and "MB" in box.text()
        assert time.strftime("%H:") in box.text()
        next(b for b in box.buttons() if b.text() == answer).click()
        qtbot.waitUntil(lambda left=left: len(panel.model.rows) == left)
        qtbot.waitUntil(lambda: panel.findChild(Question) is None)
    assert binned == [str(folder)] and kept.exists()


def test_a_bin_that_refuses_is_said(panel, make_run, qtbot, monkeypatch):
    folder = make_run("stopped")

    def refuse(path):
        raise OSError("no bin on this disk")

    monkeypatch.setattr("send2trash.send2trash", refuse)
    panel.refresh()
    panel._delete(panel.selected())
    qtbot.waitUntil(lambda: "no bin on this disk" in panel.problem.text())
    assert folder.exists()


def test_a_run_at_work_is_not_deleted(panel, fake_jobs, event, workspace):
    job = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": str(workspace.folder / "runs" / "a"), "data": "x"}))
    assert not panel.delete.isEnabled()
    job.apply(event("state", state="running"))
    panel.refresh()
    assert not panel.delete.isEnabled()


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_run_that_stopped_is_resumed_with_its_own_settings(panel, make_run, fake_jobs, state):
    folder = make_run(state, rounds=5)
    panel.refresh()
    assert panel.card.resume.isVisible()
    panel.card.resume.click()
    (job,) = fake_jobs.jobs
    assert job.spec.arguments["resume"] is True
    assert job.spec.arguments["run"] == str(folder)
    assert job.spec.arguments["recipe"] == {"rounds": 5}
    assert panel.card.job is job
    assert len(panel.model.rows) == 1, "the resumed run keeps its line"


def test_a_run_whose_process_died_is_interrupted_and_can_be_resumed(panel, make_run):
    make_run("running")
    panel.refresh()
    assert texts(panel)[0][2] == "Interrupted"
    assert panel.card.resume.isVisible()


def test_a_job_at_work_stands_first_and_follows_its_state(panel, make_run, fake_jobs, event, qtbot, workspace):
    make_run()
    first = fake_jobs.submit(JobSpec("train", "hybrid_wsi", {"run": str(workspace.folder / "runs" / "a"), "data": "x"}))
    second = fake_jobs.submit(
        JobSpec("train", "hybrid_wsi", {"run": str(workspace.folder / "runs" / "b"), "data": "x"})
    )
    first.apply(event("state", state="running"))
    qtbot.waitUntil(lambda: [row[2] for row in texts(panel)] == ["Running", "Waiting", "Done"])
    panel.choose(second)
    assert panel.remove.isVisible()
    panel.move_up.trigger()
    panel.remove.trigger()
    assert fake_jobs.moved == [(second, -1)]
    assert fake_jobs.removed == [second]
    panel.choose(first)
    assert not panel.remove.isVisible()


def test_two_runs_are_compared(panel, make_run):
    make_run(metrics={"auc": 0.9}, rounds=2, batch_size=4)
    make_run(metrics={"auc": 0.8}, rounds=3, batch_size=4)
    panel.refresh()
    panel._select([0, 1])
    panel._show_selected()
    text = panel.difference.toPlainText()
    assert "rounds" in text
    assert "auc" in text
    assert "batch_size" not in text
    assert panel.stack.currentWidget() is panel.difference
    same = panel.model.rows[0]
    assert "same settings" in difference_html(same, same)


def test_a_checkpoint_is_handed_to_prediction(panel, make_run, qtbot):
    folder = make_run()
    panel.refresh()
    with qtbot.waitSignal(panel.checkpoint_chosen) as caught:
        panel.use.click()
    assert caught.args == [str(folder)]


def test_the_command_of_a_run_is_copied(panel, make_run):
    make_run()
    panel.refresh()
    panel.copy_command.trigger()
    assert QApplication.clipboard().text() == "opsin train hybrid_wsi --data x"


def test_the_selection_survives_a_refresh(panel, make_run):
    for rounds in (1, 2, 3):
        make_run(rounds=rounds)
    panel.refresh()
    panel._select([2])
    chosen = panel.selected()[0].folder
    make_run(rounds=4)
    panel.refresh()
    assert panel.selected()[0].folder == chosen


def test_runs_that_were_left_going_are_followed(workspace, make_run, fake_jobs, qtbot, monkeypatch):
    folder = make_run("running")
    records = [{**record, "state": "running"} for record in workspace.runs()]
    monkeypatch.setattr(workspace, "runs", lambda: records)
    attached = []
    fake_jobs.attach = attached.append
    panel = RunPanel(workspace, fake_jobs)
    qtbot.addWidget(panel)
    assert attached == [folder]


def test_the_key_metric_is_the_one_that_says_most():
    assert key_metric({"loss": 0.2, "val/auc": 0.91}) == "AUC 0.91"
    assert key_metric({"stage 2 loss, round 1": 0.3214}) == "loss 0.321"
    assert key_metric({"name": "x"}) == ""


def test_a_curve_that_covers_another_is_dashed(qapp, qtbot):
    plot = CurvePlot("Loss")
    qtbot.addWidget(plot)
    plot.show()
    from qtpy.QtCore import Qt

    steps = [0, 1, 2]
    plot.set_curves({"train": (steps, [3.0, 2.0, 1.0]), "val": (steps, [3.0, 2.0, 1.0])})
    qtbot.waitUntil(lambda: len(plot._items) == 2)
    dashed = [item.opts["pen"].style() != Qt.PenStyle.SolidLine for item in plot._items.values()]
    assert sorted(dashed) == [False, True]
    plot.set_curves({"train": (steps, [3.0, 2.0, 1.0]), "val": (steps, [3.0, 2.0, 2.0])})
    assert all(item.opts["pen"].style() == Qt.PenStyle.SolidLine for item in plot._items.values())
    assert not same_curve((steps, [1.0]), (steps, [2.0]))
