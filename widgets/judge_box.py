"""How good the scores are: ROC curve, area, operating point, counts: the lower part of the results panel."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..engine.judgement import (
    SPLITS,
    Judgement,
    ScoreRow,
    best_split,
    counted,
    honest_sentence,
    judge,
    rounded_down,
    share,
    unscored_sentence,
)
from .background import in_background
from .editors import QuietComboBox
from .plots import RocPlot
from .texts import MutedLabel, heading


class JudgeBox(QWidget):
    """Judges the scored slides of one split.

    Signals
    -------
    threshold_chosen(float) : the user wants to call slides at this threshold.
    """

    threshold_chosen = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: list[ScoreRow] = []
        self.judgement = Judgement([])
        self.threshold = 0.5
        self._split_chosen = False
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        judged = QHBoxLayout()
        judged.addWidget(heading("Judged on"))
        self.split = QuietComboBox()
        self.split.setAccessibleName("Judged on")
        self.split.setMinimumContentsLength(max(len(text) for text in SPLITS.values()))
        for key, text in SPLITS.items():
            self.split.addItem(text, key)
        self.split.setCurrentIndex(self.split.findData(""))
        self.split.activated.connect(self._choose_split)
        judged.addWidget(self.split)
        judged.addStretch(1)
        column.addLayout(judged)
        row = QHBoxLayout()
        row.setSpacing(12)
        self.roc = RocPlot()
        row.addWidget(self.roc, 0, Qt.AlignmentFlag.AlignTop)
        words = QVBoxLayout()
        words.setSpacing(8)
        self.area = QLabel()
        self.full = QLabel()
        self.use_full = QPushButton("Use this threshold")
        self.use_full.clicked.connect(self._use_full)
        self.counts = QLabel()
        for label in (self.area, self.full, self.counts):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.RichText)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words.addWidget(self.area)
        words.addWidget(self.full)
        words.addWidget(self.use_full, 0, Qt.AlignmentFlag.AlignLeft)
        words.addStretch(1)
        row.addLayout(words, 1)
        column.addLayout(row)
        column.addWidget(self.counts)
        self.honest = MutedLabel(wrap=True)
        column.addWidget(self.honest)
        self.unscored = MutedLabel(wrap=True)
        column.addWidget(self.unscored)

    def set_rows(self, rows: list[ScoreRow], fresh: bool = False) -> None:
        """Judge other rows; `fresh`: of another network, so the split that says most is chosen anew."""
        self.rows = rows
        if fresh:
            self._split_chosen = False
        if not self._split_chosen:
            self.split.setCurrentIndex(self.split.findData(best_split(rows)))
        self._judge()

    def set_threshold(self, threshold: float) -> None:
        """Count at this threshold."""
        self.threshold = threshold
        self._show_counts()

    def _choose_split(self) -> None:
        self._split_chosen = True
        self._judge()

    def _judge(self) -> None:
        rows = self.rows
        self.judgement = judgement = judge(rows, self.split.currentData())
        missing = "n/a (needs scored slides of both labels)"
        self.area.setText(f"<b>AUC</b> {missing if judgement.auc is None else f'{judgement.auc:.3f}'}")
        if judgement.auc is not None:
            in_background(judgement.interval, done=lambda found: self._show_interval(judgement, found), owner=self)
        self.use_full.setVisible(judgement.full is not None)
        self.full.setVisible(judgement.full is not None)
        if judgement.full is not None:
            negatives = int((~judgement.labels).sum())
            right = round((judgement.full_specificity or 0) * negatives)
            self.full.setText(
                f"<b>100 % sensitivity</b> at {judgement.full_text}, set by <b>{judgement.setter}</b>: "
                f"specificity {share(judgement.full_specificity)} ({right} of {negatives})"
            )
        self.honest.setText(honest_sentence(rows))
        self.honest.setVisible(bool(self.honest.text()))
        self.unscored.setText(unscored_sentence(rows, self.split.currentData()))
        self.unscored.setVisible(bool(self.unscored.text()))
        self._show_counts()

    def _show_interval(self, judgement: Judgement, interval: tuple[float, float] | None) -> None:
        if judgement is self.judgement and interval is not None:
            self.area.setText(
                f"<b>AUC</b> {judgement.auc:.3f}<br>95 % interval {interval[0]:.2f} to {interval[1]:.2f}, "
                f"{len(judgement.rows)} slides"
            )

    def _show_counts(self) -> None:
        judgement = self.judgement
        point = judgement.point(self.threshold)
        full = judgement.point(judgement.full) if judgement.full is not None else None
        self.roc.set_curve(judgement.points, full, point)
        if not judgement.rows:
            self.counts.setText("")
            return
        v, text = judgement.at(self.threshold), rounded_down(self.threshold, judgement.scores)
        self.counts.setText(
            f"<b>At {text}</b>: {v['true positives']} found, {v['false negatives']} missed, "
            f"{counted(v['false positives'], 'false alarm', 'false alarms')}, {v['true negatives']} rightly negative. "
            f"Sensitivity {share(v['sensitivity'])}, specificity {share(v['specificity'])}."
        )

    def _use_full(self) -> None:
        if self.judgement.full is not None:
            self.threshold_chosen.emit(float(self.judgement.full_text))
