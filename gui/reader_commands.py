"""What the menu Annotate › Readers does; the work is that of `comparing.py`, which comes with the room."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .comparing import Comparing
    from .window import MainWindow


class ReaderCommands:
    """Part of the commands."""

    def __init__(self, window: MainWindow) -> None:
        self.window = window

    @property
    def _comparing(self) -> Comparing:
        """There is one whenever an entry that uses it is enabled."""
        assert self.window.room is not None
        return self.window.room.readers.comparing

    def compare(self) -> None:
        """Open the section and compare."""
        self._comparing.show()

    def step(self, by: int) -> None:
        """Go to the next (1) or the previous (-1) difference."""
        self._comparing.step(by)

    def settle(self, choice: str) -> None:
        """Decide the chosen difference: "mine" or "theirs"."""
        self._comparing.settle(choice)

    def undo(self) -> None:
        """Take the last decision back."""
        self._comparing.undo()
