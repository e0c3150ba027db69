"""In which order outlines are painted: what lies inside another outline must stay visible, in as few passes as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry import Polygon


def layers(outlines: Sequence[Sequence[Polygon]], values: Sequence[int]) -> np.ndarray:
    """Return the layer of each outline, int64 [N], 0 = painted first.

    Of two outlines that meet and become different labels the smaller one lies in a higher layer, whatever the order in which
    they come. Outlines of one layer and one label can be painted together: a few passes do for thousands of outlines.

    Parameters
    ----------
    outlines : the polygons of each outline. values : the label each becomes.
    """
    areas = np.array([sum(polygon.area for polygon in polygons) for polygons in outlines])
    rank = np.empty(len(areas), np.int64)
    rank[np.argsort(-areas, kind="stable")] = np.arange(len(areas))
    larger, smaller = _meeting(outlines, rank, np.asarray(values))
    found = np.zeros(len(areas), np.int64)
    # from the largest outline down, so that the layer of each is settled before it is looked at
    for k in np.argsort(rank[larger], kind="stable").tolist():
        found[smaller[k]] = max(found[smaller[k]], found[larger[k]] + 1)
    return found


def _meeting(
    outlines: Sequence[Sequence[Polygon]], rank: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (larger, smaller) of outlines with different labels that touch or overlap, as two int64 [M]."""
    parts = np.array([polygon for polygons in outlines for polygon in polygons], dtype=object)
    owner = np.repeat(np.arange(len(outlines)), [len(polygons) for polygons in outlines])
    one, other = shapely.STRtree(parts).query(parts)
    keep = (rank[owner[one]] < rank[owner[other]]) & (values[owner[one]] != values[owner[other]])
    one, other = one[keep], other[keep]
    # only boxes have been compared; a prepared polygon answers for thousands of small ones inside it at once
    shapely.prepare(parts[np.unique(one)])
    meets = shapely.intersects(parts[one], parts[other])
    return owner[one[meets]], owner[other[meets]]
