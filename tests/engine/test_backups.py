"""Three generations of each file, whole or not at all, and the way back, which loses nothing either."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from opsin.engine import backups as module
from opsin.engine.backups import FOLDER, back_up, backups, is_due, restore
from opsin.engine.errors import Cancelled, DamagedError, LabelError, OpsinError
from opsin.engine.labels.store import LabelStore
from opsin.engine.watching import BackupKeeper
from opsin.engine.workspace import Workspace


@pytest.fixture
def file(tmp_path):
    """A database with one number in it."""
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t(n INTEGER); INSERT INTO t VALUES(0)")
    return path


def put(path, number):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE t SET n = ?", (number,))


def number(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT n FROM t").fetchone()[0]


def generations(path):
    return {b.path.name.rpartition(".")[2]: number(b.path) for b in backups(path) if not b.kept}


def test_three_generations_and_no_more(file):
    for step in range(6):
        put(file, step)
        assert back_up(file)
    assert generations(file) == {"1": 5, "2": 4, "3": 3}
    assert back_up(file) is False and generations(file)["2"] == 4, "the same content is not kept twice"
    assert not list((file.parent / FOLDER).glob("*-wal")) and not list((file.parent / FOLDER).glob(".*"))


def test_what_is_only_in_the_log_is_copied_while_another_writes(file):
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("UPDATE t SET n = 7")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE t SET n = 8")
        assert back_up(file)
        writer.execute("COMMIT")
    assert generations(file) == {"1": 7}


def test_a_file_is_due_when_it_was_written_and_an_hour_has_gone(file):
    assert is_due(file)
    back_up(file)
    put(file, 1)
    assert not is_due(file) and is_due(file, every=0)
    copy = backups(file)[0].path
    os.utime(copy, (time.time() - 7200, time.time() - 7200))
    assert is_due(file)
    os.utime(file, (time.time() - 9000, time.time() - 9000))
    assert not is_due(file), "not written since"


def test_restoring_keeps_the_present_state(file):
    for step in (1, 2, 3):
        put(file, step)
        back_up(file)
    put(file, 4)
    kept = restore(backups(file)[-1])
    assert number(file) == 1 and number(kept) == 4
    assert generations(file) == {"1": 3, "2": 2, "3": 1}, "no generation was lost"
    restore(next(b for b in backups(file) if b.path == kept))
    assert number(file) == 4
    for _ in range(4):
        restore(backups(file)[-1])
    assert sum(b.kept for b in backups(file)) == 3


def test_a_damaged_file_comes_back_and_is_kept_as_it_was(file):
    back_up(file)
    file.write_bytes(b"noise" * 500)
    with pytest.raises(OpsinError, match="No backup"):
        back_up(file)
    assert generations(file) == {"1": 0}, "damage does not push out a copy"
    kept = restore(backups(file)[0])
    assert number(file) == 0 and kept.read_bytes() == b"noise" * 500


def test_a_damaged_copy_is_refused(file):
    back_up(file)
    copy = backups(file)[0]
    copy.path.write_bytes(copy.path.read_bytes()[:4096] + b"x" * 4096)
    with pytest.raises(OpsinError, match="damaged itself"):
        restore(copy)
    assert number(file) == 0


def test_a_file_in_use_is_not_restored(file):
    back_up(file)
    with closing(sqlite3.connect(file)) as other:
        other.execute("SELECT * FROM t").fetchall()
        with pytest.raises(OpsinError, match="open in another Opsin window"):
            restore(backups(file)[0])
    restore(backups(file)[0])


def test_without_room_there_is_no_copy_and_the_old_ones_stay(file, monkeypatch):
    back_up(file)
    put(file, 1)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OpsinError, match="almost full"):
        back_up(file)
    assert generations(file) == {"1": 0}


def test_giving_up_leaves_nothing(file):
    with pytest.raises(Cancelled):
        back_up(file, stopping=lambda: True)
    assert not list((file.parent / FOLDER).iterdir())


SLOW = """
import sys
from pathlib import Path
from opsin.engine import backups
backups._PAGES = 1
count = 0
def stopping():
    global count
    count += 1
    if count == int(sys.argv[2]):
        print("in the middle", flush=True)
        sys.stdin.read()
    return False
replace = Path.replace
def replaced(self, target):
    if int(sys.argv[2]) == 0 and ".2" in str(target):
        replace(self, target)
        print("in the middle", flush=True)
        sys.stdin.read()
    return replace(self, target)
Path.replace = replaced
backups.back_up(Path(sys.argv[1]), stopping)
"""


@pytest.mark.parametrize("moment", [0, 1, 40], ids=["between renames", "first page", "a later page"])
def test_a_kill_during_a_backup_leaves_only_whole_copies(file, moment, monkeypatch):
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE big AS SELECT randomblob(4000) AS blob FROM (SELECT 1 UNION ALL SELECT 2)")
        for _ in range(6):
            connection.execute("INSERT INTO big SELECT randomblob(4000) FROM big")
    back_up(file)
    put(file, 1)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(file), str(moment)], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    found = backups(file)
    assert [number(b.path) for b in found] == [0] and number(file) == 1
    monkeypatch.setattr(module, "_STALE", -1.0)
    assert back_up(file), "the lock ended with the process"
    assert 1 in generations(file).values() and 0 in generations(file).values()
    assert not list((file.parent / FOLDER).glob(".*")), "what the killed process left is tidied up"


def test_labels_and_workspace_are_backed_up_when_they_change_and_come_back(tmp_path):
    from PIL import Image

    Image.new("RGB", (90, 60), "white").save(tmp_path / "a.png")
    with Workspace.create(tmp_path / "space") as workspace:
        (item,) = workspace.add([tmp_path / "a.png"])
        store = workspace.labels(item)
        store.stroke([[20, 20]], 5, 1)
        store.flush()
        keeper = BackupKeeper(workspace)
        assert keeper.looked.wait(20)
        keeper.stop()
        assert backups(store.path) and backups(workspace.folder / "opsin.sqlite")
        areas = store.areas()
        with pytest.raises(OpsinError, match="open in another Opsin window"):
            restore(backups(store.path)[0])
        store.stroke([[60, 20]], 9, 2)
    path = workspace.folder / "labels" / f"{item.id}.labels"
    path.write_bytes(b"\0" * 4096)
    with pytest.raises(DamagedError) as error:
        LabelStore.open(path)
    assert error.value.path == path and isinstance(error.value, LabelError)
    restore(backups(path)[0])
    with Workspace.open(workspace.folder) as again:
        assert again.labels(item).areas() == areas
        again.remove([item.id])
    removed = workspace.folder / "labels" / "removed"
    assert len(list(removed.glob("*.labels"))) == 1 and len(list((removed / FOLDER).glob("a-*.labels.*"))) == 2
    assert not list(Path(workspace.folder / "labels" / FOLDER).iterdir())
