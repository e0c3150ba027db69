"""`kill -9` while painting: every operation that was reported as saved is there, and the tiles are what the journal says."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from opsin.engine.convert import convert
from opsin.engine.labels.exchange import write_annotations
from opsin.engine.labels.journal import APPLIED, COLUMNS, UNDONE, Operation
from opsin.engine.labels.shapes import Outline
from opsin.engine.labels.store import LabelStore

SIZE = 1100
PAINTER = """
import os
import sys
import numpy as np
from opsin.engine.labels.store import LabelStore

def say(*words):
    # one write a line: two threads speak, and print would mix their words when Python does not buffer its output
    os.write(1, (" ".join(map(str, words)) + chr(10)).encode())

store = LabelStore.open_or_create(sys.argv[1], %d, %d)
store.saved.connect(lambda _: say("saved", store.durable))
rng = np.random.default_rng(int(sys.argv[2]))
say("ready")
while True:
    if rng.random() < 0.15 and store.can_undo:
        say("undo", *store._done[-1].ids)
        store.undo()
        if rng.random() < 0.3:
            store.redo()
    else:
        radius = rng.uniform(1, 60) if rng.random() < 0.8 else rng.uniform(60, 400)
        store.stroke(rng.uniform(0, %d, (rng.integers(1, 12), 2)), radius, int(rng.integers(0, 4)))
    if rng.random() < 0.3 or len(store._writer.queue) > 20:
        store.flush()
""" % (SIZE, SIZE, SIZE)


DRAWER = """
import os, signal, sys
import numpy as np
from opsin.engine.labels.store import LabelStore
store = LabelStore.create(sys.argv[1], 600, 600)
store.polygon([np.array([[0, 0], [500, 0], [500, 500], [0, 500.0]])], 1)
store.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("way", ["create", "snapshot", "convert"])
def test_a_new_file_takes_nothing_over_from_one_that_was_killed_and_removed(tmp_path, way):
    path = tmp_path / "a.labels"
    subprocess.run([sys.executable, "-c", DRAWER, str(path)], check=False)
    assert (tmp_path / "a.labels-wal").stat().st_size > 0, "else it shows nothing"
    path.unlink()
    square = np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]])
    if way == "convert":
        write_annotations(tmp_path / "b.xml", [Outline("b", [square], "Tumor")])
        convert(tmp_path / "b.xml", path, (600, 600))
    else:
        with LabelStore.create(path if way == "create" else tmp_path / "b.labels", 600, 600) as store:
            store.polygon([square], 1)
            store.flush()
            if way == "snapshot":
                store.snapshot(path)
    with LabelStore.open(path, readonly=True) as store:
        assert store.areas() == {1: 100}


def _kill_once(path: Path, seed: int) -> tuple[set[int], set[int]]:
    """Paint in a child and kill it at a random moment; the ids it had reported as saved, those it was undoing."""
    child = subprocess.Popen([sys.executable, "-c", PAINTER, str(path), str(seed)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ready"
    chance = random.Random(seed)
    lines = [child.stdout.readline() for _ in range(chance.randint(1, 12))]
    time.sleep(chance.uniform(0, 0.02))  # not to wait for anything: the moment is to be random
    assert child.poll() is None, "the painter ended by itself"
    os.kill(child.pid, signal.SIGKILL)
    # what it had still managed to say before the kill counts as reported too; a line cut short does not
    lines += child.stdout.read().split("\n")[:-1]
    child.wait()
    words = [line.split() for line in lines]
    saved = {int(word) for verb, *ids in words if verb == "saved" for word in ids}
    return saved, {int(word) for verb, *ids in words if verb == "undo" for word in ids}


def _check(path: Path, reported: set[int], undoing: set[int]) -> None:
    with LabelStore.open(path) as store:
        store.flush()
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute(f"SELECT {COLUMNS}, state FROM op ORDER BY id").fetchall()
        connection.close()
        # a step that is undone goes for good with the next stroke; anything else that was saved must be there
        assert reported - undoing <= {row[0] for row in rows}
        model = np.zeros((SIZE, SIZE), np.uint8)
        for *columns, state in rows:
            assert state in (APPLIED, UNDONE), "nothing is left half done"
            if state == APPLIED:
                Operation.unpack(*columns).paint(model, 0, 0, 1)
        assert np.array_equal(store.region(0, 0, 0, SIZE, SIZE), model)
        assert np.array_equal(store.region(1, 0, 0, SIZE // 2, SIZE // 2), model[::2, ::2])
        counts = np.bincount(model.ravel(), minlength=256)
        assert store.areas() == {label: int(counts[label]) for label in range(1, 256) if counts[label]}


def _kills(path: Path, count: int) -> None:
    reported: set[int] = set()
    undoing: set[int] = set()
    for seed in range(count):
        saved, undone = _kill_once(path, seed)
        reported |= saved
        undoing |= undone
        _check(path, reported, undoing)
    assert len(reported) > count, "too little was painted to show anything"


@pytest.mark.timeout(120)
def test_twenty_kills_lose_nothing_reported(tmp_path):
    _kills(tmp_path / "a.labels", 20)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_hundred_kills_lose_nothing_reported(tmp_path):
    _kills(tmp_path / "a.labels", 100)
