"""Inference over a slide: tiles are read ahead, go through the network in batches, and are merged into a heat map.

Reading and computing overlap; a tile that cannot be read is skipped and counted; overlaps are averaged with a linear window
(method card, section 5), in chunks, so that memory stays bounded however large the slide is.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch

from ...data.slides import Slide
from ...errors import SlideError
from ...results import Heatmap
from ...runs import Run
from ...tiles import TILE, TilePyramid
from .model import PatchNetwork, for_inference
from .tissue import Scale, grid, slide_tissue

Rect = tuple[float, float, float, float]
WRITE_SECONDS = 0.3


@dataclass(frozen=True)
class TileScore:
    """Largest probability of one tile: tile corner and side, place of the maximum (all level-0 px), probability."""

    x: int
    y: int
    size: int
    p: float
    px: float
    py: float


@dataclass
class SlideHeat:
    """What inference over a slide gives: one score per tile, in visiting order, and how many tiles were unreadable."""

    scores: list[TileScore] = field(default_factory=list)
    skipped: int = 0

    def top(self, count: int) -> list[TileScore]:
        """Return the `count` tiles with the largest probability (all when fewer), largest first."""
        return sorted(self.scores, key=lambda s: (-s.p, s.x, s.y))[:count]

    def mean_of_maxima(self, count: int) -> float:
        """The slide score that needs no training: mean of the `count` largest tile maxima; 0 without tissue."""
        best = self.top(count)
        return sum(s.p for s in best) / len(best) if best else 0.0


def map_base(scale: Scale, stride: int) -> int:
    """Return the power of two (level-0 px per map px) nearest to the resolution of the network's own map."""
    return 1 << max(0, round(math.log2(max(1.0, scale.downsample * max(2, stride)))))


def precision_for(device: str, precision: str) -> torch.dtype:
    """Return the number format of inference: "auto" is bfloat16 on a GPU that has it, else float32."""
    if precision == "auto":
        return torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


class Merger:
    """Merges tile maps into a heat pyramid as they come, keeping only the chunks that are not finished in memory."""

    def __init__(self, pyramid: TilePyramid, tiles: Sequence[tuple[int, int, int]], overlap: float) -> None:
        self.pyramid, self.overlap = pyramid, overlap
        self._sums: dict[tuple[int, int], np.ndarray] = {}
        self._left: dict[tuple[int, int], int] = {}
        self._dirty: set[tuple[int, int]] = set()
        self._written = time.monotonic()
        for tile in tiles:
            for key in self._chunks(tile):
                self._left[key] = self._left.get(key, 0) + 1

    def _rect(self, tile: tuple[int, int, int]) -> tuple[int, int, int, int]:
        """First and one past the last map pixel of a tile: x0, y0, x1, y1."""
        x, y, size = tile
        base = self.pyramid.base
        width, height = self.pyramid.level_size(0)
        x0, y0 = math.floor(x / base), math.floor(y / base)
        return x0, y0, min(width, math.ceil((x + size) / base)), min(height, math.ceil((y + size) / base))

    def _chunks(self, tile: tuple[int, int, int]) -> list[tuple[int, int]]:
        x0, y0, x1, y1 = self._rect(tile)
        rows, columns = range(y0 // TILE, (y1 - 1) // TILE + 1), range(x0 // TILE, (x1 - 1) // TILE + 1)
        return [(row, column) for row in rows for column in columns]

    def add(self, tile: tuple[int, int, int], p: np.ndarray | None) -> None:
        """Take the map of a tile: float32 [h, w] in [0, 1]; None when it could not be read."""
        if p is not None:
            self._add(tile, p)
        for key in self._chunks(tile):
            self._left[key] -= 1

    def _add(self, tile: tuple[int, int, int], p: np.ndarray) -> None:
        x, y, size = tile
        x0, y0, x1, y1 = self._rect(tile)
        step = self.pyramid.base * p.shape[1] / size
        if step > 1.5:
            p = cv2.blur(p, (round(step), round(step)), borderType=cv2.BORDER_REPLICATE)
        centre_x = ((x0 + 0.5) * self.pyramid.base - x) * p.shape[1] / size - 0.5
        centre_y = ((y0 + 0.5) * self.pyramid.base - y) * p.shape[0] / size - 0.5
        matrix = np.array([[step, 0, centre_x], [0, self.pyramid.base * p.shape[0] / size, centre_y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        values = cv2.warpAffine(p, matrix, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        window = np.outer(self._ramp(y, size, y0, y1), self._ramp(x, size, x0, x1)).astype(np.float32)
        for row, column in self._chunks(tile):
            top, left = row * TILE, column * TILE
            a, b, c, d = max(y0, top), min(y1, top + TILE), max(x0, left), min(x1, left + TILE)
            sums = self._sums.get((row, column))
            if sums is None:
                sums = self._sums[row, column] = np.zeros((2, TILE, TILE), np.float32)
            weight = window[a - y0 : b - y0, c - x0 : d - x0]
            sums[0, a - top : b - top, c - left : d - left] += weight * values[a - y0 : b - y0, c - x0 : d - x0]
            sums[1, a - top : b - top, c - left : d - left] += weight
            self._dirty.add((row, column))

    def _ramp(self, start: int, size: int, first: int, last: int) -> np.ndarray:
        """Weight along one axis: rises linearly over the overlap from the tile's edge."""
        centre = (np.arange(first, last) + 0.5) * self.pyramid.base - start
        edge = np.minimum(centre, size - centre) / max(self.overlap * size, self.pyramid.base)
        return np.clip(edge, 1e-3, 1.0)

    def write(self, force: bool = False) -> list[tuple[int, int, int, int]]:
        """Write what is new, at most every `WRITE_SECONDS`; return the changed rectangles in level-0 px."""
        if not self._dirty or (not force and time.monotonic() - self._written < WRITE_SECONDS):
            return []
        span = TILE * self.pyramid.base
        with self.pyramid.transaction():
            for row, column in self._dirty:
                total, weight = self._sums[row, column]
                p = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
                values = np.where(weight > 0, np.rint(p * 254) + 1, 0).astype(np.uint8)
                self.pyramid.write(row, column, values)
        rects = [(column * span, row * span, span, span) for row, column in self._dirty]
        for key in self._dirty:
            if self._left[key] <= 0:
                del self._sums[key]
        self._dirty.clear()
        self._written = time.monotonic()
        return rects


def predict_slide(
    model: PatchNetwork,
    slide: Slide,
    scale: Scale,
    run: Run,
    *,
    overlap: float = 1 / 6,
    batch: int = 16,
    precision: str = "auto",
    heatmap: Heatmap | None = None,
    pyramid: TilePyramid | None = None,
    view: Rect | None = None,
    keep: Callable[[tuple[int, int, int], np.ndarray], None] | None = None,
    name: str = "heat map",
    what: str = "tiles",
    prepared: PatchNetwork | None = None,
    threads: int = 2,
) -> SlideHeat:
    """Run the patch network over the tissue of a slide.

    Parameters
    ----------
    scale : tile side in network px and on the slide, see `tissue.scale_of`.
    heatmap, pyramid : where the probabilities go as they come, and under which name `run.region` reports it.
    view : (x, y, width, height) in level-0 px that is looked at: tiles nearest to its centre come first.
    keep : called with every tile (x, y, size) and its map, float32 [h, w].
    prepared : the network as `for_inference` gives it, when the caller runs over many slides.

    Returns
    -------
    SlideHeat; when the user stops the run, what there was until then.
    """
    tiles = grid(slide_tissue(slide, scale.size), slide.width, slide.height, scale.size, overlap)
    if view is not None:
        cx, cy = view[0] + view[2] / 2, view[1] + view[3] / 2
        tiles.sort(key=lambda t: (t[0] + t[2] / 2 - cx) ** 2 + (t[1] + t[2] / 2 - cy) ** 2)
    network = prepared if prepared is not None else for_inference(model, run.device)
    dtype = precision_for(run.device, precision)
    if run.device.startswith("cuda"):
        network = network.to(memory_format=torch.channels_last)
    merger = Merger(pyramid, tiles, overlap) if pyramid is not None else None
    result = SlideHeat()
    warned = 0

    def read(tile: tuple[int, int, int]) -> np.ndarray | SlideError:
        try:
            return slide.read_scaled(tile[0], tile[1], scale.tile, scale.tile, scale.downsample)
        except SlideError as error:
            return error

    def report(force: bool = False) -> None:
        if merger is not None and heatmap is not None:
            for rect in merger.write(force):
                run.region(heatmap, name, rect)

    with ThreadPoolExecutor(threads, thread_name_prefix="tile") as pool:
        ahead: deque[Any] = deque()
        wanted = 0
        try:
            for start in range(0, len(tiles), batch):
                run.wait_if_paused()
                if run.stopping:
                    break
                while wanted < min(start + 2 * batch + threads, len(tiles)):
                    ahead.append(pool.submit(read, tiles[wanted]))
                    wanted += 1
                some = tiles[start : start + batch]
                images = [ahead.popleft().result() for _ in some]
                good = [(tile, image) for tile, image in zip(some, images) if isinstance(image, np.ndarray)]
                for tile, image in zip(some, images):
                    if not isinstance(image, np.ndarray):
                        result.skipped += 1
                        if warned < 3:
                            run.message(f"A tile is left out: {image}", "warning")
                            warned += 1
                        if merger is not None:
                            merger.add(tile, None)
                if good:
                    maps = infer(network, np.stack([image for _, image in good]), run.device, dtype)
                    for (tile, _), p in zip(good, maps):
                        result.scores.append(_score(tile, p))
                        if merger is not None:
                            merger.add(tile, p)
                        if keep is not None:
                            keep(tile, p)
                report()
                run.progress(min(start + batch, len(tiles)), len(tiles), what)
        finally:
            for future in ahead:
                future.cancel()
    report(force=True)
    return result


@torch.inference_mode()
def infer(network: PatchNetwork, images: np.ndarray, device: str, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """Return float32 [B, h, w] probabilities (at the network's own map resolution) of uint8 images [B, H, W, 3]."""
    x = torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2)
    on_gpu = device.startswith("cuda")
    x = x.contiguous(memory_format=torch.channels_last if on_gpu else torch.contiguous_format).float().div_(255)
    with torch.autocast(device.split(":")[0], dtype) if dtype != torch.float32 else nullcontext():
        logits = network.coarse(x)
    return torch.sigmoid(logits.float())[:, 0].cpu().numpy()


def _score(tile: tuple[int, int, int], p: np.ndarray) -> TileScore:
    row, column = divmod(int(p.argmax()), p.shape[1])
    x, y, size = tile
    px, py = x + (column + 0.5) * size / p.shape[1], y + (row + 0.5) * size / p.shape[0]
    return TileScore(x, y, size, float(p[row, column]), px, py)
