"""Inference over a slide: tiles are read ahead, go through the network in batches, and are merged into a heat map.

Tiles without tissue are never read. Reading, computing and merging overlap: threads read ahead, and on a GPU a batch is merged
while the next one is computed. A tile that cannot be read is skipped and counted.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...data.slides import Slide
from ...errors import DeviceError, SlideError
from ...labels.roi import Region
from ...results import Heatmap
from ...runs import Run
from ...tiles import TilePyramid
from .merge import Merger, Tile
from .model import Ensemble, PatchNetwork, for_inference
from .tissue import Scale, grid, slide_tissue

if TYPE_CHECKING:
    from .mil import AttentionMIL

    Mapping = PatchNetwork | Ensemble | AttentionMIL
    """A network that gives a tile's map."""

Rect = tuple[float, float, float, float]
WARNINGS = 3  # sentences about unreadable tiles; the rest is counted
CPU_PIXELS = 1 << 20  # px of a batch on a CPU, where larger ones are no faster and take 0.6 GiB each


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

    def mean_of_maxima(self, count: int) -> float | None:
        """The slide score that needs no training: mean of the `count` largest tile maxima; None without a tile."""
        best = self.top(count)
        return sum(s.p for s in best) / len(best) if best else None


def map_base(scale: Scale, stride: int) -> int:
    """Return the power of two (level-0 px per map px) nearest to the resolution of the network's own map."""
    return 1 << max(0, round(math.log2(max(1.0, scale.downsample * max(2, stride)))))


def precision_for(device: str, precision: str) -> torch.dtype:
    """Return the number format of inference: "auto" is bfloat16 on a GPU that has it, else float32."""
    if precision == "auto":
        return torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def predict_slide(
    model: Mapping,
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
    keep: Callable[[Tile, np.ndarray], None] | None = None,
    name: str = "heat map",
    what: str = "tiles",
    prepared: Mapping | None = None,
    threads: int | None = None,
    region: Region | None = None,
) -> SlideHeat:
    """Run the patch network over the tissue of a slide.

    Parameters
    ----------
    scale : tile side in network px and on the slide, see `tissue.scale_of`.
    overlap : share of a tile that overlaps with the next.
    batch : tiles per pass; on a CPU at most `CPU_PIXELS`; halved when the GPU's memory does not suffice.
    heatmap, pyramid : where the probabilities go as they come, and under which name `run.region` reports it.
    view : (x, y, width, height) in level-0 px that is looked at: tiles nearest to its centre come first.
    keep : called with every tile (x, y, size) and its map, float32 [h, w]; [C, h, w] where the network gives further channels.
    prepared : the network as `for_inference` gives it, when the caller runs over many slides.
    threads : that read; None: 2 beside a CPU that computes, up to 8 for a GPU.
    region : where the slide counts: tiles outside are not read, and what lies outside neither scores nor gets a value.

    Returns
    -------
    SlideHeat; when the user stops the run, what there was until then.
    """
    tissue = slide_tissue(slide, scale.size, lambda sentence: run.message(sentence, "warning"))
    tiles = grid(tissue, slide.width, slide.height, scale.size, overlap, region=region)
    if view is not None:
        cx, cy = view[0] + view[2] / 2, view[1] + view[3] / 2
        tiles.sort(key=lambda t: (t[0] + t[2] / 2 - cx) ** 2 + (t[1] + t[2] / 2 - cy) ** 2)
    on_gpu = run.device.startswith("cuda")
    if not on_gpu:
        batch = max(1, min(batch, CPU_PIXELS // scale.tile**2))
    threads = threads or (max(2, min(8, os.cpu_count() or 2)) if on_gpu else 2)
    network = Network(prepared if prepared is not None else for_inference(model, run.device), run, precision)
    result = SlideHeat()

    def read(tile: Tile) -> np.ndarray | SlideError:
        try:
            return slide.read_scaled(tile[0], tile[1], scale.tile, scale.tile, scale.downsample)
        except SlideError as error:
            return error

    with (
        ThreadPoolExecutor(threads, thread_name_prefix="tile") as pool,
        _merger(pyramid, tiles, overlap, tissue, region) as merger,
    ):

        def take(some: list[Tile], computed: torch.Tensor) -> None:
            for tile, p in zip(some, computed.float().cpu().numpy()):
                own = p if p.ndim == 2 else p[0]
                if merger is not None:
                    merger.add(tile, own)
                if region is not None:
                    own = np.where(region.samples(*tile, tile[2], own.shape[1], own.shape[0]), own, 0)
                    p = own if p.ndim == 2 else np.concatenate([own[None], p[1:]])
                result.scores.append(_score(tile, own, slide))
                if keep is not None:
                    keep(tile, p)
            report()

        def report(force: bool = False) -> None:
            if merger is not None and heatmap is not None:
                for rect in merger.write(force):
                    run.region(heatmap, name, rect)

        ahead: deque[tuple[Tile, Future[np.ndarray | SlideError]]] = deque()
        pending: tuple[list[Tile], torch.Tensor] | None = None
        done = wanted = 0
        try:
            while done < len(tiles):
                run.wait_if_paused()
                if run.stopping:
                    break
                while wanted < min(done + 2 * batch + threads, len(tiles)):
                    ahead.append((tiles[wanted], pool.submit(read, tiles[wanted])))
                    wanted += 1
                good: list[tuple[Tile, np.ndarray]] = []
                for tile, future in [ahead.popleft() for _ in range(min(batch, len(ahead)))]:
                    image = future.result()
                    done += 1
                    if isinstance(image, np.ndarray):
                        good.append((tile, image))
                        continue
                    result.skipped += 1
                    if result.skipped <= WARNINGS:
                        run.message(f"A tile is left out: {image}", "warning")
                    if merger is not None:
                        merger.add(tile, None)
                computed = network(np.stack([image for _, image in good])) if good else None
                if pending is not None:
                    take(*pending)  # while the GPU works on the batch that was just given to it
                pending = None if computed is None else ([tile for tile, _ in good], computed)
                if not on_gpu and pending is not None:
                    take(*pending)
                    pending = None
                run.progress(done, len(tiles), what)
            if pending is not None:
                take(*pending)
            report(force=True)
        finally:
            for _, future in ahead:
                future.cancel()
    return result


def _merger(
    pyramid: TilePyramid | None, tiles: list[Tile], overlap: float, tissue: np.ndarray, region: Region | None
) -> contextlib.AbstractContextManager[Merger | None]:
    return Merger(pyramid, tiles, overlap, tissue, region) if pyramid is not None else contextlib.nullcontext()


class Network:
    """The patch network on its device: uint8 images in, probabilities out, without waiting for a GPU to finish."""

    def __init__(self, network: Mapping, run: Run, precision: str = "auto") -> None:
        self.run = run
        self.dtype = precision_for(run.device, precision)
        self.on_gpu = run.device.startswith("cuda")
        self.network = network.to(memory_format=torch.channels_last) if self.on_gpu else network
        self.most: int | None = None

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> torch.Tensor:
        """Return float probabilities [B, h, w] at the network's own map resolution, on the device, of [B, H, W, 3]."""
        most = self.most or len(images)
        try:
            parts = [
                probabilities(self.network, images[at : at + most], self.run.device, self.dtype)
                for at in range(0, len(images), most)
            ]
        except torch.cuda.OutOfMemoryError:
            if most == 1:
                raise DeviceError(
                    f"{self.run.device} has too little free memory for a single tile; choose a smaller tile, another "
                    "device, or close other programs."
                ) from None
            torch.cuda.empty_cache()
            self.most = most // 2
            self.run.message(f"Out of memory: now {self.most} tiles at a time.", "warning")
            return self(images)
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def probabilities(network: Mapping, images: np.ndarray, device: str, dtype: torch.dtype) -> torch.Tensor:
    """Return float32 [B, h, w], on the device and perhaps still being computed, of uint8 images [B, H, W, 3].

    From a network with further channels, [B, C, h, w]: probabilities first, the others as the network gives them.
    """
    pixels = torch.from_numpy(images)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    # [B, H, W, 3] seen as [B, 3, H, W] is channels-last already: the fastest layout on GPUs, a fifth to a half less time on CPUs
    x = pixels.to(device).permute(0, 3, 1, 2).float().div_(255)
    reduced = dtype != torch.float32
    with torch.autocast(device.split(":")[0], dtype) if reduced else contextlib.nullcontext():
        logits = network.coarse(x)
    p = torch.sigmoid(logits[:, :1].float())
    return p[:, 0] if logits.shape[1] == 1 else torch.cat([p, logits[:, 1:].float()], 1)


@torch.inference_mode()
def infer(network: PatchNetwork, images: np.ndarray, device: str, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """Return float32 [B, h, w] probabilities, at the network's own map resolution, of uint8 images [B, H, W, 3]."""
    return probabilities(network, images, device, dtype).cpu().numpy()


def inside(tile: Tile, p: np.ndarray, slide: Slide) -> np.ndarray:
    """Return the part of a tile's map that lies on the slide; a slide smaller than a tile leaves the rest of it empty."""
    x, y, size = tile
    columns = max(1, math.ceil(min(size, slide.width - x) * p.shape[1] / size))
    rows = max(1, math.ceil(min(size, slide.height - y) * p.shape[0] / size))
    return p[:rows, :columns]


def _score(tile: Tile, p: np.ndarray, slide: Slide) -> TileScore:
    """Find the maximum of a tile's map; what lies beyond the slide's edge does not count."""
    x, y, size = tile
    own = inside(tile, p, slide)
    row, column = divmod(int(own.argmax()), own.shape[1])
    px, py = x + (column + 0.5) * size / p.shape[1], y + (row + 0.5) * size / p.shape[0]
    return TileScore(x, y, size, float(p[row, column]), px, py)
