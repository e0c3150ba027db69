"""What a slide is, and how one is opened.

Coordinates: level-0 pixels, x right, y down; pixel (i, j) covers ``[i, i+1) x [j, j+1)``. Pixels come as uint8 RGB arrays
``[row, column, 3]``; whatever lies outside the slide is white.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import SlideError

TIFF_SUFFIXES = (".svs", ".tif", ".tiff", ".btf", ".tf8", ".qptiff")
OPENSLIDE_SUFFIXES = (".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".dcm", ".czi", ".svslide")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SUFFIXES = TIFF_SUFFIXES + OPENSLIDE_SUFFIXES + PICTURE_SUFFIXES
"""Suffixes (lower case) of the files that `open_slide` may open."""

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# A resolution that a scanner never has and that picture programs write when they know nothing better.
_PRINT_DPI = (72.0, 96.0, 150.0, 300.0, 600.0)
# Bytes up to which a file is hashed whole for its fingerprint; a fraction of a second.
_HASHED_WHOLE = 64 << 20
# Source pixels held at once while a large region is scaled down: 48 MB of RGB.
_BLOCK_PIXELS = 1 << 24


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Attributes
    ----------
    width, height : size in pixels of this level.
    downsample_x, downsample_y : level-0 size / level size, per axis; not always the same, and not always whole.
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

    Label and macro images (they may show patient data) are never read.
    """

    vendor: str = ""
    reader: str = ""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.levels: list[Level] = []
        self.mpp: float | None = None
        self.mpp_source = "unknown"
        self.magnification: float | None = None
        self._fingerprint: str | None = None

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

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of one level.

        Parameters
        ----------
        level : index into `levels`.
        x, y : left upper corner in pixels OF THIS LEVEL; may lie outside.
        width, height : in pixels of this level.

        Returns
        -------
        uint8 [height, width, 3], RGB; white outside the slide.

        Raises
        ------
        SlideError : a part of the file cannot be read; the sentence names the tile.
        """
        x, y, width, height = int(x), int(y), int(width), int(height)
        size = self.levels[level]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, size.width), min(y + height, size.height)
        if left == x and top == y and right == x + width and bottom == y + height and width > 0 and height > 0:
            return self._pixels(level, x, y, width, height)
        out = np.full((height, width, 3), 255, np.uint8)
        if right > left and bottom > top:
            part = self._pixels(level, left, top, right - left, bottom - top)
            out[top - y : bottom - y, left - x : right - x] = part
        return out

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        """One tile, cut at the slide's edge: uint8 [<= tile_height, <= tile_width, 3]."""
        size = self.levels[level]
        if not (0 <= row < size.rows and 0 <= column < size.columns):
            raise IndexError(f"level {level} has {size.rows} x {size.columns} tiles, not ({row}, {column})")
        x, y = column * size.tile_width, row * size.tile_height
        width, height = min(size.tile_width, size.width - x), min(size.tile_height, size.height - y)
        return self._pixels(level, x, y, width, height)

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
        left, top = x / size.downsample_x, y / size.downsample_y
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
            fine = self.read(level, x0, y0, width * whole_x, height * whole_y)
        else:
            # One pixel of margin on each side for the bilinear step to a grid of whole steps per output pixel.
            right, bottom = math.ceil(left + width * scale_x) + 1, math.ceil(top + height * scale_y) + 1
            source = self.read(level, x0 - 1, y0 - 1, right - x0 + 1, bottom - y0 + 1)
            step_x, step_y = scale_x / whole_x, scale_y / whole_y
            fine = _resample(source, off_x + 1, off_y + 1, step_x, step_y, width * whole_x, height * whole_y)
        if whole_x == 1 and whole_y == 1:
            return fine
        import cv2

        return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)

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


def file_fingerprint(path: Path) -> str:
    """SHA-256 that tells files with different pixels apart.

    Of the whole file up to 64 MiB, and of files without compression (there a few changed pixels change a few bytes and
    nothing else); of larger ones as `sampled_fingerprint`: any other pixels change the lengths of compressed tiles, and so
    the table of tiles and the size.
    """
    size = path.stat().st_size
    if size > _HASHED_WHOLE and not _uncompressed(path):
        return sampled_fingerprint(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _uncompressed(path: Path) -> bool:
    magic = _first_bytes(path)
    if magic[:2] == b"BM":
        return True
    if magic[:4] not in TIFF_MAGIC:
        return False
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.pages.first.compression == 1)
    except Exception:  # damaged: opening the slide says so
        return False


def sampled_fingerprint(path: Path) -> str:
    """SHA-256 over the size, the first and last 64 KiB and eight 4 KiB blocks between them; of small files over all."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for offset, count in _sampled_blocks(size):
            file.seek(offset)
            digest.update(file.read(count))
    return digest.hexdigest()


def _sampled_blocks(size: int) -> Iterator[tuple[int, int]]:
    edge = 64 * 1024
    if size <= 4 * edge:
        yield 0, size
        return
    yield 0, edge
    for part in range(1, 9):
        yield size * part // 9, 4096
    yield size - edge, edge


def mpp_of_resolution(pixels: float, unit: int) -> float | None:
    """µm per pixel of a TIFF resolution (pixels per `unit`: 2 = inch, 3 = cm); None where it is a print setting."""
    if unit not in (2, 3) or not math.isfinite(pixels) or pixels <= 0:
        return None
    mpp = (25_400.0 if unit == 2 else 10_000.0) / pixels
    dpi = 25_400.0 / mpp
    if any(abs(dpi - known) <= 0.005 * known for known in _PRINT_DPI):
        return None
    return mpp if 0.001 < mpp < 1000 else None


def is_slide(path: Path | str) -> bool:
    """Whether the name of `path` looks like something that `open_slide` opens."""
    return Path(path).suffix.lower() in SUFFIXES


def open_slide(path: Path | str, mpp: float | None = None) -> Slide:
    """Open a slide or a picture.

    Every tiled TIFF goes to our own tile reader, other slide formats to OpenSlide, pictures to Pillow.

    Parameters
    ----------
    path : the file.
    mpp : µm per level-0 pixel that the user has set; it goes before what the file says.

    Raises
    ------
    SlideError : one sentence with the file, the reason and the way out.
    """
    path = Path(path)
    magic = _first_bytes(path)
    slide = _open(path, magic)
    if mpp is not None:
        slide._set_mpp(mpp, "set by you")
    return slide


def _first_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise SlideError(f"{path.name} is a folder, not a slide: choose a file inside it.")
        with path.open("rb") as file:
            magic = file.read(16)
    except FileNotFoundError:
        raise SlideError(f"{path} does not exist: it was moved, renamed or its disk is not connected.") from None
    except OSError as error:
        raise SlideError(
            f"{path} cannot be opened: {error.strerror or error}. Check its permissions and its disk."
        ) from error
    if not magic:
        raise SlideError(f"{path.name} is empty (0 bytes): copy it again from where it came from.")
    return magic


def _open(path: Path, magic: bytes) -> Slide:
    reasons: list[str] = []
    suffix = path.suffix.lower()
    if magic[:4] in TIFF_MAGIC and suffix not in OPENSLIDE_SUFFIXES:
        from .tiff_levels import NotOurs
        from .tiled_tiff import TiledTiffSlide

        try:
            return TiledTiffSlide(path)
        except NotOurs as error:
            reasons.append(str(error))
    if suffix not in PICTURE_SUFFIXES:
        from .openslide_slide import OpenSlideSlide

        slide = OpenSlideSlide.try_open(path, reasons)
        if slide is not None:
            return slide
    from .picture import PictureSlide

    picture = PictureSlide.try_open(path, reasons)
    if picture is not None:
        return picture
    if magic[:4] in TIFF_MAGIC:
        raise SlideError(
            f"{path.name} is a TIFF that cannot be read ({'; '.join(reasons)}): copy it again from where it came from, or "
            "export it as a tiled pyramidal TIFF."
        )
    raise SlideError(
        f"{path.name} is no slide or picture that Opsin knows, or it is damaged ({'; '.join(reasons)}): copy it again from "
        "where it came from, or export it as .svs, pyramidal .tif or .png."
    )
