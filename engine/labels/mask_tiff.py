"""Masks as pictures: pyramidal TIFF for slides of any size, PNG with a palette for small ones; 0 = unlabelled.

A mask has the size of the slide's level 0. What its values mean stands in a table beside it (``<name>.classes.json``), and
in the file itself (TIFF: description; PNG: text "opsin"), so that it is not lost when the file travels alone.
"""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from ..errors import AnnotationError
from ..files import replacing, write_json
from ..tiles import TILE, TilePyramid
from .classes import LabelClass
from .frame import Frame
from .pixels import (
    LARGEST_BLOCK,
    ArrayMask,
    Named,
    Progress,
    check_size,
    mask_outlines,
    read_table,
    table_beside,
    table_of,
    table_path,
)

if TYPE_CHECKING:
    from .shapes import Outlines

LARGEST_PNG = 100_000_000
"""Pixels up to which a mask is written as PNG."""
LARGEST_PNG_READ = 400_000_000
_PAGES = 64
_SMALL, _SHARED = 2048, 16  # bytes of an encoded tile that others may be like, and how many such are kept


def write_mask_tiff(
    path: Path, store: TilePyramid, classes: Sequence[LabelClass], frame: Frame, progress: Progress | None = None
) -> None:
    """Write labels as a pyramidal TIFF: uint8, one channel, tiles of 512, deflate, whole or not at all.

    Each level holds every second pixel of the one before (classes are never mixed), down to one tile. Resolution tags in
    pixels per cm where `frame.mpp` is known. The table of classes is written beside it.
    """
    import tifffile

    path = Path(path)
    table = table_of(classes, frame.plain())
    sizes = [store.level_size(level) for level in range(store.levels)]
    total = sum(-(-height // TILE) for _, height in sizes)
    encoded: dict[int, bytes] = {}
    done = 0

    def encode(level: int, row: int, column: int) -> bytes:
        value = store.uniform(level, row, column)
        if value is None:
            tile = store.tile(level, row, column)
            return bytes(imagecodecs.zlib_encode(_zeros() if tile is None else tile.tobytes(), level=6))
        if value not in encoded:
            encoded[value] = bytes(imagecodecs.zlib_encode(bytes([value]) * (TILE * TILE), level=6))
        return encoded[value]

    def tiles(level: int, width: int, height: int) -> Iterator[bytes]:
        nonlocal done
        for row in range(-(-height // TILE)):
            for column in range(-(-width // TILE)):
                yield encode(level, row, column)
            done += 1
            if progress is not None:
                progress(done, total)

    # uniform tiles take a few hundred bytes; the rest is counted as if it could not be compressed
    most = sum(1000 * -(-w // TILE) * -(-h // TILE) for w, h in sizes) + 2 * TILE * TILE * len(store.keys(0))
    with replacing(path) as temporary:
        with tifffile.TiffWriter(temporary, bigtiff=most > 2**31) as tiff:
            for level, (width, height) in enumerate(sizes):
                options: dict[str, Any] = {"subfiletype": 1 if level else 0}
                if frame.mpp:
                    pixels = 10_000.0 / (frame.mpp * (1 << level))
                    options |= {"resolution": (pixels, pixels), "resolutionunit": "CENTIMETER"}
                if not level:
                    options["description"] = json.dumps(table)
                tiff.write(
                    tiles(level, width, height),
                    shape=(height, width),
                    dtype=np.uint8,
                    tile=(TILE, TILE),
                    photometric="minisblack",
                    compression="adobe_deflate",
                    metadata=None,
                    software="Opsin",
                    **options,
                )
        write_json(table_path(path), table)


def _zeros() -> bytes:
    return bytes(TILE * TILE)


def write_mask_png(
    path: Path, store: TilePyramid, classes: Sequence[LabelClass], frame: Frame, progress: Progress | None = None
) -> None:
    """Write the labels of a small slide as a PNG whose pixels are the classes' numbers, shown in their colours.

    Raises
    ------
    AnnotationError : the slide has more than 100 million pixels.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path = Path(path)
    if store.width * store.height > LARGEST_PNG:
        raise AnnotationError(
            f"{path.name}: a slide of {store.width:,} x {store.height:,} pixels is too large for a PNG; "
            "choose the pyramidal mask TIFF or OME-Zarr."
        )
    table = table_of(classes, frame.plain())
    colors = np.zeros((256, 3), np.uint8)
    for item in classes:
        colors[item.value] = [int(item.color[i : i + 2], 16) for i in (1, 3, 5)]
    image = Image.fromarray(store.region(0, 0, 0, store.width, store.height))
    image.putpalette(colors.tobytes())
    info = PngInfo()
    info.add_text("opsin", json.dumps(table))
    options: dict[str, Any] = {"pnginfo": info, "compress_level": 6}
    if frame.mpp:
        options["dpi"] = (25_400 / frame.mpp, 25_400 / frame.mpp)
    with replacing(path) as temporary:
        image.save(temporary, format="png", **options)
        write_json(table_path(path), table)
    if progress is not None:
        progress(1, 1)


# ---- reading ------------------------------------------------------------------------------------------------------------


def read_mask_tiff(path: Path, progress: Progress | None = None) -> Outlines:
    """Read a mask TIFF of one channel of whole numbers, tiled or not, of any tile size, as outlines of its classes.

    The classes are those of the table beside the file or in its description, else values.

    Raises
    ------
    AnnotationError : the file is no such TIFF, or its parts are too large to be read in pieces.
    """
    path = Path(path)
    with _open_tiff(path) as tiff:
        page = _largest(tiff, path.name)
        table = table_beside(path)
        if table is None:
            table = read_table(tiff.pages.first.description or "") or []
        return mask_outlines(_TiffMask(tiff, page, path.name), table, path.name, progress)


def tiff_has_table(path: Path) -> bool:
    """Whether a TIFF is a mask that says what its values mean."""
    if table_beside(path) is not None:
        return True
    try:
        with _open_tiff(path) as tiff:
            return read_table(tiff.pages.first.description or "") is not None
    except Exception:  # whatever the file is, it is not that
        return False


@contextlib.contextmanager
def _open_tiff(path: Path) -> Iterator[Any]:
    import tifffile

    try:
        tiff = tifffile.TiffFile(path)
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror or error}.") from None
    except tifffile.TiffFileError as error:
        raise AnnotationError(f"{path.name} is no TIFF, or it is damaged ({error}); write it again.") from None
    with tiff:
        yield tiff


def _largest(tiff: Any, name: str) -> Any:
    pages = [tiff.pages.get(k, aspage=True) for k in range(min(len(tiff.pages), _PAGES))]
    page = max(pages, key=lambda page: page.imagewidth * page.imagelength)
    check_size(page.imagewidth, page.imagelength, name)
    if page.samplesperpixel != 1 or page.imagedepth != 1:
        raise AnnotationError(
            f"{name} is a colour picture; a mask has one channel that holds the numbers of the classes."
        )
    if page.dtype is None or page.dtype.kind not in "iub":
        raise AnnotationError(f"{name} holds {page.dtype} numbers; a mask holds whole numbers.")
    height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    width = page.tilewidth if page.is_tiled else page.imagewidth
    if width < 1 or height < 1 or width * height * page.dtype.itemsize > LARGEST_BLOCK:
        raise AnnotationError(f"{name} is not cut into tiles, and too large for one piece; write it as a tiled TIFF.")
    return page


class _TiffMask:
    """Blocks of a TIFF page; the tiles or strips decoded last are kept."""

    block = TILE

    def __init__(self, tiff: Any, page: Any, name: str) -> None:
        self._file, self._page, self._name = tiff.filehandle, page, name
        self.width, self.height = int(page.imagewidth), int(page.imagelength)
        tiled = page.is_tiled
        self._tall = int(page.tilelength if tiled else min(page.rowsperstrip, self.height))
        self._wide = int(page.tilewidth if tiled else self.width)
        self._columns = -(-self.width // self._wide)
        needed = self._columns * -(-self.height // self._tall)
        if min(len(page.dataoffsets), len(page.databytecounts)) < needed:
            raise AnnotationError(
                f"{name} lists {len(page.dataoffsets)} tiles where {needed} are needed: it is damaged."
            )
        # tiles that several blocks share are kept for a row of blocks, others not at all
        shared = 0 if TILE % self._tall == 0 and TILE % self._wide == 0 else self._columns * (2 + TILE // self._tall)
        self._most = max(1, min(shared, LARGEST_BLOCK // 2 // (self._tall * self._wide * page.dtype.itemsize)))
        self._alike: dict[bytes, np.ndarray | None] = {}
        self._kept: OrderedDict[int, np.ndarray | None] = OrderedDict()

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        out = np.zeros((height, width), self._page.dtype)
        for row in range(y // self._tall, (y + height - 1) // self._tall + 1):
            for column in range(x // self._wide, (x + width - 1) // self._wide + 1):
                part = self._segment(row * self._columns + column)
                if part is None:
                    continue
                top, left = row * self._tall, column * self._wide
                y0, y1 = max(y, top), min(y + height, top + part.shape[0])
                x0, x1 = max(x, left), min(x + width, left + part.shape[1])
                if y1 > y0 and x1 > x0:
                    out[y0 - y : y1 - y, x0 - x : x1 - x] = part[y0 - top : y1 - top, x0 - left : x1 - left]
        return out

    def _segment(self, index: int) -> np.ndarray | None:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        offset, count = int(self._page.dataoffsets[index]), int(self._page.databytecounts[index])
        part: np.ndarray | None = None
        if offset and count:
            if count < 0 or offset + count > self._file.size:
                raise AnnotationError(
                    f"{self._name}: a tile lies beyond the end of the file; it was cut off. Copy it again."
                )
            self._file.seek(offset)
            part = self._decoded(self._file.read(count), index)
        self._kept[index] = part
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return part

    def _decoded(self, raw: bytes, index: int) -> np.ndarray | None:
        """Decode a tile; a uniform one takes the same few bytes wherever it lies, and is decoded once."""
        small = len(raw) < _SMALL and self._page.is_tiled
        if small and raw in self._alike:
            return self._alike[raw]
        pixels = self._page.decode(raw, index)[0]
        part = None if pixels is None or not pixels.any() else np.asarray(pixels).reshape(pixels.shape[1:3])
        if small and len(self._alike) < _SHARED:
            self._alike[raw] = part
        return part


def read_mask_png(path: Path, progress: Progress | None = None) -> Outlines:
    """Read a PNG (or BMP, GIF) of one channel: grey or palette, 8 or 16 bit; as `read_mask_tiff` otherwise.

    Raises
    ------
    AnnotationError : the file is no picture, has colours, or more than 400 million pixels.
    """
    path = Path(path)
    values, table = _picture(path)
    return mask_outlines(ArrayMask(values), table, path.name, progress)


def png_has_table(path: Path) -> bool:
    """Whether a PNG is a mask that says what its values mean."""
    from PIL import Image

    if table_beside(path) is not None:
        return True
    try:
        with Image.open(path) as image:
            return read_table(str(image.info.get("opsin", ""))) is not None
    except Exception:  # whatever the file is, it is not that
        return False


def _picture(path: Path) -> tuple[np.ndarray, list[Named]]:
    from PIL import Image, UnidentifiedImageError

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # our own limit is below
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST_PNG_READ:
                raise AnnotationError(
                    f"{path.name}: a picture of {image.width:,} x {image.height:,} pixels is too large to be read at once; "
                    "write it as a tiled TIFF."
                )
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
                raise AnnotationError(
                    f"{path.name} is a colour picture; a mask has one channel that holds the numbers of the classes."
                )
            table = table_beside(path)
            if table is None:
                table = read_table(str(image.info.get("opsin", ""))) or []
            return np.asarray(image), table
    except UnidentifiedImageError:
        raise AnnotationError(f"{path.name} is no picture, or it is damaged; write it again.") from None
    except OSError as error:
        raise AnnotationError(f"{path.name} cannot be read ({error.strerror or error}); copy it again.") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
