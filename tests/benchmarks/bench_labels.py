"""Label store: painting 5 Gpixel on a slide of 100,000 x 80,000 pixels

The bars are those of the design (napari's Labels would hold 8 GB, QuPath no pixels at all): see each row.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from opsin.engine.labels.store import LabelStore

WIDTH, HEIGHT = 100_000, 80_000
VIEW = 1200  # screen pixels


@contextmanager
def _memory() -> Iterator[list[int]]:
    """Yield a list that receives the growth of this process's memory, [at the end, at most], in bytes."""
    process, growth, end = psutil.Process(), [0, 0], threading.Event()
    start = process.memory_info().rss

    def watch() -> None:
        while not end.wait(0.02):
            growth[1] = max(growth[1], process.memory_info().rss - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield growth
    finally:
        end.set()
        thread.join()
        growth[0] = process.memory_info().rss - start


def _edit(store: LabelStore, rng: np.random.Generator, zoom: int, polygon: bool) -> float:
    """One edit as a user makes it at a zoom of 1:zoom, in screen pixels: a brush of radius 20 over 480, or an outline of
    radius 200. Return the seconds that the call took, without making the points.
    """
    x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
    label = int(rng.integers(1, 4))
    if polygon:
        angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
        radius = 200 * zoom * (1 + 0.1 * np.sin(5 * angle + rng.uniform(0, 6)))
        ring = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1)
        start = time.perf_counter()
        store.polygon([ring], label)
        return time.perf_counter() - start
    way = np.cumsum(rng.normal(0, 0.3, 60)) + rng.uniform(0, 6)
    points = np.cumsum(np.stack([np.cos(way), np.sin(way)], 1), 0) * 8 * zoom + (x, y)
    start = time.perf_counter()
    store.stroke(points, 20 * zoom, label)
    return time.perf_counter() - start


def _times(count: int, action: Any) -> np.ndarray:
    taken = np.empty(count)
    for number in range(count):
        start = time.perf_counter()
        action(number)
        taken[number] = time.perf_counter() - start
    return taken


def _row(name: str, value: float, unit: str, bar: float | None, note: str = "") -> dict[str, Any]:
    reached = None if bar is None else bool(value <= bar)
    return {
        "name": name,
        "value": float(value),
        "unit": unit,
        "bar": "" if bar is None else f"<= {bar:g} {unit}",
        "ok": reached,
        "note": note,
    }


def rows(quick: bool) -> list[dict[str, Any]]:
    """Paint, look, undo, reopen; one row per figure."""
    rng = np.random.default_rng(0)
    edits = 40 if quick else 240
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.labels"
        store = LabelStore.create(path, WIDTH, HEIGHT)
        store.stroke([(10, 10)], 5, 1)  # everything that is imported or made once
        store.flush()
        taken: dict[tuple[int, bool], list[float]] = {}
        processor: dict[tuple[int, bool], list[float]] = {}
        submit = []
        with _memory() as growth:
            for number in range(edits):
                zoom, polygon = (1, 4, 16, 64)[number % 4], number // 4 % 3 == 2
                start, used = time.perf_counter(), time.process_time()
                submit.append(_edit(store, rng, zoom, polygon))
                store.flush()
                taken.setdefault((zoom, polygon), []).append(time.perf_counter() - start)
                processor.setdefault((zoom, polygon), []).append(time.process_time() - used)
        while sum(store.areas().values()) < (1e9 if quick else 5e9):  # bring it to 5 Gpixel in all
            with _memory() as more:
                _edit(store, rng, 64, bool(rng.random() < 0.5))
                store.flush()
            growth[0] += max(more[0], 0)
            growth[1] = max(growth[1], growth[0] + more[1])
        labelled = sum(store.areas().values())
        bars = {(1, False): 0.038, (4, False): 0.142, (16, False): 0.313, (64, False): 1.4, (1, True): None}
        for (zoom, polygon), seconds in sorted(taken.items()):
            what = "polygon" if polygon else "stroke"
            bar = bars.get((zoom, polygon))
            cpu = 1000 * np.median(processor[zoom, polygon])
            note = f"median {1000 * np.median(seconds):.0f} ms, {cpu:.0f} ms CPU; from the call to durable pixels"
            found.append(
                _row(
                    f"{what} at 1:{zoom}, p95",
                    1000 * float(np.quantile(seconds, 0.95)),
                    "ms",
                    bar and 1000 * bar,
                    note,
                )
            )
        found.append(_row("edit call, 95th percentile", 1000 * float(np.quantile(submit, 0.95)), "ms", 0.2))
        found.append(_row("memory growth, at most", growth[1] / 1e6, "MB", 150, f"{growth[0] / 1e6:.0f} MB afterwards"))

        undo = []
        steps = 20 if quick else 60
        for _ in range(steps):
            start = time.perf_counter()
            store.undo()
            store.flush()
            undo.append(time.perf_counter() - start)
        found.append(
            _row(
                "undo, p95",
                1000 * float(np.quantile(undo, 0.95)),
                "ms",
                200,
                f"median {1000 * np.median(undo):.0f} ms",
            )
        )
        for _ in range(steps):
            store.redo()
        store.flush()

        x, y, w, h = store.bounds() or (0, 0, 1, 1)
        corners = rng.uniform((x, y), (x + w - VIEW, y + h - VIEW), (100, 2)).astype(int)
        seconds = _times(100, lambda i: store.region(0, *corners[i].tolist(), VIEW, VIEW))
        found.append(_row("view of 1200 x 1200 at 1:1", 1000 * float(np.median(seconds)), "ms", None, "random places"))
        store.tile(0, 0, 0)
        seconds = _times(2000, lambda i: store.tile(0, 0, 0))
        found.append(_row("tile seen before", 1e6 * float(np.median(seconds)), "µs", 20))
        places = store.keys(0)
        order = rng.permutation(len(places))[:1000]
        seconds = _times(len(order), lambda i: store.tile(0, *places[order[i]]))
        found.append(_row("tile not seen before, p95", 1000 * float(np.quantile(seconds, 0.95)), "ms", 1))
        store.close()

        size = path.stat().st_size
        found.append(
            _row("disk per 1,000 labelled pixels, undo included", size / labelled * 1000, "bytes", 20,
                 f"{size / 1e6:.0f} MB for {labelled / 1e9:.2f} Gpixel")
        )  # fmt: skip
        start = time.perf_counter()
        store = LabelStore.open(path)
        found.append(_row("reopen", time.perf_counter() - start, "s", 0.5))
        found.append(
            _row(
                "areas of all labels after reopening",
                1000 * float(_times(1, lambda _: store.areas())[0]),
                "ms",
                None,
            )
        )
        store.close()
    return found
