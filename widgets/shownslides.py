"""Which slides of a workspace the list shows and in which order: filter, sort, groups by patient. A model over `SlideListModel`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QObject, Qt

from .slidelist import HEADER, LABEL_TEXT, REVIEW_TEXT, SPLIT_TEXT, Entry, Header, Index, SlideListModel

FILTERS: dict[str, dict[str, str]] = {
    "Slide label": {f"label.{key}": text for key, text in LABEL_TEXT.items()},
    "Split": {f"split.{key}": text for key, text in SPLIT_TEXT.items()},
    "Review": {f"review.{key}": text for key, text in REVIEW_TEXT.items()},
    "Labels": {"labels.yes": "Has labels", "labels.no": "No labels", "outlined.yes": "Outlined completely"},
    "Prediction": {"score.yes": "Has prediction", "score.no": "No prediction"},
    "File": {"missing.yes": "File not found"},
}
"""What can be asked for, by group: within a group one has to hold, of the groups all."""
FILTER_TEXT = {key: text for group in FILTERS.values() for key, text in group.items()}
SORTS = {
    "added": "Date added", "name": "Name", "label": "Slide label", "marked": "Marked share", "score": "Score",
    "uncertainty": "Uncertainty",
}  # fmt: skip
LARGEST_FIRST = frozenset(("marked", "score", "uncertainty"))
"""Orders that begin with the largest value: that is what one looks for."""


@dataclass(frozen=True)
class Criteria:
    """What the list shows.

    Attributes
    ----------
    words : all of them occur in name, label, split, review or patient. chosen : keys of `FILTER_TEXT`.
    sort : key of `SORTS`. backwards : against its natural order. grouped : by patient.
    """

    words: tuple[str, ...] = ()
    chosen: frozenset[str] = frozenset()
    sort: str = "added"
    backwards: bool = False
    grouped: bool = False


class ShownSlides(QAbstractListModel):
    """The rows that are shown: entries of the source and, where grouped, a header before each patient's slides."""

    def __init__(self, source: SlideListModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.source = source
        self.criteria = Criteria()
        self._rows: list[Entry | Header] = []
        self._collapsed: set[str | None] = set()
        self._fitting: list[Entry] = []
        source.modelReset.connect(lambda: self.rebuild(anew=True))
        source.dataChanged.connect(lambda *_: self.rebuild())

    def set_criteria(self, criteria: Criteria) -> None:
        self.criteria = criteria
        self.rebuild()

    def rebuild(self, anew: bool = False) -> None:
        """Filter, sort and group anew; rows that stay where they were are only painted anew."""
        self._fitting = [entry for entry in self.source.entries if fits(entry, self.criteria)]
        self._fitting = in_order(self._fitting, self.criteria)
        rows: list[Entry | Header] = list(self._fitting)
        if self.criteria.grouped:
            rows = []
            for patient, group in _by_patient(self._fitting).items():
                collapsed = patient in self._collapsed
                rows.append(Header(patient, len(group), collapsed, _split_of(group)))
                rows += [] if collapsed else group
        if anew or [_key(row) for row in rows] != [_key(row) for row in self._rows]:
            self.beginResetModel()
            self._rows = rows
            self.endResetModel()
        elif rows:
            self._rows = rows
            self.dataChanged.emit(self.index(0), self.index(len(rows) - 1))

    # ---- asking ---------------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return all slides that fit, in order, those of collapsed groups too."""
        if not self.criteria.grouped:
            return [entry.item.id for entry in self._fitting]
        return [entry.item.id for group in _by_patient(self._fitting).values() for entry in group]

    def place_of(self, id: str) -> QModelIndex:
        """Return the index of a slide; not valid when it is not shown."""
        for row, shown in enumerate(self._rows):
            if isinstance(shown, Entry) and shown.item.id == id:
                return self.index(row)
        return QModelIndex()

    def header_of(self, index: Index) -> QModelIndex:
        """Return the index of the header that a row belongs to; not valid when there is none."""
        for row in range(index.row(), -1, -1):
            if isinstance(self._rows[row], Header):
                return self.index(row)
        return QModelIndex()

    # ---- groups ---------------------------------------------------------------------------------------------------

    def set_collapsed(self, patient: str | None, collapsed: bool) -> None:
        if collapsed != (patient in self._collapsed):
            self._collapsed ^= {patient}
            self.rebuild()

    def collapse_all(self, collapsed: bool) -> None:
        self._collapsed = {entry.item.patient for entry in self.source.entries} if collapsed else set()
        self.rebuild()

    def show_slide(self, id: str) -> None:
        """Open the group in which a slide lies."""
        entry = next((entry for entry in self._fitting if entry.item.id == id), None)
        if entry is not None and self.criteria.grouped:
            self.set_collapsed(entry.item.patient, False)

    # ---- model ----------------------------------------------------------------------------------------------------

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._rows)

    def flags(self, index: Index) -> Qt.ItemFlag:
        if index.isValid() and isinstance(self._rows[index.row()], Header):
            return Qt.ItemFlag.ItemIsEnabled
        return super().flags(index)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not 0 <= index.row() < len(self._rows):
            return None
        row = self._rows[index.row()]
        if isinstance(row, Entry):
            return None if role == HEADER else self.source.value(row, role)
        if role == HEADER:
            return row
        if role == Qt.ItemDataRole.DisplayRole:
            return row.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{row.title}, {row.count_text}, {'collapsed' if row.collapsed else 'expanded'}"
        return None


def fits(entry: Entry, criteria: Criteria) -> bool:
    """Tell whether a slide fits what is asked for."""
    item = entry.item
    values = {
        "label": str(item.label),
        "split": str(item.split),
        "review": item.review,
        "labels": "yes" if item.marked else "no",
        "outlined": "yes" if item.outlined else "no",
        "score": "yes" if entry.score is not None else "no",
        "missing": "yes" if entry.missing else "no",
    }
    wanted: dict[str, set[str]] = {}
    for key in criteria.chosen:
        name, _, _ = key.partition(".")
        wanted.setdefault("labels" if name == "outlined" else name, set()).add(key)
    for keys in wanted.values():
        if not any(values[key.partition(".")[0]] == key.partition(".")[2] for key in keys):
            return False
    if not criteria.words:
        return True
    parts = [item.name, LABEL_TEXT[item.label], SPLIT_TEXT[item.split], item.patient or "", REVIEW_TEXT[item.review]]
    parts += ["outlined"] if item.outlined else []
    parts += ["marked"] if item.marked else []
    parts += ["missing"] if entry.missing else []
    text = " ".join(parts).lower()
    return all(word in text for word in criteria.words)


def in_order(entries: Iterable[Entry], criteria: Criteria) -> list[Entry]:
    """Return slides in the order asked for; those without the value come last, equals stay as they were added."""
    values = {
        "name": lambda e: natural(e.item.name),
        "label": lambda e: {"positive": 0, "negative": 1}.get(e.item.label),
        "marked": lambda e: e.item.marked,
        "score": lambda e: e.score,
        "uncertainty": lambda e: e.uncertainty,
    }
    found = list(entries)
    if criteria.sort not in values:
        return found[::-1] if criteria.backwards else found
    value = values[criteria.sort]
    known = [entry for entry in found if value(entry) is not None]
    known.sort(key=value, reverse=(criteria.sort in LARGEST_FIRST) != criteria.backwards)
    return known + [entry for entry in found if value(entry) is None]


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that puts slide 10 behind slide 9."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _by_patient(entries: Iterable[Entry]) -> dict[str | None, list[Entry]]:
    """Return slides by patient: in the order in which patients come first, those without one last."""
    groups: dict[str | None, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.item.patient, []).append(entry)
    without = groups.pop(None, None)
    return groups | ({None: without} if without else {})


def _split_of(group: list[Entry]) -> str:
    splits = {entry.item.split for entry in group}
    return SPLIT_TEXT[next(iter(splits))] if len(splits) == 1 and None not in splits else ""


def _key(row: Entry | Header) -> tuple[str, Any]:
    return ("slide", row.item.id) if isinstance(row, Entry) else ("patient", row.patient)
