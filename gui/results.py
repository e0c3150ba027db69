"""Results of many slides: predicting a folder, the report, taking everything along."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QProgressDialog,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from ..widgets import theme
from ..widgets.background import in_background
from ..widgets.texts import MutedLabel
from .dialogs import ListDialog, Sheet

if TYPE_CHECKING:
    from .window import MainWindow

CALLED = "results.names"
"""Setting of a workspace: whether reports and exports call slides by their names."""
LISTED = 200


class NamesChoice(QWidget):
    """How slides are called in what leaves the workspace: by number or by name."""

    def __init__(self, names: bool) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.GAP)
        self.by_number = QRadioButton("By &number: no file name leaves the workspace, the key stays in it")
        self.by_name = QRadioButton("By na&me, as in the slide list")
        group = QButtonGroup(self)
        for button in (self.by_number, self.by_name):
            group.addButton(button)
            column.addWidget(button)
        (self.by_name if names else self.by_number).setChecked(True)


class ReportDialog(Sheet):
    """What a report is to say.

    Signals
    -------
    wanted(str, bool) : the slides to judge ("test", "val", "train", "") and whether names stand in it.
    """

    wanted = Signal(str, bool)

    def __init__(self, network: str, threshold: str, split: str, names: bool, parent: QWidget) -> None:
        from ..engine.judgement import SPLITS

        super().__init__("Report", parent)
        lead = QLabel(
            "One page with ROC curve, confusion matrix, the slide that sets the threshold, pictures with heat maps and "
            "the model card. It prints well and opens in any browser."
        )
        lead.setWordWrap(True)
        self.column.addWidget(lead)
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.PAD)
        grid.setVerticalSpacing(theme.PAD)
        grid.setColumnStretch(1, 1)
        self.split = QComboBox()
        for key, text in SPLITS.items():
            self.split.addItem(text, key)
        self.split.setCurrentIndex(self.split.findData(split))
        judged = QLabel("&Judged on")
        judged.setBuddy(self.split)
        for row, (label, widget) in enumerate(
            ((QLabel("Network"), QLabel(network)), (QLabel("Threshold"), QLabel(threshold)), (judged, self.split))
        ):
            grid.addWidget(label, row, 0)
            grid.addWidget(widget, row, 1)
        self.column.addLayout(grid)
        self.column.addWidget(QLabel("Slides are called"))
        self.names = NamesChoice(names)
        self.column.addWidget(self.names)
        self.add_buttons("Write report…", "Cancel")
        self.accepted.connect(lambda: self.wanted.emit(self.split.currentData(), self.names.by_name.isChecked()))
        self.fit(440)


class ExportDialog(Sheet):
    """What is taken along.

    Signals
    -------
    wanted(list, bool, bool) : kinds (keys of `engine.exports.KINDS`), whether only the selected slides, whether by name.
    """

    wanted = Signal(list, bool, bool)

    def __init__(self, selected: int, names: bool, parent: QWidget) -> None:
        from ..engine.exports import KINDS

        super().__init__("Export results", parent)
        lead = QLabel("Everything goes into a new folder; nothing that exists is overwritten.")
        lead.setWordWrap(True)
        self.column.addWidget(lead)
        self.boxes: dict[str, QCheckBox] = {}
        ways = QVBoxLayout()
        ways.setSpacing(theme.GAP)
        for kind, text in KINDS.items():
            box = self.boxes[kind] = QCheckBox(text)
            box.setChecked(kind in ("report", "table", ".tif", ".geojson"))
            box.toggled.connect(self._enable)
            ways.addWidget(box)
        self.column.addLayout(ways)
        self.only = QCheckBox(f"Heat maps and outlines of the {selected} selected slides only")
        self.only.setVisible(selected > 0)
        self.column.addWidget(self.only)
        self.column.addWidget(QLabel("Slides and their files are called"))
        self.names = NamesChoice(names)
        self.column.addWidget(self.names)
        self.column.addWidget(
            MutedLabel("Label and macro images of the slide files are never among what is written.", wrap=True)
        )
        self.buttons = self.add_buttons("Choose folder…", "Cancel")
        self.accepted.connect(self._say)
        self.fit(440)

    def _enable(self) -> None:
        on = any(box.isChecked() for box in self.boxes.values())
        for button in self.buttons.findChildren(QPushButton):
            if button.property("kind") == "primary":
                button.setEnabled(on)

    def _say(self) -> None:
        kinds = [kind for kind, box in self.boxes.items() if box.isChecked()]
        self.wanted.emit(kinds, self.only.isChecked(), self.names.by_name.isChecked())


class Results:
    """What the window does with results; actions and the results panel call it."""

    def __init__(self, window: MainWindow) -> None:
        self.window = window

    @property
    def panel(self) -> Any:
        assert self.window.room is not None
        return self.window.room.panel("results")

    # ---- predicting -----------------------------------------------------------------------------------------------

    def predict_all(self) -> None:
        """Predict all slides of the workspace; the panel shows how far it is."""
        self.window.commands.show_tab("results")
        self.panel.predict(None)

    def ask_folder(self) -> None:
        window = self.window
        folder = QFileDialog.getExistingDirectory(window, "Predict a folder of slides", window.last_folder())
        if folder:
            window.remember_folder(Path(folder))
            self.predict_folder(Path(folder))

    def predict_folder(self, folder: Path) -> None:
        """Add the slides of a folder to the workspace and predict them; what cannot be read is listed."""
        window, workspace = self.window, self.window.workspace
        if workspace is None:
            return

        def work() -> tuple[list[Any], list[tuple[str, str]]]:
            return workspace.add([folder]), list(workspace.rejected)

        def done(found: tuple[list[Any], list[tuple[str, str]]]) -> None:
            items, rejected = found
            if window.workspace is not workspace:
                return
            if rejected:
                head = f"{len(items)} slides of {folder.name} are predicted, {len(rejected)} could not be read:"
                window.show_dialog(ListDialog("Slides that could not be read", head, [t for _, t in rejected], window))
            elif not items:
                window.messages.warning(f"There are no slides directly in {folder}.")
            if items:
                window.commands.show_tab("results")
                self.panel.predict([item.id for item in items])

        in_background(work, done=done, failed=window.messages.error, owner=window)

    # ---- report ---------------------------------------------------------------------------------------------------

    def ask_report(self) -> None:
        """Ask what the report is to say, then where it goes."""
        panel, window = self.panel, self.window
        if not self._has_scores():
            return
        dialog = ReportDialog(
            panel.predictor.run.currentText(),
            panel.threshold_text.text(),
            panel.judge.split.currentData(),
            self._names(),
            window,
        )
        dialog.wanted.connect(self._ask_report_file)
        window.show_dialog(dialog)

    def _ask_report_file(self, split: str, names: bool) -> None:
        window = self.window
        start = str(Path(window.last_folder()) / "report.html")
        path, _ = QFileDialog.getSaveFileName(window, "Write report", start, "Web page (*.html)")
        if path:
            target = Path(path)
            self.write_report(target if target.suffix else target.with_suffix(".html"), split, names)

    def write_report(self, target: Path, split: str, names: bool) -> None:
        """Write the report in the background and offer to open it."""
        from ..engine.report import write_report

        window, workspace, panel = self.window, self.window.workspace, self.panel
        assert workspace is not None
        workspace.set_setting(CALLED, names)
        window.remember_folder(target.parent)
        window.messages.info(f"Writing {target.name} …")
        in_background(
            lambda: write_report(
                workspace,
                panel.predictor.run_id,
                target,
                split=split,
                threshold=panel.threshold,
                map_threshold=panel.map.threshold,
                names=names,
            ),
            done=lambda _: self._written(target),
            failed=window.messages.error,
            owner=window,
        )

    def _written(self, report: Path) -> None:
        self.window.messages.success(f"{report.name} is written.")
        self.open_path(report)

    def open_path(self, path: Path) -> None:
        """Show a page or a folder with the program that the system has for it."""
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(path))):
            self.window.messages.info(f"It lies at {path}.")

    # ---- everything -----------------------------------------------------------------------------------------------

    def ask_export(self) -> None:
        """Ask what is taken along, then where it goes."""
        if not self._has_scores():
            return
        dialog = ExportDialog(len(self.panel.table.selected_items()), self._names(), self.window)
        dialog.wanted.connect(self._ask_export_folder)
        self.window.show_dialog(dialog)

    def _ask_export_folder(self, kinds: list[str], only: bool, names: bool) -> None:
        window = self.window
        folder = QFileDialog.getExistingDirectory(window, "Folder for the results", window.last_folder())
        if folder:
            window.remember_folder(Path(folder))
            self.export(Path(folder), kinds, self.panel.table.selected_items() if only else None, names)

    def export(self, folder: Path, kinds: list[str], ids: list[str] | None, names: bool) -> Callable[[], None]:
        """Write results of many slides in the background, with a progress that can be cancelled; return what cancels it."""
        from ..engine.exports import Exported, export_results

        window, workspace, panel = self.window, self.window.workspace, self.panel
        assert workspace is not None
        workspace.set_setting(CALLED, names)
        sheet = QProgressDialog("Writing results …", "Cancel", 0, 1, window)
        sheet.setWindowTitle("Export results")
        sheet.setMinimumDuration(400)
        sheet.setAutoReset(False)

        def each(at: tuple[int, int, str]) -> None:
            sheet.setMaximum(max(1, at[1]))
            sheet.setValue(at[0])
            sheet.setLabelText(at[2])

        def done(found: Exported) -> None:
            sheet.deleteLater()
            files = "1 result" if found.written == 1 else f"{found.written} results"
            if found.problems:
                head = f"{files} written to {found.folder}; {len(found.problems)} could not be written:"
                window.show_dialog(ListDialog("Export results", head, found.problems[:LISTED], window))
            else:
                window.messages.success(f"{files} written to {found.folder}.")

        def failed(error: BaseException) -> None:
            sheet.deleteLater()
            window.messages.error(error)

        job = export_results(
            workspace,
            panel.predictor.run_id,
            folder,
            kinds,
            ids=ids,
            threshold=panel.threshold,
            map_threshold=panel.map.threshold,
            names=names,
        )

        def work() -> Generator[tuple[int, int, str], None, Exported]:
            return (yield from job)

        task = in_background(work, each=each, done=done, failed=failed, owner=window)

        def cancel() -> None:
            task.cancel()
            sheet.deleteLater()
            window.messages.info("The export was cancelled; what is written stays.")

        sheet.canceled.connect(cancel)
        return cancel

    def _names(self) -> bool:
        workspace = self.window.workspace
        return bool(workspace is not None and workspace.setting(CALLED, False))

    def _has_scores(self) -> bool:
        """Say what is missing where no slide has a score of the network that is chosen."""
        if any(row.score is not None for row in self.panel.table.rows.rows):
            return True
        self.window.commands.show_tab("results")
        self.window.messages.warning(
            "The network chosen under Results has not scored any slide yet: predict slides first."
        )
        return False
