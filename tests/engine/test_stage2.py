"""Stage 2: the slide classifier on the K most suspicious tiles, the forest, the stage of a patient, the metrics of slides."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from opsin.engine.methods.hybrid_wsi.evaluate import node_answers, slide_metrics
from opsin.engine.methods.hybrid_wsi.forest import STAGES, forest_probabilities, heat_features, patient_stage
from opsin.engine.methods.hybrid_wsi.heat import TileScore
from opsin.engine.methods.hybrid_wsi.model import UNet
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.stage2 import (
    Candidate,
    TileClassifier,
    classify,
    read_tiles,
    slide_probability,
    train_stage2,
)
from opsin.engine.methods.hybrid_wsi.tissue import Scale
from opsin.engine.runs import Control, Run

from .test_heat import ArraySlide

RECIPE = HybridRecipe(
    network="unet", width=4, mpp=0, tile=32, crop=32, crop_min=32, K=3, stage2_epochs=6, stage2_lr=3e-3, seed=3
)


def tile_at(x, y, p=0.5, size=32):
    return TileScore(x, y, size, p, x + size / 2, y + size / 2)


def candidates(count=6, broken=None):
    """Dark slides are positive, light ones negative: learnable in seconds."""
    made = []
    for number in range(count):
        label = number % 2
        pixels = np.random.default_rng(number).integers(60, 90, (64, 96, 3), np.uint8) + np.uint8(0 if label else 90)
        bad = (0, 0, 96, 64) if number == broken else None
        tiles = [tile_at(0, 0), tile_at(32, 0), tile_at(0, 32), tile_at(64, 32)]
        made.append(Candidate(lambda p=pixels, b=bad: ArraySlide(p, bad=b), label, tiles, Scale(32, 32)))
    return made


@pytest.fixture
def patch():
    torch.manual_seed(0)
    return UNet(4)


def test_probability_is_the_clamped_mean_of_the_sigmoids():
    logits = torch.tensor([[0.0, 2.0, 99.0], [-99.0, -99.0, -99.0]])
    p = slide_probability(logits, torch.tensor([2, 3]))
    assert p[0] == pytest.approx((0.5 + torch.sigmoid(torch.tensor(2.0)).item()) / 2)
    assert p[1] == pytest.approx(1e-6), "clamped, so that the loss stays finite"


def test_training_learns_reports_and_repeats(patch):
    seen = []
    before = {name: value.clone() for name, value in patch.state_dict().items()}
    classifier, loss = train_stage2(RECIPE, patch, candidates(), Run(None, seen.append), 1)
    losses = [e["values"]["slide_loss"] for e in seen if e["event"] == "metrics"]
    assert len(losses) == 6 * 3 and loss == pytest.approx(losses[-1]) and loss < losses[2], "means over an epoch"
    assert all(torch.equal(value, before[name]) for name, value in patch.state_dict().items()), (
        "the patch network stays"
    )
    scores = {c.label: classify(classifier, read_tiles(c.open(), c.tiles[:3], c.scale)) for c in candidates(2)}
    assert scores[1] > scores[0]
    steps = [e["step"] for e in seen if e["event"] == "metrics"]
    train_stage2(RECIPE, patch, candidates(), Run(None, seen.append), 2)
    steps += [e["step"] for e in seen if e["event"] == "metrics"][18:]
    assert steps == list(range(1, 37)), "the curve goes on in the next round"
    again, same = train_stage2(RECIPE, patch, candidates(), Run(), 1)
    assert same == loss
    assert all(torch.equal(a, b) for a, b in zip(classifier.state_dict().values(), again.state_dict().values()))


def test_it_starts_from_the_patch_networks_encoder(patch):
    classifier = TileClassifier(patch)
    x = torch.rand(2, 3, 32, 32)
    wanted = patch.eval().features(x).mean((2, 3))
    torch.testing.assert_close(classifier.eval().encoder(x)[-1].mean((2, 3)), wanted)


def test_unreadable_slide_and_no_tiles_do_no_harm(patch):
    classifier, loss = train_stage2(RECIPE, patch, candidates(4, broken=1), Run(), 1)
    assert np.isfinite(loss)
    assert classify(classifier, np.zeros((0, 32, 32, 3), np.uint8)) is None
    empty = [Candidate(c.open, c.label, [], c.scale) for c in candidates(2)]
    assert train_stage2(RECIPE, patch, empty, Run(), 1) == (None, float("inf"))


@pytest.mark.parametrize("label", [0, 1])
def test_slides_of_one_label_teach_nothing(patch, label):
    seen: list = []
    alike = [c for c in candidates() if c.label == label]
    assert train_stage2(RECIPE, patch, alike, Run(None, seen.append), 1) == (None, float("inf"))
    assert not any(e["event"] == "metrics" for e in seen)


def test_the_precision_of_the_recipe_holds_for_the_slide_classifier(patch):
    reduced = train_stage2(RECIPE.model_copy(update={"precision": "bfloat16"}), patch, candidates(), Run(), 1)[1]
    assert np.isfinite(reduced) and reduced != train_stage2(RECIPE, patch, candidates(), Run(), 1)[1]


def test_stop_ends_at_the_next_batch(patch):
    control = Control()
    seen = []

    def sink(event):
        seen.append(event)
        if event["event"] == "metrics":
            control.stop()

    train_stage2(RECIPE, patch, candidates(), Run(None, sink, control), 1)
    assert sum(e["event"] == "metrics" for e in seen) == 1


def test_window_lies_around_the_maximum():
    pixels = np.full((200, 200, 3), 255, np.uint8)
    pixels[90:110, 140:160] = 0
    tile = TileScore(100, 50, 64, 0.9, 150.0, 100.0)
    (image,) = read_tiles(ArraySlide(pixels), [tile], Scale(32, 64), window=32)
    dark = np.argwhere(image[..., 0] < 128).mean(0)
    assert np.abs(dark - 15.5).max() < 1, "20 px at half scale, in the middle of the window"


def test_heat_features_of_the_largest_region():
    heat = np.zeros((40, 60), np.uint8)
    heat[3:6, 3:6] = 255
    heat[10:14, 20:50] = 240
    heat[14, 50] = 240  # joined over a corner
    heat[30, 5:9] = 229  # not above the limit
    most, axis, around, area = heat_features(heat)
    assert most == 255 and area == 121 and axis > 30 and 60 < around < 75
    assert heat_features(np.full((4, 4), 200, np.uint8)).tolist() == [200, -1, -1, 0]
    assert heat_features(np.pad([[255]], 3).astype(np.uint8)).tolist() == [255, 0, 0, 1]


def test_forests_repeat_and_guess_what_they_have_not_seen():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 15)
    features = rng.normal(labels[:, None] * 3, 0.5, (60, 4))
    guessed, p = forest_probabilities(features, labels, features[::15] + 0.1)
    assert (guessed == labels).mean() > 0.9 and p.argmax(1).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(p.sum(1), 1)
    again = forest_probabilities(features, labels, features[::15] + 0.1)
    assert np.array_equal(p, again[1]) and np.array_equal(guessed, again[0])


def slides(*rows):
    return [
        SimpleNamespace(id=str(i), name=f"slide {i}", label=label, split=split) for i, (label, split) in enumerate(rows)
    ]


def test_honest_threshold_comes_from_the_validation_slides():
    samples = slides((1, "test"), (1, "test"), (0, "test"), (0, "test"), (1, "val"), (0, "val"))
    scores = dict(zip("012345", (0.9, 0.3, 0.5, 0.1, 0.6, 0.2)))
    found = slide_metrics(samples, scores, "test")
    assert found["specificity at 100 % sensitivity"] == 0.5 and found["slide that sets it"] == "slide 1"
    assert found["sensitivity at the validation threshold"] == 0.5
    assert found["specificity at the validation threshold"] == 1.0
    assert found["AUC"] == 0.75 and found["true positives at 0.5"] == 1 and found["false positives at 0.5"] == 1


def test_what_is_not_defined_is_not_claimed():
    found = slide_metrics(slides((0, "test"), (0, "test")), {"0": 0.1, "1": 0.2}, "test")
    assert found["AUC"] is None and found["specificity at 100 % sensitivity"] is None
    assert found["slide that sets it"] is None and found["sensitivity at 0.5"] is None
    nothing = node_answers(slides((0, "test")), {"0": np.zeros(4)})
    assert (nothing.metrics, nothing.classes, nothing.patients) == ({}, {}, [])


def test_other_slides_are_not_passed_off_as_test_slides():
    samples = slides((1, "test"), (0, "test"), (1, "val"), (0, "val"))
    found = slide_metrics(samples, {"2": 0.9, "3": 0.1}, "test")
    assert found["AUC"] is None and found["specificity at the validation threshold"] is None
    assert found["true positives at 0.5"] == 0 and found["true negatives at 0.5"] == 0


def test_camelyon17_slides_and_patients_get_their_kappa():
    rng = np.random.default_rng(1)
    names = ("negative", "itc", "micro", "macro")
    nodes = [
        SimpleNamespace(id=str(i), node=names[(i // 5) % 4 if i % 5 < 2 else 0], patient=f"p{i // 5}")
        for i in range(60)
    ]
    features = {n.id: rng.normal(names.index(n.node) * 5, 0.5, 4) for n in nodes}
    answers = node_answers(nodes, features)
    found = answers.metrics
    right = [answers.classes[n.id] == n.node for n in nodes]
    assert np.mean(right) > 0.9
    assert [p["patient"] for p in answers.patients] == [f"p{i}" for i in range(12)]
    # the first nodes of a patient are of one class, the others negative: macro twice is pN1
    assert [p["true stage"] for p in answers.patients[:4]] == ["pN0", "pN0(i+)", "pN1mi", "pN1"]
    for patient in answers.patients:
        own = [names.index(answers.classes[n.id]) for n in nodes if n.patient == patient["patient"]]
        assert patient["stage"] == STAGES[patient_stage(own)] and patient["nodes"] == 5
    assert found["slide kappa (out of fold)"] > 0.9 and found["patient kappa (out of fold)"] > 0.8
    assert patient_stage([]) == 0 and patient_stage([3, 3, 2, 2]) == 4
