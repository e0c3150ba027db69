"""The metrics of the method card, section 6, of a checkpoint on labelled slides."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...checkpoints import Checkpoint
from ...errors import OpsinError, RunError
from ...labels.store import LabelStore
from ...metrics.roc import at_threshold, auc, auc_interval, full_sensitivity
from ...metrics.segmentation import Overlap
from ...results import Heatmap, SlideScore
from ...runs import Run
from ...tiles import TILE, TilePyramid
from .data import EXCLUDED, UNLABELLED, class_states
from .predict import predict
from .settings import HybridOptions


def evaluate(checkpoint: Checkpoint, data: Any, run: Run) -> dict[str, Any]:
    """Return metrics of the test slides (or, where there are none, of the validation slides, or of all).

    Slide level: AUC with interval, specificity at 100 % sensitivity and the slide that sets it, and the honest variant (threshold
    from the validation slides, read on the test slides). Pixel level: Dice and IoU, pooled, on slides with outlines.
    """
    options = HybridOptions()
    names = ("test", "val", "train")
    split = next((n for n in names if any(s.split == n and s.label is not None for s in data.samples)), None)
    chosen = [s for s in data.samples if s.split == split or split is None or s.split == "val"]
    overlap = Overlap()
    scores: dict[str, float] = {}
    states = class_states(data.classes)
    with tempfile.TemporaryDirectory() as folder:
        for number, sample in enumerate(chosen):
            run.phase(f"predict {sample.name or sample.id}")
            inner = Run(Path(folder) / str(number), None, run.control, run.device)
            try:
                own = HybridOptions.checked({**options.model_dump(), "slide_mpp": sample.mpp})
                for result in predict(checkpoint, sample.path, own, inner):
                    if isinstance(result, SlideScore):
                        scores[sample.id] = result.score
                    elif isinstance(result, Heatmap) and sample.labels is not None and result.path is not None:
                        _compare(result.path, sample, states, options.threshold, overlap)
            except OpsinError as error:
                run.message(str(error), "warning")
            finally:
                inner.close()
            if run.stopping:
                break
            run.progress(number + 1, len(chosen), "slides")
    if not scores:
        raise RunError("No slide could be evaluated; the log says why.")
    return {"slides": len(scores), **slide_metrics(chosen, scores, split), "Dice": overlap.dice, "IoU": overlap.iou}


def slide_metrics(samples: list[Any], scores: dict[str, float], split: str | None) -> dict[str, Any]:
    """Return the slide-level metrics of samples with a label and a score."""
    known = [s for s in samples if s.label is not None and s.id in scores]
    main = [s for s in known if s.split == split or split is None] or known
    labels, values = np.array([s.label for s in main]), np.array([scores[s.id] for s in main])
    point = full_sensitivity(labels, values)
    interval = auc_interval(labels, values)
    found: dict[str, Any] = {
        "AUC": auc(labels, values),
        "AUC, low": interval[0] if interval else None,
        "AUC, high": interval[1] if interval else None,
        "specificity at 100 % sensitivity": point.specificity if point else None,
        "threshold at 100 % sensitivity": point.threshold if point else None,
        "slide that sets it": (main[point.setter].name or main[point.setter].id) if point else None,
    }
    validation = [s for s in known if s.split == "val"]
    if split == "test" and validation:
        fixed = full_sensitivity(np.array([s.label for s in validation]), np.array([scores[s.id] for s in validation]))
        if fixed:
            honest = at_threshold(labels, values, fixed.threshold)
            found |= {
                f"{k} at the validation threshold": honest[k] for k in ("sensitivity", "specificity", "accuracy", "F1")
            }
    if point:
        found |= {f"{k} at 100 % sensitivity": v for k, v in at_threshold(labels, values, point.threshold).items()}
    return found


def _compare(path: Path, sample: Any, states: np.ndarray, threshold: float, overlap: Overlap) -> None:
    """Add the pixels of one slide, at the resolution of its heat map."""
    least = int(np.ceil(threshold * 254)) + 1
    with TilePyramid.open(path, readonly=True) as heat, LabelStore.open(sample.labels, readonly=True) as labels:
        level = min(labels.levels - 1, heat.base.bit_length() - 1)
        extra = heat.base >> level
        width, height = heat.level_size(0)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                w, h = min(TILE, width - left), min(TILE, height - top)
                true = labels.region(level, left * extra, top * extra, w * extra, h * extra)[::extra, ::extra]
                state = states[true]
                counts = state != EXCLUDED
                if not sample.outlined:
                    counts &= state != UNLABELLED
                overlap.add(heat.region(0, left, top, w, h) >= least, state == 1, counts)
