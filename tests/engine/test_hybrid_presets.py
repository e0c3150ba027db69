"""The presets: `paper` is the published configuration in full and works at full size; `workstation` fits its card."""

import math

import numpy as np
import pytest
import torch
import yaml

from opsin.engine.method import RECIPES
from opsin.engine.methods.hybrid_wsi import HybridWSI
from opsin.engine.methods.hybrid_wsi.heat import predict_slide
from opsin.engine.methods.hybrid_wsi.losses import pixel_loss
from opsin.engine.methods.hybrid_wsi.made import ArraySlide
from opsin.engine.methods.hybrid_wsi.model import build
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.tissue import scale_of
from opsin.engine.runs import Run
from opsin.engine.training import fit

# What the paper, its algorithm box and its released code state (method card, sections 2 to 4).
PUBLISHED = {
    "network": "dla34",
    "tile": 1024,
    "overlap": 1 / 6,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "crop_min": 384,
    "crop": 768,
    "scale_augmentation": True,
    "colour_augmentation": True,
    "rounds": 3,
    "epochs": 3,
    "steps_initial": None,
    "steps_round": None,
    "select_round": True,
    "threshold": 0.4,
    "reweighting": 4,
    "clip": 0.01,
    "negative_upto": 40,
    "positive_upto": 50,
    "precision": "float32",
    "hard_negatives": True,
    "removal": True,
    "supervision": "hybrid",
}
# Where nothing was stated: what the card recommends.
RECOMMENDED = {
    "mpp": 0.25,
    "initial_epochs": 3,
    "stage2": True,
    "K": 10,
    "stage2_tile": 0,
    "stage2_epochs": 10,
    "stage2_batch": 2,
    "stage2_lr": 1e-4,
}


def test_paper_is_the_published_configuration_and_says_all_of_it():
    recipe = HybridWSI().recipe("paper")
    for name, value in {**PUBLISHED, **RECOMMENDED}.items():
        assert getattr(recipe, name) == pytest.approx(value), name
    # the defaults may change one day; the preset must not change with them
    written = yaml.safe_load((RECIPES / "hybrid_wsi.paper.yaml").read_text(encoding="utf-8"))
    left = set(HybridRecipe.model_fields) - set(written)
    assert left == {
        "width",  # of the small network
        "bag_tiles",  # of the baselines
        "imagenet_weights",
        "initial_checkpoint",
        "steps_initial",
        "steps_round",
        "seed",
    }


def test_workstation_differs_from_paper_only_where_memory_and_a_night_ask_for_it():
    paper, workstation = (HybridWSI().recipe(name).model_dump() for name in ("paper", "workstation"))
    changed = {name: value for name, value in workstation.items() if value != paper[name]}
    assert changed == {"mpp": 0.5, "precision": "bfloat16", "accumulate": 4, "stage2_tile": 512}
    assert workstation["batch_size"] // workstation["accumulate"] == 8, "batch norm sees what it saw on 4 GPUs"


def one_step(recipe: HybridRecipe, batch_size: int, device: str) -> tuple[torch.nn.Module, float]:
    """Do one training step of the patch network at the preset's size; return the network and the loss."""
    torch.manual_seed(recipe.seed)
    network = build(recipe).to(device)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    run, losses = Run(device=device), []
    run._sinks.append(lambda event: losses.append(event["values"]["loss"]) if event["event"] == "metrics" else None)

    def batch(step: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(step)
        image = torch.rand(batch_size, 3, recipe.crop, recipe.crop, generator=generator)
        return {"image": image, "target": (image.mean(1) > 0.5).float()}

    fit(
        run, network, torch.optim.Adam(network.parameters(), recipe.learning_rate), steps=1, batch=batch,
        loss=lambda module, values: {"loss": pixel_loss(module(values["image"]), values["target"])},
        save=lambda step: None, accumulate=min(recipe.accumulate, batch_size), precision=recipe.precision,
    )  # fmt: skip
    moved = [name for name, value in network.named_parameters() if not torch.equal(value, before[name])]
    still = set(before) - set(moved)
    assert not still, f"no gradient reached {min(still)}"
    return network, losses[0]


def test_paper_does_a_training_step_at_full_size():
    network, loss = one_step(HybridWSI().recipe("paper"), 1, "cpu")
    assert 0.3 < loss < 3 and math.isfinite(loss)
    # 17.54 M of the checkpoint's 18.09 M weights influence the output
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(17.54e6, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("preset", ["paper", "workstation"])
def test_a_full_batch_and_a_tile_at_full_size_on_the_gpu(preset):
    recipe = HybridWSI().recipe(preset)
    network, loss = one_step(recipe, recipe.batch_size, "cuda:0")
    assert 0.3 < loss < 3
    pixels = np.random.default_rng(0).integers(0, 200, (recipe.tile, recipe.tile, 3), np.uint8)
    slide = ArraySlide(pixels)
    maps: list[np.ndarray] = []
    heat = predict_slide(
        network,
        slide,
        scale_of(slide, 0, recipe.tile),
        Run(device="cuda:0"),
        keep=lambda tile, p: maps.append(p),
    )
    assert len(heat.scores) == len(maps) == 1 and heat.skipped == 0
    assert maps[0].shape == (recipe.tile // 2, recipe.tile // 2) and np.isfinite(maps[0]).all()
    assert heat.scores[0].p == maps[0].max()
