"""Prediction by gated-attention MIL: tiles are looked at one by one, then the slide is answered for as a whole.

What is shown at a place is σ(instance logit there) · a / max(a): how positive the bag's classifier finds the place, times the
attention of its tile relative to the tile of the slide that has the most. The slide's score is σ(Σ a · instance score).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np

from ...data.slides import Slide
from ...labels.roi import Region
from ...results import Heatmap
from ...runs import Run
from ...tiles import TilePyramid
from .heat import Rect, SlideHeat, predict_slide
from .merge import Merger, Tile
from .mil import AttentionMIL, bag_answer
from .model import for_inference
from .tissue import Scale, slide_tissue


def attend(
    model: AttentionMIL,
    slide: Slide,
    scale: Scale,
    run: Run,
    *,
    overlap: float,
    batch: int,
    precision: str,
    heatmap: Heatmap,
    pyramid: TilePyramid,
    view: Rect | None = None,
    region: Region | None = None,
) -> tuple[SlideHeat, float | None]:
    """Run gated-attention MIL over the tissue of a slide; parameters as in `heat.predict_slide`.

    Returns
    -------
    the weighted tile maxima, and the slide's probability: None without a tile, or when the user stopped it, for the attention
    of a tile depends on all others; then there is no map either.
    """
    tiles: list[Tile] = []
    values: list[tuple[float, float]] = []
    with tempfile.TemporaryFile() as file:  # of a large slide the maps would not fit into memory
        shape = (0, 0)

        def keep(tile: Tile, p: np.ndarray) -> None:
            nonlocal shape
            shape = p.shape[1:]
            tiles.append(tile)
            values.append((float(p[1, 0, 0]), float(p[2, 0, 0])))
            file.write(p[0].astype(np.float16).tobytes())

        heat = predict_slide(
            model, slide, scale, run, overlap=overlap, batch=batch, precision=precision, view=view, keep=keep,
            prepared=for_inference(model, run.device), region=region,
        )  # fmt: skip
        if run.stopping or not tiles:
            return heat, None
        attention, scores = np.array(values).T
        score, weights = bag_answer(attention, scores)
        file.seek(0)
        with Merger(pyramid, tiles, overlap, slide_tissue(slide, scale.size), region) as merger:
            for number, (tile, weight) in enumerate(zip(tiles, weights)):
                p = np.frombuffer(file.read(2 * shape[0] * shape[1]), np.float16).reshape(shape)
                merger.add(tile, p.astype(np.float32) * np.float32(weight))
                for rect in merger.write(force=number + 1 == len(tiles)):
                    run.region(heatmap, "heat map", rect)
    weighted = [replace(one, p=one.p * float(weight)) for one, weight in zip(heat.scores, weights)]
    return SlideHeat(weighted, heat.skipped), score
