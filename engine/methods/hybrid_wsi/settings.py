"""Settings of hybrid supervision: the recipe of a training; the options of a prediction stand in `options`.

The defaults are the published ones (arXiv 2107.00934 and its released code); where nothing was stated, the
help text says "recommended". This module imports no torch: the window makes its forms from it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from ...method import Recipe, setting
from .options import HybridOptions

__all__ = ["SUPERVISION", "HybridOptions", "HybridRecipe", "Supervision"]

Supervision = Literal["hybrid", "pixel_only", "self_training", "max_pool_mil", "attention_mil"]
SUPERVISION: dict[str, str] = {
    "hybrid": "hybrid supervision",
    "pixel_only": "pixel labels only",
    "self_training": "self-training",
    "max_pool_mil": "max-pool MIL",
    "attention_mil": "gated-attention MIL",
}
"""What a training learns from, in words."""
ROUNDS = {"supervision": ("hybrid", "self_training")}
CORRECTED = {"supervision": ("hybrid",)}
BAGS = {"supervision": ("max_pool_mil", "attention_mil")}
SCORED = {"supervision": ("hybrid", "pixel_only", "self_training")}
FORMER = {"pixel_labels_only": "pixel_only", "self_training": "self_training"}
"""Switches of recipes before 0.2 -> the supervision that they stand for."""


class HybridRecipe(Recipe):
    """How to train: the patch network, the rounds of E- and M-steps, the slide classifier."""

    # ---- Supervision ---------------------------------------------------------------------------------------
    supervision: Supervision = setting(
        "hybrid",
        "Learn from",
        "Hybrid supervision: outlines and slide labels (the method). The others are baselines with the same network and as "
        "many tiles seen in training. Pixel labels only: outlines alone. Self-training: outlines, and the network's own maps "
        "where there are none, not corrected by slide labels. Max-pool MIL: slide labels alone, a slide is as positive as its "
        "most suspicious tile. Gated-attention MIL: slide labels alone, the network learns which tiles of a slide to look at.",
        group="Supervision",
        words=SUPERVISION,
    )
    bag_tiles: int = setting(
        16,
        "Tiles per bag",
        "Tiles of a slide that a step looks at. Max-pool MIL: the most suspicious one of them is trained on, so a step takes as "
        "many slides as the batch has crops. Gated-attention MIL: all of them are, so a step takes batch / this many slides.",
        unit="tiles",
        group="Supervision",
        when=BAGS,
        ge=1,
        le=1024,
    )

    # ---- Network -------------------------------------------------------------------------------------------
    network: Literal["dla34", "unet"] = setting(
        "dla34",
        "Network",
        "dla34 is the published network (18 M weights); unet is a small one for quick runs on a CPU.",
        group="Network",
    )
    width: int = setting(
        8,
        "U-Net width",
        "Channels of the first scale of the small network.",
        unit="channels",
        group="Network",
        ge=4,
        le=128,
    )
    imagenet_weights: str | None = setting(
        None,
        "ImageNet weights",
        "File of ImageNet DLA-34 weights (dla34-ba72cf86.pth, timm's dla34) for the backbone; empty: random.",
        group="Network",
    )
    initial_checkpoint: str | None = setting(
        None,
        "Start from",
        "Opsin checkpoint of this method, or published weights, to start the patch network from.",
        group="Network",
        advanced=True,
    )
    mpp: float = setting(
        0.25,
        "Resolution",
        "Slides are read at this resolution, so that 20x and 40x scans mix; 0: level 0 as it is.",
        unit="µm/px",
        group="Network",
        ge=0,
        le=16,
    )
    tile: int = setting(
        1024,
        "Tile",
        "Side of the window that slides over the tissue.",
        unit="px",
        group="Network",
        ge=32,
        le=4096,
        multiple_of=32,
    )

    # ---- Pixel training ------------------------------------------------------------------------------------
    batch_size: int = setting(
        32, "Batch", "Crops per training step.", unit="crops", group="Pixel training", ge=1, le=1024
    )
    accumulate: int = setting(
        1,
        "Parts per batch",
        "The batch goes through the network in this many parts, to save memory; batch norm sees one part.",
        group="Pixel training",
        ge=1,
        le=256,
        advanced=True,
    )
    learning_rate: float = setting(
        1e-3, "Learning rate", "Adam, constant, no weight decay.", group="Pixel training", gt=0, le=1
    )
    crop_min: int = setting(
        384,
        "Smallest crop",
        "Random square crops have sides from here (at most the tile) to the tile's.",
        unit="px",
        group="Pixel training",
        ge=16,
        le=4096,
    )
    crop: int = setting(
        768,
        "Network input",
        "Crops are resized to this side; a multiple of 32.",
        unit="px",
        group="Pixel training",
        ge=32,
        le=4096,
        multiple_of=32,
    )
    scale_augmentation: bool = setting(
        True,
        "Vary the scale",
        "Random crop size; off: crops of the network's input size.",
        group="Pixel training",
    )
    colour_augmentation: bool = setting(
        True,
        "Vary the colours",
        "Brightness, contrast, sharpness, hue, saturation and channel shifts of the published recipe.",
        group="Pixel training",
    )
    initial_epochs: float = setting(
        3.0,
        "Epochs of round 0",
        "Passes over the outlined tiles before the first round (recommended).",
        unit="epochs",
        group="Pixel training",
        unless="steps_initial",
        gt=0,
        le=1000,
    )
    steps_initial: int | None = setting(
        None,
        "Steps of round 0",
        "Number of steps instead of epochs; empty: from the epochs.",
        unit="steps",
        group="Pixel training",
        ge=1,
        le=10_000_000,
        advanced=True,
    )

    # ---- Rounds --------------------------------------------------------------------------------------------
    rounds: int = setting(
        3,
        "Rounds",
        "How often the network proposes pixel labels, has them corrected by the slide labels, and trains on.",
        unit="rounds",
        group="Rounds",
        ge=0,
        le=50,
    )
    epochs: float = setting(
        3.0,
        "Epochs per round",
        "An epoch has as many samples as there are outlined tiles.",
        unit="epochs",
        group="Rounds",
        unless="steps_round",
        gt=0,
        le=1000,
    )
    steps_round: int | None = setting(
        None,
        "Steps per round",
        "Number of steps instead of epochs; empty: from the epochs.",
        unit="steps",
        group="Rounds",
        ge=1,
        le=10_000_000,
        advanced=True,
    )
    overlap: float = setting(
        1 / 6,
        "Overlap",
        "Share of a tile that overlaps with the next one.",
        group="Rounds",
        ge=0,
        le=0.9,
        advanced=True,
    )
    select_round: bool = setting(
        True,
        "Keep the best round",
        "Keep the round whose slide classifier explains the training labels best; off: keep the last round.",
        group="Rounds",
        when=SCORED,
    )

    # ---- Image labels --------------------------------------------------------------------------------------
    threshold: float = setting(
        0.4,
        "Tile threshold T",
        "Tiles without a probability of T or more are removed: of negative slides the false alarms stay.",
        group="Image labels",
        when=ROUNDS,
        ge=0,
        le=1,
    )
    reweighting: float = setting(
        4.0,
        "Re-weighting V",
        "On positive slides uncertain pixels are multiplied by V: false negatives turn positive.",
        group="Image labels",
        when=CORRECTED,
        ge=1,
        le=100,
    )
    clip: float = setting(
        0.01,
        "Cut off below",
        "Pseudo labels of positive slides below this become exactly 0.",
        group="Image labels",
        when=CORRECTED,
        ge=0,
        le=1,
        advanced=True,
    )
    negative_upto: int = setting(
        40,
        "Share of negatives",
        "Of 101 draws, how many take a tile of a negative slide (part of the sampling ratio R).",
        unit="of 101",
        group="Image labels",
        when=ROUNDS,
        ge=0,
        le=101,
    )
    positive_upto: int = setting(
        50,
        "Up to pseudo-positives",
        "Draws u with negatives < u < this take a pseudo-positive tile; the others take outlined tiles (R).",
        unit="of 101",
        group="Image labels",
        when=ROUNDS,
        ge=0,
        le=101,
    )

    # ---- Slide classifier ----------------------------------------------------------------------------------
    stage2: bool = setting(
        True,
        "Train it",
        "Train a classifier on the K most suspicious tiles; off: slide score = mean of the K tile maxima.",
        group="Slide classifier",
        when=SCORED,
    )
    K: int = setting(
        10,
        "Tiles per slide K",
        "The tiles with the largest maximum probability (recommended: 10).",
        unit="tiles",
        group="Slide classifier",
        when=SCORED,
        ge=1,
        le=1000,
    )
    stage2_tile: int = setting(
        0,
        "Window",
        "Side of the window around a tile's maximum that the classifier sees; 0: the whole tile.",
        unit="px",
        group="Slide classifier",
        when=SCORED,
        ge=0,
        le=4096,
        multiple_of=32,
        advanced=True,
    )
    stage2_epochs: int = setting(
        10,
        "Epochs",
        "Passes over the training slides (recommended: 10).",
        unit="epochs",
        group="Slide classifier",
        when=SCORED,
        ge=1,
        le=1000,
    )
    stage2_batch: int = setting(
        2,
        "Slides per batch",
        "Recommended: 2.",
        unit="slides",
        group="Slide classifier",
        when=SCORED,
        ge=1,
        le=256,
        advanced=True,
    )
    stage2_lr: float = setting(
        1e-4,
        "Learning rate",
        "Adam; recommended: 0.0001.",
        group="Slide classifier",
        when=SCORED,
        gt=0,
        le=1,
        advanced=True,
    )

    # ---- Ablations -----------------------------------------------------------------------------------------
    hard_negatives: bool = setting(
        True,
        "Hard negatives",
        "Train on what the network wrongly finds in negative slides.",
        group="Ablations",
        when=CORRECTED,
    )
    removal: bool = setting(
        True,
        "Remove tiles below T",
        "Off: every tile with tissue is kept (as if T were 0).",
        group="Ablations",
        when=ROUNDS,
    )

    @model_validator(mode="before")
    @classmethod
    def _former_switches(cls, values: Any) -> Any:
        """Read recipes with the two switches there were before `supervision`."""
        if not isinstance(values, dict) or not any(name in values for name in FORMER):
            return values
        left = {name: value for name, value in values.items() if name not in FORMER}
        on = [FORMER[name] for name in FORMER if _is_on(values.get(name))]
        if len(on) == 2:
            raise ValueError("'pixel_labels_only' and 'self_training' are two baselines; choose one")
        if on and left.get("supervision", "hybrid") not in ("hybrid", *on):
            raise ValueError(f"'supervision: {left['supervision']}' and '{on[0]}' are two baselines; choose one")
        return {**left, "supervision": on[0]} if on else left

    @property
    def pixel_labels_only(self) -> bool:
        return self.supervision == "pixel_only"

    @property
    def self_training(self) -> bool:
        return self.supervision == "self_training"

    @property
    def from_bags(self) -> bool:
        """Tell whether slide labels alone are learnt from, a slide being a bag of tiles (multiple-instance learning)."""
        return self.supervision in BAGS["supervision"]

    def keeps_maps(self, label: int | None) -> bool:
        """Tell whether an E-step keeps its maps of a slide with this label: of negative slides only the places matter."""
        return not self.from_bags and (bool(label) or self.self_training)

    @property
    def classifies(self) -> bool:
        """Tell whether a slide classifier is trained; the two baselines of bags answer for slides by themselves."""
        return self.stage2 and not self.from_bags

    @property
    def tile_threshold(self) -> float:
        """T as the E-step uses it: 0 when tiles are not to be removed."""
        return self.threshold if self.removal else 0.0


def _is_on(value: Any) -> bool:
    return value is True or (isinstance(value, str | int) and str(value).lower() in ("true", "yes", "on", "1"))
