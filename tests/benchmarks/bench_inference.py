"""Slide inference against the plain loop "read patch, run model, repeat", same network, same tiles"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from opsin.engine.data.slides import Slide, open_slide
from opsin.engine.devices import list_devices
from opsin.engine.methods.hybrid_wsi import heat
from opsin.engine.methods.hybrid_wsi.heat import map_base, predict_slide
from opsin.engine.methods.hybrid_wsi.model import DLA34Up, PatchNetwork, for_inference
from opsin.engine.methods.hybrid_wsi.tissue import Scale, grid, slide_tissue
from opsin.engine.results import Heatmap
from opsin.engine.runs import Run
from opsin.engine.samples import make_slides
from opsin.engine.tiles import TilePyramid


def plain_loop(model: PatchNetwork, slide: Slide, scale: Scale, device: str) -> tuple[float, np.ndarray]:
    """What a script does: read a patch, run the model on it, paste the result, repeat. Returns (seconds, map)."""
    start = time.perf_counter()
    tiles = grid(slide_tissue(slide, scale.size), slide.width, slide.height, scale.size)
    merged = np.zeros((slide.height // 2 + 1, slide.width // 2 + 1), np.float32)
    half = scale.tile // 2
    with torch.no_grad():
        for x, y, _ in tiles:
            image = slide.read_scaled(x, y, scale.tile, scale.tile, scale.downsample)
            batch = torch.from_numpy(image).permute(2, 0, 1)[None].float().div(255).to(device)
            p = torch.sigmoid(model(batch))[0, 0, ::2, ::2].cpu().numpy()
            place = merged[y // 2 : y // 2 + half, x // 2 : x // 2 + half]
            place[...] = p[: place.shape[0], : place.shape[1]]
    return time.perf_counter() - start, merged


def ours(
    model: PatchNetwork, slide: Slide, scale: Scale, device: str, folder: Path, precision: str
) -> tuple[float, float, np.ndarray]:
    """The same by `predict_slide`, heat map on disk included. Returns (seconds, seconds in the network, map)."""
    inside = 0.0
    compute = heat.probabilities

    def timed(*arguments: Any) -> torch.Tensor:
        nonlocal inside
        before = time.perf_counter()
        result = compute(*arguments)
        inside += time.perf_counter() - before
        return result

    path = folder / f"{time.monotonic_ns()}.heat"
    heat.probabilities = timed
    try:
        start = time.perf_counter()
        prepared = for_inference(model, device)
        base = map_base(scale, model.stride)
        with TilePyramid.create(
            path, slide.width, slide.height, base=base, reduce="mean", meta={"kind": "heat"}
        ) as pyramid:
            predict_slide(
                model, slide, scale, Run(device=device), heatmap=Heatmap(path), pyramid=pyramid, prepared=prepared,
                precision=precision,
            )  # fmt: skip
            seconds = time.perf_counter() - start
            values = pyramid.region(0, 0, 0, *pyramid.level_size(0))
    finally:
        heat.probabilities = compute
    return seconds, inside, np.maximum(values.astype(np.float32) - 1, 0) / 254


def rows(quick: bool) -> list[dict[str, Any]]:
    """Measure on the first GPU, else on the CPU. Each side runs twice, in turn; the faster run of each counts."""
    device = list_devices()[0].id
    gpu = device.startswith("cuda")
    tile = 256 if quick else 1024
    side = 8192 if gpu and not quick else 512 if quick else 2400
    torch.manual_seed(0)
    model = DLA34Up().eval().to(device)
    with tempfile.TemporaryDirectory() as name:
        (made,) = make_slides(Path(name), 1, 0, (side, side), mpp=2.0 if quick else 0.25, labels="positive")
        with open_slide(made.path) as slide:
            scale = Scale(tile, tile)
            count = len(grid(slide_tissue(slide, tile), slide.width, slide.height, tile))
            # a first batch outside the clock: kernels are chosen, libraries loaded
            with torch.no_grad():
                model(torch.zeros(1, 3, tile, tile, device=device))
            plain, mine = [], []
            for _ in range(2):
                plain.append(plain_loop(model, slide, scale, device))
                mine.append(ours(model, slide, scale, device, Path(name), "auto"))
            slow, (fast, inside, found) = min(p[0] for p in plain), min(mine, key=lambda m: m[0])
            exact = ours(model, slide, scale, device, Path(name), "float32")[2] if gpu else found
    reference = plain[0][1][: exact.shape[0], : exact.shape[1]]
    note = f"DLA-34, {count} tiles of {tile} px, {'GPU' if gpu else f'CPU, {torch.get_num_threads()} threads'}"
    ratio = slow / fast
    made_of = [
        {"name": "plain loop, seconds per tile", "value": slow / count, "unit": "s", "bar": "", "ok": None, "note": note},
        {"name": "slide inference, seconds per tile", "value": fast / count, "unit": "s", "bar": "", "ok": None, "note": note},
        {
            "name": "slide inference, throughput", "value": count * tile * tile / fast / 1e6, "unit": "Mpixel/s", "bar": "",
            "ok": None, "note": "reading, computing and writing overlapped",
        },
        {
            "name": "slide inference, times as fast as the plain loop", "value": ratio, "unit": "x",
            "bar": ">= 2 on a GPU, above 1 on a CPU", "ok": ratio >= (2 if gpu else 1),
            "note": "heat map with pyramid on disk included",
        },
        {
            "name": "median difference of the two maps", "value": float(np.median(np.abs(exact - reference)[reference > 0])),
            "unit": "", "bar": "<= 1/254", "ok": bool(np.median(np.abs(exact - reference)[reference > 0]) <= 1 / 254),
            "note": "the loop pastes overlaps, we average them; 8 bit on disk",
        },
    ]  # fmt: skip
    if not gpu:
        made_of.append(
            {
                "name": "slide inference, share of time in the network", "value": inside / fast, "unit": "",
                "bar": ">= 0.9", "ok": inside / fast >= 0.9, "note": "the rest: tissue, reading, merging, writing",
            }
        )  # fmt: skip
    return made_of
