"""What to look at next: the places of a workspace's slides of which a person's word would teach the network most.

For a cell of `CELL` x `CELL` pixels of a map (`look.Look`, at most 2048 pixels wide) of a slide with label y and score s::

    q = p / 2t where p < t, else 1/2 + (p - t) / 2(1 - t)      the probability, moved so that the threshold t lies at 1/2
    H = -q log2 q - (1 - q) log2(1 - q)                        its entropy in bits: 1 at the threshold, 0 where all is clear
    U = mean of H over the quarter of the cell's pixels with the largest H (a border is narrow: a mean over all would hide it)
    P = mean of p over the quarter of the cell's pixels with the largest p
    D = max(0, 2 |y - s| - 1)                                  how far the score lies on the other side of the slide's label
    value = U + D P

Pixels with a label by hand count as 0: of them a person has spoken. On a slide labelled negative every pixel is known to be
negative, so U = 0 there and only the contradiction counts; on a slide outlined completely nothing is open. Without a label or
without a score D = 0. Of neighbouring cells only the one with the largest value is listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OpsinError
from .labels.store import LabelStore
from .look import UNDECIDED, Look, Rect, look
from .replay import run_name
from .runs import CHECKPOINT
from .tiles import TilePyramid
from .workspace import Item, Workspace

CELL = 16
PER_SLIDE = 6
LEAST = 0.1
"""Values below it are not listed: there the network is sure and nothing speaks against it."""
DONE = "places looked at"


@dataclass(frozen=True)
class Place:
    """A place that somebody should look at.

    Attributes
    ----------
    item, name : id and name of the slide. rect : x, y, width, height in level-0 pixels; all of it for a slide as a whole.
    value : what the list is sorted by, largest first.
    reason : why, a few words. kind : "uncertain", "pixels" (a label by hand against the network) or "slide" (its label).
    given, says : what the label says and what the network says, 1 or 0; None where nothing was said.
    limits : for "pixels" the least probability of each class (negative, positive) that counts as sure.
    """

    item: str
    name: str
    rect: Rect
    value: float
    reason: str
    kind: str = "uncertain"
    given: int | None = None
    says: int | None = None
    limits: tuple[float, float] = (1.0, 1.0)

    @property
    def key(self) -> str:
        """What the workspace remembers it by: the slide and the middle."""
        x, y, width, height = self.rect
        return f"{self.kind}:{self.item}:{x + width / 2:.0f}:{y + height / 2:.0f}:{self.given}"

    @property
    def middle(self) -> tuple[float, float]:
        x, y, width, height = self.rect
        return x + width / 2, y + height / 2


@dataclass(frozen=True)
class Source:
    """Maps of a workspace's slides that were made by one network: predictions, or the newest pseudo labels of a training.

    Attributes
    ----------
    key : under which scores and what was done are kept. title : for people.
    folder : holds ``<item>.heat``. run : folder of the run. round : of pseudo labels; None: predictions.
    time : unix time of the newest map.
    """

    key: str
    title: str
    folder: Path
    run: Path
    round: int | None
    time: float

    def path(self, item: str) -> Path:
        return self.folder / f"{item}.heat"

    @property
    def goes_on(self) -> bool:
        """Whether the run has kept weights to train on from."""
        return (self.run / CHECKPOINT).is_file()


def sources(workspace: Workspace) -> list[Source]:
    """Return the networks that have said something of the slides, the latest to speak first."""
    found = []
    for record in workspace.runs():
        folder = Path(record["folder"])
        if record.get("verb", "train") != "train":
            continue
        name = run_name(folder) or str(record.get("preset") or "") or folder.name
        maps = workspace.folder / "heatmaps" / folder.name
        if newest := _newest(maps):
            found.append(Source(folder.name, f"Predictions of {name}", maps, folder, None, newest))
        rounds = [(int(p.name[6:]), p) for p in (folder / "previews").glob("round_*") if p.name[6:].isdigit()]
        for number, place in sorted(rounds, reverse=True):
            if newest := _newest(place):
                title = f"Pseudo labels of {name}, round {number}"
                found.append(Source(f"{folder.name}/round_{number}", title, place, folder, number, newest))
                break
    return sorted(found, key=lambda source: -source.time)


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.glob("*.heat")), default=0.0)


def slide_scores(workspace: Workspace, source: Source) -> dict[str, float]:
    """Return id -> score of the slides that the network of a source has scored."""
    rows = workspace.scores(source.run.name) if source.round is None else []
    return {row["item"]: float(row["score"]) for row in rows if row["score"] is not None}


def read_look(workspace: Workspace, source: Source, item: Item, states: np.ndarray) -> Look | None:
    """Return map and labels of a slide; None where the source has no map of it. For a background thread."""
    path = source.path(item.id)
    if not path.is_file():
        return None
    labels_path = workspace.label_path(item.id)
    with TilePyramid.open(path, readonly=True) as pyramid:
        if not labels_path.exists():
            return look(pyramid, None, states)
        with closing(LabelStore.open(labels_path, readonly=True)) as labels:
            return look(pyramid, labels, states)


def uncertain_places(
    workspace: Workspace, source: Source, states: np.ndarray, threshold: float = 0.5
) -> Iterator[tuple[float, list[Place], str]]:
    """Yield, slide by slide, the share of slides that are through, the places found, and a sentence where one failed."""
    workspace.flush()
    scores = slide_scores(workspace, source)
    items = [item for item in workspace.items() if source.path(item.id).is_file()]
    for number, item in enumerate(items, 1):
        places: list[Place] = []
        problem = ""
        try:
            seen = None if item.outlined else read_look(workspace, source, item, states)
            if seen is not None:
                places = places_of(item, seen, scores.get(item.id), threshold)
        except (OpsinError, OSError) as error:
            problem = f"{item.name} is left out: {error}"
        yield number / len(items), places, problem


def places_of(item: Item, seen: Look, score: float | None, threshold: float = 0.5) -> list[Place]:
    """Return the places of one slide, the largest value first; see the module's text for the formula."""
    label = {"positive": 1, "negative": 0}.get(item.label or "")
    p = np.where((seen.hand == UNDECIDED) & ~np.isnan(seen.p), seen.p, 0).astype(np.float32)
    known = (seen.hand == UNDECIDED) & ~np.isnan(seen.p)
    uncertain = _top_quarter(np.where(known, entropy(p, threshold), 0))
    highest = _top_quarter(p)
    against = max(0.0, 2 * abs(label - score) - 1) if label is not None and score is not None else 0.0
    values = (uncertain if label != 0 else 0 * uncertain) + against * highest
    places = []
    left = values.copy()
    for _ in range(PER_SLIDE):
        row, column = divmod(int(left.argmax()), left.shape[1])
        if left[row, column] < LEAST:
            break
        rows = slice(row * CELL, min((row + 1) * CELL, p.shape[0]))
        columns = slice(column * CELL, min((column + 1) * CELL, p.shape[1]))
        if against * highest[row, column] > (uncertain[row, column] if label != 0 else 0):
            reason = f"labelled {item.label}, score {score:.2f}"
        else:
            reason = f"uncertain: {uncertain[row, column]:.2f} bit, up to {p[rows, columns].max():.2f}"
        places.append(
            Place(item.id, item.name, seen.rect(rows, columns), float(left[row, column]), reason, given=label)
        )
        left[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = -1
    return places


def entropy(p: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Return the entropy [bit] of probabilities, float32 of the same shape, that is 1 at the threshold and 0 at 0 and 1."""
    q = np.where(p < threshold, p / (2 * threshold), 0.5 + (p - threshold) / (2 * (1 - threshold)))
    q = np.clip(q, 1e-7, 1 - 1e-7)
    return (-q * np.log2(q) - (1 - q) * np.log2(1 - q)).astype(np.float32)


def _top_quarter(values: np.ndarray) -> np.ndarray:
    """Return, for each cell, the mean of the quarter of its pixels with the largest values."""
    rows, columns = (-(-side // CELL) for side in values.shape)
    padded = np.zeros((rows * CELL, columns * CELL), np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    cells = padded.reshape(rows, CELL, columns, CELL).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    count = CELL * CELL // 4
    found: np.ndarray = np.partition(cells, -count, axis=-1)[..., -count:].mean(-1)
    return found


# ---- what was looked at -------------------------------------------------------------------------------------------


def remembered(workspace: Workspace, key: str) -> set[str]:
    """Return the keys of places that the workspace remembers under a heading."""
    kept: Any = workspace.setting(key, [])
    return set(kept) if isinstance(kept, list) else set()


def remember(workspace: Workspace, key: str, place: str, on: bool = True) -> None:
    """Keep that a place was looked at (or, with `on` false, that it is to be looked at again)."""
    kept = remembered(workspace, key)
    if (place in kept) != on:
        kept = kept | {place} if on else kept - {place}
        workspace.set_setting(key, sorted(kept))


def forget(workspace: Workspace, key: str, start: str) -> None:
    """Have the places looked at again whose remembered names begin with `start`."""
    workspace.set_setting(key, sorted(name for name in remembered(workspace, key) if not name.startswith(start)))
