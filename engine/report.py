"""Report of a network's scores on the slides of a workspace: one HTML page that holds everything it shows.

Slides go in by number unless their names are asked for; no path, no label image and no macro image ever does.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .batch import read_states
from .errors import OpsinError, RunError
from .files import write_text
from .judgement import ScoreRow, best_split, first_threshold, score_rows
from .report_page import Report
from .report_pictures import slide_pictures

if TYPE_CHECKING:
    from .workspace import Workspace

NUMBERS = "numbers of slides"
KEY = "slide_numbers.csv"
PICTURES = 12
SIZE = 420
"""Longest side of a picture, px."""


def write_report(
    workspace: Workspace,
    run: str,
    target: Path,
    *,
    split: str | None = None,
    threshold: float | None = None,
    map_threshold: float = 0.5,
    names: bool = False,
    pictures: int = PICTURES,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write the report of a run's scores to `target` (``.html``).

    Parameters
    ----------
    run : name under which scores and heat maps are kept (the run folder's).
    split : "test", "val", "train" or "" (all); None: the one that says most about unseen slides.
    threshold : of slide scores; None: the one chosen in the window, else the one that finds every positive validation slide.
    names : call slides by their names; otherwise by numbers, whose key stays in the workspace (`slide_numbers`).
    pictures : how many slides are shown, at most.
    progress : told (done, total) for each picture.

    Raises
    ------
    RunError : the run has scored no slide.
    OpsinError : `target` cannot be written.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise OpsinError(f"A threshold of slide scores lies between 0 and 1, not at {threshold:g}.")
    if target.suffix.lower() not in (".html", ".htm"):
        raise OpsinError(f"{target.name}: a report is a page; choose a name that ends in .html.")
    report = collect(workspace, run, split=split, threshold=threshold, map_threshold=map_threshold, names=names)
    chosen = chosen_for_pictures(report, pictures)
    states = {item.id: item for item in workspace.items()}
    heats = {entry["item"]: entry.get("heatmap") for entry in workspace.scores(run)}
    for number, (id, why) in enumerate(chosen):
        if progress is not None:
            progress(number, len(chosen))
        heat = Path(heats.get(id) or workspace.heatmap_path(run, id))
        try:
            with workspace.open_slide(states[id]) as slide:
                plain, over = slide_pictures(slide, heat, SIZE, map_threshold)
        except OpsinError:
            report.unreadable.append(report.numbers[id])
            continue
        report.pictures.append((id, why, plain, over))
    write_text(target, report.page())
    return report


def collect(
    workspace: Workspace,
    run: str,
    *,
    split: str | None = None,
    threshold: float | None = None,
    map_threshold: float = 0.5,
    names: bool = False,
) -> Report:
    """Return a report without pictures; see `write_report`."""
    states = {
        id: ("stopped" if entry["state"] == "running" else entry["state"], entry.get("error", ""))
        for id, entry in read_states(workspace.folder / "heatmaps" / run).items()
    }
    rows = score_rows(workspace, run, states)
    if not any(row.score is not None for row in rows):
        known = sorted({entry["run"] for entry in workspace.scores()})
        raise RunError(
            f"'{run}' has scored no slide of {workspace.folder.name}"
            + (f"; there are scores of {', '.join(known)}." if known else "; predict slides first.")
        )
    source = ""
    if threshold is None:
        kept = workspace.setting(f"threshold of {run}")
        if isinstance(kept, float):
            threshold, source = kept, "chosen in the window"
        else:
            threshold, source = first_threshold(rows)
    order = sorted(rows, key=ScoreRow.order, reverse=True)
    numbers = {row.item: row.name for row in order} if names else slide_numbers(workspace)
    record = next((r for r in workspace.runs() if Path(r["folder"]).name == run), {})
    return Report(
        title=f"Opsin report: {_title(workspace.folder) if names else 'slide scores'}",
        rows=rows,
        split=best_split(rows) if split is None else split,
        threshold=threshold,
        source=source,
        record=record,
        numbers=numbers,
        named=names,
        map_threshold=map_threshold,
        trained=trained_on(Path(record["folder"])) if "folder" in record else frozenset(),
    )


def slide_numbers(workspace: Workspace) -> dict[str, str]:
    """Return how slides are called where names stay out: "Slide 7", by id. A slide keeps its number as long as it is there.

    The key to the numbers stays in the workspace, as ``slide_numbers.csv``.
    """
    items = workspace.items()
    known: dict[str, int] = workspace.setting(NUMBERS, {})
    fresh = [item for item in items if item.id not in known]
    if fresh:
        known |= {item.id: n for n, item in enumerate(fresh, 1 + max(known.values(), default=0))}
        workspace.set_setting(NUMBERS, known)
    key = io.StringIO(newline="")
    rows = csv.writer(key, lineterminator="\n")
    rows.writerow(("number", "slide", "id"))
    rows.writerows(sorted((known[item.id], item.name, item.id) for item in items))
    write_text(workspace.folder / KEY, "\ufeff" + key.getvalue())
    return {item.id: f"Slide {known[item.id]}" for item in items}


def trained_on(run: Path) -> frozenset[str]:
    """Return the ids of the slides that a run was trained on, as its frozen snapshots have them."""
    found = set()
    for path in (run / "snapshots").glob("round_*.json"):
        try:
            samples = json.loads(path.read_text(encoding="utf-8"))["samples"]
            found |= {str(sample["id"]) for sample in samples if sample.get("split") in ("train", None)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a run of another kind, or a damaged one: nothing is known
    return frozenset(found)


def _title(folder: Path) -> str:
    """Name of a workspace; one that lies beside its slides in a folder "opsin" is called like the slides' folder."""
    return folder.parent.name if folder.name == "opsin" else folder.name


def chosen_for_pictures(report: Report, most: int) -> list[tuple[str, str]]:
    """Return which slides are shown and why: (id, words). First the one that sets the threshold, then the worst mistakes,
    then the highest and the lowest score of each kind."""
    judged = report.judged
    known = sorted(judged.rows, key=lambda row: row.score or 0.0)
    found: dict[str, str] = {}
    if judged.setter_row is not None:
        found[judged.setter_row.item] = "sets the threshold at 100 % sensitivity"
    wrong = [row for row in known if row.verdict(report.threshold) == "wrong"]
    for row in sorted(wrong, key=lambda row: -abs((row.score or 0.0) - report.threshold)):
        found.setdefault(row.item, "missed" if row.label == "positive" else "false alarm")
    for label, called in (("positive", "rightly called positive"), ("negative", "rightly called negative")):
        right = [row for row in known if row.label == label and row.verdict(report.threshold) == "right"]
        for some, words in ((right[-1:], "highest score"), (right[:1], "lowest score")):
            for one in some:
                found.setdefault(one.item, f"{called}, {words} of these")
    scored = sorted((row for row in report.rows if row.score is not None), key=ScoreRow.order, reverse=True)
    for row in scored:
        found.setdefault(row.item, "no label" if row.label is None else "of those with the highest scores")
    return list(found.items())[:most]
