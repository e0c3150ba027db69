"""Pictures of every panel and dialog on a made workspace: `python -m tests.gui.screens DIR` takes them all.

In light and dark at 1280 x 720 and 2560 x 1440. `troubles` names what is cut off, lies outside its parent or is hard to read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, QRect
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel, QPushButton, QScrollArea, QWidget

from opsin.engine.runs import CHECKPOINT, Run
from opsin.engine.samples import make_slides
from opsin.engine.tiles import TilePyramid
from opsin.engine.workspace import Workspace
from opsin.gui.opening import build_sample_workspace
from opsin.widgets import theme

SIZES = ((1280, 720), (2560, 1440))
THEMES = ("light", "dark")
RUN = "2026-11-25_120000_hybrid_wsi"
DIALOGS = {
    "export": "file.export", "report": "train.report", "take-along": "train.export",
    "settings": "file.settings", "shortcuts": "help.keys", "restore": "file.restore", "guide": "help.guide",
}  # fmt: skip
LEAST = 4.5  # contrast of text


def make_workspace(folder: Path, size: tuple[int, int] = (1024, 768)) -> Path:
    """Make slides, labels, marks, a finished run, scores and heat maps in `folder`; return the workspace's folder."""
    made = make_slides(folder / "slides", 6, 7, size=size)
    build_sample_workspace(folder, made)
    with Workspace.open_or_create(folder) as workspace:
        run = Run(folder / "runs" / RUN)
        run.describe(method="hybrid_wsi", verb="train", preset="quick", device="cpu", recipe={}, created=1.7e9)
        run.part("checkpoints")
        (run.folder / CHECKPOINT).write_bytes(b"weights")
        run.set_state("done")
        run.close()
        for number, (slide, item) in enumerate(zip(made, workspace.items(), strict=True)):
            heat = workspace.heatmap_path(RUN, item.id)
            heat.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((128, 128), np.uint8)
            for ring in slide.polygons:
                (left, top), (right, bottom) = ring.min(0) / 8, ring.max(0) / 8
                pixels[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = 220
            with TilePyramid.create(heat, *size, base=8, reduce="mean", meta={"kind": "heat"}) as pyramid:
                with pyramid.transaction():
                    pyramid.write(0, 0, pixels)
            score = 0.7 + 0.04 * number if slide.polygons else 0.1 + 0.05 * number
            workspace.set_score(item.id, RUN, {"score": score, "source": "top-K classifier"})
            workspace.update(item.id, patient=f"P-{number // 2 + 1:03}")
    return folder


def wait(ready: Callable[[], bool], seconds: float = 10.0) -> None:
    """Work through events until `ready`; `TimeoutError` when that never comes."""
    from qtpy.QtCore import QDeadlineTimer, QEventLoop

    end = QDeadlineTimer(round(seconds * 1000))
    while not ready():
        if end.hasExpired():
            raise TimeoutError("the window did not come to rest")
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)


def rest(widget: QWidget) -> None:
    """Wait until a widget looks the same several times in a row: layouts and lists have come to rest."""
    seen: list[Any] = []

    def same() -> bool:
        seen.append(widget.grab().toImage())
        return len(seen) > 5 and all(picture == seen[-1] for picture in seen[-5:])

    wait(same, 20.0)


def scenes(window: Any) -> Iterator[tuple[str, QWidget]]:
    """Bring each panel and each dialog to the front; yield its name and the widget to take."""
    from opsin.gui.room import TABS

    for tab in TABS:
        window.room.show_tab(tab)
        window.room.view.wait_painted()
        rest(window)
        yield tab, window
    for name, action in DIALOGS.items():
        before = set(window._dialogs)
        window.book[action].trigger()
        wait(lambda before=before: bool(set(window._dialogs) - before))
        (dialog,) = set(window._dialogs) - before
        rest(dialog)
        yield name, dialog
        dialog.close()
        QApplication.processEvents()


def luminance(color: Any) -> float:
    """Relative luminance (WCAG 2.1) of a QColor."""
    parts = (color.redF(), color.greenF(), color.blueF())
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: Any, other: Any) -> float:
    """Contrast of two colours, 1 to 21 (WCAG 2.1)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def troubles(root: QWidget) -> list[str]:
    """Return what is wrong with the widgets in sight below `root`, one line each."""
    found = []
    for widget in root.findChildren(QWidget):
        parent = widget.parentWidget()
        if not widget.isVisible() or parent is None or widget.isWindow() or widget.visibleRegion().isEmpty():
            continue
        text = widget.text() if isinstance(widget, QLabel | QAbstractButton) else ""
        name = f"{type(widget).__name__} {widget.accessibleName() or text!r}"
        scrolled = isinstance(parent.parentWidget(), QScrollArea)
        if text and not scrolled and not parent.rect().contains(_at(widget, parent)):
            found.append(f"{name} lies outside of its parent")
        plain = isinstance(widget, QLabel) and text and not widget.wordWrap() and "<" not in text
        if plain and widget.sizeHint().width() > widget.width() + 1 and not widget.toolTip():
            found.append(f"{name} is cut off: {widget.width()} of {widget.sizeHint().width()} px")
        if (
            isinstance(widget, QPushButton)
            and widget.minimumSizeHint().width() > widget.width() + 1
            and not widget.toolTip()
        ):
            found.append(f"{name} is cut off")
        if isinstance(widget, QComboBox) and not widget.toolTip():
            room = widget.width() - theme.px(30)
            if widget.fontMetrics().horizontalAdvance(widget.currentText()) > room + theme.px(8):
                found.append(f"{name} cuts off {widget.currentText()!r}")
    return found


def _at(widget: QWidget, parent: QWidget) -> QRect:
    return QRect(widget.mapTo(parent, QPoint(0, 0)), widget.size())


def pale() -> list[str]:
    """Return the texts of the theme in use that are hard to read on its grounds."""
    from qtpy.QtGui import QColor

    c = theme.colors()
    pairs = [(name, ground) for name in ("text", "muted") for ground in ("window", "surface")]
    return [
        f"{name} on {ground}: {value:.2f}"
        for name, ground in pairs
        if hasattr(c, ground) and (value := contrast(QColor(getattr(c, name)), QColor(getattr(c, ground)))) < LEAST
    ]


def main(folder: Path) -> None:
    import os
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        os.environ["OPSIN_CONFIG"] = str(Path(made) / "config")
        application = QApplication.instance() or QApplication([])
        from opsin.gui.settings import AppSettings
        from opsin.gui.window import MainWindow

        place = make_workspace(Path(made) / "Sample")
        window = MainWindow(settings=AppSettings(theme="light"))
        window.show()
        window.open_workspace(place)
        wait(lambda: window.item is not None)
        window.room.show_tab("results")
        window.room.panel("results").refresh_runs()
        for name in THEMES:
            theme.apply_theme(application, name)
            for line in pale():
                print(f"{name}: {line}")
            for size in SIZES:
                window.resize(*size)
                QApplication.processEvents()
                for scene, widget in scenes(window):
                    widget.grab().save(str(folder / f"{scene}-{name}-{size[0]}.png"))
                    for line in troubles(widget):
                        print(f"{scene} {name} {size[0]}: {line}")
        window.finish("stop")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
