"""The small map at the bottom right: the whole slide, heat map and labels, and a frame around what is in sight.

It lies as the view does, so the frame stands upright. While the whole slide is in sight it hides: it would say nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QTransform
from qtpy.QtWidgets import QWidget

from .colormaps import heat_table
from .tilecache import BASE
from .transform import Rect, ViewTransform, bounding, corners

if TYPE_CHECKING:
    from .model import Overlay
    from .view import SlideView

LONGEST = 190  # of the map, screen pixels
BORDER = 3
SMALLEST = QSize(460, 340)  # of the view: below, there is no room for a map
SOON_MS = 150  # a heat map that grows is drawn anew this much later


def heat_picture(overlay: Overlay, width: int, height: int) -> QImage:
    """The colours of a whole heat map, about `width` x `height` pixels: the finest level that is not much larger.

    Where many pixels of the map fall on one of the picture, the highest decides, so that a small lesion is not lost.
    """
    pyramid = overlay.pyramid
    level = next(n for n in range(pyramid.levels) if pyramid.level_size(n)[0] <= 4 * width or n == pyramid.levels - 1)
    columns, rows = pyramid.level_size(level)
    values = pyramid.region(level, 0, 0, columns, rows)
    step = max(1, columns // width)
    padded = np.pad(values, ((0, -rows % step), (0, -columns % step)))
    values = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step).max((1, 3))
    colors = np.ascontiguousarray(heat_table(overlay.colormap, overlay.threshold, overlay.opacity)[values], np.uint32)
    format = QImage.Format.Format_ARGB32_Premultiplied
    return QImage(colors.tobytes(), colors.shape[1], colors.shape[0], 4 * colors.shape[1], format).copy()


class Overview(QWidget):
    """Click or drag moves the view there."""

    def __init__(self, view: SlideView) -> None:
        super().__init__(view)
        self._view = view
        self.wanted = True  # the user's wish
        self._picture: QPixmap | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName("Overview of the slide")
        self.setAccessibleDescription(
            "Click or drag to move the view. With the keyboard, use the arrow keys in the view."
        )
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON_MS)
        self._soon.timeout.connect(self.redraw)
        view.model.events.overlays.connect(self._layers_changed)
        view.model.refreshed.connect(self._layers_changed)
        self.hide()

    def _layers_changed(self, *_: object) -> None:
        """A heat map came, went, grew or got other colours: draw it soon, once for many changes."""
        if isalive(self) and not self._soon.isActive():
            self._soon.start()

    def want(self, on: bool) -> None:
        """Show the map where it is of use, or never."""
        self.wanted = on
        self.place()

    def place(self) -> None:
        """Take the size that fits slide and view, or hide where there is no room or no use."""
        model, room = self._view.model, self._view.size()
        slide = model.slide
        small = room.width() < SMALLEST.width() or room.height() < SMALLEST.height()
        if slide is None or small or not self.wanted or model.all_in_sight:
            self.hide()
            return
        longest = min(LONGEST, room.width() // 3, room.height() // 3)
        width, height = model.transform.size_of(slide.width, slide.height)
        factor = longest / max(width, height)
        size = QSize(max(24, round(width * factor)) + 2 * BORDER, max(24, round(height * factor)) + 2 * BORDER)
        if size != self.size():
            self._picture = None
        self.resize(size)
        self.move(room.width() - size.width() - 12, room.height() - size.height() - 12)
        self.show()

    def redraw(self) -> None:
        """The slide's picture or its labels changed."""
        self._picture = None
        self.update()

    def _inside(self) -> QRectF:
        return QRectF(self.rect()).adjusted(BORDER, BORDER, -BORDER, -BORDER)

    def _map(self) -> ViewTransform:
        """Where places of the slide stand inside of the border."""
        model, inside = self._view.model, self._inside()
        assert model.slide is not None
        width, height = model.slide.width, model.slide.height
        wide, tall = model.transform.size_of(width, height)
        zoom = min(inside.width() / wide, inside.height() / tall)
        size = (inside.width(), inside.height())
        return ViewTransform((width / 2, height / 2), zoom, size, model.rotation, model.mirrored)

    def frame(self) -> Rect:
        """What is in sight, in pixels of the map from inside of its border."""
        view, here = self._view.model.transform, self._map()
        seen = [here.to_view(*view.to_slide(*corner)) for corner in corners((0.0, 0.0, *view.viewport))]
        left, top, width, height = bounding(seen)
        right, bottom = min(left + width, here.viewport[0]), min(top + height, here.viewport[1])
        left, top = max(left, 0.0), max(top, 0.0)
        return (left, top, right - left, bottom - top)

    def _draw_picture(self) -> QPixmap:
        ratio = self.devicePixelRatioF()
        picture = QPixmap((self._inside().size() * ratio).toSize())
        slide, here = self._view.model.slide, self._map()
        if here.upright or slide is None:
            picture.fill(self._view.scene.paper)
            self._draw_layers(picture)
            picture.setDevicePixelRatio(ratio)
            return picture
        upright = QPixmap(
            max(1, round(slide.width * here.zoom * ratio)), max(1, round(slide.height * here.zoom * ratio))
        )
        upright.fill(self._view.scene.paper)
        self._draw_layers(upright)
        picture.fill(self._ground())
        a, b, c, d = here.matrix
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setTransform(QTransform(a, c, b, d, picture.width() / 2, picture.height() / 2))
        painter.drawPixmap(QPointF(-upright.width() / 2, -upright.height() / 2), upright)
        painter.end()
        picture.setDevicePixelRatio(ratio)
        return picture

    def _draw_layers(self, picture: QPixmap) -> None:
        """Draw slide, heat map and labels, upright, over all of `picture`."""
        scene = self._view.scene
        target = QRectF(picture.rect())
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        base = scene.tiles.image(BASE)
        if base is not None:
            # In one step QPainter would skip pixels.
            small = base.scaled(
                picture.size(), Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
            painter.drawImage(0, 0, small)
        for overlay in self._view.model.overlays:
            if overlay.visible and overlay.kind == "heat":
                painter.drawImage(target, heat_picture(overlay, picture.width(), picture.height()))
        if scene.labels is not None and self._view.model.show_labels:
            level = scene.labels.source.levels - 1
            image = scene.labels.image((level, 0, 0))
            if image is not None:
                width, height = scene.labels.source.level_size(level)
                painter.drawImage(target, image, QRectF(0, 0, width, height))
        painter.end()

    def _ground(self) -> QColor:
        ground = QColor(self._view.chrome.ground)
        ground.setAlpha(255)  # nothing is drawn below an opaque widget
        return ground

    def paintEvent(self, event: QPaintEvent) -> None:
        chrome = self._view.chrome
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._ground())
        if self._view.model.slide is None:
            return
        if self._picture is None:
            self._picture = self._draw_picture()
        inside = self._inside()
        painter.drawPixmap(inside.topLeft(), self._picture)
        frame = QRectF(*self.frame()).translated(inside.topLeft())
        if frame.width() < 12 or frame.height() < 12:  # a dot would be lost
            middle = frame.center()
            frame = QRectF(0, 0, max(frame.width(), 12), max(frame.height(), 12))
            frame.moveCenter(middle)
        frame = frame.adjusted(0.5, 0.5, -0.5, -0.5)
        for color, pen_width in ((QColor(255, 255, 255, 220), 3.5), (QColor("#0D6475"), 2.0)):
            painter.setPen(
                QPen(color, pen_width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.SquareCap, Qt.PenJoinStyle.MiterJoin)
            )
            painter.drawRect(frame)
        painter.setPen(QPen(chrome.line, 1))
        painter.drawRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5))

    def _go(self, at: QPointF) -> None:
        if self._view.model.slide is not None:
            place = at - self._inside().topLeft()
            self._view.model.move_to(*self._map().to_slide(place.x(), place.y()))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._go(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position())
