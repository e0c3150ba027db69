"""What a slide is: levels, pixels at any place and scale, channels.

Coordinates: level-0 pixels, x right, y down; pixel (i, j) covers ``[i, i+1) x [j, j+1)``. Pixels come as uint8 RGB arrays
``[row, column, 3]``; whatever lies outside the slide is white (black on fluorescence slides).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import SlideError
from .channels import Channel, composite
from .fingerprints import file_fingerprint
from .orientation import steps, stored_rectangle, upright

# A resolution that a scanner never has and that picture programs write when they know nothing better.
_PRINT_DPI = (72.0, 96.0, 150.0, 300.0, 600.0)
# Source pixels held at once while a large region is scaled down: 48 MB of RGB.
_BLOCK_PIXELS = 1 << 24


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Attributes
    ----------
    width, height : size in pixels of this level.
    downsample_x, downsample_y : level-0 pixels per pixel of this level, see `level_factors`; pixel i of this level stands for
        level-0 pixels ``[i * downsample, (i + 1) * downsample)``.
    tile_width, tile_height : size of the tiles that `Slide.tile` gives, in pixels of this level.
    """

    width: int
    height: int
    downsample_x: float
    downsample_y: float
    tile_width: int
    tile_height: int

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile_width)

    @property
    def rows(self) -> int:
        return -(-self.height // self.tile_height)


class Slide:
    """A slide or picture that is open for reading. All reading methods may be called from several threads at once.

    Attributes
    ----------
    path : the file.
    width, height : size of level 0 in pixels.
    levels : finest first.
    mpp : micrometres per level-0 pixel (mean of both axes), None = unknown.
    mpp_source : where `mpp` comes from: "file (Aperio MPP)", "file (resolution tag)", "file (OME)",
        "file (<vendor>)", "set by you" or "unknown".
    magnification : of the objective, as the file says; None = it does not.
    vendor : "aperio", "generic-tiff", "ome-tiff", "picture" or what OpenSlide calls it.
    reader : which of our readers is at work, in words.
    bounds : (x, y, width, height) in level-0 pixels of the part that was scanned; the whole slide where the file names none.
        QuPath crops to it: its coordinates count from this corner.
    channels : of a fluorescence slide, with the file's own colours and windows; empty for RGB. Never changes.
    note : one sentence about what is not shown ("" = all is), such as further planes in depth or time.

    What `read`, `tile`, `read_scaled` and `thumbnail` give of a fluorescence slide is the composite of `display`, which is the
    same as `channels` until a viewer sets it. It belongs to this object alone: whoever opens the file again (a method that
    trains or predicts, the window's background jobs) gets the file's defaults, whatever a viewer has changed.

    Label and macro images (they may show patient data) are never read.
    """

    vendor: str = ""
    reader: str = ""
    note: str = ""
    # Set by readers whose pixels are stored turned; `_pixels` and `_native` then count as stored.
    _orientation: int = 1
    _number_type: np.dtype = np.dtype(np.uint8)

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.levels: list[Level] = []
        self.mpp: float | None = None
        self.mpp_source = "unknown"
        self.magnification: float | None = None
        self.channels: tuple[Channel, ...] = ()
        self._display: tuple[Channel, ...] = ()
        self._bounds: tuple[int, int, int, int] | None = None
        self._fingerprint: str | None = None

    @property
    def display(self) -> tuple[Channel, ...]:
        """How the channels are shown; empty for RGB. Setting it changes what the next read gives, in all threads.

        The tuple can serve as (part of) the key of a cache of pixels.

        Raises
        ------
        ValueError : not as many as `channels`.
        """
        return self._display

    @display.setter
    def display(self, channels: Iterable[Channel]) -> None:
        shown = tuple(channels)
        if len(shown) != len(self.channels):
            raise ValueError(f"{self.path.name} has {len(self.channels)} channels, not {len(shown)}")
        self._display = shown

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        return self._bounds or (0, 0, self.width, self.height)

    @property
    def width(self) -> int:
        return self.levels[0].width

    @property
    def height(self) -> int:
        return self.levels[0].height

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path.name} {self.width}x{self.height} mpp={self.mpp}>"

    def close(self) -> None:
        """Give the file back. Reads that are under way in other threads still end well; later ones raise SlideError."""

    # -- reading ---------------------------------------------------------------------------------------------------

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """uint8 [height, width, 3] of a rectangle that lies wholly inside `level`."""
        raise TypeError(f"{type(self).__name__} does not say how its pixels are read")

    def _native(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """[C, height, width] of a rectangle that lies wholly inside `level`, in the file's own number type."""
        return np.ascontiguousarray(self._pixels(level, x, y, width, height).transpose(2, 0, 1))

    def _stored(self, level: int, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
        size = self.levels[level]
        return stored_rectangle(self._orientation, (size.width, size.height), x, y, width, height)

    def _shown(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """uint8 [height, width, 3] of a rectangle inside `level`: upright, channels composed."""
        if self._orientation != 1:
            x, y, width, height = self._stored(level, x, y, width, height)
        if self.channels:
            rgb = composite(self._native(level, x, y, width, height), self._display)
        else:
            rgb = self._pixels(level, x, y, width, height)
        return rgb if self._orientation == 1 else upright(self._orientation, rgb)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of one level.

        Parameters
        ----------
        level : index into `levels`.
        x, y : left upper corner in pixels OF THIS LEVEL; may lie outside.
        width, height : in pixels of this level.

        Returns
        -------
        uint8 [height, width, 3], RGB; white outside the slide (black if it has channels).

        Raises
        ------
        SlideError : a part of the file cannot be read; the sentence names the tile.
        """
        x, y, width, height = int(x), int(y), int(width), int(height)
        size = self.levels[level]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, size.width), min(y + height, size.height)
        if left == x and top == y and right == x + width and bottom == y + height and width > 0 and height > 0:
            return self._shown(level, x, y, width, height)
        out = np.full((height, width, 3), 0 if self.channels else 255, np.uint8)
        if right > left and bottom > top:
            part = self._shown(level, left, top, right - left, bottom - top)
            out[top - y : bottom - y, left - x : right - x] = part
        return out

    def read_channels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of one level as the file holds them, without colours and windows; parameters and errors as `read`.

        Returns
        -------
        [C, height, width] in the file's number type (uint8, uint16, float32, ...), 0 outside the slide; of an RGB slide its
        red, green and blue.
        """
        x, y, width, height = int(x), int(y), int(width), int(height)
        size = self.levels[level]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, size.width), min(y + height, size.height)
        out = np.zeros((len(self.channels) or 3, height, width), self._number_type)
        if right > left and bottom > top:
            part = self._native(level, *self._stored(level, left, top, right - left, bottom - top))
            if self._orientation != 1:
                part = upright(self._orientation, part.transpose(1, 2, 0)).transpose(2, 0, 1)
            out[:, top - y : bottom - y, left - x : right - x] = part
        return out

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        """One tile, cut at the slide's edge: uint8 [<= tile_height, <= tile_width, 3]."""
        size = self.levels[level]
        if not (0 <= row < size.rows and 0 <= column < size.columns):
            raise IndexError(f"level {level} has {size.rows} x {size.columns} tiles, not ({row}, {column})")
        x, y = column * size.tile_width, row * size.tile_height
        width, height = min(size.tile_width, size.width - x), min(size.tile_height, size.height - y)
        return self._shown(level, x, y, width, height)

    def best_level(self, downsample: float) -> int:
        """The coarsest level that is at least as fine as `downsample` (level-0 px per px wanted).

        One per cent of tolerance, so that a level made with factor 4.02 serves a wish for 4.
        """
        best = 0
        for index, level in enumerate(self.levels):
            if max(level.downsample_x, level.downsample_y) <= downsample * 1.01:
                best = index
        return best

    def read_scaled(self, x: float, y: float, width: int, height: int, downsample: float) -> np.ndarray:
        """Pixels at any scale and place, exact to a fraction of a pixel.

        Parameters
        ----------
        x, y : left upper corner in level-0 pixels, may be fractions.
        width, height : size of the OUTPUT in pixels.
        downsample : level-0 pixels per output pixel (below 1 = enlarged).

        Returns
        -------
        uint8 [height, width, 3]. Output pixel (i, j) stands for the square
        ``[x + i*downsample, x + (i+1)*downsample) x [y + j*downsample, ...)``: the mean over it where the source is
        finer, bilinear between pixel centres where it is not. Memory stays bounded however large the square is.
        """
        width, height = int(width), int(height)
        level = self.best_level(downsample)
        size = self.levels[level]
        scale_x, scale_y = downsample / size.downsample_x, downsample / size.downsample_y
        corner_x, corner_y = self._corner(level)
        left, top = (x - corner_x) / size.downsample_x, (y - corner_y) / size.downsample_y
        # Output pixels per block, such that a block's source fits into _BLOCK_PIXELS.
        block = max(1, int(math.sqrt(_BLOCK_PIXELS / max(scale_x * scale_y, 1e-9))))
        if width <= block and height <= block:
            return self._scaled(level, left, top, width, height, scale_x, scale_y)
        out = np.empty((height, width, 3), np.uint8)
        for row in range(0, height, block):
            rows = min(block, height - row)
            for column in range(0, width, block):
                columns = min(block, width - column)
                out[row : row + rows, column : column + columns] = self._scaled(
                    level, left + column * scale_x, top + row * scale_y, columns, rows, scale_x, scale_y
                )
        return out

    def _scaled(
        self, level: int, left: float, top: float, width: int, height: int, scale_x: float, scale_y: float
    ) -> np.ndarray:
        """One block of `read_scaled`; `left`, `top` and the scales in pixels of `level`."""
        x0, y0 = math.floor(left + 1e-6), math.floor(top + 1e-6)
        off_x, off_y = max(left - x0, 0.0), max(top - y0, 0.0)
        whole_x, whole_y = _steps(scale_x), _steps(scale_y)
        exact_x = abs(off_x) < 1e-3 and abs(scale_x - whole_x) * width < 1e-2
        exact_y = abs(off_y) < 1e-3 and abs(scale_y - whole_y) * height < 1e-2
        if exact_x and exact_y:
            fine = self._to_the_edge(level, x0, y0, width * whole_x, height * whole_y)
        else:
            # One pixel of margin on each side for the bilinear step to a grid of whole steps per output pixel.
            right, bottom = math.ceil(left + width * scale_x) + 1, math.ceil(top + height * scale_y) + 1
            source = self._to_the_edge(level, x0 - 1, y0 - 1, right - x0 + 1, bottom - y0 + 1)
            step_x, step_y = scale_x / whole_x, scale_y / whole_y
            fine = _resample(source, off_x + 1, off_y + 1, step_x, step_y, width * whole_x, height * whole_y)
        if whole_x == 1 and whole_y == 1:
            return fine
        import cv2

        return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)

    def _corner(self, level: int) -> tuple[float, float]:
        """Level-0 place of the left upper corner of a level: (0, 0) but where a mirrored level lacks a part of a pixel."""
        if self._orientation == 1:
            return 0.0, 0.0
        size = self.levels[level]
        _, mirror_x, mirror_y = steps(self._orientation)
        return (
            self.width - size.width * size.downsample_x if mirror_x else 0.0,
            self.height - size.height * size.downsample_y if mirror_y else 0.0,
        )

    def _to_the_edge(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """`read`, with the last row and column repeated where a level lacks a fraction of a pixel to the slide's edge."""
        out = self.read(level, x, y, width, height)
        size = self.levels[level]
        corner_x, corner_y = self._corner(level)
        right = math.ceil((self.width - corner_x) / size.downsample_x - 1e-6) - x
        bottom = math.ceil((self.height - corner_y) / size.downsample_y - 1e-6) - y
        if corner_x > 0 and -width < x < 0:
            out[:, -x - 1] = out[:, -x]
        if corner_y > 0 and -height < y < 0:
            out[-y - 1] = out[-y]
        if 0 < size.width - x < min(right, width):
            out[:, size.width - x : right] = out[:, size.width - x - 1, None]
        if 0 < size.height - y < min(bottom, height):
            out[size.height - y : bottom] = out[None, size.height - y - 1]
        return out

    def thumbnail(self, size: int) -> np.ndarray:
        """The whole slide, longest side <= `size` pixels (never enlarged); never the label or macro image."""
        downsample = max(1.0, max(self.width, self.height) / size)
        width = max(1, min(size, round(self.width / downsample)))
        height = max(1, min(size, round(self.height / downsample)))
        return self.read_scaled(0, 0, width, height, downsample)

    # -- identity --------------------------------------------------------------------------------------------------

    def fingerprint(self) -> str:
        """`file_fingerprint` of the slide's file: the same after a move or a new name."""
        if self._fingerprint is None:
            try:
                self._fingerprint = file_fingerprint(self.path)
            except OSError as error:
                raise SlideError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        return self._fingerprint

    def _set_channels(self, channels: tuple[Channel, ...], number_type: np.dtype) -> None:
        self.channels = self._display = channels
        self._number_type = np.dtype(number_type)

    def _set_mpp(self, mpp: float | None, source: str) -> None:
        if mpp is not None and math.isfinite(mpp) and 0 < mpp < 1000:
            self.mpp, self.mpp_source = float(mpp), source


def _steps(scale: float) -> int:
    """Steps of about one source pixel per output pixel; a fifth of a pixel more is no reason to add one."""
    whole = math.floor(scale + 1e-6)
    return max(1, whole if scale - whole <= 0.2 else whole + 1)


def _resample(
    source: np.ndarray, left: float, top: float, step_x: float, step_y: float, width: int, height: int
) -> np.ndarray:
    """Bilinear: output pixel centre (i + 0.5) * step + left in source pixels whose centres lie at k + 0.5."""
    import cv2

    # cv2 counts from pixel centres, hence the halves.
    matrix = np.array([[step_x, 0, left + 0.5 * step_x - 0.5], [0, step_y, top + 0.5 * step_y - 0.5]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(source, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def level_factors(width: int, height: int, level_width: int, level_height: int) -> tuple[float, float]:
    """Level-0 pixels per level pixel, (x, y), from the two sizes.

    Scanners and programs shrink by a whole factor and round the size of the level up or down: where one whole factor
    explains both axes it is taken, as the quotient of the sizes would drift by up to a pixel towards the far edge (37 of
    300 columns are factor 8, not 8.108). Else the level was resized, and each axis has its own quotient.
    """
    low = max(width / (level_width + 1), height / (level_height + 1))
    high = min(
        width / (level_width - 1) if level_width > 1 else math.inf,
        height / (level_height - 1) if level_height > 1 else math.inf,
    )
    fit_x, fit_y = width / level_width, height / level_height
    if math.isinf(high):
        high = max(fit_x, fit_y) + 1
    first, last = math.floor(low) + 1, math.ceil(high) - 1
    if last < first:
        return fit_x, fit_y
    power = 1 << max(0, (last.bit_length() - 1))
    if power >= first:
        return float(power), float(power)
    nearest = min(max(round((fit_x + fit_y) / 2), first), last)
    return float(nearest), float(nearest)


def mpp_of_resolution(pixels: float, unit: int) -> float | None:
    """µm per pixel of a TIFF resolution (pixels per `unit`: 2 = inch, 3 = cm); None where it is a print setting."""
    if unit not in (2, 3) or not math.isfinite(pixels) or pixels <= 0:
        return None
    mpp = (25_400.0 if unit == 2 else 10_000.0) / pixels
    dpi = 25_400.0 / mpp
    if any(abs(dpi - known) <= 0.005 * known for known in _PRINT_DPI):
        return None
    return mpp if 0.001 < mpp < 1000 else None
