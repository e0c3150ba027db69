"""Prediction on one slide: a heat map that grows while it is computed, then the slide's score."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...checkpoints import Checkpoint
from ...data.slides import open_slide
from ...files import remove_companions
from ...results import Heatmap, Result, SlideScore
from ...runs import Run
from ...tiles import TilePyramid
from .heat import map_base, predict_slide
from .model import for_inference
from .published import unpack
from .settings import HybridOptions
from .stage2 import classify, read_tiles
from .tissue import scale_of


def predict(checkpoint: Checkpoint, sample: Path, options: HybridOptions, run: Run) -> Iterator[Result]:
    """Yield a `Heatmap` and a `SlideScore` for the slide at `sample`.

    The map is written to ``<run folder>/<item or stem>.heat`` (a temporary folder without one), the score beside it as JSON.
    When the user stops it, the part of the map that was computed stays, and there is no score; when it fails nothing stays.
    """
    trained = unpack(checkpoint)
    recipe = trained.recipe
    mpp = recipe.mpp if options.mpp is None else options.mpp
    folder = run.folder if run.folder is not None else Path(tempfile.mkdtemp(prefix="opsin-"))
    with open_slide(sample, mpp=options.slide_mpp) as slide:
        scale = scale_of(slide, mpp, options.tile or recipe.tile)
        if scale.warning:
            run.message(scale.warning, "warning")
        stem = options.item or Path(sample).stem
        path = folder / f"{stem}.heat"
        _remove(path)
        base = options.base or map_base(scale, trained.patch.stride)
        heatmap = Heatmap(path, "Probability", options.threshold)
        try:
            with TilePyramid.create(
                path, slide.width, slide.height, base=base, reduce="mean", meta={"kind": "heat"}
            ) as pyramid:
                run.preview(heatmap, "heat map", slide=str(sample), item=options.item)
                heat = predict_slide(
                    trained.patch,
                    slide,
                    scale,
                    run,
                    overlap=options.overlap,
                    batch=options.batch,
                    precision=options.precision,
                    heatmap=heatmap,
                    pyramid=pyramid,
                    view=options.view,
                    prepared=for_inference(trained.patch, run.device),
                )
                area = positive_area(pyramid, options.threshold, slide.mpp)
        except BaseException:
            _remove(path)
            raise
        if heat.skipped:
            run.message(f"{Path(sample).name}: {heat.skipped} tiles could not be read and were left out.", "warning")
        yield heatmap
        if run.stopping:
            return
        count = options.K or recipe.K
        best = heat.top(count)
        score, source = heat.mean_of_maxima(count), "mean of the K tile maxima"
        if trained.slide is not None and options.score != "maxima":
            images = read_tiles(slide, best, scale, recipe.stage2_tile)
            score, source = classify(trained.slide, images, run.device), "top-K classifier"
        elif options.score == "classifier":
            run.message(
                "This checkpoint has no slide classifier; the score is the mean of the K tile maxima.", "warning"
            )
    tiles = [(t.x, t.y, t.size, t.p) for t in best]
    answer = SlideScore(None, Path(sample).name, score, source, tiles, area, heat.skipped)
    if run.folder is not None:
        answer.path = folder / f"{stem}.score.json"
        answer.save(answer.path)
    yield answer


def _remove(path: Path) -> None:
    """Remove a heat map and what SQLite keeps beside it."""
    path.unlink(missing_ok=True)
    remove_companions(path)


def positive_area(pyramid: TilePyramid, threshold: float, mpp: float | None) -> float | None:
    """Return the area in mm² of all map pixels at or above `threshold`; None without µm per pixel."""
    if not mpp:
        return None
    least = int(np.ceil(threshold * 254)) + 1
    count = 0
    for row, column in pyramid.keys(0):
        tile = pyramid.tile(0, row, column)
        count += int((tile >= least).sum()) if tile is not None else 0
    return count * (pyramid.base * mpp / 1000) ** 2
