"""Annotations in and out: ask for files, read them in a thread, let the user map their classes, paint in one undo step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    from ..engine.labels.frame import Box
    from ..engine.labels.shapes import Origin, Outlines
    from ..engine.transfer import Inner, Step
    from ..engine.workspace import Item, Workspace
    from .export_dialog import ExportDialog
    from .window import MainWindow

READ = (
    "Annotations (*.xml *.geojson *.json *.tif *.tiff *.png zarr.json .zattrs);;ASAP XML (*.xml);;"
    "QuPath GeoJSON, COCO (*.geojson *.json);;Masks (*.tif *.tiff *.png);;All files (*)"
)
__all__ = ["CLEAR", "SKIP", "Exchange", "MappingDialog"]


@dataclass
class Read:
    """A file that was read for a slide: its outlines, the slide's bounds box, and where its coordinates seem to begin."""

    path: Path
    item: Item
    outlines: Outlines
    bounds: Box | None = None
    origin: Origin = "slide"


class Exchange(QObject):
    """Import and export for the window."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window = window

    # ---- in -----------------------------------------------------------------------------------------------------

    def ask_import(self) -> None:
        """Ask for files: one goes into the open slide, several into the slides of their names."""
        paths, _ = QFileDialog.getOpenFileNames(self.window, "Import annotations", self.window.last_folder(), READ)
        if paths:
            self.window.remember_folder(Path(paths[0]).parent)
            if len(paths) == 1:
                self.import_file(Path(paths[0]))
            else:
                self.import_files([Path(path) for path in paths])

    def ask_import_folder(self) -> None:
        """Ask for the folder of OME-Zarr labels, or a folder of annotation files, and import what is there."""
        from ..engine.labels.formats import is_annotation_file
        from ..engine.labels.ngff import is_zarr

        text = QFileDialog.getExistingDirectory(self.window, "Folder of annotations", self.window.last_folder())
        if not text:
            return
        folder = Path(text)
        self.window.remember_folder(folder.parent)
        if is_zarr(folder):
            self.import_file(folder)
            return
        found = [path for path in sorted(folder.iterdir()) if is_annotation_file(path)]
        found = [path for path in found if not path.name.endswith(".classes.json")]
        if found:
            self.import_files(found)
        else:
            self.window.messages.warning(f"No annotation files lie directly in {folder}; nothing was imported.")

    def take(self, paths: Sequence[Path]) -> None:
        """Import dropped files: each into the slide of its name, a single one without such a slide into the open one."""
        from ..engine.transfer import matched

        if len(paths) > 1:
            self.import_files(paths)
        for path in paths[:1] if len(paths) == 1 else []:
            workspace = self.window.workspace
            self.import_file(path, matched(workspace.items(), path) if workspace is not None else None)

    def import_file(self, path: Path, item: Item | None = None) -> None:
        """Read a file in the background, then ask what its classes become.

        Parameters
        ----------
        item : the slide that the annotations belong to; None = the open one.
        """
        item, workspace = item or self.window.item, self.window.workspace
        if item is None or workspace is None:
            self.window.messages.warning(f"{path.name} was not imported: open the slide that it belongs to first.")
            return
        in_background(
            _read,
            workspace,
            path,
            item,
            done=lambda read: self._ask_mapping([read], [], workspace),
            failed=self.window.messages.error,
            owner=self,
        )

    def import_files(self, paths: Sequence[Path]) -> None:
        """Read many files for the slides of their names, then ask once what their classes become."""
        from ..engine.transfer import Step, matched
        from .transfer import Transfer

        workspace = self.window.workspace
        if workspace is None:
            self.window.messages.warning("Nothing was imported: open the workspace with the slides first.")
            return
        reads: list[Read] = []
        items = workspace.items()

        def steps(inner: Inner) -> Iterator[Step]:
            for path in paths:
                try:
                    item = matched(items, path)
                    if item is None:
                        raise AnnotationError(f"No slide of the workspace is called like {path.name}.")
                    reads.append(_read(workspace, path, item, inner))
                    yield Step(path.name, "")
                except (OpsinError, OSError) as error:
                    yield Step(path.name, str(error), failed=True)

        def finished(done: list[Step], cancelled: bool) -> None:
            if not cancelled:
                self._ask_mapping(reads, [step.text for step in done if step.failed], workspace)

        Transfer(self.window, "Reading annotations", len(paths), steps, finished)

    def set_workspace(self, workspace: Workspace | None) -> None:
        """Another workspace is opened, or none: what is asked for the one before is not asked any more."""
        for dialog in [one for one in self.window._dialogs if isinstance(one, MappingDialog)]:
            dialog.reject()

    def _ask_mapping(self, reads: list[Read], failed: list[str], workspace: Workspace) -> None:
        if self.window.workspace is not workspace:
            return  # the slides that the files are for are no longer here
        usable = [read for read in reads if read.outlines]
        for read in reads:
            if not read.outlines:
                failed.append(f"{read.path.name} holds no outlines that can be used; nothing was imported.")
                failed += read.outlines.skipped
        if not usable:
            if failed:
                self.window.messages.warning(failed[0], "\n".join(failed[1:]))
            return
        taken = taken_values(workspace)
        first = usable[0]
        everything = first.outlines.same(outline for read in usable for outline in read.outlines)
        one = len(usable) == 1 and not failed
        dialog = MappingDialog(first.path, first.item.name, everything, self.window.model.classes, self.window, taken)
        if one:
            dialog.warn(self._doubt(first.path, first.item))
        else:
            dialog.name_many(len(usable), len({read.item.id for read in usable}))
            dialog.warn(f"{len(failed)} of the files cannot be used: {failed[0]}" if failed else "")
        if any(read.bounds is not None and not read.outlines.raster for read in usable):
            dialog.offer_origin("bounds" if any(read.origin == "bounds" for read in usable) else "slide")
        dialog.accepted.connect(lambda: self._take(dialog, usable, failed))
        self.window.show_dialog(dialog)

    def _doubt(self, path: Path, item: Item) -> str:
        """Return why the file may belong to another slide, "" when its name says that it belongs to this one."""
        from ..engine.transfer import matched

        name = path.parent.name if path.name in ("zarr.json", ".zattrs") else path.name
        workspace = self.window.workspace
        if workspace is None or item.name.casefold() in name.casefold():
            return ""
        other = matched(workspace.items(), path)
        if other is not None and other.id != item.id:
            return f"The file is named like the slide {other.name}, but would go onto {item.name}, which is open."
        return f"No slide is named like this file. It would go onto {item.name}, which is open."

    def _take(self, dialog: MappingDialog, reads: list[Read], failed: list[str]) -> None:
        origin = dialog.origin()
        for read in reads:
            if origin is None:
                read.origin = "slide" if read.bounds is None else read.origin
            elif read.bounds is not None and not read.outlines.raster:
                read.origin = origin
            if read.origin == "bounds" and read.bounds is not None:
                read.outlines = read.outlines.moved(read.bounds[0], read.bounds[1])
        try:
            if len(reads) == 1 and not failed:
                self.paint(reads[0].item, reads[0].outlines, dialog.choices(), reads[0].path, dialog.with_marks())
            else:
                self._paint_many(reads, dialog.choices(), failed, dialog.with_marks())
        except OpsinError as error:
            self.window.messages.error(error)

    def _add_classes(self, workspace: Workspace, choices: dict[str, Target]) -> dict[int, LabelClass]:
        """Give the workspace the classes it does not have yet, before the first pixel of theirs; return them by value."""
        known = {c.value for c in workspace.classes}
        new = {c.value: c for c in choices.values() if isinstance(c, LabelClass) and c.value not in known}
        if new:
            # a label must not be without a class, whatever happens in between
            workspace.set_classes([*workspace.classes, *new.values()])
        return new

    def _paint_many(self, reads: list[Read], choices: dict[str, Target], failed: list[str], marks: bool) -> None:
        """Paint each file into its slide, one undo step each, with a sheet that shows how far it is."""
        from ..engine.transfer import Step
        from .transfer import Transfer

        workspace = self.window.workspace
        if workspace is None:
            return
        self._add_classes(workspace, choices)

        def steps(inner: Inner) -> Iterator[Step]:
            for read in reads:
                try:
                    report = _paint(workspace, read.item, read.outlines, choices, read.path, marks)
                    lines = [f"  {line}" for line in report.details]
                    yield Step(read.path.name, "\n".join([report.tell(read.item.name), *lines]))
                except (OpsinError, OSError) as error:
                    yield Step(read.path.name, str(error), failed=True)

        def finished(done: list[Step], cancelled: bool) -> None:
            good = [step for step in done if not step.failed]
            bad = [*failed, *(f"{step.name}: {step.text}" for step in done if step.failed)]
            rest = f" {len(reads) - len(done)} were not imported, as you cancelled." if cancelled else ""
            unusable = f" {len(bad)} could not be imported." if bad else ""
            files = "1 file" if len(good) == 1 else f"{len(good):,} files"
            kind = self.window.messages.warning if bad or cancelled else self.window.messages.success
            kind(
                f"Imported {files}, each one step of Undo on its slide.{unusable}{rest}",
                "\n".join([*bad, *(step.text for step in good)]),
            )

        Transfer(self.window, "Importing annotations", len(reads), steps, finished)

    def paint(self, item: Item, outlines: Outlines, choices: dict[str, Target], path: Path, marks: bool = True) -> None:
        """Paint outlines as one undo step.

        Parameters
        ----------
        choices : class name in the file -> class, "clear" or "skip"; classes that the workspace does not have are added.
        marks : add points, lines, measured areas and regions of interest too.
        """
        workspace = self.window.workspace
        if workspace is None:
            return
        new = self._add_classes(workspace, choices)

        def failed(error: BaseException) -> None:
            if isinstance(error, AnnotationError) and new:  # nothing has been painted
                workspace.set_classes([c for c in workspace.classes if c.value not in new])
            self.window.messages.error(error)

        in_background(
            lambda: _paint(workspace, item, outlines, choices, path, marks),
            done=lambda report: self._report(report, item, list(new.values())),
            failed=failed,
            owner=self,
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
        """Ask what is exported and how, then for the file or folder."""
        from ..engine.labels.frame import bounds_of
        from .export_dialog import ExportDialog

        workspace, item = self.window.workspace, self.window.item
        if workspace is None:
            return
        labelled = [one for one in workspace.items() if workspace.has_labels(one)]
        selected = [one for one in labelled if one.id in set(self.window.commands.room.slides.selected())]
        here = item is not None and any(one.id == item.id for one in labelled)
        if not labelled:
            self.window.messages.warning("There is nothing to export: no slide has labels yet.")
            return
        slide = self.window.model.slide
        cropped = None if slide is None else bounds_of(slide) is not None
        dialog = ExportDialog(
            shortened(item.name, 40) if item and here else "", len(selected), len(labelled), cropped, self.window
        )
        choose = {"this": [item] if item else [], "selected": selected, "all": labelled}
        dialog.accepted.connect(lambda: self._ask_target(dialog, choose[dialog.slides.currentData()]))
        self.window.show_dialog(dialog)

    def _ask_target(self, dialog: ExportDialog, items: list[Item]) -> None:
        kind, last = dialog.chosen_format, self.window.last_folder()
        if dialog.many:
            text = QFileDialog.getExistingDirectory(self.window, "Folder for the files", last)
        else:
            name = str(Path(last) / f"{items[0].name}{kind.ending}")
            text, _ = QFileDialog.getSaveFileName(
                self.window, "Export annotations", name, f"{kind.title} (*{kind.ending})"
            )
        if not text:
            return
        path = Path(text)
        self.window.remember_folder(path if dialog.many else path.parent)
        if not dialog.many and not path.suffix:
            path = path.with_name(path.name + kind.ending)
        self.export(dialog, items, path)

    def export(self, dialog: ExportDialog, items: list[Item], path: Path) -> None:
        """Write what the dialog says; `path` is the file, or the folder where there are many slides."""
        from ..engine.transfer import Step, export_item, export_items
        from .transfer import Transfer

        workspace = self.window.workspace
        if workspace is None:
            return
        kind, origin, options, many = dialog.chosen_format, dialog.chosen_origin, dialog.options, dialog.many
        numbered = dialog.numbered.isChecked()

        def steps(inner: Inner) -> Iterator[Step]:
            if many:
                yield from export_items(workspace, items, path, kind, origin, options, numbered, inner)
            else:
                done = export_item(workspace, items[0], path, kind, origin, options, inner)
                yield Step(items[0].name, done.sentence, path=path)

        def finished(done: list[Step], cancelled: bool) -> None:
            self._exported(done, cancelled, path, many)

        Transfer(self.window, "Exporting annotations", len(items), steps, finished)

    def _exported(self, done: list[Step], cancelled: bool, path: Path, many: bool) -> None:
        if not many:
            if done:
                wrote, _, left = done[0].text.partition("; ")
                self.window.messages.success(f"Wrote {wrote} to {path}.{_left_out(left)}")
            else:
                self.window.messages.warning("The export was cancelled; nothing was written.")
            return
        good, bad = [step for step in done if not step.failed], [step for step in done if step.failed]
        files = "1 file" if len(good) == 1 else f"{len(good):,} files"
        text = f"Wrote {files} to {path}."
        text += f" {len(bad)} could not be written." if bad else ""
        text += " The rest was cancelled." if cancelled else ""
        kind = self.window.messages.warning if bad or cancelled else self.window.messages.success
        kind(text, "\n".join([*(f"{step.name}: {step.text}" for step in bad), *(step.text for step in good)]))

    def export_file(self, path: Path) -> None:
        """Write the annotations of the open slide as the name says; in the background."""
        from ..engine.labels.formats import format_of
        from ..engine.transfer import Step, export_item
        from .transfer import Transfer

        item, workspace, kind = self.window.item, self.window.workspace, format_of(path)
        if item is None or workspace is None or kind is None:
            return

        def steps(inner: Inner) -> Iterator[Step]:
            done = export_item(workspace, item, path, kind, inner=inner)
            yield Step(item.name, done.sentence, path=path)

        Transfer(
            self.window, "Exporting annotations", 1, steps,
            lambda done, cancelled: self._exported(done, cancelled, path, False),
        )  # fmt: skip


def _read(workspace: Workspace, path: Path, item: Item, inner: Inner | None = None) -> Read:
    """Read a file, and find out where its coordinates begin on a slide with a bounds box."""
    from ..engine.labels.exchange import fitted, read_annotations
    from ..engine.labels.frame import bounds_of
    from ..engine.transfer import origin_of

    outlines = fitted(read_annotations(path, item.name, inner), item.width, item.height)
    read = Read(path, item, outlines)
    if outlines and not outlines.raster:
        try:
            with workspace.open_slide(item) as slide:
                read.bounds = bounds_of(slide)
                read.origin = origin_of(outlines, slide)
        except (OpsinError, OSError):  # the slide is not there; its labels are
            read.bounds = None
    return read


def _left_out(text: str) -> str:
    """Return the sentence of "4 marks left out, which this format cannot hold" (see `formats.Exported`); "" of ""."""
    what, _, why = text.partition(" left out, which ")
    return (
        f" {what} {'was' if what.startswith('1 ') else 'were'} left out: {why.replace('cannot hold', 'cannot hold them')}."
        if what
        else ""
    )


def _paint(
    workspace: Workspace, item: Item, outlines: Outlines, choices: dict[str, Target], path: Path, marks: bool
) -> ImportReport:
    from ..engine.labels.exchange import import_annotations

    store = workspace.labels(item)
    report = import_annotations(store, outlines, choices, text=f"Import {path.name}", marks=marks)
    store.flush()
    workspace.update_marked(item.id)
    return report
