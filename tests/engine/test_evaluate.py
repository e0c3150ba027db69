"""Evaluation: which slides it is about, what an unreadable or empty one leads to, the answers for each slide."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from opsin.engine.errors import RunError
from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.methods.hybrid_wsi.data import SlideSample, SlideSet
from opsin.engine.methods.hybrid_wsi.evaluate import evaluate
from opsin.engine.methods.hybrid_wsi.model import build
from opsin.engine.methods.hybrid_wsi.published import pack
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.runs import Run, plain

RECIPE = HybridRecipe(network="unet", width=4, mpp=0, tile=64, crop=64, crop_min=48, K=2)


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    return pack(RECIPE, build(RECIPE), None)


@pytest.fixture
def slide(tmp_path):
    def make(name, label, split, *, empty=False, broken=False, xml=None, **facts):
        path = tmp_path / f"{name}.png"
        seed = np.random.default_rng(len(name) + ord(name[-1]))
        pixels = np.full((128, 192, 3), 250, np.uint8) if empty else seed.integers(0, 150, (128, 192, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        if broken:
            path.write_bytes(b"noise")
        if xml is not None:
            facts["outlines"] = tmp_path / f"{name}.xml"
            facts["outlines"].write_text(xml)
        return SlideSample(name, path, label, split, name=name, **facts)

    return make


def evaluated(checkpoint, tmp_path, samples):
    events = []
    found = evaluate(checkpoint, SlideSet(tmp_path, "made", samples, list(DEFAULT_CLASSES)), Run(None, events.append))
    json.dumps(plain(found))
    return found, [e["text"] for e in events if e["event"] == "message" and e["level"] == "warning"]


def test_malformed_outlines_cost_the_pixel_metrics_and_not_the_score(checkpoint, slide, tmp_path):
    samples = [slide("t1", 1, "test", xml="<ASAP_Annotations><Anno", outlined=True), slide("t2", 0, "test")]
    found, warnings = evaluated(checkpoint, tmp_path, samples)
    assert found["slides"] == 2 and found["AUC"] in (0, 1) and found["split"] == "test"
    assert found["Dice"] is None
    (warning,) = warnings
    assert warning.startswith("t1 counts for neither Dice nor FROC. ") and "t1.xml" in warning


def test_unreadable_and_empty_slides_are_listed_and_no_others_take_their_place(checkpoint, slide, tmp_path):
    samples = [
        slide("t1", 1, "test", empty=True),
        slide("t2", 0, "test", broken=True),
        slide("v1", 1, "val"),
        slide("v2", 0, "val"),
    ]
    found, warnings = evaluated(checkpoint, tmp_path, samples)
    assert (found["split"], found["slides"], found["slides without a score"]) == ("test", 0, 2)
    assert found["AUC"] is None and found["specificity at the validation threshold"] is None
    answers = {a["slide"]: (a["score"], a["source"]) for a in found["per slide"]}
    assert answers["t1"] == (None, "no tissue found") and answers["t2"] == (None, "not predicted, see the log")
    assert 0 < answers["v1"][0] < 1 and answers["v1"][1] == "mean of the K tile maxima"
    assert "t1.png has no score: no tissue found." in warnings
    assert any(w.startswith("2 of 2 test slides have no score") for w in warnings)


def test_metrics_of_training_slides_are_called_that(checkpoint, slide, tmp_path):
    samples = [slide("a1", 1, "train"), slide("a2", 0, "train"), slide("t1", None, "test")]
    found, warnings = evaluated(checkpoint, tmp_path, samples)
    assert found["split"] == "training" and found["slides"] == 2
    assert warnings[0].startswith("No test or validation slide has a label")
    with pytest.raises(RunError, match="No slide could be evaluated"):
        evaluated(checkpoint, tmp_path, [slide("b1", 1, "test", broken=True)])


def test_slides_of_lymph_nodes_get_a_class_and_patients_a_stage(checkpoint, slide, tmp_path):
    samples = [
        slide(f"p{number // 3}_n{number % 3}", int(number < 3), "test", patient=f"p{number // 3}",
              node="macro" if number < 3 else "negative")
        for number in range(6)
    ]  # fmt: skip
    found, _ = evaluated(checkpoint, tmp_path, samples)
    assert {a["class"] for a in found["per slide"]} <= {"negative", "itc", "micro", "macro"}
    stages = [(p["patient"], p["nodes"], p["true stage"]) for p in found["per patient"]]
    assert stages == [("p0", 3, "pN1"), ("p1", 3, "pN0")]
    assert "per patient" not in evaluated(checkpoint, tmp_path, [slide("x1", 1, "test"), slide("x2", 0, "test")])[0]
