"""Decoded tiles of all open slides, the latest used first, within one fixed number of bytes.

Reads that are not aligned to tiles touch each tile up to four times, and a viewer comes back to where it was: without it
every one of them would be decoded again.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

import numpy as np

BYTES = 32 << 20
"""As much as OpenSlide keeps for one slide, here for all slides of the process."""

Key = tuple[int, int, int]
"""(number of the slide, level, tile)"""


class TileCache:
    """Arrays by key; all methods may be called from several threads. What it gives must not be written to."""

    def __init__(self, limit: int = BYTES) -> None:
        self._limit = limit
        self._clear()

    def _clear(self) -> None:
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Key, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._slides = 0

    def new_slide(self) -> int:
        """A number that no other slide has."""
        with self._lock:
            self._slides += 1
            return self._slides

    def get(self, key: Key) -> np.ndarray | None:
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: Key, tile: np.ndarray) -> None:
        """Keep a tile, read-only from now on; one larger than an eighth of the whole is not kept."""
        tile.flags.writeable = False
        if tile.nbytes > self._limit // 8:
            return
        with self._lock:
            old = self._tiles.pop(key, None)
            self._bytes += tile.nbytes - (old.nbytes if old is not None else 0)
            self._tiles[key] = tile
            while self._bytes > self._limit:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes

    def forget(self, slide: int) -> None:
        """Drop the tiles of a slide."""
        with self._lock:
            for key in [key for key in self._tiles if key[0] == slide]:
                self._bytes -= self._tiles.pop(key).nbytes

    @property
    def bytes(self) -> int:
        """What the tiles take now."""
        return self._bytes


TILES = TileCache()


def _after_fork() -> None:
    # The lock may have been held by a thread that the child does not have. Numbers go on: slides were inherited.
    slides = TILES._slides
    TILES._clear()
    TILES._slides = slides


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
