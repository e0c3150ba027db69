"""Overlap of predicted and true pixels, pooled over everything that is added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Overlap:
    """Running counts of pixels."""

    both: int = 0
    predicted: int = 0
    true: int = 0

    def add(self, predicted: np.ndarray, true: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Add boolean maps of one shape; where `counts` is false a pixel is left out."""
        if counts is not None:
            predicted, true = predicted & counts, true & counts
        self.both += int((predicted & true).sum())
        self.predicted += int(predicted.sum())
        self.true += int(true.sum())

    @property
    def dice(self) -> float | None:
        total = self.predicted + self.true
        return 2 * self.both / total if total else None

    @property
    def iou(self) -> float | None:
        union = self.predicted + self.true - self.both
        return self.both / union if union else None
