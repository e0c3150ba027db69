"""`kill -9` while painting: every operation that was reported as saved is there, and the tiles are what the journal says."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from opsin.engine.labels.journal import Operation
from opsin.engine.labels.store import LabelStore

SIZE = 1500
PAINTER = """
import random, sys
import numpy as np
from opsin.engine.labels.store import LabelStore
store = LabelStore.open_or_create(sys.argv[1], %d, %d)
store.saved.connect(lambda _: print(store.durable, flush=True))
rng = np.random.default_rng(int(sys.argv[2]))
print("ready", flush=True)
while True:
    if rng.random() < 0.15 and store.can_undo:
        store.undo()
    else:
        store.stroke(rng.uniform(0, %d, (rng.integers(1, 12), 2)), rng.uniform(1, 60), int(rng.integers(0, 4)))
    if rng.random() < 0.3:
        store.flush()
    while len(store._queue) > 20:
        store.flush()
""" % (SIZE, SIZE, SIZE)


def _kill_once(path: Path, seed: int) -> int:
    """Paint in a child, kill it at a random moment, return the highest operation it had reported as durable."""
    child = subprocess.Popen([sys.executable, "-c", PAINTER, str(path), str(seed)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ready"
    reported = 0
    for _ in range(random.Random(seed).randint(1, 12)):
        reported = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    # what it had still managed to say before the kill counts as reported too
    lines = child.stdout.read().split("\n")[:-1]
    child.wait()
    return max([reported, *map(int, lines)])


def _check(path: Path, reported: int) -> None:
    with LabelStore.open(path) as store:
        store.flush()
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute(
            "SELECT id, grp, kind, geometry, protected, text, state FROM op ORDER BY id"
        ).fetchall()
        connection.close()
        assert rows[-1][0] >= reported or store.durable >= reported
        model = np.zeros((SIZE, SIZE), np.uint8)
        for *columns, state in rows:
            assert state in (1, 2), "nothing is left half done"
            if state == 1:
                Operation.unpack(*columns).paint(model, 0, 0, 1)
        assert np.array_equal(store.region(0, 0, 0, SIZE, SIZE), model)
        assert np.array_equal(store.region(1, 0, 0, SIZE // 2, SIZE // 2), model[::2, ::2])


def _kills(path: Path, count: int) -> None:
    for seed in range(count):
        reported = _kill_once(path, seed)
        _check(path, reported)


@pytest.mark.timeout(120)
def test_twenty_kills_lose_nothing_reported(tmp_path):
    _kills(tmp_path / "a.labels", 20)


@pytest.mark.soak
def test_hundred_kills_lose_nothing_reported(tmp_path):
    _kills(tmp_path / "a.labels", 100)
