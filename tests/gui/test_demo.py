"""The demo's own script in a small form: it runs to its end, its pictures show something, its figures are those of the runs."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import QThreadPool

from opsin.engine.metrics.roc import auc, full_sensitivity
from opsin.engine.runs import read_lines, read_record
from opsin.gui import demo
from opsin.gui.demo import DemoPlan, run_demo
from opsin.widgets import theme
from opsin.widgets.background import finish_background

SMALL = DemoPlan(seed=11, size=(1024, 768), train=2, test=2, outlined=2, preset="tiny", changes={"rounds": 1})


@pytest.fixture
def tidy(qapp):
    """The theme and the thread pool as they were: the demo changes the theme to show both."""
    threads = QThreadPool.globalInstance().maxThreadCount()
    yield
    finish_background()
    QThreadPool.globalInstance().setMaxThreadCount(threads)
    theme.apply_theme(qapp, "light")


@pytest.mark.timeout(300)
def test_the_demo_runs_to_its_end_and_reports_what_its_runs_say(tmp_path, tidy, capsys):
    output = tmp_path / "demo"
    assert run_demo(output, plan=SMALL) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    figures = json.loads((output / "figures.json").read_text())
    report = (output / "report.html").read_text()

    pictures = re.findall(r'<img src="([^"]+)"', report)
    assert pictures == sorted(path.name for path in output.glob("*.png"))
    names = {name[3:-4] for name in pictures}
    assert {"start", "slide", "brush", "polygon", "import", "train", "training", "growing", "results", "again"} <= names
    for name in pictures:
        pixels = np.asarray(Image.open(output / name).convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3)[::11], axis=0)) > 20, f"{name} shows nothing"

    workspace = output / "made_slides" / "opsin"
    assert list(figures["trainings"]) == list(figures["scores"]) == ["hybrid supervision", "pixel labels only"]
    for name, training in figures["trainings"].items():
        run = workspace / "runs" / training["run"]
        assert training["steps"] == sum("loss" in row for row in read_lines(run / "metrics.jsonl")) == 10
        assert training["command"] == read_record(run)["command"]
        assert read_record(run)["recipe"]["supervision"] == ("pixel_only" if name == "pixel labels only" else "hybrid")
        scored = figures["scores"][name]
        with (workspace / "heatmaps" / run.name / "scores.csv").open(newline="") as file:
            kept = {
                row["slide"].rpartition(".")[0] or row["slide"]: float(row["score"]) for row in csv.DictReader(file)
            }
        labels = np.array([row["label"] == "positive" for row in scored["slides"]])
        values = np.array([kept[row["slide"]] for row in scored["slides"]])
        assert labels.sum() == 2 and len(labels) == 4
        # the last prediction was of the test slides; its table and the report agree to the last digit
        source = "slide classifier" if name == "hybrid supervision" else "mean of the K tile maxima"
        assert values.tolist() == [row["score"] for row in scored["slides"]]
        judged = scored["judged"][source]
        assert judged["AUC"] == auc(labels, values)
        assert judged["specificity"] == full_sensitivity(labels, values).specificity
        shown = f"{judged['specificity']:.3f} ({judged['rightly negative']} of {judged['negative']})"
        assert f"<td>{shown}</td>" in report
        assert f"specificity at 100 % sensitivity {shown}" in printed

    assert abs(figures["drawn by mouse"]["area"] - 1) < 0.03
    assert figures["pause"]["answered"] < 0.2
    exports = {path.name for path in (output / "exports").iterdir()}
    assert {"made_012.geojson", "made_012.xml", "scores.csv"} <= exports
    assert not (output / "settings" / "documents").exists()


def test_a_folder_with_other_things_is_left_alone(tmp_path, capsys):
    mine = tmp_path / "made_slides" / "mine.svs"
    mine.parent.mkdir()
    mine.write_text("precious")
    assert run_demo(tmp_path, plan=SMALL) == 1
    assert mine.read_text() == "precious"
    assert "is not empty" in capsys.readouterr().out


@pytest.mark.timeout(120)
def test_a_step_that_fails_is_one_sentence_and_status_1(tmp_path, tidy, capsys, monkeypatch):
    def broken(*_: object) -> None:
        raise demo.DemoError("the slides cannot be made")

    monkeypatch.setattr(demo._Demo, "make_slides", broken)
    assert run_demo(tmp_path / "demo", plan=SMALL) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "opsin demo: make slides: the slides cannot be made"
    assert not (tmp_path / "demo" / "report.html").exists()
