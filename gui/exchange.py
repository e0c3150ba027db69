"""Annotations in and out: ask for the file, read it in a thread, let the user map its classes, paint in one undo step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog

from ..engine.class_table import taken_values
from ..engine.errors import AnnotationError, OpsinError
from ..engine.labels.classes import LabelClass
from ..engine.labels.mapping import CLEAR, SKIP, Target, shortened
from ..widgets.background import in_background
from .import_dialog import MappingDialog

if TYPE_CHECKING:
    from ..engine.labels.exchange import ImportReport
    from ..engine.labels.shapes import Outlines
    from ..engine.workspace import Item
    from .window import MainWindow

READ = "Annotations (*.xml *.geojson *.json);;All files (*)"
WRITE = "QuPath GeoJSON (*.geojson);;ASAP XML (*.xml)"
__all__ = ["CLEAR", "SKIP", "Exchange", "MappingDialog"]


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
            details = "\n".join(outlines.skipped)
            self.window.messages.warning(
                f"{path.name} holds no outlines that can be used; nothing was imported.", details
            )
            return
        workspace = self.window.workspace
        taken = taken_values(workspace) if workspace is not None else ()
        dialog = MappingDialog(path, item.name, outlines, self.window.model.classes, self.window, taken)
        dialog.warn(self._doubt(path, item))
        dialog.accepted.connect(lambda: self._take(dialog, item, outlines, path))
        self.window.show_dialog(dialog)

    def _doubt(self, path: Path, item: Item) -> str:
        """Return why the file may belong to another slide, "" when its name says that it belongs to this one."""
        stem, workspace = path.stem.casefold(), self.window.workspace
        if item.name.casefold() in stem or workspace is None:
            return ""
        other = next((one.name for one in workspace.items() if one.name.casefold() == stem), None)
        if other is not None:
            return f"The file is named like the slide {other}, but would go onto {item.name}, which is open."
        return f"No slide is named like this file. It would go onto {item.name}, which is open."

    def _take(self, dialog: MappingDialog, item: Item, outlines: Outlines, path: Path) -> None:
        try:
            self.paint(item, outlines, dialog.choices(), path)
        except OpsinError as error:
            self.window.messages.error(error)

    def paint(self, item: Item, outlines: Outlines, choices: dict[str, Target], path: Path) -> None:
        """Paint outlines as one undo step.

        Parameters
        ----------
        choices : class name in the file -> class, "clear" or "skip"; classes that the workspace does not have are added.
        """
        workspace = self.window.workspace
        if workspace is None:
            return
        known = {c.value for c in workspace.classes}
        new = {c.value: c for c in choices.values() if isinstance(c, LabelClass) and c.value not in known}
        if new:
            # before the first pixel of theirs: a label must not be without a class, whatever happens in between
            workspace.set_classes([*workspace.classes, *new.values()])

        def work() -> ImportReport:
            from ..engine.labels.exchange import import_annotations

            store = workspace.labels(item)
            report = import_annotations(store, outlines, choices, text=f"Import {path.name}")
            store.flush()
            workspace.update_marked(item.id)
            return report

        def failed(error: BaseException) -> None:
            if isinstance(error, AnnotationError) and new:  # nothing has been painted
                workspace.set_classes([c for c in workspace.classes if c.value not in new])
            self.window.messages.error(error)

        in_background(
            work, done=lambda report: self._report(report, item, list(new.values())), failed=failed, owner=self
        )

    def _report(self, report: ImportReport, item: Item, new: list[LabelClass]) -> None:
        kind = self.window.messages.warning if report.skipped or report.cut else self.window.messages.success
        here = self.window.item is not None and self.window.item.id == item.id
        undo = "Undo takes it back in one step." if here else "To take it back, open that slide and press Undo once."
        text = f"{report.tell(shortened(item.name, 60))} {undo}"
        if new:
            names = ", ".join(f"'{c.name}'" for c in new)
            text += f" New and left out of training until you change that in the class table: {names}."
        kind(text, "\n".join(report.details))

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
