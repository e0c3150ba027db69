"""Likely label errors: where a label by hand and the network contradict each other and the network is sure.

In the way of confident learning (Northcutt et al., arXiv 1911.00068), for the two classes negative (0) and positive (1)::

    t1 = mean of p over all pixels labelled positive          how sure the network is, on the whole, where it should be
    t0 = mean of 1 - p over all pixels labelled negative
    a pixel labelled negative is in doubt where p >= t1 and p > 1/2, one labelled positive where 1 - p >= t0 and p < 1/2

The limits are taken from held-out slides (split "val" or "test") where pixels of both classes are labelled there: there the
network has not learnt the labels it is asked about. Else they are those of all slides, and the list says so: a network agrees
too much with labels it was trained on, so that errors on them may stay hidden. Connected pixels in doubt make a place; what is
narrower than three pixels of the map is the uncertain border of an outline and is dropped. Places are sorted by
mean(p of the other class - p of the label) * sqrt(area), areas in pixels of the map.

Slides in the same way: s is the score, t1 the mean score of positive slides, t0 the mean of 1 - s over negative ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from .errors import OpsinError
from .labels.store import EVERY
from .look import UNDECIDED, Look, look, outlines
from .next_places import Place, Source, read_look, slide_scores
from .tiles import TilePyramid
from .workspace import Item, Workspace

KEPT = "labels kept"
HELD_OUT = ("val", "test")
PER_SLIDE = 8
WORDS = ("negative", "positive")


@dataclass(frozen=True)
class Limits:
    """From which probability on the network counts as sure of a class, and what that rests on.

    Attributes
    ----------
    negative, positive : least probability of the class. slides : how many it rests on. held_out : none of them was trained on.
    """

    negative: float
    positive: float
    slides: int
    held_out: bool

    def told(self) -> str:
        """Return in a sentence what the limits rest on."""
        count = "1 slide" if self.slides == 1 else f"{self.slides} slides"
        sure = f"Sure means a probability of {self.positive:.2f} or more for positive, {self.negative:.2f} or more for negative:"
        if self.held_out:
            return f"{sure} the means over {count} held back from training."
        return (
            f"{sure} the means over {count}, training slides among them, as no held-out slides are labelled by hand in both "
            "classes. Errors that the network has learnt may stay hidden."
        )


def limits_of(found: list[tuple[Item, np.ndarray, np.ndarray]]) -> Limits | None:
    """Return the limits from what is labelled; None where one of the classes is labelled nowhere.

    Parameters
    ----------
    found : of each slide the item, the number of values of each class, float [2], and the sum of the probabilities that the
        network gives to the class they are labelled with, float [2].
    """
    for held_out in (True, False):
        chosen = [(n, total) for item, n, total in found if n.any() and (item.split in HELD_OUT or not held_out)]
        counts = sum((n for n, _ in chosen), np.zeros(2))
        if counts.all():
            means = sum((total for _, total in chosen), np.zeros(2)) / counts
            return Limits(float(means[0]), float(means[1]), len(chosen), held_out)
    return None


def given_labels(item: Item, seen: Look) -> np.ndarray:
    """Return what is labelled by hand, int8 [h, w]: 1, 0, else not labelled; on a slide outlined completely all else is 0."""
    given = seen.hand
    if item.outlined:
        given = np.where(given == UNDECIDED, 0, given).astype(np.int8)
    return np.where(np.isnan(seen.p), UNDECIDED, given).astype(np.int8)


def in_doubt(given: np.ndarray, p: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return which pixels contradict a network that is sure: bool [h, w]; `limits` (negative, positive)."""
    p = np.nan_to_num(p, nan=0.5)
    wrong: np.ndarray = ((given == 0) & (p >= limits[1]) & (p > 0.5)) | (
        (given == 1) & (1 - p >= limits[0]) & (p < 0.5)
    )
    return wrong


def label_errors(
    workspace: Workspace, source: Source, states: np.ndarray
) -> Iterator[tuple[float, list[Place], str, str]]:
    """Yield, as they are found, the share that is through, places, a sentence where a slide failed, and what the limits rest on."""
    workspace.flush()
    items = [item for item in workspace.items() if source.path(item.id).is_file()]
    scores = slide_scores(workspace, source)
    errors, told = slide_errors(workspace.items(), scores)
    yield 0.0, errors, "", told
    found, broken = [], set()
    for number, item in enumerate(items, 1):
        try:
            seen = _marked_look(workspace, source, item, states)
        except (OpsinError, OSError) as error:
            broken.add(item.id)
            yield number / len(items) / 2, [], f"{item.name} is left out: {error}", ""
            continue
        if seen is not None:
            found.append((item, *sums(given_labels(item, seen), seen.p)))
        yield number / len(items) / 2, [], "", ""
    limits = limits_of(found)
    if limits is None:
        text = (
            ""
            if told
            else "No slide with a map carries labels of both classes by hand: there is nothing to compare with."
        )
        yield 1.0, [], "", text
        return
    yield 0.5, [], "", limits.told()
    for number, item in enumerate(items, 1):
        seen = None if item.id in broken else _marked_look(workspace, source, item, states)
        places = errors_of(item, seen, limits) if seen is not None else []
        yield 0.5 + number / len(items) / 2, places, "", ""


def _marked_look(workspace: Workspace, source: Source, item: Item, states: np.ndarray) -> Look | None:
    """Return map and labels of a slide on which something is labelled by hand."""
    if not item.outlined and not workspace.label_path(item.id).exists():
        return None
    return read_look(workspace, source, item, states)


def sums(given: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many pixels have each class, float [2], and the sum of the probability of that class over them, float [2]."""
    negative, positive = (p[given == value] for value in (0, 1))
    return np.array([len(negative), len(positive)], float), np.array([(1 - negative).sum(), positive.sum()], float)


def errors_of(item: Item, seen: Look, limits: Limits) -> list[Place]:
    """Return the places of one slide where labels are in doubt, the largest value first."""
    pair = (limits.negative, limits.positive)
    given = given_labels(item, seen)
    places = []
    for value in (0, 1):
        doubt = ndimage.binary_opening(
            in_doubt(np.where(given == value, given, UNDECIDED), seen.p, pair), np.ones((3, 3))
        )
        numbers, _ = ndimage.label(doubt)
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), 1):
            inside = numbers[rows, columns] == number
            p = float(seen.p[rows, columns][inside].mean())
            margin = abs(2 * p - 1)
            drawn = (
                "not outlined" if value == 0 and (seen.hand[rows, columns][inside] == UNDECIDED).all() else "labelled"
            )
            reason = f"{drawn if value == 0 and drawn != 'labelled' else f'labelled {WORDS[value]}'}, network {p:.2f}"
            places.append(
                Place(
                    item.id, item.name, seen.rect(rows, columns), margin * float(np.sqrt(inside.sum())), reason, "pixels",
                    value, 1 - value, pair,
                )
            )  # fmt: skip
    return sorted(places, key=lambda place: -place.value)[:PER_SLIDE]


def slide_errors(items: list[Item], scores: dict[str, float]) -> tuple[list[Place], str]:
    """Return the slides whose label contradicts a sure score, and what the limits rest on ("" where they cannot be had)."""
    known = [
        (item, int(item.label == "positive"), scores[item.id]) for item in items if item.label and item.id in scores
    ]
    found = []
    for item, label, score in known:
        counts, total = np.zeros(2), np.zeros(2)
        counts[label], total[label] = 1, score if label else 1 - score
        found.append((item, counts, total))
    limits = limits_of(found)
    if limits is None:
        return [], ""
    places = []
    for item, label, score in known:
        sure = 1 - score >= limits.negative and score < 0.5 if label else score >= limits.positive and score > 0.5
        if sure:
            rect = (0.0, 0.0, float(item.width), float(item.height))
            value = 100 * abs(2 * score - 1)  # before places: a wrong slide label spoils a whole slide
            reason = f"labelled {WORDS[label]}, score {score:.2f}"
            places.append(Place(item.id, item.name, rect, value, reason, "slide", label, 1 - label))
    return places, "Slides: " + limits.told()


def change_labels(
    workspace: Workspace, source: Source, place: Place, states: np.ndarray, values: tuple[int | None, int | None]
) -> int:
    """Take the network's side in a place, as one undo step: what is in doubt there gets the other class.

    Parameters
    ----------
    place : of the kind "pixels". values : label values that stand for negative and positive.

    Returns
    -------
    Level-0 pixels that are repainted, about (0: nothing is in doubt there any more).

    Raises
    ------
    OpsinError : no class stands for what the network says, or the labels cannot be read.
    """
    assert place.says is not None and place.given is not None
    value = values[place.says]
    if value is None:
        raise OpsinError(
            f"No unlocked class means “{WORDS[place.says]}” in training; add one to the class table first."
        )
    item = workspace.item(place.item)
    store = workspace.labels(item)
    with closing(TilePyramid.open(source.path(item.id), readonly=True)) as pyramid:
        seen = look(pyramid, store, states, place.rect)
        given = given_labels(item, seen)
        doubt = in_doubt(np.where(given == place.given, given, UNDECIDED), seen.p, place.limits)
        doubt = ndimage.binary_opening(np.pad(doubt, 1), np.ones((3, 3)))[1:-1, 1:-1] if doubt.size > 9 else doubt
        if not doubt.any():
            return 0
        polygons = outlines(doubt, seen, (pyramid.width, pyramid.height))
    # only what has the label in doubt: a pixel beside it that somebody labelled otherwise stays
    over = set(np.flatnonzero(states == place.given).tolist()) | ({0} if item.outlined and place.given == 0 else set())
    group = store.new_group()
    for rings in polygons:
        text = f"Change to {WORDS[place.says]}"
        store.polygon(rings, value, keep=EVERY.difference(over), group=group, text=text)
    return int(doubt.sum()) * seen.step**2


# ---- labels that somebody has said are right ----------------------------------------------------------------------


def keep_label(workspace: Workspace, place: Place) -> None:
    """Remember that the label of a place is right: no network's contradiction there is listed again."""
    entry = [place.kind, place.item, place.given, *map(float, place.rect)]
    kept = _kept(workspace)
    if entry not in kept:
        workspace.set_setting(KEPT, [*kept, entry])


def is_kept(workspace: Workspace, place: Place) -> bool:
    """Tell whether somebody has said that the label is right: there, or where the middle of this place lies."""
    x, y = place.middle
    for kind, item, given, left, top, width, height in _kept(workspace):
        if (kind, item, given) != (place.kind, place.item, place.given):
            continue
        own_x, own_y, own_width, own_height = place.rect
        within = left <= x <= left + width and top <= y <= top + height
        around = own_x <= left + width / 2 <= own_x + own_width and own_y <= top + height / 2 <= own_y + own_height
        if within or around:
            return True
    return False


def kept_count(workspace: Workspace) -> int:
    """Return of how many places somebody has said that the label is right."""
    return len(_kept(workspace))


def release_labels(workspace: Workspace) -> None:
    """List contradictions again of which somebody has said that the label is right."""
    workspace.set_setting(KEPT, [])


def _kept(workspace: Workspace) -> list[list[Any]]:
    found = workspace.setting(KEPT, [])
    return [entry for entry in found if isinstance(entry, list) and len(entry) == 7] if isinstance(found, list) else []
