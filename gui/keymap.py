"""Which keys do what: a preset (`resources/keys/<name>.yaml`) and what the user changed, kept in the settings file."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut

from ..engine.errors import OpsinError
from ..widgets import theme
from ..widgets.slide.toolset import TOOLSET
from .actions import ACTIONS

if TYPE_CHECKING:
    from ..widgets.annotations import AnnotationsPanel
    from .window import MainWindow

PRESETS = {"opsin": "Opsin", "qupath": "QuPath"}
RESERVED = ("Escape", "Return", "Enter", "Tab", "Shift+Tab", "Space", "Left", "Right", "Up", "Down", "Del", "Backspace")
FIXED = "class."  # actions whose keys stay: the numbers choose classes, whatever the preset


def portable(key: str) -> str:
    """Return a key in the one way in which it is kept and compared: "Ctrl+Shift+P"; "" for what is none."""
    return QKeySequence(key).toString(QKeySequence.SequenceFormat.PortableText)


def native(keys: Iterable[str]) -> str:
    """Return keys as this system writes them, for reading."""
    return ", ".join(QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) for key in keys)


@lru_cache(maxsize=8)
def preset_keys(name: str) -> dict[str, tuple[str, ...]]:
    """Return the keys of every action in a preset; one that is not known is Opsin's own."""
    found = {action.id: tuple(map(portable, action.keys)) for action in ACTIONS}
    if name in PRESETS and name != "opsin":
        import yaml

        values = yaml.safe_load((theme.RESOURCES / "keys" / f"{name}.yaml").read_text(encoding="utf-8"))["keys"]
        for id, keys in values.items():
            if id not in found:
                raise OpsinError(f"The key preset {name} names an action that there is not: {id}.")
            found[id] = tuple(map(portable, [keys] if isinstance(keys, str) else keys))
    return found


class Keys(QObject):
    """The keys of the window's actions; `changed` when they are others."""

    changed = Signal()
    presets = PRESETS

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window = window
        escape = QShortcut(QKeySequence("Escape"), window, context=Qt.ShortcutContext.WindowShortcut)
        escape.activated.connect(lambda: window.banners.dismiss())
        self._apply()

    def show(self) -> None:
        """Open the list of shortcuts."""
        from .shortcuts import ShortcutsDialog

        self.window.show_dialog(ShortcutsDialog(self.window.book, self.window))

    # ---- what they are

    @property
    def preset(self) -> str:
        return self.window.settings.key_preset

    def of(self, id: str) -> tuple[str, ...]:
        """Return the keys of an action; the first one is shown."""
        own = self.window.settings.keys.get(id)
        return preset_keys(self.preset)[id] if own is None else tuple(own)

    def is_own(self, id: str) -> bool:
        """Whether the user gave the action other keys than the preset."""
        return id in self.window.settings.keys

    def holder(self, key: str) -> str | None:
        """Return the action that has a key."""
        key = portable(key)
        return next((action.id for action in ACTIONS if key in self.of(action.id)), None)

    def refusal(self, id: str, key: str) -> str:
        """Return why an action cannot have a key at all, "" when it can (be it another's, which `give` takes it from)."""
        key = portable(key)
        holder = self.holder(key)
        if not key:
            return "That is no key."
        if key in RESERVED:
            return f"{native([key])} has a meaning of its own in lists, forms and the slide view; choose another key."
        if id.startswith(FIXED) or (holder is not None and holder.startswith(FIXED)):
            return "The number keys choose classes; they stay."
        return ""

    # ---- changes

    def give(self, id: str, key: str) -> None:
        """Let a key do this action alone; it is taken from the action that has it. `OpsinError` when that cannot be."""
        reason = self.refusal(id, key)
        if reason:
            raise OpsinError(reason)
        own, key, holder = dict(self.window.settings.keys), portable(key), self.holder(key)
        if holder == id:
            return
        if holder is not None:
            own[holder] = [k for k in self.of(holder) if k != key]
        own[id] = [key]
        self._keep(own)

    def take(self, id: str) -> None:
        """Leave an action without keys."""
        if not id.startswith(FIXED):
            self._keep({**self.window.settings.keys, id: []})

    def reset(self, id: str) -> str:
        """Give an action the keys of the preset again; return the id of another action that lost one by that, or ""."""
        own = {other: keys for other, keys in self.window.settings.keys.items() if other != id}
        lost = ""
        for key in preset_keys(self.preset)[id]:
            holder = self.holder(key)
            if holder not in (None, id):
                assert holder is not None
                own[holder] = [k for k in self.of(holder) if k != key]
                lost = holder
        self._keep(own)
        return lost

    def reset_all(self) -> None:
        """Give all actions the keys of the preset."""
        self._keep({})

    def set_preset(self, name: str) -> None:
        """Take another preset; what the user changed himself is dropped, else keys would do two things at once."""
        self.window.settings.key_preset = name
        self._keep({})

    def _keep(self, own: dict[str, list[str]]) -> None:
        presets = preset_keys(self.preset)
        self.window.settings.keys = {id: keys for id, keys in own.items() if tuple(keys) != presets[id]}
        self.window.settings.save()
        self._apply()

    def _apply(self) -> None:
        """Put the keys on actions and tool tips; what a settings file of another version says amiss is left out."""
        taken: set[str] = set()
        known = {action.id for action in ACTIONS if not action.id.startswith(FIXED)}
        settings = self.window.settings
        own = {id: [k for k in map(portable, keys) if k] for id, keys in settings.keys.items() if id in known}
        if own != settings.keys:
            settings.keys = own
        for action in sorted(ACTIONS, key=lambda action: not self.is_own(action.id)):
            keys = [key for key in self.of(action.id) if key not in taken]
            taken.update(keys)
            self.window.book[action.id].setShortcuts([QKeySequence(key) for key in keys])
        self.window.book.refresh()
        if self.window.room is not None:
            self.show_on(self.window.room.annotations)
        self.changed.emit()

    def show_on(self, panel: AnnotationsPanel) -> None:
        """Let the tool tips of the Annotate tab say which keys there are."""
        for tool in TOOLSET:
            keys = native(self.of(f"tool.{tool.name}")[:1])
            words = f"{tool.title} ({keys})" if keys else tool.title
            panel.toolbox.tools[tool.name].setToolTip(f"{words}\n{tool.help}")
        panel.step_keys = (native(self.of("edit.undo")[:1]), native(self.of("edit.redo")[:1]))
