"""Which round's pseudo labels lie on the open slide: reachable beside the run that makes them, also while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from .background import Relay
from .layers import PSEUDO, show
from .texts import MutedLabel

if TYPE_CHECKING:
    from .slide.model import SlideViewModel

OFF = 0
LOOK_MS = 2000


class RoundBox(QWidget):
    """One button for each round of a run that has proposed something for the open slide, and one for none of them.

    Attributes
    ----------
    run : folder of the run whose rounds are offered; None: of none.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.view: SlideViewModel | None = None
        self.run: Path | None = None
        self.item: str | None = None
        self._relay: Relay | None = None
        self._shown: list[int] = []
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self.title = MutedLabel("Pseudo labels on the open slide")
        column.addWidget(self.title)
        self.row = QHBoxLayout()
        self.row.setSpacing(4)
        column.addLayout(self.row)
        self.group = QButtonGroup(self)
        self.group.idClicked.connect(self.show_round)
        self._timer = QTimer(self)  # rounds come while one looks
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.refresh)
        self.hide()

    def set_view(self, view: SlideViewModel | None) -> None:
        """Work on this slide view."""
        if self._relay is not None:
            self._relay.drop()
            self._relay = None
        self.view = view
        if view is not None:
            self._relay = Relay(lambda _: self._tick(), view.events.overlays, parent=self)
        self.refresh()

    def set_item(self, item: str | None) -> None:
        """Another slide is open (its id)."""
        self.item = item
        self.refresh()

    def set_run(self, run: Path | None, live: bool = False) -> None:
        """Offer the rounds of this run; those of a `live` one come as they are made."""
        self.run = run
        self._timer.start() if live and run is not None else self._timer.stop()
        self.refresh()

    def rounds(self) -> list[int]:
        """Return the rounds of the run that have proposed something for the open slide."""
        if self.run is None or self.item is None or self.view is None:
            return []
        names = (path.parent.name[6:] for path in self.run.glob(f"previews/round_*/{self.item}.heat"))
        return sorted(int(name) for name in names if name.isdigit())

    def refresh(self) -> None:
        """Look which rounds there are, and offer them."""
        rounds = self.rounds()
        if rounds != self._shown:
            self._shown = rounds
            for button in self.group.buttons():
                self.group.removeButton(button)
                self.row.removeWidget(button)
                button.deleteLater()
            while self.row.count():
                self.row.takeAt(0)
            for round in [OFF, *rounds] if rounds else []:
                button = QPushButton("Off" if round == OFF else f"Round {round}")
                button.setCheckable(True)
                button.setProperty("kind", "quiet")
                button.setToolTip(
                    "Show no pseudo labels" if round == OFF else f"Show what the network proposed before round {round}"
                )
                self.group.addButton(button, round)
                self.row.addWidget(button)
            self.row.addStretch(1)
        self.setVisible(bool(rounds))
        self._tick()

    def _tick(self) -> None:
        """Mark the round that is in sight."""
        button = self.group.button(self.shown_round())
        if button is not None:
            button.setChecked(True)

    def shown_round(self) -> int:
        """Return the round whose pseudo labels are in sight, 0 for none."""
        for overlay in self.view.overlays if self.view is not None else []:
            if overlay.visible and overlay.name.startswith(PSEUDO):
                number = overlay.name.rpartition("round ")[2]
                if self.run is not None and Path(overlay.pyramid.path).is_relative_to(self.run):
                    return int(number) if number.isdigit() else OFF
        return OFF

    def show_round(self, round: int) -> None:
        """Show the pseudo labels of a round, and of no other; 0: none."""
        if self.view is None or self.run is None:
            return
        wanted = f"{PSEUDO}, round {round}"
        for overlay in list(self.view.overlays):
            if overlay.name.startswith(PSEUDO) and overlay.name != wanted:
                self.view.update_overlay(overlay.name, visible=False)
        if round != OFF:
            path = self.run / "previews" / f"round_{round}" / f"{self.item}.heat"
            shown = self.view.overlay(wanted)
            if shown is not None and Path(shown.pyramid.path) == path:
                self.view.update_overlay(wanted, visible=True)
            else:
                show(self.view, "Heatmap", path, wanted, visible=True)
        self._tick()
