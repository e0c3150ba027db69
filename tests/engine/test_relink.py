"""Slides that moved are found by name, else by content, and set right in one step; another window's work is seen."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from opsin.engine.errors import OpsinError
from opsin.engine.relink import Found, missing, relink, search, why_missing
from opsin.engine.watching import Watcher
from opsin.engine.workspace import Workspace


@pytest.fixture
def space(tmp_path):
    """A workspace with the slides a to d."""
    random = np.random.default_rng(0)
    (tmp_path / "slides").mkdir()
    for name in "abcd":
        Image.fromarray(random.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / "slides" / f"{name}.png")
    workspace = Workspace.create(tmp_path / "space")
    workspace.add([tmp_path / "slides"])
    yield workspace
    workspace.close()


def test_moved_renamed_and_replaced_files_are_told_apart(space, tmp_path):
    a, b, c, d = space.items()
    deep = tmp_path / "archive" / "2026" / "x"
    deep.mkdir(parents=True)
    (tmp_path / "slides" / "a.png").rename(deep / "A.PNG")
    (tmp_path / "slides" / "b.png").rename(deep / "case 7.png")
    (tmp_path / "slides" / "c.png").unlink()
    Image.new("RGB", (60, 40)).save(deep / "c.png")
    (deep / "broken.svs").write_bytes(b"nothing")
    gone = missing(space)
    assert [entry.item.id for entry in gone] == [a.id, b.id, c.id]
    assert gone[0].reason == f"There is no a.png in {tmp_path / 'slides'} any more: it was moved, renamed or deleted."
    found = [step for step in search(tmp_path / "archive", gone) if isinstance(step, Found)]
    assert {(f.id, f.path.name, f.how) for f in found} == {
        (a.id, "A.PNG", "name"), (b.id, "case 7.png", "content"), (c.id, "c.png", "other"),
    }  # fmt: skip
    assert relink(space, {f.id: f.path for f in found if f.how != "other"}) == 2
    assert [entry.item.id for entry in missing(space)] == [c.id]
    assert space.item(a.id).path == "../archive/2026/x/A.PNG", "relative: both can be moved together"
    assert space.slide_path(space.item(d.id)).exists()


def test_two_missing_slides_that_swapped_names_are_found(space, tmp_path):
    a, b = space.items()[:2]
    folder = tmp_path / "other"
    folder.mkdir()
    (tmp_path / "slides" / "a.png").rename(folder / "b.png")
    (tmp_path / "slides" / "b.png").rename(folder / "a.png")
    found = [step for step in search(folder, missing(space)) if isinstance(step, Found) and step.how != "other"]
    assert {f.id: f.path.name for f in found} == {a.id: "b.png", b.id: "a.png"}


def test_a_file_that_is_no_slide_changes_nothing(space, tmp_path):
    a = space.items()[0]
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(OpsinError):
        relink(space, {space.items()[1].id: tmp_path / "slides" / "c.png", a.id: tmp_path / "x.png"})
    assert [item.path for item in space.items()] == [f"../slides/{name}.png" for name in "abcd"]


def test_a_folder_that_is_away_is_said(tmp_path):
    assert "its disk is not connected" in why_missing(tmp_path / "gone" / "a.svs") and why_missing(tmp_path) == ""


def test_a_search_can_be_given_up_at_any_moment(space, tmp_path):
    (tmp_path / "slides" / "a.png").rename(tmp_path / "a moved.png")
    steps = search(tmp_path, missing(space))
    next(steps)
    steps.close()
    assert list(steps) == []


OTHER = """
import sys
from pathlib import Path
from opsin.engine.workspace import Workspace
with Workspace.open(Path(sys.argv[1])) as workspace:
    item = workspace.items()[0]
    store = workspace.labels(item)
    store.flush()
    print("open", flush=True)
    for line in sys.stdin:
        if line == "label\\n":
            workspace.update(item.id, label="positive", patient="p1")
        else:
            store.stroke([[20, 20]], 5, 1)
            store.flush()
        print("done", flush=True)
"""


def test_what_another_process_does_is_seen_within_two_seconds(space):
    item = space.items()[0]
    pipe = subprocess.PIPE
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(space.folder)], stdin=pipe, stdout=pipe, text=True, bufsize=1
    )
    watcher = None
    try:
        assert other.stdout.readline() == "open\n"
        store = space.labels_to_read(item)
        watcher = Watcher(space)
        watcher.follow(store)
        told, painted = threading.Event(), threading.Event()
        space.changed.connect(lambda what: told.set() if what == "items" else None)
        store.changed.connect(lambda rect: painted.set())

        def ask(what, event):
            other.stdin.write(f"{what}\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"
            assert event.wait(2), what

        ask("label", told)
        assert (space.item(item.id).label, space.item(item.id).patient) == ("positive", "p1")
        assert store.tile(0, 0, 0) is None
        ask("paint", painted)
        assert store.tile(0, 0, 0)[20, 20] == 1
        assert space.undo_edit() and space.item(item.id).label is None, "the stack is the same in both"
        store.close()
    finally:
        if watcher is not None:
            watcher.stop()
        other.stdin.close()
        other.wait()
        other.stdout.close()


def test_own_changes_are_not_taken_for_those_of_another(space):
    watcher = Watcher(space, every=0.01)
    told = []
    space.changed.connect(told.append)
    space.update(space.items()[0].id, label="positive")
    with Workspace.open(space.folder) as other:
        seen = threading.Event()
        space.changed.connect(lambda what: seen.set() if what == "settings" else None)
        assert told == ["items"]
        other.set_setting("x", 1)
        assert seen.wait(5)
    watcher.stop()
