"""Prediction on one slide: a heat map that grows while it is computed, then the slide's score."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ...checkpoints import Checkpoint
from ...data.slides import Slide, open_slide
from ...errors import RunError
from ...files import remove_companions
from ...labels.roi import Region
from ...labels.store import LabelStore
from ...results import NO_TILES, NO_TISSUE, Heatmap, Result, SlideScore
from ...runs import Run
from ...tiles import TilePyramid
from .attend import attend
from .heat import SlideHeat, TileScore, inside, map_base, predict_slide
from .merge import Tile
from .mil import AttentionMIL, tile_probability
from .model import Ensemble, PatchNetwork, for_inference
from .published import Trained, load_trained, unpack
from .settings import SUPERVISION, HybridOptions, HybridRecipe
from .stage2 import classify, read_tiles
from .tissue import Scale, scale_of

BAG_ANSWERS = {"max_pool_mil": "most suspicious tile (max-pool MIL)", "attention_mil": "gated attention over all tiles"}
"""What a slide's score rests on where multiple-instance learning answers."""


def predict(checkpoint: Checkpoint, sample: Path, options: HybridOptions, run: Run) -> Iterator[Result]:
    """Yield a `Heatmap` and a `SlideScore` for the slide at `sample`.

    With `options.ensemble` the map is the mean over several trainings, taken before the tiles for the slide's score are
    chosen (method card, section 4.3). Which slide classifier then scores is not stated: here the mean over all that there are.
    The map is written to ``<run folder>/<item or stem>.heat`` (a temporary folder without one), the score beside it as JSON.
    When the user stops it, the part of the map that was computed stays, and there is no score; when it fails before the map
    is complete, nothing stays.
    """
    trained = unpack(checkpoint)
    recipe = trained.recipe
    others = [unpack(load_trained(Path(name.strip()))) for name in (options.ensemble or "").split(";") if name.strip()]
    network: PatchNetwork | Ensemble | AttentionMIL = trained.patch
    if trained.bag is not None:
        network = AttentionMIL(trained.patch, trained.bag)
    if others:
        _check_alike(trained, others)
        network = Ensemble([trained.patch, *(other.patch for other in others)])
    mpp = recipe.mpp if options.mpp is None else options.mpp
    folder = run.folder if run.folder is not None else Path(tempfile.mkdtemp(prefix="opsin-"))
    with open_slide(sample, mpp=options.slide_mpp) as slide:
        scale = scale_of(slide, mpp, options.tile or recipe.tile)
        if scale.warning:
            run.message(scale.warning, "warning")
        stem = options.item or Path(sample).stem
        path = folder / f"{stem}.heat"
        _remove(path)
        base = options.base or map_base(scale, network.stride)
        heatmap = Heatmap(path, "Probability", options.threshold)
        try:
            with TilePyramid.create(
                path, slide.width, slide.height, base=base, reduce="mean", meta={"kind": "heat", "mpp": slide.mpp}
            ) as pyramid:
                run.preview(heatmap, "heat map", slide=str(sample), item=options.item)
                heat, answer_of_bag = _look(network, slide, scale, run, options, heatmap, pyramid, recipe)
                area = positive_area(pyramid, options.threshold, slide.mpp)
        except BaseException:
            _remove(path)
            raise
        if heat.skipped:
            run.message(f"{Path(sample).name}: {heat.skipped} tiles could not be read and were left out.", "warning")
        yield heatmap
        if run.stopping:
            return
        best = heat.top(options.K or recipe.K)
        score: float | None
        if answer_of_bag is not None and options.score != "maxima":
            score, source = answer_of_bag, BAG_ANSWERS[recipe.supervision]
        else:
            score, source = _score(slide, scale, [trained, *others], heat, best, options, run)
    tiles = [(t.x, t.y, t.size, t.p) for t in best]
    answer = SlideScore(None, Path(sample).name, score, source, tiles, area, heat.skipped)
    if run.folder is not None:
        answer.path = folder / f"{stem}.score.json"
        answer.save(answer.path)
    yield answer


def _look(
    network: PatchNetwork | Ensemble | AttentionMIL,
    slide: Slide,
    scale: Scale,
    run: Run,
    options: HybridOptions,
    heatmap: Heatmap,
    pyramid: TilePyramid,
    recipe: HybridRecipe,
) -> tuple[SlideHeat, float | None]:
    """Make the heat map; return the tile maxima and, from multiple-instance learning, its answer for the slide."""
    how: dict[str, Any] = {
        "overlap": options.overlap, "batch": options.batch, "precision": options.precision, "heatmap": heatmap,
        "pyramid": pyramid, "view": options.view, "region": regions_of(options.regions, slide, options.item is not None),
    }  # fmt: skip
    if isinstance(network, AttentionMIL):
        return attend(network, slide, scale, run, **how)
    highest: list[float] = []

    def keep(tile: Tile, p: np.ndarray) -> None:
        highest.append(tile_probability(inside(tile, p, slide)))

    pools = recipe.supervision == "max_pool_mil"
    prepared = for_inference(network, run.device)
    heat = predict_slide(network, slide, scale, run, **how, keep=keep if pools else None, prepared=prepared)
    return heat, max(highest, default=None)


def _score(
    slide: Slide,
    scale: Scale,
    trained: list[Trained],
    heat: SlideHeat,
    best: list[TileScore],
    options: HybridOptions,
    run: Run,
) -> tuple[float | None, str]:
    """Return the slide's score and what it rests on; None, and why, for a slide of which nothing was seen."""
    if not best:
        reason = NO_TILES if heat.skipped else NO_TISSUE
        run.message(f"{slide.path.name} has no score: {reason}.", "warning")
        return None, reason
    maxima = heat.mean_of_maxima(len(best))
    able = [(one.slide, one.recipe.stage2_tile) for one in trained if one.slide is not None]
    if able and options.score != "maxima":
        scores = [classify(network, read_tiles(slide, best, scale, side), run.device) for network, side in able]
        known = [score for score in scores if score is not None]
        if known:
            return float(np.mean(known)), "top-K classifier" if len(known) == 1 else f"{len(known)} top-K classifiers"
        run.message(
            f"{slide.path.name}: the tiles for the classifier cannot be read; its score is the mean of the tile maxima.",
            "warning",
        )
    elif options.score == "classifier":
        run.message("This checkpoint has no slide classifier; the score is the mean of the K tile maxima.", "warning")
    return maxima, "mean of the K tile maxima"


def _check_alike(trained: Trained, others: list[Trained]) -> None:
    """`RunError` when networks cannot be averaged: other resolution, tile or resolution of their maps."""
    if trained.bag is not None:
        raise RunError("The maps of gated-attention MIL cannot be averaged: each network attends to other tiles.")
    for other in others:
        for what, first, second in (
            ("µm per pixel", trained.recipe.mpp, other.recipe.mpp),
            ("tile size", trained.recipe.tile, other.recipe.tile),
            ("kind of network", trained.recipe.network, other.recipe.network),
            ("supervision", _pooling(trained), _pooling(other)),
        ):
            if first != second:
                raise RunError(
                    f"The maps of these networks cannot be averaged: their {what} differs ({first} and {second})."
                )


def _pooling(trained: Trained) -> str:
    """Return what a map's values mean: averaged are only those that mean the same."""
    return SUPERVISION[trained.recipe.supervision] if trained.recipe.from_bags else "pixel maps"


def regions_of(path: str | None, slide: Slide, may_be_missing: bool = False) -> Region | None:
    """Return the regions of interest in a label file; None where no file is named, or it has none.

    Parameters
    ----------
    may_be_missing : a file that is not there means none: of a workspace's slide that has no labels (any more).

    Raises
    ------
    LabelError : the file cannot be read.
    RunError : it is not there, or belongs to a slide of another size.
    """
    if not path:
        return None
    if not Path(path).is_file():
        if may_be_missing:
            return None
        raise RunError(f"The regions of interest cannot be read: {path} is no file.")
    with closing(LabelStore.open(Path(path), readonly=True)) as store:
        if (store.width, store.height) != (slide.width, slide.height):
            raise RunError(
                f"{path} holds labels of a slide of {store.width} x {store.height} pixels, {slide.path.name} has "
                f"{slide.width} x {slide.height}."
            )
        return store.roi()


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
