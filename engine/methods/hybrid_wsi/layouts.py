"""Folders that users of the method already have: CAMELYON16/17 and their mirrors, and slides with a table.

Slides and annotations may lie anywhere below the chosen folder; they are brought together by the stem of their names.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ...data.slides import SUFFIXES
from ...errors import RunError
from .data import SlideSample

POSITIVE = {"1", "positive", "pos", "tumor", "tumour", "metastasis", "metastases", "cancer", "yes", "true"}
POSITIVE |= {"itc", "micro", "macro"}
NEGATIVE = {"0", "negative", "neg", "normal", "benign", "healthy", "no", "false"}
NAME_COLUMNS = ("slide", "name", "filename", "file", "image", "slide_id", "image_id", "path", "patient")
LABEL_COLUMNS = ("label", "class", "target", "diagnosis", "type", "stage")
ANNOTATIONS = (".xml", ".geojson")
NOT_EXHAUSTIVE = {"test_114"}
DUPLICATE = {"test_049"}


def read_folder(folder: Path) -> tuple[str, list[SlideSample], list[str]]:
    """Return (name of the layout, samples, notes for the log) of a folder that is no workspace."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    slides = [p for p in files if p.suffix.lower() in SUFFIXES and not _is_mask(p.relative_to(folder))]
    outlines = {p.stem.lower(): p for p in files if p.suffix.lower() in ANNOTATIONS}
    tables = [p for p in files if p.name.lower() in ("labels.csv", "reference.csv", "stages.csv")]
    rows: dict[str, dict[str, str]] = {}
    for table in tables:
        rows.update(_read_table(table))
    names = {p.stem.lower() for p in slides}
    camelyon = any(re.match(r"(normal|tumor|test)_\d{3}$|patient_\d{3}_node_\d$", name) for name in names)
    samples, notes, taken = [], [], set()
    for path in slides:
        stem = path.stem.lower()
        if camelyon and stem in DUPLICATE:
            notes.append(f"{path.name} is a duplicate in CAMELYON16 and is left out.")
            continue
        if stem in taken:
            notes.append(f"{path.relative_to(folder)} has the name of another slide and is left out.")
            continue
        taken.add(stem)
        row = rows.get(stem, {})
        outline = outlines.get(stem)
        samples.append(
            SlideSample(
                id=re.sub(r"[^\w.-]", "_", path.stem),
                path=path,
                label=_label(path.relative_to(folder), row, outline),
                split=_split(path.relative_to(folder), row, camelyon),
                patient=row.get("patient") or _patient(stem),
                outlined=_outlined(stem, row, outline),
                mpp=_number(row.get("mpp")),
                name=path.stem,
                outlines=outline,
                node=_node(row),
            )
        )
    if outlines:
        notes.append("Slides with an annotation file count as outlined completely unless a table says otherwise.")
    layout = "CAMELYON folder" if camelyon else "folder with labels.csv" if rows else "folder with slides"
    return layout, samples, notes


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """Return {stem: {column: text}} of a CSV file with or without a header; rows about patients (.zip) are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read ({error}); save it as CSV in UTF-8.") from None
    lines = [line for line in csv.reader(text.splitlines(), delimiter=_delimiter(text)) if any(line)]
    if not lines:
        return {}
    header = [cell.strip().lower() for cell in lines[0]]
    if any(cell in LABEL_COLUMNS for cell in header):
        lines = lines[1:]
    else:
        header = ["slide", "label"] + [f"column {i}" for i in range(2, len(header))]
    key = next((header.index(name) for name in NAME_COLUMNS if name in header), 0)
    table = {}
    for line in lines:
        row = {name: cell.strip() for name, cell in zip(header, line)}
        name = line[key].strip() if key < len(line) else ""
        if not name or name.endswith(".zip"):
            continue
        if header[key] == "patient":  # stages.csv of CAMELYON17 calls its slides so
            row.pop("patient")
        base = re.split(r"[\\/]", name)[-1].lower()
        table[re.sub(r"\.[a-z]{2,6}$", "", base)] = row
    return table


def _delimiter(text: str) -> str:
    first = text.splitlines()[0] if text else ""
    return max(",;\t", key=first.count)


def _is_mask(path: Path) -> bool:
    folders = {part.lower() for part in path.parts[:-1]}
    return bool(folders & {"mask", "masks"}) or path.stem.lower().endswith(("_mask", "-mask"))


def _label(path: Path, row: dict[str, str], outline: Path | None) -> int | None:
    for column in LABEL_COLUMNS:
        word = row.get(column, "").lower()
        if word:
            return 1 if word in POSITIVE else 0 if word in NEGATIVE else None
    words = [path.stem.lower().split("_")[0], *(part.lower() for part in path.parts[:-1])]
    for word in words:
        if word in POSITIVE - {"1"}:
            return 1
        if word in NEGATIVE - {"0"}:
            return 0
    return 1 if outline is not None else None


def _split(path: Path, row: dict[str, str], camelyon: bool) -> str | None:
    word = row.get("split", row.get("set", row.get("fold", ""))).lower()
    for name, words in {
        "train": ("train", "training"),
        "val": ("val", "valid", "validation", "dev"),
        "test": ("test", "testing"),
    }.items():
        if word in words:
            return name
    if camelyon:
        node = re.match(r"patient_(\d{3})", path.stem.lower())
        return "test" if path.stem.lower().startswith("test_") or (node and int(node[1]) >= 100) else "train"
    return None


def _outlined(stem: str, row: dict[str, str], outline: Path | None) -> bool:
    """Whether everything outside the outlines may count as negative."""
    word = row.get("outlined", "").lower()
    if word:
        return word in POSITIVE | {"complete", "completely"}
    if stem in NOT_EXHAUSTIVE or any(row.get(column, "").lower() == "itc" for column in LABEL_COLUMNS):
        return False
    return outline is not None


def _node(row: dict[str, str]) -> str | None:
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
