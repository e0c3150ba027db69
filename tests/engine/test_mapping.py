"""What the classes of annotation files become: known words are guessed, everything else is left to the user."""

import numpy as np
import pytest

from opsin.engine.errors import AnnotationError
from opsin.engine.labels.classes import DEFAULT_CLASSES, LabelClass
from opsin.engine.labels.exchange import class_mapping
from opsin.engine.labels.mapping import CLEAR, SKIP, cautious, chosen, left_out_of_training, new_class, quoted
from opsin.engine.labels.shapes import Outline

TUMOUR, NORMAL, EXCLUDE = DEFAULT_CLASSES
SQUARE = np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0]])


def outlines(*names, **more):
    return [Outline(f"outline {number}", [SQUARE], name, **more) for number, name in enumerate(names)]


def mapped(*names):
    return class_mapping(outlines(*names), DEFAULT_CLASSES)


@pytest.mark.parametrize(
    "name", ["_0", "_1", "Tumor", "tumour", "Metastases", "metastasis", " Tumor ", "Tumor: Positive", "TUMOUR"]
)
def test_words_for_tumour(name):
    assert mapped(name, "Something")[name] == TUMOUR


@pytest.mark.parametrize("name", ["normal", "Normal", "benign", "Stroma", "non-tumor"])
def test_words_for_normal_tissue(name):
    assert mapped(name)[name] == NORMAL


@pytest.mark.parametrize("name", ["_2", "Exclusion", "exclusion"])
def test_exclusions_are_holes(name):
    assert mapped("_0", name) == {"_0": TUMOUR, name: CLEAR}


@pytest.mark.parametrize("name", ["Necrosis", "Gland", "Region*", "Positive", "Other", "Immune cells", "x", "_3"])
def test_any_other_name_is_left_out_not_guessed(name):
    assert mapped(name, "Tumor") == {name: SKIP, "Tumor": TUMOUR}
    assert mapped(name) == {name: SKIP}, "also when it is alone"


def test_ignore_of_qupath_is_left_out_of_training():
    assert mapped("Tumor", "Ignore*")["Ignore*"] == EXCLUDE
    assert class_mapping(outlines("Ignore*"), [TUMOUR, NORMAL]) == {"Ignore*": SKIP}


def test_a_class_of_the_same_name_comes_first():
    own = [*DEFAULT_CLASSES, LabelClass(value=9, name="Exclusion", color="#000000"),
           LabelClass(value=10, name="Gland", color="#000000", role="negative")]  # fmt: skip
    found = class_mapping(outlines("Exclusion", "gland", "Gland: 2+"), own)
    assert [found[name].value for name in found] == [9, 10, 10]
    assert mapped("exclude")["exclude"] == EXCLUDE


def test_outlines_without_a_name_are_tumour_only_when_the_file_names_nothing_else():
    assert mapped("") == {"": TUMOUR}
    assert mapped("None") == {"None": TUMOUR}
    assert mapped("None", "Exclusion") == {"None": TUMOUR, "Exclusion": CLEAR}
    assert mapped("None", "_0") == {"None": SKIP, "_0": TUMOUR}
    assert mapped("", "Necrosis") == {"": SKIP, "Necrosis": SKIP}
    dots = outlines("Cells", kind="point")
    assert class_mapping([*outlines(""), *dots], DEFAULT_CLASSES)[""] == TUMOUR, "points say nothing about areas"


@pytest.mark.parametrize("kind", ["detection", "cell", "tile", "PathDetectionObject", "tmaCore"])
def test_cells_and_tiles_without_a_class_are_not_tumour(kind):
    assert class_mapping(outlines("", object_type=kind), DEFAULT_CLASSES) == {"": SKIP}
    assert class_mapping(outlines("Tumor", object_type=kind), DEFAULT_CLASSES) == {"Tumor": TUMOUR}


def test_roles_that_no_class_has_are_left_out():
    assert class_mapping(outlines("_0", "normal"), [EXCLUDE]) == {"_0": SKIP, "normal": SKIP}


def test_training_without_anybody_to_ask_leaves_unknown_areas_out_of_training():
    mapping = mapped("Tumor", "Necrosis", "Region*", "", "_2")
    assert cautious(mapping, DEFAULT_CLASSES) == {
        "Tumor": TUMOUR, "Necrosis": EXCLUDE, "Region*": SKIP, "": SKIP, "_2": CLEAR,
    }  # fmt: skip
    assert "'Necrosis'" in left_out_of_training(mapping) and "Region" not in left_out_of_training(mapping)
    assert left_out_of_training(mapped("Tumor")) == ""


@pytest.mark.parametrize("name", ["None", ""])
def test_training_takes_no_outline_without_a_class_for_tumour(name):
    mapping = mapped(name, "_2")
    assert mapping[name] == TUMOUR, "a guess, for somebody who can say no"
    assert cautious(mapping, DEFAULT_CLASSES) == {name: EXCLUDE, "_2": CLEAR}
    assert left_out_of_training(mapping).startswith("the outlines have no class and are left out of training;")
    own = [*DEFAULT_CLASSES, LabelClass(value=9, name="None", color="#000000", role="negative")]
    assert cautious({"None": own[3]}, own) == {"None": own[3]} and left_out_of_training({"None": own[3]}) == ""


def test_choices_of_the_shell():
    mapping = mapped("Necrosis", "Tumor", "")
    changed = chosen(["necrosis=Tumour", "Tumor=SKIP", "=clear"], mapping, DEFAULT_CLASSES)
    assert changed == {"Necrosis": TUMOUR, "Tumor": SKIP, "": CLEAR}
    assert mapping["Necrosis"] == SKIP, "the table given stays as it is"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Necrosis", "NAME=CLASS"),
        ("Gland=Tumour", "no class 'Gland'; it has 'Necrosis'"),
        ("Necrosis=Foo", "no class 'Foo'; there are Tumour, Normal, Exclude"),
    ],
)
def test_mistaken_choices_are_one_sentence(text, says):
    with pytest.raises(AnnotationError, match=says):
        chosen([text], mapped("Necrosis"), DEFAULT_CLASSES)


def test_a_new_class_takes_what_is_free():
    made = new_class("Necrosis", "#123456", DEFAULT_CLASSES)
    assert new_class("Necrosis", "#123456", DEFAULT_CLASSES, {4, 5}).value == 6
    assert (made.value, made.name, made.color, made.key, made.role) == (4, "Necrosis", "#123456", "4", "ignore")
    assert new_class("Necrosis", TUMOUR.color.lower(), DEFAULT_CLASSES).color not in {c.color for c in DEFAULT_CLASSES}
    full = [LabelClass(value=value, name=str(value), color="#000000") for value in range(1, 256)]
    with pytest.raises(AnnotationError, match="255"):
        new_class("x", "#123456", full)


def test_names_fit_into_a_sentence():
    assert quoted(["a", "b"]) == "'a', 'b'"
    assert quoted("abcdefg") == "'a', 'b', 'c', 'd', 'e' and 2 more"
    assert quoted(["x\n" * 100]) == "'" + "x " * 19 + "x…'"
