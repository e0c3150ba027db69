"""Readers of a workspace: each has pixel labels of his own on every slide, so that two can mark a slide without seeing each other.

The first reader's labels are ``labels/<item>.labels``, those of another one ``labels/<item>.<reader>.labels``. What two readers
agree on after their differences were settled goes into labels of a third one, `AGREED`; neither reader's own change by that.
The workspace says whose labels count (the first reader's, unless it was set): training and evaluation use those alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WorkspaceError
from ..files import from_json

if TYPE_CHECKING:
    from ..workspace import Workspace

FIRST = ""
AGREED = "agreed"
FIRST_NAME, AGREED_NAME = "First reader", "Agreed"
COUNTING = "counting_reader"  # setting of a workspace: id of the reader whose labels count
_READERS = "readers"  # setting of a workspace: [[id, name], …]
_ID = re.compile(r"[a-z0-9-]{1,32}")
LONGEST = 60  # characters of a name


@dataclass(frozen=True)
class Reader:
    """Someone who labels. `id` is part of file names: "" for the first reader, else small letters, digits and "-"."""

    id: str
    name: str


def label_file(item: str, reader: str = FIRST) -> str:
    """Return the name of the file of a reader's labels of a slide; `WorkspaceError` for what is no reader's id."""
    if not reader:
        return f"{item}.labels"
    if not _ID.fullmatch(reader):
        raise WorkspaceError(f"'{reader}' is no reader of this workspace.")
    return f"{item}.{reader}.labels"


def label_files(folder: Path, item: str) -> dict[str, Path]:
    """Return the label files of a slide that are there, by reader, whether or not the workspace lists the reader."""
    found = {}
    first = Path(folder) / label_file(item)
    if first.exists():
        found[FIRST] = first
    for path in sorted(Path(folder).glob(f"{item}.*.labels")):
        reader = path.name[len(item) + 1 : -len(".labels")]
        if _ID.fullmatch(reader):
            found[reader] = path
    return found


def counting_of(rows: Sequence[Any]) -> str:
    """Return the reader of what the database says under `COUNTING` (rows of one JSON text); the first where that is nothing."""
    value = from_json(rows[0][0]) if rows else FIRST
    return value if isinstance(value, str) and _ID.fullmatch(value) else FIRST


def readers(workspace: Workspace) -> list[Reader]:
    """Return the readers: the first, those that were added, then `AGREED` where labels were settled."""
    known = _kept(workspace)
    found = [Reader(FIRST, known.pop(FIRST, FIRST_NAME))]
    agreed = known.pop(AGREED, None)
    found += [Reader(id, name) for id, name in known.items()]
    return found + ([Reader(AGREED, agreed)] if agreed else [])


def reader_name(workspace: Workspace, id: str) -> str:
    """Return what a reader is called."""
    return next((reader.name for reader in readers(workspace) if reader.id == id), id)


def add_reader(workspace: Workspace, name: str) -> Reader:
    """Add a reader; `WorkspaceError` when the name is empty, too long or taken."""
    name = _checked(workspace, name)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:24] or "reader"
    known = _kept(workspace)
    taken = {*known, AGREED}
    id = next(id for id in (stem, *(f"{stem}-{number}" for number in range(2, 10_000))) if id not in taken)
    _keep(workspace, {**known, id: name})
    return Reader(id, name)


def rename_reader(workspace: Workspace, id: str, name: str) -> None:
    """Call a reader otherwise; his labels stay where they are."""
    known = _kept(workspace)
    if id != FIRST and id not in known:
        raise WorkspaceError(f"'{id}' is no reader of this workspace.")
    _keep(workspace, {**known, id: _checked(workspace, name, id)})


def add_agreed(workspace: Workspace) -> Reader:
    """Return the reader that holds what was settled; added when there is none."""
    known = _kept(workspace)
    if AGREED not in known:
        _keep(workspace, {**known, AGREED: AGREED_NAME})
    return Reader(AGREED, known.get(AGREED, AGREED_NAME))


def set_counting(workspace: Workspace, id: str) -> None:
    """Say whose labels count from now on; a training that runs takes them up at its next round."""
    if id not in {reader.id for reader in readers(workspace)}:
        raise WorkspaceError(f"'{id}' is no reader of this workspace.")
    workspace.set_setting(COUNTING, id)
    workspace.changed.emit("items")


def _checked(workspace: Workspace, name: str, id: str | None = None) -> str:
    name = " ".join(name.split())
    if not name:
        raise WorkspaceError("A reader needs a name.")
    if len(name) > LONGEST:
        raise WorkspaceError(f"The name of a reader has at most {LONGEST} letters.")
    taken = {reader.name.casefold() for reader in readers(workspace) if reader.id != id}
    if name.casefold() in taken or (id != AGREED and name.casefold() == AGREED_NAME.casefold()):
        raise WorkspaceError(f"There is a reader called {name} already.")
    return name


def _kept(workspace: Workspace) -> dict[str, str]:
    """Return id -> name as kept; entries that are none are left out."""
    value = workspace.setting(_READERS, [])
    pairs = [pair for pair in value if isinstance(pair, list) and len(pair) == 2] if isinstance(value, list) else []
    return {
        id: name
        for id, name in pairs
        if isinstance(id, str) and isinstance(name, str) and name and (id == FIRST or _ID.fullmatch(id))
    }


def _keep(workspace: Workspace, known: dict[str, str]) -> None:
    workspace.set_setting(_READERS, [[id, name] for id, name in known.items()])
