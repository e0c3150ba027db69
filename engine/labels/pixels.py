"""From pictures whose pixels are classes to outlines: read block by block, traced along pixel edges, so nothing is lost.

What is held at once is one block and the outlines; the pixels wait in a temporary file that stores empty and uniform tiles
for nothing. Painting the outlines gives the same pixels again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from ..errors import AnnotationError
from ..tiles import LARGEST, TILE, TilePyramid
from .classes import PALETTE, LabelClass
from .shapes import Outline, Outlines
from .trace import trace

Progress = Callable[[int, int], None]
"""(done, total), called now and then from the working thread; what it raises ends the work and leaves nothing behind."""
LARGEST_BLOCK = 256 << 20
"""Bytes that may have to be decoded at once."""
OBJECTS = "Objects"
MOST_UNKNOWN = 64
"""Values that no table explains: if there are more, they number objects, not classes."""
NOISE, LEAST_NOISE = 0.6, 100_000
"""Changes from pixel to pixel for each labelled pixel, and how many there must be, from which on a file is no mask but noise:
a photograph, or a damaged file. Areas of two by two random pixels stay below."""
_BATCH = 1024  # tiles that wait in memory before they are written to the temporary file


@dataclass(frozen=True)
class Named:
    """What a value of a mask means. Beside `LabelClass`, as values of foreign masks may be larger than 255."""

    value: int
    name: str
    color: str = ""


class Mask(Protocol):
    """A picture of one whole number per pixel, read in blocks.

    Attributes
    ----------
    block : side of the square blocks in which it is best read, a multiple of 512.
    """

    width: int
    height: int
    block: int

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Integers [height, width] of a rectangle inside the picture."""


class ArrayMask:
    """A mask in memory: integers [height, width]."""

    block = TILE

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.height, self.width = values.shape

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        return self.values[y : y + height, x : x + width]


def check_size(width: int, height: int, name: str) -> None:
    """Raise `AnnotationError` for a size that no slide has, before anything of that size is made."""
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        raise AnnotationError(
            f"{name} says that it is {width:,} x {height:,} pixels large; masks are from 1 to {LARGEST:,} pixels a side."
        )


def mask_outlines(mask: Mask, table: Sequence[Named], name: str, progress: Progress | None = None) -> Outlines:
    """Return the outlines of all values but 0, one for each connected region.

    Parameters
    ----------
    table : what the values mean. Without an entry they are called "Value 7"; the only value of a mask without a table has no
        name at all. Without a table, more than 64 values are objects rather than classes: they become one class.
    name : of the file, for sentences.

    Raises
    ------
    AnnotationError : the size is impossible, the values are no whole numbers, they are noise, or more than 64 of them are not
        in the table.
    """
    check_size(mask.width, mask.height, name)
    ids: dict[int, int] = {}
    many = False
    changes = labelled = 0
    known = {entry.value: entry for entry in table}
    with tempfile.TemporaryDirectory(prefix="opsin-") as folder:
        pyramid = TilePyramid.create(Path(folder) / "mask.tiles", mask.width, mask.height)
        try:
            waiting: list[tuple[int, int, np.ndarray]] = []

            def write() -> None:
                with pyramid.transaction():
                    for row, column, tile in waiting:
                        pyramid.write(row, column, tile)
                waiting.clear()

            step = mask.block
            total = -(-mask.height // step)
            for y in range(0, mask.height, step):
                for x in range(0, mask.width, step):
                    values = mask.read(x, y, min(step, mask.width - x), min(step, mask.height - y))
                    if values.dtype == bool:
                        values = values.view(np.uint8)
                    if values.dtype.kind not in "iu":
                        raise AnnotationError(f"{name} holds {values.dtype} numbers; a mask holds whole numbers.")
                    if not values.any():
                        continue
                    changes += int(np.count_nonzero(values[:, 1:] != values[:, :-1]))
                    labelled += int(np.count_nonzero(values))
                    if changes > max(LEAST_NOISE, NOISE * labelled):
                        raise AnnotationError(
                            f"{name} is no mask: its values change from pixel to pixel. It may be a photograph, or damaged."
                        )
                    numbered, more = _numbered(values, ids)
                    many |= more or (not known and len(ids) > MOST_UNKNOWN)
                    if known and len(ids.keys() - known.keys()) > MOST_UNKNOWN:
                        raise AnnotationError(
                            f"{name} holds more than {MOST_UNKNOWN} values that its table of classes does not name: it is damaged, "
                            "or the table belongs to another file."
                        )
                    for top in range(0, values.shape[0], TILE):
                        for left in range(0, values.shape[1], TILE):
                            tile = numbered[top : top + TILE, left : left + TILE]
                            if tile.any():
                                waiting.append(((y + top) // TILE, (x + left) // TILE, np.ascontiguousarray(tile)))
                    if len(waiting) >= _BATCH:
                        write()
                if progress is not None:
                    progress(min(y // step + 1, total), total)
            write()
            found = _traced(pyramid, ids, known, many)
        finally:
            pyramid.close()
    if many:
        found.repaired.append(
            f"{name} numbers objects, not classes: more than {MOST_UNKNOWN} values. They were taken as one class."
        )
    found.size, found.raster, found.origin = (mask.width, mask.height), True, "slide"
    return found


def _numbered(values: np.ndarray, ids: dict[int, int]) -> tuple[np.ndarray, bool]:
    """Return uint8 numbers in place of values, the same one for the same value wherever it comes; and whether too many."""
    small = values.dtype in (np.uint8, np.uint16)
    if small:
        kinds = np.flatnonzero(np.bincount(values.ravel()))
    else:
        kinds, places = np.unique(values, return_inverse=True)
    many = False
    numbers = np.zeros(len(kinds), np.uint8)
    for k, value in enumerate(kinds.tolist()):
        if value == 0:
            continue
        if value not in ids:
            if len(ids) == 255:
                many = True
                numbers[k] = 255
                continue
            ids[value] = len(ids) + 1
        numbers[k] = ids[value]
    if not small:
        return numbers[places].reshape(values.shape), many
    table = np.zeros(int(kinds[-1]) + 1, np.uint8)
    table[kinds] = numbers
    return table[values], many


def _traced(pyramid: TilePyramid, ids: dict[int, int], table: dict[int, Named], many: bool) -> Outlines:
    found = Outlines()
    groups: list[tuple[Named, list[int]]]
    if many:
        groups = [(Named(0, OBJECTS), list(range(1, 256)))]
    elif len(ids) == 1 and not table:
        groups = [(Named(0, ""), [1])]
    else:
        groups = [(table.get(value, Named(value, f"Value {value}")), [ids[value]]) for value in sorted(ids)]
    for place, (entry, numbers) in enumerate(groups):
        lookup = np.zeros(256, bool)
        lookup[numbers] = True
        color = entry.color or PALETTE[place % len(PALETTE)]
        for number, rings in enumerate(trace(pyramid, lookup), 1):
            found.append(Outline(f"{entry.name or 'Area'} {number}", rings, entry.name, color))
    return found


def array_outlines(values: np.ndarray) -> list[list[np.ndarray]]:
    """Return the rings of each region of true pixels of a bool [height, width] array."""
    height, width = values.shape
    padded = np.zeros((-(-height // TILE) * TILE, -(-width // TILE) * TILE), np.uint8)
    padded[:height, :width] = values
    return trace(cast(TilePyramid, _Tiles(padded)), np.arange(256) > 0)


class _Tiles:
    """A small array, looked at as the tiles of a pyramid."""

    def __init__(self, padded: np.ndarray) -> None:
        self._padded = padded
        self._rows, self._columns = padded.shape[0] // TILE, padded.shape[1] // TILE

    def keys(self, level: int = 0) -> list[tuple[int, int]]:
        return [(row, column) for row in range(self._rows) for column in range(self._columns)]

    def uniform(self, level: int, row: int, column: int) -> int | None:
        return None if 0 <= row < self._rows and 0 <= column < self._columns else 0

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        return self._padded[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]


# ---- what the values mean ---------------------------------------------------------------------------------------------

TABLE = "Opsin class table"


def table_of(classes: Sequence[LabelClass], frame: dict[str, Any]) -> dict[str, Any]:
    """Return the class table as it is written beside a mask and into it; `frame` is `Frame.plain()`."""
    entries = [{"value": c.value, "name": c.name, "color": c.color, "role": c.role} for c in classes]
    return {"format": TABLE, "version": 1, "unlabelled": 0, **frame, "classes": entries}


def read_table(text: str | bytes) -> list[Named] | None:
    """Return the entries of a class table, None for any other text: ours, or a plain ``{"1": "Tumour"}``."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    found: list[Named] = []
    if isinstance(content.get("classes"), list):
        for entry in content["classes"]:
            if isinstance(entry, dict) and _whole(entry.get("value")) and isinstance(entry.get("name"), str):
                found.append(Named(int(entry["value"]), entry["name"], checked_color(entry.get("color"))))
        return found
    if content and all(key.isdecimal() and len(key) < 10 and isinstance(name, str) for key, name in content.items()):
        return [Named(int(key), name) for key, name in content.items()]
    return None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def checked_color(value: object) -> str:
    """Return a colour "#rrggbb", "" for anything else."""
    good = isinstance(value, str) and len(value) == 7 and value[0] == "#"
    return str(value) if good and all(c in "0123456789abcdefABCDEF" for c in str(value)[1:]) else ""


def table_path(path: Path) -> Path:
    """Where the class table of a mask lies: beside it."""
    return path.with_name(f"{path.stem}.classes.json")


def table_beside(path: Path) -> list[Named] | None:
    """Return the class table that lies beside a mask, None when there is none that can be read."""
    beside = table_path(path)
    try:
        if beside.stat().st_size > 1 << 20:
            return None
        return read_table(beside.read_bytes())
    except OSError:
        return None
