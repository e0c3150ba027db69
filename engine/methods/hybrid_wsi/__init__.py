"""Hybrid supervision for whole slides (MICCAI 2021): a few outlines, many slide labels, one method.

`settings.py` what can be set; `model.py` the networks; `data.py`, `layouts.py` what is trained on; `tissue.py`, `heat.py`
inference over a slide; `tiles.py`, `augment.py`, `pseudo.py`, `losses.py` what the rounds need; `train.py` the rounds; `stage2.py`,
`forest.py` slide and patient answers; `evaluate.py` the metrics. Importing this package imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...method import Method
from .settings import HybridOptions, HybridRecipe

if TYPE_CHECKING:
    from ...checkpoints import Checkpoint
    from ...results import Result
    from ...runs import Run


class HybridWSI(Method):
    """Hybrid (mixed) supervision for whole-slide images."""

    name = "hybrid_wsi"
    title = "Hybrid supervision for whole slides"
    paper = "2107.00934"
    task = "Find tumour on slides from a few outlines and one label per slide"
    Recipe = HybridRecipe
    Options = HybridOptions

    def open(self, path: Path) -> Any:
        from .data import open_data

        return open_data(path)

    def train(self, recipe: HybridRecipe, data: Any, run: Run) -> Checkpoint | None:
        from .train import train

        return train(recipe, data, run)

    def inputs(self, path: Path) -> list[Path]:
        """Return the slide, or all slides that lie directly in a folder.

        Raises
        ------
        SlideError : the folder holds no slides.
        """
        from ...data.folders import slides_in

        return slides_in(path)

    def predict(self, checkpoint: Checkpoint, sample: Path, options: HybridOptions, run: Run) -> Iterator[Result]:
        from .predict import predict

        return predict(checkpoint, sample, options, run)

    def evaluate(self, checkpoint: Checkpoint, data: Any, run: Run) -> dict[str, Any]:
        from .evaluate import evaluate

        return evaluate(checkpoint, data, run)

    def import_published(self, path: Path) -> Checkpoint:
        from .published import import_published

        return import_published(path)

    def export(self, checkpoint: Checkpoint, path: Path) -> None:
        from .published import export

        export(checkpoint, path)
