"""The table of slides with their scores, highest first, and whether each is called right at the threshold in use."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QRectF, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QPainter, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from ..engine.judgement import ScoreRow, score_digits
from .slidelist import SPLIT_TEXT
from .tables import RowsModel
from .theme import colors, px, text_scale, theme_changed

COLUMNS = ("Slide", "Score", "Label", "Verdict", "Split", "Scored by")
STATE_WORDS = {"waiting": "waiting", "running": "at work", "failed": "failed"}
"""What stands in the place of a score while a new one is made, or could not be made."""
SORT = Qt.ItemDataRole.UserRole
SPLIT_FROM, SOURCE_FROM = 440, 560
"""Widths in px at text size 100 % from which there is room for these columns; the tooltip of a row has them always."""


class ScoreModel(RowsModel):
    """Rows for the view; `SORT` gives what a column is sorted by."""

    columns = COLUMNS
    rows: list[ScoreRow]
    threshold = 0.5
    digits = 3

    def set_rows(self, rows: list[ScoreRow]) -> None:
        self.digits = score_digits(rows)
        super().set_rows(rows)

    def set_threshold(self, threshold: float) -> None:
        self.threshold = threshold
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, len(COLUMNS) - 1))

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        row, column = self.rows[index.row()], COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(row, column)
        if role == SORT:
            return row.order() if column == "Score" else self._text(row, column).lower()
        if role == Qt.ItemDataRole.ForegroundRole and column == "Score" and row.state in STATE_WORDS:
            c = colors()
            return QBrush(QColor(c.error if row.state == "failed" else c.muted))
        if role == Qt.ItemDataRole.ForegroundRole and column == "Verdict":
            c = colors()
            return QBrush(QColor(c.error if row.verdict(self.threshold) == "wrong" else c.negative))
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(row)
        return None

    def _text(self, row: ScoreRow, column: str) -> str:
        if column == "Score":
            if row.state in STATE_WORDS:
                return STATE_WORDS[row.state]
            return f"{row.score:.{self.digits}f}" if row.score is not None else "n/a" if row.source else ""
        if column == "Verdict":
            return row.verdict(self.threshold)
        return {
            "Slide": row.name,
            "Label": row.label or "",
            "Split": row.split or "",
            "Scored by": row.source,
        }[column]

    def _tip(self, row: ScoreRow) -> str:
        parts = [row.name, SPLIT_TEXT[row.split]]
        if row.state == "failed":
            parts.append(row.error)
        elif row.state == "stopped" and row.score is None:
            parts.append("Its prediction was stopped")
        if row.source:
            parts.append(f"Scored by the {row.source}" if row.score is not None else f"No score: {row.source}")
        if row.area is not None:
            parts.append(f"{row.area:.2f} mm² positive")
        if row.skipped:
            parts.append(f"{row.skipped} tiles could not be read")
        return "\n".join(parts)


class ScoreDelegate(QStyledItemDelegate):
    """Underlines a score with a bar as long as the score is high."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Any) -> None:
        super().paint(painter, option, index)
        score = index.data(SORT)
        if index.data() in STATE_WORDS.values():
            return
        if not isinstance(score, float) or score < 0:
            return
        c = colors()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        rect = QRectF(option.rect.left() + 6, option.rect.bottom() - 4, option.rect.width() - 12, 3)
        painter.setBrush(QColor(c.line))
        painter.drawRoundedRect(rect, 1.5, 1.5)
        rect.setWidth(max(2.0, rect.width() * min(1.0, score)))
        painter.setBrush(QColor(c.accent))
        painter.drawRoundedRect(rect, 1.5, 1.5)
        painter.restore()


class ScoreTable(QTableView):
    """The view. Enter or a double click opens a slide.

    Signals
    -------
    open_requested(str) : the id of a slide.
    """

    open_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = ScoreModel()
        self._sorted = QSortFilterProxyModel(self)
        self._sorted.setSourceModel(self.rows)
        self._sorted.setSortRole(SORT)
        self.setModel(self._sorted)
        self._delegate = ScoreDelegate(self)
        self.setItemDelegateForColumn(COLUMNS.index("Score"), self._delegate)
        self.setSortingEnabled(True)
        self.sortByColumn(COLUMNS.index("Score"), Qt.SortOrder.DescendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setMinimumHeight(168)
        self.setAccessibleName("Slides by score")
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(px(48))
        self.activated.connect(lambda index: self.open_requested.emit(self._item(index)))
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        theme_changed().connect(self.viewport().update)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        wide = self.viewport().width() / text_scale()
        self.setColumnHidden(COLUMNS.index("Split"), wide < SPLIT_FROM)
        self.setColumnHidden(COLUMNS.index("Scored by"), wide < SOURCE_FROM)

    def _item(self, index: Any) -> str:
        return self.rows.rows[self._sorted.mapToSource(index).row()].item

    def selected_items(self) -> list[str]:
        """Return the ids of the selected slides, in the order in which they stand."""
        return [self._item(index) for index in sorted(self.selectionModel().selectedRows(), key=lambda i: i.row())]

    def shown(self) -> list[str]:
        """Return the ids of all slides, in the order in which they stand."""
        return [self._item(self._sorted.index(n, 0)) for n in range(self._sorted.rowCount())]
