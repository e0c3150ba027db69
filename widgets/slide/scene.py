"""Scene: everything in slide coordinates, drawn with QPainter: tissue, heat maps, labels.

Drawing is in device pixels with whole-pixel tile edges, so that neighbours meet without seams and 1:1 is exact. A view that
is turned or mirrored is drawn upright, block by block, and each block is laid on the screen in one piece: pixel by pixel
where it is turned by quarters, smoothly by other angles. So its tiles meet without seams too.

The frame: device pixels of the view as it were if nothing was turned.
"""

from __future__ import annotations

import math
import time

import numpy as np
from qtpy.QtCore import QRect, QRectF
from qtpy.QtGui import QColor, QImage, QPainter, QTransform

from ...engine.tiles import TILE
from .colormaps import heat_table, label_table, value_table
from .model import Overlay, SlideViewModel
from .painting import Key, LabelLayer, PyramidLayer, Rect
from .tilecache import BASE, SlideTiles
from .yielding import YieldingLayer

PAPER = QColor("#f3eef2")  # until the first picture of the slide is there: about the colour of a stained slide
DARK = QColor("#000000")  # the same of a fluorescence slide
BUDGET = 0.008  # seconds a frame may spend on reading label and heat tiles; the rest follows in the next frame
BLOCK = 1024  # device pixels: side of what is turned at once
PIXELS_FROM = 2.0  # from this magnification on, pixels are shown as squares


class Scene:
    """Draws what the model shows into a painter."""

    def __init__(self, model: SlideViewModel) -> None:
        self.model = model
        self.tiles = SlideTiles()
        self.labels: LabelLayer | None = None
        self._heat: dict[str, PyramidLayer] = {}
        self._ratio = 1.0
        self._deadline = 0.0
        self._block = QImage()  # what is turned next; kept, so that no frame has to ask for memory
        model.events.display.connect(self._renew)
        self.complete = True  # whether the last drawing showed all labels and heat as they are

    # ---- following the model

    def set_slide(self) -> None:
        self.tiles.set_slide(self.model.slide)

    def _renew(self) -> None:
        self.tiles.renew()

    @property
    def paper(self) -> QColor:
        """What the slide looks like where nothing is on it."""
        return DARK if self.model.slide is not None and self.model.slide.channels else PAPER

    def set_labels(self) -> None:
        store = self.model.labels
        self.labels = None if store is None else LabelLayer(store, self._label_table())
        self.set_classes()

    def set_classes(self) -> None:
        if self.labels is not None:
            locked = self.model.keeps(0)
            if locked != self.labels.protected:
                self.labels.protected = locked
                self.labels.invalidate()
            self.labels.set_table(self._label_table())
            self.labels.set_hatch(self.model.hatch, [c.value for c in self.model.classes])
        self.set_overlays()

    def set_overlays(self) -> None:
        layers: dict[str, PyramidLayer] = {}
        for overlay in self.model.overlays:
            known = self._heat.get(overlay.name)
            table = self._overlay_table(overlay)
            if known is not None and known.source is overlay.pyramid:
                known.set_table(table)
                layers[overlay.name] = known
            elif overlay.yields:
                layers[overlay.name] = YieldingLayer(overlay.pyramid, table, lambda: self.model.labels)
            else:
                layers[overlay.name] = PyramidLayer(overlay.pyramid, table)
        self._heat = layers

    def refresh(self, name: str, rect: Rect | None) -> None:
        if name in self._heat:
            self._heat[name].invalidate(rect)

    def _label_table(self) -> np.ndarray:
        classes, solo = self.model.classes, self.model.solo
        if solo is not None:
            classes = [c.model_copy(update={"visible": c.value == solo}) for c in classes]
        return label_table(classes, self.model.label_opacity)

    def _overlay_table(self, overlay: Overlay) -> np.ndarray:
        if overlay.colors:
            return value_table(overlay.colors, overlay.opacity)
        if overlay.kind == "labels":
            return label_table(self.model.classes, overlay.opacity)
        return heat_table(overlay.colormap, overlay.threshold, overlay.opacity)

    # ---- geometry, device pixels

    def prepare(self, ratio: float) -> None:
        """Set up for a frame; `ratio` = device pixels per screen pixel."""
        self._ratio = ratio

    @property
    def scale(self) -> float:
        """Device pixels per level-0 pixel."""
        return self.model.zoom * self._ratio

    @property
    def k(self) -> int:
        """The tile grid to draw: the coarsest with at least one tile pixel per device pixel."""
        return max(0, math.floor(math.log2(1 / self.scale) + 1e-6))

    def _origin(self) -> tuple[int, int]:
        (x, y), (width, height) = self.model.centre, self.model.viewport
        return (
            math.floor((width / 2 - x * self.model.zoom) * self._ratio + 0.5),
            math.floor((height / 2 - y * self.model.zoom) * self._ratio + 0.5),
        )

    def slide_rect(self) -> QRect:
        """The slide in the frame."""
        slide = self.model.slide
        if slide is None:
            return QRect()
        x, y = self._origin()
        return QRect(x, y, math.floor(slide.width * self.scale + 0.5), math.floor(slide.height * self.scale + 0.5))

    def level0(self, rect: QRect) -> Rect:
        """A rectangle of the frame in level-0 pixels."""
        x, y = self._origin()
        scale = self.scale
        return ((rect.x() - x) / scale, (rect.y() - y) / scale, rect.width() / scale, rect.height() / scale)

    def _tile_keys(self, k: int, rect: Rect, margin: int = 0) -> list[Key]:
        slide = self.model.slide
        assert slide is not None
        size = TILE << k
        first_row, last_row = int(rect[1] // size) - margin, int((rect[1] + rect[3]) // size) + margin
        first_column, last_column = int(rect[0] // size) - margin, int((rect[0] + rect[2]) // size) + margin
        rows = range(max(0, first_row), min(-(-slide.height // size) - 1, last_row) + 1)
        columns = range(max(0, first_column), min(-(-slide.width // size) - 1, last_column) + 1)
        return [(k, row, column) for row in rows for column in columns]

    def wanted(self) -> list[Key]:
        """Tiles to be decoded for what is in sight, the middle first, then a margin of one tile around."""
        if self.model.slide is None:
            return []
        first = [] if BASE in self.tiles else [BASE]
        if self.k > self.tiles.coarsest():
            return first
        x, y, width, height = self.model.visible_rect()
        if width <= 0 or height <= 0:
            return first
        size = TILE << self.k
        middle = (x + width / 2) / size - 0.5, (y + height / 2) / size - 0.5
        inside = self._in_sight(self._tile_keys(self.k, (x, y, width, height)), size)
        around = set(self._tile_keys(self.k, (x, y, width, height), 1)) - set(inside)
        around &= set(self._in_sight(list(around), size, size * self.model.zoom))

        def distance(key: Key) -> float:
            return (key[2] - middle[0]) ** 2 + (key[1] - middle[1]) ** 2

        keys = sorted(inside, key=distance) + sorted(around, key=distance)
        return first + [key for key in keys if key not in self.tiles]

    def label_keys(self) -> list[Key]:
        """The label tiles in sight: what live strokes are drawn on."""
        if self.labels is None:
            return []
        return self._layer_keys(self.labels)

    def _layer_keys(self, layer: PyramidLayer) -> list[Key]:
        level = layer.level(self.k)
        return self._in_sight(layer.keys(level, self.model.visible_rect()), TILE * layer.step(level))

    def _in_sight(self, keys: list[Key], size: float, margin: float = 0.0) -> list[Key]:
        """Those of the tiles, `size` level-0 pixels wide, that a turned view shows; an upright one shows all."""
        transform = self.model.transform
        if transform.quarter:
            return keys
        return [k for k in keys if transform.in_sight((k[2] * size, k[1] * size, size, size), margin)]

    def rgb_at(self, x: float, y: float) -> tuple[int, int, int] | None:
        """The colour of the slide at a level-0 point, as sharp as it is shown; None outside or not loaded."""
        k = self.k
        at_x, at_y = int(x) >> k, int(y) >> k
        return self.tiles.pixel((k, at_y // TILE, at_x // TILE), at_x % TILE, at_y % TILE)

    # ---- drawing

    def draw(self, painter: QPainter, clip: QRect, ground: QColor) -> None:
        """Draw the part `clip` (device pixels) of the picture; `ground` lies beside the slide."""
        self._deadline = 0.0  # the time for labels and heat begins when they are first drawn
        if self.model.transform.upright:
            self._draw_part(painter, clip, ground)
            return
        for layer in [*self._heat.values(), *([self.labels] if self.labels is not None else [])]:
            layer.kept = max(layer.kept, len(self._layer_keys(layer)) + 16)
        for top in range(clip.top(), clip.bottom() + 1, BLOCK):
            for left in range(clip.left(), clip.right() + 1, BLOCK):
                self._draw_turned(painter, QRect(left, top, BLOCK, BLOCK).intersected(clip), ground)

    def _turned(self) -> QTransform:
        """From the frame to device pixels; by whole pixels where the view is turned by quarters."""
        a, b, c, d = self.model.transform.matrix
        (x, y), (x0, y0) = self._origin(), self.model.to_view(0.0, 0.0)
        dx, dy = x0 * self._ratio - (a * x + b * y), y0 * self._ratio - (c * x + d * y)
        if self.model.transform.quarter:
            dx, dy = math.floor(dx + 0.5), math.floor(dy + 0.5)
        return QTransform(a, c, b, d, dx, dy)

    def _draw_turned(self, painter: QPainter, block: QRect, ground: QColor) -> None:
        """Draw a block (device pixels) of a view that is turned or mirrored."""
        turned = self._turned()
        back, _ = turned.inverted()
        frame = back.mapRect(QRectF(block)).toAlignedRect().adjusted(-2, -2, 2, 2)  # its edges are smoothed too
        if self._block.width() < frame.width() or self._block.height() < frame.height():
            self._block = QImage(frame.size().expandedTo(self._block.size()), QImage.Format.Format_RGB32)
        upright = QPainter(self._block)
        upright.translate(-frame.x(), -frame.y())
        self._draw_part(upright, frame, ground)
        upright.end()
        painter.save()
        painter.setClipRect(block)
        painter.setTransform(turned, True)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, not self.model.transform.quarter)
        painter.drawImage(frame.topLeft(), self._block, QRect(0, 0, frame.width(), frame.height()))
        painter.restore()

    def _draw_part(self, painter: QPainter, clip: QRect, ground: QColor) -> None:
        """Draw the part `clip` of the frame."""
        whole = self.slide_rect()
        painter.setClipRect(clip)
        if not whole.contains(clip):
            painter.fillRect(clip, ground)
        part = clip.intersected(whole)
        if part.isEmpty():
            return
        painter.setClipRect(part)
        rect = self.level0(part)
        self._draw_slide(painter, part, rect, whole)
        self._deadline = self._deadline or time.perf_counter() + BUDGET
        self._draw_overlays(painter, part, rect, above=False)
        if self.labels is not None and self.model.show_labels:
            self._draw_layer(painter, self.labels, part, rect, smooth=False)
        self._draw_overlays(painter, part, rect, above=True)

    def _draw_overlays(self, painter: QPainter, part: QRect, rect: Rect, above: bool) -> None:
        for overlay in self.model.overlays:
            if overlay.visible and overlay.above == above and overlay.name in self._heat:
                self._draw_layer(painter, self._heat[overlay.name], part, rect, smooth=overlay.kind == "heat")

    def _draw_slide(self, painter: QPainter, part: QRect, rect: Rect, whole: QRect) -> None:
        k = self.k
        magnified = self.scale * (1 << k)
        painter.setRenderHint(
            QPainter.RenderHint.SmoothPixmapTransform, abs(magnified - 1) > 1e-9 and magnified < PIXELS_FROM
        )
        if k > self.tiles.coarsest():
            self._draw_base(painter, part, whole)
            return
        keys = self._tile_keys(k, rect)
        missing = [key for key in keys if self.tiles.image(key) is None]
        for key in missing:
            self._draw_stand_in(painter, part, key, whole)
        for key in keys:
            image = self.tiles.image(key)
            if image is not None:
                self._blit(painter, image, 1 << k, key, part)

    def _draw_base(self, painter: QPainter, part: QRect, whole: QRect) -> None:
        base = self.tiles.image(BASE)
        if base is None:
            painter.fillRect(part, self.paper)
            return
        # Only what is needed: a small part of a small picture, perhaps far enlarged.
        fx, fy = base.width() / whole.width(), base.height() / whole.height()
        source = QRectF((part.x() - whole.x()) * fx, (part.y() - whole.y()) * fy, part.width() * fx, part.height() * fy)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(QRectF(part), base, source)
        painter.restore()

    def _draw_stand_in(self, painter: QPainter, part: QRect, key: Key, whole: QRect) -> None:
        """For a tile that is not there yet: the nearest coarser one, and finer ones over it, which zooming out leaves."""
        k, row, column = key
        place = self._span(1 << k, key, 0, 0, TILE, TILE).intersected(part)
        if place.isEmpty():
            return
        for up in range(1, self.tiles.coarsest() - k + 1):
            above = self.tiles.image((k + up, row >> up, column >> up))
            if above is not None:
                painter.save()
                painter.setClipRect(place)
                painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
                self._blit(painter, above, 1 << (k + up), (k + up, row >> up, column >> up), place)
                painter.restore()
                break
        else:
            self._draw_base(painter, place, whole)
        if k > 0:
            for below in ((k - 1, 2 * row + dy, 2 * column + dx) for dy in (0, 1) for dx in (0, 1)):
                finer = self.tiles.image(below)
                if finer is not None:
                    self._blit(painter, finer, 1 << (k - 1), below, place)

    def _draw_layer(self, painter: QPainter, layer: PyramidLayer, part: QRect, rect: Rect, smooth: bool) -> None:
        level = layer.level(self.k)
        step = layer.step(level)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth and self.scale * step < 1)
        keys = layer.keys(level, rect)
        layer.kept = max(layer.kept, len(keys) + 16)
        for key in keys:
            if layer.ready(key) or time.perf_counter() < self._deadline:
                image = layer.image(key)
            else:
                image = layer.old_image(key)
                self.complete = False
            if image is not None:
                self._blit(painter, image, step, key, part)

    def _span(self, step: int, key: Key, x0: int, y0: int, x1: int, y1: int) -> QRect:
        """Device rectangle of the pixels [x0, x1) x [y0, y1) of a tile whose pixels are `step` level-0 pixels wide."""
        x, y = self._origin()
        scale = step * self.scale
        left = x + math.floor((key[2] * TILE + x0) * scale + 0.5)
        right = x + math.floor((key[2] * TILE + x1) * scale + 0.5)
        top = y + math.floor((key[1] * TILE + y0) * scale + 0.5)
        bottom = y + math.floor((key[1] * TILE + y1) * scale + 0.5)
        return QRect(left, top, right - left, bottom - top)

    def _blit(self, painter: QPainter, image: QImage, step: int, key: Key, part: QRect) -> None:
        width, height = image.width(), image.height()
        scale = step * self.scale
        if scale <= 4:
            painter.drawImage(self._span(step, key, 0, 0, width, height), image)
            return
        # Far enlarged: hand over the visible pixels only, Qt's rasteriser ends at 32767 device pixels.
        whole = self._span(step, key, 0, 0, width, height)
        x0 = max(0, math.floor((part.left() - whole.left()) / scale) - 1)
        y0 = max(0, math.floor((part.top() - whole.top()) / scale) - 1)
        x1 = min(width, math.ceil((part.right() + 1 - whole.left()) / scale) + 1)
        y1 = min(height, math.ceil((part.bottom() + 1 - whole.top()) / scale) + 1)
        if x1 > x0 and y1 > y0:
            painter.drawImage(self._span(step, key, x0, y0, x1, y1), image, QRect(x0, y0, x1 - x0, y1 - y0))
