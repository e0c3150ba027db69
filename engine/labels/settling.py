"""Settling where two readers differ: what was decided goes into labels of their own, the readers' stay as they are.

The agreed labels begin with what both readers labelled the same; each decision adds to them and is one undo step there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..tiles import TILE, TilePyramid
from .difference import Difference, Differing
from .regions import Cancelled, Stopped, connected, never
from .runs import Runs
from .store import LabelStore

BATCH = 200_000  # runs that are handed over at once
START = "What both readers agree on"


def begin(agreed: LabelStore, difference: Difference, cancelled: Cancelled = never) -> int:
    """Label what both readers labelled the same and nothing is agreed on yet, as one undo step; return how many pixels.

    Regions of interest are taken over from the readers where there are none yet. `Stopped` when it was given up: what was
    labelled until then stays, one undo takes it back.
    """
    agreed.flush()
    group = agreed.new_group()
    waiting: dict[int, list[Runs]] = {}
    runs = pixels = 0

    def hand_over() -> None:
        if waiting:
            items = [(Runs.joined(parts), value) for value, parts in waiting.items()]
            agreed.pixels(items, text=START, group=group, only=[0])
            waiting.clear()

    first, second = difference.first, difference.second
    for row, column in sorted(set(first.keys(0)) & set(second.keys(0))):
        if cancelled():
            raise Stopped
        one, other, known = first.tile(0, row, column), second.tile(0, row, column), agreed.tile(0, row, column)
        if one is None or other is None:
            continue
        new = (one == other) & (one > 0)
        if known is not None:
            new &= known == 0
        new[agreed.height - row * TILE :] = False
        new[:, agreed.width - column * TILE :] = False
        if not new.any():
            continue
        for value in np.unique(one[new]).tolist():
            part = Runs.of_mask(new & (one == value), column * TILE, row * TILE)
            waiting.setdefault(value, []).append(part)
            runs, pixels = runs + len(part), pixels + part.area
        if runs > BATCH:
            hand_over()
            runs = 0
    hand_over()
    _take_regions(agreed, difference, group)
    agreed.flush()
    return pixels


def _take_regions(agreed: LabelStore, difference: Difference, group: int) -> None:
    if agreed.marks("roi"):
        return
    for store in (difference.first, difference.second):
        marks = store.marks("roi") if isinstance(store, LabelStore) else []
        if marks:
            agreed.add_marks([replace(mark, id="") for mark in marks], text=START, group=group)
            return


def take(
    agreed: LabelStore,
    source: TilePyramid,
    difference: Difference,
    regions: Iterable[Differing],
    text: str,
    cancelled: Cancelled = never,
) -> int:
    """Give regions in which the readers differ the labels of one of them, as one undo step; return how many pixels.

    Parameters
    ----------
    source : the labels to take: those of `difference.first` or of `.second`; where they are unlabelled, so is what is agreed on.
    difference : with `plain`, as the regions were found.
    """
    items: list[tuple[Runs, int]] = []
    pixels = 0
    for region in regions:
        if not difference.as_pyramid().region(0, region.x, region.y, 1, 1)[0, 0]:
            continue  # a reader has changed it since
        runs = connected(difference.as_pyramid(), region.x, region.y, cancelled)
        pixels += runs.area
        for row, column in _tiles(runs):
            if cancelled():
                raise Stopped
            mask = runs.mask(column * TILE, row * TILE, TILE, TILE)
            tile = source.tile(0, row, column)
            tile = np.zeros((TILE, TILE), np.uint8) if tile is None else tile
            for value in np.unique(tile[mask]).tolist():
                items.append((Runs.of_mask(mask & (tile == value), column * TILE, row * TILE), value))
    if items:
        agreed.pixels(items, text=text)
    return pixels


def _tiles(runs: Runs) -> list[tuple[int, int]]:
    """(row, column) of the tiles that the runs reach."""
    found: set[tuple[int, int]] = set()
    rows, first, last = runs.row // TILE, runs.start // TILE, (runs.end - 1) // TILE
    for row, left, right in np.unique(np.stack((rows, first, last)), axis=1).T.tolist():
        found |= {(row, column) for column in range(left, right + 1)}
    return sorted(found)
