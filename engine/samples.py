"""Made slides: artificial H&E with exact outlines, for the samples of the start page, the demo, tests and measurements.

They are pictures of no patient. A slide is positive when it has a lesion; benign look-alikes (follicles of lymphocytes,
as dark and crowded as a lesion, but with small and even nuclei) lie on slides of both kinds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .data.tiff import write_pyramid
from .files import replacing

SIZE = (4096, 3072)
MPP = 0.5
_ATTEMPTS = 8


@dataclass
class MadeSlide:
    """One made slide and all that is known about it.

    Attributes
    ----------
    path : the file, an Aperio-style pyramid.
    label : "positive" when the slide has a lesion.
    polygons : outline of each lesion, float [N, 2], (x, y) in level-0 pixels; every nucleus of the lesion has its centre
        inside.
    kinds : "sheet" or "nests", one per lesion.
    look_alikes : outlines of the benign look-alikes.
    """

    path: Path
    label: Literal["positive", "negative"]
    width: int
    height: int
    mpp: float
    polygons: list[np.ndarray] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    look_alikes: list[np.ndarray] = field(default_factory=list)

    @property
    def look_alike(self) -> bool:
        return bool(self.look_alikes)


def make_slides(
    folder: Path,
    count: int,
    seed: int,
    size: tuple[int, int] = SIZE,
    *,
    mpp: float = MPP,
    labels: Literal["alternate", "positive", "negative"] = "alternate",
    style: Literal["aperio", "generic"] = "aperio",
) -> list[MadeSlide]:
    """Make `count` slides in `folder`, named ``made_<number>.svs`` (``.tif`` in the generic style).

    Slide i has the number ``seed + i`` and depends on that number alone, so slides can be made one at a time. Even
    numbers are positive, odd ones negative, unless `labels` says otherwise. About 2 s of processor time per slide of
    4096 x 3072 pixels.

    Parameters
    ----------
    size : (width, height) of level 0 in pixels.
    mpp : µm per pixel; cells keep their size in µm.
    """
    folder = Path(folder)
    return [_make(folder, seed + i, size, mpp, labels, style) for i in range(count)]


def _make(
    folder: Path, number: int, size: tuple[int, int], mpp: float, labels: str, style: Literal["aperio", "generic"]
) -> MadeSlide:
    from .made_tissue import paint

    width, height = size
    positive = labels == "positive" or (labels == "alternate" and number % 2 == 0)
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([number, attempt])
        lesions = int(rng.integers(1, 4)) if positive else 0
        tissue = paint(rng, width, height, mpp, lesions, int(rng.integers(0 if positive else 1, 3)))
        if tissue.lesions or not positive:
            break
    else:
        raise ValueError(f"slides of {width} x {height} px at {mpp} µm/px are too small for a lesion")
    path = folder / f"made_{number:03d}{'.svs' if style == 'aperio' else '.tif'}"
    factors = tuple(f for f in (1, 4, 16, 64) if f == 1 or max(size) // f >= 128)
    write_pyramid(
        path, tissue.picture, width, height, mpp=mpp, magnification=round(10 / mpp), factors=factors, style=style
    )
    return MadeSlide(
        path,
        "positive" if positive else "negative",
        width,
        height,
        mpp,
        [region.outline for region in tissue.lesions],
        [region.kind for region in tissue.lesions],
        [region.outline for region in tissue.look_alikes],
    )


# -- a slide as large as real ones, for measurements ---------------------------------------------

_TILE, _PERIOD, _FACTORS = 256, 2048, (1, 4, 16, 64)
_BLOCK = _TILE * _FACTORS[2]  # level-0 pixels of one tile of the third level: tissue and glass change only there


def make_giant_slide(path: Path, width: int = 100_000, height: int = 80_000, seed: int = 0) -> Path:
    """Write an Aperio-style slide of gigapixels in seconds and some megabytes.

    The tissue repeats every 2,048 pixels, and all tiles that look alike share the same bytes in the file (TIFF allows
    it), so decoding costs what it costs on a real slide while the disk costs nearly nothing. Levels are 1, 4, 16, 64;
    each is the mean of the one before.
    """
    import cv2
    import tifffile

    from .made_tissue import paint

    rng = np.random.default_rng(seed)
    pattern = paint(rng, _PERIOD, _PERIOD, MPP, 1, 1, glass=False).picture
    tissue = _blocks(width, height)
    tiles: list[bytes] = []
    plans: list[tuple[int, int, np.ndarray]] = []  # width, height, number of each tile
    glass = np.full((_TILE, _TILE, 3), 244, np.uint8)
    for factor in _FACTORS:
        level_width, level_height = width // factor, height // factor
        side = _PERIOD // factor
        small = cv2.resize(pattern, (side, side), interpolation=cv2.INTER_AREA)
        rows, columns = -(-level_height // _TILE), -(-level_width // _TILE)
        plan = np.empty((rows, columns), np.int64)
        if _TILE * factor > _BLOCK:  # a tile holds several blocks: no two are alike
            whole = _overview(small, tissue, _BLOCK // factor, rows * _TILE, columns * _TILE)
            for row, column in np.ndindex(rows, columns):
                plan[row, column] = len(tiles)
                tiles.append(_jpeg(whole[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE]))
            thumbnail = np.ascontiguousarray(whole[:level_height, :level_width])
        else:
            repeat = max(1, side // _TILE)
            filled = np.tile(small, (max(1, _TILE // side), max(1, _TILE // side), 1))
            first = len(tiles)
            for row, column in np.ndindex(repeat, repeat):
                tiles.append(_jpeg(filled[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE]))
            tiles.append(_jpeg(glass))
            row, column = np.mgrid[:rows, :columns]
            shown = tissue[row * _TILE * factor // _BLOCK, column * _TILE * factor // _BLOCK]
            plan[:] = np.where(shown, first + row % repeat * repeat + column % repeat, len(tiles) - 1)
        plans.append((level_width, level_height, plan))
    with replacing(Path(path)) as temporary:
        _write_empty(temporary, plans, thumbnail)
        offsets = np.empty(len(tiles), np.int64)
        with temporary.open("ab") as file:
            file.write(b"\0" * (file.tell() % 2))
            for number, data in enumerate(tiles):
                offsets[number] = file.tell()
                file.write(data + b"\0" * (len(data) % 2))
        counts = np.array([len(data) for data in tiles])
        with tifffile.TiffFile(temporary, mode="r+") as tiff:
            for page, (_, _, plan) in zip((0, 2, 3, 4), plans, strict=True):
                tags: Any = tiff.pages.get(page, aspage=True).tags
                tags["TileOffsets"].overwrite(tuple(offsets[plan].ravel().tolist()))
                tags["TileByteCounts"].overwrite(tuple(counts[plan].ravel().tolist()))
    return Path(path)


def _blocks(width: int, height: int) -> np.ndarray:
    """bool [rows, columns] of blocks: tissue in a lobed outline, glass around it."""
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    y, x = np.mgrid[:rows, :columns].astype(float)
    dy, dx = (y + 0.5) / rows * 2 - 1, (x + 0.5) / columns * 2 - 1
    angle = np.arctan2(dy, dx)
    return np.hypot(dx, dy) < 0.86 + 0.08 * np.cos(3 * angle + 1) + 0.05 * np.cos(5 * angle)


def _overview(pattern: np.ndarray, tissue: np.ndarray, block: int, height: int, width: int) -> np.ndarray:
    side = pattern.shape[0]
    out = np.tile(pattern, (-(-height // side), -(-width // side), 1))[:height, :width]
    shown = np.zeros((height, width), bool)
    whole = np.repeat(np.repeat(tissue, block, 0), block, 1)[:height, :width]
    shown[: whole.shape[0], : whole.shape[1]] = whole
    out[~shown] = 244
    return out


def _jpeg(tile: np.ndarray) -> bytes:
    import imagecodecs

    options = {"colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": "420"}
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(tile), level=85, **options))


def _write_empty(path: Path, plans: list[tuple[int, int, np.ndarray]], thumbnail: np.ndarray) -> None:
    """The structure of the pyramid with room for every tile; each holds one byte for now."""
    import tifffile

    width, height = plans[0][:2]
    scale = f"|AppMag = {round(10 / MPP)}|MPP = {MPP:g}"
    head = f"Aperio Image Library (made by Opsin)\r\n{width}x{height}"
    with tifffile.TiffWriter(path, bigtiff=False) as tiff:
        for number, (level_width, level_height, plan) in enumerate(plans):
            tiff.write(
                iter([b"\0"] * plan.size),
                shape=(level_height, level_width, 3),
                dtype=np.uint8,
                tile=(_TILE, _TILE),
                compression="jpeg",
                photometric="ycbcr",
                subsampling=(2, 2),
                metadata=None,
                description=f"{head} [0,0 {width}x{height}] ({_TILE}x{_TILE}) -> {level_width}x{level_height}{scale}",
            )
            if number == 0:
                tiff.write(
                    thumbnail,
                    photometric="rgb",
                    compression="jpeg",
                    metadata=None,
                    description=f"{head} -> {thumbnail.shape[1]}x{thumbnail.shape[0]} - {scale}",
                )
