"""Stage 2: a classifier on the K most suspicious tiles of a slide (method card, section 4.3, the paper's version).

What the paper does not state is done as the card recommends: backbone levels 0..5 initialised from the patch network, global
average pooling, one logit; slide probability = mean of the K sigmoids, clamped to [1e-6, 1 - 1e-6]; flips and quarter turns.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...data.slides import Slide
from ...errors import SlideError
from ...runs import Run
from ...training import fit
from .heat import TileScore
from .model import PatchNetwork
from .settings import HybridRecipe
from .tissue import Scale

EPSILON = 1e-6


class TileClassifier(nn.Module):
    """The patch network's encoder, global average pooling, one logit. [B, 3, H, W] -> [B]."""

    def __init__(self, patch: PatchNetwork) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(patch.encoder)
        self.head = nn.Linear(patch.feature_channels, 1)
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x)[-1].mean((2, 3)))[:, 0]


@dataclass
class Candidate:
    """A training slide for stage 2: how to open it, its label (0 or 1), its suspicious tiles, how tiles lie on it."""

    open: Callable[[], Slide]
    label: int
    tiles: Sequence[TileScore]
    scale: Scale


def read_tiles(slide: Slide, tiles: Sequence[TileScore], scale: Scale, window: int = 0) -> np.ndarray:
    """Return the tiles as uint8 [K, side, side, 3]; unreadable ones are left out.

    `window` > 0 takes a window of that many network px around the maximum instead of the whole tile.
    """
    side = window or scale.tile
    found = []
    for tile in tiles:
        x, y = (
            (tile.px - side * scale.downsample / 2, tile.py - side * scale.downsample / 2)
            if window
            else (tile.x, tile.y)
        )
        try:
            found.append(slide.read_scaled(x, y, side, side, scale.downsample))
        except SlideError:
            continue
    return np.stack(found) if found else np.zeros((0, side, side, 3), np.uint8)


def slide_probability(logits: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of the sigmoids of each slide's tiles, clamped; logits [B, K], the first counts[b] of a row count."""
    inside = torch.arange(logits.shape[1], device=logits.device) < counts[:, None]
    mean = (torch.sigmoid(logits.float()) * inside).sum(1) / counts.clamp(min=1)
    return mean.clamp(EPSILON, 1 - EPSILON)


def train_stage2(
    recipe: HybridRecipe, patch: PatchNetwork, candidates: Sequence[Candidate], run: Run, round: int
) -> tuple[TileClassifier | None, float]:
    """Train the tile classifier; return it and the mean loss of the last epoch, by which rounds are compared.

    None and infinity where there is nothing to learn: without a slide of each label that has tiles.
    """
    candidates = [c for c in candidates if c.tiles]
    if {c.label for c in candidates} != {0, 1}:
        return None, float("inf")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        classifier = TileClassifier(patch).to(run.device)
    size = min(recipe.stage2_batch, len(candidates))
    per_epoch = -(-len(candidates) // size)

    def batch(step: int) -> dict[str, Tensor]:
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([recipe.seed, 2, round, epoch]).permutation(len(candidates))
        turns = np.random.default_rng([recipe.seed, 3, round, step])
        chosen = [candidates[i] for i in np.resize(order, per_epoch * size)[place * size : (place + 1) * size]]
        stacks = []
        for candidate in chosen:
            with candidate.open() as slide:
                images = read_tiles(slide, candidate.tiles[: recipe.K], candidate.scale, recipe.stage2_tile)
            stacks.append(np.stack([_turned(turns, image) for image in images]) if len(images) else images)
        most = max(1, *(len(s) for s in stacks))
        side = recipe.stage2_tile or recipe.tile
        images = np.zeros((size, most, side, side, 3), np.uint8)
        for row, stack in enumerate(stacks):
            images[row, : len(stack)] = stack
        return {
            "images": torch.from_numpy(images),
            "count": torch.tensor([len(s) for s in stacks]),
            "label": torch.tensor([float(c.label) for c in chosen]),
        }

    def loss(module: nn.Module, values: dict[str, Tensor]) -> dict[str, Tensor]:
        images, count = values["images"], values["count"]
        x = images.flatten(0, 1).permute(0, 3, 1, 2).float().div(255)
        inside = (torch.arange(images.shape[1], device=x.device) < count[:, None]).flatten()
        logits = torch.zeros(len(x), device=x.device)
        logits = logits.masked_scatter(inside, module(x[inside]).float()) if inside.any() else logits
        p = slide_probability(logits.view(images.shape[:2]), count)
        usable = (count > 0).float()
        terms = nn.functional.binary_cross_entropy(p, values["label"], reduction="none")
        value = (terms * usable).sum() / usable.sum().clamp(min=1)
        return {"loss": value if value.requires_grad else value + 0 * sum(w.sum() for w in module.parameters())}

    optimizer = torch.optim.Adam(classifier.parameters(), recipe.stage2_lr)
    reported = _Reported(run, per_epoch)
    fit(
        reported,
        classifier,
        optimizer,
        steps=recipe.stage2_epochs * per_epoch,
        batch=batch,
        loss=loss,
        save=lambda step: None,
        seed=(recipe.seed, "stage 2", round),
        what=f"round {round}: slide classifier",
        step_offset=max(0, round - 1) * recipe.stage2_epochs * per_epoch,
        precision=recipe.precision,
        save_seconds=float("inf"),
    )
    last = reported.losses[-per_epoch:]
    return classifier.cpu().eval(), float(np.mean(last)) if last else float("inf")


@torch.inference_mode()
def classify(classifier: TileClassifier, images: np.ndarray, device: str = "cpu") -> float | None:
    """Return the slide probability from its tiles, uint8 [K, H, W, 3]; None without tiles."""
    if not len(images):
        return None
    classifier = classifier.to(device).eval()
    logits = []
    for start in range(0, len(images), 4):
        x = torch.from_numpy(images[start : start + 4]).to(device).permute(0, 3, 1, 2).float().div(255)
        logits.append(classifier(x).float().cpu())
    return float(slide_probability(torch.cat(logits)[None], torch.tensor([len(images)]))[0])


def _turned(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    image = np.rot90(image, int(rng.integers(4)))
    return image[:, ::-1] if rng.random() < 0.5 else image


class _Reported(Run):
    """The same run for `fit`, with the classifier's loss under its own name; keeps the losses.

    Reported is the mean over the last `epoch` steps: a batch of two slides alone says little.
    """

    __slots__ = ("epoch", "losses")  # not in the dictionary, which is the run's own

    def __init__(self, run: Run, epoch: int) -> None:
        self.__dict__ = run.__dict__
        self.epoch = epoch
        self.losses: list[float] = []

    def log(self, step: int | None = None, **metrics: float) -> None:
        self.losses.append(metrics["loss"])
        super().log(step, slide_loss=float(np.mean(self.losses[-self.epoch :])))
