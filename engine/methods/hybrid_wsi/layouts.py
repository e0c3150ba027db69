"""Folders that users of the method already have: CAMELYON16/17 and their mirrors, and slides with a table.

Slides and annotations may lie anywhere below the chosen folder; they are brought together by the stem of their names.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...data.sets import slides_below
from ...data.slides import PICTURE_SUFFIXES, file_fingerprint
from ...errors import OpsinError, RunError, WorkspaceError
from ...labels.classes import DEFAULT_CLASSES, LabelClass
from ...slide_table import LABEL_COLUMNS, TableRow, match_rows, read_slide_table, slide_label, unknown_words
from .data import SlideSample

TABLES = ("labels.csv", "reference.csv", "stages.csv")
ANNOTATIONS = (".xml", ".geojson")
ONLY_IN_TABLES = {"yes", "no", "true", "false", "itc", "micro", "macro"}
"""Words that say nothing as the name of a folder."""
NOT_EXHAUSTIVE = {"test_114"}
DUPLICATE = {"test_049"}


def read_folder(folder: Path) -> tuple[str, list[SlideSample], list[str]]:
    """Return (name of the layout, samples, notes for the log) of a folder that is no workspace.

    Raises
    ------
    RunError : two slides have the same name and it is not said that they are two; or a table cannot be read.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    slides = [p for p in slides_below(folder) if not _is_mask(p.relative_to(folder))]
    camelyon = any(re.match(r"(normal|tumor|test)_\d{3}$|patient_\d{3}_node_\d$", p.stem.lower()) for p in slides)
    notes: list[str] = []
    if camelyon and (left := [p for p in slides if p.stem.lower() in DUPLICATE]):
        notes.append(f"{_named(left)}: a duplicate in CAMELYON16, left out.")
        slides = [p for p in slides if p not in left]
    slides = _distinct(slides, notes)
    tables = [p for p in files if p.name.lower() in TABLES]
    rows: dict[Path, dict[str, str]] = {}
    for table in tables:
        for path, row in _rows(table, slides, notes).items():
            rows[path] = rows.get(path, {}) | row
    shared = _shared_names(folder, slides, rows)
    outlines = _outlines(slides, [p for p in files if p.suffix.lower() in ANNOTATIONS], notes)
    samples = []
    for path in slides:
        place, row, outline = path.relative_to(folder), rows.get(path, {}), outlines.get(path)
        label = _label(place, row)
        outlined = _outlined(path.stem.lower(), row, outline)
        if label is None and outline is not None:
            label, outlined = _told_by(outline, outlined, bool(row.get("outlined")))
        samples.append(
            SlideSample(
                id=_id(place, path in shared),
                path=path,
                label=label,
                split=_split(place, row, camelyon),
                patient=row.get("patient") or _patient(path.stem.lower()),
                outlined=outlined,
                mpp=_number(row.get("mpp")),
                name=place.with_suffix("").as_posix() if path in shared else path.stem,
                outlines=outline,
                node=_node(row),
            )
        )
    if outlines:
        notes.append("Slides with an annotation file count as outlined completely unless a table says otherwise.")
    layout = "CAMELYON folder" if camelyon else "folder with labels.csv" if tables else "folder with slides"
    return layout, samples, notes


def _distinct(slides: Sequence[Path], notes: list[str]) -> list[Path]:
    """Return the slides without pictures of them (thumbnails) and without second copies."""
    groups: dict[str, list[Path]] = {}
    for path in slides:
        groups.setdefault(path.stem.lower(), []).append(path)
    pictures, copies = [], []
    for group in groups.values():
        drawn = [p for p in group if p.suffix.lower() in PICTURE_SUFFIXES]
        if len(drawn) < len(group):
            pictures += drawn
            group = [p for p in group if p not in drawn]
        seen: dict[str, Path] = {}
        for path in group if len(group) > 1 else ():
            if seen.setdefault(_content(path), path) != path:
                copies.append(path)
    if pictures:
        notes.append(f"{_named(pictures)}: pictures with the name of a slide, left out.")
    if copies:
        notes.append(f"{_named(copies)}: copies of another slide, left out.")
    left = {*pictures, *copies}
    return [path for path in slides if path not in left]


def _content(path: Path) -> str:
    try:
        return file_fingerprint(path)
    except OSError:
        return str(path)


def _rows(table: Path, slides: Sequence[Path], notes: list[str]) -> dict[Path, dict[str, str]]:
    """Return what a table says of each slide, by column; what is not used is noted."""
    try:
        rows = read_slide_table(table)
    except WorkspaceError as error:
        raise RunError(str(error)) from None
    found = match_rows(rows, {path: (path, path.stem) for path in slides}, table.resolve().parent)
    if words := unknown_words(found.rows.values()):
        notes.append(f"{table.name}: not known and not used: {words}.")
    reasons: dict[str, list[str]] = {}
    for row, reason in found.left:
        reasons.setdefault(reason, []).append(row.name)
    for reason, names in reasons.items():
        count = "one row is" if len(names) == 1 else f"{len(names)} rows are"
        notes.append(f"{table.name}: {count} not used, as {reason} ({_few(names)}).")
    return {path: _said(row) for path, row in found.rows.items()}


def _said(row: TableRow) -> dict[str, str]:
    """Return the cells of a row that are not empty; under "row" stand its label and split in one way of writing."""
    return {name: text for name, text in row.cells.items() if text} | {f"row {k}": v for k, v in row.says.items()}


def _shared_names(folder: Path, slides: Sequence[Path], rows: Mapping[Path, Mapping[str, str]]) -> set[Path]:
    """Return the slides whose name another one has too.

    They are two slides when a table has a row for each, or when they lie in two folders that say their labels (``normal/1.tif``
    and ``tumor/1.tif``). Else one may be a thumbnail or another format of the other; to take the wrong one would be bad.
    """
    groups: dict[str, list[Path]] = {}
    for path in slides:
        groups.setdefault(path.stem.lower(), []).append(path)
    groups = {stem: group for stem, group in groups.items() if len(group) > 1}
    for group in groups.values():
        apart = all(path in rows for path in group) or (
            len({path.suffix.lower() for path in group}) == 1
            and len({path.parent for path in group}) == len(group)
            and all(_word_of_folder(path.relative_to(folder)) for path in group)
        )
        if not apart:
            raise RunError(
                f"Two slides have the same name: {_few([str(p.relative_to(folder)) for p in group])}. Keep one of them, give "
                "them different names, or list both with their paths in labels.csv."
            )
    return {path for group in groups.values() for path in group}


def _outlines(slides: Sequence[Path], files: Sequence[Path], notes: list[str]) -> dict[Path, Path]:
    """Return the annotation file of each slide: of the same name, the one beside it first."""
    named: dict[str, list[Path]] = {}
    for path in files:
        named.setdefault(path.stem.lower(), []).append(path)
    stems = [path.stem.lower() for path in slides]
    count = Counter(stems)
    found: dict[Path, Path] = {}
    several, unsure = [], []
    for path, stem in zip(slides, stems):
        there = named.get(stem, [])
        beside = [p for p in there if p.parent == path.parent]
        if not there:
            continue
        if count[stem] > 1 and not beside:
            unsure.append(path)
            continue
        found[path] = (beside or there)[-1]
        if len(beside or there) > 1:
            several.append(found[path])
    if several:
        notes.append(f"{_named(several)}: used, though there are other annotation files of this name.")
    if unsure:
        notes.append(f"{_named(unsure)}: the annotation file may belong to another slide of this name and is not used.")
    return found


def _told_by(outline: Path, outlined: bool, by_table: bool) -> tuple[int | None, bool]:
    """Return (label, outlined) of a slide of which neither a table nor a folder says what it is.

    Drawn tumour makes it positive. A file without any (of another program, empty, only normal tissue) says nothing of the
    slide, unless a table has it as outlined completely.
    """
    from ...labels.exchange import class_mapping, read_annotations
    from ...labels.mapping import cautious

    try:
        outlines = read_annotations(outline)
    except OpsinError:  # the snapshot tells why
        return None, False
    mapping = cautious(class_mapping(outlines, DEFAULT_CLASSES), DEFAULT_CLASSES)
    targets = [mapping[one.class_name] for one in outlines if one.areal]
    if any(isinstance(target, LabelClass) and target.role == "positive" for target in targets):
        return 1, outlined
    complete = outlined and by_table
    return 0 if complete else None, complete


def _id(place: Path, shared: bool) -> str:
    """Return a name for files of the slide that no other slide has, whatever else lies in the folder."""
    clean = re.sub(r"[^\w.-]", "_", place.stem)
    if clean == place.stem and not shared:
        return clean
    return f"{clean}-{hashlib.sha256(place.as_posix().encode()).hexdigest()[:8]}"


def _named(paths: Sequence[Path]) -> str:
    return _few([path.name for path in paths])


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _is_mask(path: Path) -> bool:
    folders = {part.lower() for part in path.parts[:-1]}
    return bool(folders & {"mask", "masks"}) or path.stem.lower().endswith(("_mask", "-mask"))


def _label(place: Path, row: Mapping[str, str]) -> int | None:
    """Return what the table says, else the slide's name (``normal_001``), else the folder that is closest to it."""
    if "row label" in row or any(row.get(column) for column in LABEL_COLUMNS):
        return {"positive": 1, "negative": 0}.get(row.get("row label", ""))
    return {"positive": 1, "negative": 0}.get(_word(place.stem.split("_")[0]) or _word_of_folder(place))


def _word_of_folder(place: Path) -> str:
    return next((word for part in reversed(place.parts[:-1]) if (word := _word(part))), "")


def _word(text: str) -> str:
    """Return the label that a name of a file or folder says; a number, or "macro" of a picture of the glass, says none."""
    return slide_label(text) or "" if text.lower() not in ONLY_IN_TABLES and not re.fullmatch(r"[\d.]+", text) else ""


def _split(place: Path, row: Mapping[str, str], camelyon: bool) -> str | None:
    if "row split" in row:
        return row["row split"]
    if camelyon:
        stem = place.stem.lower()
        node = re.match(r"patient_(\d{3})", stem)
        return "test" if stem.startswith("test_") or (node and int(node[1]) >= 100) else "train"
    return None


def _outlined(stem: str, row: Mapping[str, str], outline: Path | None) -> bool:
    """Whether everything outside the outlines may count as negative."""
    word = row.get("outlined", "").lower()
    if word:
        return word in ("complete", "completely") or slide_label(word) == "positive"
    if stem in NOT_EXHAUSTIVE or any(row.get(column, "").lower() == "itc" for column in LABEL_COLUMNS):
        return False
    return outline is not None


def _node(row: Mapping[str, str]) -> str | None:
    word = row.get("stage", "").lower()
    return word if word in ("negative", "itc", "micro", "macro") else None


def _patient(stem: str) -> str | None:
    found = re.match(r"(patient_\d+)", stem)
    return found[1] if found else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < 1000 else None
