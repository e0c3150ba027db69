"""The panel that starts a training: what it says, what it asks for, what it sends."""

from __future__ import annotations

import shlex
import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from opsin.engine.method import get_method
from opsin.engine.workspace import Workspace
from opsin.widgets.training import TrainingPanel, describe_items


@pytest.fixture
def panel(workspace, fake_jobs, qtbot):
    panel = TrainingPanel(workspace, fake_jobs)
    qtbot.addWidget(panel)
    panel.show()
    return panel


def test_train_submits_exactly_what_is_shown(panel, workspace, fake_jobs):
    panel.preset.setCurrentText("tiny")
    panel.form.change(rounds=7, learning_rate=0.005, steps_round=3, hard_negatives=False)
    panel.train.click()
    (job,) = fake_jobs.jobs
    assert (job.spec.verb, job.spec.method, job.spec.device) == ("train", "hybrid_wsi", panel.device.currentData())
    arguments = job.spec.arguments
    tiny = get_method("hybrid_wsi").recipe("tiny")
    expected = {**tiny.model_dump(), "rounds": 7, "learning_rate": 0.005, "steps_round": 3, "hard_negatives": False}
    assert arguments["recipe"] == expected
    assert arguments["data"] == str(workspace.folder)
    assert arguments["run"].startswith(str(workspace.folder / "runs"))
    assert arguments["resume"] is False
    assert arguments["preset"] == "tiny +4"


def test_every_control_reaches_the_arguments_of_the_job(panel):
    """Each setting alone is given another value in the form; the job that would be sent holds it and nothing else new."""
    panel.preset.setCurrentText("tiny")
    tiny = get_method("hybrid_wsi").recipe("tiny").model_dump()
    checked = 0
    for name, row in panel.form.rows.items():
        for value in candidates(tiny[name], row.editor):
            panel.form.change(**{name: value})
            if panel.form.valid and panel.form.differences():
                break
        assert panel.form.valid, f"no other value of {name} is allowed"
        recipe = panel.make_spec().arguments["recipe"]
        assert {k for k in recipe if recipe[k] != tiny[k]} == {name}
        assert f"{name}=" in panel.command_text()
        panel.form.reset(name)
        checked += 1
    assert checked == len(tiny)


def candidates(value, editor):
    """Return other values that a setting might take."""
    if isinstance(value, bool):
        return [not value]
    choices = getattr(editor, "box", None)
    if choices is not None and hasattr(choices, "count"):
        return [choices.itemData(i) for i in range(choices.count()) if choices.itemData(i) != value]
    if isinstance(value, int):
        return [other for other in (value + 1, value - 1, value + 32, value * 2) if other != value]
    if isinstance(value, float):
        return [other for other in (value / 2, value + 0.25, 0.5) if other != value]
    return [32, 0.5, "other.safetensors"]


def test_the_command_repeats_the_training(panel, workspace):
    """What the shell would run resolves to the recipe that the window sends."""
    panel.preset.setCurrentText("quick")
    panel.form.change(rounds=5, imagenet_weights="a file.pth", steps_round=None)
    words = shlex.split(panel.command.text())
    assert words[:3] == ["opsin", "train", "hybrid_wsi"]
    assert words[words.index("--data") + 1] == str(workspace.folder)
    recipe = get_method("hybrid_wsi").recipe(words[words.index("--recipe") + 1])
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert recipe.changed(settings) == panel.form.value()


def test_the_command_can_be_copied(panel, qtbot):
    copy = next(b for b in panel.findChildren(type(panel.copy)) if b.accessibleName() == "Copy as command")
    copy.click()
    assert QApplication.clipboard().text() == panel.command.text()


def test_presets_fill_the_form(panel):
    panel.preset.setCurrentText("paper")
    assert panel.form.value() == get_method("hybrid_wsi").recipe("paper")
    panel.preset.setCurrentText("tiny")
    assert panel.form.value() == get_method("hybrid_wsi").recipe("tiny")


def test_a_wrong_setting_is_said_and_holds_training_back(panel, fake_jobs):
    panel.form.change(learning_rate=3.0)
    assert not panel.train.isEnabled()
    assert "attention" in panel.problem.text()
    assert panel.start() is None
    assert not fake_jobs.jobs
    panel.form.reset("learning_rate")
    assert panel.train.isEnabled()


def test_without_slides_or_workspace_it_says_what_to_do(fake_jobs, qtbot, tmp_path):
    panel = TrainingPanel(None, fake_jobs)
    qtbot.addWidget(panel)
    assert not panel.train.isEnabled()
    assert "workspace" in panel.obstacle()
    with Workspace.create(tmp_path / "empty") as empty:
        panel.set_workspace(empty)
        assert "Add slides" in panel.obstacle()
        panel.set_workspace(None)


def test_a_refusal_of_the_queue_is_shown(panel, fake_jobs, monkeypatch):
    from opsin.engine.errors import DeviceError

    def refuse(spec):
        raise DeviceError("There is no device 'cuda:7' on this machine; there are cpu.")

    monkeypatch.setattr(fake_jobs, "submit", refuse)
    panel.train.click()
    assert panel.problem.text().startswith("There is no device")


def test_the_summary_follows_the_workspace(panel, workspace, qtbot):
    assert "4 slides" in panel.summary.text()
    assert "2 painted (2 outlined completely), 2 positive, 2 negative" in panel.summary.text()
    paint(workspace, workspace.items()[1], 1)
    workspace.update(workspace.items()[1].id, marked=0.9)
    qtbot.waitUntil(lambda: not panel.warnings.isVisible())
    for item in workspace.items():
        workspace.update(item.id, outlined=False)
    paint(workspace, workspace.items()[1], 0)
    workspace.update(workspace.items()[1].id, marked=0.0)
    qtbot.waitUntil(lambda: "No training slide is outlined" in panel.warnings.text())


def test_with_nothing_outlined_training_is_held_back(panel, workspace, fake_jobs, qtbot):
    for item in workspace.items():
        workspace.update(item.id, outlined=False)
    qtbot.waitUntil(lambda: not panel.train.isEnabled())
    assert "nothing to train on" in panel.problem.text()
    assert panel.start() is None and not fake_jobs.jobs
    workspace.update(workspace.items()[0].id, split="test")
    paint(workspace, workspace.items()[0], 1)
    workspace.update(workspace.items()[0].id, name="held back")
    qtbot.waitUntil(lambda: panel._roles is not None and bool(panel._roles[workspace.items()[0].id]))
    assert not panel.train.isEnabled(), "what is painted on a slide that is held back is not learnt from"
    paint(workspace, workspace.items()[1], 3)
    workspace.update(workspace.items()[1].id, name="excluded alone")
    qtbot.waitUntil(lambda: panel._roles[workspace.items()[1].id] == {"ignore"})
    assert not panel.train.isEnabled(), "what is excluded is not learnt from"
    paint(workspace, workspace.items()[2], 1)
    workspace.update(workspace.items()[2].id, name="painted")
    qtbot.waitUntil(lambda: panel.train.isEnabled())


def test_a_training_without_anything_normal_is_warned_of(panel, workspace, qtbot):
    items = workspace.items()
    for item in items:
        workspace.update(item.id, outlined=False)
    paint(workspace, items[0], 1)
    workspace.update(items[0].id, marked=0.1)
    qtbot.waitUntil(lambda: "Nothing normal is marked" in panel.warnings.text())
    assert "1 painted, 2 positive" in panel.summary.text()
    assert panel.train.isEnabled()
    paint(workspace, items[0], 2)
    workspace.update(items[0].id, marked=0.2)
    qtbot.waitUntil(lambda: "Nothing normal" not in panel.warnings.text())
    paint(workspace, items[0], 0)  # taken away again
    workspace.update(items[0].id, marked=0.1)
    qtbot.waitUntil(lambda: "outlined" in panel.warnings.text() and not panel.train.isEnabled())
    workspace.update(items[1].id, outlined=True)
    qtbot.waitUntil(lambda: "No tumour is painted" in panel.warnings.text())
    assert "1 painted (1 outlined completely)" in panel.summary.text()


def paint(workspace, item, label):
    """Paint all of a slide with a class (0: erase it), on disk when it returns."""
    store = workspace.labels(item)
    ring = np.array([[0, 0], [64, 0], [64, 48], [0, 48]], float)
    store.polygon([ring] if label != 2 else [ring / 2], label)
    store.flush()


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"split": "test"}, "held back"),
        ({"label": None}, "labelled positive"),
        ({"label": "positive"}, "labelled negative"),
        ({"outlined": False}, "outlined"),
        ({"split": "train"}, "judged"),
    ],
)
def test_warnings_name_what_is_missing(workspace, changes, warning):
    items = [item.model_copy(update=changes) for item in workspace.items()]
    _, warnings = describe_items(items)
    assert any(warning in text for text in warnings)
    assert all(text.endswith(".") for text in warnings)


def test_devices_show_their_free_memory(panel):
    ids = [panel.device.itemData(i) for i in range(panel.device.count())]
    assert "cpu" in ids
    assert "GiB free" in panel.device.itemText(ids.index("cpu"))


def test_labels_are_on_disk_before_the_job_is_sent(panel, workspace):
    store = workspace.labels(workspace.items()[0])
    store.stroke(np.array([[5.0, 5.0], [30.0, 30.0]]), 4.0, 1)
    panel.make_spec()
    code = (
        "import sys; from opsin.engine.labels.store import LabelStore; from pathlib import Path; "
        "print(LabelStore.open(Path(sys.argv[1]), readonly=True).areas())"
    )
    path = next((workspace.folder / "labels").glob("*.labels"))
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "1:" in done.stdout
