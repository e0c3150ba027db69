"""Hybrid supervision against four baselines, the card's small-scale proof: three seeds, as many tiles trained on for each

All train the same network (3-scale U-Net, width 8), on 600 x 16 tiles of 64 px with gradient: one tile forward and backward
is what is counted. Looking without gradient is not: the E-steps over all slides at three times, which all but the pixel
labels have, and max-pool MIL's choice of one tile out of eight. Pixel labels only: 600 steps on outlined tiles. Hybrid and
self-training: 150 steps, then three rounds of 150. Both kinds of MIL: the same four parts, no pixel label at all, slide
labels alone (the outlined slides count by their slide label); max-pool MIL trains on the most suspicious tile of 16 slides a
step, gated attention on four slides of four tiles (of bags of 4, 8 and 16 tiles 4 was the best on the tuning slides: AUC
0.985, 0.937, 0.362 at 1e-3; of no other kind more than the learning rate was tuned). Measured twice: all at the card's
learning rate (1e-3), for which it gives margins, and each kind at the rate that was the best of three on tuning slides
(`tune_supervision`). Slide score: the maximum of the 9 x 9-averaged pixel map (card), of MIL its own answer. Dice at 0.5,
pooled over the positive test slides; of gated attention of the map as it is shown, instance probability times relative
attention.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from opsin.engine.methods.hybrid_wsi.attend import attend
from opsin.engine.methods.hybrid_wsi.heat import infer, map_base, predict_slide
from opsin.engine.methods.hybrid_wsi.made import SIDE, MadeSample, MadeSlides
from opsin.engine.methods.hybrid_wsi.mil import AttentionMIL, tile_probability
from opsin.engine.methods.hybrid_wsi.model import for_inference
from opsin.engine.methods.hybrid_wsi.published import Trained, unpack
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.tissue import scale_of
from opsin.engine.methods.hybrid_wsi.train import train
from opsin.engine.metrics.roc import auc, full_sensitivity
from opsin.engine.metrics.segmentation import Overlap
from opsin.engine.results import Heatmap
from opsin.engine.runs import Run
from opsin.engine.tiles import TilePyramid
from tests.benchmarks.measured import measured

RECIPE = HybridRecipe(
    network="unet", width=8, mpp=0, tile=64, crop=64, crop_min=64, scale_augmentation=False, colour_augmentation=False,
    batch_size=16, steps_initial=150, steps_round=150, rounds=3, stage2=False, select_round=False, bag_tiles=8,
)  # fmt: skip
CARD_RATE = 1e-3
"""The card's learning rate, for which it gives the margins."""
RATES = {"hybrid": 3e-3, "pixel_only": 3e-3, "self_training": 3e-4, "max_pool_mil": 3e-4, "attention_mil": 1e-3}
"""The learning rates that `tune_supervision` found."""
VARIANTS: dict[str, dict[str, Any]] = {
    "pixel labels only": {"supervision": "pixel_only"},
    "self-training": {"supervision": "self_training"},
    "max-pool MIL": {"supervision": "max_pool_mil"},
    "gated-attention MIL": {"supervision": "attention_mil", "bag_tiles": 4},
    "hybrid": {"supervision": "hybrid"},
    "V = 1": {"supervision": "hybrid", "reweighting": 1.0},
}
METRICS = ("AUC", "specificity at 100 % sensitivity", "Dice")


def recipe_of(seed: int, variant: str, recipe: HybridRecipe = RECIPE, rate: float | None = None) -> HybridRecipe:
    """Return the recipe of one variant, at its tuned learning rate or at `rate`."""
    change = VARIANTS[variant]
    rate = RATES[change["supervision"]] if rate is None else rate
    return recipe.model_copy(update={**change, "seed": seed, "learning_rate": rate})


def measure(recipe: HybridRecipe, weak: int = 40, test: int = 50) -> dict[str, float]:
    """Train on the world of the recipe's seed and return the metrics on its test slides."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        data = MadeSlides(recipe.seed, Path(name) / "world", weak, test)
        trained = unpack(train(recipe, data, Run()))
    answer = Answer(trained)
    scores, labels, overlap = [], [], Overlap()
    for sample in data.testing:
        score, p = answer(sample)
        scores.append(score)
        labels.append(sample.label)
        if sample.label:
            overlap.add(p >= 0.5, sample.truth)
    point = full_sensitivity(np.array(labels), np.array(scores))
    area = auc(np.array(labels), np.array(scores))
    assert point is not None and area is not None
    return dict(zip(METRICS, (area, point.specificity, overlap.dice or 0.0)))


def piece(seed: int, variant: str, recipe: HybridRecipe = RECIPE, rate: float | None = None) -> dict[str, float]:
    """Return the metrics of one variant on one seed, from the log where it has them."""
    recipe = recipe_of(seed, variant, recipe, rate)
    return measured("card", seed, variant, recipe, lambda: measure(recipe))


class Answer:
    """Gives the score and the map, float [256, 256], of a slide."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.network = for_inference(trained.patch)
        self.attention = AttentionMIL(trained.patch, trained.bag) if trained.bag is not None else None

    def __call__(self, sample: MadeSample) -> tuple[float, np.ndarray]:
        if self.attention is not None:
            return self._attended(self.attention, sample)
        p = infer(self.network, sample.pixels[None], "cpu")[0]
        if self.trained.recipe.from_bags:
            return self._highest_tile(sample), p
        return float(cv2.blur(p, (9, 9)).max()), p

    def _highest_tile(self, sample: MadeSample) -> float:
        recipe, found = self.trained.recipe, []
        with sample.open() as slide:
            predict_slide(
                self.trained.patch, slide, scale_of(slide, 0, recipe.tile), Run(), overlap=recipe.overlap,
                keep=lambda tile, p: found.append(tile_probability(p)), prepared=self.network,
            )  # fmt: skip
        return max(found)

    def _attended(self, network: AttentionMIL, sample: MadeSample) -> tuple[float, np.ndarray]:
        recipe = self.trained.recipe
        with tempfile.TemporaryDirectory() as name, sample.open() as slide:
            path, scale = Path(name) / "heat", scale_of(slide, 0, recipe.tile)
            base = map_base(scale, network.stride)
            with TilePyramid.create(path, SIDE, SIDE, base=base, reduce="mean", meta={"kind": "heat"}) as pyramid:
                _, score = attend(
                    network, slide, scale, Run(), overlap=recipe.overlap, batch=64, precision="float32",
                    heatmap=Heatmap(path), pyramid=pyramid,
                )  # fmt: skip
                stored = pyramid.region(0, 0, 0, *pyramid.level_size(0)).astype(np.float64)
        assert score is not None
        p = np.maximum(stored - 1, 0) / 254
        return score, np.kron(p, np.ones((base, base)))


def rows(quick: bool) -> list[dict[str, Any]]:
    """Measure all variants, at the card's learning rate and at the tuned ones. Quick: one seed, a fifth of the steps."""
    seeds = (1,) if quick else (1, 2, 3)
    recipe = RECIPE.model_copy(update={"steps_initial": 30, "steps_round": 30}) if quick else RECIPE
    card: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    tuned: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for seed in seeds:  # seed by seed, so that what is cut off has all sides of some seeds
        for variant in VARIANTS:
            rate = RATES[VARIANTS[variant]["supervision"]]
            card[variant].append(piece(seed, variant, recipe, CARD_RATE))
            tuned[variant].append(card[variant][-1] if rate == CARD_RATE else piece(seed, variant, recipe, rate))
    return table(card, tuned)


def table(card: dict[str, list[dict[str, float]]], tuned: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Return the rows of RESULTS.md: at the card's parameters with the margins of its section 9, then tuned, without a bar."""
    shown: list[dict[str, Any]] = []

    def row(name: str, value: float, note: str = "", bar: str = "", ok: bool | None = None) -> None:
        shown.append({"name": name, "value": value, "unit": "", "bar": bar, "ok": ok, "note": note})

    for found, how in ((card, ""), (tuned, ", tuned")):
        mean = {v: {m: float(np.mean([r[m] for r in results])) for m in METRICS} for v, results in found.items()}
        for variant, results in found.items():
            rate = CARD_RATE if found is card else RATES[VARIANTS[variant]["supervision"]]
            for metric in METRICS:
                seeds = " / ".join(f"{r[metric]:.2f}" for r in results)
                row(f"{variant}{how}: {metric}", mean[variant][metric], f"seeds {seeds}; learning rate {rate:g}")
        margins = (
            ("pixel labels only", "AUC", 0.10),
            ("pixel labels only", "specificity at 100 % sensitivity", 0.25),
            ("pixel labels only", "Dice", 0.12),
            ("self-training", "AUC", 0.10),
            ("V = 1", "Dice", 0.0),
            *((mil, metric, None) for mil in ("max-pool MIL", "gated-attention MIL") for metric in METRICS),
        )
        for second, metric, least in margins:
            gain = mean["hybrid"][metric] - mean[second][metric]
            name = f"hybrid minus {second}{how}: {metric}"
            if least is None:
                row(name, gain, "no bar: the card does not set hybrid above MIL")
            elif found is tuned:
                row(name, gain, "no bar: the card's is for its own learning rate")
            else:
                row(name, gain, "", f">= {least:+.2f}" if least else "> 0", gain >= least if least else gain > 0)
    return shown
