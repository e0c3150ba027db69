"""Taking along what a network says of many slides at once: report, table, heat maps, outlines."""

from __future__ import annotations

import csv
import time
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OpsinError
from .files import replacing
from .judgement import ScoreRow
from .report import collect, write_report
from .report_page import Report
from .results import Heatmap

if TYPE_CHECKING:
    from .workspace import Workspace

KINDS = {
    "report": "Report (HTML)",
    "table": "Table of scores (CSV)",
    ".tif": "Heat maps (TIFF)",
    ".ome.zarr": "Heat maps (OME-Zarr)",
    ".geojson": "Outlines (QuPath GeoJSON)",
    ".xml": "Outlines (ASAP XML)",
}
"""What can be taken along, in the order in which it is offered."""
OF_SLIDES = (".tif", ".ome.zarr", ".geojson", ".xml")


@dataclass
class Exported:
    """What an export has written: its folder, the number of files, and what could not be written, with the reasons."""

    folder: Path
    written: int = 0
    problems: list[str] = field(default_factory=list)


def export_results(
    workspace: Workspace,
    run: str,
    folder: Path,
    kinds: Collection[str],
    *,
    ids: Sequence[str] | None = None,
    threshold: float | None = None,
    map_threshold: float = 0.5,
    names: bool = False,
) -> Generator[tuple[int, int, str], None, Exported]:
    """Write what a run says of slides into a new folder in `folder`; yields (done, total, what) and returns what was written.

    Nothing that exists is overwritten. A slide that fails is listed, and the others follow. Ended early (the generator is
    closed), what is written stays whole.

    Parameters
    ----------
    run : name under which scores and heat maps are kept.
    kinds : keys of `KINDS`.
    ids : slides whose heat maps and outlines are written; None: all that have one. Report and table have all slides.
    names : call files and slides by the slides' names; otherwise by numbers (see `report.slide_numbers`).

    Raises
    ------
    RunError : the run has scored no slide.
    OpsinError : the folder cannot be made.
    """
    report = collect(workspace, run, threshold=threshold, map_threshold=map_threshold, names=names)
    result = Exported(_new_folder(folder))
    heats = _heat_maps(workspace, run, ids) if any(kind in OF_SLIDES for kind in kinds) else {}
    work = [kind for kind in KINDS if kind in kinds]
    total = sum(len(heats) if kind in OF_SLIDES else 1 for kind in work)
    done = 0
    files = _file_names(report)
    for kind in work:
        if kind == "table":
            yield done, total, KINDS[kind]
            write_scores(result.folder / "scores.csv", named(report), report.threshold)
            result.written, done = result.written + 1, done + 1
        elif kind == "report":
            yield done, total, KINDS[kind]
            page = result.folder / "report.html"
            write_report(workspace, run, page, threshold=report.threshold, map_threshold=map_threshold, names=names)
            result.written, done = result.written + 1, done + 1
        else:
            for id, path in heats.items():
                yield done, total, f"{KINDS[kind]}: {report.numbers[id]}"
                try:
                    tail = "_heat" if kind in (".tif", ".ome.zarr") else "_outlines"
                    Heatmap(path, threshold=map_threshold).save(result.folder / f"{files[id]}{tail}{kind}")
                    result.written += 1
                except OpsinError as error:
                    result.problems.append(f"{report.numbers[id]}: {error}")
                done += 1
    yield done, total, "written"
    return result


def named(report: Report) -> list[ScoreRow]:
    """Return the rows of a report as it calls the slides."""
    return [ScoreRow(**{**vars(row), "name": report.numbers[row.item]}) for row in report.rows]


def write_scores(target: Path, rows: list[ScoreRow], threshold: float) -> None:
    """Write a table of slide scores as CSV, highest first; slides without a score come last.

    One that was predicted but could not be scored is called "n/a", and why stands under "scored by". The last column is
    the threshold that the calls rest on.
    """
    with replacing(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("slide", "label", "split", "score", "called", "scored by", "area_mm2", "tiles_skipped", "threshold")
        )
        for row in sorted(rows, key=ScoreRow.order, reverse=True):
            called = "n/a" if row.source else ""
            if row.score is not None:
                called = "positive" if row.score >= threshold else "negative"
            values = (row.name, row.label, row.split, row.score, called, row.source, row.area, row.skipped)
            writer.writerow((*values, threshold if row.score is not None else None))


def _heat_maps(workspace: Workspace, run: str, ids: Sequence[str] | None) -> dict[str, Path]:
    """Return the finished heat maps of a run by slide; those of slides without a score are not complete."""
    kept = {entry["item"]: entry.get("heatmap") for entry in workspace.scores(run)}
    found = {}
    for item in workspace.items():
        if item.id not in kept or (ids is not None and item.id not in ids):
            continue
        path = Path(kept[item.id] or workspace.heatmap_path(run, item.id))
        if path.exists():
            found[item.id] = path
    return found


def _new_folder(parent: Path) -> Path:
    name = time.strftime("opsin results %Y-%m-%d %H%M%S")
    for number in range(1, 1000):
        path = parent / (name if number == 1 else f"{name} ({number})")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OpsinError(f"{path} cannot be made ({error.strerror}); choose another folder.") from None
        return path
    raise OpsinError(f"{parent} holds too many exports of this second; try again.")


def _file_names(report: Report) -> dict[str, str]:
    """Return how the files of each slide are called; two slides of one name get numbers."""
    taken: set[str] = set()
    names = {}
    for id, name in report.numbers.items():
        stem = clean = "".join(c if c.isalnum() or c in "-_. ()" else "_" for c in name).strip(". ") or "slide"
        number = 1
        while clean.casefold() in taken:
            number += 1
            clean = f"{stem} ({number})"
        taken.add(clean.casefold())
        names[id] = clean
    return names
