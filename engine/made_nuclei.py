"""Nuclei of made tissue: a few dozen drawn variants per kind, stamped in thousands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

ANGLES = 24


@dataclass(frozen=True)
class Nucleus:
    """How the nuclei of a kind look; lengths in µm.

    Attributes
    ----------
    radius : smallest and largest mean radius.
    aspect : smallest and largest length / width.
    irregular : how much the outline departs from an ellipse (0 = not at all).
    chromatin : how much the inside varies.
    rim : how much darker the membrane is.
    nucleoli : most dark spots inside.
    """

    radius: tuple[float, float]
    aspect: tuple[float, float]
    irregular: float
    chromatin: float
    rim: float
    nucleoli: int


NUCLEI = {
    "spindle": Nucleus((2.3, 3.6), (2.4, 5.2), 0.09, 0.26, 0.12, 0),
    "lymphocyte": Nucleus((2.6, 3.5), (1.0, 1.2), 0.05, 0.34, 0.15, 0),
    "blast": Nucleus((3.4, 4.5), (1.0, 1.3), 0.07, 0.28, 0.35, 1),
    "epithelium": Nucleus((3.1, 4.0), (1.15, 1.6), 0.05, 0.30, 0.22, 1),
    "tumour": Nucleus((3.6, 6.4), (1.0, 1.7), 0.11, 0.36, 0.42, 3),
    "mitosis": Nucleus((3.0, 4.2), (1.5, 2.6), 0.32, 0.12, 0.0, 0),
    "red cell": Nucleus((2.9, 3.3), (1.0, 1.2), 0.03, 0.05, 0.25, 0),
}


def scatter(
    stain: np.ndarray,
    kind: Nucleus,
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    strength: tuple[float, float],
    pixels_per_um: float,
    angle: np.ndarray | None = None,
) -> None:
    """Stamp one nucleus at each (x, y) into `stain`, float32 [height, width]; the darker wins where two overlap.

    `strength` is the range of how much stain they hold; `angle` turns each (radians, x towards y), random where None.
    """
    if not len(x):
        return
    stamps = _stamps(kind, round(pixels_per_um, 4))
    sizes, half = stamps.shape[0], stamps.shape[-1] // 2
    if angle is None:
        angle = rng.uniform(0, np.pi, len(x))
    turns = np.round(np.asarray(angle) / np.pi * ANGLES).astype(int) % ANGLES
    variants = rng.integers(0, sizes, len(x))
    strengths = rng.uniform(*strength, len(x)).astype(np.float32)
    left, top = np.round(x - half).astype(int), np.round(y - half).astype(int)
    height, width = stain.shape
    side = stamps.shape[-1]
    for i in range(len(x)):
        x0, y0 = left[i], top[i]
        stamp = stamps[variants[i], turns[i]]
        if x0 < 0 or y0 < 0 or x0 + side > width or y0 + side > height:
            cut_x, cut_y = max(0, -x0), max(0, -y0)
            stamp = stamp[cut_y : height - y0, cut_x : width - x0]
            x0, y0 = max(0, x0), max(0, y0)
            if not stamp.size:
                continue
        part = stain[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]]
        np.maximum(part, stamp * strengths[i], out=part)


@lru_cache(maxsize=32)
def _stamps(kind: Nucleus, pixels_per_um: float) -> np.ndarray:
    """float32 [variants, ANGLES, side, side], 0 outside, about 1 inside; the same for every slide of a scale."""
    variants = 10
    rng = np.random.default_rng(len(NUCLEI) + round(kind.radius[0] * 1000))
    longest = kind.radius[1] * np.sqrt(kind.aspect[1]) * (1 + 2 * kind.irregular) * pixels_per_um
    half = int(np.ceil(longest)) + 3
    grid = np.arange(-half, half + 1, dtype=np.float32)
    dx, dy = np.meshgrid(grid, grid)
    stamps = np.empty((variants, ANGLES, 2 * half + 1, 2 * half + 1), np.float32)
    for variant in range(variants):
        radius = rng.uniform(*kind.radius) * pixels_per_um
        aspect = np.sqrt(rng.uniform(*kind.aspect))
        waves = [(k, kind.irregular * rng.normal() / k**0.5, rng.uniform(0, 7)) for k in range(2, 6)]
        spots = [
            (rng.uniform(-0.45, 0.45, 2) * radius, rng.uniform(0.12, 0.2) * radius)
            for _ in range(int(rng.integers(0, kind.nucleoli + 1)))
        ]
        texture = cv2.GaussianBlur(rng.normal(0, 1, dx.shape).astype(np.float32), (0, 0), 0.75 * pixels_per_um)
        texture /= texture.std() + 1e-6
        for turn in range(ANGLES):
            angle = turn * np.pi / ANGLES
            u = (dx * np.cos(angle) + dy * np.sin(angle)) / (radius * aspect)
            v = (-dx * np.sin(angle) + dy * np.cos(angle)) / (radius / aspect)
            direction = np.arctan2(v, u)
            edge = 1 + sum(size * np.cos(k * direction + phase) for k, size, phase in waves)
            depth = np.hypot(u, v) / np.maximum(edge, 0.4)
            inside = np.clip((1 - depth) * radius / 1.7 + 0.5, 0, 1)
            body = 0.80 + kind.chromatin * 0.55 * texture + kind.rim * np.exp(-(((depth - 0.88) / 0.13) ** 2))
            for centre, size in spots:
                body += 0.5 * np.exp(-((u * radius - centre[0]) ** 2 + (v * radius - centre[1]) ** 2) / (2 * size**2))
            stamps[variant, turn] = inside * np.clip(body, 0.25, 1.9)
    return stamps
