"""The baselines in place of hybrid supervision: one switch, every part of the way from training to evaluation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opsin.engine.checkpoints import Checkpoint
from opsin.engine.errors import CheckpointError, RecipeError, RunError
from opsin.engine.methods.hybrid_wsi import HybridWSI
from opsin.engine.methods.hybrid_wsi.bags import Bags
from opsin.engine.methods.hybrid_wsi.data import open_data
from opsin.engine.methods.hybrid_wsi.heat import TileScore
from opsin.engine.methods.hybrid_wsi.made import MadeSlides
from opsin.engine.methods.hybrid_wsi.mil import (
    AttentionMIL,
    GatedAttention,
    bag_answer,
    max_pool_loss,
    tile_logits,
    tile_probability,
)
from opsin.engine.methods.hybrid_wsi.model import UNet
from opsin.engine.methods.hybrid_wsi.predict import predict
from opsin.engine.methods.hybrid_wsi.published import export, unpack
from opsin.engine.methods.hybrid_wsi.settings import HybridOptions, HybridRecipe
from opsin.engine.methods.hybrid_wsi.tiles import EStep, Opened
from opsin.engine.methods.hybrid_wsi.tissue import grid, scale_of, slide_tissue
from opsin.engine.methods.hybrid_wsi.train import train
from opsin.engine.results import Heatmap, SlideScore
from opsin.engine.runs import Control, Run, read_lines
from opsin.engine.tiles import TilePyramid
from opsin.engine.verbs import execute
from opsin.engine.workspace import Workspace

MIL = ("max_pool_mil", "attention_mil")
RECIPE = HybridRecipe(
    network="unet", width=4, mpp=0, tile=64, crop=64, crop_min=48, batch_size=4, steps_initial=4, steps_round=3, rounds=2,
    K=2, stage2_epochs=1, stage2_batch=2, seed=3, bag_tiles=2,
)  # fmt: skip


class Few(MadeSlides):
    """Two outlined slides (one with tumour), two positive and two negative ones; nothing to test on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(1, folder, weak=2, test=0)
        self.samples = [s for s in self.samples if s.id in ("outlined_0", "outlined_11") or s.id.startswith("train")]


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Few:
    return Few(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory) -> dict[str, tuple[Checkpoint, Path]]:
    """A training of each kind that nobody disturbed, and its folder."""
    found = {}
    for kind in MIL:
        folder = tmp_path_factory.mktemp(kind)
        run = Run(folder)
        found[kind] = train(recipe(kind), few, run), folder
        run.close()
    return found


def recipe(kind: str, **change) -> HybridRecipe:
    return RECIPE.model_copy(update={"supervision": kind, **change})


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return a.tensors.keys() == b.tensors.keys() and all(torch.equal(v, b.tensors[k]) for k, v in a.tensors.items())


# ---- the switch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({}, "hybrid"),
        ({"pixel_labels_only": False, "self_training": False}, "hybrid"),
        ({"pixel_labels_only": True, "self_training": False}, "pixel_only"),
        ({"self_training": "true", "supervision": "hybrid"}, "self_training"),
        ({"supervision": "attention_mil", "pixel_labels_only": False}, "attention_mil"),
    ],
)
def test_recipes_of_before_are_read(written, meant):
    assert HybridRecipe.checked(written).supervision == meant


def test_two_baselines_at_once_are_refused():
    for written in (
        {"pixel_labels_only": True, "self_training": True},
        {"supervision": "max_pool_mil", "self_training": True},
    ):
        with pytest.raises(RecipeError, match="two baselines; choose one"):
            HybridRecipe.checked(written)
    assert HybridRecipe().changed(["pixel_labels_only=true"]).supervision == "pixel_only"


# ---- the parts ---------------------------------------------------------------------------------------------------


def test_attention_is_that_of_the_paper():
    torch.manual_seed(0)
    bag = GatedAttention(5)
    h = torch.randn(7, 5)
    with torch.no_grad():
        for weight in bag.parameters():
            weight.copy_(torch.randn_like(weight))
        gate = torch.tanh(h @ bag.V.weight.T + bag.V.bias) * torch.sigmoid(h @ bag.U.weight.T + bag.U.bias)
        a = torch.softmax(gate @ bag.w.weight[0], 0)
        z = (a[:, None] * h).sum(0)
        logit = bag.classifier.weight[0] @ z + bag.classifier.bias
        torch.testing.assert_close(bag(h[None]), logit)
        torch.testing.assert_close(bag(h[None]), bag(h.flip(0)[None]))  # a bag has no order
        # what the heat map is made of adds up to the answer
        scores = bag.classifier(h)[:, 0]
        p, weights = bag_answer(bag.attention(h).numpy(), scores.numpy())
    assert p == pytest.approx(torch.sigmoid(logit).item(), abs=1e-6)
    assert weights == pytest.approx((a / a.max()).numpy(), abs=1e-6)


def test_maps_of_gated_attention_average_to_the_score_of_their_tile():
    torch.manual_seed(1)
    model = AttentionMIL(UNet(4)).eval()
    x = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        found = model.coarse(x)
        logit = model(x[None])
    assert found.shape == (3, 3, 16, 16) and model.stride == 4
    torch.testing.assert_close(found[:, 0].mean((1, 2)), found[:, 2, 0, 0])
    p, _ = bag_answer(found[:, 1, 0, 0].numpy(), found[:, 2, 0, 0].numpy())
    assert p == pytest.approx(torch.sigmoid(logit).item(), abs=1e-6)


def test_a_tile_is_as_positive_as_its_highest_twentieth():
    logits = torch.full((2, 1, 20, 20), -3.0)
    logits[0, 0, :4, :5] = 2.0
    assert tile_logits(logits).tolist() == pytest.approx([2.0, -3.0])
    for one in logits:
        assert tile_probability(torch.sigmoid(one[0]).numpy()) == pytest.approx(
            torch.sigmoid(tile_logits(one[None])).item()
        )


def test_max_pooling_learns_from_the_most_suspicious_tile_alone():
    class Brightness(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = []
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            self.seen.append((self.training, x.detach().clone()))
            return self.weight * x.mean(1, keepdim=True)

    images = torch.rand(2, 4, 3, 8, 8) / 4
    images[0, 2] += 0.5
    images[1, 3] += 0.5
    module = Brightness().train()
    loss = max_pool_loss(module, images, torch.tensor([1.0, 0.0]))
    *looked, (learnt, chosen) = module.seen
    assert learnt and module.training and not any(training for training, _ in looked)
    assert torch.equal(torch.stack([x for _, x in looked], 1), images), "every tile is looked at once"
    assert torch.equal(chosen, torch.stack([images[0, 2], images[1, 3]]))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        tile_logits(chosen.mean(1, keepdim=True)), torch.tensor([1.0, 0.0])
    )
    assert loss.item() == pytest.approx(expected.item())


def test_bags_are_balanced_and_hold_what_was_found_suspicious(few):
    states = few.snapshot(Path(), 0).states
    samples = [s for s in few.samples if s.label is not None]
    settings = recipe("attention_mil", bag_tiles=8, batch_size=16)
    opened = Opened(samples, settings)
    first = Bags(opened, states, settings, 0, {}, pytest.fail)
    assert {len(tiles) for tiles in first.tiles.values()} <= set(range(20, 26))
    found = first.batch(0)
    assert found["image"].shape == (2, 8, 3, 64, 64) and sorted(found["label"].tolist()) == [0.0, 1.0]
    assert torch.equal(found["image"], first.batch(0)["image"]) and not torch.equal(
        found["image"], first.batch(1)["image"]
    )
    scores = {
        index: [TileScore(int(w.x), int(w.y), 64, number / 100, 0, 0) for number, w in enumerate(windows)]
        for index, windows in first.tiles.items()
    }
    proposals = {index: EStep(some, np.arange(0), None, 0) for index, some in scores.items()}
    later = Bags(opened, states, settings, 1, proposals, pytest.fail)
    rng = np.random.default_rng(0)
    for label in (0, 1, 0, 1):
        index, windows = later.draw(rng, label)
        assert samples[index].label == label and len({(w.x, w.y) for w in windows}) == 8
        suspicious = {(s.x, s.y) for s in sorted(scores[index], key=lambda s: -s.p)[:16]}
        assert {(w.x, w.y) for w in windows[:4]} <= suspicious
    large = Bags(opened, states, recipe("attention_mil", bag_tiles=40), 0, {}, pytest.fail)
    _, windows = large.draw(rng, 1)
    assert len(windows) == 40 and len(set(windows)) == len(large.tiles[windows[0].slide]), "all, and some twice"
    opened.close()


# ---- the whole way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MIL)
def test_a_training_takes_the_same_steps_and_shows_its_maps(whole, kind):
    checkpoint, folder = whole[kind]
    assert sum("loss" in line for line in read_lines(folder / "metrics.jsonl")) == 4 + 2 * 3
    assert checkpoint.header["round"] == 2 and checkpoint.header["stage2_losses"] == {}
    assert any(k.startswith("bag.") for k in checkpoint.tensors) == (kind == "attention_mil")
    assert not any(k.startswith("slide.") for k in checkpoint.tensors)
    previews = {e["name"] for e in read_lines(folder / "events.jsonl") if e["event"] == "preview"}
    assert previews == {"tile scores, round 1", "tile scores, round 2"}
    assert not list(folder.glob("estep/*/*.npy")), "no maps are kept, only places"
    name = {"max_pool_mil": "max-pool MIL", "attention_mil": "gated-attention MIL"}[kind]
    assert name in (folder / "model_card.md").read_text()


@pytest.mark.parametrize("kind", MIL)
@pytest.mark.parametrize(("after", "stop"), [(3, True), (12, False), (26, True)])
def test_resumed_training_equals_uninterrupted_training(few, whole, tmp_path, kind, after, stop):
    control, seen = Control(), 0

    class Crash(Exception):
        """The process dies here."""

    def sink(event):
        nonlocal seen
        seen += event["event"] in ("metrics", "preview", "progress")
        if seen == after:
            seen += 1
            if stop:
                control.stop()
            else:
                raise Crash

    run, first = Run(tmp_path, sink, control), None
    try:
        first = train(recipe(kind), few, run)
    except Crash:
        assert not stop
    run.close()
    assert first is None or not same(first, whole[kind][0])
    run = Run(tmp_path)
    assert same(train(recipe(kind), few, run), whole[kind][0])
    run.close()


@pytest.mark.parametrize("kind", MIL)
def test_outlines_do_not_matter(few, whole, kind):
    """Slide labels alone are learnt from: without any outline the weights are the same."""
    bare = Few.__new__(Few)
    bare.folder, bare.samples = few.folder, [replace(s, labels=None, outlined=False) for s in few.samples]
    assert same(train(recipe(kind), bare, Run()), whole[kind][0])


@pytest.mark.parametrize("kind", MIL)
def test_slides_of_one_label_are_not_enough(few, kind):
    alike = Few.__new__(Few)
    alike.folder, alike.samples = few.folder, [replace(s, label=1) for s in few.samples]
    with pytest.raises(RunError, match="slides of both labels"):
        train(recipe(kind), alike, Run())


@pytest.mark.parametrize("kind", MIL)
def test_a_slide_is_answered_for_as_the_bag_was_trained(few, whole, tmp_path, kind):
    checkpoint, _ = whole[kind]
    sample = few.samples[0]
    path = tmp_path / "a.png"
    Image.fromarray(sample.pixels).save(path)
    run = Run(tmp_path / "run")
    results = list(predict(checkpoint, path, HybridOptions(), run))
    run.close()
    (answer,) = [r for r in results if isinstance(r, SlideScore)]
    (heatmap,) = [r for r in results if isinstance(r, Heatmap)]
    trained = unpack(checkpoint)
    with sample.open() as slide:
        size = scale_of(slide, 0, 64).size
        tiles = grid(slide_tissue(slide, size), 256, 256, size)
        pixels = np.stack([slide.read_scaled(x, y, 64, 64, 1.0) for x, y, _ in tiles])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad(), TilePyramid.open(heatmap.path, readonly=True) as pyramid:
        found = pyramid.region(0, 0, 0, *pyramid.level_size(0))
        if kind == "max_pool_mil":
            maps = torch.sigmoid(trained.patch(x))[:, 0].numpy()
            expected = torch.sigmoid(tile_logits(trained.patch(x))).max().item()
            assert answer.source == "most suspicious tile (max-pool MIL)" and pyramid.base == 2
        else:
            model = AttentionMIL(trained.patch, trained.bag).eval()
            expected = torch.sigmoid(model(x[None])).item()
            values = model.coarse(x)
            weights = torch.softmax(values[:, 1, 0, 0], 0)
            maps = (torch.sigmoid(values[:, 0]) * (weights / weights.max())[:, None, None]).numpy()
            assert answer.source == "gated attention over all tiles" and pyramid.base == 4
            assert answer.tiles[0][3] == pytest.approx(maps.max(), abs=1e-3)
    assert answer.score == pytest.approx(expected, abs=1e-4)
    # the first tile's middle is seen by no other tile
    middle = maps[tiles.index((0, 0, 64))]
    side = 64 // (2 if kind == "max_pool_mil" else 4)
    mean = middle.reshape(side, middle.shape[0] // side, side, -1).mean((1, 3))
    at = slice(side // 4, side // 2)
    assert np.abs((found[at, at].astype(float) - 1) / 254 - mean[at, at]).max() < 0.004


@pytest.mark.parametrize("kind", MIL)
def test_the_command_line_trains_predicts_and_evaluates(few, tmp_path, kind):
    paths = []
    for sample in few.samples:
        paths.append(tmp_path / f"{sample.id}.png")
        Image.fromarray(sample.pixels).save(paths[-1])
    with Workspace.create(tmp_path / "ws") as workspace:
        items = workspace.add(paths)
        for number, (item, sample) in enumerate(zip(items, few.samples)):
            split = "test" if number in (0, len(items) - 1) else "train"
            workspace.update(item.id, label="positive" if sample.label else "negative", split=split)
    settings = recipe(kind, steps_initial=1, steps_round=1, rounds=1).model_dump(mode="json")
    arguments = {"data": str(tmp_path / "ws"), "run": str(tmp_path / "run"), "recipe": settings}
    job = {"id": "1", "verb": "train", "method": "hybrid_wsi", "arguments": arguments, "device": "cpu"}
    assert execute(job) == "done"
    checkpoint = Checkpoint.load(tmp_path / "run" / "checkpoints" / "final.safetensors", "hybrid_wsi")
    found = HybridWSI().evaluate(checkpoint, open_data(tmp_path / "ws"), Run(tmp_path / "evaluation"))
    assert found["split"] == "test" and found["slides"] == 2 and 0 <= found["AUC"] <= 1
    assert found["score from"] in ("most suspicious tile (max-pool MIL)", "gated attention over all tiles")
    assert all(0 <= entry["score"] <= 1 for entry in found["per slide"])


@pytest.mark.parametrize("stop", [False, True])
def test_an_attended_slide_that_was_stopped_or_empty_has_no_score(whole, tmp_path, stop):
    pixels = np.full((200, 200, 3), 120 if stop else 250, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    control = Control()
    if stop:
        control.stop()
    run = Run(tmp_path / "run", None, control)
    results = list(predict(whole["attention_mil"][0], tmp_path / "a.png", HybridOptions(), run))
    run.close()
    scores = [r.score for r in results if isinstance(r, SlideScore)]
    assert scores == ([] if stop else [None])


def test_what_has_no_single_network_is_neither_exported_nor_averaged(whole, tmp_path):
    checkpoint, _ = whole["attention_mil"]
    with pytest.raises(CheckpointError, match="no single network to export"):
        export(checkpoint, tmp_path / "network.pt2")
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(tmp_path / "a.png")
    for kind in MIL:
        whole[kind][0].save(tmp_path / f"{kind}.safetensors")
    for first, second in ((MIL[1], MIL[1]), (MIL[0], MIL[1])):
        options = HybridOptions(ensemble=str(tmp_path / f"{second}.safetensors"))
        with pytest.raises(RunError, match="cannot be averaged"):
            list(predict(whole[first][0], tmp_path / "a.png", options, Run(tmp_path / "run")))
