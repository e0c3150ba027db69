"""What the M-step draws from: outlined tiles, tiles of negative slides, pseudo-positive tiles, in the published mix.

Sampling is stateless: the batch of a step is drawn from the seed, the round and the step alone.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ...data.slides import Slide
from ...errors import OpsinError
from ...files import replacing
from ...labels.store import LabelStore
from ...tiles import TILE
from .augment import augment, window_in
from .data import EXCLUDED, UNLABELLED
from .heat import SlideHeat, TileScore
from .losses import IGNORED
from .pseudo import pseudo_label
from .settings import HybridRecipe
from .tissue import Scale, grid, scale_of, slide_tissue

Box = tuple[float, float, float, float]
OPEN_SLIDES = 128
STRIDE = 0.75  # published: windows of 1024 with stride 768 over an annotation's box


@dataclass(frozen=True)
class Window:
    """A training tile: index of the slide, corner and sides in level-0 px, index into the slide's maps (-1: none)."""

    slide: int
    x: float
    y: float
    width: float
    height: float
    map: int = -1


class Opened:
    """The slides and frozen labels of a round, opened when needed; may be used from several threads."""

    def __init__(self, samples: Sequence[Any], recipe: HybridRecipe) -> None:
        self.samples, self.recipe = samples, recipe
        self._slides: OrderedDict[int, tuple[Slide, LabelStore | None]] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> tuple[Slide, LabelStore | None]:
        with self._lock:
            if index not in self._slides:
                sample = self.samples[index]
                self._slides[index] = (sample.open(), sample.open_labels())
                if len(self._slides) > OPEN_SLIDES:
                    # not closed here: another thread may be reading; the last reference closes it
                    self._slides.popitem(last=False)
            self._slides.move_to_end(index)
            return self._slides[index]

    def scale(self, index: int) -> Scale:
        return scale_of(self[index][0], self.recipe.mpp, self.recipe.tile)

    def close(self) -> None:
        with self._lock:
            for slide, labels in self._slides.values():
                slide.close()
                if labels is not None:
                    labels.close()
            self._slides.clear()


class EStep:
    """What the E-step leaves of one slide: the scores of all tiles, and the 8-bit maps of those with max(p) >= T.

    Attributes
    ----------
    kept : int [N], places in `scores` of the tiles that stay.
    maps : uint8 [N, h, w] (255 = probability 1), read from disk as needed; None where only the places matter. (Anything
        that gives a map by its number will do: `corrections.Chosen`.)
    """

    def __init__(self, scores: list[TileScore], kept: np.ndarray, maps: np.ndarray | None, skipped: int) -> None:
        self.scores, self.kept, self.maps, self.skipped = scores, kept, maps, skipped

    @staticmethod
    def save(path: Path, heat: SlideHeat, threshold: float, maps: dict[tuple[int, int], np.ndarray] | None) -> None:
        """Write ``path`` (.npz, last, so its presence says that all is there) and, with `maps`, ``path``.npy beside it."""
        kept = [i for i, s in enumerate(heat.scores) if s.p >= threshold]
        if maps is not None:
            chosen = [maps[heat.scores[i].x, heat.scores[i].y] for i in kept]
            shape = (len(chosen), *(chosen[0].shape if chosen else (1, 1)))
            with replacing(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for one in chosen:
                    file.write(one.tobytes())
        table = np.array([(s.x, s.y, s.size, s.p, s.px, s.py) for s in heat.scores], np.float64).reshape(-1, 6)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file, scores=table, kept=np.array(kept, np.int64), skipped=heat.skipped, with_maps=maps is not None
            )

    @classmethod
    def load(cls, path: Path) -> EStep:
        with np.load(path, allow_pickle=False) as file:
            scores = [TileScore(int(x), int(y), int(s), p, px, py) for x, y, s, p, px, py in file["scores"].tolist()]
            kept, skipped, with_maps = file["kept"], int(file["skipped"]), bool(file["with_maps"])
        maps = None
        if with_maps:
            # an empty file cannot be mapped
            maps = np.load(path.with_suffix(".npy"), mmap_mode="r" if len(kept) else None, allow_pickle=False)
        return cls(scores, kept, maps, skipped)


def quantised(p: np.ndarray) -> np.ndarray:
    """Return a map as it is stored: uint8, rounded (the published code truncates)."""
    return np.rint(p * 255).astype(np.uint8)


def fine_windows(index: int, opened: Opened, states: np.ndarray, outlined: bool) -> tuple[list[Window], list[Window]]:
    """Return (positive, negative) outlined tiles of one slide (method card, section 4.1).

    Positive: windows over the bounding box of each connected positive region, stride 3/4 tile, or one window centred on a
    region that is smaller than a tile. Negative: grid tiles with tissue that touch no such box. On a slide that is not
    outlined completely: windows over regions painted as positive or negative, as far as they hold a labelled pixel.
    """
    slide, labels = opened[index]
    size = opened.scale(index).size
    step = 1 << min(9, int(math.log2(max(1, size // 64))))
    boxes: list[Box] = []
    others: list[Box] = []
    marked = np.zeros((0, 0), bool)
    region = labels.roi() if labels is not None else None
    if labels is not None:
        positive, negative = label_blocks(labels, states, step)
        boxes, marked = regions(positive, step), positive | negative
        if not outlined:
            others = regions(negative, step)
    first = [window for box in boxes for window in _over(index, box, size)]
    if not outlined:
        second = [window for box in others for window in _over(index, box, size)]
        return [w for w in first if _marked(marked, step, w)], [w for w in second if _marked(marked, step, w)]
    second = [
        Window(index, x, y, size, size)
        for x, y, _ in grid(slide_tissue(slide, size), slide.width, slide.height, size, 0.0, region=region)
        if not any(x < b[2] and x + size > b[0] and y < b[3] and y + size > b[1] for b in boxes)
    ]
    return first, second


def label_blocks(labels: LabelStore, states: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where a label store holds positive and negative pixels: two bool maps of blocks of `step` level-0 px.

    No pixel is missed, however coarse the blocks are; those outside the slide's regions of interest do not count. `step` is a
    power of two up to 512.
    """
    side = TILE // step
    rows, columns = -(-labels.height // TILE), -(-labels.width // TILE)
    found = np.zeros((2, rows * side, columns * side), bool)
    region = labels.roi()
    for row, column in labels.keys(0):
        at = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
        if region is not None and not region.touches(column * TILE, row * TILE, TILE, TILE):
            continue
        value = labels.uniform(0, row, column)
        if value is not None and (region is None or region.covers(column * TILE, row * TILE, TILE, TILE)):
            if states[value] in (0, 1):
                found[(1 - int(states[value]), *at)] = True
            continue
        values = states[labels.tile(0, row, column)]
        if region is not None:
            values = np.where(region.mask(column * TILE, row * TILE, TILE, TILE), values, EXCLUDED)
        marked = values.reshape(side, step, side, step)
        found[(0, *at)] = (marked == 1).any((1, 3))
        found[(1, *at)] = (marked == 0).any((1, 3))
    height, width = -(-labels.height // step), -(-labels.width // step)
    return found[0, :height, :width], found[1, :height, :width]


def regions(blocks: np.ndarray, step: int) -> list[Box]:
    """Return the bounding boxes (x0, y0, x1, y1; level-0 px) of the 8-connected regions of a map of blocks."""
    found, _ = ndimage.label(blocks, np.ones((3, 3)))
    return [
        (columns.start * step, rows.start * step, columns.stop * step, rows.stop * step)
        for rows, columns in ndimage.find_objects(found)
    ]


def _marked(blocks: np.ndarray, step: int, window: Window) -> bool:
    x0, y0 = max(0, math.floor(window.x / step)), max(0, math.floor(window.y / step))
    x1, y1 = math.ceil((window.x + window.width) / step), math.ceil((window.y + window.height) / step)
    return bool(blocks[y0:y1, x0:x1].any())


def _over(index: int, box: Box, size: int) -> list[Window]:
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    if width > size and height > size:
        return [
            Window(index, min(x, x1 - size), min(y, y1 - size), size, size)
            for x in np.arange(x0, x1 - size * (1 - STRIDE), size * STRIDE)
            for y in np.arange(y0, y1 - size * (1 - STRIDE), size * STRIDE)
        ]
    w, h = max(width, size), max(height, size)
    return [Window(index, (x0 + x1 - w) / 2, (y0 + y1 - h) / 2, w, h)]


def cut(
    rng: np.random.Generator, opened: Opened, recipe: HybridRecipe, window: Window
) -> tuple[np.ndarray, float, float, float]:
    """Cut a random crop out of a training tile: uint8 [h, w, 3], and its corner and side on the slide, level-0 px."""
    slide, _ = opened[window.slide]
    scale = opened.scale(window.slide)
    ds = scale.downsample
    width, height = (max(scale.tile, round(side / ds)) for side in (window.width, window.height))
    if recipe.scale_augmentation:
        smallest = min(recipe.crop_min, scale.tile)
        left, top, side = window_in(rng, width, height, scale.tile, smallest)
    else:
        side = min(recipe.crop, scale.tile)
        left, top = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
    x, y = window.x + left * ds, window.y + top * ds
    return slide.read_scaled(x, y, side, side, ds), x, y, side * ds


class Mix:
    """Draws the samples of a round in the ratio R and turns them into batches.

    Parameters
    ----------
    proposals : slide index -> its stored E-step tiles; empty in round 0.
    rank, world : of a team of `world` processes this one makes its own part of every batch.
    """

    def __init__(
        self,
        opened: Opened,
        states: np.ndarray,
        recipe: HybridRecipe,
        round: int,
        proposals: dict[int, EStep],
        problem: Callable[[str], None],
        rank: int = 0,
        world: int = 1,
    ) -> None:
        size = recipe.batch_size
        self.size = size * (rank + 1) // world - size * rank // world
        self.stream = [rank] if world > 1 else []
        self.opened, self.states, self.recipe, self.round = opened, states, recipe, round
        self.proposals, self.problem = proposals, problem
        positive: list[Window] = []
        negative: list[Window] = []
        hard: list[Window] = []
        pseudo: list[Window] = []
        for index, sample in enumerate(opened.samples):
            if sample.outlined or sample.labels is not None:
                try:
                    found = fine_windows(index, opened, states, sample.outlined)
                except OpsinError as error:
                    problem(str(error))
                    continue
                positive += found[0]
                negative += found[1]
            proposed = proposals.get(index)
            if proposed is None:
                continue
            for place, number in enumerate(proposed.kept.tolist()):
                score = proposed.scores[number]
                window = Window(index, score.x, score.y, score.size, score.size, place)
                if recipe.self_training or sample.label == 1:
                    pseudo.append(window)
                elif sample.label == 0 and recipe.hard_negatives:
                    hard.append(window)
        self.fine = [windows for windows in (positive, negative) if windows]
        self.negative = hard
        self.positive = pseudo
        self._kinds = {id(hard): "negative", id(pseudo): "positive"}

    @property
    def fine_count(self) -> int:
        return sum(map(len, self.fine))

    def __str__(self) -> str:
        return f"{self.fine_count} outlined tiles, {len(self.negative)} of negative slides, {len(self.positive)} pseudo-positive"

    def draw(self, rng: np.random.Generator) -> tuple[str, Window]:
        """Draw one sample: u uniform in 0..100; u < 40 negative, 40 < u < 50 pseudo-positive, otherwise outlined."""
        u = int(rng.integers(0, 101))
        recipe = self.recipe
        kind, windows = "fine", self.fine[int(rng.integers(len(self.fine)))] if self.fine else []
        if recipe.self_training:
            if u != recipe.negative_upto and u < recipe.positive_upto and self.positive:
                kind, windows = "self", self.positive
        elif u < recipe.negative_upto and self.negative:
            kind, windows = "negative", self.negative
        elif recipe.negative_upto < u < recipe.positive_upto and self.positive:
            kind, windows = "positive", self.positive
        return kind, windows[int(rng.integers(len(windows)))]

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """Return "image" float32 [B, 3, crop, crop] and "target" float32 [B, crop, crop] of a step (in a team: its part)."""
        rng = np.random.default_rng([self.recipe.seed, self.round, step, *self.stream])
        images: list[np.ndarray] = []
        targets: list[np.ndarray] = []
        misses = 0
        while len(images) < self.size:
            kind, window = self.draw(rng)
            try:
                image, target = self.example(rng, kind, window)
            except OpsinError as error:
                self.problem(str(error))
                misses += 1
                if misses > 20:
                    raise
                continue
            images.append(image)
            targets.append(target)
        return {"image": torch.from_numpy(np.stack(images)), "target": torch.from_numpy(np.stack(targets))}

    def example(self, rng: np.random.Generator, kind: str, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Cut, label and augment one training example."""
        recipe = self.recipe
        image, x, y, side = cut(rng, self.opened, recipe, window)
        target = self.target(kind, window, x, y, side)
        return augment(rng, image, target, recipe.crop, colour=recipe.colour_augmentation)

    def target(self, kind: str, window: Window, x: float, y: float, side: float) -> np.ndarray:
        """Return float32 [crop, crop] in [0, 1], IGNORED where a pixel does not count."""
        recipe = self.recipe
        sample = self.opened.samples[window.slide]
        centres = (np.arange(recipe.crop) + 0.5) * side / recipe.crop
        if kind == "fine":
            target = np.full((recipe.crop, recipe.crop), IGNORED, np.float32)
        elif kind == "negative":
            target = np.zeros((recipe.crop, recipe.crop), np.float32)
        else:
            maps = self.proposals[window.slide].maps
            assert maps is not None
            stored = maps[window.map]
            rows = np.clip((y + centres - window.y) * stored.shape[0] / window.height, 0, stored.shape[0] - 1)
            columns = np.clip((x + centres - window.x) * stored.shape[1] / window.width, 0, stored.shape[1] - 1)
            p = stored[np.ix_(rows.astype(int), columns.astype(int))]
            if kind == "self":
                target = p.astype(np.float32) / 255
            else:
                target = pseudo_label(p, "positive", recipe.reweighting, recipe.clip)
        own = self._states(window.slide, x + centres, y + centres)
        # what was outlined wins over what was proposed, also when it was corrected after the proposal
        target[own == 1] = 1
        target[own == 0] = 0
        if sample.outlined:
            target[own == UNLABELLED] = 0
        target[own == EXCLUDED] = IGNORED
        return target

    def _states(self, index: int, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """Return the pixel states int8 [len(ys), len(xs)] at level-0 places; EXCLUDED outside the slide."""
        slide, labels = self.opened[index]
        return pixel_states(slide, labels, self.states, xs, ys)


def pixel_states(
    slide: Slide, labels: LabelStore | None, states: np.ndarray, xs: np.ndarray, ys: np.ndarray
) -> np.ndarray:
    """Return the pixel states int8 [len(ys), len(xs)] at level-0 places (ascending).

    EXCLUDED outside the slide, and outside its regions of interest where it has any.

    Parameters
    ----------
    states : int8 [256], label value -> 1, 0, UNLABELLED or EXCLUDED.
    """
    inside = ((ys >= 0) & (ys < slide.height))[:, None] & ((xs >= 0) & (xs < slide.width))[None]
    if labels is None:
        found = np.full((len(ys), len(xs)), UNLABELLED, np.int8)
    else:
        # A pixel of level k stands for the one at its upper left corner, so the nearest of these is taken, not the one
        # around the place: that would shift outlines. A level finer than needed keeps what is left below a quarter.
        step = (xs[-1] - xs[0]) / max(1, len(xs) - 1)
        level = min(labels.levels - 1, max(0, int(math.log2(max(1.0, step))) - 1))
        columns, rows = (
            np.clip(np.floor((places - 0.5) / (1 << level) + 0.5), 0, side - 1).astype(int)
            for places, side in zip((xs, ys), labels.level_size(level))
        )
        x0, y0 = int(columns[0]), int(rows[0])
        window = x0, y0, int(columns[-1]) - x0 + 1, int(rows[-1]) - y0 + 1
        at = np.ix_(rows - y0, columns - x0)
        found = states[labels.region(level, *window)[at]]
        region = labels.roi()
        if region is not None:
            step0 = 1 << level
            counts = region.mask(x0 * step0, y0 * step0, window[2], window[3], step0)
            found = np.where(counts[at], found, EXCLUDED)
    return np.where(inside, found, EXCLUDED)
