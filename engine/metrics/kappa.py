"""Agreement of classes, ordered or not."""

from __future__ import annotations

import numpy as np


def quadratic_kappa(first: np.ndarray, second: np.ndarray, classes: int) -> float | None:
    """Return Cohen's kappa with quadratic weights; None when chance agreement is already complete."""
    first, second = np.asarray(first, int), np.asarray(second, int)
    table = np.zeros((classes, classes))
    np.add.at(table, (first, second), 1)
    grid = np.arange(classes)
    weights = (grid[:, None] - grid) ** 2 / (classes - 1) ** 2
    expected = np.outer(table.sum(1), table.sum(0)) / max(1, table.sum())
    chance = (weights * expected).sum()
    return float(1 - (weights * table).sum() / chance) if chance else None


def cohen_kappa(table: np.ndarray) -> float | None:
    """Return Cohen's kappa of a table of counts [first, second]; None for an empty one, or where chance alone agrees on all.

    J. Cohen, A coefficient of agreement for nominal scales, 1960.
    """
    table = np.asarray(table, float)
    total = table.sum()
    if not total:
        return None
    chance = float((table.sum(0) * table.sum(1)).sum() / total**2)
    return float((np.trace(table) / total - chance) / (1 - chance)) if chance < 1 else None
