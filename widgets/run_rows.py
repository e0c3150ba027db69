"""The lines of the table of runs: a run on disk, a job of this window, or both; and what is said of them in words."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtGui import QColor, QPainter, QPixmap

from ..engine.continuing import parent_of
from ..engine.jobs import Job
from ..engine.replay import INTERRUPTED, resumable, run_name, startable
from ..engine.runs import FINAL
from ..engine.verbs import CHECKPOINT, command_line
from .run_card import STATE_WORDS, state_color
from .tables import RowsModel

COLUMNS = ("Started", "Name", "State", "Result", "Method")
KEY_METRICS = ("specificity", "spec", "auc", "dice", "iou", "kappa", "accuracy", "loss")
SHORT = {"specificity": "spec.", "spec": "spec.", "auc": "AUC", "dice": "Dice", "iou": "IoU"}


@dataclass
class RunRow:
    """One line of the table: a run on disk, a job of this window, or both.

    Attributes
    ----------
    folder : of the run; empty for a job that has none.
    record : content of ``run.json``, empty before there is one.
    job : the job of this window or the one followed; None for earlier runs.
    seen : unix time at which the job was first seen; what counts until there is a record.
    """

    folder: str
    record: dict[str, Any] = field(default_factory=dict)
    job: Job | None = None
    seen: float = 0.0

    @property
    def state(self) -> str:
        return self.job.state if self.job is not None else str(self.record.get("state", INTERRUPTED))

    @property
    def created(self) -> float:
        return float(self.record.get("created", self.seen))

    @property
    def rank(self) -> int:
        """Place in the table: at work, waiting, through."""
        return 2 if self.final else int(self.state == "queued")

    @property
    def method(self) -> str:
        return self.job.spec.method if self.job is not None else str(self.record.get("method", ""))

    @property
    def final(self) -> bool:
        return self.state in (*FINAL, INTERRUPTED, "unreadable")

    @property
    def name(self) -> str:
        """What is shown of the run: the name that somebody gave it, else the preset."""
        return (run_name(Path(self.folder)) if self.folder else "") or self.preset

    @property
    def resumable(self) -> bool:
        return self._ended and resumable(self.record, Path(self.folder))

    @property
    def repeatable(self) -> bool:
        """True for a training that ended and kept nothing to go on from."""
        return self._ended and startable(self.record) and not self.resumable

    @property
    def _ended(self) -> bool:
        """True for the run of a folder that is not at work, also where its ``run.json`` says so a moment later."""
        return bool(self.folder and self.record) and self.final and (self.job is None or self.job.final)

    @property
    def preset(self) -> str:
        if self.job is not None and self.job.spec.verb != "train":
            return {"predict": "Prediction", "evaluate": "Evaluation"}[self.job.spec.verb]
        arguments = self.job.spec.arguments if self.job is not None else self.record
        return str(arguments.get("preset") or "")

    @property
    def title(self) -> str:
        return Path(self.folder).name if self.folder else (self.job.spec.title if self.job else "")

    @property
    def checkpoint(self) -> bool:
        return bool(self.folder) and (Path(self.folder) / CHECKPOINT).exists()

    @property
    def result(self) -> str:
        return kept_round(self.record) or key_metric(self.record.get("metrics") or {})

    @property
    def command(self) -> str:
        if self.record.get("command"):
            return str(self.record["command"])
        return command_line(self.job.spec.plain()) if self.job is not None else ""


class RunsModel(RowsModel):
    """The rows for a table view; row 0 is the newest."""

    columns = COLUMNS
    rows: list[RunRow]

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return (
                short_time(row.created),
                row.name,
                STATE_WORDS.get(row.state, row.state),
                row.result,
                row.method,
            )[index.column()]
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return state_dot(row.state)
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(text for text in (row.title, kept_note(row.record), corrected_note(row.record)) if text)
        return None


def key_metric(metrics: dict[str, Any]) -> str:
    """Return the number that says most about a run, with its name; empty when there is none."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    for key in KEY_METRICS:
        for name, value in numbers.items():
            if key in name.lower():
                short = SHORT.get(key, name.rpartition("/")[2].replace("_", " "))
                if len(short) > 12:  # a column is narrow; the card and the log have the whole name
                    short = key
                return f"{short} {value:.3g}"
    return ""


def kept_round(record: dict[str, Any]) -> str:
    """Return which round a training has kept, with its loss: "round 2, loss 0.53"; empty where nothing says so."""
    round, losses = record.get("round"), record.get("stage2_losses") or {}
    if round is None or str(round) not in losses:
        return ""
    return f"round {round}, loss {losses[str(round)]:.3g}"


def kept_note(record: dict[str, Any]) -> str:
    """Return in a sentence which round a training has kept, and why."""
    round, losses = record.get("round"), record.get("stage2_losses") or {}
    if round is None or str(round) not in losses:
        return ""
    others = ", ".join(f"{loss:.3g} after round {r}" for r, loss in losses.items() if r != str(round))
    text = f"Kept: round {round}, slide classifier's loss {losses[str(round)]:.3g}"
    return f"{text} ({others})." if others else f"{text}."


def corrected_note(record: dict[str, Any]) -> str:
    """Return in a sentence from which run a training went on, and how many pixels were corrected before each round, and where."""
    parent = parent_of(record.get("recipe") or {})
    parts = [f"Continues {run_name(parent) or parent.name}."] if parent is not None else []
    for round, entries in (record.get("corrections") or {}).items():
        where = ", ".join(f"{entry['name']} {entry['pixels']:,}" for entry in entries[:4])
        more = f" and {len(entries) - 4} more" if len(entries) > 4 else ""
        when = "to begin with" if round == "0" else f"before round {round}"
        parts.append(f"Corrected by hand {when}: {sum(e['pixels'] for e in entries):,} pixels ({where}{more}).")
    return " ".join(parts)


def difference_html(one: RunRow, other: RunRow) -> str:
    """Return a table of the settings and metrics in which two runs differ."""

    def values(row: RunRow) -> dict[str, Any]:
        recipe = row.record.get("recipe") or (row.job.spec.arguments.get("recipe") if row.job else {}) or {}
        metrics = row.record.get("metrics") or {}
        numbers = {k: f"{v:.4g}" for k, v in metrics.items() if isinstance(v, int | float)}
        return {**recipe, "device": row.record.get("device", ""), **numbers}

    left, right = values(one), values(other)
    names = [n for n in {**left, **right} if left.get(n) != right.get(n)]
    if not names:
        return "<p>The two runs have the same settings.</p>"
    lines = [
        f"<tr><td style='padding:2px 12px 2px 0'>{escape(name)}</td>"
        f"<td style='padding:2px 12px 2px 0'>{escape(str(left.get(name, '-')))}</td>"
        f"<td style='padding:2px 0'>{escape(str(right.get(name, '-')))}</td></tr>"
        for name in names
    ]
    head = "".join(f"<th align='left' style='padding-right:12px'>{escape(t)}</th>" for t in (
        "Setting", short_time(one.created), short_time(other.created)
    ))  # fmt: skip
    return f"<table cellspacing='0'><tr>{head}</tr>{''.join(lines)}</table>"


def short_time(seconds: float) -> str:
    """Return "14:03" for today, else "25 Nov 14:03"."""
    moment = time.localtime(seconds)
    today = time.strftime("%Y%m%d", moment) == time.strftime("%Y%m%d")
    return time.strftime("%H:%M" if today else "%-d %b %H:%M" if hasattr(time, "tzset") else "%d %b %H:%M", moment)


def state_dot(state: str) -> QPixmap:
    """Return a dot in the colour of a state, for a table cell."""
    picture = QPixmap(24, 24)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(state_color(state)))
    painter.drawEllipse(4, 4, 16, 16)
    painter.end()
    picture.setDevicePixelRatio(2.0)
    return picture
