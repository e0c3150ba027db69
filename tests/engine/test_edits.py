"""What is said of slides can be undone after a restart; patients stay in one split; a review ends when labels change."""

import numpy as np
import pytest
from PIL import Image

from opsin.engine.errors import WorkspaceError
from opsin.engine.labels.marks import Mark
from opsin.engine.patients import dividing, likely_pattern, named_patients
from opsin.engine.workspace import Workspace


@pytest.fixture
def space(tmp_path):
    """A workspace with six pictures a to f, and a way to reopen it."""
    random = np.random.default_rng(0)
    for name in "abcdef":
        Image.fromarray(random.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / f"{name}.png")
    workspace = Workspace.create(tmp_path / "space")
    workspace.add([tmp_path])
    yield workspace
    workspace.close()


def state(workspace):
    return [(i.label, i.split, i.patient, i.outlined, i.review, i.reviewer) for i in workspace.items()]


def ids(workspace):
    return {item.name: item.id for item in workspace.items()}


def test_each_edit_is_undone_and_done_again_also_after_a_restart(space, tmp_path):
    space.reviewer = "Ana"
    a, b, c = (ids(space)[name] for name in "abc")
    (tmp_path / "t.csv").write_text("slide,label,patient\nd,positive,p9\ne,negative,p9\n")
    states = [state(space)]
    for step in (
        lambda: space.edit({a: {"label": "positive"}, b: {"label": "positive"}}),
        lambda: space.update(a, patient="p1"),
        lambda: space.update(b, patient="p1", outlined=True),
        lambda: space.update(a, split="val"),
        lambda: space.import_labels_csv(tmp_path / "t.csv"),
        lambda: space.assign_splits(val=0.5),
        lambda: space.update(c, review="reviewed"),
    ):
        step()
        states.append(state(space))
    assert space.edits.undo_text == "review reviewed of c"
    texts = []
    with Workspace.open(space.folder) as again:
        for expected in reversed(states[:-1]):
            texts.append(again.undo_edit())
            assert state(again) == expected
        assert again.undo_edit() == "" and again.edits.undo_text == ""
        for expected in states[1:]:
            assert again.redo_edit()
            assert state(again) == expected
        assert again.redo_edit() == ""
    assert texts[1:3] == ["splits by chance", "import of t.csv"] and texts[-1] == "slide label positive of 2 slides"


def test_a_new_edit_ends_what_could_be_redone(space):
    a = ids(space)["a"]
    space.update(a, label="positive")
    space.undo_edit()
    space.update(a, label="negative")
    assert space.redo_edit() == "" and space.undo_edit() and space.item(a).label is None


def test_undo_leaves_slides_that_were_taken_out(space):
    a, b = ids(space)["a"], ids(space)["b"]
    space.edit({a: {"label": "positive"}, b: {"label": "positive"}})
    space.update(a, split="train")
    space.remove([a])
    assert space.edits.undo_text.startswith("slide label"), "of the other edit nothing was left"
    space.undo_edit()
    assert space.item(b).label is None


def test_an_edit_that_says_nothing_new_is_no_step(space):
    a = ids(space)["a"]
    space.update(a, label=None)
    space.update(a, marked=0.5)
    space.update(a, mpp=0.25)
    assert space.edits.undo_text == ""


def test_a_split_moves_all_slides_of_the_patient(space):
    a, b, c = (ids(space)[name] for name in "abc")
    space.edit({id: {"patient": " p1 "} for id in (a, b, c)})
    moved = space.edit({a: {"split": "test"}})
    assert set(moved) == {b, c} and [space.item(i).split for i in (a, b, c)] == ["test"] * 3
    space.undo_edit()
    assert [space.item(i).split for i in (a, b, c)] == [None] * 3, "one step"


def test_a_slide_that_gets_a_patient_follows_his_split(space):
    a, b, c, d = (ids(space)[name] for name in "abcd")
    space.update(a, patient="p", split="val")
    space.update(b, split="train")
    space.update(b, patient="p")
    assert space.item(b).split == "val"
    space.update(c, split="train")
    space.update(d, split="test")
    space.edit({c: {"patient": "q"}, d: {"patient": "q"}})
    assert {space.item(c).split, space.item(d).split} == {"test"}, "of equals the one that is farthest from training"
    with pytest.raises(WorkspaceError, match="patient q cannot be in different splits"):
        space.edit({c: {"split": "train"}, d: {"split": "val"}})
    assert space.item(c).split == "test"


@pytest.mark.parametrize("keep", [False, True])
def test_rows_that_would_divide_a_patient_are_refused(space, tmp_path, keep):
    a, b, c, d = (ids(space)[name] for name in "abcd")
    space.update(c, patient="q", split="train")
    (tmp_path / "t.csv").write_text(
        "slide,label,split,patient\na,positive,train,p\nb,negative,val,p\nd,negative,test,q\n"
    )
    count, left = space.import_labels_csv(tmp_path / "t.csv", keep)
    assert count == 0 and len(left) == 3
    assert "a, positive, train, p (slides of patient p would come into different splits)" in left
    assert [space.item(i).label for i in (a, b, d)] == [None] * 3
    assert [space.item(i).patient for i in (a, b, c, d)] == [None, None, "q", None]


def test_refusing_one_row_can_make_another_one_divide(space):
    a, b, c = (ids(space)[name] for name in "abc")
    space.edit({a: {"patient": "p"}, b: {"patient": "p"}})
    space.update(c, patient="q", split="val")
    # a would go to q and train: refused, so it stays with p, and then b alone moves: a follows it
    wanted = {a: {"patient": "q", "split": "train"}, b: {"split": "test"}}
    assert dividing(space.items(), wanted) == {a: "q"}


def test_patients_by_a_pattern():
    names = {"1": "TCGA-AA-1234-01Z-00-DX1", "2": "patient_004_node_4", "3": "case7_HE_1", "4": "no"}
    assert named_patients(names, "{TCGA-??-????}*") == {"1": "TCGA-AA-1234"}
    assert named_patients(names, "{patient_*}_node*") == {"2": "patient_004"}
    assert named_patients(names, "{*}_*") == {"2": "patient", "3": "case7"}
    assert named_patients(names, "{**}_*") == {"2": "patient_004_node", "3": "case7_HE"}
    for bad in ("", "*_*", "{*", "}*{", "{}", "{*}{*}", "{*}*_*_*_*"):
        with pytest.raises(WorkspaceError):
            named_patients(names, bad)
    assert likely_pattern([f"patient_{n:03d}_node_{k}" for n in range(9) for k in range(3)]) == "{patient_*}_node*"
    assert likely_pattern([f"P{n}-{k}" for n in range(9) for k in range(3)]) == "{*}-*"
    assert likely_pattern([]) in ("{TCGA-??-????}*",)


def test_a_review_ends_when_labels_change_and_says_who_it_was(space):
    space.reviewer = "Ana"
    item = space.item(ids(space)["a"])
    assert item.review == "to do"
    store = space.labels(item)
    store.stroke([[20, 20]], 5, 1)
    space.update_marked(item.id)
    assert space.item(item.id).review == "marked"
    space.update(item.id, review="reviewed")
    space.update_marked(item.id)
    found = space.item(item.id)
    assert (found.review, found.reviewer) == ("reviewed", "Ana") and found.reviewed > 0, "nothing was painted since"
    store.stroke([[40, 20]], 5, 1)
    space.update_marked(item.id)
    found = space.item(item.id)
    assert (found.review, found.reviewer, found.reviewed) == ("marked", None, None)
    assert [(what, who) for _, what, who in space.review_history(item.id)] == [
        ("marked", None), ("reviewed", "Ana"), ("marked", None),
    ]  # fmt: skip
    space.undo_edit()
    assert space.item(item.id).review == "marked", "undo of the review does not bring back what labels ended"


def test_painting_and_taking_it_back_leaves_the_review(space):
    item = space.item(ids(space)["a"])
    store = space.labels(item)
    store.stroke([[20, 20]], 5, 1)
    store.flush()
    space.update(item.id, review="reviewed", marked=0.5)
    store.stroke([[40, 20]], 5, 1)
    store.undo()
    space.update_marked(item.id)
    assert space.item(item.id).review == "reviewed"
    store.undo()
    space.update_marked(item.id)
    assert space.item(item.id).review == "marked"


def test_a_slide_is_to_do_again_when_all_painting_is_taken_back(space):
    a, b = ids(space)["a"], ids(space)["b"]
    for id in (a, b):
        space.labels(space.item(id)).stroke([[20, 20]], 5, 1)
        space.update_marked(id)
        assert space.item(id).review == "marked"
    space.labels(space.item(b)).add_marks([Mark("marker", ((5.0, 5.0),))])
    space.labels(space.item(a)).undo()
    space.labels(space.item(b)).stroke([[20, 20]], 9, 0)
    for id in (a, b):
        space.labels(space.item(id)).flush()
        space.update_marked(id)
    assert space.item(a).review == "to do" and space.item(a).marked == 0
    assert space.item(b).review == "marked", "it has a marker"
    space.update(a, review="marked")
    space.update_marked(a)
    assert space.item(a).review == "marked", "as was said by hand"


def test_another_slide_label_ends_the_review_in_the_same_step(space):
    a = ids(space)["a"]
    space.update(a, label="negative", review="reviewed")
    space.update(a, label="positive")
    assert space.item(a).review == "marked"
    space.undo_edit()
    assert (space.item(a).review, space.item(a).label) == ("reviewed", "negative")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark", "cp1252"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(space, tmp_path, encoding, mark):
    rows = "slide,label,split,patient,review,reviewed by\r\na,positive,train,Müller,reviewed,Ana\r\nb.png,neg,val,,to do,\r\n"
    text = ("sep=;\r\n" if mark == ";" else "") + rows.replace(",", mark)
    data = b"\xfe\xff" + text.encode("utf-16-be") if encoding.endswith("mark") else text.encode(encoding)
    (tmp_path / "t.csv").write_bytes(data)
    assert space.import_labels_csv(tmp_path / "t.csv") == (2, [])
    a, b = space.items()[:2]
    assert (a.label, a.split, a.patient, a.review, a.reviewer) == ("positive", "train", "Müller", "reviewed", "Ana")
    assert (b.label, b.split, b.patient, b.review, b.reviewer) == ("negative", "val", None, "to do", None)


def test_the_written_table_is_read_again_to_the_same(space, tmp_path):
    space.reviewer = "Jörg, the second"
    a, b, c = (ids(space)[name] for name in "abc")
    space.edit({a: {"patient": "Ä;1", "label": "positive"}, b: {"patient": "Ä;1"}, c: {"label": "negative"}})
    space.update(a, split="test")
    space.update(c, review="reviewed")
    space.set_score(a, "run1", {"score": 0.125, "source": "mean"})
    assert space.write_slide_table(tmp_path / "out" / "t.csv") == 6
    text = (tmp_path / "out" / "t.csv").read_bytes()
    assert text[:3] == b"\xef\xbb\xbf" and b"0.125,run1" in text and str(tmp_path).encode() not in text
    before = state(space)
    while space.undo_edit():
        pass
    count, left = space.import_labels_csv(tmp_path / "out" / "t.csv")
    assert (count, left) == (6, []) and state(space) == before
