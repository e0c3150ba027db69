"""LIFE, lighting-invariant flow (arXiv 2104.03097): dense correspondence that survives changes of light and viewpoint.

`settings.py` what can be set; `model.py` the network with the published names; `correlation.py` the lookup, with and without a
volume; `estimate.py` the flow of two pictures of any size; `published.py` weights in and out; `losses.py`, `warps.py`, `samples.py`,
`train.py` the training; `predict.py`, `matching.py`, `evaluate.py` what it is good for. Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...method import Method
from .settings import LifeOptions, LifeRecipe

if TYPE_CHECKING:
    from ...checkpoints import Checkpoint
    from ...results import Result
    from ...runs import Run


class Life(Method):
    """Flow between two pictures whose light differs."""

    name = "life"
    title = "Lighting-invariant flow"
    paper = "2104.03097"
    task = "Find for each pixel of a picture its counterpart in another one, under other light and from another place"
    Recipe = LifeRecipe
    Options = LifeOptions

    def open(self, path: Path) -> Any:
        from ...data.pairs import open_pairs

        return open_pairs(path)

    def train(self, recipe: LifeRecipe, data: Any, run: Run) -> Checkpoint | None:
        from .train import train

        return train(recipe, data, run)

    def predict(self, checkpoint: Checkpoint, sample: Path, options: LifeOptions, run: Run) -> Iterator[Result]:
        from .predict import predict

        return predict(checkpoint, sample, options, run)

    def evaluate(self, checkpoint: Checkpoint, data: Any, run: Run) -> dict[str, Any]:
        from .evaluate import evaluate

        return evaluate(checkpoint, data, run)

    def import_published(self, path: Path) -> Checkpoint:
        from .published import import_published

        return import_published(path)
