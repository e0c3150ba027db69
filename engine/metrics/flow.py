"""How good a flow is: end-point error, KITTI's outliers, share of right places, homographies. numpy only.

Flow is [H, W, 2] in pixels (x, y); `valid` is bool [H, W]. What is not defined is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np


def end_point_error(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return ``|found - truth|`` of every pixel, [H, W] float64."""
    return np.linalg.norm(np.asarray(found, np.float64) - np.asarray(truth, np.float64), axis=-1)


@dataclass
class FlowScores:
    """Scores of many pairs, filled by `add`.

    `epe` is the mean over pairs of the mean error on valid pixels; `fl` (percent) and `pck` are shares over all valid pixels of
    all pairs together, as KITTI counts them.
    """

    thresholds: Sequence[float] = (1.0, 3.0, 5.0)
    means: list[float] = field(default_factory=list)
    pixels: int = 0
    outliers: int = 0
    within: dict[float, int] = field(default_factory=dict)

    def add(self, found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float | None:
        """Count a pair in; return its mean error, None where no pixel is valid."""
        valid = np.isfinite(truth).all(-1) if valid is None else valid & np.isfinite(truth).all(-1)
        if not valid.any():
            return None
        truth = np.asarray(truth)[valid]
        error = end_point_error(np.asarray(found)[valid], truth)
        size = np.linalg.norm(truth.astype(np.float64), axis=-1)
        self.means.append(float(error.mean()))
        self.pixels += error.size
        self.outliers += int(((error > 3) & (error > 0.05 * size)).sum())
        for threshold in self.thresholds:
            self.within[threshold] = self.within.get(threshold, 0) + int((error <= threshold).sum())
        return self.means[-1]

    @property
    def epe(self) -> float | None:
        return float(np.mean(self.means)) if self.means else None

    @property
    def fl(self) -> float | None:
        return 100 * self.outliers / self.pixels if self.pixels else None

    def pck(self, threshold: float) -> float | None:
        return self.within.get(threshold, 0) / self.pixels if self.pixels else None

    def metrics(self) -> dict[str, float | None]:
        """Return the metrics under their names."""
        named = {f"PCK at {t:g} px": self.pck(t) for t in self.thresholds}
        return {"EPE": self.epe, "Fl-all (%)": self.fl, **named}


def sparse_pck(errors: Iterable[np.ndarray], thresholds: Sequence[float]) -> dict[str, float | None]:
    """Return the share of points within each threshold, all points of all pairs together (RobotCar, MegaDepth)."""
    pooled = np.concatenate([np.zeros(0), *(np.ravel(one) for one in errors)])
    return {f"PCK at {t:g} px": float((pooled <= t).mean()) if pooled.size else None for t in thresholds}


def matching_accuracy(
    pairs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], thresholds: Sequence[float] = tuple(range(1, 11))
) -> dict[str, float | None]:
    """Return the mean matching accuracy of HPatches: share of matches with ``|H x1 - x2| <= t``, averaged over the pairs.

    Parameters
    ----------
    pairs : of each (points of the first picture [N, 2], of the second [N, 2], H [3, 3]); a pair without matches counts as zero.
    """
    errors = [np.linalg.norm(transformed(h, a) - b, axis=-1) for a, b, h in pairs]
    return {
        f"MMA at {t:g} px": float(np.mean([(e <= t).mean() if e.size else 0.0 for e in errors])) if errors else None
        for t in thresholds
    }


def corner_error(found: np.ndarray | None, truth: np.ndarray, height: int, width: int) -> float:
    """Return the mean distance in pixels of the four corners under two homographies; infinite without one."""
    if found is None or not np.isfinite(found).all():
        return float("inf")
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    distance = np.linalg.norm(transformed(found, corners) - transformed(truth, corners), axis=1)
    return float(distance.mean()) if np.isfinite(distance).all() else float("inf")


def homography_accuracy(
    errors: Sequence[float], thresholds: Sequence[float] = (1.0, 3.0, 5.0)
) -> dict[str, float | None]:
    """Return the share of pairs whose homography moves the corners right within each threshold."""
    return {
        f"homography within {t:g} px": float(np.mean([e <= t for e in errors])) if errors else None for t in thresholds
    }


def area_under_curve(errors: Sequence[float], limits: Sequence[float]) -> list[float | None]:
    """Return the area under the curve of recall over error up to each limit, divided by the limit (poses, homographies)."""
    if not len(errors):
        return [None for _ in limits]
    values = np.sort(np.asarray(errors, float))
    recall = np.arange(1, len(values) + 1) / len(values)
    result: list[float | None] = []
    for limit in limits:
        last = int(np.searchsorted(values, limit))
        x = np.concatenate([[0.0], values[:last], [limit]])
        y = np.concatenate([[0.0], recall[:last], [recall[last - 1] if last else 0.0]])
        result.append(float(np.trapezoid(y, x) / limit))
    return result


def transformed(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points [N, 2] (x, y) under a 3 x 3 homography; a point at infinity becomes infinite."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    moved = np.c_[points, np.ones(len(points))] @ np.asarray(homography, np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(moved[:, 2:]) > 1e-12, moved[:, :2] / moved[:, 2:], np.inf)
