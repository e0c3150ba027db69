"""SlideView: a gigapixel slide to look at and to paint on, as a plain QWidget drawn with QPainter (no OpenGL).

A brush event draws one piece of the stroke on the label tiles in sight and repaints that rectangle: its cost knows
neither the size of the slide nor the zoom.
"""

from __future__ import annotations

import math
import time
import weakref
from typing import Any

from psygnal import EmissionInfo
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QRect, QRectF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QRegion, QResizeEvent
from qtpy.QtWidgets import QWidget

from ...engine.labels.store import LabelStore
from ..theme import colors, theme_changed
from .crosshair import CrossHair
from .edits import Edits
from .input import Input
from .marks import MarkLayer
from .model import SlideViewModel
from .overlay import Chrome, ReadOut
from .overview import Overview
from .painting import Rect
from .pen import PenInput
from .regions import RegionWork
from .scene import Scene
from .tilecache import BASE, Key
from .tools import Tool, make_tool
from .turning import Turning

NOTE_MS = 1200  # how long the brush's size is shown after a change
READ_OUT_MS = 40


class SlideView(Edits, CrossHair, Turning, PenInput, Input, QWidget):
    """Shows a `SlideViewModel`. Wheel zooms at the pointer; middle drag, Space + drag and arrow keys move,
    Shift + Alt + drag turns, in every tool."""

    cursor_moved = Signal(float, float, int, object)
    """x, y in level-0 pixels, label there, (r, g, b) there or None; at most every 40 ms."""
    saved = Signal(float)
    """Unix time at which the labels were last made durable."""
    failed = Signal(str)
    """One sentence: labels cannot be written, or a part of the slide cannot be read."""

    menu_asked = Signal(object)
    """QPoint on the screen at which a menu for the region there is wanted."""

    _store_changed = Signal(object)

    def __init__(self, model: SlideViewModel | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model or SlideViewModel()
        self.scene = Scene(self.model)
        self.read_out = ReadOut()
        self.overview = Overview(self)
        self.tool: Tool = make_tool(self.model.tool, self)
        self._store: LabelStore | None = None
        self._wants = True
        self._ring: QRect | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_AcceptTouchEvents)
        self.setFocusPolicy(Qt.FocusPolicy.WheelFocus)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)  # the right button erases
        self.setMinimumSize(160, 120)
        self.setAccessibleName("Slide view")
        self.setAccessibleDescription(
            "Arrow keys move, plus and minus zoom, Home shows the whole slide. "
            "M, B, E, P, L and I choose pan, brush, eraser, polygon, lasso and pick; digits choose the class. "
            "X shows a cross hair to draw with: arrow keys move it, Space sets a point, Enter closes, Escape ends."
        )
        self._init_input()
        self._init_pen()
        self._init_cross()
        self.regions = RegionWork(self)
        self.marks = MarkLayer(self)
        self._note_timer = self._timer(NOTE_MS, self._end_note)
        self._read_timer = self._timer(READ_OUT_MS, self._read)
        self._map_timer = self._timer(150, self.overview.redraw)
        self._tick_timer = QTimer(self)
        self._tick_timer.setInterval(250)
        self._tick_timer.timeout.connect(lambda: self.tool.tick())
        self.scene.tiles.arrived.connect(self._tile_arrived)
        self.scene.tiles.failed.connect(self.failed)
        self._store_changed.connect(self._labels_changed, Qt.ConnectionType.QueuedConnection)
        theme_changed().connect(self._restyle)
        self._restyle()
        self.model.events.connect(self._model_changed)
        self.model.viewed.connect(self._moved)
        self.model.refreshed.connect(self._refreshed)
        stop = self.scene.tiles.loader.stop
        weakref.finalize(self, stop)
        self.destroyed.connect(lambda: stop())
        for name in ("slide", "labels", "overlays", "tool", "brightness"):
            self._follow(name)

    def _timer(self, milliseconds: int, slot: Any) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(slot)
        return timer

    def sizeHint(self) -> QSize:
        return QSize(1000, 760)

    # ---- following the model

    def _model_changed(self, info: EmissionInfo) -> None:
        if isalive(self):
            self._follow(info.signal.name)

    def _follow(self, name: str) -> None:
        model = self.model
        if name == "slide":
            self.tool.cancel()
            self.scene.set_slide()
            self.read_out.position = None
            self._wants = True
            self.overview.redraw()
            self.overview.place()
        elif name == "labels":
            self.tool.cancel()
            self._watch(model.labels)
            self.scene.set_labels()
            self.overview.redraw()
        elif name in ("classes", "label_opacity", "solo", "hatch"):
            self.scene.set_classes()
            self._map_timer.start()
        elif name == "overlays":
            self.scene.set_overlays()
        elif name == "show_labels":
            self._map_timer.start()
        elif name == "tool":
            if self.tool.name != model.tool:
                self.tool.cancel()
                self.tool = make_tool(model.tool, self)
            self._show_cursor()
        elif name in ("brightness", "contrast"):
            self.scene.tiles.set_look(model.brightness, model.contrast)
            self._map_timer.start()
        elif name == "brush_um":
            unit = "µm" if model.mpp else "px"
            self.say(f"Brush {model.brush_um:.3g} {unit}")
        elif name in ("rotation", "mirrored"):
            self.overview.redraw()  # where it stands is known when `viewed` comes
            return
        elif name in ("centre", "zoom", "viewport", "fitted"):
            return  # `viewed` comes when all of them are set
        self.update()

    def _moved(self) -> None:
        if isalive(self):
            self._wants = True
            self.update()
            self.overview.place()
            self.overview.update()
            if self.pointer is not None and not self._read_timer.isActive():
                self._read_timer.start()

    def _refreshed(self, name: str, rect: Rect | None) -> None:
        if isalive(self):
            self.scene.refresh(name, rect)
            self.update() if rect is None else self.update_level0(rect)

    def _watch(self, store: LabelStore | None) -> None:
        """Listen to the store; its signals come from its writer thread."""
        if self._store is not None:
            self._store.changed.disconnect(self._from_writer)
            self._store.saved.disconnect(self._saved)
            self._store.failed.disconnect(self._failed)
        self._store = store
        if store is not None:
            store.changed.connect(self._from_writer)
            store.saved.connect(self._saved)
            store.failed.connect(self._failed)

    # A window may close while the writer is still at work: its thread must not see Qt's complaint.
    def _from_writer(self, rect: tuple) -> None:
        if isalive(self):
            self._store_changed.emit(rect)

    def _saved(self, when: float) -> None:
        if isalive(self):
            self.saved.emit(when)

    def _failed(self, sentence: str) -> None:
        if isalive(self):
            self.failed.emit(sentence)

    def _labels_changed(self, rect: Rect) -> None:
        if self.scene.labels is not None:
            self.scene.labels.invalidate(rect)
            self.update_level0(rect)
            if not self._map_timer.isActive():
                self._map_timer.start()

    def _tile_arrived(self, key: Key) -> None:
        if key == BASE:
            self.overview.redraw()
            self.update()
        else:
            size = 512 << key[0]
            self.update_level0((key[2] * size, key[1] * size, size, size))

    def say(self, note: str, hold: bool = False) -> None:
        """Show a few words at the scale bar, for a moment or until others come."""
        self.read_out.note = note
        self._note_timer.stop() if hold else self._note_timer.start()
        self.update()

    # ---- drawing

    def update_level0(self, rect: Rect) -> None:
        """Repaint a rectangle given in level-0 pixels."""
        x, y, wide, tall = self.model.transform.view_rect(rect)
        width, height = self.width(), self.height()
        left, top = max(math.floor(x) - 2, 0), max(math.floor(y) - 2, 0)
        right, bottom = min(math.ceil(x + wide) + 2, width), min(math.ceil(y + tall) + 2, height)
        if right > left and bottom > top:
            self.update(left, top, right - left, bottom - top)

    def paintEvent(self, event: QPaintEvent) -> None:
        ratio = self.devicePixelRatioF()
        scene = self.scene
        scene.prepare(ratio)
        scene.complete = True
        painter = QPainter(self)
        painter.scale(1 / ratio, 1 / ratio)  # tiles are placed in device pixels
        for rect in _pieces(event.region()):
            device = QRectF(rect.x() * ratio, rect.y() * ratio, rect.width() * ratio, rect.height() * ratio)
            scene.draw(painter, device.toAlignedRect(), self._ground)
        painter.resetTransform()
        painter.setClipping(False)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_chrome(painter, event.rect())
        painter.end()
        if self._wants:
            self._wants = False
            scene.tiles.loader.want(scene.wanted())
        if not scene.complete:
            QTimer.singleShot(0, self.update)

    def _paint_chrome(self, painter: QPainter, rect: QRect) -> None:
        if self.model.slide is None:
            painter.setPen(self.chrome.muted)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "No slide open")
        else:
            self.marks.paint(painter, QRectF(rect))
            self.tool.paint(painter)
            self.paint_cross(painter, QRectF(rect))
            if self.read_out.rect(self.height(), self.font()).intersects(QRectF(rect)):
                painter.setFont(self.font())
                self.read_out.paint(painter, self.model, self.height(), self.chrome)
        if self.hasFocus() and self.focus_by_key:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(self.chrome.accent, 2))
            painter.drawRect(QRectF(self.rect()).adjusted(1, 1, -1, -1))

    def _restyle(self) -> None:
        theme = colors()
        ground = QColor(theme.surface)
        ground.setAlpha(225)
        self._ground = QColor(theme.canvas)
        self.chrome = Chrome(ground, QColor(theme.text), QColor(theme.muted), QColor(theme.focus), QColor(theme.line))
        self.overview.update()
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        self.model.set_viewport(self.width(), self.height())
        self.overview.place()

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._moved()
            self.overview.redraw()
        super().changeEvent(event)

    # ---- pointer

    def update_ring(self) -> None:
        """Repaint where the brush's ring was and where it is now."""
        new: QRect | None = None
        around = self.tool.reach()
        if around is not None and self.pointer is not None:
            reach = math.ceil(around)
            at = self.pointer.toPoint()
            new = QRect(at.x() - reach, at.y() - reach, 2 * reach + 1, 2 * reach + 1)
        for rect in (self._ring, new):
            if rect is not None:
                self.update(rect)
        self._ring = new
        if not self._read_timer.isActive():
            self._read_timer.start()

    def _read(self) -> None:
        """Tell what is under the pointer."""
        before = self.read_out.position
        if self.pointer is None or self.model.slide is None:
            self.read_out.position = None
        else:
            x, y = self.model.to_slide(self.pointer.x(), self.pointer.y())
            self.read_out.position = (x, y)
            self.scene.prepare(self.devicePixelRatioF())
            self.cursor_moved.emit(x, y, self.label_at(x, y), self.scene.rgb_at(x, y))
        if before != self.read_out.position:
            self.update(self.read_out.rect(self.height(), self.font()).toAlignedRect())

    def _end_note(self) -> None:
        self.read_out.note = ""
        self.update()

    def wait_painted(self, seconds: float = 10.0) -> bool:
        """Work through events until all that is in sight is sharp (screenshots, tests); False = not in time."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.repaint()
            QApplication.processEvents()
            if self.scene.complete and not [k for k in self.scene.wanted()]:
                self.repaint()
                return True
            self.scene.tiles.loader.wait(0.02)
        return False


def _pieces(region: QRegion) -> list[QRect]:
    """What to draw of a region: its rectangles, or the one around them where little more is in it."""
    whole = region.boundingRect()
    rects = list(region)  # type: ignore[call-overload]
    covered = sum(rect.width() * rect.height() for rect in rects)
    if len(rects) == 1 or len(rects) > 8 or whole.width() * whole.height() <= 2 * covered + 10_000:
        return [whole]
    return rects
