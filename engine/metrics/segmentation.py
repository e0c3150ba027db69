"""Overlap of predicted and true pixels, pooled over everything that is added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Overlap:
    """Running counts of pixels."""

    both: float = 0
    predicted: float = 0
    true: float = 0

    def add(self, predicted: np.ndarray, true: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Add boolean maps of one shape; where `counts` is false a pixel is left out.

        `true` and `counts` may also be the share of each pixel, float in [0, 1], of which that holds; `true` <= `counts`.
        """
        if counts is None:
            counts = np.ones(predicted.shape, bool)
        true = np.minimum(true, counts)
        self.both += float(true[predicted].sum(dtype=np.float64))
        self.predicted += float(counts[predicted].sum(dtype=np.float64))
        self.true += float(true.sum(dtype=np.float64))

    @property
    def dice(self) -> float | None:
        total = self.predicted + self.true
        return 2 * self.both / total if total else None

    @property
    def iou(self) -> float | None:
        union = self.predicted + self.true - self.both
        return self.both / union if union else None
