"""Prediction of one slide: what is left where it ends early, and what is said."""

import csv
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opsin.engine import verbs
from opsin.engine.errors import LabelError
from opsin.engine.methods.hybrid_wsi.model import build
from opsin.engine.methods.hybrid_wsi.published import pack
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.stage2 import TileClassifier
from opsin.engine.runs import Control, read_lines
from opsin.engine.tiles import TilePyramid

RECIPE = HybridRecipe(network="unet", width=4, mpp=0, tile=64, crop=64, crop_min=48, K=2)


@pytest.fixture
def job(tmp_path):
    torch.manual_seed(0)
    pack(RECIPE, build(RECIPE), None).save(tmp_path / "c.safetensors")
    pixels = np.random.default_rng(0).integers(0, 150, (300, 400, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "broken.svs").write_bytes(b"noise" * 99)
    arguments = {"checkpoint": str(tmp_path / "c.safetensors"), "inputs": [str(tmp_path / "a.png")],
                 "output": str(tmp_path / "out"), "options": {}}  # fmt: skip
    return {"id": "1", "verb": "predict", "method": "hybrid_wsi", "arguments": arguments, "device": "cpu"}


def said(events, level):
    return [event["text"] for event in events if event["event"] == "message" and event["level"] == level]


def maps(folder):
    return sorted(path.name for path in folder.iterdir() if ".heat" in path.name or "score" in path.name)


def test_a_full_disk_leaves_no_half_map(job, tmp_path, monkeypatch):
    wrote = 0

    def full(self, *arguments):
        nonlocal wrote
        wrote += 1
        raise LabelError("a.heat cannot be written: database or disk is full.")

    monkeypatch.setattr(TilePyramid, "write", full)
    events = []
    assert verbs.execute(job, events.append) == "failed"
    assert wrote and said(events, "error") == ["a.heat cannot be written: database or disk is full."]
    assert maps(tmp_path / "out") == []


def test_a_pyramid_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    class Full:
        """A connection to a database on a full disk: its log cannot be written back when it is closed."""

        def __init__(self, path, **_):
            self.path = Path(path)

        def execute(self, *_):
            self.path.with_name(self.path.name + "-wal").write_bytes(b"log")
            raise sqlite3.OperationalError("disk I/O error")

        def close(self):
            pass

    monkeypatch.setattr(sqlite3, "connect", Full)
    with pytest.raises(LabelError, match="cannot be written"):
        TilePyramid.create(tmp_path / "a.heat", 100, 100)
    assert list(tmp_path.iterdir()) == []


def test_stopping_keeps_the_part_of_the_map_and_claims_no_score(job, tmp_path):
    control, events = Control(), []

    def sink(event):
        events.append(event)
        if event["event"] == "progress":
            control.stop()

    job["arguments"]["options"] = {"batch": 1}
    assert verbs.execute(job, sink, control) == "stopped"
    assert [event["kind"] for event in events if event["event"] == "result"] == ["Heatmap"]
    assert maps(tmp_path / "out") == ["a.heat"]


def test_a_slide_without_tissue_has_no_score_and_that_is_said(job, tmp_path):
    torch.manual_seed(0)
    patch = build(RECIPE)
    pack(RECIPE, patch, TileClassifier(patch)).save(tmp_path / "c.safetensors")
    Image.new("RGB", (300, 400), (250, 250, 250)).save(tmp_path / "empty.png")
    job["arguments"]["inputs"].append(str(tmp_path / "empty.png"))
    events: list = []
    assert verbs.execute(job, events.append) == "done"
    scores = {e["info"]["slide"]: e["info"] for e in events if e["event"] == "result" and e["kind"] == "SlideScore"}
    assert (scores["empty.png"]["score"], scores["empty.png"]["source"]) == (None, "no tissue found")
    assert scores["a.png"]["source"] == "top-K classifier" and 0 < scores["a.png"]["score"] < 1
    assert said(events, "warning") == ["empty.png has no score: no tissue found."]
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    assert rows["empty.png"]["score"] == "" and float(rows["a.png"]["score"]) > 0


def test_an_unreadable_slide_is_said_once_and_the_others_are_done(job, tmp_path):
    good, bad = job["arguments"]["inputs"][0], str(tmp_path / "broken.svs")
    events: list = []
    job["arguments"]["inputs"] = [bad]
    assert verbs.execute(job, events.append) == "failed"
    (sentence,) = said(events, "error")
    assert sentence.startswith("broken.svs is no slide") and not said(events, "warning")
    events.clear()
    job["arguments"]["inputs"] = [bad, good]
    assert verbs.execute(job, events.append) == "done"
    assert not said(events, "error") and said(events, "warning")[0] == sentence
    assert "1 of 2 inputs could not be used" in said(events, "warning")[1]
    assert maps(tmp_path / "out") == ["a.heat", "a.score.json", "scores.csv"]
    assert read_lines(tmp_path / "out" / "events.jsonl")[-1]["state"] == "done"


def test_a_run_that_was_killed_is_called_interrupted(tmp_path):
    (tmp_path / "run.json").write_text('{"state": "running", "method": "hybrid_wsi", "pid": 999999999}')
    job = {"id": "1", "verb": "train", "method": "hybrid_wsi", "device": "cpu",
           "arguments": {"data": str(tmp_path), "run": str(tmp_path), "recipe": {}}}  # fmt: skip
    events: list = []
    assert verbs.execute(job, events.append) == "failed"
    assert "already holds a run (interrupted); resume it" in said(events, "error")[0]


def heat(folder):
    with TilePyramid.open(folder / "a.heat", readonly=True) as pyramid:
        return pyramid.region(0, 0, 0, *pyramid.level_size(0)).astype(float)


def test_an_ensemble_gives_the_mean_of_the_maps_and_of_the_scores(job, tmp_path):
    torch.manual_seed(1)
    other = build(RECIPE)
    with torch.no_grad():
        other.fc.bias.fill_(3.0)  # an answer that is far from the first one's
    (tmp_path / "second" / "checkpoints").mkdir(parents=True)
    pack(RECIPE, other, None).save(tmp_path / "second" / "checkpoints" / "final.safetensors")
    found, scores = [], []
    first, second = job["arguments"]["checkpoint"], str(tmp_path / "second")
    for name, checkpoint, further in (("a", first, None), ("b", second, None), ("both", first, second)):
        job["arguments"] |= {"checkpoint": checkpoint, "output": str(tmp_path / name), "options": {"ensemble": further}}
        assert verbs.execute(job, lambda _: None) == "done"
        found.append(heat(tmp_path / name))
        with (tmp_path / name / "scores.csv").open() as file:
            scores.append(float(next(csv.DictReader(file))["score"]))
    assert np.abs(found[1] - found[0]).mean() > 50
    np.testing.assert_allclose(found[2], (found[0] + found[1]) / 2, atol=1.01)  # the maps hold 8 bit
    assert scores[0] < scores[2] < scores[1]


def test_networks_that_do_not_fit_are_not_averaged(job, tmp_path):
    coarse = RECIPE.model_copy(update={"mpp": 2.0})
    pack(coarse, build(coarse), None).save(tmp_path / "other.safetensors")
    job["arguments"]["options"] = {"ensemble": str(tmp_path / "other.safetensors")}
    events = []
    assert verbs.execute(job, events.append) == "failed"
    assert "cannot be averaged: their µm per pixel differs (0.0 and 2.0)" in said(events, "error")[0]
    assert maps(tmp_path / "out") == []
