"""Slides of one patient stay in one split; and the patient as slide names tell him.

A model that was trained on one slide of a patient knows the others too well to be tested on them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from .errors import WorkspaceError

Changes = dict[str, dict[str, Any]]
"""Slide id -> field -> new value."""
PATTERNS = {
    "{TCGA-??-????}*": "TCGA: the first three parts",
    "{patient_*}_node*": "CAMELYON17: what stands before _node",
    "{*}_*": "what stands before the first _",
    "{**}_*": "what stands before the last _",
    "{*}-*": "what stands before the first -",
    "{**}-*": "what stands before the last -",
    "{*} *": "what stands before the first space",
}
"""Patterns to choose from, each in words: in braces the patient, ``*`` any text, ``**`` as much as fits, ``?`` a character."""
MOST_STARS = 4


class Slide(Protocol):
    """A slide as far as the rule needs it; `workspace_items.Item` is one."""

    @property
    def id(self) -> str: ...
    @property
    def patient(self) -> str | None: ...
    @property
    def split(self) -> Any: ...


def kept_together(slides: Sequence[Slide], changes: Mapping[str, Mapping[str, Any]]) -> Changes:
    """Return `changes` and what else has to change so that each patient they touch is in one split.

    A new split of one slide is that of all slides of the patient. Slides that get a patient follow the slides that he has
    already; where these have no split, most of the new ones decide, and of equals the one that is farthest from training.

    Raises
    ------
    WorkspaceError : the changes themselves put slides of one patient into different splits.
    """
    result = {id: dict(values) for id, values in changes.items()}
    for patient, group in _groups(slides, changes).items():
        asked = {changes[slide.id]["split"] for slide in group if "split" in changes.get(slide.id, {})}
        if len(asked) > 1:
            raise WorkspaceError(f"Slides of patient {patient} cannot be in different splits; give all of them one.")
        if asked:
            wanted = next(iter(asked))
        else:
            here = [slide for slide in group if "patient" not in changes.get(slide.id, {})]
            wanted = _most([slide.split for slide in here]) or _most([slide.split for slide in group])
        for slide in group:
            if slide.split != wanted:
                result.setdefault(slide.id, {})["split"] = wanted
    return result


def dividing(slides: Sequence[Slide], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the ids of slides whose changes would put a patient into two splits, each with the patient."""
    left = dict(changes)
    found: dict[str, str] = {}
    while True:
        more: dict[str, str] = {}
        for patient, group in _groups(slides, left).items():
            splits = {left.get(slide.id, {}).get("split", slide.split) for slide in group} - {None}
            if len(splits) > 1:
                more |= {s.id: patient for s in group if {"split", "patient"} & left.get(s.id, {}).keys()}
        if not more:
            return found
        found |= more
        left = {id: values for id, values in left.items() if id not in more}


def _groups(slides: Sequence[Slide], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Slide]]:
    """Return the slides of each patient that the changes touch, as they will be."""
    groups: dict[str, list[Slide]] = {}
    touched = set()
    for slide in slides:
        change = changes.get(slide.id, {})
        patient = change.get("patient", slide.patient)
        if patient:
            groups.setdefault(patient, []).append(slide)
            if "patient" in change or "split" in change:
                touched.add(patient)
    return {patient: group for patient, group in groups.items() if patient in touched}


def _most(splits: Iterable[Any]) -> Any:
    counts = Counter(split for split in splits if split)
    order = ("train", "val", "test")
    return max(counts, key=lambda split: (counts[split], order.index(split))) if counts else None


def named_patients(names: Mapping[str, str], pattern: str) -> dict[str, str]:
    """Return the patient that a pattern finds in each slide's name; names that it does not fit are left out.

    Parameters
    ----------
    names : slide id -> name. pattern : as in `PATTERNS`.

    Raises
    ------
    WorkspaceError : the pattern is none.
    """
    compiled = _compiled(pattern)
    found = {}
    for id, name in names.items():
        match = compiled.fullmatch(name)
        if match and match[1].strip():
            found[id] = match[1].strip()
    return found


def _compiled(pattern: str) -> re.Pattern[str]:
    before, opening, rest = pattern.partition("{")
    inside, closing, after = rest.partition("}")
    if not opening or not closing or not inside or set("{}") & set(before + inside + after):
        raise WorkspaceError("Put the part of the name that is the patient in braces, as in {*}_*.")
    stars = re.findall(r"\*+", pattern)
    if len(stars) > MOST_STARS:
        raise WorkspaceError(f"A pattern has at most {MOST_STARS} stars.")

    def translated(text: str, least: str) -> str:
        words = {"*": f".{least}?", "**": f".{least}", "?": "."}
        return "".join(words.get(part, re.escape(part)) for part in re.findall(r"\*\*|\*|\?|[^*?]+", text))

    text = f"{translated(before, '*')}({translated(inside, '+')}){translated(after, '*')}"
    return re.compile(text, re.IGNORECASE | re.DOTALL)


def likely_pattern(names: Sequence[str]) -> str:
    """Return the pattern that makes the best groups of these names: it fits most of them, and patients have few slides."""
    texts = {str(place): name for place, name in enumerate(names)}

    def worth(pattern: str) -> tuple[float, float]:
        found = named_patients(texts, pattern)
        groups = Counter(found.values())
        if not groups or (len(groups) == 1 and len(names) > 4):
            return 0.0, 0.0
        return len(found) / len(names), -abs(len(found) / len(groups) - 2)

    return max(PATTERNS, key=worth) if names else next(iter(PATTERNS))
