"""A layer over the slide that yields to what is painted by hand: there it is not drawn, from the moment of painting on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...engine.labels.store import LabelStore
from ...engine.tiles import TILE, TilePyramid
from .painting import Key, PyramidLayer, _Picture


class YieldingLayer(PyramidLayer):
    """Pseudo labels: a proposal, which a label by hand replaces.

    Parameters
    ----------
    labels : says which labels belong to the slide now; edits that are still queued count.
    """

    def __init__(self, source: TilePyramid, table: np.ndarray, labels: Callable[[], LabelStore | None]) -> None:
        super().__init__(source, table)
        self._labels = labels
        self._seen: dict[Key, np.ndarray | None] = {}  # the label tile that a picture was made with

    def ready(self, key: Key) -> bool:
        return super().ready(key) and self._seen.get(key) is self._label_tile(key)

    def _label_tile(self, key: Key) -> np.ndarray | None:
        """The tile of labels at the same place: of the same size on the slide, else the coarsest there is."""
        labels = self._labels()
        if labels is None:
            return None
        level = key[0] + self.base_level
        if level < labels.levels:
            return labels.tile(level, key[1], key[2])
        return labels.tile(labels.levels - 1, 0, 0)  # the last level is one tile

    def _picture(self, key: Key) -> _Picture:
        picture = self._pictures.get(key)
        if picture is not None and self._seen.get(key) is not self._label_tile(key):
            picture.stale = True
        for old in self._seen.keys() - self._pictures.keys() if len(self._seen) > 2 * self.kept else ():
            del self._seen[old]
        return super()._picture(key)

    def _read(self, key: Key, picture: _Picture) -> None:
        tile, painted = self.source.tile(*key), self._label_tile(key)
        self._seen[key] = painted
        picture.stale = False
        if tile is not None and painted is not None:
            tile = np.where(self._at(key, painted) != 0, 0, tile)
        picture.show(tile, self._table)

    def _at(self, key: Key, painted: np.ndarray) -> np.ndarray:
        """The labels at the pixels of a tile of this layer."""
        labels = self._labels()
        assert labels is not None
        up = key[0] + self.base_level - (labels.levels - 1)
        if up <= 0:
            return painted
        # a pixel of this layer covers 2**up pixels of the coarsest labels each way: the first of them stands for it
        part = painted[:: 1 << up, :: 1 << up]
        found = np.zeros((TILE, TILE), painted.dtype)
        found[: part.shape[0], : part.shape[1]] = part
        return found
