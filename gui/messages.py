"""What the application tells the user: a banner over the view that never blocks, and a log file with the rest.

An `OpsinError` is shown as its one sentence; anything else as "Something went wrong" with the sentence of the exception,
the trace behind "Details". Uncaught exceptions of any thread come here too (`install`), so the window never dies of one.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from qtpy.QtCore import QEvent, QObject, QPoint, QSize, Qt, QTimer, Signal, Slot
from qtpy.QtGui import QAccessible, QAccessibleEvent, QGuiApplication, QResizeEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.errors import OpsinError
from ..widgets import theme

ICONS = {"info": "info", "success": "success", "warning": "warning", "error": "error"}
LIFETIME_MS = 8000
MOST = 3
NARROW = 480
WIDEST = 760
log = logging.getLogger("opsin")


class Messages(QObject):
    """Where everybody posts; may be called from any thread.

    Signals
    -------
    posted(kind, sentence, details) : kind is "info", "success", "warning" or "error".
    """

    posted = Signal(str, str, str)

    def info(self, sentence: str, details: str = "") -> None:
        self._post("info", sentence, details)

    def success(self, sentence: str, details: str = "") -> None:
        self._post("success", sentence, details)

    def warning(self, sentence: str, details: str = "") -> None:
        self._post("warning", sentence, details)

    def failed(self, sentence: str, details: str = "") -> None:
        """Post an error that already is a sentence."""
        self._post("error", sentence, details)

    def error(self, error: BaseException) -> None:
        """Post an exception; its trace goes to the log and, unless it is meant for the user, behind "Details"."""
        trace = "".join(traceback.format_exception(error))
        log.error("%s", trace)
        if isinstance(error, OpsinError):
            self.posted.emit("error", str(error), "")
        else:
            last = f"{type(error).__name__}: {error}".strip().rstrip(":")
            self.posted.emit("error", f"Something went wrong ({last}). Your labels are safe; the log has more.", trace)

    def _post(self, kind: str, sentence: str, details: str) -> None:
        log.log({"error": logging.ERROR, "warning": logging.WARNING}.get(kind, logging.INFO), "%s", sentence)
        self.posted.emit(kind, sentence, details)


class Banner(QFrame):
    """One message with its buttons."""

    closed = Signal(object)

    def __init__(self, kind: str, sentence: str, details: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind, self.sentence, self.details = kind, sentence, details
        self.count = 1
        self.setProperty("banner", kind)
        self._icon = QLabel()
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.label.setTextFormat(Qt.TextFormat.PlainText)
        self.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.more = QPushButton("Details")
        self.more.setProperty("kind", "quiet")
        self.more.setCheckable(True)
        self.more.setVisible(bool(details))
        copy = QPushButton("Copy")
        copy.setProperty("kind", "quiet")
        copy.setToolTip("Copy the message and its details")
        copy.setVisible(kind in ("error", "warning"))
        close = QToolButton()
        self._close_button = close
        close.setToolTip("Dismiss")
        close.setAccessibleName("Dismiss message")
        self.trace = QPlainTextEdit(details)
        self.trace.setReadOnly(True)
        self.trace.setMaximumHeight(theme.px(160))
        self.trace.hide()
        words = QHBoxLayout()
        words.setSpacing(theme.GAP)
        words.addWidget(self._icon)
        words.addWidget(self.label, 1)
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.GAP)
        buttons.addStretch(1)
        for button in (self.more, copy, close):
            buttons.addWidget(button)
        self._row = row = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        row.setSpacing(theme.TIGHT)
        row.addLayout(words, 1)
        row.addLayout(buttons)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.PAD, theme.TIGHT + 2, theme.GAP, theme.TIGHT + 2)
        column.addLayout(row)
        column.addWidget(self.trace)
        self.more.toggled.connect(self.trace.setVisible)
        copy.clicked.connect(self._copy)
        close.clicked.connect(self._close)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._close)
        if kind in ("info", "success"):
            self._timer.start(LIFETIME_MS)
        self.restyle()
        self._say()
        self.setAccessibleName(f"{kind}: {sentence}")

    def take_focus(self) -> None:
        """Put the focus on the first of the buttons."""
        button = self.more if self.details else self._close_button
        button.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def minimumSizeHint(self) -> QSize:
        """Small: a long word of a message must not push the panels out of the window."""
        return QSize(theme.px(200), super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.arrange(self.width())

    def arrange(self, width: int) -> None:
        """Put the buttons below the sentence where there is little room beside it."""
        narrow = width < theme.px(NARROW)
        self._row.setDirection(QBoxLayout.Direction.TopToBottom if narrow else QBoxLayout.Direction.LeftToRight)

    def repeat(self) -> None:
        """The same thing happened again: count it instead of stacking banners."""
        self.count += 1
        self._say()
        if self._timer.isActive():
            self._timer.start(LIFETIME_MS)

    def restyle(self) -> None:
        """Draw the icon in the colours of the theme in use."""
        c = theme.colors()
        tint = {"error": c.error, "warning": c.warning}.get(self.kind, c.accent)
        self._close_button.setIcon(theme.icon("close"))
        self._close_button.setIconSize(QSize(theme.px(theme.ICON), theme.px(theme.ICON)))
        self._icon.setPixmap(theme.pixmap(ICONS[self.kind], theme.px(18), tint))

    def _say(self) -> None:
        self.label.setText(self.sentence + (f"  ({self.count} times)" if self.count > 1 else ""))
        self.setAccessibleName(f"{self.kind}: {self.sentence}")

    @Slot()
    def _copy(self) -> None:
        text = self.sentence + ("\n\n" + self.details if self.details else "")
        QGuiApplication.clipboard().setText(text)

    @Slot()
    def _close(self) -> None:
        self.closed.emit(self)


class BannerStack(QWidget):
    """The latest messages, newest on top, never more than three. They float over their parent and move nothing in it.

    Parameters
    ----------
    parent : what they lie over; without one they are a widget like others.

    Attributes
    ----------
    below : a widget of the parent that they never cover, while it can be seen: they stand below it.
    """

    def __init__(self, messages: Messages, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.banners: list[Banner] = []
        self.below: QWidget | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme.TIGHT)
        self.setAccessibleName("Messages")
        messages.posted.connect(self.show_message)
        theme.theme_changed().connect(self._restyle)
        if parent is not None:
            parent.installEventFilter(self)
        self.hide()

    @Slot(str, str, str)
    def show_message(self, kind: str, sentence: str, details: str = "") -> None:
        for banner in self.banners:
            if (banner.kind, banner.sentence) == (kind, sentence):
                banner.repeat()
                return
        banner = Banner(kind, sentence, details, self)
        banner.closed.connect(self._remove)
        self.banners.insert(0, banner)
        self._column.insertWidget(0, banner)
        while len(self.banners) > MOST:
            self._remove(self.banners[-1])
        self.show()
        self.place()
        QAccessible.updateAccessibility(QAccessibleEvent(banner, QAccessible.Event.Alert))

    def stand_below(self, widget: QWidget) -> None:
        """Leave this widget free from now on."""
        self.below = widget
        widget.installEventFilter(self)
        self.place()

    def place(self) -> None:
        """Stand in the middle, right below what must stay free, as tall as the messages are."""
        parent = self.parentWidget()
        if parent is None or not self.banners:
            return
        top = theme.GAP
        if self.below is not None and self.below.isVisibleTo(parent):
            top += self.below.mapTo(parent, QPoint(0, self.below.height())).y()
        width = min(parent.width() - 2 * theme.GAP, theme.px(WIDEST))
        for banner in self.findChildren(Banner, options=Qt.FindChildOption.FindDirectChildrenOnly):
            banner.arrange(width)
        wanted = (
            self._column.totalHeightForWidth(width) if self._column.hasHeightForWidth() else self.sizeHint().height()
        )
        height = min(wanted, max(parent.height() - top - theme.GAP, 40))
        self.setGeometry((parent.width() - width) // 2, top, width, height)
        self.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Move, QEvent.Type.Show, QEvent.Type.Hide):
            self.place()
        return False

    def event(self, event: QEvent) -> bool:
        done = super().event(event)
        if event.type() == QEvent.Type.LayoutRequest:  # details were opened, or a sentence takes another line
            self.place()
        return done

    def focus_newest(self) -> None:
        """Put the focus on the newest message, so that its buttons can be reached by keyboard."""
        if self.banners:
            self.banners[0].take_focus()

    def leave(self) -> None:
        """The workspace is left: only what went wrong stays."""
        for banner in [banner for banner in self.banners if banner.kind != "error"]:
            self._remove(banner)

    def dismiss(self) -> bool:
        """Close the newest message; False when there is none (Escape)."""
        if not self.banners:
            return False
        self._remove(self.banners[0])
        return True

    def withdraw(self, sentence: str) -> None:
        """Take back a message that is not true any more."""
        for banner in [banner for banner in self.banners if banner.sentence == sentence]:
            self._remove(banner)

    def texts(self) -> list[str]:
        return [banner.sentence for banner in self.banners]

    @Slot(object)
    def _remove(self, banner: Any) -> None:
        if banner in self.banners:
            self.banners.remove(banner)
            self._column.removeWidget(banner)
            banner.hide()
            banner.deleteLater()
        self.setVisible(bool(self.banners))
        self.place()

    def _restyle(self) -> None:
        for banner in self.banners:
            banner.restyle()


def open_log(folder: Path) -> Path:
    """Write the log to ``opsin.log`` in `folder` (2 MB, one older one kept); return its path."""
    path = folder / "opsin.log"
    log.setLevel(logging.INFO)
    if any(getattr(handler, "baseFilename", None) == str(path) for handler in log.handlers):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=2_000_000, backupCount=1, encoding="utf-8"
        )
    except OSError:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return path


def install(messages: Messages) -> None:
    """Send uncaught exceptions of all threads to `messages`."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        messages.error(error.with_traceback(trace))

    def thread_hook(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not issubclass(arguments.exc_type, SystemExit):
            messages.error(arguments.exc_value)

    sys.excepthook = hook
    threading.excepthook = thread_hook
