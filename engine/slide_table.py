"""A table of slide labels (CSV) as people have them, and the sharing out of slides to training, validation and test."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from .errors import WorkspaceError

SlideLabel = Literal["positive", "negative"]
Split = Literal["train", "val", "test"]
POSITIVE_WORDS = {
    "1",
    "positive",
    "pos",
    "tumor",
    "tumour",
    "true",
    "yes",
    "itc",
    "micro",
    "macro",
    "malignant",
}
NEGATIVE_WORDS = {"0", "negative", "neg", "normal", "false", "no", "benign"}
HEADERS = {"label": ("label", "class", "stage", "type"), "split": ("split",), "patient": ("patient",)}


class Labelled(Protocol):
    """A slide as far as sharing out needs it; `workspace.Item` is one."""

    id: str
    name: str
    patient: str | None
    label: SlideLabel | None


def read_slide_table(path: Path) -> list[tuple[str, dict[str, str], str]]:
    """Return (slide's name, what the table says of it, the row as text) of every row.

    The first column names the slide (file name or stem); the others are found by their header: ``label`` (or class, stage,
    type; without a header the second column), ``split``, ``patient``. Words that mean nothing are left out.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorkspaceError(f"{path} cannot be read as a table ({error}).") from None
    if not rows or len(rows[0]) < 2:
        raise WorkspaceError(f"{path} needs at least two columns: the slide's name and its label.")
    head = [cell.strip().lower() for cell in rows[0]]
    columns = {"label": 1}
    if slide_label(head[1]) is None and any(cell in HEADERS["label"] for cell in head):
        for field, names in HEADERS.items():
            place = next((i for i, cell in enumerate(head) if i and cell in names), None)
            if place is not None:
                columns[field] = place
        rows = rows[1:]
    found = []
    for row in rows:
        cells = {field: row[place].strip() for field, place in columns.items() if place < len(row)}
        says: dict[str, str] = {}
        label = slide_label(cells.get("label", ""))
        if label is not None:
            says["label"] = label
        if cells.get("split", "").lower() in ("train", "val", "test"):
            says["split"] = cells["split"].lower()
        if cells.get("patient"):
            says["patient"] = cells["patient"]
        found.append((row[0].strip(), says, ", ".join(row)))
    return found


def slide_label(text: str) -> SlideLabel | None:
    """Return what a word of a table means as a slide label; None when it means nothing."""
    word = text.strip().lower()
    return "positive" if word in POSITIVE_WORDS else "negative" if word in NEGATIVE_WORDS else None


def shared_out(items: Iterable[Labelled], seed: int, val: float, test: float) -> list[tuple[str, Split]]:
    """Return (item's id, split): at random, all slides of a patient together, positive and negative patients alike."""
    groups: dict[str, list[Labelled]] = {}
    for item in items:
        groups.setdefault(item.patient or f"slide {item.name} {item.id}", []).append(item)
    generator = random.Random(seed)
    found: list[tuple[str, Split]] = []
    for label in ("positive", "negative", None):
        # stratified: a patient counts as positive when one of the slides is
        names = sorted(n for n, group in groups.items() if _group_label(group) == label)
        generator.shuffle(names)
        for number, name in enumerate(names):
            place = (number + 0.5) / len(names)
            split: Split = "val" if place < val else "test" if place < val + test else "train"
            found += [(item.id, split) for item in groups[name]]
    return found


def _group_label(items: Sequence[Labelled]) -> SlideLabel | None:
    labels = {item.label for item in items}
    return "positive" if "positive" in labels else "negative" if "negative" in labels else None
