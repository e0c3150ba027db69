"""A table of slide labels (CSV) as people have them, and the sharing out of slides to training, validation and test."""

from __future__ import annotations

import csv
import io
import os
import random
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, Literal, Protocol, TypeVar

from .errors import WorkspaceError
from .reviews import REVIEW_WORDS, Review

SlideLabel = Literal["positive", "negative"]
Split = Literal["train", "val", "test"]
Key = TypeVar("Key", bound=Hashable)

LABEL_WORDS: Final[dict[SlideLabel, frozenset[str]]] = {
    "positive": frozenset(
        ("1", "positive", "pos", "tumor", "tumour", "cancer", "carcinoma", "malignant", "metastasis", "metastases",
         "metastatic", "yes", "true", "itc", "micro", "macro")
    ),
    "negative": frozenset(("0", "negative", "neg", "normal", "benign", "healthy", "no", "false")),
}  # fmt: skip
"""What a word says of a slide, in small letters; the only such list, for tables and for names of folders."""
SPLIT_WORDS: Final[dict[Split, frozenset[str]]] = {
    "train": frozenset(("train", "training")),
    "val": frozenset(("val", "valid", "validation", "dev")),
    "test": frozenset(("test", "testing")),
}
SAYS_NOTHING = frozenset(("", "-", "?", "na", "n/a", "nan", "none", "null", "unknown"))
LABEL_COLUMNS = ("label", "class", "target", "diagnosis", "type", "stage")
SPLIT_COLUMNS = ("split", "set", "fold")
NAME_COLUMNS = (
    "slide", "wsi", "slide_name", "slide name", "name", "filename", "file_name", "file name", "file", "image", "slide_id",
    "slide id", "wsi_id", "image_id", "image id", "image_name", "path", "filepath", "file_path",
)  # fmt: skip
PATIENT_COLUMNS = ("patient", "patient_id", "patient id")
REVIEW_COLUMNS = ("review", "review state")
REVIEWER_COLUMNS = ("reviewer", "reviewed by")
OTHER_COLUMNS = (
    *PATIENT_COLUMNS,
    *REVIEW_COLUMNS,
    *REVIEWER_COLUMNS,
    "reviewed at",
    "marked",
    "mpp",
    "outlined",
    "score",
)


class Labelled(Protocol):
    """A slide as far as sharing out needs it; `workspace.Item` is one."""

    id: str
    name: str
    patient: str | None
    label: SlideLabel | None


@dataclass(frozen=True)
class TableRow:
    """What one row of a table says of a slide.

    Attributes
    ----------
    name : how the row names the slide: a path, a file name, or a name without suffix.
    label, split, patient, review, reviewer : None where the row does not say it.
    cells : all cells by the table's header, in small letters.
    text : the row as it stands there.
    unknown : words at a place for a label, a split or a review that mean none; they are not used.
    """

    name: str
    label: SlideLabel | None
    split: Split | None
    patient: str | None
    cells: Mapping[str, str]
    text: str
    unknown: tuple[str, ...] = ()
    review: Review | None = None
    reviewer: str | None = None

    @property
    def says(self) -> dict[str, str]:
        """Label, split, patient and review, as far as they are given; the reviewer only with a review."""
        found = {"label": self.label, "split": self.split, "patient": self.patient, "review": self.review}
        if self.review == "reviewed":
            found["reviewer"] = self.reviewer
        return {name: value for name, value in found.items() if value}


@dataclass
class Matched(Generic[Key]):
    """Rows of a table by slide, and the rows that are not used, each with the reason."""

    rows: dict[Key, TableRow] = field(default_factory=dict)
    left: list[tuple[TableRow, str]] = field(default_factory=list)


def read_slide_table(path: Path) -> list[TableRow]:
    """Return the rows of a CSV file (comma, semicolon or tab; UTF-8, or UTF-16 with its mark), with or without a header.

    The slide is named by the column with a name of `NAME_COLUMNS`, else by the first one that is not for something else;
    label, split, patient and review are found by their header. Without a header: name, label. Rows about whole patients
    (CAMELYON17: ``patient_000.zip``) are left out.

    Raises
    ------
    WorkspaceError : the file is no such table; the sentence says what is missing.
    """
    try:
        text = _text(Path(path).read_bytes())
        first = text.lstrip().partition("\n")[0]
        lines = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)) if any(row)
        ]
    except (OSError, ValueError, csv.Error) as error:
        raise WorkspaceError(f"{path} cannot be read as a table ({error}); save it as CSV in UTF-8.") from None
    if not lines or len(lines[0]) < 2:
        raise WorkspaceError(f"{path} needs at least two columns: the slide's name and its label.")
    head = [cell.strip().lower() for cell in lines[0]]
    if _is_header(head):
        lines = lines[1:]
    else:
        head = ["slide", "label", *(f"column {number}" for number in range(3, len(head) + 1))]
    key = _key_column(head)
    rows = [_row(head, key, [cell.strip() for cell in line]) for line in lines]
    return [row for row in rows if row.name and not row.name.lower().endswith(".zip")]


def _text(data: bytes) -> str:
    """Decode what spreadsheets write; the line ``sep=;`` is theirs alone.

    UTF-8 with or without mark, UTF-16 with one; what is neither is taken for Windows' western code page, in which its
    spreadsheet saves a plain "CSV".
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16")
    elif b"\0" in data:
        raise ValueError("it is no text")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    return re.sub(r"\Asep=[,;\t]\r?\n", "", text)


def slide_label(text: str) -> SlideLabel | None:
    """Return what a word means as a slide label; None when it means nothing."""
    word = re.sub(r"^([01])\.0*$", r"\1", text.strip().lower())  # spreadsheets write 1.0
    return next((label for label, words in LABEL_WORDS.items() if word in words), None)


def _is_header(head: Sequence[str]) -> bool:
    if any(cell in LABEL_COLUMNS for cell in head):
        return True
    return sum(cell in (*NAME_COLUMNS, *SPLIT_COLUMNS, *OTHER_COLUMNS) for cell in head) >= 2


def _key_column(head: Sequence[str]) -> int:
    for name in NAME_COLUMNS:
        if name in head:
            return head.index(name)
    others = (*LABEL_COLUMNS, *SPLIT_COLUMNS, *OTHER_COLUMNS)
    free = (place for place, cell in enumerate(head) if cell not in others)
    return next(free, next((place for place, cell in enumerate(head) if cell in PATIENT_COLUMNS[1:]), 0))


def _row(head: Sequence[str], key: int, line: Sequence[str]) -> TableRow:
    cells = {name: cell for place, (name, cell) in enumerate(zip(head, line)) if place != key}
    word = next((cells[name] for name in LABEL_COLUMNS if cells.get(name)), "")
    part = next((cells[name] for name in SPLIT_COLUMNS if cells.get(name)), "")
    if not any(name in LABEL_COLUMNS for name in head):  # a column called "tumor", with 0 and 1
        word = next((cells[name] for name in cells if slide_label(name) == "positive"), "")
    label = slide_label(word)
    split = next((name for name, words in SPLIT_WORDS.items() if part.lower() in words), None)
    state = next((cells[name] for name in REVIEW_COLUMNS if cells.get(name)), "")
    review = next((name for name, words in REVIEW_WORDS.items() if state.lower() in words), None)
    says = ((word, label), (part, split), (state, review))
    return TableRow(
        name=line[key] if key < len(line) else "",
        label=label,
        split=split,
        patient=next((cells[name] for name in PATIENT_COLUMNS if cells.get(name)), None),
        cells=cells,
        text=", ".join(line).rstrip(", "),
        unknown=tuple(text for text, found in says if not found and text.lower() not in SAYS_NOTHING),
        review=review,
        reviewer=next((cells[name] for name in REVIEWER_COLUMNS if cells.get(name)), None),
    )


def match_rows(rows: Iterable[TableRow], slides: Mapping[Key, tuple[Path, str]], folder: Path) -> Matched[Key]:
    """Find the slide of each row: by its path first, then by its file name, then by the name without suffix.

    Of slides with the same name the one is meant whose folders the row names; a row that may mean several is not used, nor
    are rows that say different things of the same slide.

    Parameters
    ----------
    slides : path and name of each slide.
    folder : where paths of the table begin that are not absolute (where the table lies).
    """
    places = {path.resolve(): key for key, (path, _) in slides.items()}
    places |= {_plain(path): key for key, (path, _) in slides.items()}  # two links may lead to one file
    named: dict[str, list[Key]] = {}
    for key, (path, name) in slides.items():
        for text in {path.name.lower(), path.stem.lower(), name.lower()}:
            named.setdefault(text, []).append(key)
    found: Matched[Key] = Matched()
    claims: dict[Key, list[tuple[tuple[int, int], TableRow]]] = {}
    for row in rows:
        parts = [part for part in re.split(r"[\\/]+", row.name.lower()) if part]
        file = _file(folder, row.name)
        ours = next((places[path] for path in (file, file and file.resolve()) if path in places), None)
        rank, closest = (1000, 2), [] if ours is None else [ours]
        if not closest and (file is None or len(parts) == 1):  # else the row means a file that is none of our slides
            ranks = {key: _rank(parts, *slides[key]) for text in _names(parts[-1:]) for key in named.get(text, ())}
            rank = max(ranks.values(), default=(0, 0))
            closest = [key for key, value in ranks.items() if value == rank]
        if len(closest) == 1:
            claims.setdefault(closest[0], []).append((rank, row))
        else:
            found.left.append((row, "several slides have this name" if closest else "there is no such slide"))
    for key, claimed in claims.items():
        best = max(rank for rank, _ in claimed)
        same = [row for rank, row in claimed if rank == best]
        found.left += [(row, "another row names this slide more exactly") for rank, row in claimed if rank != best]
        if any(
            len({row.says.get(name) for row in same} - {None}) > 1 for name in ("label", "split", "patient", "review")
        ):
            found.left += [(row, "another row says something else of this slide") for row in same]
        else:
            found.rows[key] = same[-1]
    return found


def _file(folder: Path, name: str) -> Path | None:
    """Return the file that a row's name leads to, None where there is none (tables come from other computers)."""
    try:
        path = _plain(folder / name)
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def _plain(path: Path) -> Path:
    """Return the path without ``..``, links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links)


def _names(last: Sequence[str]) -> set[str]:
    """Return the names by which a row's last part may mean a slide: as it stands, and without suffix."""
    return {name for text in last for name in (text, re.sub(r"\.[a-z]\w{1,5}$", "", text))}


def _rank(parts: Sequence[str], path: Path, name: str) -> tuple[int, int]:
    """Return how well a row fits a slide: folders in common from the end, then file name, name, name without suffix."""
    folders = 0
    for one, other in zip(reversed(parts[:-1]), reversed(path.parts[:-1])):
        if one != other.lower():
            break
        folders += 1
    last = parts[-1]
    return folders, 2 if last == path.name.lower() else int(last in (path.stem.lower(), name.lower()))


def unknown_words(rows: Iterable[TableRow], most: int = 5) -> str:
    """Return the words that mean nothing, for a sentence: ``'foo' (2 rows), 'bar' (1 row)``; "" when there are none."""
    counts = Counter(word for row in rows for word in row.unknown)
    texts = [f"'{word[:40]}' ({count} row{'' if count == 1 else 's'})" for word, count in counts.items()]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


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
