"""Threshold metrics of scores against binary labels. Higher scores mean more likely positive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(labels).astype(bool).ravel(), np.asarray(scores, np.float64).ravel()


def auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the area under the ROC curve (Mann-Whitney, ties count half); None without both classes."""
    labels, scores = _checked(labels, scores)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the bootstrap interval of the area: positives and negatives are resampled apart.

    None with fewer than two of either kind: drawn from one, all resamples are alike, and the interval would say that the area
    is certain.
    """
    labels, scores = _checked(labels, scores)
    positive, negative = scores[labels], scores[~labels]
    if min(len(positive), len(negative)) < 2:
        return None
    rng = np.random.default_rng(seed)
    values = []
    truth = np.repeat([True, False], [len(positive), len(negative)])
    for _ in range(resamples):
        drawn = np.concatenate([rng.choice(positive, len(positive)), rng.choice(negative, len(negative))])
        values.append(auc(truth, drawn))
    low, high = np.quantile(np.array(values, float), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (false positive rate, true positive rate, threshold) from (0, 0) to (1, 1); positive is score >= threshold."""
    labels, scores = _checked(labels, scores)
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1) if len(scores) else np.zeros(0, int)
    true = np.cumsum(labels)[last] / max(1, labels.sum())
    false = np.cumsum(~labels)[last] / max(1, (~labels).sum())
    return np.append(0.0, false), np.append(0.0, true), np.append(np.inf, scores[last])


def curve_band(
    labels: np.ndarray, scores: np.ndarray, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return false positive rates [101] and the bootstrap interval of the true positive rate at each: (rates, low, high).

    Positives and negatives are resampled apart, as in `auc_interval`; None with fewer than two of either.
    """
    labels, scores = _checked(labels, scores)
    positive, negative = scores[labels], scores[~labels]
    if min(len(positive), len(negative)) < 2:
        return None
    rng = np.random.default_rng(seed)
    rates = np.linspace(0.0, 1.0, 101)
    truth = np.repeat([True, False], [len(positive), len(negative)])
    found = np.empty((resamples, len(rates)))
    for number in range(resamples):
        drawn = np.concatenate([rng.choice(positive, len(positive)), rng.choice(negative, len(negative))])
        false, true, _ = curve(truth, drawn)
        last = np.append(np.flatnonzero(np.diff(false)), len(false) - 1)  # the highest point at each rate
        found[number] = np.interp(rates, false[last], true[last])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return rates, low, high


def wilson(hits: int, total: int, z: float = 1.959964) -> tuple[float, float] | None:
    """Return Wilson's score interval (95 %) of a share; None of nothing."""
    if not total:
        return None
    share, spread = hits / total, z * z / total
    middle = share + spread / 2
    width = z * np.sqrt(share * (1 - share) / total + spread / (4 * total))
    return float(max(0.0, (middle - width) / (1 + spread))), float(min(1.0, (middle + width) / (1 + spread)))


@dataclass(frozen=True)
class OperatingPoint:
    """Where all positives are found: threshold, specificity there, index of the positive that sets the threshold."""

    threshold: float
    specificity: float
    setter: int


def full_sensitivity(labels: np.ndarray, scores: np.ndarray) -> OperatingPoint | None:
    """Return the operating point at 100 % sensitivity: t = lowest positive score, ties count against the method.

    None without positives or without negatives: then it is not defined and shown as n/a.
    """
    labels, scores = _checked(labels, scores)
    if not labels.any() or labels.all():
        return None
    positives = np.flatnonzero(labels)
    setter = int(positives[np.argmin(scores[positives])])
    threshold = float(scores[setter])
    return OperatingPoint(threshold, float((scores[~labels] < threshold).mean()), setter)


def at_threshold(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float | None]:
    """Return counts and rates where score >= threshold is called positive; None where a rate is not defined."""
    labels, scores = _checked(labels, scores)
    called = scores >= threshold
    tp, fp = int((called & labels).sum()), int((called & ~labels).sum())
    fn, tn = int((~called & labels).sum()), int((~called & ~labels).sum())

    def share(a: int, b: int) -> float | None:
        return a / b if b else None

    return {
        "true positives": tp,
        "false positives": fp,
        "false negatives": fn,
        "true negatives": tn,
        "sensitivity": share(tp, tp + fn),
        "specificity": share(tn, tn + fp),
        "accuracy": share(tp + tn, len(labels)),
        "F1": share(2 * tp, 2 * tp + fp + fn),
    }
