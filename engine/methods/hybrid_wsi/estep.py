"""The E-step over one slide: what the network finds there, for training and to be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...results import Heatmap
from ...runs import Run
from ...tiles import TilePyramid
from .heat import SlideHeat, map_base, predict_slide
from .mil import AttentionMIL
from .model import PatchNetwork
from .settings import HybridRecipe
from .tiles import Opened, quantised

INFERENCE_BATCH = 16  # tiles per pass in the E-step, as published


class Looking:
    """Runs the network of a training over its slides and shows what it finds as it comes."""

    def __init__(self, recipe: HybridRecipe, run: Run, folder: Path, model: PatchNetwork | AttentionMIL) -> None:
        self.recipe, self.run, self.folder, self.model = recipe, run, folder, model

    def title(self, round: int) -> str:
        """Name under which the maps before a round are shown."""
        return f"tile scores, round {round}" if self.recipe.from_bags else pseudo_labels(round)

    def preview_path(self, trained: int, sample: Any) -> Path:
        return self.folder / "previews" / f"round_{trained + 1}" / f"{sample.id}.heat"

    def show(self, path: Path, trained: int, sample: Any) -> Heatmap:
        name = self.title(trained + 1)
        heatmap = Heatmap(path, name, self.recipe.threshold)
        self.run.preview(heatmap, name, item=sample.id, round=trained + 1)
        return heatmap

    def over_slide(
        self,
        opened: Opened,
        index: int,
        network: PatchNetwork | AttentionMIL | None,
        trained: int,
        show: bool,
        with_maps: bool,
        problems: list[str],
    ) -> tuple[SlideHeat, dict[tuple[int, int], np.ndarray]]:
        """Run the network over a slide; return the tile scores and, by corner, the maps of the tiles that stay."""
        recipe, run = self.recipe, self.run
        slide, labels = opened[index]
        scale = opened.scale(index)
        if scale.warning and trained == 0:
            problems.append(scale.warning)
        maps: dict[tuple[int, int], np.ndarray] = {}

        def keep(tile: tuple[int, int, int], p: np.ndarray) -> None:
            if p.max() >= recipe.tile_threshold:
                maps[tile[0], tile[1]] = quantised(p)

        heatmap = pyramid = None
        if show and run.folder is not None:
            sample = opened.samples[index]
            path = self.preview_path(trained, sample)
            path.parent.mkdir(parents=True, exist_ok=True)
            for end in ("", "-wal", "-shm"):
                path.with_name(path.name + end).unlink(missing_ok=True)
            base = map_base(scale, self.model.stride)
            pyramid = TilePyramid.create(
                path, slide.width, slide.height, base=base, reduce="mean", meta={"kind": "heat"}
            )
            heatmap = self.show(path, trained, sample)
        try:
            heat = predict_slide(
                self.model, slide, scale, _NoProgress(run), overlap=recipe.overlap, batch=INFERENCE_BATCH,
                precision="float32" if recipe.precision == "float32" else recipe.precision, heatmap=heatmap,
                pyramid=pyramid, keep=keep if with_maps else None, name=self.title(trained + 1), prepared=network,
                region=labels.roi() if labels is not None else None,
            )  # fmt: skip
        finally:
            if pyramid is not None:
                pyramid.close()
        return heat, maps


def pseudo_labels(round: int) -> str:
    """Name under which the pseudo labels of a round are shown."""
    return f"pseudo labels, round {round}"


class _NoProgress(Run):
    """The same run, whose progress is counted in slides and not in tiles."""

    def __init__(self, run: Run) -> None:
        self.__dict__ = run.__dict__

    def progress(self, done: float, total: float, what: str) -> None:
        """Said nothing: the E-step counts slides."""
