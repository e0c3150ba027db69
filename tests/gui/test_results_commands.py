"""Predicting a folder, the report and the export of everything, through the window."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from opsin.engine.jobs import Job
from opsin.engine.runs import CHECKPOINT, Run
from opsin.engine.tiles import TilePyramid
from opsin.gui.dialogs import ListDialog
from opsin.gui.results import ExportDialog, ReportDialog

RUN = "2026-11-25_120000_hybrid_wsi"


def sheet(window, kind, qtbot):
    qtbot.waitUntil(lambda: any(isinstance(d, kind) for d in window._dialogs))
    return next(d for d in window._dialogs if isinstance(d, kind))


@pytest.fixture
def scored(window, folder, qtbot):
    """The window on a workspace whose three slides have scores and heat maps of one network."""
    window.open_workspace(folder)
    qtbot.waitUntil(lambda: window.item is not None)
    workspace = window.workspace
    run = Run(workspace.folder / "runs" / RUN)
    run.describe(method="hybrid_wsi", verb="train", preset="tiny", device="cpu", recipe={}, created=0.0)
    run.part("checkpoints")
    (run.folder / CHECKPOINT).write_bytes(b"weights")
    run.set_state("done")
    run.close()
    for number, item in enumerate(workspace.items()):
        workspace.update(item.id, label="positive" if number else "negative", split="test")
        heat = workspace.heatmap_path(RUN, item.id)
        heat.parent.mkdir(parents=True, exist_ok=True)
        with TilePyramid.create(heat, 640, 480, base=4, reduce="mean", meta={"kind": "heat"}) as pyramid:
            with pyramid.transaction():
                pyramid.write(0, 0, np.pad(np.full((30, 40), 255, np.uint8), ((0, 90), (0, 120))))
        workspace.set_score(item.id, RUN, {"score": 0.2 + 0.3 * number, "source": "top-K classifier"})
    window.room.show_tab("results")
    window.room.panel("results").refresh_runs()
    return window


@pytest.fixture
def shown(monkeypatch, scored):
    """What the window asked the system to show."""
    paths: list[Path] = []
    monkeypatch.setattr(scored.commands.results, "open_path", paths.append)
    return paths


def test_a_report_is_written_by_keyboard_alone(scored, shown, tmp_path, monkeypatch, qtbot):
    target = tmp_path / "out" / "report.html"
    target.parent.mkdir()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(target), ""))
    scored.activateWindow()
    qtbot.waitUntil(scored.isActiveWindow)
    qtbot.keyClick(scored, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    dialog = sheet(scored, ReportDialog, qtbot)
    assert dialog.names.by_number.isChecked() and dialog.split.currentData() == "test"
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    dialog.names.by_number.setFocus()
    qtbot.keyClick(dialog.names.by_number, Qt.Key.Key_Down)
    assert dialog.names.by_name.isChecked()
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: shown == [target])
    page = target.read_text(encoding="utf-8")
    assert "set by <b>beta</b>" in page and "ROC curve 1.000" in page
    assert scored.workspace.setting("results.names") is True, "the choice is kept"


def test_without_scores_the_window_says_so(window, folder, qtbot):
    window.open_workspace(folder)
    for action in ("train.report", "train.export"):
        window.book[action].trigger()
        assert window.banners.texts()[-1].startswith("The network chosen under Results has not scored any slide yet")
        window.banners.dismiss()
    assert not window._dialogs


def test_everything_goes_into_a_new_folder(scored, tmp_path, monkeypatch, qtbot):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(tmp_path / "out"))
    scored.book["train.export"].trigger()
    dialog = sheet(scored, ExportDialog, qtbot)
    for box in dialog.boxes.values():
        box.setChecked(True)
    dialog.accept()
    qtbot.waitUntil(lambda: any("written to" in text for text in scored.banners.texts()))
    (made,) = (tmp_path / "out").iterdir()
    names = sorted(path.name for path in made.iterdir())
    assert names == sorted(
        ["report.html", "scores.csv"]
        + [f"Slide {n}{end}" for n in (1, 2, 3)
           for end in ("_heat.tif", "_heat.ome.zarr", "_outlines.geojson", "_outlines.xml")]
    )  # fmt: skip
    with (made / "scores.csv").open(newline="") as file:
        assert [row["slide"] for row in csv.DictReader(file)] == ["Slide 3", "Slide 2", "Slide 1"]
    for path in made.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"case 7" not in data and b"alpha" not in data, path


def test_a_map_that_is_broken_is_listed_and_the_others_are_written(scored, tmp_path, qtbot):
    items = scored.workspace.items()
    scored.workspace.heatmap_path(RUN, items[1].id).write_bytes(b"no database")
    scored.commands.results.export(tmp_path / "out", [".tif"], None, True)
    listed = sheet(scored, ListDialog, qtbot)
    assert "2 results written" in listed.head.text() and "1 could not be written" in listed.head.text()
    (made,) = (tmp_path / "out").iterdir()
    assert sorted(path.name for path in made.iterdir()) == ["alpha_heat.tif", "gamma_heat.tif"]


def test_nothing_chosen_cannot_be_exported(scored, qtbot):
    scored.book["train.export"].trigger()
    dialog = sheet(scored, ExportDialog, qtbot)
    for box in dialog.boxes.values():
        box.setChecked(False)
    primary = next(b for b in dialog.buttons.buttons() if b.property("kind") == "primary")
    assert not primary.isEnabled()
    dialog.boxes["table"].setChecked(True)
    assert primary.isEnabled()


def test_a_folder_is_added_and_predicted_and_what_is_broken_is_listed(scored, tmp_path, monkeypatch, qtbot):
    more = tmp_path / "more"
    more.mkdir()
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(more / "delta.png")
    (more / "broken.svs").write_bytes(b"no slide")
    asked: list[list[str]] = []

    def submit(spec):
        asked.append([Path(entry["path"]).name for entry in spec.arguments["inputs"]])
        return Job(spec)

    monkeypatch.setattr(scored.jobs, "submit", submit)
    scored.commands.results.predict_folder(more)
    listed = sheet(scored, ListDialog, qtbot)
    assert "1 slides of more are predicted, 1 could not be read" in listed.head.text()
    qtbot.waitUntil(lambda: asked == [["delta.png"]])
