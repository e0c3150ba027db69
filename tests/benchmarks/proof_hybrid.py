"""Hybrid supervision, the card's small-scale proof: three seeds, equal steps on both sides"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from opsin.engine.methods.hybrid_wsi.heat import infer
from opsin.engine.methods.hybrid_wsi.made import MadeSlides
from opsin.engine.methods.hybrid_wsi.model import for_inference
from opsin.engine.methods.hybrid_wsi.published import unpack
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.train import train
from opsin.engine.metrics.roc import auc, full_sensitivity
from opsin.engine.metrics.segmentation import Overlap
from opsin.engine.runs import Run

RECIPE = HybridRecipe(
    network="unet", width=8, mpp=0, tile=64, crop=64, crop_min=64, scale_augmentation=False, colour_augmentation=False,
    batch_size=16, learning_rate=1e-3, steps_initial=150, steps_round=150, rounds=3, stage2=False, select_round=False,
)  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "pixel labels only": {"pixel_labels_only": True},
    "hybrid": {},
    "V = 1": {"reweighting": 1.0},
    "self-training": {"self_training": True},
}
METRICS = ("AUC", "specificity at 100 % sensitivity", "Dice")


def measure(seed: int, variant: str, recipe: HybridRecipe = RECIPE, weak: int = 40, test: int = 50) -> dict[str, float]:
    """Train one variant on the world of a seed and return its metrics on the test slides."""
    torch.set_num_threads(1)
    recipe = recipe.model_copy(update={"seed": seed, **VARIANTS[variant]})
    with tempfile.TemporaryDirectory() as name:
        data = MadeSlides(seed, Path(name) / "world", weak, test)
        trained = unpack(train(recipe, data, Run()))
    network = for_inference(trained.patch)
    scores, labels, overlap = [], [], Overlap()
    for sample in data.testing:
        p = infer(network, sample.pixels[None], "cpu")[0]
        scores.append(float(cv2.blur(p, (9, 9)).max()))
        labels.append(sample.label)
        if sample.label:
            overlap.add(p >= 0.5, sample.truth)
    point = full_sensitivity(np.array(labels), np.array(scores))
    area = auc(np.array(labels), np.array(scores))
    assert point is not None and area is not None
    return dict(zip(METRICS, (area, point.specificity, overlap.dice or 0.0)))


def rows(quick: bool) -> list[dict[str, Any]]:
    """Measure all variants; the margins are those of the method card, section 9."""
    seeds = (1,) if quick else (1, 2, 3)
    found = {v: [measure(seed, v) for seed in seeds] for v in VARIANTS}
    mean = {v: {m: float(np.mean([r[m] for r in results])) for m in METRICS} for v, results in found.items()}
    table = [
        {
            "name": f"{variant}: {metric}", "value": mean[variant][metric], "unit": "", "bar": "", "ok": None,
            "note": "seeds " + " / ".join(f"{r[metric]:.2f}" for r in results),
        }
        for variant, results in found.items() for metric in METRICS
    ]  # fmt: skip
    margins = (
        ("hybrid", "pixel labels only", "AUC", 0.10),
        ("hybrid", "pixel labels only", "specificity at 100 % sensitivity", 0.25),
        ("hybrid", "pixel labels only", "Dice", 0.12),
        ("hybrid", "self-training", "AUC", 0.10),
        ("hybrid", "V = 1", "Dice", 0.0),
    )
    for first, second, metric, least in margins:
        gain = mean[first][metric] - mean[second][metric]
        bar = f">= {least:+.2f}" if least else "> 0"
        ok = gain >= least if least else gain > 0
        table.append(
            {"name": f"{first} minus {second}: {metric}", "value": gain, "unit": "", "bar": bar, "ok": ok, "note": ""}
        )
    return table
