"""The panel of results: predict slides, look at heat maps, judge the scores, take everything along as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..engine.exports import write_scores
from ..engine.jobs import Job
from ..engine.judgement import ScoreRow, first_threshold, rounded_down, score_rows
from ..engine.results import Heatmap
from .background import Relay, in_background
from .buttons import IconButton
from .judge_box import JudgeBox
from .layers import LiveLayers, show
from .map_box import MapBox, slider_row
from .predict import PredictBox
from .score_table import ScoreTable
from .scrolling import PanelScroll
from .texts import ErrorLabel, MutedLabel, heading

if TYPE_CHECKING:
    from .slide.model import SlideViewModel

HEAT_MAP = "heat map"
"""Name of the overlay that shows a prediction."""


class ResultsPanel(QWidget):
    """Predict with a trained network and judge it.

    Parameters
    ----------
    workspace : the open `Workspace`, or None.
    jobs : the queue, see `gui/jobs.py`.
    view : model of the slide view, or None.

    Signals
    -------
    open_requested(str) : the user wants to see the slide with this id.
    folder_requested : a folder of slides is to be added and predicted.
    report_requested, export_requested : a report is to be written; results of all slides are to be taken along.
    """

    open_requested = Signal(str)
    folder_requested = Signal()
    report_requested = Signal()
    export_requested = Signal()

    def __init__(
        self,
        workspace: Any,
        jobs: Any,
        view: SlideViewModel | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.workspace: Any = None
        self.jobs = jobs
        self.view: SlideViewModel | None = None
        self.live: LiveLayers | None = None
        self.item: str | None = None
        self.threshold = 0.5
        self._chosen = False  # whether somebody has set the threshold for this network
        self._shown: tuple[Any, str] | None = None
        self._relay: Relay | None = None
        self._build()
        self.set_workspace(workspace)
        self.set_view(view)

    # ---- the parts --------------------------------------------------------------------------------------

    def _build(self) -> None:
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(12, 12, 12, 12)
        column.setSpacing(8)
        self.predictor = PredictBox(self.jobs)
        self.predictor.run_changed.connect(self._run_changed)
        self.predictor.selected_wanted.connect(lambda: self.predict(self.table.selected_items()))
        self.predictor.folder_wanted.connect(self.folder_requested)
        self.predictor.states_changed.connect(self.refresh)
        column.addWidget(self.predictor)
        column.addSpacing(4)
        self.map = MapBox()
        column.addWidget(self.map)
        self._build_scores(column)
        self.judge = JudgeBox()
        self.judge.threshold_chosen.connect(self.set_threshold)
        column.addWidget(self.judge)
        outer.addWidget(PanelScroll(inside))

    def _build_scores(self, column: QVBoxLayout) -> None:
        head = QHBoxLayout()
        head.addWidget(heading("Slides"))
        head.addStretch(1)
        self.export = IconButton("export", "Take the results along as files", "Export")
        self.export.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        self.export_map = menu.addAction("Heat map of this slide…", self._ask_heatmap)
        self.export_outlines = menu.addAction("Outlines of this slide…", self._ask_outlines)
        self.export_table = menu.addAction("Table of scores…", self._ask_table)
        menu.addSeparator()
        self.export_report = menu.addAction("Report…", self.report_requested)
        self.export_all = menu.addAction("Results of all slides…", self.export_requested)
        self.export.setMenu(menu)
        head.addWidget(self.export)
        column.addLayout(head)
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setColumnStretch(1, 1)
        self.threshold_slider, self.threshold_text = slider_row(grid, 0, "Slide &threshold", 1000)
        self.threshold_slider.setToolTip("A slide with this score or a higher one is called positive")
        self.threshold_slider.valueChanged.connect(self._slide)
        self.threshold_slider.sliderReleased.connect(self._keep_threshold)
        column.addLayout(grid)
        self.threshold_from = MutedLabel(wrap=True)
        column.addWidget(self.threshold_from)
        self.unscored = MutedLabel(
            "This network has not scored any slide yet. Predict slides to fill the table.", wrap=True
        )
        column.addWidget(self.unscored)
        self.table = ScoreTable()
        self.table.open_requested.connect(self.open_requested)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._enable())
        column.addWidget(self.table, 1)
        self.note = MutedLabel(wrap=True)
        self.note.hide()
        column.addWidget(self.note)
        self.problem = ErrorLabel()
        column.addWidget(self.problem)

    # ---- what it works on -------------------------------------------------------------------------------

    def set_workspace(self, workspace: Any) -> None:
        """Work on another workspace, or on none."""
        if self._relay is not None:
            self._relay.drop()
            self._relay = None
        self.workspace = self.predictor.workspace = workspace
        self.item = self.predictor.item = None
        self.note.hide()  # what was exported belongs to the workspace before
        self.problem.say("")
        if workspace is not None:
            self._relay = Relay(self._on_workspace, workspace.changed, parent=self)
        self.refresh_runs()

    def set_view(self, view: SlideViewModel | None) -> None:
        """Show results on this slide view."""
        self.view = self.predictor.view = view
        self.live = LiveLayers(self.jobs, view, self._of_this_network) if view is not None else None
        self.map.set_view(view)
        if view is not None:
            self._overlays = Relay(lambda _: self._enable(), view.events.overlays, parent=self)
        self._enable()

    def _of_this_network(self, job: Job) -> bool:
        """Whether a prediction is made with the network that is chosen: only its heat maps are shown."""
        return Path(job.spec.arguments.get("output") or "").name == self.predictor.run_id

    def set_item(self, item: str | None) -> None:
        """Another slide is open (its id): its heat map is shown where there is one."""
        self.item = self.predictor.item = item
        if self.live is not None:
            self.live.set_item(item, self._is_negative(item))
        self._show_heat_map()
        self._enable()

    def _is_negative(self, item: str | None) -> bool:
        rows = self.workspace.items() if self.workspace is not None and item is not None else []
        return any(row.id == item and row.label == "negative" for row in rows)

    def refresh_runs(self, chosen: str = "") -> None:
        """Read again which networks there are; `chosen` (a run's folder or a checkpoint) becomes the current one."""
        self.predictor.refresh_runs(chosen)

    def use_run(self, folder: str) -> None:
        """Predict with the network of this run from now on."""
        self.refresh_runs(folder)

    def predict(self, items: list[str] | None) -> Job | None:
        """Predict the slides with these ids (None: all, the open one first)."""
        return self.predictor.predict(items)

    def _run_changed(self) -> None:
        now = (self.workspace, self.predictor.run_id)
        fresh, self._shown = now != self._shown, now
        if fresh:
            kept = self.workspace.setting(self._threshold_key) if self.workspace is not None else None
            self._chosen = isinstance(kept, float)
            self._put_threshold(kept if isinstance(kept, float) else 0.5)
        self.refresh(fresh)
        if fresh and self.view is not None:
            self.view.remove_overlay(HEAT_MAP)
        self._show_heat_map()

    def _on_workspace(self, what: str) -> None:
        if what in ("items", "scores"):
            self.refresh()

    # ---- on the slide -----------------------------------------------------------------------------------

    def heat_map(self) -> Path | None:
        """Return the file with the current network's heat map of the open slide, None without one."""
        return self.predictor.heat_map(self.item)

    def _show_heat_map(self) -> None:
        path = self.heat_map()
        if self.view is None or path is None:
            return
        shown = self.view.overlay(HEAT_MAP)
        if shown is None or Path(shown.pyramid.path) != path:
            show(self.view, "Heatmap", path, HEAT_MAP, threshold=self.map.threshold, opacity=self.map.opacity)

    # ---- the threshold of slide scores --------------------------------------------------------------------

    @property
    def _threshold_key(self) -> str:
        return f"threshold of {self.predictor.run_id}"

    def set_threshold(self, threshold: float) -> None:
        """Call and count slides at this threshold from now on, as long as this network is chosen."""
        self._chosen = True
        self._put_threshold(threshold)
        self._keep_threshold()

    def _slide(self, value: int) -> None:
        if self.threshold_slider.isSliderDown():  # kept when it is let go
            self._chosen = True
            self._put_threshold(value / 1000)
        else:
            self.set_threshold(value / 1000)

    def _keep_threshold(self) -> None:
        if self.workspace is not None and self.predictor.run_id:
            self.workspace.set_setting(self._threshold_key, float(self.threshold))

    def _put_threshold(self, threshold: float, source: str = "") -> None:
        """Show, call and count at a threshold; `source`: what it rests on when nobody has chosen it."""
        self.threshold = threshold
        text = f"{threshold:.3f}" if round(threshold, 3) <= threshold else rounded_down(threshold, self._scores())
        self.threshold_slider.blockSignals(True)
        self.threshold_slider.setValue(int(float(text) * 1000 + 1e-6))
        self.threshold_slider.blockSignals(False)
        self.threshold_text.setText(text)
        self.threshold_from.setText(f"To begin with: {source}." if source else "")
        self.threshold_from.setVisible(bool(source))
        self.table.rows.set_threshold(threshold)
        self.judge.set_threshold(threshold)

    def _scores(self) -> np.ndarray:
        return np.array([row.score for row in self.table.rows.rows if row.score is not None], float)

    # ---- the scores -------------------------------------------------------------------------------------

    def refresh(self, fresh: bool = False) -> None:
        """Read slides and scores again and judge them; `fresh`: of another network."""
        rows: list[ScoreRow] = []
        if self.workspace is not None:
            rows = score_rows(self.workspace, self.predictor.run_id, self.predictor.states)
        chosen = set(self.table.selected_items())
        self.table.rows.set_rows(rows)
        for number, id in enumerate(self.table.shown()):
            if id in chosen:
                self.table.selectRow(number)
        self.judge.set_rows(rows, fresh)
        self.unscored.setVisible(bool(self.predictor.run_id) and not any(row.score is not None for row in rows))
        if not self._chosen:
            self._put_threshold(*first_threshold(rows))
        self._enable()

    def _enable(self) -> None:
        self.predictor.enable(bool(self.table.selected_items()))
        self.export_table.setEnabled(bool(self.table.rows.rows))
        scored = any(row.score is not None for row in self.table.rows.rows)
        self.export_report.setEnabled(scored)
        self.export_all.setEnabled(scored)
        self.export_map.setEnabled(self.heat_map() is not None)
        self.export_outlines.setEnabled(self.heat_map() is not None)

    # ---- taking it along --------------------------------------------------------------------------------

    def export_heatmap(self, target: Path) -> None:
        """Write the open slide's heat map to `target`, in the format its suffix names, in the background."""
        path = self.heat_map()
        if path is None:
            self.problem.say("There is no heat map of this slide yet; predict it first.")
            return
        self._write(target, Heatmap(path, threshold=self.map.threshold).save, target)

    def export_scores(self, target: Path) -> None:
        """Write the table to `target` as CSV."""
        self._write(target, write_scores, target, list(self.table.rows.rows), self.threshold)

    def _write(self, target: Path, function: Any, *arguments: Any) -> None:
        self.problem.say("")
        self.note.setText(f"Writing {target.name} …")
        self.note.show()

        def failed(error: BaseException) -> None:
            self.note.hide()
            self.problem.say(str(error))

        in_background(
            function,
            *arguments,
            done=lambda _: self.note.setText(f"{target.name} is written."),
            failed=failed,
            owner=self,
        )

    def _ask(self, title: str, name: str, filters: str) -> Path | None:
        path, _ = QFileDialog.getSaveFileName(self, title, name, filters)
        return Path(path) if path else None

    def _name(self) -> str:
        return next((row.name for row in self.table.rows.rows if row.item == self.item), "slide")

    def _ask_heatmap(self) -> None:
        path = self._ask("Export heat map", f"{self._name()}_heat.tif", "Pyramidal TIFF (*.tif)")
        if path is not None:
            self.export_heatmap(path)

    def _ask_outlines(self) -> None:
        filters = "QuPath GeoJSON (*.geojson);;ASAP XML (*.xml)"
        path = self._ask(f"Export outlines drawn from {self.map.threshold:.3f}", f"{self._name()}.geojson", filters)
        if path is not None:
            self.export_heatmap(path)

    def _ask_table(self) -> None:
        path = self._ask("Export table of scores", "scores.csv", "Table (*.csv)")
        if path is not None:
            self.export_scores(path)
