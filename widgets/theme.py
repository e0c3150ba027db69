"""The one place for colours, spacing, text size and icons.

`apply_theme` sets palette, style sheet (`resources/style.qss.in`) and text size of the whole application; it can be
called again at any time, and everything on screen follows. Own painting reads `colors()`.
"""

from __future__ import annotations

import string
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from qtpy.QtCore import QByteArray, QObject, QSize, Qt, QTemporaryDir, Signal
from qtpy.QtGui import QColor, QFont, QFontDatabase, QIcon, QPainter, QPalette, QPixmap
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import QApplication

RESOURCES = Path(__file__).resolve().parent.parent / "resources"
ICONS = RESOURCES / "icons"
FONTS = ("Inter", "Segoe UI", "Noto Sans", "DejaVu Sans")

# Distances in px at text size 100 %: between things that belong together, between controls, around panels, between groups.
TIGHT, GAP, PAD, WIDE = 4, 8, 12, 16
TEXT_SIZES = (90, 100, 115, 130, 150)
ICON = 16
"""Size of an icon on a button in px at text size 100 %."""


@dataclass(frozen=True)
class Colors:
    """Colours of one theme, ``#rrggbb``. Text is readable (4.5:1) on every ground it is used on, see `TEXT_ON`."""

    dark: bool
    window: str
    surface: str
    raised: str
    canvas: str
    line: str
    control: str
    text: str
    muted: str
    disabled: str
    accent: str
    accent_hover: str
    on_accent: str
    selection: str
    focus: str
    positive: str
    positive_ground: str
    negative: str
    negative_ground: str
    warning: str
    warning_ground: str
    error: str
    error_ground: str
    info_ground: str


LIGHT = Colors(
    dark=False,
    window="#F3F5F7",
    surface="#FFFFFF",
    raised="#E9EDF1",
    canvas="#DDE1E6",
    line="#D4DAE0",
    control="#7F8A97",
    text="#1A222C",
    muted="#505C6A",
    disabled="#848E99",
    accent="#0D6475",
    accent_hover="#0A5160",
    on_accent="#FFFFFF",
    selection="#D5EAEE",
    focus="#0D6475",
    positive="#A3241A",
    positive_ground="#FBE6E3",
    negative="#1C5F36",
    negative_ground="#E0F2E6",
    warning="#7A4B00",
    warning_ground="#FDF0D5",
    error="#A3241A",
    error_ground="#FBE6E3",
    info_ground="#E0EFF2",
)

DARK = Colors(
    dark=True,
    window="#15181D",
    surface="#1C2026",
    raised="#272D35",
    canvas="#0D0F12",
    line="#323A44",
    control="#76818F",
    text="#E6EAEF",
    muted="#A9B3BF",
    disabled="#717B88",
    accent="#58C1D3",
    accent_hover="#7AD2E0",
    on_accent="#06252B",
    selection="#1D434C",
    focus="#58C1D3",
    positive="#FFA69B",
    positive_ground="#46211E",
    negative="#8AD9A5",
    negative_ground="#1B3A27",
    warning="#F4C26B",
    warning_ground="#3E2E10",
    error="#FFA69B",
    error_ground="#46211E",
    info_ground="#1B363D",
)

TEXT_ON: dict[str, tuple[str, ...]] = {
    "text": ("window", "surface", "raised", "selection", "info_ground", "warning_ground", "error_ground"),
    "muted": ("window", "surface", "raised", "selection"),
    "accent": ("window", "surface", "info_ground"),
    "on_accent": ("accent", "accent_hover"),
    "positive": ("positive_ground", "surface"),
    "negative": ("negative_ground", "surface"),
    "warning": ("warning_ground", "surface", "window"),
    "error": ("error_ground", "surface", "window"),
}
"""Which text colour is used on which grounds; the tests hold each pair to 4.5:1."""


class _Theme(QObject):
    changed = Signal()


_current: Colors = LIGHT
_scale: int = 100
_files: QTemporaryDir | None = None
_signal: _Theme | None = None


def theme_changed() -> Signal:
    """Signal without arguments, emitted after each `apply_theme`: own painting and icons are to be made anew."""
    global _signal
    if _signal is None:
        _signal = _Theme()
    return _signal.changed


def colors() -> Colors:
    """Return the colours of the theme in use."""
    return _current


def text_scale() -> float:
    """Return the text size in use, 1.0 = 100 %."""
    return _scale / 100


def px(distance: float) -> int:
    """Return a distance given at text size 100 % in px of the text size in use."""
    return round(distance * _scale / 100)


def system_is_dark() -> bool:
    """Return whether the desktop asks for a dark theme."""
    application = QApplication.instance()
    if application is None:
        return False
    return QApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark


def apply_theme(app: QApplication, name: str = "system", size: int = 100) -> Colors:
    """Give the whole application its look.

    Parameters
    ----------
    name : "light", "dark" or "system".
    size : text size in per cent, 75 to 200.
    """
    global _current, _scale
    _current = DARK if name == "dark" or (name == "system" and system_is_dark()) else LIGHT
    _scale = max(75, min(200, size))
    _tinted.cache_clear()
    app.setStyle("Fusion")
    app.setFont(_font())
    app.setPalette(_palette(_current))
    app.setStyleSheet(style_sheet(_current, _scale))
    theme_changed().emit()
    return _current


def _font() -> QFont:
    known = set(QFontDatabase.families())
    font = QFont(next((name for name in FONTS if name in known), QApplication.font().family()))
    font.setFamilies([name for name in FONTS if name in known] or [font.family()])
    font.setPixelSize(px(13))
    return font


def _palette(c: Colors) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette()
    for which, color in (
        (role.Window, c.window), (role.WindowText, c.text), (role.Base, c.surface), (role.AlternateBase, c.raised),
        (role.Text, c.text), (role.Button, c.surface), (role.ButtonText, c.text), (role.BrightText, c.error),
        (role.Highlight, c.selection), (role.HighlightedText, c.text), (role.Link, c.accent),
        (role.LinkVisited, c.accent), (role.ToolTipBase, c.raised), (role.ToolTipText, c.text),
        (role.PlaceholderText, c.muted), (role.Light, c.raised), (role.Midlight, c.line), (role.Mid, c.line),
        (role.Dark, c.control), (role.Shadow, c.line), (role.Accent, c.accent),
    ):  # fmt: skip
        palette.setColor(which, QColor(color))
    for which in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        palette.setColor(QPalette.ColorGroup.Disabled, which, QColor(c.disabled))
    return palette


def style_sheet(c: Colors, size: int = 100) -> str:
    """Return the style sheet with colours (``$text``) and scaled distances (``$px13``) filled in."""
    template = string.Template((RESOURCES / "style.qss.in").read_text(encoding="utf-8"))
    values = {name: str(value) for name, value in asdict(c).items()}
    values.update({f"px{n}": f"{max(1, round(n * size / 100))}px" for n in range(1, 65)})
    knob = 2 * round(8 * size / 100)  # of a slider, with its frame: even, so that half of it makes it round
    groove = max(1, round(4 * size / 100))
    values |= {
        "knob_inside": f"{knob - 4}px",
        "knob_radius": f"{knob // 2}px",
        "knob_margin": f"{(knob - groove) // 2}px",
    }
    for name, color in (
        ("check", c.on_accent),
        ("chevron-down", c.muted),
        ("chevron-up", c.muted),
        ("close", c.muted),
    ):
        values["icon_" + name.replace("-", "_")] = _icon_file(name, color)
    return template.substitute(values)


def _icon_file(name: str, color: str) -> str:
    """Return the path of a tinted copy of an icon: style sheets can only name files."""
    global _files
    if _files is None:
        _files = QTemporaryDir()
    path = Path(_files.path()) / f"{name}-{color[1:]}.svg"
    if not path.exists():
        path.write_text(_svg(name).replace("currentColor", color), encoding="utf-8")
    return path.as_posix()


@lru_cache(maxsize=128)
def _svg(name: str) -> str:
    return (ICONS / f"{name}.svg").read_text(encoding="utf-8")


def pixmap(name: str, size: int = 20, color: str | None = None, ratio: float = 2.0) -> QPixmap:
    """Return an icon of `resources/icons` as a picture of `size` px, drawn in `color` (default: the text colour)."""
    picture = QPixmap(QSize(round(size * ratio), round(size * ratio)))
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    QSvgRenderer(QByteArray(_svg(name).replace("currentColor", color or _current.text).encode())).render(painter)
    painter.end()
    picture.setDevicePixelRatio(ratio)
    return picture


@lru_cache(maxsize=512)
def _tinted(name: str, color: str) -> QIcon:
    result = QIcon()
    for size in (16, 20, 24, 32):
        result.addPixmap(pixmap(name, size, color))
        result.addPixmap(pixmap(name, size, _current.disabled), QIcon.Mode.Disabled)
    return result


def icon(name: str, color: str | None = None) -> QIcon:
    """Return a line icon of `resources/icons` in the theme's text colour, or in `color`."""
    if name == "opsin":
        return QIcon(str(ICONS / "opsin.svg"))
    return _tinted(name, color or _current.text)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two ``#rrggbb`` colours by WCAG 2.2 (1 to 21)."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def readable_on(color: str) -> str:
    """Return black or white, whichever is easier to read on `color`."""
    return "#000000" if contrast(color, "#000000") >= contrast(color, "#FFFFFF") else "#FFFFFF"


def color_names() -> list[str]:
    """Return the names of the colours a style sheet may use."""
    return [field.name for field in fields(Colors) if field.name != "dark"]
