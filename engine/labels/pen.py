"""Strokes of a pen whose width follows its pressure, as pieces of constant width."""

from __future__ import annotations

import math

import numpy as np

from .raster import Stroke

_RATIO = 1.04  # from one piece to the next: steps that nobody sees
_MOST = 64  # pieces between two points


def tapered(points: np.ndarray, radii: np.ndarray) -> list[Stroke]:
    """Return strokes that together look like one whose radius goes from point to point evenly.

    Parameters
    ----------
    points : (N, 2) x and y in level-0 pixels, N >= 1.
    radii : (N,) radius at each point, above 0. Where it stays the same, points stay together in one stroke.
    """
    if (radii == radii[0]).all():  # a mouse, or a single point
        return [Stroke(points, float(radii[0]))]
    found: list[tuple[list[np.ndarray], float]] = []
    for number in range(len(points) - 1):
        a, b, ra, rb = points[number], points[number + 1], float(radii[number]), float(radii[number + 1])
        count = 1 if ra == rb else min(_MOST, max(2, math.ceil(abs(math.log(rb / ra)) / math.log(_RATIO)) + 1))
        ends = np.linspace(a, b, count + 1)
        for k, radius in enumerate(np.geomspace(ra, rb, count).tolist() if count > 1 else [ra]):
            if found and found[-1][1] == radius:
                found[-1][0].append(ends[k + 1])
            else:
                found.append(([ends[k], ends[k + 1]], radius))
    return [Stroke(np.array(line), radius) for line, radius in found]
