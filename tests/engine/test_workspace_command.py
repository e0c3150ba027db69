"""A workspace from the shell: made, filled, listed, predicted, reported on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from opsin.engine.cli import main
from opsin.engine.workspace import Workspace


@pytest.fixture
def slides(tmp_path):
    """Four pale pictures with tissue; two have a darker lesion."""
    folder = tmp_path / "slides"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(4):
        pixels = np.full((192, 256, 3), 240, np.uint8)
        pixels[20:170, 20:230] = (220, 150, 180)
        if number % 2:
            pixels[40:110, 40:120] = (110, 60, 140)
        noisy = np.clip(pixels + random.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"s{number}.png")
    return folder


def test_a_workspace_is_made_filled_and_listed(slides, tmp_path, capsys):
    (slides / "broken.svs").write_bytes(b"no slide")
    table = tmp_path / "labels.csv"
    table.write_text("slide;label;patient\ns0;negative;A\ns1;positive;B\ns9;positive;C\n", encoding="utf-8")
    folder = tmp_path / "w"
    assert main(["workspace", str(folder), "--add", str(slides), "--labels", str(table), "--split", "0.5"]) == 1
    said = capsys.readouterr()
    assert "broken.svs" in said.err and "s9" in said.err
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0][:3] == ["slide", "label", "split"] and len(rows) == 5
    assert rows[1][:2] == ["s0", "negative"] and rows[2][3] == "B"
    with Workspace.open(folder) as workspace:
        assert {item.label for item in workspace.items()} == {"positive", "negative", None}
        assert all(item.split in ("train", "val") for item in workspace.items())
    out = tmp_path / "table.csv"
    assert main(["workspace", str(folder), "--outlined", "s1", "--table", str(out)]) == 0
    assert "outlined" in capsys.readouterr().out and out.read_text(encoding="utf-8-sig").startswith("slide,label")


def test_mistakes_are_said(slides, tmp_path, capsys):
    assert main(["workspace", str(tmp_path / "none")]) == 2
    assert "--add" in capsys.readouterr().err and not (tmp_path / "none").exists()
    assert main(["workspace", str(tmp_path / "w"), "--add", str(slides), "--split", "2"]) == 2
    assert main(["workspace", str(tmp_path / "w"), "--add", str(tmp_path / "gone")]) == 1
    assert "does not exist" in capsys.readouterr().err
    words = ["predict", "hybrid_wsi", "--checkpoint", str(slides)]
    assert main([*words, "--input", str(slides)]) == 2
    assert main([*words, "--workspace", str(tmp_path / "w"), "--input", "a"]) == 2


def test_train_predict_and_report_without_a_window(slides, tmp_path, capsys):
    folder, run = tmp_path / "w", tmp_path / "w" / "runs" / "one"
    table = tmp_path / "labels.csv"
    table.write_text("slide,label\n" + "".join(f"s{n},{'positive' if n % 2 else 'negative'}\n" for n in range(4)))
    assert main(["workspace", str(folder), "--add", str(slides), "--labels", str(table)]) == 0
    with Workspace.open(folder) as workspace:
        item = next(item for item in workspace.items() if item.name == "s1")
        ring = np.array([[40, 40], [120, 40], [120, 110], [40, 110]], float)
        workspace.labels(item).polygon([ring], 1)
        workspace.edit({i.id: {"mpp": 1.0, "outlined": i.name in ("s0", "s1")} for i in workspace.items()}, "known")
    words = ["--recipe", "tiny", "--set", "rounds=1", "--set", "steps_initial=2", "--device", "cpu", "--run", str(run)]
    assert main(["train", "hybrid_wsi", "--data", str(folder), *words]) == 0
    predict = ["predict", "hybrid_wsi", "--checkpoint", str(run), "--workspace", str(folder), "--device", "cpu"]
    assert main(predict) == 0
    with Workspace.open(folder) as workspace:
        scores = workspace.scores("one")
        assert len(scores) == 4 and all(0 <= entry["score"] <= 1 for entry in scores)
        assert all(workspace.heatmap_path("one", item.id).exists() for item in workspace.items())
        (workspace.heatmap_path("one", scores[0]["item"])).unlink()
    capsys.readouterr()
    assert main([*predict, "--only", "missing", "--events"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    states = [event["state"] for event in events if event["event"] == "item"]
    assert states.count("kept") == 3 and states.count("done") == 1
    report = tmp_path / "r.html"
    assert main(["report", str(folder), "--output", str(report)]) == 0
    assert "ROC curve" in report.read_text(encoding="utf-8")
