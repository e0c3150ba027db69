"""Settings of hybrid supervision: the recipe of a training and the options of a prediction.

The defaults are the published ones (arXiv 2107.00934 and its released code); where nothing was stated, the
help text says "recommended". This module imports no torch: the window makes its forms from it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ...method import Options, Recipe, setting

GROUPS = ("Network", "Pixel training", "Rounds", "Image labels", "Slide classifier", "Ablations")


class HybridRecipe(Recipe):
    """How to train: the patch network, the rounds of E- and M-steps, the slide classifier."""

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
    )

    # ---- Image labels --------------------------------------------------------------------------------------
    threshold: float = setting(
        0.4,
        "Tile threshold T",
        "Tiles without a probability of T or more are removed: of negative slides the false alarms stay.",
        group="Image labels",
        ge=0,
        le=1,
    )
    reweighting: float = setting(
        4.0,
        "Re-weighting V",
        "On positive slides uncertain pixels are multiplied by V: false negatives turn positive.",
        group="Image labels",
        ge=1,
        le=100,
    )
    clip: float = setting(
        0.01,
        "Cut off below",
        "Pseudo labels of positive slides below this become exactly 0.",
        group="Image labels",
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
        ge=0,
        le=101,
    )
    positive_upto: int = setting(
        50,
        "Up to pseudo-positives",
        "Draws u with negatives < u < this take a pseudo-positive tile; the others take outlined tiles (R).",
        unit="of 101",
        group="Image labels",
        ge=0,
        le=101,
    )

    # ---- Slide classifier ----------------------------------------------------------------------------------
    stage2: bool = setting(
        True,
        "Train it",
        "Train a classifier on the K most suspicious tiles; off: slide score = mean of the K tile maxima.",
        group="Slide classifier",
    )
    K: int = setting(
        10,
        "Tiles per slide K",
        "The tiles with the largest maximum probability (recommended: 10).",
        unit="tiles",
        group="Slide classifier",
        ge=1,
        le=1000,
    )
    stage2_tile: int = setting(
        0,
        "Window",
        "Side of the window around a tile's maximum that the classifier sees; 0: the whole tile.",
        unit="px",
        group="Slide classifier",
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
        ge=1,
        le=1000,
    )
    stage2_batch: int = setting(
        2,
        "Slides per batch",
        "Recommended: 2.",
        unit="slides",
        group="Slide classifier",
        ge=1,
        le=256,
        advanced=True,
    )
    stage2_lr: float = setting(
        1e-4,
        "Learning rate",
        "Adam; recommended: 0.0001.",
        group="Slide classifier",
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
    )
    removal: bool = setting(
        True,
        "Remove tiles below T",
        "Off: every tile with tissue is kept (as if T were 0).",
        group="Ablations",
    )
    pixel_labels_only: bool = setting(
        False,
        "Outlines only",
        "The baseline: train on outlined tiles alone, with as many steps as all rounds together.",
        group="Ablations",
    )
    self_training: bool = setting(
        False,
        "Ignore slide labels",
        "The baseline: the network's own maps are the labels of the rounds, not corrected by slide labels.",
        group="Ablations",
    )

    @model_validator(mode="after")
    def _one_baseline(self) -> HybridRecipe:
        if self.pixel_labels_only and self.self_training:
            raise ValueError("'Outlines only' and 'Ignore slide labels' are two baselines; choose one")
        return self

    @property
    def tile_threshold(self) -> float:
        """T as the E-step uses it: 0 when tiles are not to be removed."""
        return self.threshold if self.removal else 0.0


class HybridOptions(Options):
    """How to predict: what to compute and how the slide is scored."""

    threshold: float = setting(
        0.5,
        "Threshold",
        "Pixels at or above this probability count as positive in areas, outlines and pixel metrics.",
        group="Heat map",
        gt=0,
        lt=1,
    )
    overlap: float = setting(
        1 / 6,
        "Overlap",
        "Share of a tile that overlaps with the next one; overlaps are averaged.",
        group="Heat map",
        ge=0,
        le=0.9,
    )
    mpp: float | None = setting(
        None,
        "Resolution",
        "Work at this resolution; empty: the one the network was trained at; 0: level 0 as it is.",
        unit="µm/px",
        group="Reading",
        ge=0,
        le=16,
        advanced=True,
    )
    slide_mpp: float | None = setting(
        None,
        "Slide's own resolution",
        "Resolution of level 0 where the file does not say it, or says it wrongly.",
        unit="µm/px",
        group="Reading",
        gt=0,
        le=100,
    )
    tile: int | None = setting(
        None,
        "Tile",
        "Side of the window; empty: as in training.",
        unit="px",
        group="Reading",
        ge=32,
        le=8192,
        multiple_of=32,
        advanced=True,
    )
    batch: int = setting(
        16, "Batch", "Tiles per pass through the network.", unit="tiles", group="Reading", ge=1, le=1024
    )
    ensemble: str | None = setting(
        None,
        "Further networks",
        "Run folders or checkpoints of other trainings, separated by ';': the mean of all their maps is taken.",
        group="Heat map",
        advanced=True,
    )
    base: int | None = setting(
        None,
        "Map resolution",
        "Level-0 pixels per map pixel, a power of two; empty: about half the network's resolution.",
        unit="px",
        group="Heat map",
        ge=1,
        le=1024,
        advanced=True,
    )
    score: Literal["auto", "classifier", "maxima"] = setting(
        "auto",
        "Slide score from",
        "classifier: the trained top-K classifier; maxima: mean of the K tile maxima; auto: what there is.",
        group="Slide score",
    )
    K: int | None = setting(
        None,
        "Tiles per slide K",
        "How many tiles the score rests on; empty: as in training.",
        unit="tiles",
        group="Slide score",
        ge=1,
        le=1000,
        advanced=True,
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "Precision",
        "Number format of the network; auto: 16 bit on a GPU that is good at it, else float32.",
        group="Reading",
        advanced=True,
    )

    # ---- said by the window, not by the user ---------------------------------------------------------------
    view: tuple[float, float, float, float] | None = setting(
        None, "Looked at", "x, y, width, height in level-0 px: tiles nearest to it come first.", group="", advanced=True
    )
    item: str | None = setting(None, "Item", "Name under which the results are reported.", group="", advanced=True)

    @model_validator(mode="after")
    def _power_of_two(self) -> HybridOptions:
        if self.base is not None and self.base & (self.base - 1):
            raise ValueError("the map resolution must be a power of two")
        return self
