"""Everything one can do, in ONE list: menus, shortcuts, the command palette and the list of shortcuts come from it.

An action names the method of the main window that does it (`call`, dots allowed) and what must be there first (`needs`);
where that is missing it is greyed, and palette and tooltip say why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QAction, QActionGroup, QKeySequence
from qtpy.QtWidgets import QMenu, QMenuBar, QWidget

from ..widgets import theme
from ..widgets.slide.toolset import TOOLSET

MENUS = ("File", "Edit", "View", "Annotate", "Train", "Window", "Help")


@dataclass(frozen=True)
class Action:
    """One entry.

    Attributes
    ----------
    id : "file.open"; unique.
    text : as in the menu; an ellipsis says that a question follows.
    menu : "View" or with a submenu "View/Theme".
    call, argument : method of the main window and what it gets (nothing when None).
    keys : portable shortcuts, the first one is shown.
    needs : "", "workspace", "slide", "labels", "undo", "redo", "job", "overlay", "channels" or "class<N>".
    check : "" for a plain entry, "box" for on/off, else the name of a group of which one is on.
    help : one sentence for tooltip and palette.
    bar : a line above it in the menu.
    """

    id: str
    text: str
    menu: str
    call: str
    argument: Any = None
    keys: tuple[str, ...] = ()
    needs: str = ""
    check: str = ""
    help: str = ""
    icon: str = ""
    bar: bool = False


def _file() -> list[Action]:
    m = "File"
    return [
        Action("file.open", "Open workspace…", m, "ask_workspace", keys=("Ctrl+O",), icon="folder",
               help="A workspace is a folder that keeps labels, runs and results of your slides."),
        Action("file.new", "New workspace…", m, "ask_new_workspace", keys=("Ctrl+N",),
               help="Choose an empty folder; slides are only named in it, never copied or changed."),
        Action("file.slides", "Open slides…", m, "ask_slides", keys=("Ctrl+Shift+O",), icon="slide",
               help="Adds slide files to the open workspace, or makes one beside them."),
        Action("file.folder", "Open folder of slides…", m, "ask_slide_folder",
               help="Adds all slides that lie directly in a folder."),
        Action("file.sample", "Try a sample", m, "make_sample", icon="sample",
               help="Makes a few artificial slides with known lesions and opens them."),
        Action("file.import", "Import annotations…", m, "exchange.ask_import", keys=("Ctrl+I",), needs="slide", icon="import",
               help="ASAP XML, QuPath GeoJSON, COCO or masks; several files go into the slides of their names.", bar=True),
        Action("file.import_folder", "Import annotations from folder…", m, "exchange.ask_import_folder", needs="slide",
               help="OME-Zarr labels, or all annotation files of a folder into the slides of their names."),
        Action("file.export", "Export annotations…", m, "exchange.ask_export", keys=("Ctrl+E",), needs="workspace", icon="export",
               help="Of this slide or all, as GeoJSON, ASAP XML, COCO, OME-Zarr, mask TIFF or PNG; in full-resolution coordinates."),
        Action("file.csv", "Import slide labels from table…", m, "ask_label_table", needs="workspace",
               help="A CSV file with slide names, labels and, if you like, splits and patients."),
        Action("file.table", "Export slide table…", m, "slides.ask_table", needs="workspace",
               help="As CSV: name, label, split, patient, review, marked share, score."),
        Action("file.moved", "Find moved files…", m, "slides.find_moved", needs="workspace", bar=True,
               help="Looks for slides that are not where they were, by name and by content."),
        Action("file.restore", "Restore a backup…", m, "restoring.ask", needs="workspace",
               help="Three generations are kept of slide list and labels, an hour apart or more."),
        Action("file.napari", "Open slide in napari", m, "open_in_napari", needs="slide",
               help="Shows slide and labels as layers in a napari of its own."),
        Action("file.settings", "Settings…", m, "show_settings", keys=("Ctrl+,",), bar=True),
        Action("file.close", "Close workspace", m, "close_workspace", keys=("Ctrl+W",), needs="workspace",
               help="Back to the start page; everything is saved already."),
        Action("file.quit", "Quit", m, "close", keys=("Ctrl+Q",)),
    ]  # fmt: skip


def _edit() -> list[Action]:
    m = "Edit"
    return [
        Action("edit.undo", "Undo", m, "undoing.undo", keys=("Ctrl+Z",), needs="undo", icon="undo",
               help="In the list of slides what was said of slides, else what was painted; without limit, also after a restart."),
        Action("edit.redo", "Redo", m, "undoing.redo", keys=("Ctrl+Shift+Z", "Ctrl+Y"), needs="redo", icon="redo"),
        Action("edit.patient", "Patient…", m, "slides.ask_patient", needs="slide", bar=True,
               help="Of the selected slides; slides of one patient stay in the same split."),
        Action("edit.patients", "Patients from slide names…", m, "slides.guess_patients", needs="workspace",
               help="By a pattern that you see and confirm."),
        Action("edit.remove", "Remove slide from workspace…", m, "remove_slides", needs="slide", icon="trash", bar=True,
               help="The slide file stays where it is; its labels move to the folder labels/removed."),
        Action("edit.palette", "Find a command…", m, "show_palette", keys=("Ctrl+Shift+P",), icon="search", bar=True,
               help="Everything one can do, by name."),
    ]  # fmt: skip


def _view() -> list[Action]:
    m = "View"
    scales = [
        Action(f"view.zoom{value}", f"{value}x", f"{m}/Magnification", "zoom_to", value, keys=(f"Alt+{number}",),
               needs="slide")
        for number, value in enumerate((1, 2, 5, 10, 20, 40), start=1)
    ]  # fmt: skip
    turns = [
        Action("view.turn.right", "Turn right by 90°", f"{m}/Rotation", "looking.turn", 90, keys=("Alt+Right",), needs="slide"),
        Action("view.turn.left", "Turn left by 90°", f"{m}/Rotation", "looking.turn", -90, keys=("Alt+Left",), needs="slide"),
        Action("view.turn.ask", "Rotate by an angle…", f"{m}/Rotation", "looking.ask_rotation", keys=("Shift+R",),
               needs="slide", help="With the mouse: Shift+Alt+drag. Kept for this slide; labels and exports stay as scanned."),
        Action("view.flip", "Flip left and right", f"{m}/Rotation", "looking.flip", keys=("Shift+F",), needs="slide",
               check="box"),
        Action("view.upright", "Reset rotation", f"{m}/Rotation", "looking.upright", keys=("Alt+Home",), needs="slide",
               help="As scanned: not turned, not flipped.", bar=True),
    ]  # fmt: skip
    themes = [
        Action(f"view.theme.{name}", text, f"{m}/Theme", "set_theme", name, check="theme")
        for name, text in (("system", "Like the system"), ("light", "Light"), ("dark", "Dark"))
    ]
    sizes = [
        Action(f"view.text{size}", f"{size} %", f"{m}/Text size", "set_text_size", size, check="text")
        for size in theme.TEXT_SIZES
    ]
    return [
        Action("view.fit", "Fit slide", m, "model.fit", keys=("F",), needs="slide", icon="fit"),
        Action("view.in", "Zoom in", m, "zoom_by", 1.5, keys=("+", "="), needs="slide"),
        Action("view.out", "Zoom out", m, "zoom_by", 1 / 1.5, keys=("-",), needs="slide"),
        *scales,
        *turns,
        Action("view.goto", "Go to place…", m, "looking.ask_place", keys=("Ctrl+G",), needs="slide", bar=True,
               help="Two numbers in pixels, µm or mm."),
        Action("view.copy", "Copy place under the pointer", m, "looking.copy_place", keys=("Ctrl+Shift+C",), needs="slide"),
        Action("view.labels", "Show annotations", m, "toggle_labels", keys=("A",), needs="slide", check="box", bar=True),
        Action("view.solo", "Show current class alone", m, "regions.toggle_solo", keys=("Shift+L",), needs="slide",
               check="box", help="Alt + click on the eye of a class does the same."),
        Action("view.hatch", "Show patterns on classes", m, "regions.toggle_hatch", needs="slide", check="box",
               help="Classes are told apart without their colours too."),
        Action("view.heat", "Show heat maps", m, "toggle_overlays", keys=("H",), needs="overlay", check="box"),
        Action("view.adjust", "Brightness and contrast…", m, "show_adjust", keys=("Shift+C",), needs="slide",
               icon="brightness", help="Of all slides, and for the eyes only: what is trained on stays as scanned."),
        Action("view.channels", "Channels…", m, "looking.show_channels", keys=("Shift+K",), needs="channels", icon="channels",
               help="Of a fluorescence slide: which are shown, in which colour, between which values."),
        Action("view.overview", "Show overview", m, "looking.toggle_overview", keys=("Shift+V",), needs="workspace",
               check="box", help="The small map; it hides by itself while the whole slide is in sight."),
        Action("view.mpp", "Resolution (µm per pixel)…", m, "ask_mpp", needs="slide",
               help="Shows where the value comes from and lets you correct it for this slide."),
        Action("view.next", "Next slide", m, "step_slide", 1, keys=("Alt+Down",), needs="workspace", bar=True),
        Action("view.previous", "Previous slide", m, "step_slide", -1, keys=("Alt+Up",), needs="workspace"),
        Action("view.todo", "Next slide to do", m, "slides.next_to_do", keys=("Alt+PgDown",), needs="workspace",
               help="The next slide in the list that is not reviewed yet."),
        *themes,
        *sizes,
        Action("view.full", "Full screen", m, "toggle_full_screen", keys=("F11",), check="box"),
    ]  # fmt: skip


def _annotate() -> list[Action]:
    m = "Annotate"
    tools = [
        Action(f"tool.{tool.name}", tool.title, m, "set_tool", tool.name, keys=(tool.key,), needs="slide", check="tool",
               icon=tool.name, help=tool.help)
        for tool in TOOLSET
    ]  # fmt: skip
    regions = [
        Action("region.recolour", "Give region to current class", f"{m}/Region", "regions.recolour", keys=("Shift+I",),
               needs="slide", help="The region under the pointer, or the one picked last; the same for those below."),
        Action("region.holes", "Fill holes", f"{m}/Region", "regions.fill_holes", keys=("Shift+H",), needs="slide",
               help="What is unlabelled inside the region; labels of other classes stay."),
        Action("region.grow", "Grow", f"{m}/Region", "regions.grow", keys=("Shift+G",), needs="slide",
               help="All around, by as much as the tool box says."),
        Action("region.shrink", "Shrink", f"{m}/Region", "regions.shrink", keys=("Shift+S",), needs="slide",
               help="All around, by as much as the tool box says."),
        Action("region.remove", "Remove region", f"{m}/Region", "regions.remove", keys=("Shift+Del",), needs="slide"),
    ]  # fmt: skip
    classes = [
        Action(f"class.{number}", f"Class {number}", f"{m}/Class", "select_class", number, keys=(str(number),),
               needs=f"class{number}", check="class")
        for number in range(1, 10)
    ]  # fmt: skip
    labels = [
        Action(f"label.{name or 'unknown'}", text, f"{m}/Slide label", "set_slide_label", name or "", keys=(key,),
               needs="slide", check="label", help="What is known of the slide as a whole.")
        for name, text, key in (("positive", "Positive", "Shift+P"), ("negative", "Negative", "Shift+N"),
                                (None, "No label", "Shift+U"))
    ]  # fmt: skip
    reviews = [
        Action(f"review.{name}", text, f"{m}/Review", "slides.set_review", name, keys=keys, needs="slide", check="review",
               help="How far the slide is; a later edit of its labels takes a review back.")
        for name, text, keys in (("to do", "To do", ()), ("marked", "Marked", ()), ("reviewed", "Reviewed", ("Shift+D",)))
    ]  # fmt: skip
    splits = [
        Action(f"split.{name or 'none'}", text, f"{m}/Split", "set_split", name or "", needs="slide", check="split")
        for name, text in (("train", "Training"), ("val", "Validation"), ("test", "Test"), (None, "None"))
    ]
    sub = f"{m}/Markers and measurements"
    marks = [
        Action("marks.measure", "Measure region under pointer", sub, "marks.measure", keys=("Shift+M",), needs="labels",
               help="Area and perimeter of what hangs together of one class there."),
        Action("marks.next", "Next marker", sub, "marks.step", 1, keys=("Ctrl+.",), needs="labels", bar=True),
        Action("marks.previous", "Previous marker", sub, "marks.step", -1, keys=("Ctrl+Shift+.",), needs="labels"),
        Action("marks.list", "List of markers and measurements", sub, "marks.show_list", keys=("Ctrl+L",), needs="labels"),
        Action("marks.edit", "Edit note and class…", sub, "marks.edit", keys=("Ctrl+M",), needs="labels",
               help="Of the marker or measurement that is chosen.", bar=True),
        Action("marks.remove", "Delete chosen marker or measurement", sub, "marks.remove", needs="labels"),
        Action("marks.clear", "Remove all regions of interest", sub, "marks.clear_regions", needs="labels",
               help="All of the slide counts again; Undo brings them back."),
        Action("marks.show", "Show markers and measurements", sub, "marks.toggle", keys=("Shift+A",), needs="slide",
               check="box", bar=True, help="Regions of interest stay in sight: outside of them nothing counts."),
    ]  # fmt: skip
    sub = f"{m}/Readers"
    compared = [
        Action("readers.compare", "Compare readers", sub, "window.readers.compare", keys=("Ctrl+K",), needs="labels",
               help="Where two readers' labels of this slide differ, on the slide, in numbers and as a list."),
        Action("readers.next", "Next difference", sub, "window.readers.step", 1, keys=("F8",), needs="labels", bar=True),
        Action("readers.previous", "Previous difference", sub, "window.readers.step", -1, keys=("Shift+F8",),
               needs="labels"),
        Action("readers.mine", "Take mine", sub, "window.readers.settle", "mine", keys=("Ctrl+F8",), needs="labels",
               help="At the chosen difference; it goes into the agreed labels.", bar=True),
        Action("readers.theirs", "Take theirs", sub, "window.readers.settle", "theirs", keys=("Ctrl+Shift+F8",),
               needs="labels", help="At the chosen difference; it goes into the agreed labels."),
        Action("readers.back", "Take back last decision", sub, "window.readers.undo", needs="labels",
               help="About a difference: the agreed labels are as before it."),
    ]  # fmt: skip
    return [
        *tools,
        Action("draw.keys", "Draw by keyboard", m, "regions.toggle_cross", keys=("X",), needs="labels", check="box",
               help="A cross hair: arrow keys move it (Shift far, Ctrl one pixel), Space sets a point or starts and ends a "
               "stroke, Shift + Space takes away, Enter closes.", bar=True),
        Action("brush.larger", "Larger brush", m, "model.scale_brush", 1.25, keys=("]",), needs="slide", bar=True),
        Action("brush.smaller", "Smaller brush", m, "model.scale_brush", 0.8, keys=("[",), needs="slide"),
        Action("paint.unlabelled", "Paint only on unlabelled", m, "regions.toggle_only_unlabelled", needs="slide",
               check="box", help="Painting changes no pixel that has a label already."),
        *regions,
        *classes,
        Action("class.add", "Add class", m, "add_class", needs="workspace"),
        *labels,
        *splits,
        *reviews,
        Action("label.outlined", "Outlined completely", m, "toggle_outlined", keys=("Shift+O",), needs="slide",
               check="box", bar=True,
               help="All tumour of this slide is outlined, so everything else counts as normal in training."),
        Action("correct.right", "This is right", f"{m}/Proposal of the network", "correct.accept", keys=("Shift+Y",), needs="overlay",
               help="Labels the coloured region under the pointer as what the network takes it for; labels that are there stay."),
        Action("correct.wrong", "This is wrong", f"{m}/Proposal of the network", "correct.reject", keys=("Shift+X",), needs="overlay",
               help="Labels the coloured region under the pointer as normal; no later round proposes it again."),
        *marks,
        *compared,
        Action("split.assign", "Assign splits by chance", m, "assign_splits", needs="workspace",
               help="One fifth for validation; slides of a patient stay together, positive and negative are balanced."),
    ]  # fmt: skip


def _train() -> list[Action]:
    m = "Train"
    return [
        Action("train.show", "Train…", m, "show_tab", "train", keys=("Ctrl+T",), needs="workspace", icon="train"),
        Action("train.results", "Results", m, "show_tab", "results", keys=("Ctrl+R",), needs="workspace", icon="heat"),
        Action("train.predict", "Predict all slides", m, "results.predict_all", keys=("Ctrl+P",), needs="workspace", bar=True,
               help="With the network chosen under Results, the open slide first."),
        Action("train.folder", "Predict a folder of slides…", m, "results.ask_folder", needs="workspace",
               help="Adds the slides of a folder and predicts them; broken ones are skipped and listed."),
        Action("train.report", "Report…", m, "results.ask_report", keys=("Ctrl+Shift+R",), needs="workspace",
               help="ROC with interval, confusion matrix, pictures and model card of the network chosen under Results."),
        Action("train.export", "Export results…", m, "results.ask_export", keys=("Ctrl+Shift+E",), needs="workspace",
               icon="export", help="Heat maps, outlines and scores of all slides into a new folder."),
        Action("check.show", "What to check next", m, "show_tab", "check", needs="workspace", bar=True,
               help="Places where the network cannot decide, and labels that are likely wrong."),
        Action("check.next", "Next place", m, "correct.next", 1, keys=("Ctrl+J",), needs="workspace"),
        Action("check.previous", "Previous place", m, "correct.next", -1, keys=("Ctrl+Shift+J",), needs="workspace"),
        Action("check.done", "Done with this place", m, "correct.done", keys=("Ctrl+D",), needs="workspace",
               help="Takes it from the list and goes to the next one."),
        Action("train.pause", "Pause or resume", m, "pause_job", needs="job", bar=True,
               help="At the next batch; nothing is lost."),
        Action("train.stop", "Stop and keep", m, "stop_job", needs="job",
               help="Ends at the next batch with a checkpoint; the run can go on later."),
        Action("train.runs", "Show folder of runs", m, "open_runs_folder", needs="workspace", bar=True),
    ]  # fmt: skip


def _window() -> list[Action]:
    m = "Window"
    return [
        Action("window.slides", "Slides", m, "show_slides", keys=("Ctrl+1",), needs="workspace"),
        Action("window.annotate", "Annotate", m, "show_tab", "annotate", keys=("Ctrl+2",), needs="workspace"),
        Action("window.train", "Train", m, "show_tab", "train", keys=("Ctrl+3",), needs="workspace"),
        Action("window.runs", "Runs", m, "show_tab", "runs", keys=("Ctrl+4",), needs="workspace"),
        Action("window.results", "Results", m, "show_tab", "results", keys=("Ctrl+5",), needs="workspace"),
        Action("window.check", "Check", m, "show_tab", "check", keys=("Ctrl+6",), needs="workspace",
               help="Places where the network cannot decide, and labels that are likely wrong."),
        Action("window.view", "Slide view", m, "focus_view", keys=("Ctrl+0",), needs="slide"),
        Action("window.message", "Newest message", m, "focus_message", keys=("F6",),
               help="Puts the focus on the message that lies over the slide."),
        Action("window.panels", "Hide or show panels", m, "toggle_panels", keys=("F9",), needs="workspace", bar=True,
               help="All room for the slide."),
        Action("window.reset", "Reset layout", m, "reset_layout"),
    ]  # fmt: skip


def _help() -> list[Action]:
    m = "Help"
    return [
        Action("help.guide", "Guide", m, "show_guide", keys=("F1",), icon="guide"),
        Action("help.keys", "Keyboard shortcuts", m, "show_shortcuts", keys=("Ctrl+/",)),
        Action("help.doctor", "Check this machine", m, "show_doctor",
               help="Graphics card, memory, disk, versions: what works here and what does not.", bar=True),
        Action("help.log", "Show log folder", m, "open_log_folder"),
        Action("help.about", "About Opsin", m, "show_about"),
    ]  # fmt: skip


ACTIONS: tuple[Action, ...] = tuple(_file() + _edit() + _view() + _annotate() + _train() + _window() + _help())


class Host(Protocol):
    """What the main window offers to the actions."""

    def lacking(self, need: str) -> str:
        """Return why something that needs `need` cannot be done now, "" when it can."""

    def is_on(self, id: str) -> bool:
        """Return whether a checkable action is on."""


class ActionBook(QObject):
    """The QActions of the list, made once for a window.

    `refresh` brings greying, ticks and texts up to date.
    """

    def __init__(self, host: Any, window: QWidget) -> None:
        super().__init__(window)
        self.host = host
        self.entries: dict[str, Action] = {action.id: action for action in ACTIONS}
        self.qt: dict[str, QAction] = {}
        self.reasons: dict[str, str] = {}
        groups: dict[str, QActionGroup] = {}
        for action in ACTIONS:
            made = QAction(action.text, window)
            made.setObjectName(action.id)
            made.setShortcuts([QKeySequence(key) for key in action.keys])
            made.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
            if action.check:
                made.setCheckable(True)
            if action.check not in ("", "box"):
                group = groups.setdefault(action.check, QActionGroup(self))
                group.addAction(made)
            made.triggered.connect(self._runner(action))
            window.addAction(made)
            self.qt[action.id] = made
        self.restyle()

    def __getitem__(self, id: str) -> QAction:
        return self.qt[id]

    def _runner(self, action: Action) -> Callable[..., None]:
        def run(*_: object) -> None:
            function = attrgetter(action.call)(self.host)
            if action.argument is None:
                function()
            else:
                function(action.argument)
            self.refresh()

        return run

    def restyle(self) -> None:
        """Draw the icons in the colours of the theme in use."""
        for action in ACTIONS:
            if action.icon:
                self.qt[action.id].setIcon(theme.icon(action.icon))
            # icons belong to buttons; menus stay calm without them
            self.qt[action.id].setIconVisibleInMenu(False)

    def refresh(self) -> None:
        """Grey what cannot be done now, tick what is on."""
        for action in ACTIONS:
            reason = self.host.lacking(action.needs) if action.needs else ""
            made = self.qt[action.id]
            self.reasons[action.id] = reason
            made.setEnabled(not reason)
            if action.needs in ("undo", "redo"):
                made.setText(self.host.undoing.text(action.needs))
            keys = made.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            tip = made.text().removesuffix("…") + (f" ({keys})" if keys else "")
            made.setToolTip("\n".join(part for part in (tip, action.help, reason) if part))
            if action.check:
                made.setChecked(self.host.is_on(action.id))

    def fill(self, bar: QMenuBar) -> None:
        """Make the menus."""
        menus: dict[str, QMenu] = {}
        for name in MENUS:
            menus[name] = bar.addMenu("&" + name)
            menus[name].setToolTipsVisible(True)
        for action in ACTIONS:
            menu = menus.get(action.menu)
            if menu is None:
                parent, _, title = action.menu.partition("/")
                menu = menus[action.menu] = menus[parent].addMenu(title)
            if action.bar:
                menu.addSeparator()
            menu.addAction(self.qt[action.id])
        for menu in menus.values():
            menu.aboutToShow.connect(self.refresh)
