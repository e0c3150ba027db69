"""What each class of an annotation file becomes: a class of the workspace, a hole, or nothing.

A wrong guess here would be a wrong label in training, so only words that are known to mean tumour, normal tissue or an
exclusion are guessed; any other class is left out until somebody says what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from ..errors import AnnotationError
from .classes import PALETTE, LabelClass

if TYPE_CHECKING:
    from .shapes import Outline

CLEAR: Final = "clear"
"""The area is erased, after everything else has been painted: an exclusion, a hole."""
SKIP: Final = "skip"
"""The outlines are left out: nothing on the slide changes because of them."""
Target = LabelClass | Literal["clear", "skip"]

TUMOUR = frozenset(
    ("_0", "_1", "tumor", "tumour", "tumors", "tumours", "metastasis", "metastases", "cancer", "carcinoma", "malignant")
)
"""ASAP groups of CAMELYON16/17 and QuPath classes that mean tumour, in small letters."""
NORMAL = frozenset(("normal", "benign", "healthy", "stroma", "non-tumor", "non-tumour", "nontumor", "nontumour"))
"""Names that mean tissue without tumour."""
EXCLUSION = frozenset(("_2", "exclusion"))
"""ASAP groups that mean a hole in what lies around them."""
UNNAMED = frozenset(("", "none"))
"""ASAP's "in no group", and a QuPath object without a class."""


def class_mapping(outlines: Sequence[Outline], classes: Sequence[LabelClass]) -> dict[str, Target]:
    """Return, for each class name in a file, what it becomes by its name alone.

    In this order:

    * a class of the same name: that class (letters of either case; ``Tumor: Positive`` of QuPath counts as ``Tumor``);
    * ``_2`` and ``Exclusion`` of ASAP: `CLEAR`, since ASAP has no other way to say hole;
    * ``Ignore…``: the class that is left out of training, else `SKIP`; other names ending in ``*`` (QuPath: not to be
      measured): `SKIP`;
    * words for tumour: the first positive class; words for normal tissue: the first negative one;
    * no name (ASAP's ``None``, a QuPath annotation without a class): the positive class when the file names no other
      class, since then the outlines are what the file is about; beside named ones `SKIP`, since there it is a frame or a
      note. Cells, detections and tiles without a class: `SKIP`;
    * anything else: `SKIP`.

    Names that only marks have (see `mark_outlines.py`) are there where a class is called so: a marker is no guess.
    """
    marks = mark_mapping(outlines, classes)
    outlines = [outline for outline in outlines if not outline.mark]
    names = dict.fromkeys(outline.class_name for outline in outlines)
    excluded = {outline.class_name for outline in outlines if outline.exclude}
    found: dict[str, Target] = {
        name: CLEAR if name in excluded and _same(name, classes) is None else _by_name(name, classes) for name in names
    }
    unnamed = {name for name in names if _word(name) in UNNAMED and found[name] == SKIP}
    about = [outline for outline in outlines if outline.areal and found[outline.class_name] != CLEAR]
    positive = _first("positive", classes)
    if all(outline.class_name in unnamed and outline.drawn for outline in about):
        found |= dict.fromkeys(unnamed, positive)
    return marks | found


def mark_mapping(outlines: Sequence[Outline], classes: Sequence[LabelClass]) -> dict[str, Target]:
    """Return the classes that the marks of a file are of, by the very same name; other names have no entry."""
    same = {outline.class_name: _same(outline.class_name, classes) for outline in outlines if outline.mark}
    return {name: item for name, item in same.items() if item is not None}


def _by_name(name: str, classes: Sequence[LabelClass]) -> Target:
    word = _word(name)
    same = _same(name, classes)
    if same is not None:
        return same
    if word in EXCLUSION:
        return CLEAR
    if word.startswith("ignore"):
        return _first("ignore", classes)
    if word.endswith("*"):
        return SKIP
    base = word.partition(":")[0].strip()  # QuPath's derived classes, "Tumor: Positive"
    if base != word and (same := _same(base, classes)) is not None:
        return same
    if base in TUMOUR:
        return _first("positive", classes)
    if base in NORMAL:
        return _first("negative", classes)
    return SKIP


def _word(name: str) -> str:
    return name.strip().casefold()


def _same(name: str, classes: Sequence[LabelClass]) -> LabelClass | None:
    return next((item for item in classes if _word(item.name) == _word(name)), None)


def _first(role: str, classes: Sequence[LabelClass]) -> Target:
    return next((item for item in classes if item.role == role), SKIP)


def cautious(mapping: dict[str, Target], classes: Sequence[LabelClass]) -> dict[str, Target]:
    """Return the mapping for an import without anybody to ask, for training.

    What an unknown class marks is left out of training (role "ignore") rather than taken for normal tissue, as it would
    be on a slide whose outlines count as complete. The same holds for outlines without a class in a file that names none:
    that they are tumour is a guess that somebody has to confirm. Frames and notes (no name beside named ones, names ending
    in ``*``) stay out.
    """
    return {
        name: _first("ignore", classes) if _unknown(name, target) or _guessed(name, target) else target
        for name, target in mapping.items()
    }


def left_out_of_training(mapping: dict[str, Target]) -> str:
    """Return sentences about the classes of a file that `cautious` keeps away from training, "" when there are none."""
    names = [name for name, target in mapping.items() if _unknown(name, target)]
    texts = []
    if names:
        texts.append(
            f"{'the class' if len(names) == 1 else 'the classes'} {quoted(names)} of the outlines "
            f"{'is' if len(names) == 1 else 'are'} not known and left out of training"
        )
    if any(_guessed(name, target) for name, target in mapping.items()):
        texts.append("the outlines have no class and are left out of training")
    return f"{'; '.join(texts)}; import the file into a workspace to say what it means." if texts else ""


def _unknown(name: str, target: Target) -> bool:
    return target == SKIP and not _frame(name)


def _guessed(name: str, target: Target) -> bool:
    """Whether outlines without a class were taken for something all the same."""
    return _unnamed(name) and isinstance(target, LabelClass) and _word(target.name) != _word(name)


def _frame(name: str) -> bool:
    return _word(name) in UNNAMED or _word(name).endswith("*")


def chosen(texts: Iterable[str], mapping: dict[str, Target], classes: Sequence[LabelClass]) -> dict[str, Target]:
    """Return the mapping changed by ``NAME=CLASS`` texts of the shell; CLASS may be ``clear`` or ``skip``.

    Raises
    ------
    AnnotationError : a name that the file does not have, or a class that is not there.
    """
    changed = dict(mapping)
    for text in texts:
        name, mark, wish = text.rpartition("=")
        if not mark:
            raise AnnotationError(f"'{text}' is no choice of a class; write it as NAME=CLASS.")
        hits = [known for known in mapping if _word(known) == _word(name) or (_unnamed(known) and _unnamed(name))]
        if not hits:
            raise AnnotationError(f"The file has no class '{name}'; it has {quoted(mapping)}.")
        target: Target | None = _same(wish, classes)
        if target is None and _word(wish) in (CLEAR, SKIP):
            target = CLEAR if _word(wish) == CLEAR else SKIP
        if target is None:
            there = ", ".join(item.name for item in classes)
            raise AnnotationError(f"There is no class '{wish}'; there are {there}, clear and skip.")
        changed |= dict.fromkeys(hits, target)
    return changed


def _unnamed(name: str) -> bool:
    return _word(name) in UNNAMED


def new_class(name: str, color: str, classes: Sequence[LabelClass], taken: Collection[int] = ()) -> LabelClass:
    """Return a class for a name that is new: next free value and key, its colour unless another class has that.

    It is left out of training until the user says what it means there.

    Parameters
    ----------
    taken : values that it must not get, beside those of `classes`: of removed classes, say.

    Raises
    ------
    AnnotationError : all 255 values are taken.
    """
    value = next((v for v in range(1, 256) if v not in {*taken, *(item.value for item in classes)}), None)
    if value is None:
        raise AnnotationError("There is room for 255 classes, and all are taken; choose one of them.")
    names = {item.name for item in classes}
    short = shortened(name)
    name = next(n for n in (short, *(f"{short} {k}" for k in range(2, 300))) if n not in names)
    used = {item.color.upper() for item in classes}
    if color.upper() in used:
        color = next((c for c in PALETTE if c.upper() not in used), color)
    key = next((k for k in "123456789" if k not in {item.key for item in classes}), "")
    return LabelClass(value=value, name=name, color=color, key=key, role="ignore")


def called(name: str) -> str:
    """How sentences call a class of a file."""
    return f"'{shortened(name)}'" if _word(name) not in UNNAMED else "those without a class"


def quoted(names: Iterable[str], most: int = 5) -> str:
    """Names of classes for a sentence: ``'a', 'b' and 3 more``."""
    texts = [called(name) for name in names]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most} more"


def shortened(text: str, most: int = 40) -> str:
    """Return a name as it fits into a sentence: one line, not too long."""
    words = " ".join(text.split())
    return words if len(words) <= most else words[: most - 1] + "…"


def count_classes(outlines: Iterable[Outline]) -> dict[str, int]:
    """Outlines per class name, in the order in which the file brings them."""
    return dict(Counter(outline.class_name for outline in outlines))
