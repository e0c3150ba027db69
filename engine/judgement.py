"""How good a set of slide scores is: the sentences and points that the results panel and reports show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from .metrics.roc import at_threshold, auc, auc_interval, curve, full_sensitivity

if TYPE_CHECKING:
    from .workspace import Workspace

SPLITS = {
    "test": "Test slides",
    "val": "Validation slides",
    "train": "Training slides",
    "": "All slides",
}


NAMED = 5
"""Slides named in a sentence; the others are counted."""


@dataclass
class ScoreRow:
    """One slide: what is known about it and what the network says.

    `score` is None before it was predicted, and where there was nothing to score: then `source` says why. `state` is
    that of its newest prediction ("waiting", "running", "done", "stopped", "failed"), `error` why it failed.
    """

    item: str
    name: str
    label: str | None
    split: str | None
    score: float | None = None
    source: str = ""
    area: float | None = None
    skipped: int = 0
    state: str = ""
    error: str = ""

    def order(self) -> float:
        """Sort by this, largest first: scores, then slides with nothing to score, then those not predicted yet."""
        return self.score if self.score is not None else -1.0 if self.source else -2.0

    def verdict(self, threshold: float) -> str:
        """Return "right" or "wrong" at a threshold; empty without a score or a label."""
        if self.score is None or self.label is None:
            return ""
        return "right" if (self.score >= threshold) == (self.label == "positive") else "wrong"


@dataclass
class Judgement:
    """What scored and labelled slides say about the network.

    Attributes
    ----------
    points : the ROC curve, (1 - specificity, sensitivity); empty without both kinds of slides.
    full : threshold at 100 % sensitivity, None when undefined.
    setter_row : the slide that sets it.
    """

    rows: list[ScoreRow]
    points: list[tuple[float, float]] = field(default_factory=list)
    auc: float | None = None
    full: float | None = None
    full_specificity: float | None = None
    setter_row: ScoreRow | None = None

    @property
    def setter(self) -> str:
        """Name of the slide that sets the threshold at 100 % sensitivity."""
        return "" if self.setter_row is None else self.setter_row.name

    @property
    def full_text(self) -> str:
        """The threshold at 100 % sensitivity as it is written and used: rounded down, so that it misses no slide."""
        return "" if self.full is None else rounded_down(self.full, self.scores)

    @property
    def labels(self) -> np.ndarray:
        return np.array([row.label == "positive" for row in self.rows], bool)

    @property
    def scores(self) -> np.ndarray:
        return np.array([row.score for row in self.rows], float)

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % bootstrap interval of the area; takes about a tenth of a second."""
        return auc_interval(self.labels, self.scores)

    def at(self, threshold: float) -> dict[str, Any]:
        """Return counts and rates at a threshold, see `engine.metrics.roc.at_threshold`."""
        return at_threshold(self.labels, self.scores, threshold)

    def point(self, threshold: float) -> tuple[float, float] | None:
        """Return (1 - specificity, sensitivity) at a threshold, None when one is not defined."""
        values = self.at(threshold)
        if values["sensitivity"] is None or values["specificity"] is None:
            return None
        return (1 - values["specificity"], values["sensitivity"])


def score_rows(workspace: Workspace, run: str, states: Mapping[str, tuple[str, str]]) -> list[ScoreRow]:
    """Return all slides of a workspace with what a run says of them, in the workspace's order.

    Parameters
    ----------
    run : name under which the scores are kept; "": none.
    states : slide id -> (state, error) of the newest prediction.
    """
    scores = {entry["item"]: entry for entry in workspace.scores(run)} if run else {}
    rows = []
    for item in workspace.items():
        found = scores.get(item.id, {})
        row = ScoreRow(item.id, item.name, item.label, item.split, found.get("score"), found.get("source", ""))
        row.area, row.skipped = found.get("area"), found.get("skipped", 0)
        row.state, row.error = states.get(item.id, ("", ""))
        rows.append(row)
    return rows


def judge(rows: list[ScoreRow], split: str = "") -> Judgement:
    """Judge the rows that have a label and a score and belong to `split` ("" = all; no split counts as "train")."""
    known = [row for row in rows if row.score is not None and row.label is not None]
    chosen = [row for row in known if not split or (row.split or "train") == split]
    result = Judgement(chosen)
    labels, scores = result.labels, result.scores
    result.auc = auc(labels, scores) if chosen else None
    if result.auc is None:
        return result
    false, true, _ = curve(labels, scores)
    result.points = [(float(x), float(y)) for x, y in zip(false, true)]
    point = full_sensitivity(labels, scores)
    if point is not None:
        result.full, result.full_specificity = point.threshold, point.specificity
        result.setter_row = chosen[point.setter]
    return result


def best_split(rows: list[ScoreRow]) -> str:
    """Return the split that says most about unseen slides and has scored slides of both labels; "" when none has."""
    for split in ("test", "val"):
        if judge(rows, split).auc is not None:
            return split
    return ""


def honest_sentence(rows: list[ScoreRow]) -> str:
    """Return what the threshold that finds all validation slides does on the test slides; empty when it cannot be said."""
    fixed, tested = judge(rows, "val"), judge(rows, "test")
    if fixed.full is None or not tested.rows:
        return ""
    values = tested.at(float(fixed.full_text))
    return (
        f"Threshold fixed on validation slides ({fixed.full_text}): on test slides "
        f"sensitivity {share(values['sensitivity'])}, specificity {share(values['specificity'])}."
    )


def unscored_sentence(rows: list[ScoreRow], split: str = "") -> str:
    """Return which predicted slides of `split` have no score, and why; empty when all have one."""
    found = [r for r in rows if r.score is None and r.source and (not split or (r.split or "train") == split)]
    if not found:
        return ""
    names = ", ".join(f"{row.name} ({row.source})" for row in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"Not judged, without a score: {names}{more}."


def score_digits(rows: Iterable[ScoreRow]) -> int:
    """Return with how many digits scores are written: three, or as many (six at most) as it takes to tell them apart."""
    scores = {row.score for row in rows if row.score is not None}
    return (
        next((n for n in range(3, 6) if len({round(score, n) for score in scores}) == len(scores)), 6) if scores else 3
    )


def first_threshold(rows: list[ScoreRow]) -> tuple[float, str]:
    """Return the threshold to begin with and, where slides set it, which: it finds all positives among them.

    Test slides never set it: what they then say would be no test any more.
    """
    for split, words in (
        ("val", "finds every positive validation slide"),
        ("train", "finds every positive training slide"),
    ):
        found = judge(rows, split)
        if found.full is not None:
            return float(found.full_text), words
    return 0.5, ""


def rounded_down(threshold: float, scores: np.ndarray) -> str:
    """Return `threshold` with at least three digits, rounded down, and as many more as it takes to call the same slides."""
    exact = Decimal(repr(threshold))
    called = scores >= threshold
    for digits in range(3, 17):
        text = str(exact.quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))
        if np.array_equal(scores >= float(text), called):
            return text
    return repr(threshold)


def counted(number: int, one: str, many: str) -> str:
    """Return a number with its noun: "1 false alarm", "2 false alarms"."""
    return f"{number} {one if number == 1 else many}"


def share(value: float | None) -> str:
    """Return a rate with three digits, "n/a" where it is not defined."""
    return "n/a" if value is None else f"{value:.3f}"
