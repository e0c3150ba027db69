"""The small map at the bottom right: the whole slide, heat map and labels, and a frame around what is in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QWidget

from .colormaps import heat_table
from .scene import PAPER
from .tilecache import BASE

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

    def place(self) -> None:
        """Take the size that fits slide and view, or hide where there is no room."""
        slide, room = self._view.model.slide, self._view.size()
        if slide is None or room.width() < SMALLEST.width() or room.height() < SMALLEST.height():
            self.hide()
            return
        longest = min(LONGEST, room.width() // 3, room.height() // 3)
        factor = longest / max(slide.width, slide.height)
        width, height = max(24, round(slide.width * factor)), max(24, round(slide.height * factor))
        size = QSize(width + 2 * BORDER, height + 2 * BORDER)
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

    def _draw_picture(self) -> QPixmap:
        ratio = self.devicePixelRatioF()
        inside = self._inside()
        picture = QPixmap((inside.size() * ratio).toSize())
        picture.fill(PAPER)
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
        picture.setDevicePixelRatio(ratio)
        return picture

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._picture is None:
            self._picture = self._draw_picture()
        chrome = self._view.chrome
        painter = QPainter(self)
        ground = QColor(chrome.ground)
        ground.setAlpha(255)  # nothing is drawn below an opaque widget
        painter.fillRect(self.rect(), ground)
        inside = self._inside()
        painter.drawPixmap(inside.topLeft(), self._picture)
        model = self._view.model
        if model.slide is None:
            return
        fx, fy = inside.width() / model.slide.width, inside.height() / model.slide.height
        x, y, width, height = model.visible_rect()
        frame = QRectF(inside.x() + x * fx, inside.y() + y * fy, width * fx, height * fy)
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
        model, inside = self._view.model, self._inside()
        if model.slide is not None:
            model.move_to(
                (at.x() - inside.x()) / inside.width() * model.slide.width,
                (at.y() - inside.y()) / inside.height() * model.slide.height,
            )

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._go(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position())
