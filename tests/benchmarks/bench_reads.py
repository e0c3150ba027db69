"""Random regions of tiled TIFFs: our reader against OpenSlide, bit for bit the same pixels

Each side reads the same random regions of level 0, turn and turn about, in one thread; what counts is the ratio. The bars are
those of the design: 1,024 px at least three times as fast, 256 px not slower. The real slide fits into either side's cache of
decoded tiles (32 MB) after a while, the made one (200 MB decoded) does not.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDES = (1024, 256)
REAL = "wsi/slides/CMU-1-Small-Region.svs"


def _places(rng: np.random.Generator, size: tuple[int, int], side: int, count: int) -> list[tuple[int, int]]:
    return [(int(rng.integers(0, size[0] - side)), int(rng.integers(0, size[1] - side))) for _ in range(count)]


def _seconds(read: Callable[[int, int], object], places: list[tuple[int, int]]) -> tuple[float, float]:
    """(seconds on the clock, processor seconds) per region."""
    start, used = time.perf_counter(), time.process_time()
    for x, y in places:
        read(x, y)
    return (time.perf_counter() - start) / len(places), (time.process_time() - used) / len(places)


def _measure(path: Path, name: str, quick: bool) -> list[dict[str, Any]]:
    import openslide

    from opsin.engine.data.slides import open_slide

    found: list[dict[str, Any]] = []
    rng = np.random.default_rng(0)
    differing = regions = 0
    for side in SIDES:
        rounds, count = (2, 4) if quick else (7, 12 if side == 1024 else 60)
        with open_slide(path) as slide, openslide.OpenSlide(str(path)) as other:
            size = (slide.width, slide.height)

            def own(x: int, y: int, side: int = side, slide: Any = slide) -> np.ndarray:
                return slide.read(0, x, y, side, side)

            def peer(x: int, y: int, side: int = side, other: Any = other) -> np.ndarray:
                return np.asarray(other.read_region((x, y), 0, (side, side)))

            ratios, times, used = [], [], []
            for _ in range(rounds):
                places = _places(rng, size, side, count)
                ours, theirs = _seconds(own, places), _seconds(peer, places)
                ratios.append(theirs[1] / ours[1])
                times.append((ours[0], theirs[0]))
                used.append((ours[1], theirs[1]))
                for x, y in places[:3]:
                    theirs_rgb = peer(x, y)
                    regions += 1
                    same = np.array_equal(own(x, y), theirs_rgb[..., :3]) and theirs_rgb[..., 3].min() == 255
                    differing += int(not same)
        clock, cpu = np.median(times, axis=0) * 1000, np.median(used, axis=0) * 1000
        bar = 3.0 if side == 1024 else 1.0
        ratio = float(np.median(ratios))
        found.append(
            {
                "name": f"{name}: random regions of {side:,} px, OpenSlide / ours",
                "value": ratio,
                "unit": "x",
                "bar": f">= {bar:g}x",
                "ok": ratio >= bar,
                "note": f"{cpu[0]:.2f} ms against {cpu[1]:.2f} ms of processor, {clock[0]:.2f} against {clock[1]:.2f} ms "
                f"on the clock; at least {min(ratios):.1f}x in {rounds} rounds",
            }
        )
    found.append(
        {
            "name": f"{name}: regions that differ from OpenSlide's",
            "value": differing,
            "unit": f"of {regions}",
            "bar": "0",
            "ok": differing == 0,
            "note": "compared pixel by pixel",
        }
    )
    return found


def rows(quick: bool) -> list[dict[str, Any]]:
    """The real slide where the samples are at hand, and a made slide that no cache holds."""
    from opsin.engine.samples import make_slides

    found: list[dict[str, Any]] = []
    data = os.environ.get("OPSIN_DATA")
    if data and (Path(data) / REAL).is_file():
        found += _measure(Path(data) / REAL, "real slide, 2,220 x 2,967", quick)
    side = 4096 if quick else 8192
    with tempfile.TemporaryDirectory() as folder:
        made = make_slides(Path(folder), 1, seed=3, size=(side, side))[0]
        found += _measure(made.path, f"made slide, {side:,} x {side:,}", quick)
    return found
