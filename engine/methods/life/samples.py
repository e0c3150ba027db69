"""What a training step of LIFE is made from: posed pairs, known warps of photographs, pairs with true flow.

Everything of a sample follows from the step's number and the sample's place in the batch, so a resumed training sees the same.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from ...data.pairs import Pair, PairSet, read_picture
from ...errors import RunError
from ...geometry.homography import GeometryError
from ...training import step_seed
from .estimate import tensor
from .settings import LifeRecipe
from .warps import random_grid, warped_pair

CACHE_BYTES = 512 << 20
Sample = dict[str, torch.Tensor]


def fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W, 3]; averaged where it becomes smaller."""
    if picture.shape[:2] == (height, width):
        return picture
    smaller = height * width < picture.shape[0] * picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def fitted_flow(flow: np.ndarray, known: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Resize a flow [H, W, 2] in size and value, each pixel taken from the nearest one; the second picture is resized alike."""
    rows, columns = flow.shape[:2]
    y = np.minimum(((np.arange(height) + 0.5) * rows / height).astype(int), rows - 1)
    x = np.minimum(((np.arange(width) + 0.5) * columns / width).astype(int), columns - 1)
    scale = np.array([width / columns, height / rows], np.float32)
    return flow[y[:, None], x] * scale, known[y[:, None], x]


class Samples:
    """The samples of a training, by step."""

    def __init__(self, recipe: LifeRecipe, data: PairSet, rank: int = 0, world: int = 1) -> None:
        """
        Raises
        ------
        RunError : the set holds nothing of what the recipe wants to learn from.
        """
        self.recipe = recipe
        self.places = range(rank, recipe.batch_size, world)
        pairs = data.training
        kind = recipe.supervision
        self.pairs: list[Pair] = []
        if kind in ("weak", "epipolar"):
            self.pairs = [p for p in pairs if p.views is not None]
            self._need(self.pairs, data, "pairs with poses", "warps alone")
        elif kind == "flow":
            self.pairs = [p for p in pairs if p.has_flow]
            self._need(self.pairs, data, "pairs with true flow", "warps alone")
        elif kind == "photometric":
            self.pairs = pairs
        self.photographs = data.photographs
        self._need(self.photographs, data, "pictures to train on", "another folder")
        size = recipe.height * recipe.width * 3
        self._picture = lru_cache(maxsize=max(4, CACHE_BYTES // size))(self._read)

    @staticmethod
    def _need(found: list, data: PairSet, what: str, instead: str) -> None:
        if not found:
            raise RunError(f"{data.path} holds no {what}: choose other data, or learn from {instead}.")

    def batch(self, step: int) -> Sample:
        """Return the batch of a step, float32 but for masks: tensors whose first dimension is the sample."""
        samples = [self.sample(step, place) for place in self.places]
        whole = {name: torch.stack([s[name] for s in samples]) for name in samples[0]}
        return {**whole, "step": torch.full((len(samples),), step)}

    def sample(self, step: int, place: int) -> Sample:
        """Return one sample; pictures are [3, H, W], 0..255, in the recipe's order of colours."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(step_seed(recipe.seed, "sample", step, place))
        sample: Sample = {}
        if self.pairs:
            sample, second = self._pair(self.pairs[self._draw(len(self.pairs), generator)])
        else:
            second = self._tensor(self.photographs[self._draw(len(self.photographs), generator)])
        if recipe.supervision in ("weak", "warps", "photometric"):
            sample |= self.warp(second, generator)
        return sample

    def warp(self, photograph: torch.Tensor, generator: torch.Generator) -> Sample:
        """Return the sample of a photograph and a known warp of it before another photograph."""
        recipe = self.recipe
        other = self._tensor(self.photographs[self._draw(len(self.photographs), generator)])
        grid = random_grid(recipe.height, recipe.width, generator, recipe.warp_strength)
        warped, forth, forth_known, back, back_known = warped_pair(photograph, other, grid)
        return {
            "photograph": photograph, "warped": warped, "forth": forth, "forth_known": forth_known, "back": back,
            "back_known": back_known,
        }  # fmt: skip

    def _pair(self, pair: Pair) -> tuple[Sample, torch.Tensor]:
        recipe = self.recipe
        height, width = recipe.height, recipe.width
        if recipe.supervision == "flow":
            first, second = pair.pictures()
            flow, known = pair.truth(first.shape, second.shape)
            sizes = np.array([first.shape[1] / second.shape[1], first.shape[0] / second.shape[0]])
            if (sizes != 1).any():  # the second picture is resized to the first one's size
                flow = _into_size_of_first(flow, sizes)
            flow, known = fitted_flow(flow, known, height, width)
            a, b = (tensor(fitted(p, height, width), recipe.colours)[0] for p in (first, second))
            truth = torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32))
            return {"first": a, "second": b, "flow": truth, "known": torch.from_numpy(known)}, b
        upright = pair.views is None
        a, b = (self._tensor(path, upright) for path in (pair.first, pair.second))
        sample = {"first": a, "second": b}
        if recipe.supervision != "photometric":
            try:
                matrix = pair.fundamental(width, height)
            except GeometryError as error:
                raise RunError(str(error)) from None
            sample["fundamental"] = torch.from_numpy(matrix).float()
        return sample, b

    def _tensor(self, path: Path, upright: bool | None = None) -> torch.Tensor:
        if upright is None:
            upright = self.recipe.supervision not in ("weak", "epipolar")
        return tensor(self._picture(path, upright), self.recipe.colours)[0]

    def _read(self, path: Path, upright: bool) -> np.ndarray:
        return fitted(read_picture(path, upright), self.recipe.height, self.recipe.width)

    @staticmethod
    def _draw(count: int, generator: torch.Generator) -> int:
        return int(torch.randint(count, (1,), generator=generator))


def _into_size_of_first(flow: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]]
    here = np.stack([x, y], -1)
    return ((here + flow + 0.5) * sizes - 0.5 - here).astype(np.float32)
