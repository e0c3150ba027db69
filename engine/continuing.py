"""Training on from the weights of a finished run, with what was corrected since: the settings of the new run.

The new run is an ordinary one whose setting `initial_checkpoint` names the old run's weights, so a shell repeats it without
more; which run is its parent is read from that setting.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .errors import RunError
from .runs import CHECKPOINT, read_record

SHARE = 4
"""A continued run makes a quarter of the first steps: its network knows the outlines of its parent already, and round 0 only
has to take in what was corrected since. The rounds keep their steps: pseudo labels and hard negatives are made anew."""


def parent_of(recipe: dict[str, Any]) -> Path | None:
    """Return the folder of the run whose weights a training with these settings starts from; None: not from a run."""
    text = recipe.get("initial_checkpoint")
    if not text:
        return None
    path = Path(text)
    for folder in (path, path.parent.parent):
        if (folder / "run.json").is_file() and (folder / CHECKPOINT).is_file():
            return folder
    return None


def continued(folder: Path) -> dict[str, Any]:
    """Return the settings with which a training goes on from the best weights of the run in `folder`.

    They are those of the run, but it starts from the weights of the run (those of the round it has kept), loads no other
    weights, and makes a quarter of the first steps (see `SHARE`).

    Raises
    ------
    RunError : the folder is no run, or its training has kept no weights.
    """
    folder = Path(folder)
    record = read_record(folder)
    weights = folder / CHECKPOINT
    if record.get("verb", "train") != "train" or not weights.is_file():
        raise RunError(f"The run in {folder} has kept no weights to go on from.")
    recipe = dict(record.get("recipe") or {})
    # the first steps of the run that began it all, so that a chain of runs does not end with a single step
    recipe |= fewer_steps(first_recipe(folder))
    recipe |= {"initial_checkpoint": str(weights)}
    if "imagenet_weights" in recipe:
        recipe["imagenet_weights"] = None
    return recipe


def first_recipe(folder: Path) -> dict[str, Any]:
    """Return the settings of the first run of the chain that ends with the run in `folder`, as far as it is still there."""
    seen: set[Path] = set()
    recipe: dict[str, Any] = {}
    place: Path | None = Path(folder)
    while place is not None and place.resolve() not in seen:
        seen.add(place.resolve())
        recipe = dict(read_record(place).get("recipe") or {})
        place = parent_of(recipe)
    return recipe


def fewer_steps(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the first steps of a continued run: a quarter, at least one step."""
    if recipe.get("steps_initial"):
        return {"steps_initial": max(1, math.ceil(recipe["steps_initial"] / SHARE))}
    if recipe.get("initial_epochs"):
        return {"initial_epochs": recipe["initial_epochs"] / SHARE}
    return {}


def told(recipe: dict[str, Any], first: dict[str, Any]) -> str:
    """Return in a sentence with how many first steps a continued run begins, and why."""
    steps, epochs = recipe.get("steps_initial"), recipe.get("initial_epochs")
    if steps:
        count = f"{steps} first steps instead of {first.get('steps_initial')}"
    elif epochs:
        count = f"{epochs:g} first epochs instead of {first.get('initial_epochs'):g}"
    else:
        return "It starts from the weights that the run has kept."
    return (
        f"It starts from the weights that the run has kept, with {count}: the network knows the outlines already and only has to "
        "take in what was corrected since. The rounds are as before."
    )
