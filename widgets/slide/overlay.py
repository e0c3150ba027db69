"""What stands on the picture: scale bar, magnification, place of the pointer, colours. Small, legible on any tissue."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen

from .colormaps import heat_bar
from .model import Overlay, SlideViewModel, round_length
from .turning import rotation_text

EDGE = 12.0  # distance from the edges of the view
PAD = 8.0
LONGEST = 160.0  # of the scale bar, screen pixels
BAR = 96.0  # length of a legend's colours
LEGENDS = 2  # layers, from the top, that get a legend


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


def layers(model: SlideViewModel) -> list[Overlay]:
    """The probability layers that can be seen and are explained, the uppermost first."""
    return [o for o in reversed(model.overlays) if o.visible and o.kind == "heat"][:LEGENDS]


def probability(overlay: Overlay, at: tuple[float, float]) -> float | None:
    """What a layer says of a level-0 point; None where nothing was computed."""
    pyramid = overlay.pyramid
    if not (0 <= at[0] < pyramid.width and 0 <= at[1] < pyramid.height):
        return None
    value = int(pyramid.region(0, int(at[0]) // pyramid.base, int(at[1]) // pyramid.base, 1, 1)[0, 0])
    return (value - 1) / 254 if value else None


def value_text(model: SlideViewModel, at: tuple[float, float]) -> str:
    """What the layers in sight say of the place under the pointer: `heat map 0.62`; empty where nothing was computed."""
    found = [(overlay.name, probability(overlay, at)) for overlay in layers(model)]
    return "  ".join(f"{name} {p:.2f}" for name, p in found if p is not None)


HIDDEN = "Annotations hidden"


class ReadOut:
    """Chips at the bottom left: bar with magnification, above it the place of the pointer, above that the legends."""

    def __init__(self) -> None:
        self.position: tuple[float, float] | None = None
        self.note = ""  # for a moment instead of the position: the brush's new size

    def rect(self, height: float, font: QFont) -> QRectF:
        """The part of the view that the chips may cover; `height` of the view."""
        line = QFontMetricsF(font).height() + PAD
        tall = (2 + LEGENDS) * (line + 4)
        return QRectF(EDGE, height - EDGE - tall - 2, 560, tall + 4)

    def paint(self, painter: QPainter, model: SlideViewModel, height: float, chrome: Chrome) -> None:
        metrics = QFontMetricsF(painter.font())
        line = metrics.height() + PAD
        length, text = scale_bar(model)
        lies = rotation_text(model.rotation, model.mirrored)
        states = [lies, "" if model.show_labels else HIDDEN]
        magnification = "   ".join([model.magnification_text, *(text for text in states if text)])
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
        self._paint_legends(painter, model, box.translated(0, -2 * (line + 4)), chrome)
        said = self.note
        if not said and self.position is not None:
            values = value_text(model, self.position)
            said = position_text(model, self.position) + (f"  {values}" if values else "")
        if said:
            above = box.translated(0, -line - 4)
            above.setWidth(metrics.horizontalAdvance(said) + 2 * PAD)
            self._chip(painter, above, chrome)
            painter.setPen(chrome.text if self.note else chrome.muted)
            painter.drawText(above.adjusted(PAD, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, said)

    def _paint_legends(self, painter: QPainter, model: SlideViewModel, box: QRectF, chrome: Chrome) -> None:
        """Name and colours of the layers in sight, from the lowest probability that is drawn to 1."""
        metrics = QFontMetricsF(painter.font())
        for overlay in layers(model):
            name, least = overlay.name[:1].upper() + overlay.name[1:], f"{overlay.threshold:.2f}"
            widths = [metrics.horizontalAdvance(text) for text in (name, least, "1")]
            box.setWidth(4 * PAD + sum(widths) + BAR + 2 * 6)
            self._chip(painter, box, chrome)
            x = box.left() + PAD
            for text, width, color in ((name, widths[0] + 2 * PAD, chrome.text), (least, widths[1] + 6, chrome.muted)):
                painter.setPen(color)
                painter.drawText(QRectF(x, box.top(), width, box.height()), Qt.AlignmentFlag.AlignVCenter, text)
                x += width
            bar = QRectF(x, box.center().y() - 4, BAR, 8)
            painter.drawImage(bar, heat_bar(overlay.colormap, overlay.threshold, overlay.threshold))
            painter.setPen(chrome.muted)
            painter.drawText(
                QRectF(x + BAR + 6, box.top(), widths[2] + PAD, box.height()), Qt.AlignmentFlag.AlignVCenter, "1"
            )
            box = box.translated(0, -(box.height() + 4))

    def _chip(self, painter: QPainter, box: QRectF, chrome: Chrome) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(chrome.ground)
        painter.drawRoundedRect(box, 5, 5)
