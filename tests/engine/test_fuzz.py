"""Readers and importers under damaged files: one clear sentence each, no crash, no hang over 5 s, no memory beyond a budget."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from . import fuzz_damage, fuzz_files
from .fuzz_files import Source

READER = Path(__file__).with_name("fuzz_reader.py")
TORCH = ("weights", "state", "published")
SECONDS = 5.0
ADDRESS_SPACE = {"plain": 8192, "torch": 16384}
"""MiB that a reading process may map at all; torch maps several gigabytes when it is imported."""
GROWTH = 400
"""MiB that reading damaged files of some kilobytes may add to what the process holds at its start."""
FRESH = 400
"""Files after which a new process is begun, so that what one of them keeps is not laid at the door of another."""


class Reader:
    """A process that reads files for us; it is ended when it does not answer in time."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.said = (folder / f"said-{kind}").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(READER), str(ADDRESS_SPACE[kind]), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env={**os.environ, "MALLOC_ARENA_MAX": "2"},
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.start = json.loads(self.answers.get(timeout=60))["peak"]
        self.used = 0

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def ask(self, kind: str, path: Path) -> dict:
        self.used += 1
        try:
            self.process.stdin.write(f"{kind}\t{path}\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=4 * SECONDS)  # a busy machine gets more time than the limit that counts
        except queue.Empty:
            return {"state": "hang"}
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            self.said.seek(0)
            return {"state": "dead", "trace": self.said.read()[-2000:]}
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.said.close()


class Readers:
    """One process for what torch reads and one for everything else, each begun anew from time to time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, Reader] = {}

    def ask(self, kind: str, path: Path) -> tuple[dict, str]:
        """Return the answer and what is wrong with it, "" when nothing is."""
        name = "torch" if kind in TORCH else "plain"
        reader = self.known.get(name) or self.known.setdefault(name, Reader(name, self.folder))
        answer = reader.ask(kind, path)
        problem = judge(answer, reader.start)
        if problem or reader.used >= FRESH:
            self.known.pop(name).close()
        return answer, problem

    def close(self) -> None:
        for reader in self.known.values():
            reader.close()


def judge(answer: dict, start: float) -> str:
    """Return what is wrong with an answer, "" when nothing is."""
    state = answer["state"]
    if state in ("crash", "dead", "hang"):
        return f"{state}: {answer.get('trace', '').strip()[-1500:]}"
    if answer["seconds"] > SECONDS:
        return f"took {answer['seconds']:.1f} s"
    if answer["peak"] - start > GROWTH:
        return f"held {answer['peak'] - start:.0f} MiB more than at the start"
    if state == "refused":
        said = answer["sentence"]
        if not said.strip() or "\n" in said.strip() or len(said) > 700 or said.strip()[-1] not in ".)!?":
            return f"no clear sentence: {said!r}"
    return ""


def fuzz(folder: Path, count: int, seed: int) -> list[str]:
    """Read `count` damaged files; returns what was wrong, with what repeats it."""
    sources = fuzz_files.whole_files(folder / "whole")
    readers, problems, states = Readers(folder), [], Counter()
    try:
        for source in {(source.folder, source.opened): source for source in sources}.values():
            answer, _ = readers.ask(source.kind, _copied(source, folder))
            assert answer["state"] == "read", f"{source.title} is whole: {answer}"
        for source in fuzz_files.bombs(folder / "bombs"):
            _, problem = readers.ask(source.kind, source.folder / source.opened)
            problems += [f"bomb {source.opened}: {problem}"] if problem else []
        for number in range(count):
            if len(problems) > 20:
                break
            source = sources[number % len(sources)]
            answer, problem = readers.ask(source.kind, damaged(source, folder, seed, number))
            states[answer["state"]] += 1
            if problem:
                problems.append(f"{number} of seed {seed}, {source.title}: {problem}")
    finally:
        readers.close()
    print(f"{sum(states.values())} damaged files of {len(sources)} kinds: {dict(states)}")
    assert problems or states["refused"] > count / 4, "too little was damaged to show anything"
    return problems


def damaged(source: Source, folder: Path, seed: int, number: int) -> Path:
    """Return a fresh copy of a source in which one file is damaged, the same for the same numbers."""
    random = np.random.default_rng([seed, number])
    damage = fuzz_damage.DAMAGE[random.integers(len(fuzz_damage.DAMAGE))]
    path = _copied(source, folder)
    part = path.parents[source.opened.count("/")] / source.part
    part.write_bytes(damage(part.read_bytes(), random))
    return path


def _copied(source: Source, folder: Path) -> Path:
    place = folder / "x"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source.folder, place)
    return place / source.opened


@pytest.mark.timeout(180)  # 12 s on a machine that does nothing else
def test_damaged_files_are_refused_in_one_sentence(tmp_path):
    assert fuzz(tmp_path, 350, seed=1) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_five_thousand_damaged_files(tmp_path):
    assert fuzz(tmp_path, 5000, seed=2) == []
