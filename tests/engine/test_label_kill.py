"""`kill -9` while painting: every operation that was reported as saved is there, and the tiles are what the journal says."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from opsin.engine.convert import convert
from opsin.engine.labels.exchange import write_annotations
from opsin.engine.labels.journal import APPLIED, COLUMNS, UNDONE, Operation
from opsin.engine.labels.shapes import Outline
from opsin.engine.labels.store import LabelStore

SIZE = 1100
SERVER = (
    """
import os
import signal
import sys
import numpy as np
from opsin.engine.errors import LabelError
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.regions import connected, grown
from opsin.engine.labels.store import LabelStore

SIZE = %d

def say(*words):
    # one write a line: two threads speak, and print would mix their words when Python does not buffer its output
    os.write(1, (" ".join(map(str, words)) + chr(10)).encode())

def paint(path, seed):
    store = LabelStore.open_or_create(path, SIZE, SIZE)
    store.saved.connect(lambda _: say("saved", store.durable))
    rng = np.random.default_rng(seed)
    point = lambda: tuple(rng.uniform(0, SIZE, 2).tolist())
    say("ready", os.getpid())
    while True:
        label, choice, id = int(rng.integers(0, 4)), rng.random(), None
        if choice < 0.15:
            if store.can_undo:
                say("undo", *store._done[-1].ids)
                store.undo()
                if rng.random() < 0.3:
                    store.redo()
        elif choice < 0.3:
            middle, angles = np.array(point()), np.sort(rng.uniform(0, 6.28, rng.integers(3, 30)))
            ring = middle + rng.uniform(5, 200) * np.column_stack([np.cos(angles), np.sin(angles)])
            id = store.polygon([ring], label)
        elif choice < 0.4:  # fill what is around a place, or grow it
            try:
                region = connected(store, *rng.integers(0, SIZE, 2).tolist())
                if rng.random() < 0.5:
                    region = grown(region, 7, SIZE, SIZE)
                id = store.pixels([(region, label)], text="Fill", only=None if rng.random() < 0.5 else {0, 1})
            except LabelError as error:
                say("refused", error)
        elif choice < 0.55:
            marks = store.marks()
            if len(marks) > 30 or (marks and rng.random() < 0.3):
                store.remove_marks([mark.id for mark in marks[:rng.integers(1, 4)]])
            else:
                store.add_marks([Mark("marker", (point(),), note="n"), Mark("roi", (point(), point(), point()))])
            id = store._done[-1].ids[-1]
        elif choice < 0.65:  # a long stroke goes to the store in parts, which are one step
            group, at = store.new_group(), np.array(point())
            for part in range(rng.integers(2, 7)):
                line = at + np.cumsum(rng.normal(0, 20, (9, 2)), axis=0)
                say("did", store.stroke(line, 12.5, label, group=group))
                at = line[-1]
        else:
            radius = rng.uniform(1, 60) if rng.random() < 0.8 else rng.uniform(60, 300)
            id = store.stroke(rng.uniform(0, SIZE, (rng.integers(1, 12), 2)), radius, label)
        if id is not None:
            say("did", id)
        if rng.random() < 0.3 or len(store._writer.queue) > 20:
            store.flush()

# a fork of what has been imported, one for each kill: starting Python anew takes longer than the whole painting
for line in sys.stdin:
    path, seed = line.split(chr(9))
    child = os.fork()
    if not child:
        paint(path, int(seed))
    _, status = os.waitpid(child, 0)
    say("ended", os.WTERMSIG(status) if os.WIFSIGNALED(status) else -1)
"""
    % SIZE
)


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


class Painters:
    """Processes that paint, one after the other, each killed at a random moment."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Painters:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stdin.close()  # which ends it
        self.server.wait()
        self.server.stdout.close()

    def kill_one(self, path: Path, seed: int) -> tuple[set[int], set[int]]:
        """Let one paint and kill it; the ids of what it had reported as saved, and of what it was undoing."""
        self.server.stdin.write(f"{path}\t{seed}\n")
        self.server.stdin.flush()
        verb, pid = self._words()
        assert verb == "ready"
        chance = random.Random(seed)
        said = [self._words() for _ in range(chance.randint(1, 40))]
        time.sleep(chance.uniform(0, 0.02))  # not to wait for anything: the moment is to be random
        os.kill(int(pid), signal.SIGKILL)
        # what it had still managed to say before the kill counts as reported too
        while (words := self._words())[0] != "ended":
            said.append(words)
        assert words == ["ended", str(int(signal.SIGKILL))], "the painter ended by itself"
        durable = max((int(id) for verb, *ids in said if verb == "saved" for id in ids), default=0)
        done = {int(ids[0]) for verb, *ids in said if verb == "did"}
        assert all(verb in ("saved", "did", "undo", "refused") for verb, *_ in said), said
        return {id for id in done if id <= durable}, {int(id) for verb, *ids in said if verb == "undo" for id in ids}

    def _words(self) -> list[str]:
        return self.server.stdout.readline().split()


def _check(path: Path, reported: set[int], undoing: set[int]) -> None:
    with LabelStore.open(path) as store:
        store.flush()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = connection.execute(f"SELECT {COLUMNS}, state FROM op ORDER BY id").fetchall()
        # a step that is undone goes for good with the next stroke; anything else that was saved must be there
        assert reported - undoing <= {row[0] for row in rows}
        model, marks = np.zeros((SIZE, SIZE), np.uint8), {}
        for *columns, state in rows:
            assert state in (APPLIED, UNDONE), "nothing is left half done"
            if state == APPLIED:
                operation = Operation.unpack(*columns)
                operation.paint(model, 0, 0, 1)
                for before, after in operation.marks:
                    assert before is None or marks.pop(before.id) == before
                    if after is not None:
                        marks[after.id] = after
        assert np.array_equal(store.region(0, 0, 0, SIZE, SIZE), model)
        assert np.array_equal(store.region(1, 0, 0, SIZE // 2, SIZE // 2), model[::2, ::2])
        counts = np.bincount(model.ravel(), minlength=256)
        assert store.areas() == {label: int(counts[label]) for label in range(1, 256) if counts[label]}
        assert {mark.id: mark for mark in store.marks()} == marks


def _undo_all(path: Path) -> None:
    """To the first step and back: nothing is left, and then everything is there again."""
    with LabelStore.open(path) as store:
        before, marks = store.region(0, 0, 0, SIZE, SIZE), store.marks()
        while store.can_redo:
            store.redo()
        full, steps = store.content_hash(), len(store._done)
        while store.undo():
            pass
        store.flush()
        assert (
            store.keys(0) == []
            and store.areas() == {}
            and store.marks() == []
            and not store.region(0, 0, 0, SIZE, SIZE).any()
        )
        while store.redo():
            pass
        store.flush()
        assert store.content_hash() == full and len(store._done) == steps > 0
    assert before.any() and marks, "too little was painted to show anything"


def _kills(path: Path, count: int) -> None:
    reported: set[int] = set()
    undoing: set[int] = set()
    with Painters() as painters:
        for seed in range(count):
            saved, undone = painters.kill_one(path, seed)
            reported |= saved
            undoing |= undone
            _check(path, reported, undoing)
    assert len(reported) > 4 * count, "too little was painted to show anything"
    print(f"{count} kills: {len(reported)} operations that were reported as saved are there, {len(undoing)} undone")
    _undo_all(path)


@pytest.mark.timeout(120)
def test_twenty_kills_lose_nothing_reported(tmp_path):
    _kills(tmp_path / "a.labels", 20)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_hundred_kills_lose_nothing_reported(tmp_path):
    _kills(tmp_path / "a.labels", 100)
