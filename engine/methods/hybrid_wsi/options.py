"""Options of a prediction: what to compute and how the slide is scored.

This module imports no torch: the window makes its forms from it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ...method import Options, setting


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

    regions: str | None = setting(
        None,
        "Regions of interest",
        "Label file (.labels) of the slide: outside its regions of interest nothing is read, shown or scored.",
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
