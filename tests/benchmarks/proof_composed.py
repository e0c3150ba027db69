"""Hybrid supervision against four baselines on slides composed of real lymph node patches: cell AUC, three seeds

Twenty slides (``wsi/composed`` of the folder in OPSIN_DATA) go into a workspace as a user would put them there: 14 to train on
with their slide labels, the outlines (ASAP XML) of two of them imported and called complete, 6 to look at. The same small
network is trained by each kind of supervision on 600 x 16 tiles with gradient. Measured twice: all at the learning rate of the
method card (1e-3), and each kind at the rate that was the best for it on the card's tuning slides (`tune_supervision`); nothing
was tuned on these slides. Hybrid is the method whole: the slide classifier of each round selects the round by its loss on the
training slides. The baselines know what they may: outlines alone (pixel labels only, self-training: the last round), slide labels
alone (both kinds of multiple-instance learning: the last round). What counts is the area under the ROC curve over the tissue
cells of 96 px of the six slides; a cell's score is the mean of the heat map over it, which is what the window shows: of gated
attention instance probability times relative attention.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from opsin.engine.checkpoints import Checkpoint
from opsin.engine.errors import OpsinError
from opsin.engine.labels.exchange import class_mapping, import_annotations, read_annotations
from opsin.engine.methods.hybrid_wsi.predict import predict
from opsin.engine.methods.hybrid_wsi.settings import HybridOptions, HybridRecipe
from opsin.engine.metrics.roc import auc
from opsin.engine.results import Heatmap
from opsin.engine.runs import Run
from opsin.engine.tiles import TilePyramid
from opsin.engine.verbs import execute
from opsin.engine.workspace import Workspace
from tests.benchmarks.measured import measured
from tests.benchmarks.proof_hybrid import CARD_RATE, RATES

RECIPE = HybridRecipe(
    network="unet", width=8, mpp=1.944, tile=96, crop=96, crop_min=64, batch_size=16, bag_tiles=8,
    steps_initial=150, steps_round=150, rounds=3, K=4, stage2_epochs=16, stage2_lr=2e-3,
)  # fmt: skip
ALONE: dict[str, Any] = {"stage2": False, "select_round": False}
"""Of the maps alone, without the slide classifier, which learns from slide labels."""
VARIANTS: dict[str, dict[str, Any]] = {
    "pixel labels only": {"supervision": "pixel_only", **ALONE},
    "self-training": {"supervision": "self_training", **ALONE},
    "max-pool MIL": {"supervision": "max_pool_mil"},
    "gated-attention MIL": {"supervision": "attention_mil", "bag_tiles": 4},
    "hybrid": {"supervision": "hybrid"},
}


def slides_folder() -> Path:
    """Where the composed slides lie."""
    folder = os.environ.get("OPSIN_DATA")
    if not folder:
        raise OpsinError("Set OPSIN_DATA to the folder with the real samples; this proof reads them.")
    return Path(folder) / "wsi" / "composed"


def make_workspace(folder: Path, source: Path) -> list[dict[str, Any]]:
    """Put the slides into a workspace, import the outlines that may be used; return the facts of slides.json."""
    facts = json.loads((source / "slides.json").read_text())
    with Workspace.create(folder) as workspace:
        items = workspace.add([source / f"{fact['name']}.tif" for fact in facts])
        for item, fact in zip(items, facts):
            label = "positive" if fact["label"] else "negative"
            workspace.update(item.id, label=label, split=fact["split"], outlined=fact["pixel_labels"])
            if fact["pixel_labels"]:
                outlines = read_annotations(source / f"{fact['name']}.xml")
                store = workspace.labels(item)
                import_annotations(store, outlines, class_mapping(outlines, workspace.classes))
                store.flush()
    return facts


def cell_scores(checkpoint: Checkpoint, source: Path, fact: dict[str, Any]) -> tuple[list[float], list[bool]]:
    """Return, for the tissue cells of one slide, the mean of its heat map over the cell, and whether it is tumour."""
    scores, tumour = [], []
    cell = fact["cell"]
    with tempfile.TemporaryDirectory() as name:
        run = Run(Path(name))
        found = predict(checkpoint, source / f"{fact['name']}.tif", HybridOptions(), run)
        heat = next(r for r in found if isinstance(r, Heatmap))
        run.close()
        assert heat.path is not None
        with TilePyramid.open(heat.path, readonly=True) as pyramid:
            width, height = pyramid.level_size(0)
            stored = pyramid.region(0, 0, 0, width, height).astype(np.float64)
            step = cell // pyramid.base
    p = np.maximum(stored - 1, 0) / 254
    for row, line in enumerate(fact["grid"]):
        for column, kind in enumerate(line):
            if kind != ".":
                scores.append(float(p[row * step : (row + 1) * step, column * step : (column + 1) * step].mean()))
                tumour.append(kind == "t")
    return scores, tumour


def measure(recipe: HybridRecipe) -> float:
    """Train and return the cell AUC on the six validation slides."""
    torch.set_num_threads(1)
    source = slides_folder()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = make_workspace(folder / "workspace", source)
        arguments = {"data": str(folder / "workspace"), "run": str(folder / "run"), "recipe": recipe.model_dump()}
        state = execute(
            {"id": "proof", "verb": "train", "method": "hybrid_wsi", "arguments": arguments, "device": "cpu"}
        )
        if state != "done":
            raise OpsinError(f"The training ended as '{state}': " + (folder / "run" / "log.txt").read_text()[-500:])
        checkpoint = Checkpoint.load(folder / "run" / "checkpoints" / "final.safetensors", "hybrid_wsi")
    scores: list[float] = []
    tumour: list[bool] = []
    for fact in facts:
        if fact["split"] == "val":
            some, true = cell_scores(checkpoint, source, fact)
            scores += some
            tumour += true
    area = auc(np.array(tumour).astype(int), np.array(scores))
    assert area is not None
    return area


def piece(seed: int, variant: str, recipe: HybridRecipe = RECIPE, rate: float | None = None) -> float:
    """Return the cell AUC of one variant and seed, at its tuned learning rate or at `rate`, from the log where it has it."""
    change = VARIANTS[variant]
    rate = RATES[change["supervision"]] if rate is None else rate
    recipe = recipe.model_copy(update={"seed": seed, "learning_rate": rate, **change})
    return measured("composed", seed, variant, recipe, lambda: {"cell AUC": measure(recipe)})["cell AUC"]


def rows(quick: bool) -> list[dict[str, Any]]:
    """Measure all sides, at the card's learning rate and at the tuned ones. Quick: one seed, a fifth of the steps."""
    seeds = (1,) if quick else (1, 2, 3)
    change = {"steps_initial": 30, "steps_round": 30, "stage2_epochs": 2} if quick else {}
    recipe = RECIPE.model_copy(update=change)
    card: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    tuned: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for seed in seeds:
        for variant in VARIANTS:
            rate = RATES[VARIANTS[variant]["supervision"]]
            card[variant].append(piece(seed, variant, recipe, CARD_RATE))
            tuned[variant].append(card[variant][-1] if rate == CARD_RATE else piece(seed, variant, recipe, rate))
    return table(card, tuned)


def table(card: dict[str, list[float]], tuned: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return the rows of RESULTS.md of what was measured, seed by seed, of each variant: medians, every seed in the note."""
    shown: list[dict[str, Any]] = []

    def row(name: str, value: float, note: str = "", bar: str = "", ok: bool | None = None) -> None:
        shown.append({"name": name, "value": value, "unit": "", "bar": bar, "ok": ok, "note": note})

    for found, how in ((card, ""), (tuned, ", tuned")):
        median = {variant: float(np.median(values)) for variant, values in found.items()}
        for variant, values in found.items():
            rate = CARD_RATE if found is card else RATES[VARIANTS[variant]["supervision"]]
            seeds = " / ".join(f"{value:.3f}" for value in values)
            row(
                f"{variant}{how}: cell AUC, six validation slides",
                median[variant],
                f"seeds {seeds}; learning rate {rate:g}",
            )
        for variant in VARIANTS:
            if variant != "hybrid":
                gain = median["hybrid"] - median[variant]
                name = f"hybrid minus {variant}{how}: cell AUC"
                barred = variant == "pixel labels only"
                row(name, gain, "" if barred else "no bar", "> 0" if barred else "", gain > 0 if barred else None)
    return shown
