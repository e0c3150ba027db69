"""Annotate: tools, brush size, classes, undo and redo. Shows and changes a `SlideViewModel` and the workspace's classes.

`python -m opsin.widgets.annotations` opens it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QItemSelectionModel, QPoint, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.class_table import Usage, class_usage, remove_class, removed_classes, restored, taken_values
from ..engine.errors import OpsinError
from ..engine.labels.classes import PALETTE, LabelClass
from . import theme
from .background import Relay, in_background
from .class_texts import area_text, removal_text
from .classes import NAME, ClassModel, ClassTable
from .confirm import Question
from .editors import inset
from .marks_panel import MarksPanel
from .slide.model import SlideViewModel
from .texts import MutedLabel, heading
from .toolbox import ToolBox

if TYPE_CHECKING:
    from ..engine.labels.store import LabelStore
    from ..engine.workspace import Workspace

ROLES = (
    ("positive", "Positive: to be found"),
    ("negative", "Negative: normal tissue"),
    ("ignore", "Left out of training"),
)
AREA_DELAY_MS = 600


class AnnotationsPanel(QWidget):
    """The panel.

    Parameters
    ----------
    model : what the slide view shows.
    workspace : keeps the classes; None leaves them with the view alone.

    Signals
    -------
    failed(str) : one sentence about what could not be done.
    """

    failed = Signal(str)

    def __init__(
        self, model: SlideViewModel, workspace: Workspace | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.model = model
        self.workspace: Workspace | None = None
        self._quiet = False
        self.step_keys = ("Ctrl+Z", "Ctrl+Shift+Z")  # of undo and redo, for the tool tips
        self._store: LabelStore | None = None
        self._store_relay: Relay | None = None
        self._workspace_relay: Relay | None = None
        self._area_timer = QTimer(self, singleShot=True, interval=AREA_DELAY_MS)
        self._area_timer.timeout.connect(self._count_areas)
        self._build()
        events = model.events
        self._relays = [
            Relay(lambda _: self._show_classes(), events.classes, events.label, events.solo, events.hatch, parent=self),
            Relay(lambda _: self._follow_store(), events.labels, parent=self),
            Relay(lambda _: self._follow_solo(model.label), events.label, parent=self),
            Relay(lambda _: self._follow_solo(None), events.slide, parent=self),
        ]
        theme.theme_changed().connect(self.restyle)
        self.set_workspace(workspace)
        self.restyle()
        self._show_classes()
        self._follow_store()

    # ---- building -----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.PAD, theme.PAD, theme.PAD, theme.PAD)
        column.setSpacing(theme.GAP)
        column.addWidget(heading("Tools"))
        self.toolbox = ToolBox(self.model, self)
        column.addWidget(self.toolbox)
        column.addSpacing(theme.GAP)
        column.addLayout(self._class_head())
        self.table_model = ClassModel(self)
        self.table = ClassTable(self.table_model, self)
        self.table_model.edited.connect(self.commit)
        self.table_model.refused.connect(self.failed)
        self.table.color_wanted.connect(self._ask_color)
        self.table.solo_wanted.connect(self._toggle_solo)
        self.table.selectionModel().currentRowChanged.connect(lambda current, _: self._choose(current.row()))
        column.addWidget(self.table)
        column.addLayout(self._class_details())
        column.addSpacing(theme.GAP)
        self.marks = MarksPanel(self.model, self)
        self.marks.failed.connect(self.failed)
        column.addWidget(self.marks)
        column.addSpacing(theme.GAP)
        column.addWidget(heading("History"))
        column.addLayout(self._history_row())
        self.note = MutedLabel("Open a slide to annotate it.", wrap=True)
        column.addWidget(self.note)
        column.addStretch(1)

    def _class_head(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.TIGHT)
        row.addWidget(heading("Classes"))
        row.addStretch(1)
        self.add_button, self.remove_button = QToolButton(), QToolButton()
        for button, text, function in (
            (self.add_button, "Add a class, or bring a removed one back", self._press_add),
            (self.remove_button, "Remove the chosen class", self.ask_remove_class),
        ):
            button.setToolTip(text)
            button.setAccessibleName(text)
            button.clicked.connect(lambda _=False, f=function: f())
            row.addWidget(button)
        self.add_menu = QMenu(self)
        return row

    def _class_details(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.GAP)
        grid.setVerticalSpacing(theme.TIGHT)
        self.role = QComboBox()
        self.role.setAccessibleName("Meaning of the class in training")
        for value, text in ROLES:
            self.role.addItem(text, value)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setPageStep(10)
        self.opacity.setAccessibleName("Opacity of the class")
        self.opacity_text = MutedLabel()
        self.opacity_text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.opacity_text.setFixedWidth(theme.px(44))
        for place, (text, widget) in enumerate((("In training", self.role), ("Opacity", self.opacity))):
            label = QLabel(text)
            label.setBuddy(widget)
            grid.addWidget(label, place, 0)
            grid.addWidget(widget, place, 1, 1, 2 if widget is self.role else 1)
        grid.addWidget(self.opacity_text, 1, 2)
        grid.setColumnStretch(1, 1)
        self.hatch = QCheckBox("Patterns")
        self.hatch.setToolTip("Classes are told apart by a pattern too: for eyes that tell colours badly")
        self.hatch.toggled.connect(self._take_hatch)
        grid.addWidget(self.hatch, 2, 1, 1, 2)
        self.role.activated.connect(lambda _: self._change_current(role=self.role.currentData()))
        self.opacity.valueChanged.connect(self._slide_opacity)
        self.opacity.sliderReleased.connect(lambda: self.commit(self.model.classes))
        return grid

    def _history_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.GAP)
        self.undo_button, self.redo_button = QPushButton("Undo"), QPushButton("Redo")
        self.undo_button.clicked.connect(self.undo)
        self.redo_button.clicked.connect(self.redo)
        for button in (self.undo_button, self.redo_button):
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            row.addWidget(button, 1)
        return row

    def restyle(self) -> None:
        """Take over icons and text size of the theme in use."""
        self.toolbox.restyle()
        for button, name in (
            (self.add_button, "plus"),
            (self.remove_button, "minus"),
            (self.undo_button, "undo"),
            (self.redo_button, "redo"),
        ):
            button.setIcon(theme.icon(name))
            button.setIconSize(QSize(theme.px(theme.ICON), theme.px(theme.ICON)))
        self.opacity_text.setFixedWidth(theme.px(44))
        self.table.resize_rows()

    # ---- classes ------------------------------------------------------------------------------------------------

    def set_workspace(self, workspace: Workspace | None) -> None:
        """Keep the classes in this workspace from now on."""
        if self._workspace_relay is not None:
            self._workspace_relay.drop()
            self._workspace_relay = None
        self.workspace = workspace
        if workspace is not None:
            self.model.set_classes(workspace.classes)
            self._workspace_relay = Relay(self._workspace_changed, workspace.changed, parent=self)

    def _workspace_changed(self, what: str) -> None:
        if what == "classes" and self.workspace is not None and self.workspace.classes != self.model.classes:
            self.model.set_classes(self.workspace.classes)

    def commit(self, classes: list[LabelClass]) -> None:
        """Take over a new class table: into the workspace and onto the view."""
        try:
            if self.workspace is not None:
                self.workspace.set_classes(classes)
            self.model.set_classes(classes)
        except OpsinError as error:
            self.failed.emit(str(error))
            self._show_classes()

    def current(self) -> LabelClass | None:
        """Return the class one paints with."""
        return self.model.label_class(self.model.label)

    def add_class(self) -> None:
        """Add a class with the next free value, colour and key, and let the user name it.

        It is left out of training until the user says what it means there. Its value was never used in the workspace:
        else it would take over the pixels of a class that was removed.
        """
        classes = self.model.classes
        taken = {c.value for c in classes} | (taken_values(self.workspace) if self.workspace is not None else set())
        value = next((v for v in range(1, 256) if v not in taken), None)
        if value is None:
            self.failed.emit("There is room for 255 classes, removed ones included, and all are taken.")
            return
        used = {c.color.upper() for c in classes}
        color = next((c for c in PALETTE if c.upper() not in used), PALETTE[len(classes) % len(PALETTE)])
        key = next((k for k in "123456789" if k not in {c.key for c in classes}), "")
        names = {c.name for c in classes}
        name = next(n for n in (f"Class {k}" for k in range(value, 1000)) if n not in names)
        self.commit([*classes, LabelClass(value=value, name=name, color=color, key=key, role="ignore")])
        self.model.label = value
        self._show_classes()
        if self.isVisible():
            self.table.setFocus()
            self.table.edit(self.table_model.index(len(classes), NAME))

    def _fill_add_menu(self) -> None:
        """Offer the classes that were removed."""
        self.add_menu.clear()
        self.add_menu.addAction("New class", self.add_class)
        removed = removed_classes(self.workspace) if self.workspace is not None else []
        if removed:
            self.add_menu.addSeparator()
        for c in removed:
            self.add_menu.addAction(f"Bring back '{c.name}'", lambda value=c.value: self.restore_class(value))

    def _press_add(self) -> None:
        """Add a class at once, or open the menu where there is something to bring back."""
        if self.workspace is None or not removed_classes(self.workspace):
            self.add_class()
            return
        self._fill_add_menu()
        self.add_menu.popup(self.add_button.mapToGlobal(QPoint(0, self.add_button.height())))

    def restore_class(self, value: int) -> None:
        """Bring a removed class back, and with it what was painted."""
        if self.workspace is None:
            return
        try:
            classes = restored(self.workspace, value, self.model.classes)
        except OpsinError as error:
            self.failed.emit(str(error))
            return
        self.commit(classes)
        self.model.label = value

    def ask_remove_class(self) -> None:
        """Ask, then remove the current class."""
        c = self.current()
        if c is None:
            return
        if len(self.model.classes) == 1:
            self.failed.emit("The last class stays: there must be something to paint with.")
            return
        workspace = self.workspace
        if workspace is None:
            self._ask_remove(c, None)
            return

        def count() -> Usage:
            workspace.flush()  # what was painted just now counts too
            return class_usage(workspace, c.value)

        in_background(
            count, done=lambda usage: self._ask_remove(c, usage), failed=lambda _: self._ask_remove(c, None), owner=self
        )

    def _ask_remove(self, c: LabelClass, usage: Usage | None) -> None:
        box = Question("Remove class", f"Remove the class '{c.name}'?", removal_text(usage), self)
        remove = box.add("Remove", QMessageBox.ButtonRole.DestructiveRole, "danger")
        box.add_stay()
        box.buttonClicked.connect(lambda button: self.remove_class(c.value) if button is remove else None)
        box.open()

    def remove_class(self, value: int) -> None:
        """Remove a class; its pixels stay, and no other class ever gets its value."""
        if self.workspace is None:
            self.commit([c for c in self.model.classes if c.value != value])
            return
        try:
            remove_class(self.workspace, value, self.model.classes)
            self.model.set_classes(self.workspace.classes)
        except OpsinError as error:
            self.failed.emit(str(error))
            self._show_classes()

    def _change_current(self, **changes: Any) -> None:
        c = self.current()
        if c is not None and not self._quiet:
            self.commit([o.model_copy(update=changes) if o.value == c.value else o for o in self.model.classes])

    def _choose(self, row: int) -> None:
        if not self._quiet and 0 <= row < len(self.model.classes):
            self.model.label = self.model.classes[row].value

    def _ask_color(self, row: int) -> None:
        c = self.model.classes[row]
        dialog = QColorDialog(QColor(c.color), self)
        dialog.setWindowTitle(f"Colour of {c.name}")
        for place, color in enumerate(PALETTE):
            QColorDialog.setCustomColor(place, QColor(color))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.colorSelected.connect(lambda color: self.table_model.change(row, color=color.name()))
        for box in dialog.findChildren(QAbstractSpinBox):
            inset(box)
        dialog.open()

    def _take_hatch(self, on: bool) -> None:
        if not self._quiet:
            self.model.hatch = on

    def _follow_solo(self, label: int | None) -> None:
        """While one class is shown alone it is the chosen one; another slide is shown whole."""
        if self.model.solo is not None:
            self.model.solo = label

    def _toggle_solo(self, row: int) -> None:
        """Show the class of a row alone, or all again."""
        value = self.model.classes[row].value
        self.model.solo = None if self.model.solo == value else value

    def _slide_opacity(self, value: int) -> None:
        c = self.current()
        if self._quiet or c is None:
            return
        self.opacity_text.setText(f"{value} %")
        self.model.update_class(c.value, opacity=value / 100)
        if not self.opacity.isSliderDown():  # while it is dragged the view follows; it is kept once, at the end
            self.commit(self.model.classes)

    # ---- showing the model --------------------------------------------------------------------------------------

    def _show_classes(self) -> None:
        self._quiet = True
        self.table_model.set_classes(self.model.classes, self.model.solo)
        self.hatch.setChecked(self.model.hatch)
        row = next((i for i, c in enumerate(self.model.classes) if c.value == self.model.label), -1)
        if row >= 0 and self.table.currentIndex().row() != row:
            column = max(NAME, self.table.currentIndex().column())
            self.table.selectionModel().setCurrentIndex(
                self.table_model.index(row, column),
                QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows,
            )
        c = self.current()
        if c is not None:
            self.role.setCurrentIndex(self.role.findData(c.role))
            self.opacity.setValue(round(c.opacity * 100))
            self.opacity_text.setText(f"{round(c.opacity * 100)} %")
        self.remove_button.setEnabled(len(self.model.classes) > 1)
        self._quiet = False

    def _follow_store(self) -> None:
        if self._store_relay is not None:
            self._store_relay.drop()
            self._store_relay = None
        store = self._store = self.model.labels
        self.table_model.set_areas({})
        if store is not None:
            self._store_relay = Relay(self._store_changed, store.changed, store.saved, parent=self)
            self._area_timer.start()
        writes = store is not None and not store.readonly
        self.toolbox.setEnabled(writes)
        self.note.setText(
            "Open a slide to annotate it." if store is None else "These labels can only be looked at now."
        )
        self.note.setVisible(not writes)
        self._show_history()

    def _store_changed(self, _: object) -> None:
        self._show_history()
        self._area_timer.start()

    def _show_history(self) -> None:
        store = self._store if self._store is not None and not self._store.readonly else None
        for button, can, text, word, keys in (
            (self.undo_button, store is not None and store.can_undo, store.undo_text if store else "", "Undo",
             self.step_keys[0]),
            (self.redo_button, store is not None and store.can_redo, store.redo_text if store else "", "Redo",
             self.step_keys[1]),
        ):  # fmt: skip
            button.setEnabled(bool(can))
            step = text[:1].lower() + text[1:] if can else ""
            full = f"{word} {step}".strip()
            button.setText(button.fontMetrics().elidedText(full, Qt.TextElideMode.ElideRight, theme.px(110)))
            button.setToolTip(f"{full} ({keys})" if can else f"Nothing to {word.lower()}")

    def undo(self) -> None:
        """Take the last step back."""
        self._step(self.model.undo)

    def redo(self) -> None:
        """Do the last undone step again."""
        self._step(self.model.redo)

    def _step(self, function: Any) -> None:
        try:
            function()
        except OpsinError as error:
            self.failed.emit(str(error))
        self._show_history()

    # ---- areas --------------------------------------------------------------------------------------------------

    def _count_areas(self) -> None:
        store = self._store
        if store is not None and self.isVisible():
            in_background(
                store.areas, done=lambda areas: self._show_areas(store, areas), failed=lambda _: None, owner=self
            )

    def _show_areas(self, store: LabelStore, areas: dict[int, int]) -> None:
        if store is self._store:
            mpp = self.model.mpp
            self.table_model.set_areas({value: area_text(pixels, mpp) for value, pixels in areas.items()})

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._area_timer.start()


if __name__ == "__main__":
    from qtpy.QtWidgets import QApplication

    application = QApplication([])
    theme.apply_theme(application)
    panel = AnnotationsPanel(SlideViewModel())
    panel.resize(340, 640)
    panel.show()
    application.exec()
