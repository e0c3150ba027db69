"""What lies over the slide: heat map and pseudo labels, their colours, from which probability on they are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QRect, QSize, Qt, QTimer
from qtpy.QtGui import QPainter, QPaintEvent
from qtpy.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from ..engine.tiles import TILE, TilePyramid
from .background import Relay, in_background
from .layers import PSEUDO
from .slide.colormaps import heat_bar
from .texts import MutedLabel, heading
from .theme import px

if TYPE_CHECKING:
    from .slide.model import Overlay, SlideViewModel

LOOKED_AT = 400
"""Tiles, at most, that are read to find the highest value of a map; a larger one is read at a coarser level."""


class ColourBar(QWidget):
    """The colours of a layer from probability 0 to 1, as far as they are drawn."""

    def __init__(self, overlay: Overlay, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.overlay = overlay
        self.setAccessibleName(f"Colours of {overlay.name}")
        self.setToolTip("Colours from probability 0 (left) to 1 (right); what is not drawn is left empty")

    def sizeHint(self) -> QSize:
        return QSize(px(88), px(10))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        place = QRect(0, (self.height() - px(10)) // 2, self.width(), px(10))
        painter.fillRect(place, Qt.GlobalColor.white)
        painter.drawImage(place, heat_bar(self.overlay.colormap, self.overlay.threshold))
        painter.setPen(self.palette().mid().color())
        painter.drawRect(place.adjusted(0, 0, -1, -1))


class LayerRow(QWidget):
    """A box to show or hide a layer, and its colours."""

    def __init__(self, overlay: Overlay, view: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = overlay.name
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        self.box = QCheckBox(overlay.name[:1].upper() + overlay.name[1:])
        self.box.toggled.connect(lambda on: view.update_overlay(self.name, visible=on))
        row.addWidget(self.box, 1)
        self.bar = ColourBar(overlay)
        for part in (MutedLabel("0"), self.bar, MutedLabel("1")):
            row.addWidget(part)

    def show_overlay(self, overlay: Overlay) -> None:
        """Take over what changed."""
        self.box.blockSignals(True)
        self.box.setChecked(overlay.visible)
        self.box.blockSignals(False)
        self.bar.overlay = overlay
        self.bar.setVisible(not overlay.colors)
        self.bar.update()


class MapBox(QWidget):
    """Lists the layers over the slide; one slider says from which probability on they are drawn, one how strongly.

    The probability here is that of a place on the slide. It has nothing to do with the threshold of slide scores.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.view: SlideViewModel | None = None
        self._relays: list[Relay] = []
        self._highest: tuple[TilePyramid, float] | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(heading("On the slide"))
        self.layers = QVBoxLayout()
        self.layers.setSpacing(2)
        column.addLayout(self.layers)
        self.no_layers = MutedLabel("Nothing is shown over the slide yet.", wrap=True)
        column.addWidget(self.no_layers)
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        self.from_slider, self.from_text = slider_row(grid, 0, "&Drawn from", 1000)
        self.from_slider.setToolTip("Places with a lower probability are left clear; slides are not called by this")
        self.opacity_slider, self.opacity_text = slider_row(grid, 1, "&Opacity", 100)
        column.addLayout(grid)
        self.note = MutedLabel(wrap=True)
        self.show_more = QPushButton()
        self.show_more.clicked.connect(self._show_more)
        column.addWidget(self.note)
        column.addWidget(self.show_more, 0, Qt.AlignmentFlag.AlignLeft)
        self.from_slider.valueChanged.connect(lambda _: self._apply())
        self.opacity_slider.valueChanged.connect(lambda _: self._apply())
        self._look = QTimer(self)
        self._look.setSingleShot(True)
        self._look.setInterval(300)
        self._look.timeout.connect(self._find_highest)
        self.from_slider.setValue(500)
        self.opacity_slider.setValue(60)
        self._show_layers()

    @property
    def threshold(self) -> float:
        """Probability from which a place is drawn."""
        return self.from_slider.value() / 1000

    @property
    def opacity(self) -> float:
        """0: clear, 1: opaque."""
        return self.opacity_slider.value() / 100

    def set_view(self, view: SlideViewModel | None) -> None:
        """Work on this slide view."""
        for relay in self._relays:
            relay.drop()
        self.view, self._relays = view, []
        if view is not None:
            self._relays = [
                Relay(lambda _: self._show_layers(), view.events.overlays, parent=self),
                Relay(lambda *_: self._look.start(), view.refreshed, parent=self),
            ]
        self._show_layers()

    def _apply(self) -> None:
        self.from_text.setText(f"{self.threshold:.3f}")
        self.opacity_text.setText(f"{self.opacity_slider.value()} %")
        if self.view is not None:
            for overlay in self.view.overlays:
                self.view.update_overlay(overlay.name, threshold=self.threshold, opacity=self.opacity)
        self._show_note()

    def _rows(self) -> list[LayerRow]:
        found = (self.layers.itemAt(i).widget() for i in range(self.layers.count()))
        return [row for row in found if isinstance(row, LayerRow)]

    def _show_layers(self) -> None:
        overlays = self.view.overlays if self.view is not None else []
        if [row.name for row in self._rows()] != [overlay.name for overlay in overlays]:
            for row in self._rows():
                self.layers.removeWidget(row)
                row.hide()
                row.deleteLater()
            for overlay in overlays:
                assert self.view is not None
                self.layers.addWidget(LayerRow(overlay, self.view))
        for row, overlay in zip(self._rows(), overlays):
            row.show_overlay(overlay)
        self.no_layers.setVisible(not overlays)
        shown = self._shown()
        if shown is not None and (self._highest is None or self._highest[0] is not shown.pyramid):
            self._look.start()
        self._show_note()

    # ---- nothing to be seen

    def _shown(self) -> Overlay | None:
        """The uppermost layer that is switched on."""
        overlays = self.view.overlays if self.view is not None else []
        return next((o for o in reversed(overlays) if o.visible and o.kind == "heat"), None)

    def _find_highest(self) -> None:
        shown = self._shown()
        if shown is not None:
            in_background(highest, shown.pyramid, done=lambda p: self._found(shown.pyramid, p), owner=self)

    def _found(self, pyramid: TilePyramid, p: float) -> None:
        self._highest = (pyramid, p)
        self._show_note()

    def _show_note(self) -> None:
        """Say why nothing is to be seen, where that is so, and what pseudo labels are."""
        shown, text, more = self._shown(), "", ""
        if shown is not None and self._highest is not None and self._highest[0] is shown.pyramid:
            top = self._highest[1]
            if 0 < top < shown.threshold:
                text = f"No place on this slide reaches {shown.threshold:.3f}; the highest value is {top:.3f}."
                more = f"Draw from {top / 2:.3f}"
        if not text and any(row.name.startswith(PSEUDO) for row in self._rows()):
            text = (
                "Pseudo labels are shown as the network gives them, before the label of the slide corrects them: a "
                "negative slide counts as negative everywhere. They stay switched off there, and while you paint."
            )
        self.note.setText(text)
        self.note.setVisible(bool(text))
        self.show_more.setText(more)
        self.show_more.setVisible(bool(more))

    def _show_more(self) -> None:
        if self._highest is not None:
            self.from_slider.setValue(int(500 * self._highest[1]))


def slider_row(grid: QGridLayout, row: int, text: str, top: int) -> tuple[QSlider, QLabel]:
    """Put a named slider from 0 to `top`, and a label for its value, into a row of a grid."""
    slider, shown, label = QSlider(Qt.Orientation.Horizontal), QLabel(), QLabel(text)
    label.setMinimumWidth(px(72))
    label.setBuddy(slider)
    slider.setRange(0, top)
    slider.setSingleStep(top // 100)
    slider.setPageStep(top // 10)
    slider.setAccessibleName(text.replace("&", ""))
    shown.setMinimumWidth(px(44))
    shown.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    for place, widget in enumerate((label, slider, shown)):
        grid.addWidget(widget, row, place)
    return slider, shown


def highest(pyramid: TilePyramid) -> float:
    """Return the highest probability of a map, 0 where nothing was computed; of means on a very large map."""
    level = 0
    while len(pyramid.keys(level)) > LOOKED_AT and level < pyramid.levels - 1:
        level += 1
    width, height = pyramid.level_size(level)
    found = 0
    for row, column in pyramid.keys(level):
        tile = pyramid.tile(level, row, column)
        if tile is not None:
            found = max(found, int(tile[: height - row * TILE, : width - column * TILE].max(initial=0)))
    return max(0, found - 1) / 254
