"""What multiple-instance learning draws from: bags of tiles of slides with a label, as many positive as negative ones.

Sampling is stateless: the batch of a step is drawn from the seed, the round and the step alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ...errors import OpsinError, RunError
from .augment import augment
from .heat import TileScore
from .settings import HybridRecipe
from .tiles import EStep, Opened, Window, cut, fine_windows
from .tissue import grid, slide_tissue

NO_BAGS = (
    "Multiple-instance learning needs training slides of both labels, positive and negative, with tissue: give slides their "
    "label and train again."
)


class Bags:
    """Draws the bags of a round.

    A bag holds `recipe.bag_tiles` tiles of one slide. From the second round on half of them are drawn from the twice as many
    that the network found most suspicious at the end of the round before, the rest from all: a large slide's few tumour
    tiles, and the false alarms of a negative one, come up in every bag, and nothing is left out for good.

    Parameters
    ----------
    proposals : slide index -> the scores of its tiles; empty in round 0.
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
        self.opened, self.recipe, self.round, self.problem = opened, recipe, round, problem
        slides = slides_per_step(recipe)
        if slides < world:
            raise RunError(f"A batch of {slides} slides cannot be shared by {world} processes.")
        self.first, self.last = slides * rank // world, slides * (rank + 1) // world
        self.stream = [rank] if world > 1 else []
        self.tiles: dict[int, list[Window]] = {}
        self.hard: dict[int, list[Window]] = {}
        self.fine_count = 0
        for index, sample in enumerate(opened.samples):
            try:
                if sample.outlined or sample.labels is not None:  # for the length of an epoch alone
                    self.fine_count += sum(map(len, fine_windows(index, opened, states, sample.outlined)))
                if sample.label is None:
                    continue
                scores = proposals[index].scores if index in proposals else self._grid(index)
            except OpsinError as error:
                problem(str(error))
                continue
            if scores:
                self.tiles[index] = [Window(index, s.x, s.y, s.size, s.size) for s in scores]
            if index in proposals:
                best = sorted(scores, key=lambda s: (-s.p, s.x, s.y))[: 2 * recipe.bag_tiles]
                self.hard[index] = [Window(index, s.x, s.y, s.size, s.size) for s in best]
        self.slides = [[i for i in self.tiles if opened.samples[i].label == label] for label in (0, 1)]
        if not all(self.slides):
            raise RunError(NO_BAGS)
        self.fine_count = self.fine_count or sum(map(len, self.slides))

    def __str__(self) -> str:
        negative, positive = map(len, self.slides)
        return f"{positive} positive and {negative} negative bags, {sum(map(len, self.tiles.values()))} tiles"

    def _grid(self, index: int) -> list[TileScore]:
        slide, labels = self.opened[index]
        size = self.opened.scale(index).size
        region = labels.roi() if labels is not None else None
        tissue = slide_tissue(slide, size)
        tiles = grid(tissue, slide.width, slide.height, size, self.recipe.overlap, region=region)
        return [TileScore(x, y, side, 0.0, x, y) for x, y, side in tiles]

    def draw(self, rng: np.random.Generator, label: int) -> tuple[int, list[Window]]:
        """Draw a slide of a label and the tiles of its bag; a tile comes twice only where a slide has too few."""
        slides = self.slides[label]
        index = slides[int(rng.integers(len(slides)))]
        everything, hard = self.tiles[index], self.hard.get(index, [])
        count = self.recipe.bag_tiles
        chosen: list[Window] = []
        if hard:
            chosen = [hard[i] for i in rng.permutation(len(hard))[: count // 2]]
        taken = set(chosen)
        rest = [window for window in (everything[i] for i in rng.permutation(len(everything))) if window not in taken]
        chosen += rest[: count - len(chosen)]
        while len(chosen) < count:
            chosen.append(everything[int(rng.integers(len(everything)))])
        return index, chosen

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """Return "image" float32 [S, N, 3, crop, crop] and "label" float32 [S] of a step (in a team: its part)."""
        rng = np.random.default_rng([self.recipe.seed, self.round, step, *self.stream])
        first = step % 2  # with an odd number of slides the labels take turns
        bags, labels = [], []
        for place in range(self.first, self.last):
            label = (place + first) % 2
            bags.append(self._bag(rng, label))
            labels.append(float(label))
        return {"image": torch.from_numpy(np.stack(bags)), "label": torch.tensor(labels)}

    def _bag(self, rng: np.random.Generator, label: int) -> np.ndarray:
        misses = 0
        while True:
            _, windows = self.draw(rng, label)
            images: list[np.ndarray] = []
            for window in windows:
                try:
                    images.append(self.example(rng, window))
                except OpsinError as error:
                    self.problem(str(error))
                    misses += 1
                    if misses > 20:
                        raise
            if images:  # for a tile that cannot be read another one of the bag comes twice
                return np.stack([images[i % len(images)] for i in range(len(windows))])

    def example(self, rng: np.random.Generator, window: Window) -> np.ndarray:
        """Cut and augment one tile, as outlined tiles are: float32 [3, crop, crop] in [0, 1]."""
        recipe = self.recipe
        image, *_ = cut(rng, self.opened, recipe, window)
        target = np.zeros(image.shape[:2], np.float32)
        return augment(rng, image, target, recipe.crop, colour=recipe.colour_augmentation)[0]


def slides_per_step(recipe: HybridRecipe) -> int:
    """Return how many bags a step takes, so that as many tiles are learnt from as with the other kinds of supervision."""
    if recipe.supervision == "max_pool_mil":  # of each bag one tile
        return recipe.batch_size
    return max(1, recipe.batch_size // recipe.bag_tiles)
