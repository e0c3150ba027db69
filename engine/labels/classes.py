"""The closed list of classes a slide is labelled with. Value 0 is not a class: it means unlabelled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# Okabe and Ito's colours, told apart by colour-blind eyes too; ordered by how well they stand out on H&E.
PALETTE = ("#D55E00", "#009E73", "#F0E442", "#56B4E9", "#0072B2", "#E69F00", "#CC79A7", "#000000")


class LabelClass(BaseModel):
    """One class of labels.

    Attributes
    ----------
    value : what its pixels hold in the label store, 1..255.
    color : "#rrggbb".
    key : keyboard shortcut, "" for none.
    role : what training makes of it: "positive", "negative", or "ignore" (pixels left out of training).
    visible, opacity : how the slide view shows it.
    locked : its pixels are protected from new edits.
    """

    model_config = ConfigDict(validate_assignment=True)

    value: int = Field(ge=1, le=255)
    name: str = Field(min_length=1)
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    key: str = ""
    role: Literal["positive", "negative", "ignore"] = "positive"
    visible: bool = True
    locked: bool = False
    opacity: float = Field(default=0.5, ge=0.0, le=1.0)


DEFAULT_CLASSES: tuple[LabelClass, ...] = (
    LabelClass(value=1, name="Tumour", color=PALETTE[0], key="1", role="positive"),
    LabelClass(value=2, name="Normal", color=PALETTE[1], key="2", role="negative"),
    LabelClass(value=3, name="Exclude", color=PALETTE[2], key="3", role="ignore"),
)


def default_classes() -> list[LabelClass]:
    """Fresh copies of `DEFAULT_CLASSES` that may be changed."""
    return [item.model_copy() for item in DEFAULT_CLASSES]


def locked_values(classes: Iterable[LabelClass]) -> frozenset[int]:
    """What `LabelStore.protected` is set to."""
    return frozenset(item.value for item in classes if item.locked)
