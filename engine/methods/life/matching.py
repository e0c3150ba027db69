"""Sparse features matched with and without a flow as guide (method card, section 5.4).

Guided: for a keypoint p of the first picture only keypoints within a radius of p + flow(p) compete by descriptor distance. Radius
and tests are not published; those here are the recommended ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

RADIUS = 8.0
RATIO = 0.8
GUIDED_RATIO = 0.9


@dataclass(frozen=True)
class Features:
    """Keypoints (x, y) [N, 2] and their descriptors float32 [N, D]."""

    points: np.ndarray
    descriptors: np.ndarray


@dataclass(frozen=True)
class Matched:
    """Matching points of the first and of the second picture, [M, 2] each."""

    first: np.ndarray
    second: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


def sift(picture: np.ndarray, most: int = 4000) -> Features:
    """Return root-SIFT features of uint8 RGB [H, W, 3]."""
    found, descriptors = cv2.SIFT.create(most).detectAndCompute(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None)
    if descriptors is None or not len(found):
        return Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    points = np.array([p.pt for p in found])
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9))
    return Features(points, rooted.astype(np.float32))


def unguided(first: Features, second: Features, ratio: float = RATIO) -> Matched:
    """Match mutual nearest neighbours that are clearly nearer than the second nearest."""
    if not len(first.points) or not len(second.points):
        return Matched(np.zeros((0, 2)), np.zeros((0, 2)))
    distance = _distances(first, second)
    return _mutual(first, second, _best(distance, ratio), _best(distance.T, 1.0))


def guided(
    first: Features,
    second: Features,
    flow: np.ndarray,
    back: np.ndarray,
    *,
    radius: float | None = None,
    ratio: float = GUIDED_RATIO,
) -> Matched:
    """Match within discs around where the flow points.

    Parameters
    ----------
    flow, back : [H, W, 2] from the first to the second picture and from the second to the first.
    radius : of the discs in pixels; None: 8 px for 640 x 480, scaled with the diagonal. A keypoint whose flow there and back is off
        by more is dropped.
    """
    if not len(first.points) or not len(second.points):
        return Matched(np.zeros((0, 2)), np.zeros((0, 2)))
    if radius is None:
        radius = RADIUS * math.hypot(*flow.shape[:2]) / 800
    guess, guess_back = first.points + at(flow, first.points), second.points + at(back, second.points)
    returned = guess + at(back, guess)
    sure = np.linalg.norm(returned - first.points, axis=1) <= radius
    distance = _distances(first, second)
    there = np.linalg.norm(guess[:, None] - second.points, axis=2) <= radius
    here = np.linalg.norm(guess_back[:, None] - first.points, axis=2) <= radius
    forward = _best(np.where(there & sure[:, None], distance, np.inf), ratio)
    return _mutual(first, second, forward, _best(np.where(here, distance.T, np.inf), 1.0))


def at(flow: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Read a flow [H, W, 2] bilinearly at points [N, 2] (x, y), the nearest edge outside."""
    if not len(points):
        return np.zeros((0, 2))
    height, width = flow.shape[:2]
    x, y = np.clip(points[:, 0], 0, width - 1), np.clip(points[:, 1], 0, height - 1)
    x0, y0 = np.minimum(x.astype(int), max(0, width - 2)), np.minimum(y.astype(int), max(0, height - 2))
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    upper = flow[y0, x0] * (1 - fx) + flow[y0, x1] * fx
    return upper * (1 - fy) + (flow[y1, x0] * (1 - fx) + flow[y1, x1] * fx) * fy


def _distances(first: Features, second: Features) -> np.ndarray:
    product = first.descriptors @ second.descriptors.T
    squares = [np.square(f.descriptors).sum(1) for f in (first, second)]
    return np.sqrt(np.maximum(squares[0][:, None] + squares[1] - 2 * product, 0))


def _best(distance: np.ndarray, ratio: float) -> np.ndarray:
    """Return for each row the column of the least distance, -1 where there is none or it is not clearly the least."""
    best = distance.argmin(1)
    least = np.take_along_axis(distance, best[:, None], 1)[:, 0]
    chosen = np.isfinite(least)
    if ratio < 1 and distance.shape[1] > 1:
        next_one = np.partition(distance, 1, axis=1)[:, 1]
        chosen &= ~(least > ratio * next_one)
    return np.where(chosen, best, -1)


def _mutual(first: Features, second: Features, forward: np.ndarray, backward: np.ndarray) -> Matched:
    rows = np.flatnonzero(forward >= 0)
    rows = rows[backward[forward[rows]] == rows]
    return Matched(first.points[rows], second.points[forward[rows]])
