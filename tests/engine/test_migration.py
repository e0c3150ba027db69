"""Files that older versions wrote are opened, with a copy kept beforehand; files of newer ones are refused."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from opsin.engine import schema
from opsin.engine.backups import backups
from opsin.engine.database import DATABASE, SCHEMA_VERSION, Database
from opsin.engine.errors import LabelError, OpsinError, WorkspaceError
from opsin.engine.labels.store import LabelStore
from opsin.engine.tiles import pack
from opsin.engine.workspace import Workspace

FIRST_WORKSPACE = """
CREATE TABLE item(id TEXT PRIMARY KEY, position INTEGER, path TEXT NOT NULL, name TEXT NOT NULL, label TEXT,
    split TEXT, patient TEXT, outlined INTEGER NOT NULL DEFAULT 0, mpp REAL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    slide_mpp REAL, fingerprint TEXT NOT NULL, marked REAL NOT NULL DEFAULT 0);
CREATE TABLE class(value INTEGER PRIMARY KEY, position INTEGER, json TEXT NOT NULL);
CREATE TABLE setting(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE score(run TEXT, item TEXT, score REAL, json TEXT NOT NULL, time REAL, PRIMARY KEY(run, item));
INSERT INTO setting VALUES('schema', '1'), ('user.last_item', '"a1"');
INSERT INTO item VALUES('a1', 1, '../a.tif', 'a', 'positive', 'train', 'p1', 1, 0.5, 2000, 1000, NULL, 'f1', 0.25);
INSERT INTO item VALUES('b2', 2, '/far/b.tif', 'b', NULL, NULL, NULL, 0, NULL, 300, 200, 0.25, 'f2', 0);
INSERT INTO class VALUES(1, 0, '{"value": 1, "name": "Tumor", "color": "#D55E00", "role": "positive"}');
INSERT INTO score VALUES('run1', 'a1', 0.75, '{"score": 0.75, "source": "mean"}', 5.0);
"""
"""The workspace's database as the first version wrote it."""
FIRST_LABELS = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tile(level INTEGER, row INTEGER, col INTEGER, blob BLOB NOT NULL, PRIMARY KEY(level, row, col)) WITHOUT ROWID;
CREATE TABLE op(id INTEGER PRIMARY KEY, grp INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    state INTEGER NOT NULL, time REAL NOT NULL, delta TEXT NOT NULL, protected BLOB NOT NULL, geometry BLOB NOT NULL);
CREATE TABLE old(op INTEGER, level INTEGER, row INTEGER, col INTEGER, blob BLOB,
    PRIMARY KEY(op, level, row, col)) WITHOUT ROWID;
CREATE TABLE area(label INTEGER PRIMARY KEY, pixels INTEGER NOT NULL);
INSERT INTO meta VALUES('kind', 'labels'), ('format', '1'), ('width', '300'), ('height', '200'), ('base', '1'),
    ('reduce', 'stride'), ('meta', '{}');
INSERT INTO area VALUES(3, 400);
"""
"""A label file as the first version wrote it; the test adds a tile with 20 x 20 pixels of label 3."""


def write(path, script, **blobs):
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(script)
        for statement, values in blobs.values():
            connection.execute(statement, values)


def first_labels(path):
    tile = np.zeros((512, 512), np.uint8)
    tile[30:50, 10:30] = 3
    write(path, FIRST_LABELS, tile=("INSERT INTO tile VALUES(0, 0, 0, ?)", (pack(tile),)))
    return tile


def version(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_workspace_of_the_first_version_opens_with_all_it_says(tmp_path):
    write(tmp_path / DATABASE, FIRST_WORKSPACE)
    with Workspace.open(tmp_path) as workspace:
        a, b = workspace.items()
        assert (a.label, a.split, a.patient, a.outlined, a.mpp, a.marked) == (
            "positive",
            "train",
            "p1",
            True,
            0.5,
            0.25,
        )
        assert (a.review, b.review, a.added) == ("marked", "to do", None), "a slide with labels is marked"
        assert [c.name for c in workspace.classes] == ["Tumor"] and workspace.setting("last_item") == "a1"
        assert workspace.scores()[0]["score"] == 0.75
        workspace.update("b2", split="test", review="reviewed")
        assert workspace.undo_edit() and workspace.item("b2").split is None
    assert version(tmp_path / DATABASE) == SCHEMA_VERSION
    (copy,) = backups(tmp_path / DATABASE)
    assert copy.path.name == "opsin.sqlite.1" and version(copy.path) == 0, "the state before"


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    write(tmp_path / DATABASE, FIRST_WORKSPACE)
    steps = {1: ("ALTER TABLE item ADD COLUMN added REAL", "INSERT INTO nothing VALUES(1)")}
    monkeypatch.setattr("opsin.engine.database.STEPS", steps)
    with pytest.raises(WorkspaceError):
        Workspace.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(item)")}
    assert "added" not in columns and version(tmp_path / DATABASE) == 0
    monkeypatch.undo()
    with Workspace.open(tmp_path) as workspace:
        assert len(workspace.items()) == 2


def test_without_room_for_a_copy_nothing_is_changed(tmp_path, monkeypatch):
    write(tmp_path / DATABASE, FIRST_WORKSPACE)

    def full(path):
        raise OpsinError("No backup was made: the disk is almost full; make room there.")

    monkeypatch.setattr(schema, "back_up", full)
    with pytest.raises(OpsinError, match="almost full"):
        Workspace.open(tmp_path)
    assert version(tmp_path / DATABASE) == 0


def test_two_processes_that_upgrade_at_once_do_it_once(tmp_path):
    write(tmp_path / DATABASE, FIRST_WORKSPACE)
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as late:
        assert schema.version_of(late) == 1
        Database.open(tmp_path).close()
        from opsin.engine.database import STEPS

        assert schema.upgrade(late, tmp_path / DATABASE, SCHEMA_VERSION, STEPS) is False


@pytest.mark.parametrize(
    "statement", ["PRAGMA user_version = 99", "UPDATE setting SET value = '99' WHERE key = 'schema'"]
)
def test_a_workspace_of_a_newer_version_is_refused_and_left(tmp_path, statement):
    write(tmp_path / DATABASE, FIRST_WORKSPACE)
    write(tmp_path / DATABASE, statement)
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(WorkspaceError, match=r"newer Opsin \(version 99\); update Opsin to open it"):
        Workspace.open(tmp_path)
    assert (tmp_path / DATABASE).read_bytes()[100:] == before[100:] and not backups(tmp_path / DATABASE)


def test_labels_of_the_first_version_open_with_a_copy_kept(tmp_path):
    path = tmp_path / "x.labels"
    tile = first_labels(path)
    with LabelStore.open(path, readonly=True) as store:
        assert (store.tile(0, 0, 0) == tile).all() and store.areas() == {3: 400}
    assert version(path) == 0 and not backups(path), "looking changes nothing"
    with LabelStore.open(path) as store:
        assert (store.tile(0, 0, 0) == tile).all() and store.marks() == []
        store.stroke(np.array([[100.0, 100.0]]), 5, 1)
        store.flush()
        assert set(store.areas()) == {1, 3}
    assert version(path) == LabelStore.version
    (copy,) = backups(path)
    assert version(copy.path) == 0
    with LabelStore.open(copy.path, readonly=True) as store:
        assert store.areas() == {3: 400}


def test_labels_of_a_newer_version_are_refused(tmp_path):
    path = tmp_path / "x.labels"
    first_labels(path)
    write(path, "PRAGMA user_version = 99")
    for readonly in (True, False):
        with pytest.raises(LabelError, match="newer Opsin; update Opsin to open it"):
            LabelStore.open(path, readonly=readonly)
    assert not backups(path)


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from opsin.engine import database, tiles
from opsin.engine.labels.store import LabelStore
from opsin.engine.workspace import Workspace

def traced(module):
    connect = module._connect
    def made(*values):
        connection = connect(*values)
        connection.set_trace_callback(told)
        return connection
    module._connect = made

def told(statement):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

traced(database)
traced(tiles)
folder, number = Path(sys.argv[1]), 0
while True:
    number += 1
    copy = folder.with_name(f"{folder.name}{number}")
    shutil.copytree(folder, copy)
    left, child = number, os.fork()
    if not child:
        Workspace.open(copy)
        LabelStore.open(copy / "x.labels")
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(number - 1)
"""


def test_a_kill_before_any_statement_of_an_upgrade_loses_nothing(tmp_path):
    folder = tmp_path / "space"
    write(folder / DATABASE, FIRST_WORKSPACE)
    tile = first_labels(folder / "x.labels")
    said = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True, check=True)
    kills = int(said.stdout)
    assert kills > 20
    for number in range(1, kills + 1):
        copy = tmp_path / f"space{number}"
        assert version(copy / DATABASE) in (0, SCHEMA_VERSION) and version(copy / "x.labels") in (0, LabelStore.version)
        with Workspace.open(copy) as workspace:
            assert [item.label for item in workspace.items()] == ["positive", None]
            assert workspace.scores()[0]["score"] == 0.75 and workspace.setting("last_item") == "a1"
        with LabelStore.open(copy / "x.labels") as store:
            assert (store.tile(0, 0, 0) == tile).all() and store.areas() == {3: 400} and store.marks() == []
        for path in (copy / DATABASE, copy / "x.labels"):
            assert version(backups(path)[-1].path) == 0, "the state before is kept"
