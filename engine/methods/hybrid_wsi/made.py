"""The made world of the method card's small-scale proof (section 9), with exactly its parameters, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ...data.slides import Level, Slide
from ...labels.classes import DEFAULT_CLASSES
from ...labels.store import LabelStore
from .data import Snapshot, class_states

SIDE = 256
BACKGROUND = (225, 180, 205)


class ArraySlide(Slide):
    """A slide that is an array in memory, uint8 [h, w, 3]."""

    vendor = reader = "array"

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__(Path("array"))
        self.pixels = pixels
        height, width = pixels.shape[:2]
        self.levels = [Level(width, height, 1.0, 1.0, width, height)]

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return self.pixels[y : y + height, x : x + width]


@dataclass(frozen=True)
class MadeSample:
    """A made slide with its truth. Same attributes as `data.SlideSample`."""

    id: str
    pixels: np.ndarray
    truth: np.ndarray
    label: int | None
    outlined: bool = False
    labels: Path | None = None
    split: str | None = "train"
    name: str = ""
    mpp: float | None = None

    @property
    def trains(self) -> bool:
        return self.split in (None, "train")

    def open(self) -> ArraySlide:
        return ArraySlide(self.pixels)

    def open_labels(self) -> LabelStore | None:
        return LabelStore.open(self.labels, readonly=True) if self.labels is not None else None


def _blob(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A random polygon with 6 to 9 vertices as a mask, bool [256, 256]."""
    count, radius = int(rng.integers(6, 10)), rng.uniform(low, high)
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    reach = radius * rng.uniform(0.7, 1.0, count)
    centre = rng.uniform(radius, SIDE - radius, 2)
    points = centre + np.stack([reach * np.cos(angles), reach * np.sin(angles)], 1)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    return mask.astype(bool)


def _nuclei(
    rng: np.random.Generator,
    picture: np.ndarray,
    where: np.ndarray,
    density: float,
    radius: tuple[float, float],
    colour: tuple[int, int, int],
) -> None:
    """Fill ellipses whose centres lie in the mask, `density` per pixel of it."""
    places = np.argwhere(where)
    count = rng.poisson(density * len(places))
    for row, column in places[rng.integers(0, len(places), count)] if len(places) else []:
        axes = rng.uniform(*radius, 2)
        shade = np.array(colour) + rng.uniform(-18, 18)
        centre = (round(float(column) * 16), round(float(row) * 16))
        size = (round(axes[0] * 16), round(axes[1] * 16))
        turn = float(rng.uniform(0, 180))
        cv2.ellipse(picture, centre, size, turn, 0, 360, shade.tolist(), -1, cv2.LINE_8, 4)


def make_slide(rng: np.random.Generator, lesion: str | None, look_alike: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (picture uint8 [256, 256, 3], lesion mask bool [256, 256]); `lesion` is "A", "B" or None."""
    smooth = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)), (0, 0), 8)
    picture = np.array(BACKGROUND) + 22 * (smooth / smooth.std())[..., None]
    everywhere = np.ones((SIDE, SIDE), bool)
    _nuclei(rng, picture, everywhere, 0.004, (1.5, 3), (120, 80, 150))
    truth = np.zeros((SIDE, SIDE), bool)
    if look_alike:
        other = np.zeros_like(truth)
        for _ in range(int(rng.integers(1, 4))):
            other |= _blob(rng, 18, 34)
        _nuclei(rng, picture, other, 0.045, (2, 3.2), (95, 55, 140))
    if lesion is not None:
        for _ in range(int(rng.integers(1, 3))):
            truth |= _blob(rng, *((16, 36) if lesion == "A" else (12, 26)))
        kind = (0.022, (3.5, 5.5), (95, 55, 140)) if lesion == "A" else (0.026, (2.8, 4.4), (120, 85, 165))
        _nuclei(rng, picture, truth, *kind)
    picture = picture + rng.normal(0, 6, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), truth


class MadeSlides:
    """The proof's data set: 8 + 4 outlined slides, 40 + 40 with slide labels only, 50 + 50 to test on."""

    def __init__(self, seed: int, folder: Path, weak: int = 40, test: int = 50) -> None:
        rng = np.random.default_rng(seed)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.samples: list[MadeSample] = []
        for number in range(12):
            picture, truth = make_slide(rng, "A" if number < 8 else None, False)
            sample = MadeSample(f"outlined_{number}", picture, truth, int(number < 8), outlined=True)
            self.samples.append(replace(sample, labels=self._outline(sample)))
        for split, count in (("train", weak), ("test", test)):
            for number in range(2 * count):
                lesion = None if number >= count else "A" if number % 2 == 0 else "B"
                picture, truth = make_slide(rng, lesion, bool(rng.random() < 0.6))
                self.samples.append(
                    MadeSample(f"{split}_{number}", picture, truth, int(lesion is not None), split=split)
                )

    def _outline(self, sample: MadeSample) -> Path | None:
        if not sample.truth.any():
            return None
        path = self.folder / f"{sample.id}.labels"
        with LabelStore.create(path, SIDE, SIDE) as store, store.transaction():
            tile = np.zeros((512, 512), np.uint8)
            tile[:SIDE, :SIDE] = sample.truth
            store.write(0, 0, tile)
        return path

    @property
    def testing(self) -> Sequence[MadeSample]:
        return [s for s in self.samples if s.split == "test"]

    def fingerprint(self) -> str:
        return "made"

    def describe(self) -> str:
        return f"made slides: {len(self.samples)}"

    def snapshot(self, folder: Path, round: int) -> Snapshot:
        samples = [s for s in self.samples if s.trains]
        return Snapshot(round, samples, class_states(DEFAULT_CLASSES), f"made {round}")
