"""Pictures of a report: slides with their heat map, the ROC curve. All as text that stands in the page itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .colormaps import colormap
from .metrics.roc import curve, curve_band
from .tiles import TilePyramid

if TYPE_CHECKING:
    from .data.slides import Slide

HEAT = "ice"
OPACITY = 0.6
SIDE = 300
"""Side of the ROC diagram, px."""


def data_uri(pixels: np.ndarray, quality: int = 82) -> str:
    """Return uint8 [h, w, 3] as a JPEG in a data URI; it carries no metadata."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def slide_pictures(
    slide: Slide, heat: Path | None, size: int, threshold: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the slide and the slide under its heat map (None without one): uint8 [h, w, 3], longest side `size` px.

    Shown is the tissue, never the label or macro image of the file.
    """
    plain = slide.thumbnail(size)
    if heat is None or not heat.exists():
        return plain, None
    height, width = plain.shape[:2]
    values = _heat_at(heat, width, height)
    # 0 = not computed, v >= 1 means probability (v - 1) / 254
    alpha = np.where(values >= max(1, round(threshold * 254) + 1), OPACITY, 0.0)[..., None]
    over = plain * (1 - alpha) + colormap(HEAT)[values] * alpha
    return plain, over.round().astype(np.uint8)


def _heat_at(path: Path, width: int, height: int) -> np.ndarray:
    """Return the map at `width` x `height` px: uint8 [height, width], the highest value that a pixel covers."""
    with TilePyramid.open(path, readonly=True) as pyramid:
        level = 0
        while True:
            w, h = pyramid.level_size(level)
            if w <= 4 * width or h <= 4 * height:
                break
            if pyramid.level_size(level + 1)[0] < width:
                break
            level += 1
        values = pyramid.region(level, 0, 0, w, h)
    rows = np.minimum(np.arange(height + 1) * h // height, h)
    columns = np.minimum(np.arange(width + 1) * w // width, w)
    rows[1:] = np.maximum(rows[1:], rows[:-1] + 1)
    columns[1:] = np.maximum(columns[1:], columns[:-1] + 1)
    found = np.maximum.reduceat(values, np.minimum(rows[:-1], h - 1), axis=0)
    return np.asarray(np.maximum.reduceat(found, np.minimum(columns[:-1], w - 1), axis=1))


def roc_svg(labels: np.ndarray, scores: np.ndarray, marks: dict[str, tuple[float, float]]) -> str:
    """Return the ROC curve with its 95 % band as SVG.

    Parameters
    ----------
    labels, scores : bool and float [n].
    marks : text -> (1 - specificity, sensitivity) of points that are marked and named.
    """
    false, true, _ = curve(labels, scores)
    band = curve_band(labels, scores)
    left, top = 46, 12

    def at(x: float, y: float) -> str:
        return f"{left + x * SIDE:.1f},{top + (1 - y) * SIDE:.1f}"

    parts = [
        f'<svg class="roc" viewBox="0 0 {left + SIDE + 14} {top + SIDE + 46}" role="img" '
        f'aria-label="ROC curve of {len(labels)} slides">',
        f'<rect x="{left}" y="{top}" width="{SIDE}" height="{SIDE}" class="frame"/>',
        f'<line x1="{left}" y1="{top + SIDE}" x2="{left + SIDE}" y2="{top}" class="chance"/>',
    ]
    if band is not None:
        rates, low, high = band
        points = [at(x, y) for x, y in zip(rates, high)] + [at(x, y) for x, y in zip(rates[::-1], low[::-1])]
        parts.append(f'<polygon class="band" points="{" ".join(points)}"/>')
    parts.append(f'<polyline class="curve" points="{" ".join(at(x, y) for x, y in zip(false, true))}"/>')
    for number, (text, (x, y)) in enumerate(marks.items()):
        cx, cy = at(x, y).split(",")
        parts.append(f'<circle class="mark{number}" cx="{cx}" cy="{cy}" r="5"><title>{text}</title></circle>')
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + value * SIDE, top + (1 - value) * SIDE
        parts.append(f'<text x="{x:.0f}" y="{top + SIDE + 16}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{value:g}</text>')
    middle = left + SIDE / 2
    parts.append(f'<text x="{middle}" y="{top + SIDE + 36}" text-anchor="middle">1 - specificity</text>')
    side = top + SIDE / 2
    parts.append(f'<text x="12" y="{side}" text-anchor="middle" transform="rotate(-90 12 {side})">sensitivity</text>')
    return "".join(parts) + "</svg>"
