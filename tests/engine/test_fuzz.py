"""Readers and importers under damaged files: one clear sentence each, no crash, no hang over 5 s, no memory beyond a budget."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from . import fuzz_files

READER = Path(__file__).with_name("fuzz_reader.py")
SECONDS = 5.0
ADDRESS_SPACE = 8192
"""MiB that a reading process may map at all."""
GROWTH = 400
"""MiB that reading damaged files of some kilobytes may add to what the process holds at its start."""
FRESH = 400
"""Files after which a new process is begun, so that what one of them keeps is not laid at the door of another."""


class Reader:
    """A process that reads files for us; it is ended when it does not answer in time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(READER), str(ADDRESS_SPACE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.start = json.loads(self.answers.get(timeout=60))["peak"]

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def ask(self, kind: str, path: Path) -> dict:
        try:
            self.process.stdin.write(f"{kind}\t{path}\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=4 * SECONDS)  # a busy machine gets more time than the limit that counts
        except queue.Empty:
            self.close()
            return {"state": "hang"}
        except BrokenPipeError:
            line = ""
        if not line:
            self.process.wait()
            return {"state": "dead", "trace": self.process.stderr.read()[-2000:]}
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def judge(answer: dict, start: float, source: Path) -> str:
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
    whole = folder / "whole"
    whole.mkdir()
    sources = fuzz_files.whole_files(whole)
    reader, problems, used = Reader(), [], 0
    try:
        for kind, source in sources:
            answer = reader.ask(kind, source)
            assert answer["state"] == "read", f"{source.name} is whole: {answer}"
        for number in range(count):
            random = np.random.default_rng([seed, number])
            kind, source = sources[number % len(sources)]
            damage = fuzz_files.DAMAGE[random.integers(len(fuzz_files.DAMAGE))]
            path = folder / f"x{fuzz_files.suffix(source)}"
            path.write_bytes(damage(source.read_bytes(), random))
            answer = reader.ask(kind, path)
            problem = judge(answer, reader.start, source)
            if problem:
                problems.append(f"{fuzz_files.describe(number, source, damage)}: {problem}")
                if len(problems) > 20:
                    break
            used += 1
            path.unlink()
            for left in folder.glob("x.*"):
                left.unlink()
            if problem or used >= FRESH:
                reader.close()
                reader, used = Reader(), 0
    finally:
        reader.close()
    return problems


def test_damaged_files_are_refused_in_one_sentence(tmp_path):
    assert fuzz(tmp_path, 350, seed=1) == []


@pytest.mark.soak
def test_five_thousand_damaged_files(tmp_path):
    assert fuzz(tmp_path, 5000, seed=2) == []
