"""What is painted where, as the training panel and the log of a run say it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from opsin.engine.labels.store import LabelStore
from opsin.engine.marked import MarkedRoles
from opsin.engine.methods.hybrid_wsi.data import open_data
from opsin.engine.workspace import Workspace

RING = [np.array([[0, 0], [30, 0], [30, 20], [0, 20]], float)]


def made(folder):
    paths = []
    for number in range(3):
        paths.append(folder / f"s{number}.png")
        Image.new("RGB", (64, 48), (200, 150 + number, 170)).save(paths[-1])
    workspace = Workspace.create(folder / "workspace")
    return workspace, workspace.add(paths)


def test_roles_follow_what_is_painted_and_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    workspace, items = made(tmp_path)
    ids = [item.id for item in items]
    with workspace:
        for label in (1, 3, 77):
            workspace.labels(items[0]).polygon([RING[0] + label], label)
        workspace.labels(items[1]).flush()
        workspace.flush()
        marked = MarkedRoles(workspace.folder)
        found = marked.look(ids, workspace.classes)
        assert found == {ids[0]: {"positive", "ignore"}, ids[1]: set(), ids[2]: set()}
        opened = []
        really = LabelStore.open

        def noted(path, readonly=False):
            opened.append(path)
            return really(path, readonly)

        monkeypatch.setattr(LabelStore, "open", noted)
        assert marked.look(ids, workspace.classes) == found and not opened
        workspace.labels(items[1]).polygon(RING, 2)
        workspace.flush()
        assert marked.look(ids, workspace.classes)[ids[1]] == {"negative"}
        assert [path.stem for path in opened] == [ids[1]]


def test_the_log_of_a_training_does_not_count_empty_label_files(tmp_path):
    workspace, items = made(tmp_path)
    with workspace:
        workspace.labels(items[0]).polygon(RING, 1)
        workspace.labels(items[1]).flush()  # a slide that was only looked at
        workspace.update(items[2].id, outlined=True)
    assert "1 painted, 1 outlined completely" in open_data(workspace.folder).describe()
