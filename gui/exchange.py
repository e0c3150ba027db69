"""Annotations in and out: ask for the file, read it in a thread, let the user map its classes, paint in one undo step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ..widgets import theme
from ..widgets.background import in_background
from ..widgets.texts import MutedLabel, heading

if TYPE_CHECKING:
    from ..engine.labels.classes import LabelClass
    from ..engine.labels.shapes import Outlines
    from ..engine.workspace import Item
    from .window import MainWindow

READ = "Annotations (*.xml *.geojson *.json);;All files (*)"
WRITE = "QuPath GeoJSON (*.geojson);;ASAP XML (*.xml)"
SKIP, CLEAR = "skip", "clear"


class Exchange(QObject):
    """Import and export for the window."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window = window

    # ---- in -----------------------------------------------------------------------------------------------------

    def ask_import(self) -> None:
        """Ask for a file and import it into the open slide."""
        path, _ = QFileDialog.getOpenFileName(self.window, "Import annotations", self.window.last_folder(), READ)
        if path:
            self.window.remember_folder(Path(path).parent)
            self.import_file(Path(path))

    def import_file(self, path: Path, item: Item | None = None) -> None:
        """Read a file in the background, then ask what its classes become.

        Parameters
        ----------
        item : the slide that the annotations belong to; None = the open one.
        """
        item = item or self.window.item
        if item is None:
            self.window.messages.warning(f"{path.name} was not imported: open the slide that it belongs to first.")
            return
        in_background(
            _read,
            path,
            done=lambda outlines: self._ask_mapping(path, item, outlines),
            failed=self.window.messages.error,
            owner=self,
        )

    def _ask_mapping(self, path: Path, item: Item, outlines: Outlines) -> None:
        if not outlines:
            self.window.messages.warning(f"{path.name} holds no outlines; nothing was imported.")
            return
        dialog = MappingDialog(path, item.name, outlines, self.window.model.classes, self.window)
        dialog.accepted.connect(lambda: self.paint(item, outlines, dialog.choices(), path))
        self.window.show_dialog(dialog)

    def paint(self, item: Item, outlines: Outlines, choices: dict[str, Any], path: Path) -> None:
        """Paint outlines as one undo step; `choices`: class name in the file -> LabelClass, "clear" or "skip"."""
        workspace = self.window.workspace
        if workspace is None:
            return

        def work() -> Any:
            from ..engine.labels.exchange import import_annotations
            from ..engine.labels.shapes import Outlines

            kept = Outlines([o for o in outlines if choices.get(o.class_name) != SKIP])
            kept.repaired, kept.skipped = list(outlines.repaired), list(outlines.skipped)
            left_out = Counter(o.class_name for o in outlines if choices.get(o.class_name) == SKIP)
            kept.skipped += [f"{count} of class '{name}', as you chose." for name, count in left_out.items()]
            mapping = {name: None if choice == CLEAR else choice for name, choice in choices.items() if choice != SKIP}
            store = workspace.labels(item)
            report = import_annotations(store, kept, mapping, text=f"Import {path.name}")
            store.flush()
            workspace.update_marked(item.id)
            return report

        in_background(work, done=self._report, failed=self.window.messages.error, owner=self)

    def _report(self, report: Any) -> None:
        details = "\n".join([*report.repaired, *report.skipped])
        kind = self.window.messages.warning if report.skipped else self.window.messages.success
        kind(f"{report.sentence} Undo takes it back in one step.", details)

    # ---- out ----------------------------------------------------------------------------------------------------

    def ask_export(self) -> None:
        """Ask for a name and write the annotations of the open slide."""
        item = self.window.item
        if item is None:
            return
        name = str(Path(self.window.last_folder()) / f"{item.name}.geojson")
        path, chosen = QFileDialog.getSaveFileName(self.window, "Export annotations", name, WRITE)
        if path:
            target = Path(path)
            if not target.suffix:
                target = target.with_suffix(".xml" if "xml" in chosen else ".geojson")
            self.window.remember_folder(target.parent)
            self.export_file(target)

    def export_file(self, path: Path) -> None:
        """Write the annotations of the open slide as the suffix says; in the background."""
        item, workspace = self.window.item, self.window.workspace
        if item is None or workspace is None:
            return
        classes = [c.model_copy() for c in self.window.model.classes]

        def work() -> int:
            from ..engine.labels.exchange import export_annotations

            return export_annotations(workspace.labels(item), classes, path)

        def done(count: int) -> None:
            self.window.messages.success(f"Wrote {count} outline{'' if count == 1 else 's'} to {path}.")

        in_background(work, done=done, failed=self.window.messages.error, owner=self)


def _read(path: Path) -> Outlines:
    from ..engine.labels.exchange import read_annotations

    return read_annotations(path)


class MappingDialog(QDialog):
    """What each class of a file becomes; prefilled, so that mostly Enter is all."""

    def __init__(
        self, path: Path, slide: str, outlines: Outlines, classes: list[LabelClass], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        from ..engine.labels.exchange import class_mapping

        self.setWindowTitle("Import annotations")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.boxes: dict[str, QComboBox] = {}
        self._classes = {c.value: c for c in classes}
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.WIDE, theme.WIDE, theme.WIDE, theme.WIDE)
        column.setSpacing(theme.PAD)
        count = f"{len(outlines)} outline{'' if len(outlines) == 1 else 's'}"
        head = QLabel(f"{count} from {path.name} into {slide}")
        head.setProperty("kind", "heading")
        head.setWordWrap(True)
        column.addWidget(head)
        column.addWidget(
            MutedLabel("Choose what each class of the file becomes. The import is one step of Undo.", wrap=True)
        )
        counts = Counter(outline.class_name for outline in outlines)
        mapping = class_mapping(outlines, classes)
        inside = QWidget()
        grid = QGridLayout(inside)
        grid.setContentsMargins(0, 0, theme.GAP, 0)
        grid.setHorizontalSpacing(theme.WIDE)
        grid.setVerticalSpacing(theme.GAP)
        for place, text in enumerate(("In the file", "Outlines", "Becomes")):
            grid.addWidget(heading(text), 0, place)
        for row, (name, number) in enumerate(counts.items(), start=1):
            box = QComboBox()
            for c in classes:
                box.addItem(_swatch(c.color), c.name, c.value)
            box.addItem("Clear: labels there are erased", CLEAR)
            box.addItem("Leave out", SKIP)
            target = mapping.get(name)
            box.setCurrentIndex(box.findData(target.value if target is not None else CLEAR))
            box.setAccessibleName(f"{name or 'without a class'} becomes")
            label = QLabel(name or "(without a class)")
            label.setBuddy(box)
            grid.addWidget(label, row, 0)
            grid.addWidget(QLabel(str(number)), row, 1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            grid.addWidget(box, row, 2)
            self.boxes[name] = box
        grid.setColumnStretch(2, 1)
        grid.setRowStretch(len(counts) + 1, 1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(inside)
        column.addWidget(scroll, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.import_button = buttons.addButton("Import", QDialogButtonBox.ButtonRole.AcceptRole)
        self.import_button.setProperty("kind", "primary")
        self.import_button.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column.addWidget(buttons)
        self.resize(theme.px(520), theme.px(min(560, 220 + 40 * len(counts))))

    def choices(self) -> dict[str, Any]:
        """Return class name in the file -> LabelClass, "clear" or "skip"."""
        found: dict[str, Any] = {}
        for name, box in self.boxes.items():
            value = box.currentData()
            found[name] = self._classes[value] if isinstance(value, int) else value
        return found


def _swatch(color: str) -> Any:
    from qtpy.QtGui import QColor, QIcon, QPixmap

    picture = QPixmap(32, 32)
    picture.fill(QColor(color))
    return QIcon(picture)
