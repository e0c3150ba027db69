"""Tables of slides in and out, and splits by chance. `workspace.Workspace` is built on it."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .files import from_json, write_text
from .patients import dividing
from .slide_table import match_rows, read_slide_table, shared_out
from .workspace_items import Item, SlideRecords

HEADER = (
    "slide", "label", "split", "patient", "review", "reviewed by", "reviewed at", "outlined", "marked", "score", "run",
)  # fmt: skip
Says = dict[str, dict[str, Any]]
"""Slide id -> field -> value."""


class SlideTables(SlideRecords):
    """Slide labels from tables, the table of all slides, splits by chance."""

    def read_labels_csv(self, path: Path, keep: bool = False) -> tuple[Says, list[str]]:
        """Read slide labels from a table (`slide_table.py`) and change nothing.

        Parameters
        ----------
        keep : what is known of a slide already is to stay, so only the rest of the table is returned.

        Returns
        -------
        What the table says of each slide it names ("label", "split", "patient", "review", "reviewer"), by id; and the rows
        (or words) that are not used, each with the reason: one is that a patient would come into two splits.
        """
        items = self.items()
        slides = {item.id: (self.slide_path(item), item.name) for item in items}
        found = match_rows(read_slide_table(path), slides, Path(path).resolve().parent)
        left = [f"{row.text} ({reason})" for row, reason in found.left]
        says: Says = {}
        for id, row in found.rows.items():
            left += [f"{row.text} ('{word}' is not known)" for word in row.unknown]
            if row.says:
                says[id] = dict(row.says)
            elif not row.unknown:
                left.append(f"{row.text} (it says nothing)")
        wanted = self._gaps(items, says) if keep else says
        for id, patient in dividing(items, wanted).items():
            left.append(f"{found.rows[id].text} (slides of patient {patient} would come into different splits)")
            del says[id]
        return says, left

    def _gaps(self, items: Iterable[Item], says: Mapping[str, Mapping[str, Any]]) -> Says:
        """Return what of `says` fills gaps."""
        known = {item.id: item for item in items}
        wanted = {}
        for id, fields in says.items():
            item = known[id]
            gaps = {name: value for name, value in fields.items() if not getattr(item, name)}
            if "review" in fields and item.review == "to do":
                gaps["review"] = fields["review"]
            elif "review" in fields:
                gaps.pop("reviewer", None)
            if gaps:
                wanted[id] = gaps
        return wanted

    def import_labels_csv(self, path: Path, keep: bool = False) -> tuple[int, list[str]]:
        """Take over slide labels from a table in one step; with `keep`, what is known of a slide already stays.

        Returns
        -------
        How many slides the table says something of, and what of it is not used (see `read_labels_csv`).
        """
        says, left = self.read_labels_csv(path, keep)
        wanted = self._gaps(self.items(), says) if keep else says
        self.edit(wanted, f"import of {Path(path).name}")
        return len(says), left

    def overwritten(self, says: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Return what known values would give way to others, one text for each such slide."""
        texts = []
        for id, changes in says.items():
            item = self.item(id)
            known = {name: getattr(item, name) for name in changes if getattr(item, name) not in (None, "", "to do")}
            other = [f"{name} {old} becomes {changes[name]}" for name, old in known.items() if changes[name] != old]
            if other:
                texts.append(f"{item.name}: {', '.join(other)}")
        return texts

    def assign_splits(self, seed: int = 0, val: float = 0.2, test: float = 0.0, keep: bool = False) -> None:
        """Share slides out to train, val and test at random, keeping all slides of a patient together.

        Parameters
        ----------
        keep : slides that have a split keep it; others of the same patient get it too.
        """
        items = self.items()
        known = {item.patient: item.split for item in items if keep and item.patient and item.split}
        open_ = [item for item in items if not (keep and item.split)]
        shares = {item.id: known[item.patient] for item in open_ if item.patient in known}
        shares |= shared_out([item for item in open_ if item.id not in shares], seed, val, test)
        self.edit({id: {"split": split} for id, split in shares.items()}, "splits by chance")

    def set_score(self, item_id: str, run: str, values: dict[str, Any]) -> None:
        """Keep a slide's score (`SlideScore.plain()`, where "score" may be None) as given by a run."""
        self._execute(
            "INSERT OR REPLACE INTO score VALUES(?, ?, ?, ?, ?)",
            (run, item_id, values["score"], json.dumps(values), time.time()),
        )
        self.changed.emit("scores")

    def scores(self, run: str | None = None) -> list[dict[str, Any]]:
        """Return the slides' scores, highest first, those without one last: of `run`, or (None) the latest of each slide."""
        rows = self._select("SELECT run, item, score, json, time FROM score ORDER BY time")
        latest: dict[str, dict[str, Any]] = {}
        for name, item, score, text, when in rows:
            if run is None or name == run:
                with self._database.understood("a score"):
                    latest[item] = {**from_json(text), "run": name, "item": item, "score": score, "time": when}
        # no score (a slide without tissue) comes last
        return sorted(
            latest.values(), key=lambda entry: -1.0 if entry["score"] is None else entry["score"], reverse=True
        )

    def write_slide_table(self, path: Path) -> int:
        """Write all slides as CSV (UTF-8 with mark, which spreadsheets want), whole or not at all; return their number.

        Columns: `HEADER`; "marked" is the share of pixels 0..1, "reviewed at" local time, "score" and "run" the latest
        prediction. `import_labels_csv` reads it. No path is written: paths may name patients.
        """
        scores = {entry["item"]: entry for entry in self.scores()}
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(HEADER)
        items = self.items()
        for item in items:
            score = scores.get(item.id, {})
            value = score.get("score")
            rows.writerow((
                item.name, item.label or "", item.split or "", item.patient or "", item.review, item.reviewer or "",
                _when(item.reviewed), "yes" if item.outlined else "no", f"{item.marked:.6g}",
                "" if value is None else f"{value:.6g}", score.get("run", ""),
            ))  # fmt: skip
        write_text(Path(path), "\ufeff" + text.getvalue())
        return len(items)


def _when(moment: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if moment else ""
