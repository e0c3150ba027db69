"""The published CAMELYON17 answer: four features of a heat map, a random forest, and the stage of a patient (section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

THRESHOLD = 229  # int(0.9 * 255)
CLASSES = ("negative", "itc", "micro", "macro")
STAGES = ("pN0", "pN0(i+)", "pN1mi", "pN1", "pN2")


def heat_features(heat: np.ndarray) -> np.ndarray:
    """Return (maximum; major axis, perimeter, area of the largest 8-connected region above 229) of a uint8 map at 1/32.

    -1, -1, 0 where there is no such region; major axis and perimeter as scikit-image defines them, the axis without its 1/12.
    """
    from skimage.measure import perimeter

    found, count = ndimage.label(heat > THRESHOLD, np.ones((3, 3)))
    if not count:
        return np.array([heat.max(initial=0), -1.0, -1.0, 0.0])
    areas = np.bincount(found.ravel())[1:]
    region = found == int(np.argmax(areas)) + 1
    points = np.argwhere(region).astype(float)
    spread = np.atleast_2d(np.cov(points.T, bias=True)) if len(points) > 1 else np.zeros((2, 2))
    axis = 4 * np.sqrt(max(0.0, float(np.linalg.eigvalsh(spread)[-1])))
    return np.array([heat.max(), axis, perimeter(region), region.sum()], float)


def patient_stage(nodes: Sequence[int]) -> int:
    """Return the index into `STAGES` for the slide classes (0..3) of a patient's nodes; missing nodes count as negative."""
    highest = max(nodes, default=0)
    if highest < 3:
        return highest
    return 3 if sum(node >= 2 for node in nodes) <= 3 else 4


def forest_probabilities(
    features: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return (out-of-fold classes of the training slides, mean class probabilities [N, 4] of the test slides).

    Random forests with default settings on 5 shuffled folds. Nothing is pickled: the forest is trained again from features
    and labels, with a fixed seed, when it is needed.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import KFold

    guessed = np.zeros(len(features), int)
    total = np.zeros((len(test), len(CLASSES)))
    folds = KFold(min(5, len(features)), shuffle=True, random_state=seed)
    for train, held in folds.split(features):
        forest = RandomForestClassifier(random_state=seed).fit(features[train], labels[train])
        guessed[held] = forest.predict(features[held])
        if len(test):
            total[:, forest.classes_] += forest.predict_proba(test)
    return guessed, total / folds.get_n_splits()
