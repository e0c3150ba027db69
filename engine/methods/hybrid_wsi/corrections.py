"""What a person corrected while the network learns: it wins over every later proposal, and the run tells of it.

Pseudo labels are corrected like any labels: by painting on the slide. The snapshot of the next round holds what was painted,
and from then on three things follow:

- `tiles.Mix.target`: a pixel with a label by hand has that label as its target, in tiles of every kind, whatever the label
  of the slide and whether or not the slide is outlined completely;
- `without_rejected`: what was painted as negative counts as probability 0 in what the E-step proposes, so that a rejected
  region neither keeps a tile above the threshold T nor stands for its slide in stage 2;
- `corrected`: how many pixels changed from one round's snapshot to the next, and on which slides; kept with the run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...data.slides import Slide
from ...errors import OpsinError
from ...labels.store import LabelStore
from ...tiles import TILE
from .data import EXCLUDED, UNLABELLED, Snapshot, read_snapshot
from .settings import HybridRecipe
from .tiles import EStep, Opened, pixel_states


class Chosen:
    """Some of the maps of an E-step, by number, without a copy of the file that holds them."""

    def __init__(self, maps: Any, places: np.ndarray) -> None:
        self.maps, self.places = maps, places

    def __getitem__(self, number: int) -> np.ndarray:
        found: np.ndarray = self.maps[int(self.places[number])]
        return found

    def __len__(self) -> int:
        return len(self.places)


def as_corrected(
    proposed: EStep, sample: Any, recipe: HybridRecipe, states: np.ndarray, problem: Callable[[str], None]
) -> EStep:
    """Return what the E-step proposes for a slide without what a person has rejected, also after it was made."""
    if proposed.maps is None or sample.labels is None:
        return proposed
    with closing(Opened([sample], recipe)) as opened:
        try:
            return without_rejected(proposed, *opened[0], states, recipe.tile_threshold)
        except OpsinError as error:  # slide and labels were readable a moment ago
            problem(str(error))
            return proposed


def without_rejected(
    proposed: EStep, slide: Slide, labels: LabelStore | None, states: np.ndarray, threshold: float
) -> EStep:
    """Return what the E-step proposes for a slide without the places that a person has painted as negative.

    Parameters
    ----------
    proposed : of a slide whose maps were stored; others come back as they are (of negative slides only places matter).
    states : int8 [256], label value -> pixel state, see `data.class_states`.
    threshold : T; a tile whose largest remaining probability is below it does not stay.
    """
    if proposed.maps is None or labels is None or not (states[list(labels.areas())] == 0).any():
        return proposed
    scores, kept, places = list(proposed.scores), [], []
    for place, number in enumerate(proposed.kept.tolist()):
        score, p = scores[number], proposed.maps[place]
        height, width = p.shape
        xs = score.x + (np.arange(width) + 0.5) * score.size / width
        ys = score.y + (np.arange(height) + 0.5) * score.size / height
        found = pixel_states(slide, labels, states, xs, ys)
        if (found == 0).any():
            inside = (xs < slide.width)[None] & (ys < slide.height)[:, None]
            p = np.where((found == 0) | ~inside, 0, p)
            row, column = divmod(int(p.argmax()), width)
            best = float(p[row, column]) / 255
            if best < score.p:  # stored in 8 bits: what was not touched keeps its exact value
                score = scores[number] = replace(score, p=best, px=float(xs[column]), py=float(ys[row]))
        if score.p >= threshold:
            kept.append(number)
            places.append(place)
    maps: Any = Chosen(proposed.maps, np.array(places, np.int64))
    return EStep(scores, np.array(kept, np.int64), maps, proposed.skipped)


@dataclass(frozen=True)
class Corrected:
    """What changed by hand on one slide between two snapshots.

    Attributes
    ----------
    positive, negative : level-0 pixels that now are positive (negative) by hand and were not before.
    withdrawn : level-0 pixels that were one of these and now are unlabelled or left out of training.
    label : the label of the slide now, "positive" or "negative", where it is another one than before; else "".
    """

    slide: str
    name: str
    positive: int = 0
    negative: int = 0
    withdrawn: int = 0
    label: str = ""

    @property
    def pixels(self) -> int:
        return self.positive + self.negative + self.withdrawn

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "pixels": self.pixels}


def corrected(before: Snapshot, now: Snapshot) -> list[Corrected]:
    """Return what was corrected by hand between two rounds, one entry for each training slide with a change."""
    earlier = {sample.id: sample for sample in before.samples}
    found = []
    for sample in now.training:
        old = earlier.get(sample.id)
        old_labels = old.labels if old is not None else None
        counts = (0, 0, 0)
        # equal content lies in one file
        if sample.labels != old_labels or not np.array_equal(before.states, now.states):
            counts = _changed_pixels(old_labels, before.states, sample.labels, now.states)
        other = old is not None and old.label != sample.label and sample.label is not None
        label = ("negative", "positive")[sample.label] if other else ""
        if any(counts) or label:
            name = getattr(sample, "name", "") or sample.id
            found.append(Corrected(sample.id, name, *counts, label))
    return found


def _changed_pixels(
    before: Path | None, old_states: np.ndarray, after: Path | None, new_states: np.ndarray
) -> tuple[int, int, int]:
    with ExitStack() as stack:
        stores = [
            stack.enter_context(closing(LabelStore.open(path, readonly=True))) if path is not None else None
            for path in (before, after)
        ]
        keys = {key for store in stores if store is not None for key in store.keys(0)}
        size = next(((s.width, s.height) for s in stores if s is not None), (0, 0))
        counts = np.zeros(3, np.int64)
        for row, column in sorted(keys):
            height, width = min(TILE, size[1] - row * TILE), min(TILE, size[0] - column * TILE)
            old, new = (
                states[_tile(store, row, column)[:height, :width]]
                for store, states in zip(stores, (old_states, new_states))
            )
            changed = old != new
            if changed.any():
                silent = np.isin(new, (UNLABELLED, EXCLUDED)) & np.isin(old, (0, 1))
                counts += [(changed & (new == 1)).sum(), (changed & (new == 0)).sum(), silent.sum()]
    positive, negative, withdrawn = map(int, counts)
    return positive, negative, withdrawn


def _tile(store: LabelStore | None, row: int, column: int) -> np.ndarray:
    tile = store.tile(0, row, column) if store is not None else None
    return tile if tile is not None else np.zeros((TILE, TILE), np.uint8)


def last_snapshot(run: Path | None) -> Snapshot | None:
    """Return the newest frozen labels of a run: what a run that goes on from its weights is compared with. None: no such run."""
    if run is None:
        return None
    tables = (Path(run) / "snapshots").glob("round_*.json")
    numbered = sorted((int(t.stem.removeprefix("round_")), t) for t in tables if t.stem[6:].isdigit())
    return read_snapshot(numbered[-1][1]) if numbered else None


def told(round: int, found: list[Corrected], parent: bool = False) -> str:
    """Return in a sentence what was corrected before a round: "Before round 2, 1,200 pixels were corrected by hand: …"."""
    when = "Since the run that this one goes on from" if parent else f"Before round {round}"
    parts = []
    for one in found:
        said = [f"{n:,} {word}" for n, word in zip((one.positive, one.negative, one.withdrawn), WORDS) if n]
        said += [f"slide label {one.label}"] if one.label else []
        parts.append(f"{one.name} ({', '.join(said)})")
    total = sum(one.pixels for one in found)
    return f"{when}, {total:,} pixels were corrected by hand: {'; '.join(parts)}."


WORDS = ("to positive", "to negative", "withdrawn")
