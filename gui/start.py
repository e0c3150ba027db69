"""Start page: recent workspaces, open, try a sample. Plain Qt, so that it is there at once."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtpy.QtCore import QPoint, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QContextMenuEvent, QIcon, QPainter, QPainterPath, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ..widgets import theme
from ..widgets.background import Task, in_background
from ..widgets.texts import ElidedLabel, MutedLabel, heading
from .opening import DATABASE

MOST = 8
PICTURES = 4


@dataclass
class Recent:
    """What the page shows of a workspace."""

    folder: Path
    opened: float = 0.0
    missing: bool = False
    slides: int = 0
    pictures: list[Path] = field(default_factory=list)


def look_at(known: list[Recent]) -> Iterator[Recent]:
    """Yield the workspaces with what is found in their folders; for a thread, as a folder may lie on a slow disk."""
    for recent in known:
        database = recent.folder / DATABASE
        recent.missing = not database.is_file()
        if not recent.missing:
            with contextlib.suppress(sqlite3.Error, OSError):
                connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=1)
                with contextlib.closing(connection):
                    rows = connection.execute("SELECT id FROM item ORDER BY position").fetchall()
                    recent.slides = len(rows)
                candidates = (recent.folder / "thumbnails" / f"{id}.png" for (id,) in rows)
                recent.pictures = [path for path in candidates if path.exists()][:PICTURES]
        yield recent


def when(moment: float, now: float | None = None) -> str:
    """Return a time in words: "today 10:42", "yesterday", "12 March", "12 March 2024"."""
    if not moment:
        return ""
    then, today = time.localtime(moment), time.localtime(now if now is not None else time.time())
    days = (time.mktime(today[:3] + (12, 0, 0, 0, 0, -1)) - time.mktime(then[:3] + (12, 0, 0, 0, 0, -1))) / 86400
    if round(days) == 0:
        return "today " + time.strftime("%H:%M", then)
    if round(days) == 1:
        return "yesterday"
    text = f"{then.tm_mday} {time.strftime('%B', then)}"
    return text if then.tm_year == today.tm_year else f"{text} {then.tm_year}"


class StartPage(QWidget):
    """The page.

    Signals
    -------
    open_requested(Path) : open the workspace in this folder.
    forget_requested(Path) : take it out of the list.
    action_requested(str) : id of an action ("file.open", "file.slides", "file.sample", "help.guide").
    cancel_requested() : stop making the sample.
    """

    open_requested = Signal(object)
    forget_requested = Signal(object)
    action_requested = Signal(str)
    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cards: list[RecentCard] = []
        self._task: Task | None = None
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        outer.addWidget(scroll, 1)
        page = QWidget()
        scroll.setWidget(page)
        sides = QHBoxLayout(page)
        sides.setContentsMargins(theme.WIDE * 2, theme.WIDE * 2, theme.WIDE * 2, theme.WIDE)
        self._column_widget = QWidget()
        sides.addStretch(1)
        sides.addWidget(self._column_widget, 100)
        sides.addStretch(1)
        column = QVBoxLayout(self._column_widget)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.WIDE)
        column.addStretch(1)
        column.addLayout(self._head())
        column.addLayout(self._buttons())
        column.addWidget(self._progress_box())
        column.addSpacing(theme.GAP)
        self.recent_head = heading("Recent workspaces")
        column.addWidget(self.recent_head)
        self._grid = QGridLayout()
        self._grid.setSpacing(theme.PAD)
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1)
        column.addLayout(self._grid)
        self.hint = MutedLabel("", wrap=True)
        column.addWidget(self.hint)
        column.addStretch(2)
        foot = MutedLabel("For research use, not for diagnosis.  Nothing leaves this computer.", wrap=True)
        foot.setAlignment(Qt.AlignmentFlag.AlignCenter)
        foot.setContentsMargins(0, 0, 0, theme.PAD)
        outer.addWidget(foot)
        theme.theme_changed().connect(self.restyle)
        self.restyle()
        self.show_recent([])

    def _head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.WIDE)
        self.mark = QLabel()
        row.addWidget(self.mark)
        words = QVBoxLayout()
        words.setSpacing(0)
        title = QLabel("Opsin")
        title.setProperty("kind", "title")
        words.addWidget(title)
        words.addWidget(MutedLabel("Annotate slides, train on them, see what the model sees."))
        row.addLayout(words, 1)
        return row

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        self.buttons: dict[str, QPushButton] = {}
        for id, text, name, tip in (
            ("file.open", "Open workspace…", "folder", "A folder that Opsin has worked in, or a new one (Ctrl+O)"),
            ("file.slides", "Open slides…", "slide", "Slide files; a workspace is made beside them (Ctrl+Shift+O)"),
            (
                "file.sample",
                "Try a sample",
                "sample",
                "Makes a few artificial slides with known lesions and opens them",
            ),
            ("help.guide", "Guide", "guide", "How to annotate and train in ten lines (F1)"),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setProperty("icon_name", name)
            button.setAutoDefault(True)
            button.clicked.connect(lambda _=False, which=id: self.action_requested.emit(which))
            row.addWidget(button)
            self.buttons[id] = button
        self.buttons["file.open"].setProperty("kind", "primary")
        row.addStretch(1)
        return row

    def _progress_box(self) -> QFrame:
        self.progress_box = QFrame()
        self.progress_box.setProperty("kind", "card")
        row = QHBoxLayout(self.progress_box)
        row.setContentsMargins(theme.PAD, theme.GAP, theme.PAD, theme.GAP)
        self.progress_text = QLabel()
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        cancel = QPushButton("Cancel")
        cancel.clicked.connect(self.cancel_requested)
        row.addWidget(self.progress_text)
        row.addWidget(self.progress, 1)
        row.addWidget(cancel)
        self.progress_box.hide()
        return self.progress_box

    def restyle(self) -> None:
        """Take over icons and text size of the theme in use."""
        c = theme.colors()
        self.mark.setPixmap(QIcon(str(theme.ICONS / "opsin.svg")).pixmap(QSize(theme.px(56), theme.px(56)), 2.0))
        for id, button in self.buttons.items():
            tint = c.on_accent if id == "file.open" else c.text
            button.setIcon(theme.icon(button.property("icon_name"), tint))
            button.setIconSize(QSize(theme.px(18), theme.px(18)))
        self._column_widget.setMaximumWidth(theme.px(880))
        self.progress_text.setMinimumWidth(theme.px(180))

    def show_progress(self, done: int, total: int, what: str) -> None:
        """Show how far the sample is; `total` 0 hides it."""
        self.progress_box.setVisible(total > 0)
        self.progress.setMaximum(max(1, total))
        self.progress.setValue(done)
        self.progress_text.setText(what)
        self.buttons["file.sample"].setEnabled(total == 0)

    # ---- recent -------------------------------------------------------------------------------------------------

    def show_recent(self, known: list[Recent]) -> None:
        """Show these workspaces; what is in their folders is looked up in the background."""
        for card in self.cards:
            self._grid.removeWidget(card)
            card.hide()
            card.deleteLater()
        self.cards = []
        for place, recent in enumerate(known[:MOST]):
            card = RecentCard(recent)
            card.opened.connect(self.open_requested)
            card.forgotten.connect(self.forget_requested)
            self._grid.addWidget(card, place // 2, place % 2)
            self.cards.append(card)
        self.recent_head.setVisible(bool(known))
        self.hint.setText(
            "Drop slides, a folder of slides or a workspace anywhere in this window."
            if known
            else "Drop slides, a folder of slides or a workspace anywhere in this window.\n"
            "A workspace is a folder that keeps labels, runs and results; slides are only named in it, never copied or "
            "changed."
        )
        if self._task is not None:
            self._task.cancel()
        if known:
            self._task = in_background(look_at, known[:MOST], each=self._show_facts, owner=self)

    def _show_facts(self, recent: Recent) -> None:
        for card in self.cards:
            if card.recent.folder == recent.folder:
                card.show_facts(recent)


class RecentCard(QPushButton):
    """One workspace: pictures of its slides, name, where it lies, how many slides, when it was opened."""

    opened = Signal(object)
    forgotten = Signal(object)

    def __init__(self, recent: Recent, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.recent = recent
        self.setProperty("kind", "recent")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.PAD, theme.PAD, theme.PAD, theme.PAD)
        column.setSpacing(theme.TIGHT)
        self.setAutoDefault(True)
        self.strip = PictureStrip()
        self.name = ElidedLabel(recent.folder.name if recent.folder.name != "opsin" else _named_after(recent.folder))
        self.name.setProperty("kind", "section")
        self.where = ElidedLabel(_short(recent.folder))
        self.where.setProperty("kind", "muted")
        self.facts = MutedLabel("")
        column.addWidget(self.strip)
        column.addSpacing(theme.TIGHT)
        for label in (self.name, self.where, self.facts):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        column.addWidget(self.name)
        column.addWidget(self.where)
        foot = QHBoxLayout()
        self.forget = QPushButton("Remove from list")
        self.forget.setProperty("kind", "link")
        self.forget.setAutoDefault(True)
        policy = self.forget.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # so that all cards are of one height
        self.forget.setSizePolicy(policy)
        self.forget.setToolTip("The folder itself is not touched")
        self.forget.clicked.connect(lambda: self.forgotten.emit(self.recent.folder))
        foot.addWidget(self.facts, 1)
        foot.addWidget(self.forget)
        column.addLayout(foot)
        self.clicked.connect(lambda: self.opened.emit(self.recent.folder))
        self.show_facts(recent)

    def sizeHint(self) -> QSize:
        return self.layout().sizeHint()

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.px(240), self.layout().sizeHint().height())

    def show_facts(self, recent: Recent) -> None:
        """Show what was found in the folder."""
        self.recent = recent
        count = f"{recent.slides} slide{'' if recent.slides == 1 else 's'}"
        last = f"opened {when(recent.opened)}" if recent.opened else ""
        self.facts.setText("Not found" if recent.missing else " · ".join(p for p in (count, last) if p))
        self.strip.show_pictures([QPixmap(str(path)) for path in recent.pictures], recent.slides, recent.missing)
        self.forget.setVisible(recent.missing)
        self.forget.setAccessibleName(f"Remove {self.name.full_text()} from the list")
        self.setProperty("missing", recent.missing)
        self.name.setProperty("kind", "muted" if recent.missing else "section")
        for widget in (self, self.name):
            widget.style().unpolish(widget)
            widget.style().polish(widget)
        self.setToolTip(
            f"{recent.folder}\n"
            + ("The folder is not there: it was moved, or its disk is not connected." if recent.missing else "Open")
        )
        self.setAccessibleName(f"{self.name.full_text()}, {self.facts.text()}")

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        menu = QMenu(self)
        menu.addAction("Open", lambda: self.opened.emit(self.recent.folder)).setEnabled(not self.recent.missing)
        menu.addAction("Remove from this list", lambda: self.forgotten.emit(self.recent.folder))
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(event.globalPos())


class PictureStrip(QWidget):
    """A row of slide thumbnails; slides without one stay as quiet frames. One dashed frame when the folder is missing."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.pictures: list[QPixmap] = []
        self.slides = 0
        self.missing = False
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFixedHeight(theme.px(72))

    def show_pictures(self, pictures: list[QPixmap], slides: int, missing: bool) -> None:
        self.pictures, self.slides, self.missing = pictures, slides, missing
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        c = theme.colors()
        gap = theme.px(6)
        wide = (self.width() - gap * (PICTURES - 1)) / PICTURES
        if self.missing or not self.slides:
            self._empty(painter)
            return
        for place in range(min(PICTURES, max(self.slides, len(self.pictures)))):
            frame = QRectF(place * (wide + gap), 0, wide, self.height()).adjusted(0.5, 0.5, -0.5, -0.5)
            path = QPainterPath()
            path.addRoundedRect(frame, 4, 4)
            painter.fillPath(path, QColor(c.window))
            if place < len(self.pictures) and not self.pictures[place].isNull():
                painter.save()
                painter.setClipPath(path)
                picture = self.pictures[place]
                size = picture.size().scaled(frame.size().toSize(), Qt.AspectRatioMode.KeepAspectRatioByExpanding)
                target = QRectF(0, 0, size.width(), size.height())
                target.moveCenter(frame.center())
                painter.drawPixmap(target, picture, QRectF(picture.rect()))
                painter.restore()
            else:
                side = theme.px(24)
                corner = frame.center().toPoint() - QPoint(side // 2, side // 2)
                painter.drawPixmap(corner, theme.pixmap("slide", side, c.control))
            painter.setPen(QPen(QColor(c.line), 1))
            painter.drawPath(path)

    def _empty(self, painter: QPainter) -> None:
        """One frame over the whole width with an icon in its middle."""
        c = theme.colors()
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(QPen(QColor(c.control if self.missing else c.line), 1, Qt.PenStyle.DashLine))
        painter.setBrush(QColor(c.window))
        painter.drawRoundedRect(frame, 4, 4)
        side = theme.px(28)
        corner = frame.center().toPoint() - QPoint(side // 2, side // 2)
        painter.drawPixmap(corner, theme.pixmap("missing" if self.missing else "slide", side, c.muted))


def _named_after(folder: Path) -> str:
    """Name of an automatic workspace: that of the folder its slides lie in."""
    return folder.parent.name or folder.name


def _short(folder: Path) -> str:
    """Return the path with the home folder as ~."""
    with contextlib.suppress(ValueError, RuntimeError):
        return "~/" + folder.relative_to(Path.home()).as_posix()
    return str(folder)


def as_recent(entry: Any) -> Recent:
    """Return an entry of the list of recent workspaces as the page shows it."""
    return Recent(Path(entry.folder), float(entry.opened))
