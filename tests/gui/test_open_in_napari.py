"""Open slide in napari: a process of its own with this slide and its labels; the window itself never imports napari."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from opsin.gui import commands


@pytest.fixture
def started(monkeypatch):
    """What would be started; nothing is."""
    calls = []

    def start(program, arguments):
        calls.append((program, arguments))
        return True

    monkeypatch.setattr(commands.QProcess, "startDetached", start)
    return calls


def test_it_starts_a_process_with_the_slide_and_its_labels(opened, started, qtbot):
    opened.model.labels.stroke(np.array([[100.0, 100.0], [200.0, 150.0]]), 20, 1)
    opened.model.labels.flush()
    before = {name for name in sys.modules if name.partition(".")[0] == "napari"}
    opened.book["file.napari"].trigger()
    (program, arguments), = started  # fmt: skip
    assert program == sys.executable
    assert arguments[0] == "-m" and importlib.util.find_spec(arguments[1]) is not None
    assert arguments[2] == str(opened.workspace.slide_path(opened.item))
    assert arguments[3] == str(opened.workspace.folder / "labels" / f"{opened.item.id}.labels")
    assert {name for name in sys.modules if name.partition(".")[0] == "napari"} == before
    assert "napari is starting" in opened.banners.texts()[0]


def test_a_process_that_cannot_be_started_is_said(opened, monkeypatch):
    monkeypatch.setattr(commands.QProcess, "startDetached", lambda program, arguments: False)
    opened.commands.open_in_napari()
    assert "could not be started" in opened.banners.texts()[0]
