"""Settings of LIFE: the recipe of a training, the options of a prediction. This module imports no torch.

The defaults are those of the successor's training (arXiv 2209.08896 and its code), which keeps LIFE's network and central loss;
LIFE's own training was never released. What is nowhere stated has "recommended" in its help.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from ...method import Options, Recipe, setting

Supervision = Literal["weak", "warps", "epipolar", "photometric", "flow"]
SUPERVISION: dict[str, str] = {
    "weak": "poses and warps",
    "warps": "warps alone",
    "epipolar": "poses alone",
    "photometric": "brightness and warps",
    "flow": "true flow",
}
_POSED = {"supervision": ("weak", "epipolar")}
_WARPED = {"supervision": ("weak", "warps", "photometric")}


class LifeRecipe(Recipe):
    """How to train: what is learnt from, the network, the steps."""

    supervision: Supervision = setting(
        "weak",
        "Learn from",
        "Poses and warps: the method. Pairs with poses give the epipolar distance, known warps of photographs the rest. Warps "
        "alone need no poses and see no change of light; poses alone leave motion along the line free; brightness compares "
        "colours, which a change of light misleads. True flow: supervised, on pairs with ground truth.",
        group="Supervision",
        words=SUPERVISION,
    )
    cycle_weight: float = setting(
        0.1,
        "Cycle weight",
        "Weight of the consistency of both directions; 0 leaves it out (recommended).",
        group="Supervision",
        when={"supervision": ("weak", "epipolar", "photometric")},
        ge=0,
        le=10,
    )
    cycle_after: float = setting(
        0.2,
        "Cycle after",
        "Share of the steps after which the consistency counts (recommended).",
        group="Supervision",
        when={"supervision": ("weak", "epipolar", "photometric")},
        ge=0,
        le=1,
        advanced=True,
    )
    epipolar_form: Literal["root", "sum"] = setting(
        "root",
        "Epipolar distance",
        "root: root of the sum of both squared distances, as in the code; sum: sum of both distances, as in the text.",
        group="Supervision",
        when=_POSED,
        advanced=True,
    )
    warp_strength: float = setting(
        1.0,
        "Warp strength",
        "Scales the range of the random warps; 1 is published.",
        group="Supervision",
        when=_WARPED,
        gt=0,
        le=1,
        advanced=True,
    )

    network: Literal["basic", "small", "tiny"] = setting(
        "basic",
        "Network",
        "basic is the published network (5.3 M weights), small its small variant (1 M); tiny works at a quarter of the "
        "resolution and is for a CPU.",
        group="Network",
    )
    initial_checkpoint: str | None = setting(
        None,
        "Start from",
        "Opsin checkpoint, run folder, or a released file of LIFE or RAFT (.pth); empty: random weights.",
        group="Network",
    )
    colours: Literal["RGB", "BGR"] = setting(
        "RGB",
        "Colour order",
        "Order of the channels that the network sees; the checkpoint it starts from overrules it.",
        group="Network",
        advanced=True,
    )
    freeze_norm: Literal["auto", "yes", "no"] = setting(
        "auto",
        "Freeze batch norm",
        "Keep the statistics of batch norm; auto: where a training starts from a checkpoint and the batch is below 4.",
        group="Network",
        advanced=True,
    )

    steps: int = setting(100_000, "Steps", "Training steps.", unit="steps", group="Training", ge=1, le=10_000_000)
    batch_size: int = setting(12, "Batch", "Pairs per step.", unit="pairs", group="Training", ge=1, le=256)
    accumulate: int = setting(
        1, "Parts per batch", "The batch goes through in so many parts, to save memory.", group="Training", ge=1, le=256,
        advanced=True,
    )  # fmt: skip
    height: int = setting(
        480,
        "Height",
        "Pictures are resized to this height.",
        unit="px",
        group="Training",
        ge=64,
        le=4096,
        multiple_of=8,
    )
    width: int = setting(
        640, "Width", "Pictures are resized to this width.", unit="px", group="Training", ge=64, le=4096, multiple_of=8
    )
    iterations: int = setting(12, "Iterations", "Updates of the flow per pair.", group="Training", ge=1, le=64)
    learning_rate: float = setting(
        1e-4,
        "Learning rate",
        "Peak of the one-cycle schedule: 5 % rise, then linear fall.",
        group="Training",
        gt=0,
        le=1,
    )
    weight_decay: float = setting(5e-5, "Weight decay", "Of AdamW.", group="Training", ge=0, le=1, advanced=True)
    clip: float = setting(
        1.0, "Gradient limit", "Largest norm of the gradient.", group="Training", gt=0, le=1000, advanced=True
    )
    gamma: float = setting(
        0.8, "Weight of earlier iterations", "Each iteration weighs so much of the next one.", group="Training", gt=0, le=1,
        advanced=True,
    )  # fmt: skip
    memory: Literal["auto", "volume", "on_demand"] = setting(
        "auto",
        "Correlation",
        "volume: all pairs at once, fast; on_demand: little memory; auto: by the free memory.",
        group="Training",
        advanced=True,
    )
    preview_every: int = setting(
        2000, "Judge every", "Steps between looks at held-out pairs; 0: only at the end.", unit="steps", group="Training",
        ge=0, le=1_000_000,
    )  # fmt: skip

    @model_validator(mode="after")
    def _large_enough(self) -> Any:
        least = 64 if self.network == "tiny" else 128
        if min(self.height, self.width) < least:
            raise ValueError(f"height and width are at least {least} px for the network '{self.network}'")
        return self


class LifeOptions(Options):
    """How to predict: iterations, memory, what to write."""

    second: str | None = setting(None, "Second picture", "The picture that the flow points into.", group="")
    item: str | None = setting(None, "Item", "Name under which results are kept.", group="")
    iterations: int = setting(12, "Iterations", "Updates of the flow.", group="Flow", ge=1, le=64)
    format: Literal["flo", "png", "pfm", "npy", "npz"] = setting(
        "flo", "Format", "flo is exact; png is KITTI's, to 1/64 px and up to 512 px.", group="Flow"
    )
    backward: bool = setting(
        False,
        "Both directions",
        "Also find the flow back and say where the two agree (visible) and by how much they differ.",
        group="Flow",
    )
    memory: Literal["auto", "volume", "on_demand"] = setting(
        "auto",
        "Correlation",
        "volume: all pairs at once, fast; on_demand: little memory; auto: by the free memory. The log says which.",
        group="Memory",
    )
    half_first: Literal["auto", "yes", "no"] = setting(
        "auto",
        "Half size first",
        "Find large motion at half the size, then refine; auto: above two megapixels.",
        group="Memory",
        advanced=True,
    )
    colours: Literal["auto", "RGB", "BGR"] = setting(
        "auto",
        "Colour order",
        "Order of the channels that the weights expect; auto: what the checkpoint says (LIFE: BGR, RAFT: RGB).",
        group="Reading",
        advanced=True,
    )
    centred: bool = setting(
        True,
        "Exact centres",
        "Where the sizes differ, pixel centres keep their places; off: as published, up to half a pixel beside them.",
        group="Reading",
        advanced=True,
    )
