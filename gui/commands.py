"""What the actions do: one short method each. Longer work lies in `window.py`, `exchange.py` and the widgets."""

from __future__ import annotations

import sys
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QProcess, Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QMessageBox

from ..engine.errors import OpsinError
from ..widgets.background import in_background
from ..widgets.confirm import Question
from .dialogs import AboutDialog, GuideDialog, ListDialog, ResolutionDialog, SettingsDialog
from .opening import DATABASE
from .palette import CommandPalette
from .restore import Restoring
from .results import Results
from .settings import config_folder
from .slidework import SlideWork
from .undoing import Undoing

if TYPE_CHECKING:
    from .room import Room
    from .window import MainWindow

NO_WORKSPACE = "Open a workspace or a slide first."
NO_SLIDE = "Open a slide first."
MOST_SHOWN = 6
SPLIT_WORDS = {"train": "for training", "val": "for validation", "test": "for testing"}


class Commands:
    """The host of the actions (see `actions.Host`)."""

    def __init__(self, window: MainWindow) -> None:
        self.window = window
        self.slides, self.restoring, self.undoing = SlideWork(window), Restoring(window), Undoing(window)
        self.results = Results(window)

    @property
    def model(self) -> Any:
        return self.window.model

    @property
    def room(self) -> Room:
        """The room; there is one whenever an action that uses it is enabled."""
        assert self.window.room is not None
        return self.window.room

    @cached_property
    def regions(self) -> Any:
        from .regions import Regions

        return Regions(self.window)

    @property
    def exchange(self) -> Any:
        return self.window.exchange

    @property
    def looking(self) -> Any:
        return self.window.looking

    @cached_property
    def marks(self) -> Any:
        from .marks import Marks

        return Marks(self.window)

    @cached_property
    def correct(self) -> Any:
        from .correct import Correct

        return Correct(self.window)

    # ---- what is possible, what is on ---------------------------------------------------------------------------

    def lacking(self, need: str) -> str:
        """Return why something that needs `need` cannot be done now, "" when it can."""
        window, model = self.window, self.window.model
        if window.workspace is None:
            return NO_WORKSPACE
        if need == "workspace":
            return ""
        if need in ("undo", "redo") and self.undoing.of_slides(need):
            return self.undoing.lacking(need)
        if need == "job":
            return "" if window.running_jobs() else "No job is running."
        if need.startswith("class"):
            number = int(need.removeprefix("class"))
            return "" if self._class_of(number) is not None else f"No class has the key {number}."
        if window.item is None:
            return NO_SLIDE
        labels = model.labels
        if labels is not None and labels.readonly and need in ("undo", "redo"):
            return "The labels of this slide can only be looked at now."
        if need == "labels":
            return "" if labels is not None else NO_SLIDE
        if need == "undo":
            return "" if labels is not None and labels.can_undo else "There is nothing to undo."
        if need == "redo":
            return "" if labels is not None and labels.can_redo else "There is nothing to redo."
        if need == "channels":
            return "" if model.display else "This slide has no channels of its own: it is a colour picture."
        if need == "overlay":
            return "" if model.overlays else "This slide has no heat map yet: predict on it first."
        return ""

    def is_on(self, id: str) -> bool:
        """Return whether a checkable action is on."""
        window, model = self.window, self.window.model
        kind, _, rest = id.partition(".")
        item = window.item
        if kind == "tool":
            return bool(model.tool == rest)
        if kind == "class":
            c = self._class_of(int(rest)) if rest.isdigit() else None
            return c is not None and c.value == model.label
        if id == "label.outlined":
            return bool(item and item.outlined)
        if kind == "label":
            return item is not None and (item.label or "unknown") == rest
        if kind == "review":
            return item is not None and item.review == rest
        if kind == "split":
            return item is not None and (item.split or "none") == rest
        if id.startswith("view.theme."):
            return id == f"view.theme.{window.settings.theme}"
        if id.startswith("view.text"):
            return id == f"view.text{window.settings.text_size}"
        return {
            "view.labels": model.show_labels,
            "view.heat": any(overlay.visible for overlay in model.overlays),
            "view.solo": model.solo == model.label,
            "view.hatch": model.hatch,
            "paint.unlabelled": model.only_unlabelled,
            "view.full": window.isFullScreen(),
            "view.flip": model.mirrored,
            "marks.show": model.show_marks,
            "draw.keys": self.regions.drawing_by_keys,
            "view.overview": window.settings.overview,
        }.get(id, False)

    def _class_of(self, number: int) -> Any:
        """The class that the digit chooses: by its key, else (a class without a key) by its place."""
        classes = self.window.model.classes
        for c in classes:
            if c.key == str(number):
                return c
        return classes[number - 1] if number <= len(classes) and not classes[number - 1].key else None

    # ---- file ---------------------------------------------------------------------------------------------------

    def ask_workspace(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.window, "Open workspace", self.window.last_folder())
        if not folder:
            return
        self.window.remember_folder(Path(folder).parent)
        self.open_folder(Path(folder))

    def open_folder(self, folder: Path) -> None:
        """Open a workspace, or the slides in a folder that is none."""
        from ..engine.data.sets import holds_slides

        known = [folder / DATABASE, folder / "opsin" / DATABASE]
        if not any(path.is_file() for path in known) and not holds_slides(folder):
            self.window.messages.warning(
                f"{folder} is no workspace and holds no slides; File › New workspace makes one there."
            )
            return
        if (
            not known[0].is_file()
            and self.window.workspace is not None
            and not self.window.close_workspace(start=False)
        ):
            return
        self.window.open_paths([folder])

    def ask_new_workspace(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.window, "Folder of the new workspace", self.window.last_folder())
        if folder:
            self.window.remember_folder(Path(folder).parent)
            self.window.open_workspace(Path(folder))

    def ask_slides(self) -> None:
        from ..engine.data.slides import SUFFIXES

        kinds = "Slides and pictures (" + " ".join(f"*{suffix}" for suffix in SUFFIXES) + ");;All files (*)"
        paths, _ = QFileDialog.getOpenFileNames(self.window, "Open slides", self.window.last_folder(), kinds)
        if paths:
            self.window.remember_folder(Path(paths[0]).parent)
            self.window.open_paths([Path(path) for path in paths])

    def ask_slide_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.window, "Folder of slides", self.window.last_folder())
        if folder:
            self.window.remember_folder(Path(folder))
            self.window.open_paths([Path(folder)])

    def make_sample(self) -> None:
        self.window.make_sample()

    def ask_label_table(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self.window, "Import slide labels", self.window.last_folder(), "Tables (*.csv);;All files (*)"
        )
        if path:
            self.window.remember_folder(Path(path).parent)
            self.import_label_table(Path(path))

    def import_label_table(self, path: Path) -> None:
        """Read slide labels, splits and patients from a CSV file, in the background; ask before known ones give way."""
        window = self.window
        workspace = window.workspace
        assert workspace is not None

        def read() -> list[str]:
            return workspace.overwritten(workspace.read_labels_csv(path)[0])

        def ask(changed: list[str]) -> None:
            if not changed:
                self._take_label_table(path, keep=False)
                return
            what = "1 slide" if len(changed) == 1 else f"{len(changed)} slides"
            more = [f"and {len(changed) - MOST_SHOWN} more"] if len(changed) > MOST_SHOWN else []
            box = Question(
                "Import slide labels",
                f"{path.name} says something else of {what} than you did. Overwrite that?",
                "\n".join([*changed[:MOST_SHOWN], *more]),
                window,
            )
            over = box.add("Overwrite", QMessageBox.ButtonRole.DestructiveRole, "danger")
            fill = box.add("Fill gaps only", QMessageBox.ButtonRole.AcceptRole)
            box.add_stay()
            answers = {over: False, fill: True}
            box.buttonClicked.connect(
                lambda button: self._take_label_table(path, answers[button]) if button in answers else None
            )
            window.show_dialog(box)

        in_background(read, done=ask, failed=window.messages.error, owner=window)

    def _take_label_table(self, path: Path, keep: bool) -> None:
        window = self.window
        if window.workspace is None:
            return

        def done(found: tuple[int, list[str]]) -> None:
            count, unused = found
            if count:
                window.messages.success(f"{path.name}: labels for {count} slide{'' if count == 1 else 's'} taken over.")
            else:
                window.messages.warning(f"{path.name} was not used: none of its rows says something of a slide here.")
            if unused:
                head = f"What of {path.name} was not used, and why:"
                window.show_dialog(ListDialog("Rows not used", head, unused, window))

        in_background(
            window.workspace.import_labels_csv, path, keep, done=done, failed=window.messages.error, owner=window
        )

    def open_in_napari(self) -> None:
        window = self.window
        assert window.workspace is not None and window.item is not None
        paths = [str(window.workspace.slide_path(window.item))]
        if window.workspace.has_labels(window.item):
            paths.append(str(window.workspace.label_path(window.item.id, window.workspace.reader)))
        paths += self.looking.layers_for_napari()
        started = QProcess.startDetached(sys.executable, ["-m", "opsin.widgets.napari_plugin", *paths])
        if started:
            window.messages.info("napari is starting with this slide; it takes some seconds.")
        else:
            window.messages.failed("napari could not be started; 'opsin doctor' says what is missing.")

    def show_settings(self) -> None:
        settings = self.window.settings
        dialog = SettingsDialog(settings.theme, settings.text_size, str(config_folder()), self.window)
        dialog.ask_keys(self.window.keys.presets, settings.key_preset, self.window.keys.set_preset)
        dialog.ask_name(settings.reviewer_name, self.slides.set_reviewer)
        dialog.theme_chosen.connect(self.set_theme)
        dialog.size_chosen.connect(self.set_text_size)
        self.window.show_dialog(dialog)

    def close_workspace(self) -> None:
        self.window.close_workspace()

    def close(self) -> None:
        self.window.close()

    # ---- edit ---------------------------------------------------------------------------------------------------

    def remove_slides(self, ids: list[str] | None = None) -> None:
        """Ask, then take the selected slides (or the open one) out of the workspace."""
        window = self.window
        if window.workspace is None:
            return
        ids = ids or self.room.slides.selected() or ([window.item.id] if window.item else [])
        if not ids:
            return
        what = f"'{window.workspace.item(ids[0]).name}'" if len(ids) == 1 else f"{len(ids)} slides"
        box = Question(
            "Remove",
            f"Remove {what} from the workspace?",
            "Slide files stay where they are; labels move to the folder labels/removed.",
            window,
        )
        remove = box.add("Remove", QMessageBox.ButtonRole.DestructiveRole, "danger")
        box.add_stay()
        box.buttonClicked.connect(lambda button: window.remove_items(ids) if button is remove else None)
        window.show_dialog(box)

    def show_palette(self) -> None:
        palette = CommandPalette(self.window.book, self.window)
        palette.chosen.connect(lambda id: self.window.book[id].trigger())
        palette.show()

    # ---- view ---------------------------------------------------------------------------------------------------

    def zoom_by(self, factor: float) -> None:
        self.model.zoom_at(factor)

    def zoom_to(self, magnification: float) -> None:
        self.window.looking.zoom_to(magnification)

    def toggle_labels(self) -> None:
        self.model.show_labels = not self.model.show_labels

    def toggle_overlays(self) -> None:
        on = not any(overlay.visible for overlay in self.model.overlays)
        for overlay in list(self.model.overlays):
            self.model.update_overlay(overlay.name, visible=on)

    def show_adjust(self) -> None:
        self.room.bar.show_adjust()

    def ask_mpp(self) -> None:
        window = self.window
        if window.item is None:
            return
        dialog = ResolutionDialog(window.item.name, self.model.mpp, self.model.mpp_source, window)
        dialog.chosen.connect(window.set_mpp)
        window.show_dialog(dialog)

    def step_slide(self, step: int) -> None:
        current = self.window.item
        other = self.room.slides.neighbour(current.id if current else None, step)
        if other is not None:
            self.window.open_item(other)

    def set_theme(self, name: str) -> None:
        self.window.settings.theme = name
        self.window.apply_look()

    def set_text_size(self, size: int) -> None:
        self.window.settings.text_size = size
        self.window.apply_look()

    def toggle_full_screen(self) -> None:
        self.window.setWindowState(self.window.windowState() ^ Qt.WindowState.WindowFullScreen)

    # ---- annotate -----------------------------------------------------------------------------------------------

    def set_tool(self, tool: str) -> None:
        self.model.tool = tool

    def select_class(self, number: int) -> None:
        c = self._class_of(number)
        if c is not None:
            self.model.label = c.value

    def add_class(self) -> None:
        self.show_tab("annotate")
        self.room.annotations.add_class()

    def _ids(self) -> list[str]:
        """The slides that a label or split is given to: those selected while the list has the focus, else the open one."""
        window = self.window
        if self.room.slides.list.hasFocus() and self.room.slides.selected():
            return self.room.slides.selected()
        return [window.item.id] if window.item is not None else []

    def set_slide_label(self, label: str) -> None:
        self.room.slides.set_label(label or None, self._ids())

    def set_split(self, split: str) -> None:
        self.room.slides.set_split(split or None, self._ids())

    def toggle_outlined(self) -> None:
        if self.window.item is not None:
            self.room.slides.set_outlined(not self.window.item.outlined, self._ids())

    def assign_splits(self) -> None:
        """Share the slides out; ask first where that would change splits that are there."""
        window = self.window
        assert window.workspace is not None
        items = window.workspace.items()
        given = sum(item.split is not None for item in items)
        if not given:
            self._assign_splits(keep=False)
            return
        what = "1 slide has" if given == 1 else f"{given} slides have"
        box = Question(
            "Assign splits",
            f"{what} a split already. Draw anew for all slides?",
            "Undo in the list of slides brings back the splits that are there.",
            window,
        )
        anew = box.add("Draw anew for all", QMessageBox.ButtonRole.DestructiveRole, "danger")
        answers = {anew: False}
        if given < len(items):
            answers[box.add("Only those without", QMessageBox.ButtonRole.AcceptRole)] = True
        box.add_stay()
        box.buttonClicked.connect(lambda button: self._assign_splits(answers[button]) if button in answers else None)
        window.show_dialog(box)

    def _assign_splits(self, keep: bool) -> None:
        if self.window.workspace is None:
            return
        try:
            self.window.workspace.assign_splits(keep=keep)
        except OpsinError as error:
            self.window.messages.error(error)
            return
        counts = Counter(item.split for item in self.window.workspace.items())
        parts = [f"{counts[split]} {name}" for split, name in SPLIT_WORDS.items() if counts[split]]
        self.window.messages.success(f"Splits assigned: {', '.join(parts)}.")

    # ---- train --------------------------------------------------------------------------------------------------

    def show_tab(self, name: str) -> None:
        self.room.show_tab(name)

    def pause_job(self) -> None:
        for job in self.window.running_jobs():
            if job.state in ("paused", "pausing"):
                job.resume()
            else:
                job.pause()

    def stop_job(self) -> None:
        for job in self.window.running_jobs():
            job.stop()

    def open_runs_folder(self) -> None:
        assert self.window.workspace is not None
        self._show_folder(self.window.workspace.folder / "runs")

    # ---- window, help -------------------------------------------------------------------------------------------

    def show_slides(self) -> None:
        self.room.show_slides()

    def focus_view(self) -> None:
        self.room.view.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def focus_message(self) -> None:
        self.window.banners.focus_newest()

    def toggle_panels(self) -> None:
        self.room.toggle_docks()

    def reset_layout(self) -> None:
        if self.window.room is not None:
            self.room.reset()

    def show_guide(self) -> None:
        self.window.show_dialog(GuideDialog(self.window))

    def show_shortcuts(self) -> None:
        self.window.keys.show()

    def show_doctor(self) -> None:
        from ..engine.doctor import report

        window = self.window
        window.messages.info("Checking this machine; this takes some seconds.")

        def done(found: tuple[list[str], bool]) -> None:
            lines, good = found
            head = "Everything that Opsin needs works here." if good else "Something is missing here; see below."
            window.show_dialog(ListDialog("Check this machine", head, ["\n".join(lines)], window))

        in_background(report, done=done, failed=window.messages.error, owner=window)

    def open_log_folder(self) -> None:
        self._show_folder(config_folder())

    def show_about(self) -> None:
        from .. import __version__

        self.window.show_dialog(AboutDialog(__version__, self.window))

    def _show_folder(self, folder: Path) -> None:
        if not folder.is_dir() or not QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))):
            self.window.messages.info(f"The folder is {folder}.")
