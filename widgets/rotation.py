"""How the slide lies: a small window with the angle, quarter turns, flip and the way back."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox, QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from . import theme
from .background import Relay
from .buttons import IconButton
from .slide.model import SlideViewModel
from .texts import MutedLabel


class RotationPopup(QFrame):
    """The angle as a field, with buttons beside it; what it sets is seen at once."""

    def __init__(self, model: SlideViewModel, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setProperty("kind", "popup")
        self.setAccessibleName("Rotation")
        self.model = model
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.WIDE, theme.PAD, theme.WIDE, theme.PAD)
        column.setSpacing(theme.GAP)
        self.left = IconButton("rotate-left", "Turn left by 90° (Alt+Left)")
        self.right = IconButton("rotate-right", "Turn right by 90° (Alt+Right)")
        self.angle = QDoubleSpinBox()
        self.angle.setAccessibleName("Angle by which the slide is turned clockwise")
        self.angle.setRange(-180, 180)
        self.angle.setWrapping(True)
        self.angle.setDecimals(1)
        self.angle.setSuffix("°")
        self.angle.setMinimumWidth(theme.px(96))
        self.angle.setAlignment(Qt.AlignmentFlag.AlignRight)
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        for widget in (self.left, self.angle, self.right):
            row.addWidget(widget)
        column.addLayout(row)
        self.flip = QPushButton("Flip")
        self.flip.setToolTip("Swap left and right (Shift+F)")
        self.flip.setCheckable(True)
        self.reset = QPushButton("Reset")
        self.reset.setToolTip("As scanned: not turned, not flipped (Alt+Home)")
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        row.addWidget(self.flip, 1)
        row.addWidget(self.reset, 1)
        column.addLayout(row)
        column.addWidget(MutedLabel("Shift+Alt+drag turns by hand.\nKept for this slide.", wrap=True))
        self.left.clicked.connect(lambda: model.turn_by(-90))
        self.right.clicked.connect(lambda: model.turn_by(90))
        self.angle.valueChanged.connect(self._turn)
        self.flip.clicked.connect(lambda: model.flip())
        self.reset.clicked.connect(lambda: model.turn_to(0, False))
        self._relay = Relay(lambda _: self._show(), model.events.rotation, model.events.mirrored, parent=self)
        self.destroyed.connect(self._relay.drop)
        self._show()

    def _turn(self, degrees: float) -> None:
        if abs(degrees - round(self.model.rotation, 1)) > 1e-9:
            self.model.turn_to(degrees)

    def _show(self) -> None:
        self.angle.blockSignals(True)
        self.angle.setValue(self.model.rotation)
        self.angle.blockSignals(False)
        self.flip.setChecked(self.model.mirrored)
        self.reset.setEnabled(bool(self.model.rotation or self.model.mirrored))

    def closeEvent(self, event: Any) -> None:
        self._relay.drop()
        super().closeEvent(event)
