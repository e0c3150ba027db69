"""Slide tiles for the view: composed and decoded in two threads, kept by bytes, what left the view is never started.

Tile (k, row, column) covers 512 * 2**k level-0 pixels each way; one of its pixels stands for 2**k level-0 pixels. So the
number of tiles on screen is bounded at every zoom, whatever levels and tile sizes the file has, and nothing on screen is
ever shrunk by more than two (no moiré).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QImage

from ...engine.data.slides import Slide
from ...engine.errors import OpsinError
from ...engine.tiles import TILE

Key = tuple[int, int, int]  # k, row, column
BASE: Key = (-1, 0, 0)  # the whole slide, small: what is shown until tiles arrive
BASE_SIZE = 1024
KEPT = 256 << 20  # bytes of decoded tiles; a full 4K screen needs about 120 MB
_AT_ONCE = 4  # a tile is read in one go when its source is at most this many times as wide


class Cancelled(Exception):
    """The tile being composed is no longer in sight."""


def exact_level(slide: Slide, k: int) -> int | None:
    """The level of the file that has one pixel per 2**k level-0 pixels (to its last pixel), if there is one."""
    for index, level in enumerate(slide.levels):
        if (
            abs(level.downsample_x / 2**k - 1) * level.width <= 1.5
            and abs(level.downsample_y / 2**k - 1) * level.height <= 1.5
        ):
            return index
    return None


def tile_size(slide: Slide, key: Key) -> tuple[int, int]:
    """(width, height) of a tile in its own pixels; the last column and row may reach over the slide by a fraction."""
    k, row, column = key
    step = 1 << k
    return min(TILE, -(-slide.width // step) - column * TILE), min(TILE, -(-slide.height // step) - row * TILE)


def compose(slide: Slide, key: Key, check: Callable[[], None] = lambda: None) -> np.ndarray:
    """Pixels of a tile: uint8 [<= 512, <= 512, 3]. `check` is called between reads and may raise `Cancelled`."""
    check()
    k, row, column = key
    width, height = tile_size(slide, key)
    level = exact_level(slide, k)
    if level is not None:
        size = slide.levels[level]
        inside_x = max(1, min(width, size.width - column * TILE))
        inside_y = max(1, min(height, size.height - row * TILE))
        pixels = slide.read(level, column * TILE, row * TILE, inside_x, inside_y)
        if (inside_x, inside_y) == (width, height):
            return pixels
        # The file's level was cut where ours is rounded up: repeat its last row and column instead of a white seam.
        return np.pad(pixels, ((0, height - inside_y), (0, width - inside_x), (0, 0)), mode="edge")
    step = 1 << k
    source = slide.levels[slide.best_level(step)]
    if step / min(source.downsample_x, source.downsample_y) <= _AT_ONCE:
        x, y = column * TILE * step, row * TILE * step
        inside_x = max(1, min(width, (slide.width - x) // step))
        inside_y = max(1, min(height, (slide.height - y) // step))
        pixels = slide.read_scaled(x, y, inside_x, inside_y, step)
        return np.pad(pixels, ((0, height - inside_y), (0, width - inside_x), (0, 0)), mode="edge")
    # A file without coarse levels: halve the four tiles below, so that memory stays bounded.
    whole = np.empty((2 * height, 2 * width, 3), np.uint8)
    for below_row in (0, 1):
        for below_column in (0, 1):
            below = (k - 1, 2 * row + below_row, 2 * column + below_column)
            if min(tile_size(slide, below)) < 1:
                continue
            part = compose(slide, below, check)
            y, x = below_row * TILE, below_column * TILE
            whole[y : y + part.shape[0], x : x + part.shape[1]] = part
            filled_y, filled_x = y + part.shape[0], x + part.shape[1]
    whole[filled_y:] = whole[filled_y - 1]
    whole[:, filled_x:] = whole[:, filled_x - 1 : filled_x]
    total = whole[0::2, 0::2].astype(np.uint16)
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
        total += whole[dy::2, dx::2]
    return ((total + 2) >> 2).astype(np.uint8)


def to_rgb32(pixels: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] RGB to uint8 [h, w, 4] in the byte order of QImage.Format_RGB32."""
    out = np.empty((*pixels.shape[:2], 4), np.uint8)
    out[..., 0] = pixels[..., 2]
    out[..., 1] = pixels[..., 1]
    out[..., 2] = pixels[..., 0]
    out[..., 3] = 255
    return out


class Loader(QObject):
    """Two threads that decode the tiles that are wanted now, most wanted first."""

    loaded = Signal(object, object, object, object)  # generation, key, uint8 [h, w, 4] or why it failed, version

    def __init__(self, threads: int = 2) -> None:
        super().__init__()
        self.generation = 0
        self.version = 0  # of how the slide gives its pixels: its channels may be shown otherwise
        self._slide: Slide | None = None
        self._wanted: Sequence[Key] = ()
        self._running: set[Key] = set()
        lock = threading.RLock()
        self._wake, self._done = threading.Condition(lock), threading.Condition(lock)
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"slide tiles {number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def set_slide(self, slide: Slide | None) -> None:
        with self._wake:
            self.generation += 1
            self._slide = slide
            self._wanted = ()
            self._running = set()

    def renew(self) -> None:
        """From now on the slide gives other pixels: what is being read is out of date when it comes."""
        with self._wake:
            self.version += 1

    def want(self, keys: Sequence[Key]) -> None:
        """Replace the list of wanted tiles; what is not in it any more and was not started is dropped."""
        with self._wake:
            self._wanted = keys
            if keys:
                self._wake.notify_all()

    def wait(self, seconds: float) -> None:
        """Sleep until a tile was finished, at most so long (for tests and screenshots)."""
        with self._wake:
            if self._running or self._wanted:
                self._done.wait(seconds)

    def stop(self) -> None:
        """End the threads; the tile in hand is finished first."""
        with self._wake:
            self._stopping = True
            self._wanted = ()
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def _next(self) -> tuple[int, Slide, Key, int] | None:
        with self._wake:
            while not self._stopping:
                if self._slide is not None:
                    for key in self._wanted:
                        if key not in self._running:
                            self._running.add(key)
                            return self.generation, self._slide, key, self.version
                self._wake.wait()
        return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            generation, slide, key, version = job

            def check(generation: int = generation, key: Key = key) -> None:
                if self._stopping or generation != self.generation or key not in self._wanted:
                    raise Cancelled

            result: np.ndarray | str | None
            try:
                pixels = slide.thumbnail(BASE_SIZE) if key == BASE else compose(slide, key, check)
                result = to_rgb32(pixels)
            except Cancelled:
                result = None
            except OpsinError as error:
                result = str(error)
            except Exception as error:  # a reader's fault must not end the thread; the view says what it was
                result = f"{slide.path.name} could not be read here: {error}"
            if self._stopping:
                return
            if result is None:
                self.delivered(generation, key, version)
            else:
                self.loaded.emit(generation, key, result, version)
            with self._wake:
                self._done.notify_all()

    def delivered(self, generation: int, key: Key, version: int) -> None:
        """The view has put the tile away (or it was cancelled); until then it is not started again."""
        with self._wake:
            if generation == self.generation:
                self._running.discard(key)
                if version == self.version:
                    self._wanted = [other for other in self._wanted if other != key]
                elif key in self._wanted:
                    self._wake.notify_all()


class SlideTiles(QObject):
    """The decoded tiles of one slide as pictures, brightness and contrast applied when they are asked for."""

    arrived = Signal(object)  # key
    failed = Signal(str)

    def __init__(self, kept: int = KEPT) -> None:
        super().__init__()
        self.slide: Slide | None = None
        self.loader = Loader()
        self.loader.loaded.connect(self._put)
        self._kept = kept
        self._bytes = 0
        # key -> (pixels, picture, number of the look the picture was made with); pixels None: could not be read
        self._tiles: OrderedDict[Key, tuple[np.ndarray | None, QImage | None, int]] = OrderedDict()
        self._old: set[Key] = set()  # tiles from before the channels were shown otherwise: shown until others come
        self._table: bytes | None = None
        self._look = 0
        self._said = False

    def set_slide(self, slide: Slide | None) -> None:
        self.slide = slide
        self.loader.set_slide(slide)
        self._tiles.clear()
        self._old.clear()
        self._bytes = 0
        self._said = False

    def renew(self) -> None:
        """The slide gives other pixels now: tiles stay in sight until they are there, and are wanted again."""
        self.loader.renew()
        self._old = set(self._tiles)

    def set_look(self, brightness: float, contrast: float) -> None:
        """Set brightness and contrast (-1 … 1 each, 0 = as scanned)."""
        factor = 4.0**contrast
        values = ((np.arange(256) / 255 - 0.5) * factor + 0.5 + brightness) * 255
        table = np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()
        self._table = None if not brightness and not contrast else table
        self._look += 1

    def __contains__(self, key: Key) -> bool:
        return key in self._tiles and key not in self._old

    def coarsest(self) -> int:
        """The coarsest k worth loading: beyond it the small picture of the whole slide is as good."""
        if self.slide is None:
            return 0
        shrunk = max(self.slide.width, self.slide.height) / BASE_SIZE
        return max(0, int(np.ceil(np.log2(shrunk))) - 1) if shrunk > 1 else 0

    def image(self, key: Key) -> QImage | None:
        """The picture of a tile, None when it is not there (yet)."""
        found = self._tiles.get(key)
        if found is None:
            return None
        pixels, image, look = found
        if pixels is None:
            return None
        if image is None or look != self._look:
            image = self._picture(pixels)
            self._tiles[key] = (pixels, image, self._look)
        self._tiles.move_to_end(key)
        return image

    def pixel(self, key: Key, x: int, y: int) -> tuple[int, int, int] | None:
        """RGB of one pixel of a tile as scanned."""
        pixels = self._tiles.get(key, (None,))[0]
        if pixels is None or not (0 <= y < pixels.shape[0] and 0 <= x < pixels.shape[1]):
            return None
        blue, green, red, _ = pixels[y, x].tolist()
        return red, green, blue

    def _picture(self, pixels: np.ndarray) -> QImage:
        height, width = pixels.shape[:2]
        if self._table is None:
            # QImage does not hold the array: `_tiles` keeps both together.
            return QImage(pixels.data, width, height, 4 * width, QImage.Format.Format_RGB32)
        shown = bytearray(pixels.tobytes().translate(self._table))
        shown[3::4] = b"\xff" * (width * height)
        image = QImage(bytes(shown), width, height, 4 * width, QImage.Format.Format_RGB32)
        return image.copy()

    def _put(self, generation: int, key: Key, result: np.ndarray | str, version: int) -> None:
        if generation != self.loader.generation:
            return
        self.loader.delivered(generation, key, version)
        before = self._tiles.pop(key, (None,))[0]
        self._bytes -= 0 if before is None else before.nbytes
        (self._old.discard if version == self.loader.version else self._old.add)(key)
        if isinstance(result, str):
            self._tiles[key] = (None, None, 0)
            if not self._said:
                self._said = True
                self.failed.emit(result)
            return
        self._tiles[key] = (result, None, -1)
        self._bytes += result.nbytes
        while self._bytes > self._kept:
            oldest = next(other for other in self._tiles if other != BASE)
            if oldest == key:
                break
            pixels, _, _ = self._tiles.pop(oldest)
            self._old.discard(oldest)
            self._bytes -= 0 if pixels is None else pixels.nbytes
        self.arrived.emit(key)
