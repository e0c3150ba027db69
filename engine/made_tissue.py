"""Paints artificial H&E tissue: what made slides (`samples.py`) show.

Nothing here is measured from patients. Sizes are those of breast and lymph node tissue in µm; colours follow Beer and
Lambert: a map of how much haematoxylin, eosin and blood lies at each pixel, then light = white * exp(-stains).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from .made_nuclei import NUCLEI, scatter

# Optical density per unit of stain in red, green, blue.
HAEMATOXYLIN = np.array([0.66, 0.76, 0.30], np.float32)
EOSIN = np.array([0.10, 0.62, 0.30], np.float32)
BLOOD = np.array([0.12, 0.95, 0.80], np.float32)
GLASS = np.array([244, 243, 245], np.float32)

STROMA, FAT, GLAND, LUMEN, FOLLICLE, CENTRE, LESION, VESSEL = range(1, 9)
COARSE = 4  # soft fields are painted at a quarter of the size


@dataclass
class Region:
    """An outlined part: `outline` is float [N, 2], (x, y) in level-0 pixels."""

    outline: np.ndarray
    kind: str


@dataclass
class Tissue:
    """`picture` is uint8 [height, width, 3]; lesions lie exactly inside their outlines."""

    picture: np.ndarray
    lesions: list[Region] = field(default_factory=list)
    look_alikes: list[Region] = field(default_factory=list)


def paint(
    rng: np.random.Generator, width: int, height: int, mpp: float, lesions: int, look_alikes: int, glass: bool = True
) -> Tissue:
    """Paint one slide with so many lesions and look-alikes (follicles of lymphocytes); fewer where there is no room.

    Without `glass` the tissue fills the picture.
    """
    return _Painter(rng, width, height, mpp).paint(lesions, look_alikes, glass)


class _Painter:
    def __init__(self, rng: np.random.Generator, width: int, height: int, mpp: float) -> None:
        self.rng, self.width, self.height = rng, width, height
        self.um = 1.0 / mpp  # pixels per µm
        self.size = (-(-height // COARSE), -(-width // COARSE))
        self.zone = np.zeros((height, width), np.uint8)
        self.placed: list[tuple[float, float, float]] = []
        # stains: eosin, haematoxylin of the ground, nuclei, blood
        self.eosin = np.zeros((height, width), np.float32)
        self.ground = np.zeros((height, width), np.float32)
        self.nuclei = np.zeros((height, width), np.float32)
        self.blood = np.zeros((height, width), np.float32)

    # -- the order of painting -----------------------------------------------------------------------

    def paint(self, lesions: int, look_alikes: int, glass: bool) -> Tissue:
        um = self.um
        distance = self._outline() if glass else np.full(self.size, 1e4, np.float32)
        inside = np.pad((distance > 0).astype(np.uint8), 1)  # nothing reaches out of the picture
        self._room = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1] * COARSE
        found = [self._region(100, 225, 0.20, "lesion") for _ in range(lesions)]
        similar = [self._region(75, 140, 0.07, "follicle") for _ in range(look_alikes)]
        lobules = [self._place(110 * um, 190 * um) for _ in range(max(2, round(self.width * self.height * 7e-7)))]
        tissue = self._full(distance)
        self.zone[tissue > 0] = STROMA
        self._stroma()
        self._fat()
        for place in lobules:
            if place is not None:
                self._lobule(*place)
        for _ in range(max(2, round(self.width * self.height * 6e-7))):
            self._vessel()
        lesion_regions = [region for region in found if region is not None]
        similar_regions = [region for region in similar if region is not None]
        for region in similar_regions:
            self._follicle(region.outline)
        for region in lesion_regions:
            region.kind = self._lesion(region.outline)
        self._stroma_nuclei()
        alpha = np.clip(tissue * 0.5 + 0.5, 0, 1)
        for stain in (self.eosin, self.ground, self.nuclei, self.blood):
            stain *= alpha
        return Tissue(self._develop(), lesion_regions, similar_regions)

    def _develop(self) -> np.ndarray:
        """Stains -> light, with the small blur of optics and the noise of a sensor."""
        rng = self.rng
        strength_h, strength_e = rng.uniform(0.92, 1.12), rng.uniform(0.88, 1.12)
        tint = 1 + rng.normal(0, 0.035, 3).astype(np.float32)
        grain = rng.normal(0, 1.6, (1 << 21) + self.width).astype(np.float32)
        picture = np.empty((self.height, self.width, 3), np.uint8)
        for top in range(0, self.height, 256):
            rows = slice(top, min(self.height, top + 256))
            nuclei = self.nuclei[rows]
            purple = self.ground[rows] + nuclei
            pink = self.eosin[rows] * (1 - 0.55 * np.minimum(nuclei, 1))
            red = self.blood[rows]
            start = int(rng.integers(0, 1 << 20))
            count = purple.size
            noise = np.resize(grain[start:], count).reshape(purple.shape)
            for channel in range(3):
                density = purple * (HAEMATOXYLIN[channel] * tint[channel] * strength_h)
                density += pink * (EOSIN[channel] * tint[channel] * strength_e)
                density += red * BLOOD[channel]
                light = cv2.exp(-density)
                light *= GLASS[channel]
                light += noise
                picture[rows, :, channel] = np.clip(light, 0, 255)
        return cv2.GaussianBlur(picture, (3, 3), 0.65)

    # -- outline and places --------------------------------------------------------------------------

    def _noise(self, period: float, octaves: int = 1, coarse: int = COARSE) -> np.ndarray:
        """Smooth random field of mean 0 and about unit spread; `period` in level-0 pixels; a quarter of the size."""
        height, width = self.size
        total = np.zeros((height, width), np.float32)
        for octave in range(octaves):
            step = max(2.0, period / coarse / 2**octave)
            grid = self.rng.normal(0, 1.5, (int(height / step) + 4, int(width / step) + 4)).astype(np.float32)
            size = (int(grid.shape[1] * step), int(grid.shape[0] * step))
            big = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
            y, x = (int(self.rng.integers(0, max(1, int(step)))) for _ in range(2))
            total += big[y : y + height, x : x + width] * 0.55**octave
        return total

    def _full(self, coarse: np.ndarray, smooth: bool = True) -> np.ndarray:
        method = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
        size = (self.size[1] * COARSE, self.size[0] * COARSE)
        return cv2.resize(coarse, size, interpolation=method)[: self.height, : self.width]

    def _outline(self) -> np.ndarray:
        """Signed distance-like field in pixels, a quarter of the size: > 0 is tissue. Lobes, clefts, ragged edge."""
        rng = self.rng
        height, width = self.size
        y, x = np.mgrid[:height, :width].astype(np.float32)
        field_ = np.full((height, width), -1e4, np.float32)
        pieces = int(rng.choice([1, 2, 2]))
        for piece in range(pieces):
            across = width / pieces
            cx = across * (piece + 0.5) + rng.uniform(-0.03, 0.03) * width
            cy = height * (0.5 + rng.uniform(-0.04, 0.04))
            rx, ry = across * rng.uniform(0.38, 0.43), height * rng.uniform(0.37, 0.42)
            angle = np.arctan2((y - cy) / ry, (x - cx) / rx)
            radius = np.hypot((x - cx) / rx, (y - cy) / ry)
            edge = np.ones_like(angle)
            for k in range(2, 8):
                edge += (0.13 / k**0.7) * rng.normal() * np.cos(k * angle + rng.uniform(0, 7))
            field_ = np.maximum(field_, (np.clip(edge, 0.55, 1.03) - radius) * min(rx, ry) * COARSE)
        field_ += 20 * self._noise(150 * self.um, 3)
        # clefts: where the tissue tore along a line
        ridge = np.abs(self._noise(520 * self.um, 2))
        torn = np.clip(self._noise(700 * self.um) - 0.75, 0, 1)
        field_ = np.minimum(field_, (ridge - 0.10 * torn) * 900)
        field_ += 2.2 * self._noise(30 * self.um, 4)
        # glass all round the slide
        frame = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)) * COARSE
        return np.minimum(field_, frame - 0.012 * self.width)

    def _place(self, least: float, most: float) -> tuple[float, float, float] | None:
        """A free circle (x, y, radius) inside the tissue, away from what is placed already."""
        rng = self.rng
        for attempt in range(400):
            radius = rng.uniform(least, most) * (1 - attempt / 800)
            x, y = rng.uniform(0, self.width), rng.uniform(0, self.height)
            if self._room[int(y) // COARSE, int(x) // COARSE] < radius * 1.04:
                continue
            if all(math.hypot(x - a, y - b) > radius + r for a, b, r in self.placed):
                self.placed.append((x, y, radius))
                return x, y, radius
        return None

    def _region(self, least: float, most: float, wobble: float, kind: str) -> Region | None:
        place = self._place(least * self.um, most * self.um)
        return None if place is None else Region(self._wobbly(*place, wobble, 160), kind)

    def _wobbly(self, x: float, y: float, radius: float, wobble: float, count: int) -> np.ndarray:
        """Closed outline that stays within `radius`: float [count, 2]."""
        angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
        edge = np.ones(count)
        for k in range(2, 10):
            edge += wobble / k**0.8 * self.rng.normal() * np.cos(k * angle + self.rng.uniform(0, 7))
        edge *= radius / edge.max()
        squeeze, turn = self.rng.uniform(0.78, 1.0), self.rng.uniform(0, np.pi)
        dx, dy = np.cos(angle) * edge, np.sin(angle) * edge * squeeze
        return np.stack(
            [x + dx * math.cos(turn) - dy * math.sin(turn), y + dx * math.sin(turn) + dy * math.cos(turn)], axis=1
        )

    def _window(self, outline: np.ndarray, margin: float) -> tuple[slice, slice]:
        """Rows and columns of the picture around an outline."""
        left, top = np.floor(outline.min(0) - margin).astype(int)
        right, bottom = np.ceil(outline.max(0) + margin).astype(int)
        return (
            slice(max(0, top), max(0, min(self.height, bottom))),
            slice(max(0, left), max(0, min(self.width, right))),
        )

    def _mask(self, window: tuple[slice, slice], outline: np.ndarray, blur: float = 0) -> np.ndarray:
        """Outline as float32 0..1 in a window, with a soft edge of `blur` pixels."""
        rows, columns = window
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        points = np.round((outline - (columns.start + 0.5, rows.start + 0.5)) * 16).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, 4)
        soft = mask.astype(np.float32) / 255
        return cv2.GaussianBlur(soft, (0, 0), blur) if blur else soft

    # -- stroma --------------------------------------------------------------------------------------

    def _stroma(self) -> None:
        """Wavy bundles of collagen: lines of equal height of a smooth field, of random width and depth."""
        rng = self.rng
        # A slope in one direction keeps the lines from closing into rings, as heights of a map would.
        height, width = self.size
        angle = rng.uniform(0, np.pi)
        y, x = np.ogrid[:height, :width]
        slope = ((x * math.cos(angle) + y * math.sin(angle)) * (COARSE / (95 * self.um))).astype(np.float32)
        self._flow = slope + self._noise(430 * self.um, 2) + 0.45 * self._noise(150 * self.um)
        lines = rng.normal(0, 1, 2048).astype(np.float32)
        bundles = cv2.GaussianBlur(np.tile(lines, 3)[None], (0, 0), 5.0)[0, 2048:4096] * 3.2
        fibres = cv2.GaussianBlur(np.tile(lines[::-1], 3)[None], (0, 0), 1.1)[0, 2048:4096] * 1.7
        phase = self._full(self._flow * 90 + 2.2 * self._noise(34 * self.um, 2) + 0.7 * self._noise(11 * self.um))
        place = (phase * 2).astype(np.int32) & 2047
        second = (phase * 6 + self._full(5.0 * self._noise(60 * self.um, 2))).astype(np.int32) & 2047
        rough = cv2.resize(
            rng.normal(0, 1, (self.height // 2 + 1, self.width // 2 + 1)).astype(np.float32),
            (self.width + 2, self.height + 2),
            interpolation=cv2.INTER_LINEAR,
        )[: self.height, : self.width]
        bundle = bundles[place]
        dense = self._full(0.50 + 0.12 * self._noise(260 * self.um, 3), smooth=False)
        eosin = dense + 0.10 * bundle + 0.06 * fibres[second] + 0.035 * rough
        # bundles come apart where the tissue is loose: narrow pale gaps
        loose = self._full(0.9 + 0.75 * self._noise(330 * self.um, 2), smooth=False)
        loose += self._full(0.5 * self._noise(30 * self.um, 2), smooth=False)
        gap = np.clip((-bundle - 1.45 + loose * 0.42) * 2.2, 0, 1)
        eosin *= 1 - 0.88 * gap
        self.eosin = np.maximum(eosin, 0.03).astype(np.float32)
        self.ground += self._full(0.055 + 0.02 * self._noise(200 * self.um, 2), smooth=False)
        self.ground *= 1 - 0.8 * gap

    def _stroma_nuclei(self) -> None:
        """Spindle nuclei along the fibres, and single lymphocytes."""
        x, y = self._grid(23 * self.um, jitter=0.45)
        keep = (self._at(x, y) == STROMA) & (self.rng.random(len(x)) < 0.8)
        x, y = x[keep], y[keep]
        self._put("spindle", x, y, (0.5, 1.05), self._along(x, y) + self.rng.normal(0, 0.22, len(x)))
        crowd = self._noise(240 * self.um, 2)
        x, y = self._grid(13 * self.um)
        chance = np.clip(crowd[(y / COARSE).astype(int), (x / COARSE).astype(int)] - 0.9, 0.012, 0.5)
        keep = (self._at(x, y) == STROMA) & (self.rng.random(len(x)) < chance)
        self._put("lymphocyte", x[keep], y[keep], (0.85, 1.2))

    def _along(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Direction of the fibres at points, radians."""
        row, column = (y / COARSE).astype(int), (x / COARSE).astype(int)
        up, down = np.maximum(row - 2, 0), np.minimum(row + 2, self.size[0] - 1)
        left, right = np.maximum(column - 2, 0), np.minimum(column + 2, self.size[1] - 1)
        steep_y = self._flow[down, column] - self._flow[up, column]
        return np.arctan2(steep_y, self._flow[row, right] - self._flow[row, left]) + np.pi / 2

    def _fat(self) -> None:
        """Adipocytes: large pale cells with thin walls, in zones."""
        rng = self.rng
        field_ = self._noise(520 * self.um, 2)
        for x, y, r in self.placed:
            yy, xx = np.ogrid[: self.size[0], : self.size[1]]
            near = np.hypot(xx - x / COARSE, yy - y / COARSE) * COARSE - r * 1.08
            field_ = np.minimum(field_, near / (60 * self.um))
        zone = field_ - np.partition(field_.ravel(), int(field_.size * 0.80))[int(field_.size * 0.80)]
        step = 56 * self.um / 2  # cells are found at half the size
        height, width = -(-self.height // 2), -(-self.width // 2)
        gy, gx = np.mgrid[0 : int(height / step) + 2, 0 : int(width / step) + 2].astype(np.float32)
        px = ((gx + 0.5 * (gy % 2) + rng.uniform(-0.36, 0.36, gx.shape)) * step).astype(int).ravel()
        py = ((gy + rng.uniform(-0.36, 0.36, gy.shape)) * step).astype(int).ravel()
        inside = (px >= 0) & (py >= 0) & (px < width) & (py < height)
        seeds = np.ones((height, width), np.uint8)
        seeds[py[inside], px[inside]] = 0
        cells = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
        wall = np.ones((height, width), np.uint8)
        wall[:-1][cells[1:] != cells[:-1]] = 0
        wall[:, :-1][cells[:, 1:] != cells[:, :-1]] = 0
        depth = cv2.GaussianBlur(cv2.distanceTransform(wall, cv2.DIST_L2, 3), (0, 0), 3.2)
        # whole cells are fat or not
        at = zone[np.minimum(py[inside] // 2, self.size[0] - 1), np.minimum(px[inside] // 2, self.size[1] - 1)]
        chosen = np.zeros(int(cells.max()) + 1, bool)
        chosen[cells[py[inside], px[inside]]] = at > 0
        depth = np.where(chosen[cells], depth - 2.2 * self.um / 2, -4).astype(np.float32)
        depth = cv2.resize(depth, (width * 2, height * 2), interpolation=cv2.INTER_LINEAR)[: self.height, : self.width]
        hole = np.clip(depth * 0.9, 0, 1)
        membrane = np.clip(1 - np.abs(depth + 0.4) / 1.6, 0, 1)
        self.eosin += 0.22 * membrane * (depth > -3)
        for stain in (self.eosin, self.ground):
            stain *= 1 - 0.99 * hole
        self.zone[(depth > -1.5) & (self.zone == STROMA)] = FAT

    # -- glands and vessels --------------------------------------------------------------------------

    def _lobule(self, x: float, y: float, radius: float) -> None:
        """A group of acini around a duct, in loose stroma."""
        um, rng = self.um, self.rng
        window = self._window(np.array([[x - radius, y - radius], [x + radius, y + radius]]), 0)
        pale = self._mask(window, self._wobbly(x, y, radius, 0.1, 60), 14 * um)
        self.eosin[window] *= 1 - 0.22 * pale
        taken: list[tuple[float, float, float]] = []
        for attempt in range(260):
            r = rng.uniform(40, 62) * um if not taken else rng.uniform(19, 36) * um
            angle, away = rng.uniform(0, 2 * np.pi), radius * math.sqrt(rng.random()) - r if taken else 0.0
            cx, cy = x + away * math.cos(angle), y + away * math.sin(angle)
            if away < 0 or any(math.hypot(cx - a, cy - b) < r + q + 5 * um for a, b, q in taken):
                continue
            taken.append((cx, cy, r))
            self._acinus(cx, cy, r)
            if len(taken) > 24 and attempt > 200:
                break

    def _acinus(self, x: float, y: float, radius: float) -> None:
        """A ring of regular cells around an open middle."""
        um, rng = self.um, self.rng
        outer = self._wobbly(x, y, radius, 0.1, 72)
        centre = outer.mean(0)
        thickness = rng.uniform(13, 17) * um
        reach = np.linalg.norm(outer - centre, axis=1, keepdims=True)
        inner = centre + (outer - centre) * np.clip(1 - thickness / reach, 0.12, 1)
        window = self._window(outer, 8)
        whole, hollow = self._mask(window, outer, 0.8), self._mask(window, inner, 1.0)
        halo = np.clip(self._mask(window, outer, 3.0 * um) - whole, 0, 1)
        cells = whole * (1 - hollow)
        shade = rng.uniform(0.85, 1.15)
        self.eosin[window] *= 1 - whole - 0.5 * halo
        self.eosin[window] += cells * 0.52 * shade
        self.ground[window] *= 1 - whole
        self.ground[window] += cells * 0.26 * shade
        if rng.random() < 0.45:  # secretion
            milk = cv2.GaussianBlur(hollow, (0, 0), 3 * um)
            self.eosin[window] += np.clip(milk - 0.45, 0, 1) * rng.uniform(0.2, 0.7) * hollow
        zone = self.zone[window]
        zone[whole > 0.5] = GLAND
        zone[hollow > 0.5] = LUMEN
        zone[(halo > 0.1) & (zone == STROMA)] = GLAND
        for inset, turn in ((5.0, 0.0), (10.5, 0.5)):
            ring = centre + (outer - centre) * (1 - inset * um / reach)
            length = np.linalg.norm(np.roll(ring, -1, 0) - ring, axis=1)
            along = np.concatenate([[0], np.cumsum(length)])
            count = max(4, round(along[-1] / (8.2 * um)))
            if inset > 6 and rng.random() < 0.35:
                continue
            at = (np.arange(count) + turn + rng.uniform(-0.15, 0.15, count)) / count * along[-1] % along[-1]
            closed = np.vstack([ring, ring[:1]])
            px, py = np.interp(at, along, closed[:, 0]), np.interp(at, along, closed[:, 1])
            outward = np.arctan2(py - centre[1], px - centre[0])
            jitter = rng.normal(0, 0.8 * um, (2, count))
            self._put("epithelium", px + jitter[0], py + jitter[1], (0.7, 0.95), outward + rng.normal(0, 0.2, count))

    def _vessel(self) -> None:
        """A small vessel with its thin wall and red cells."""
        um, rng = self.um, self.rng
        place = self._place(16 * um, 46 * um)
        if place is None:
            return
        outline = self._wobbly(*place, 0.12, 48)
        outline = outline.mean(0) + (outline - outline.mean(0)) * (1.0, rng.uniform(0.45, 1.0))
        window = self._window(outline, 8 * um)
        inside = self._mask(window, outline, 1.0)
        wall = np.clip(self._mask(window, outline, 3 * um) * 2, 0, 1) * (1 - inside)
        for stain in (self.eosin, self.ground):
            stain[window] *= 1 - 0.95 * inside
        self.eosin[window] += 0.35 * wall
        zone = self.zone[window]
        zone[inside > 0.3] = VESSEL
        x, y = self._grid(6.3 * um, window)
        keep = (self._at(x, y) == VESSEL) & (rng.random(len(x)) < rng.uniform(0.3, 0.95))
        scatter(self.blood, NUCLEI["red cell"], rng, x[keep], y[keep], (0.5, 0.8), um)
        step = max(1, len(outline) // 10)
        edge = outline[:: step * 2]
        middle = outline.mean(0)
        along = np.arctan2(edge[:, 1] - middle[1], edge[:, 0] - middle[0]) + np.pi / 2
        self._put("spindle", edge[:, 0], edge[:, 1], (0.8, 1.0), along)

    # -- look-alikes and lesions ---------------------------------------------------------------------

    def _follicle(self, outline: np.ndarray) -> None:
        """A follicle: crowded, small, round, even nuclei; a paler middle with larger ones. Benign."""
        um, rng = self.um, self.rng
        window = self._window(outline, 30 * um)
        soft = self._mask(window, outline, 5 * um) * (self.zone[window] == STROMA)
        self.eosin[window] *= 1 - 0.55 * soft
        self.eosin[window] += 0.10 * soft
        self.ground[window] += 0.16 * soft
        middle = outline.mean(0)
        centre = middle + (outline - middle) * rng.uniform(0.38, 0.55)
        pale = self._mask(window, centre, 5 * um)
        self.ground[window] -= 0.07 * pale
        self.eosin[window] += 0.12 * pale
        zone = self.zone[window]
        zone[soft > 0.5] = FOLLICLE
        zone[pale > 0.5] = CENTRE
        x, y = self._grid(7.2 * um, window)
        at = self._at(x, y)
        self._put("lymphocyte", x[at == FOLLICLE], y[at == FOLLICLE], (0.85, 1.2))
        # cells that stray from the rim
        rim = np.zeros(self.zone.shape, np.float32)
        rim[window] = self._mask(window, outline, 14 * um)
        chance = rim[y.astype(int), x.astype(int)]
        stray = (at == STROMA) & (rng.random(len(x)) < chance * 0.55)
        self._put("lymphocyte", x[stray], y[stray], (0.85, 1.2))
        x, y = self._grid(9.6 * um, window)
        inner = (self._at(x, y) == CENTRE) & (rng.random(len(x)) < 0.9)
        self._put("blast", x[inner], y[inner], (0.5, 0.8))

    def _lesion(self, outline: np.ndarray) -> str:
        """A tumour: crowded, large, dark, irregular nuclei in sheets or nests, in greyer stroma. Returns its kind."""
        um, rng = self.um, self.rng
        window = self._window(outline, 12 * um)
        mask = self._mask(window, outline)
        # nothing shows at the outline itself; all has come 8 µm inside
        soft = np.clip(2 * cv2.GaussianBlur(mask, (0, 0), 4 * um) - 1, 0, 1)
        nested = bool(rng.random() < 0.5)
        rows, columns = window
        grain = self._noise(46 * um if nested else 60 * um, 2)
        grain = self._full(grain, smooth=False)[window]
        nests = np.clip((grain + (0.65 if nested else 1.1)) * 3.0, 0, 1) * soft
        # between the nests: reactive stroma, paler and a little blue
        self.eosin[window] *= 1 - 0.30 * soft
        self.ground[window] += 0.06 * soft
        cells = cv2.GaussianBlur(nests, (0, 0), 1.4 * um) * soft
        mottle = self._full(self._noise(14 * um, 2), smooth=False)[window]
        self.eosin[window] *= 1 - 0.85 * cells
        self.eosin[window] += cells * (0.44 + 0.06 * mottle)
        self.ground[window] *= 1 - 0.5 * cells
        self.ground[window] += cells * (0.20 + 0.04 * mottle)
        zone = self.zone[window]
        zone[mask > 0.5] = LESION
        x, y = self._grid(11.2 * um, window, jitter=0.34)
        inside = cv2.erode((mask > 0.99).astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, round(2 * um)))
        row, column = y.astype(int) - rows.start, x.astype(int) - columns.start
        keep = (inside[row, column] > 0) & (nests[row, column] > 0.3) & (rng.random(len(x)) < 0.96)
        self._put("tumour", x[keep], y[keep], (0.5, 1.15))
        dividing = keep & (rng.random(len(x)) < 0.012)
        self._put("mitosis", x[dividing], y[dividing], (1.4, 1.8))
        x, y = self._grid(19 * um, window)
        row, column = y.astype(int) - rows.start, x.astype(int) - columns.start
        between = (inside[row, column] > 0) & (nests[row, column] < 0.15)
        x, y = x[between], y[between]
        self._put("spindle", x, y, (0.7, 1.1), self._along(x, y) + rng.normal(0, 0.4, len(x)))
        return "nests" if nested else "sheet"

    # -- placing cells -------------------------------------------------------------------------------

    def _grid(
        self, step: float, window: tuple[slice, slice] | None = None, jitter: float = 0.3
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points (x, y) on a shaken hexagonal grid, `step` pixels apart, inside the picture."""
        rows, columns = window or (slice(0, self.height), slice(0, self.width))
        down = step * 0.866
        gy, gx = np.mgrid[
            0 : int((rows.stop - rows.start) / down) + 1, 0 : int((columns.stop - columns.start) / step) + 1
        ]
        shake = self.rng.uniform(-jitter, jitter, (2, *gx.shape)) * step
        x = (columns.start + (gx + 0.5 * (gy % 2)) * step + shake[0]).ravel()
        y = (rows.start + gy * down + shake[1]).ravel()
        keep = (x >= columns.start) & (y >= rows.start) & (x < columns.stop - 1) & (y < rows.stop - 1)
        return x[keep], y[keep]

    def _at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        row, column = np.clip(y.astype(int), 0, self.height - 1), np.clip(x.astype(int), 0, self.width - 1)
        return self.zone[row, column]

    def _put(
        self, kind: str, x: np.ndarray, y: np.ndarray, strength: tuple[float, float], angle: np.ndarray | None = None
    ) -> None:
        scatter(self.nuclei, NUCLEI[kind], self.rng, x, y, strength, self.um, angle)
