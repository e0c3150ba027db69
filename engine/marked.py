"""What is painted on the slides of a workspace: of each slide the roles of the classes that occur in its labels.

Where a slide has regions of interest, only what is painted inside them counts.

A training panel tells from it what there is to learn from, before a training is started. Reads the label files alone, so it
may run in a background thread while another store writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from .errors import LabelError
from .labels.classes import LabelClass
from .labels.readers import label_file
from .labels.roi import counted_areas
from .labels.store import LabelStore

Signature = tuple[tuple[int, int], ...]


class MarkedRoles:
    """Remembers what was found in each label file and reads only files that have changed since.

    Parameters
    ----------
    folder : of the workspace.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._known: dict[str, tuple[Signature, frozenset[int]]] = {}

    def look(self, ids: Iterable[str], classes: Sequence[LabelClass], reader: str = "") -> dict[str, frozenset[str]]:
        """Return slide id -> roles ("positive", "negative", "ignore") that are painted on it; empty where nothing is.

        A value without a class has the role "ignore": it is left out of training. `reader` : whose labels count.
        """
        roles = {item.value: str(item.role) for item in classes}
        files = {id: label_file(id, reader) for id in ids}
        return {id: frozenset(roles.get(v, "ignore") for v in self._values(file)) for id, file in files.items()}

    def _values(self, file: str) -> frozenset[int]:
        path = self.folder / "labels" / file
        signature = _signature(path)
        if not signature:
            return frozenset()
        known = self._known.get(file)
        if known is None or known[0] != signature:
            try:
                with closing(LabelStore.open(path, readonly=True)) as store:
                    values = frozenset(value for value, area in counted_areas(store).items() if value and area)
            except LabelError:  # a damaged file is said where it is opened
                values = frozenset()
            known = self._known[file] = signature, values
        return known[1]


def _signature(path: Path) -> Signature:
    """Return sizes and times of a SQLite file and its log; empty when there is no file."""
    found = []
    for part in (path, path.with_name(path.name + "-wal")):
        try:
            state = part.stat()
        except OSError:
            continue
        found.append((state.st_size, state.st_mtime_ns))
    return tuple(found)
