"""What dropped, chosen and named paths mean; the made sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsin.engine.workspace import Workspace
from opsin.gui.opening import Plan, automatic_workspace, make_sample, plan
from opsin.gui.settings import documents_folder


def test_a_workspace_is_opened(folder):
    assert plan([folder], False) == Plan(workspace=folder)
    assert plan([folder / "opsin.sqlite"], True) == Plan(workspace=folder)


def test_slides_go_to_the_workspace_beside_them(slides):
    paths = [slides / "alpha.png", slides / "beta.png"]
    assert plan(paths, False) == Plan(workspace=slides / "opsin", slides=paths)
    assert plan([slides], False) == Plan(workspace=slides / "opsin", slides=[slides])


def test_slides_are_added_to_an_open_workspace(slides):
    assert plan([slides / "alpha.png"], True) == Plan(slides=[slides / "alpha.png"])


def test_annotations_are_told_apart(slides, tmp_path):
    found = plan([tmp_path / "a.XML", tmp_path / "b.geojson", slides / "alpha.png"], True)
    assert [p.name for p in found.annotations] == ["a.XML", "b.geojson"]
    assert found.slides == [slides / "alpha.png"]


def test_a_folder_that_cannot_be_written_leads_to_the_documents(slides, monkeypatch):
    monkeypatch.setattr("opsin.gui.opening.os.access", lambda *_: False)
    assert automatic_workspace(slides / "alpha.png") == documents_folder() / "case 7"


@pytest.fixture
def small_sample(monkeypatch):
    """The sample with smaller slides: the same code, less time."""
    from opsin.engine import samples

    make = samples.make_slides
    monkeypatch.setattr(samples, "make_slides", lambda folder, count, seed: make(folder, count, seed, (1024, 768)))


def test_sample_has_outlined_slides_labels_and_splits(tmp_path, small_sample):
    steps = list(make_sample(tmp_path / "Sample"))
    assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1]
    with Workspace.open(tmp_path / "Sample") as workspace:
        items = workspace.items()
        assert len(items) == 6
        assert {item.label for item in items} == {"positive", "negative"}
        outlined = [item for item in items if item.outlined]
        assert len(outlined) == 2 and all(item.marked > 0 and item.label == "positive" for item in outlined)
        assert {item.split for item in items} == {"train", "val"}
        assert all(item.split == "train" for item in outlined)
        assert workspace.labels(outlined[0]).undo_text == "Sample outlines"
        assert all(not Path(item.path).is_absolute() for item in items), "the folder can be moved"
    assert list(make_sample(tmp_path / "Sample"))[-1][2] == "The sample is there already"
