"""Small dialogs of the window: resolution, settings, guide, rejected slides, doctor, about, closing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import (
    QFont,
    QIcon,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
)
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from ..widgets import theme
from ..widgets.confirm import Question
from ..widgets.editors import inset
from ..widgets.texts import MutedLabel

if TYPE_CHECKING:
    pass


class Sheet(QDialog):
    """A dialog with our margins that goes away when it is closed."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(theme.WIDE, theme.WIDE, theme.WIDE, theme.WIDE)
        self.column.setSpacing(theme.PAD)

    def add_buttons(self, accept: str = "", dismiss: str = "Close") -> QDialogButtonBox:
        """Add the row of buttons; `accept` is the primary one."""
        box = QDialogButtonBox()
        if accept:
            button = box.addButton(accept, QDialogButtonBox.ButtonRole.AcceptRole)
            button.setProperty("kind", "primary")
            button.setDefault(True)
        box.addButton(dismiss, QDialogButtonBox.ButtonRole.RejectRole)
        box.accepted.connect(self.accept)
        box.rejected.connect(self.reject)
        self.column.addWidget(box)
        return box

    def take(self, width: int, height: int) -> None:
        """Take this size (at text size 100 %), or what the screen has room for."""
        screen = self.screen().availableGeometry()
        self.resize(min(theme.px(width), screen.width() - 40), min(theme.px(height), screen.height() - 80))

    def fit(self, width: int) -> None:
        """Take this width (at text size 100 %) and the height that wrapped texts then need."""
        wide = max(theme.px(width), self.column.minimumSize().width())
        self.resize(wide, max(self.column.totalHeightForWidth(wide), self.column.totalMinimumSize().height()))


class ResolutionDialog(Sheet):
    """µm per pixel of one slide: what it is, where it comes from, and another value.

    Signals
    -------
    chosen(object) : the new value, None = what the file says.
    """

    chosen = Signal(object)

    def __init__(self, name: str, mpp: float | None, source: str, parent: QWidget | None = None) -> None:
        super().__init__("Resolution", parent)
        head = QLabel(name)
        head.setProperty("kind", "heading")
        head.setWordWrap(True)
        self.column.addWidget(head)
        now = f"Now {mpp:.4g} µm per pixel: {source}." if mpp else "The file does not say how large a pixel is."
        self.column.addWidget(QLabel(now))
        row = QHBoxLayout()
        self.value = QDoubleSpinBox()
        self.value.setDecimals(4)
        self.value.setRange(0.0001, 999)
        self.value.setSingleStep(0.01)
        self.value.setValue(mpp or 0.25)
        self.value.setSuffix(" µm/px")
        self.value.setAccessibleName("µm per full-resolution pixel")
        inset(self.value)
        self.magnification = MutedLabel()
        row.addWidget(self.value)
        row.addWidget(self.magnification, 1)
        self.column.addLayout(row)
        self.column.addWidget(
            MutedLabel(
                "Brush sizes, the scale bar, areas and the scale at which a model looks depend on it. "
                "Scanners at 40x have about 0.25, at 20x about 0.5 µm per pixel.",
                wrap=True,
            )
        )
        self.value.valueChanged.connect(self._say)
        self._say(self.value.value())
        self.column.addSpacing(theme.TIGHT)
        box = self.add_buttons("Set", "Cancel")
        self.reset = QPushButton("As the file says")
        self.reset.setEnabled(source == "set by you")
        box.addButton(self.reset, QDialogButtonBox.ButtonRole.ResetRole)
        self.reset.clicked.connect(self._reset)
        self.accepted.connect(lambda: self.chosen.emit(self.value.value()))
        self.fit(440)

    def _say(self, value: float) -> None:
        self.magnification.setText(f"a {10 / value:.3g}x scan")

    def _reset(self) -> None:
        self.chosen.emit(None)
        self.close()


class SettingsDialog(Sheet):
    """Look of the application. Signals: `theme_chosen(str)`, `size_chosen(int)`; both act at once."""

    theme_chosen = Signal(str)
    size_chosen = Signal(int)

    def __init__(self, name: str, size: int, config: str, parent: QWidget | None = None) -> None:
        super().__init__("Settings", parent)
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.WIDE)
        grid.setVerticalSpacing(theme.PAD)
        self.theme, self.size_box = QComboBox(), QComboBox()
        for value, text in (("system", "Like the system"), ("light", "Light"), ("dark", "Dark")):
            self.theme.addItem(text, value)
        self.theme.setCurrentIndex(self.theme.findData(name))
        for percent in theme.TEXT_SIZES:
            self.size_box.addItem(f"{percent} %", percent)
        self.size_box.setCurrentIndex(max(0, self.size_box.findData(size)))
        for place, (text, box) in enumerate((("Theme", self.theme), ("Text size", self.size_box))):
            label = QLabel(text)
            label.setBuddy(box)
            box.setAccessibleName(text)
            grid.addWidget(label, place, 0)
            grid.addWidget(box, place, 1)
        grid.setColumnStretch(1, 1)
        self.column.addLayout(grid)
        self._grid = grid
        note = MutedLabel(f"Settings and log lie in {config}", wrap=True)
        note.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.column.addWidget(note)
        self.add_buttons()
        self.theme.activated.connect(lambda _: self.theme_chosen.emit(self.theme.currentData()))
        self.size_box.activated.connect(lambda _: self.size_chosen.emit(self.size_box.currentData()))
        self.fit(440)

    def ask_keys(self, presets: dict[str, str], now: str, take: Callable[[str], None]) -> None:
        """Ask whose keys to use; `take` gets the name of the preset at once."""
        self.keys = QComboBox()
        self.keys.setAccessibleName("Keyboard shortcuts")
        for name, title in presets.items():
            self.keys.addItem(f"Keys of {title}", name)
        self.keys.setCurrentIndex(self.keys.findData(now))
        label = QLabel("Shortcuts")
        label.setBuddy(self.keys)
        self._grid.addWidget(label, self._grid.rowCount(), 0)
        self._grid.addWidget(self.keys, self._grid.rowCount() - 1, 1)
        self.keys.activated.connect(lambda _: take(self.keys.currentData()))
        self.fit(440)

    def ask_name(self, name: str, take: Callable[[str], None]) -> None:
        """Ask for the name that reviews are put down to; `take` gets it when it is entered."""
        self.name = QLineEdit(name)
        self.name.setMaxLength(100)
        self.name.setAccessibleName("Name of the reviewer")
        label = QLabel("Your name in reviews")
        label.setBuddy(self.name)
        self._grid.addWidget(label, self._grid.rowCount(), 0)
        self._grid.addWidget(self.name, self._grid.rowCount() - 1, 1)
        self.name.editingFinished.connect(lambda: take(self.name.text()))
        self.fit(440)


class GuideDialog(Sheet):
    """The guide pages of `resources/guide`, list on the left, page on the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Guide", parent)
        self.pages = sorted((theme.RESOURCES / "guide").glob("*.md"))
        self.list = QListWidget()
        self.list.setAccessibleName("Pages")
        self.list.setProperty("kind", "pages")
        self.list.setFixedWidth(theme.px(200))
        self.text = QTextBrowser()
        self.text.setOpenLinks(False)
        self.text.setSearchPaths([str(theme.RESOURCES / "guide")])  # of the pictures
        self.text.setAccessibleName("Guide")
        self.text.document().setDocumentMargin(theme.px(12))
        for page in self.pages:
            item = QListWidgetItem(page.read_text(encoding="utf-8").splitlines()[0].lstrip("# "), self.list)
            item.setSizeHint(QSize(0, theme.px(30)))
        row = QHBoxLayout()
        row.setSpacing(theme.PAD)
        row.addWidget(self.list)
        row.addWidget(self.text, 1)
        self.column.addLayout(row, 1)
        self.add_buttons()
        self.list.currentRowChanged.connect(self._show)
        self.list.setCurrentRow(0)
        self.take(860, 620)

    def _show(self, row: int) -> None:
        if row >= 0:
            self.text.setMarkdown(self.pages[row].read_text(encoding="utf-8"))
            _typeset(self.text.document())


def _typeset(document: QTextDocument) -> None:
    """Give a page of Markdown air between its lines and paragraphs, and headings in our sizes."""
    sizes = {1: 20, 2: 16, 3: 14}
    block = document.begin()
    while block.isValid():
        form, cursor = block.blockFormat(), QTextCursor(block)
        level = form.headingLevel()
        form.setLineHeight(135.0, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
        form.setTopMargin(theme.px(14 if level > 1 else 0))
        form.setBottomMargin(theme.px(10 if level == 1 else 6))
        cursor.setBlockFormat(form)
        if level:
            text = QTextCharFormat()
            text.setProperty(QTextFormat.Property.FontPixelSize, theme.px(sizes.get(level, 13)))
            text.setFontWeight(QFont.Weight.DemiBold)
            cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
            cursor.setCharFormat(text)
        block = block.next()


class ListDialog(Sheet):
    """Some sentences that belong together, to read and to copy: slides that could not be added, rows that fit none."""

    def __init__(self, title: str, head: str, lines: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(title, parent)
        self.head = QLabel(head)
        self.head.setWordWrap(True)
        self.column.addWidget(self.head)
        self.text = QPlainTextEdit("\n\n".join(lines))
        self.text.setReadOnly(True)
        self.text.setAccessibleName(title)
        self.column.addWidget(self.text, 1)
        self.add_buttons()
        self.take(620, min(420, 150 + 44 * sum(1 + line.count("\n") for line in lines)))


class AboutDialog(Sheet):
    """Name, version, purpose."""

    def __init__(self, version: str, parent: QWidget | None = None) -> None:
        super().__init__("About Opsin", parent)
        row = QHBoxLayout()
        row.setSpacing(theme.WIDE)
        mark = QLabel()
        mark.setPixmap(QIcon(str(theme.ICONS / "opsin.svg")).pixmap(QSize(theme.px(64), theme.px(64)), 2.0))
        row.addWidget(mark, 0, Qt.AlignmentFlag.AlignTop)
        text = QVBoxLayout()
        title = QLabel("Opsin")
        title.setProperty("kind", "title")
        text.addWidget(title)
        text.addWidget(MutedLabel(f"Version {version}, Apache License 2.0"))
        words = QLabel(
            "Annotate, train, predict and correct in one window, on your own computer. "
            "No data leaves it, and nothing is sent anywhere.\n\nFor research use, not for diagnosis."
        )
        words.setWordWrap(True)
        text.addWidget(words)
        row.addLayout(text, 1)
        self.column.addLayout(row)
        self.add_buttons()
        self.fit(480)


def ask_about_jobs(parent: QWidget, count: int, answer: Any) -> QMessageBox:
    """Ask what becomes of running jobs; `answer` gets "stop", "detach", "cancel" or, to stay, "".

    Does not block: the box is a sheet of the window.
    """
    work = "A job is" if count == 1 else f"{count} jobs are"
    box = Question(
        "Close Opsin",
        f"{work} still running.",
        "A stopped run keeps a checkpoint and can be resumed. One that is left running goes on by itself.",
        parent,
        icon="train",
    )
    role = QMessageBox.ButtonRole
    answers = {
        box.add("Stop at a checkpoint", role.AcceptRole): "stop",
        box.add("Leave running", role.AcceptRole): "detach",
        box.add("Cancel and discard", role.DestructiveRole, "danger"): "cancel",
    }
    box.add_stay("Stay")
    box.buttonClicked.connect(lambda button: answer(answers.get(button, "")))
    box.open()
    return box
