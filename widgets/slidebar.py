"""The bar above the slide: its name, its slide label and split, whether it is outlined completely, and the picture's look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPoint, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QToolButton,
    QWidget,
)

from . import theme
from .background import Relay
from .rotation import RotationPopup
from .slide.model import SlideViewModel
from .slide.turning import rotation_text
from .slidelist import LABEL_TEXT, SPLIT_TEXT
from .texts import ElidedLabel, MutedLabel

if TYPE_CHECKING:
    from ..engine.workspace import Item


class SlideBar(QFrame):
    """The bar.

    Signals
    -------
    changed(dict) : fields of the item that the user changed: "label", "split" or "outlined".
    channels_asked() : the user wants to see the channels of a fluorescence slide, or no longer.
    """

    changed = Signal(dict)
    channels_asked = Signal()

    def __init__(self, model: SlideViewModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self._quiet = False
        self._narrow: int | None = None
        self.setProperty("kind", "bar")
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.PAD, theme.TIGHT, theme.GAP, theme.TIGHT)
        row.setSpacing(theme.GAP)
        self.name = ElidedLabel()
        self.name.setProperty("kind", "section")
        row.addWidget(self.name, 1)
        self.label = _combo(
            "Slide label", "What is known of the slide as a whole (Shift+P, Shift+N, Shift+U)", LABEL_TEXT
        )
        self.split = _combo("Split", "What the slide is used for in training", SPLIT_TEXT)
        self.outlined = QCheckBox("Outlined completely")
        self.outlined.setToolTip(
            "All tumour of this slide is outlined, so everything else counts as normal in training (Shift+O)"
        )
        self.channels, self.turn, self.adjust, self.fit = (QToolButton() for _ in range(4))
        self.channels.setAccessibleName("Channels")
        self.channels.setToolTip("Channels of this slide (Shift+K)")
        self.turn.setAccessibleName("Rotation")
        self.adjust.setAccessibleName("Brightness and contrast")
        self.fit.setAccessibleName("Fit slide")
        self.fit.setToolTip("Fit slide (F)")
        for widget in (self.label, self.split, self.outlined, self.channels, self.turn, self.adjust, self.fit):
            row.addWidget(widget)
        self.label.activated.connect(lambda _: self._tell(label=self.label.currentData()))
        self.split.activated.connect(lambda _: self._tell(split=self.split.currentData()))
        self.outlined.toggled.connect(lambda on: self._tell(outlined=on))
        self.adjust.setCheckable(True)  # held down while the picture is not as scanned
        self.adjust.clicked.connect(self.show_adjust)
        self.fit.clicked.connect(lambda: self.model.fit())
        self.turn.setCheckable(True)  # held down while the slide does not lie as scanned
        self.turn.clicked.connect(self.show_rotation)
        self.channels.setCheckable(True)
        self.channels.clicked.connect(lambda: self.channels_asked.emit())
        events = model.events
        self._lies = Relay(lambda _: self._show_rotation(), events.rotation, events.mirrored, parent=self)
        self._display = Relay(lambda _: self._show_channels(), events.display, events.slide, parent=self)
        self._relay = Relay(lambda _: self._show_look(), events.brightness, events.contrast, parent=self)
        theme.theme_changed().connect(self.restyle)
        self.restyle()
        self.set_item(None)

    def restyle(self) -> None:
        self._show_look()
        self._show_rotation()
        self._show_channels()
        self.channels.setIcon(theme.icon("channels"))
        self.fit.setIcon(theme.icon("fit"))
        for button in (self.channels, self.turn, self.adjust, self.fit):
            button.setIconSize(QSize(theme.px(theme.ICON), theme.px(theme.ICON)))
        for box in (self.label, self.split):
            box.setFixedWidth(theme.px(112))
        self.setFixedHeight(theme.px(42))
        self._narrow = None
        self._fit()

    def _show_look(self) -> None:
        """Show on the button whether slides are drawn as scanned: brightness and contrast hold for all of them."""
        look = [round(100 * value) for value in (self.model.brightness, self.model.contrast)]
        changed = any(look)
        self.adjust.setChecked(changed)
        self.adjust.setIcon(theme.icon("brightness", theme.colors().accent if changed else None))
        text = "Brightness and contrast (Shift+C)"
        if changed:
            text += f"\nAll slides are shown with brightness {look[0]:+d}, contrast {look[1]:+d}"
        self.adjust.setToolTip(text)
        self.adjust.setAccessibleDescription(text.partition("\n")[2])

    def _show_rotation(self) -> None:
        """Show on the button whether the slide is turned or flipped."""
        said = rotation_text(self.model.rotation, self.model.mirrored)
        self.turn.setChecked(bool(said))
        self.turn.setIcon(theme.icon("rotate-right", theme.colors().accent if said else None))
        self.turn.setToolTip("Rotation (Shift+R)" + (f"\nThis slide is shown at {said}" if said else ""))
        self.turn.setAccessibleDescription(said)

    def _show_channels(self) -> None:
        self.channels.setVisible(bool(self.model.display))
        self._fit()

    def minimumSizeHint(self) -> QSize:
        """What is left when all that can be hidden is hidden: the bar must never hold the slide wider than that."""
        return QSize(theme.px(240), super().minimumSizeHint().height())

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Shorten the tick box, then hide the split and the tick box where the bar is narrow: the menu has them too."""
        width = self.width() / theme.text_scale() - (34 if self.channels.isVisibleTo(self) else 0)
        narrow = 0 if width >= 660 else 1 if width >= 500 else 2 if width >= 380 else 3
        if narrow == self._narrow:
            return
        self._narrow = narrow
        self.outlined.setText("Outlined completely" if narrow == 0 else "Outlined")
        self.split.setVisible(narrow < 2)
        self.outlined.setVisible(narrow < 3)

    def set_item(self, item: Item | None) -> None:
        """Show what is known of this slide."""
        self._quiet = True
        self.setEnabled(item is not None)
        self.name.set_text(item.name if item is not None else "")
        self.label.setCurrentIndex(self.label.findData(item.label if item else None))
        self.split.setCurrentIndex(self.split.findData(item.split if item else None))
        self.outlined.setChecked(bool(item and item.outlined))
        self._quiet = False

    def _tell(self, **changes: Any) -> None:
        if not self._quiet:
            self.changed.emit(changes)

    def show_adjust(self) -> AdjustPopup:
        """Open the sliders for brightness and contrast below their button."""
        self._show_look()  # a press does not change what the button says
        popup = AdjustPopup(self.model, self)
        _show_below(popup, self.adjust)
        popup.brightness.setFocus()
        return popup

    def show_rotation(self) -> RotationPopup:
        """Open the angle and its buttons below theirs."""
        self._show_rotation()  # a press does not change what the button says
        popup = RotationPopup(self.model, self)
        _show_below(popup, self.turn)
        popup.angle.setFocus()
        popup.angle.selectAll()
        return popup


def _show_below(popup: QWidget, button: QWidget) -> None:
    place = button.mapToGlobal(QPoint(button.width(), button.height() + theme.TIGHT))
    popup.adjustSize()
    popup.move(place - QPoint(popup.width(), 0))
    popup.show()


class AdjustPopup(QFrame):
    """Brightness and contrast of what is shown, whichever slide that is; slides stay as scanned."""

    def __init__(self, model: SlideViewModel, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setProperty("kind", "popup")
        self.model = model
        grid = QGridLayout(self)
        grid.setContentsMargins(theme.WIDE, theme.PAD, theme.WIDE, theme.PAD)
        grid.setHorizontalSpacing(theme.PAD)
        grid.setVerticalSpacing(theme.GAP)
        self.brightness, self.contrast = self._slider(grid, 0, "Brightness"), self._slider(grid, 1, "Contrast")
        note = MutedLabel(
            "Holds for all slides until Reset. For the eyes only: training sees slides as scanned.", wrap=True
        )
        self.reset = QPushButton("Reset")
        grid.addWidget(note, 2, 0, 1, 2)
        grid.addWidget(self.reset, 2, 2)
        grid.setColumnMinimumWidth(1, theme.px(180))
        self.brightness.valueChanged.connect(lambda value: setattr(model, "brightness", value / 100))
        self.contrast.valueChanged.connect(lambda value: setattr(model, "contrast", value / 100))
        self.reset.clicked.connect(self._reset)
        self._relay = Relay(lambda _: self._show(), model.events.brightness, model.events.contrast, parent=self)
        self.destroyed.connect(self._relay.drop)
        self._show()

    def _slider(self, grid: QGridLayout, row: int, text: str) -> QSlider:
        slider = QSlider(Qt.Orientation.Horizontal)
        slider.setRange(-100, 100)
        slider.setPageStep(10)
        slider.setAccessibleName(text)
        label, value = QLabel(text), MutedLabel("0")
        label.setBuddy(slider)
        value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        slider.valueChanged.connect(lambda number: value.setText(f"{number:+d}" if number else "0"))
        for column, widget in enumerate((label, slider, value)):
            grid.addWidget(widget, row, column)
        return slider

    def _show(self) -> None:
        self.brightness.setValue(round(self.model.brightness * 100))
        self.contrast.setValue(round(self.model.contrast * 100))

    def _reset(self) -> None:
        self.model.brightness = 0.0
        self.model.contrast = 0.0

    def closeEvent(self, event: Any) -> None:
        self._relay.drop()
        super().closeEvent(event)


def _combo(name: str, tip: str, texts: dict[Any, str]) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    box.setToolTip(f"{name}\n{tip}")
    for value in sorted(texts, key=lambda v: v is not None):
        box.addItem(texts[value], value)
    return box
