"""The metrics of the method card, section 6, of a checkpoint on labelled slides."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...checkpoints import Checkpoint
from ...errors import OpsinError, RunError
from ...metrics.froc import SlideDetections, froc
from ...metrics.kappa import quadratic_kappa
from ...metrics.roc import at_threshold, auc, auc_interval, full_sensitivity
from ...metrics.segmentation import Overlap
from ...results import Heatmap, SlideScore
from ...runs import Run
from ...tiles import TilePyramid
from .data import class_states
from .forest import CLASSES, STAGES, forest_probabilities, heat_features, patient_stage
from .predict import predict
from .settings import HybridOptions
from .truth import add_pixels, detections, label_file, small_map

RATES = ("sensitivity", "specificity", "accuracy", "F1")


SPLITS = {"test": "test", "val": "validation", "train": "training", None: "all (no splits)"}


@dataclass
class Seen:
    """What one slide gave: its score (None: nothing to score) and how that was made, or why there is none; the four features of
    its heat map; its detections."""

    score: float | None
    source: str
    features: np.ndarray
    found: SlideDetections | None


def evaluate(checkpoint: Checkpoint, data: Any, run: Run) -> dict[str, Any]:
    """Return metrics of the test slides (or, where none has a label, of the validation slides, else of the training slides).

    "split" says which. Slide level: AUC with interval; specificity at 100 % sensitivity and the slide that sets it; the honest
    variant (threshold from the validation slides, read on the test slides). Pixel level: Dice and IoU, pooled, on slides with
    outlines. Lesion level: FROC, where outlines are complete and µm per pixel known. CAMELYON17: kappa of slides and patients.
    What is not defined is None and shown as n/a. "per slide" and "per patient" list the answers, those of slides without a score
    among them.
    """
    split = next(
        (n for n in ("test", "val", "train") if any(s.split == n and s.label is not None for s in data.samples)), None
    )
    if split == "train":
        run.message(
            "No test or validation slide has a label: the metrics are those of training slides and say nothing about others.",
            "warning",
        )
    chosen = [s for s in data.samples if s.split in (split, "val") or split is None]
    overlap = Overlap()
    seen: dict[str, Seen] = {}
    with tempfile.TemporaryDirectory(prefix="opsin-evaluate-") as name:
        for number, sample in enumerate(chosen):
            run.phase(f"predict {sample.name or sample.id}")
            folder = Path(name) / str(number)
            pixels = overlap if sample.split == split or split is None else None
            try:
                found = _look(checkpoint, sample, data, run, folder, pixels)
                if found is not None:
                    seen[sample.id] = found
            except OpsinError as error:
                run.message(str(error), "warning")
            shutil.rmtree(folder, ignore_errors=True)
            if run.stopping:
                break
            run.progress(number + 1, len(chosen), "slides")
    if not seen:
        raise RunError("No slide could be evaluated; the log says why.")
    main = [s for s in chosen if s.split == split or split is None]
    scores = {key: value.score for key, value in seen.items() if value.score is not None}
    lesions = [seen[s.id].found for s in main if s.id in seen and seen[s.id].found is not None]
    nodes = node_answers(main, {key: value.features for key, value in seen.items()})
    without = sum(s.id not in scores for s in main)
    if without:
        run.message(
            f"{without} of {len(main)} {SPLITS[split]} slides have no score and are not judged; 'per slide' says which.",
            "warning",
        )
    return {
        "split": SPLITS[split],
        "slides": len(main) - without,
        "slides without a score": without,
        "score from": ", ".join(sorted({seen[key].source for key in scores})),
        **slide_metrics(chosen, scores, split),
        "Dice": overlap.dice,
        "IoU": overlap.iou,
        "FROC": froc([one for one in lesions if one is not None]),
        **nodes.metrics,
        "per slide": [
            _answer(s, seen.get(s.id)) | ({"class": nodes.classes[s.id]} if s.id in nodes.classes else {})
            for s in chosen
        ],
        **({"per patient": nodes.patients} if nodes.patients else {}),
    }


def _answer(sample: Any, seen: Seen | None) -> dict[str, Any]:
    """Return what was found on one slide, as plain values."""
    return {
        "slide": sample.name or sample.id,
        "split": sample.split,
        "label": sample.label,
        "score": seen.score if seen else None,
        "source": seen.source if seen else "not predicted, see the log",
    }


def _look(
    checkpoint: Checkpoint, sample: Any, data: Any, run: Run, folder: Path, overlap: Overlap | None
) -> Seen | None:
    """Predict one slide and compare it with what is known of it; None when the user stopped in the middle."""
    options = HybridOptions.checked(
        {"slide_mpp": sample.mpp, "regions": str(sample.labels) if sample.labels is not None else None}
    )
    inner = _Inner(folder, run)
    try:
        results = list(predict(checkpoint, sample.path, options, inner))
    finally:
        inner.close()
    if run.stopping:
        return None
    (heatmap,) = [r for r in results if isinstance(r, Heatmap)]
    (answer,) = [r for r in results if isinstance(r, SlideScore)]
    assert heatmap.path is not None
    with TilePyramid.open(heatmap.path, readonly=True) as heat:
        features, found = heat_features(small_map(heat)[0]), None
        try:
            found = _compare(heat, sample, data, folder, overlap, options.threshold)
        except OpsinError as error:  # its score counts all the same
            run.message(f"{sample.name or sample.id} counts for neither Dice nor FROC. {error}", "warning")
    return Seen(answer.score, answer.source, features, found)


def _compare(
    heat: TilePyramid, sample: Any, data: Any, folder: Path, overlap: Overlap | None, threshold: float
) -> SlideDetections | None:
    """Compare a heat map with the slide's outlines: pixels into `overlap`, lesions returned where they are defined."""
    states = class_states(data.classes)
    labels = label_file(sample, folder, data.classes)
    if overlap is not None and (labels is not None or sample.outlined):
        add_pixels(heat, labels, states, sample.outlined, threshold, overlap)
    with sample.open() as slide:
        mpp = slide.mpp
    return detections(heat, labels, states, mpp, threshold) if mpp and (sample.outlined or sample.label == 0) else None


def slide_metrics(samples: Sequence[Any], scores: dict[str, float], split: str | None) -> dict[str, Any]:
    """Return the slide-level metrics of the samples of `split` (None: of all) with a label and a score."""
    known = [s for s in samples if s.label is not None and s.id in scores]
    main = [s for s in known if s.split == split or split is None]
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
        **{f"{name} at 0.5": value for name, value in at_threshold(labels, values, 0.5).items()},
    }
    validation = [s for s in known if s.split == "val"]
    if split == "test" and validation:
        fixed = full_sensitivity(np.array([s.label for s in validation]), np.array([scores[s.id] for s in validation]))
        honest = at_threshold(labels, values, fixed.threshold) if fixed else dict.fromkeys(RATES)
        found |= {f"{name} at the validation threshold": honest[name] for name in RATES}
    if point:
        found |= {f"{k} at 100 % sensitivity": v for k, v in at_threshold(labels, values, point.threshold).items()}
    return found


@dataclass
class NodeAnswers:
    """The CAMELYON17 answers: metrics; class of each slide by id; stage of each patient, true and found."""

    metrics: dict[str, float | None] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    patients: list[dict[str, Any]] = field(default_factory=list)


def node_answers(samples: Sequence[Any], features: dict[str, np.ndarray]) -> NodeAnswers:
    """Return the answers where slides have one of the classes negative, itc, micro, macro; else nothing.

    The class of a slide is the one that a forest on the other folds gives; patients are staged from these.
    """
    nodes = [s for s in samples if getattr(s, "node", None) in CLASSES and s.id in features]
    if len(nodes) < 2:
        return NodeAnswers()
    true = np.array([CLASSES.index(s.node) for s in nodes])
    guessed, _ = forest_probabilities(np.stack([features[s.id] for s in nodes]), true, np.zeros((0, 4)))
    patients: dict[str, list[int]] = {}
    for place, sample in enumerate(nodes):
        patients.setdefault(sample.patient or sample.id, []).append(place)
    stages = [[patient_stage(classes[places].tolist()) for places in patients.values()] for classes in (true, guessed)]
    return NodeAnswers(
        {
            "slide kappa (out of fold)": quadratic_kappa(true, guessed, len(CLASSES)),
            "patient kappa (out of fold)": quadratic_kappa(np.array(stages[0]), np.array(stages[1]), len(STAGES)),
        },
        {s.id: CLASSES[number] for s, number in zip(nodes, guessed.tolist())},
        [
            {"patient": name, "nodes": len(places), "true stage": STAGES[a], "stage": STAGES[b]}
            for (name, places), a, b in zip(patients.items(), *stages)
        ],
    )


class _Inner(Run):
    """The run of one slide's prediction: its files lie apart and its progress is not shown, but its warnings are."""

    def __init__(self, folder: Path, run: Run) -> None:
        super().__init__(folder, None, run.control, run.device)
        self._whole = run

    def message(self, text: str, level: str = "info") -> None:
        self._whole.message(text, level)
