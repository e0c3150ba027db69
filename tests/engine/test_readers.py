"""Readers: labels of their own on every slide, and whose labels count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opsin.engine.backups import all_backups, back_up
from opsin.engine.errors import WorkspaceError
from opsin.engine.labels.readers import AGREED, add_agreed, add_reader, readers, rename_reader, set_counting
from opsin.engine.marked import MarkedRoles
from opsin.engine.methods.hybrid_wsi.data import open_data
from opsin.engine.workspace import Workspace

SQUARE = [np.array([[10.0, 10.0], [60.0, 10.0], [60.0, 60.0], [10.0, 60.0]])]
SMALL = [np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])]


def made(folder: Path) -> Workspace:
    Image.fromarray(np.full((200, 300, 3), 230, np.uint8)).save(folder / "one.png")
    workspace = Workspace.create(folder / "w")
    workspace.add([folder / "one.png"])
    return workspace


def test_each_reader_paints_into_labels_of_his_own_with_an_undo_of_its_own(tmp_path: Path) -> None:
    with made(tmp_path) as workspace:
        item = workspace.items()[0]
        ben = add_reader(workspace, "Ben Ünal")
        assert ben.id == "ben-unal"
        workspace.labels(item).polygon(SQUARE, 1)
        workspace.reader = ben.id
        assert not workspace.has_labels(item)
        workspace.labels(item).polygon(SMALL, 2)
        assert workspace.labels(item).areas() == {2: 400}
        assert workspace.labels(item, "").areas() == {1: 2500}
        workspace.labels(item).undo()
        assert workspace.labels(item).areas() == {}
        assert workspace.labels(item, "").areas() == {1: 2500}
        assert workspace.update_marked(item.id) == 2500 / 60000, "the labels that count are the first reader's"
        assert workspace.unsaved() == {}


def test_names_are_unique_and_ids_never_leave_the_folder(tmp_path: Path) -> None:
    with made(tmp_path) as workspace:
        rename_reader(workspace, "", "Anna")
        first, second = add_reader(workspace, "B/../en"), add_reader(workspace, "b en")
        assert [first.id, second.id] == ["b-en", "b-en-2"]
        for name in ("anna ", "", "x" * 61, "Agreed"):
            with pytest.raises(WorkspaceError):
                add_reader(workspace, name)
        with pytest.raises(WorkspaceError):
            workspace.label_path("slide", "../other")
        with pytest.raises(WorkspaceError):
            set_counting(workspace, "nobody")
        add_agreed(workspace)
        assert [reader.id for reader in readers(workspace)] == ["", "b-en", "b-en-2", AGREED]
        workspace.set_setting("readers", [["..", "x"], 3, ["ok", "Fine"]])
        assert [(reader.id, reader.name) for reader in readers(workspace)] == [("", "First reader"), ("ok", "Fine")]


def test_training_takes_the_labels_that_count_and_each_round_asks_anew(tmp_path: Path) -> None:
    with made(tmp_path) as workspace:
        item = workspace.items()[0]
        ben = add_reader(workspace, "Ben")
        workspace.labels(item).polygon(SQUARE, 1)
        workspace.labels(item, ben.id).polygon(SMALL, 2)
        workspace.flush()
        data = open_data(workspace.folder)
        assert data.samples[0].labels == workspace.label_path(item.id, "")
        before = data.snapshot(tmp_path / "run", 0)
        set_counting(workspace, ben.id)
        after = data.snapshot(tmp_path / "run", 1)
        areas = []
        for snapshot in (before, after, data.snapshot(tmp_path / "run", 0)):
            store = snapshot.samples[0].open_labels()
            assert store is not None
            areas.append(store.areas())
            store.close()
        assert areas == [{1: 2500}, {2: 400}, {1: 2500}]
        assert open_data(workspace.folder).samples[0].labels == workspace.label_path(item.id, ben.id)
        roles = MarkedRoles(workspace.folder)
        first, second = (roles.look([item.id], workspace.classes, reader) for reader in ("", ben.id))
        assert first == {item.id: {"positive"}}
        assert second == {item.id: {"negative"}}
        assert workspace.update_marked(item.id) == 400 / 60000


def test_backup_and_removal_take_all_readers_labels_along(tmp_path: Path) -> None:
    with made(tmp_path) as workspace:
        item = workspace.items()[0]
        ben = add_reader(workspace, "Ben")
        workspace.labels(item).polygon(SQUARE, 1)
        workspace.labels(item, ben.id).polygon(SMALL, 2)
        workspace.flush()
        paths = [workspace.label_path(item.id, reader) for reader in ("", ben.id)]
        assert set(paths) < set(workspace.files()), "both are backed up while they are written"
        assert all(back_up(path) for path in paths)
        workspace.remove([item.id])
        assert not any(path.exists() for path in paths)
        removed = workspace.folder / "labels" / "removed"
        names = sorted(path.name for path in removed.glob("*.labels"))
        assert [name.endswith((f"-{item.id}.labels", f"-{item.id}.ben.labels")) for name in names] == [True, True]
        assert len(all_backups(removed)) == 2
