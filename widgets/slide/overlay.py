"""What stands on the picture: scale bar, magnification, place of the pointer. Small, legible on any tissue."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen

from .model import SlideViewModel, round_length

EDGE = 12.0  # distance from the edges of the view
PAD = 8.0
LONGEST = 160.0  # of the scale bar, screen pixels


@dataclass(frozen=True)
class Chrome:
    """Colours of what is drawn over the slide."""

    ground: QColor
    text: QColor
    muted: QColor
    accent: QColor
    line: QColor


def length_text(micrometres: float) -> str:
    """A length in its handiest unit: `2 mm`, `500 µm`."""
    if micrometres >= 1000:
        return f"{micrometres / 1000:g} mm"
    return f"{micrometres:g} µm"


def scale_bar(model: SlideViewModel, longest: float = LONGEST) -> tuple[float, str]:
    """Length of the bar in screen pixels (at most `longest`) and what stands beside it."""
    if model.mpp:
        per_pixel = model.mpp / model.zoom
        length = round_length(longest * per_pixel)
        return length / per_pixel, length_text(length)
    length = round_length(longest / model.zoom)
    return length * model.zoom, f"{length:g} px"


def position_text(model: SlideViewModel, at: tuple[float, float]) -> str:
    """Where the pointer is: µm first, level-0 pixels in brackets."""
    x, y = at
    pixels = f"{int(x // 1)}, {int(y // 1)} px"
    if not model.mpp:
        return pixels
    return f"{x * model.mpp:.1f}, {y * model.mpp:.1f} µm  ({pixels})"


class ReadOut:
    """Two chips at the bottom left: bar with magnification, and the place of the pointer above it."""

    def __init__(self) -> None:
        self.position: tuple[float, float] | None = None
        self.note = ""  # for a moment instead of the position: the brush's new size

    def rect(self, height: float, font: QFont) -> QRectF:
        """The part of the view that the chips may cover; `height` of the view."""
        line = QFontMetricsF(font).height() + PAD
        return QRectF(EDGE, height - EDGE - 2 * line - 6, 420, 2 * line + 8)

    def paint(self, painter: QPainter, model: SlideViewModel, height: float, chrome: Chrome) -> None:
        metrics = QFontMetricsF(painter.font())
        line = metrics.height() + PAD
        length, text = scale_bar(model)
        magnification = model.magnification_text
        gap = 10.0
        width = PAD + length + gap + metrics.horizontalAdvance(text) + 2 * gap
        width += metrics.horizontalAdvance(magnification) + PAD
        box = QRectF(EDGE, height - EDGE - line, width, line)
        self._chip(painter, box, chrome)
        middle = box.center().y()
        painter.setPen(QPen(chrome.text, 2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
        left = round(box.left() + PAD)
        painter.drawLine(QPointF(left, middle), QPointF(left + length, middle))
        for x in (left + 1, left + length - 1):
            painter.drawLine(QPointF(x, middle - 4), QPointF(x, middle + 4))
        x = left + length + gap
        painter.setPen(chrome.text)
        painter.drawText(QRectF(x, box.top(), width, line), Qt.AlignmentFlag.AlignVCenter, text)
        x += metrics.horizontalAdvance(text) + gap
        painter.setPen(QPen(chrome.line, 1))
        painter.drawLine(QPointF(x, box.top() + 5), QPointF(x, box.bottom() - 5))
        painter.setPen(chrome.text)
        painter.drawText(QRectF(x + gap, box.top(), width, line), Qt.AlignmentFlag.AlignVCenter, magnification)
        said = self.note or ("" if self.position is None else position_text(model, self.position))
        if said:
            above = box.translated(0, -line - 4)
            above.setWidth(metrics.horizontalAdvance(said) + 2 * PAD)
            self._chip(painter, above, chrome)
            painter.setPen(chrome.text if self.note else chrome.muted)
            painter.drawText(above.adjusted(PAD, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, said)

    def _chip(self, painter: QPainter, box: QRectF, chrome: Chrome) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(chrome.ground)
        painter.drawRoundedRect(box, 5, 5)
