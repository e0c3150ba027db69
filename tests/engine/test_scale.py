"""Several processes of one training: the same weights everywhere, one writer, one sentence when one of them fails."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from opsin.engine.checkpoints import Checkpoint
from opsin.engine.cli import main
from opsin.engine.devices import resolve
from opsin.engine.errors import DeviceError
from opsin.engine.runs import read_lines, read_record
from opsin.engine.samples import make_slides
from opsin.engine.workspace import Workspace

SCRIPT = Path(__file__).with_name("team_member.py")
_spec = importlib.util.spec_from_file_location("team_member", SCRIPT)
member = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(member)


def together(out, what, world=2):
    """Run `world` processes to their end and return what each of them kept."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), what, str(out)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    ends = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * world, ends
    return [torch.load(out / f"rank_{rank}.pt", weights_only=True) for rank in range(world)]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The same small training, without and with trouble in the second of two processes: (first, second) by trouble."""
    first, second = together(tmp_path_factory.mktemp("lines"), "lines")
    return {trouble: (first[trouble], second[trouble]) for trouble in first}


@pytest.mark.parametrize("trouble", ["plain", "lame"])
def test_two_processes_train_as_one_does_on_the_whole_batch(lines, trouble):
    """Also when one of them runs out of memory and computes in parts while the other waits."""
    alone = member.train_line()
    first, second = lines[trouble]
    assert equal(first["weights"], second["weights"])
    # the parts are of 3 and 2 samples, and still count alike
    for name, value in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(first["losses"], alone["losses"])
    assert first["losses"] == second["losses"]
    assert first["saved"] == [12] and second["saved"] == [], "the lead alone writes"


def test_a_step_that_is_bad_in_one_process_is_left_out_in_all(lines):
    first, second = lines["bad"]
    assert first["losses"][3] is None is second["losses"][3]  # infinity, as JSON has it
    assert equal(first["weights"], second["weights"])
    assert all(torch.isfinite(value).all() for value in first["weights"].values())


def test_all_stop_at_the_same_step(lines):
    first, second = lines["stop"]
    assert first["reached"] == second["reached"] == 3
    assert first["saved"] == [3] and equal(first["weights"], second["weights"])


def test_hybrid_supervision_by_two_gives_the_same_weights_in_both(tmp_path):
    first, second = together(tmp_path, "hybrid")
    assert equal(first, second)
    assert any(name.startswith("slide.") for name in first)
    folder = tmp_path / "run"
    counts = [line for line in read_lines(folder / "metrics.jsonl") if "loss" in line]
    assert len(counts) == 5 + 4 + 4, "every step is reported once"
    slides = {path.name for path in (folder / "estep" / "after_round_1").glob("*.npz")}
    shown = [e["info"]["item"] for e in read_lines(folder / "events.jsonl") if e["event"] == "preview"]
    assert len(slides) == 6 and len(shown) == 12 == 2 * len(set(shown))


# ---- from the shell -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scale")
    made = make_slides(folder / "slides", 3, 5, size=(640, 480))
    with Workspace.create(folder / "workspace") as workspace:
        for slide, item in zip(made, workspace.add([slide.path for slide in made])):
            workspace.update(item.id, label="positive" if slide.polygons else "negative", outlined=True)
            if slide.polygons:
                workspace.labels(item).polygons([([ring], 1) for ring in slide.polygons])
    return folder / "workspace"


def opsin(workspace, run, *more):
    words = ["train", "hybrid_wsi", "--data", workspace, "--recipe", "tiny", "--run", run, "--device", "cpu", *more]
    return [sys.executable, "-m", "opsin.engine.cli", *map(str, words), "--devices", "2"]


@pytest.mark.parametrize("victim", ["lead", "other"])
def test_when_one_is_killed_the_other_ends_and_the_run_can_be_resumed(workspace, tmp_path, victim):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*opsin(workspace, run, "--set=steps_initial=100000"), "--events"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if '"metrics"' in line:
            break
    members = psutil.Process(process.pid).children()
    lead = read_record(run)["pid"]
    assert len(members) == 2 and lead in [m.pid for m in members]
    next(m for m in members if (m.pid == lead) == (victim == "lead")).kill()
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 1
    assert not any(m.is_running() for m in members)
    said = [line for line in errors.splitlines() if line]
    if victim == "lead":
        assert len(said) == 1 and "was ended from outside" in said[0] and "--resume" in said[0]
    else:
        failed = [e for e in read_lines(run / "events.jsonl") if e["event"] == "message" and e["level"] == "error"]
        assert len(failed) == 1 and "Another of the 2 processes" in failed[0]["text"] and not said
        assert read_record(run)["state"] == "failed"
    assert not list((run / "checkpoints").glob(".*")) or victim == "lead"


def test_what_fails_in_all_is_said_once(workspace, tmp_path):
    done = subprocess.run(
        opsin(workspace, tmp_path / "run", "--set=batch_size=1"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("opsin: ")]
    assert lines == ["opsin: A batch of 1 cannot be shared by 2 processes."]
    assert read_record(tmp_path / "run")["state"] == "failed"


@pytest.mark.timeout(180)  # two launches of two processes: on a busy machine starting them takes long
def test_ctrl_c_stops_all_and_keeps_and_resume_finishes(workspace, tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*opsin(workspace, run, "--set=steps_initial=40"), "--events"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if '"metrics"' in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of them
    _, said = process.communicate(timeout=50)
    assert process.returncode == 130
    assert said.count("stopping at the next batch") == 1 and "round 1: load" not in said
    assert read_record(run)["state"] == "stopped"
    done = subprocess.run(opsin(workspace, run, "--resume"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("round 1: E-step") == 1, "one of them speaks"
    assert sum("loss" in line for line in read_lines(run / "metrics.jsonl")) == 40 + 4 + 4
    record = read_record(run)
    assert record["state"] == "done" and record["processes"] == 2 and record["command"].endswith("--devices 2")
    assert Checkpoint.load(run / record["checkpoint"], "hybrid_wsi").header["round"] in (1, 2)


def test_mistakes_are_said_before_anything_starts(workspace, tmp_path, capsys, monkeypatch):
    words = opsin(workspace, tmp_path / "run")[3:]
    assert main([*words[:-1], "0"]) == 2
    assert "must be 1 or more" in capsys.readouterr().err
    assert main([*words, "--nodes", "2"]) == 1
    assert "MASTER_ADDR must name the first machine" in capsys.readouterr().err
    assert main([*words, "--device", "cuda:0"]) == 1
    assert "leave out --device cuda:0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_each_process_gets_a_device_of_its_own(monkeypatch):
    from opsin.engine import devices

    known = [devices.Device(name, name, 1, 1) for name in ("cuda:0", "cuda:1", "cpu")]
    monkeypatch.setattr(devices, "list_devices", lambda: known)
    assert [resolve("auto", place) for place in (0, 1)] == ["cuda:0", "cuda:1"]
    assert resolve("cpu", 1) == "cpu" and resolve("auto") == "cuda:0"
    with pytest.raises(DeviceError, match="has 2 GPUs, fewer than"):
        resolve("auto", 2)
