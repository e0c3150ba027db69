"""A class that was removed never lends its pixels to another one, and can come back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from opsin.engine.class_table import class_usage, remove_class, removed_classes, restored, taken_values
from opsin.engine.errors import WorkspaceError
from opsin.engine.labels.classes import LabelClass
from opsin.engine.workspace import Workspace

SQUARE = np.array([[0, 0], [20, 0], [20, 10], [0, 10]], float)


@pytest.fixture
def workspace(tmp_path):
    """Two slides; on the first one 200 px of class 1, of which class 2 takes 50."""
    for name in "ab":
        Image.new("RGB", (64, 48), (len(name), ord(name), 9)).save(tmp_path / f"{name}.png")
    with Workspace.create(tmp_path / "w") as workspace:
        first, _ = workspace.add([tmp_path / "a.png", tmp_path / "b.png"])
        store = workspace.labels(first)
        store.polygon([SQUARE], 1)
        store.polygon([SQUARE / 2], 2)
        store.flush()
        yield workspace


def test_usage_counts_slides_pixels_and_area(workspace):
    usage = class_usage(workspace, 1)
    assert (usage.slides, usage.pixels, usage.area) == (1, 150, None)
    workspace.update(workspace.items()[0].id, mpp=10.0)
    assert class_usage(workspace, 1).area == pytest.approx(150 * 100 / 1e6)
    assert class_usage(workspace, 3).slides == 0


def test_the_value_of_a_removed_class_stays_taken(workspace):
    remove_class(workspace, 1, workspace.classes)
    assert [c.value for c in workspace.classes] == [2, 3]
    assert [c.name for c in removed_classes(workspace)] == ["Tumour"]
    assert taken_values(workspace) == {1, 2, 3}
    folder = workspace.folder
    workspace.close()
    with Workspace.open(folder) as again:
        assert 1 in taken_values(again)


def test_values_of_label_files_are_taken_though_no_class_has_them_and_even_when_undone(workspace):
    store = workspace.labels(workspace.items()[1])
    store.polygon([SQUARE], 9)
    store.flush()
    store.undo()
    store.flush()
    assert store.areas() == {} and 9 in taken_values(workspace)


def test_a_removed_class_comes_back_with_its_meaning(workspace):
    remove_class(workspace, 1, workspace.classes)
    workspace.set_classes(restored(workspace, 1, workspace.classes))
    assert {c.value: (c.name, c.role, c.key) for c in workspace.classes}[1] == ("Tumour", "positive", "1")
    assert removed_classes(workspace) == []
    with pytest.raises(WorkspaceError, match="not removed"):
        restored(workspace, 1, workspace.classes)


def test_a_class_that_comes_back_yields_name_and_key(workspace):
    remove_class(workspace, 1, workspace.classes)
    other = LabelClass(value=4, name="Tumour", color="#000000", key="1")
    workspace.set_classes([*workspace.classes, other])
    back = restored(workspace, 1, workspace.classes)[-1]
    assert (back.value, back.name, back.key) == (1, "Tumour 2", "")
