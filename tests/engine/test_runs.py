"""Runs keep everything they report, pause at a boundary, and leave nothing behind when discarded."""

import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest

from opsin.engine.errors import Cancelled, OpsinError, RunError
from opsin.engine.files import replacing, write_json
from opsin.engine.runs import Run, new_folder, plain, read_lines, read_record


def test_events_reach_the_sink_and_the_folder(tmp_path):
    seen = []
    run = Run(tmp_path / "run", seen.append)
    run.phase("index")
    run.log(step=3, loss=0.5, broken=math.nan)
    run.progress(1, 4, "tiles")
    run.close()
    assert [event["event"] for event in seen] == ["phase", "metrics", "progress"]
    assert read_lines(run.folder / "events.jsonl") == seen
    (numbers,) = read_lines(run.folder / "metrics.jsonl")
    assert numbers["loss"] == 0.5 and numbers["broken"] is None
    assert list((run.folder / "tensorboard").glob("events.out.tfevents.*"))
    assert "index" in (run.folder / "log.txt").read_text()


def test_heartbeats_are_not_kept(tmp_path):
    run = Run(tmp_path / "run")
    run.emit("heartbeat", seconds=1)
    run.phase("load")
    assert [event["event"] for event in read_lines(run.folder / "events.jsonl")] == ["phase"]


def test_pause_waits_and_resume_goes_on(tmp_path):
    seen: list[str] = []
    paused = threading.Event()

    def sink(event):
        if event["event"] == "state":
            seen.append(event["state"])
            if event["state"] == "paused":
                paused.set()

    run = Run(tmp_path / "run", sink)
    run.control.pause()
    worker = threading.Thread(target=run.wait_if_paused)
    worker.start()
    assert paused.wait(5)
    assert worker.is_alive()
    run.control.resume()
    worker.join(5)
    assert not worker.is_alive()
    assert seen == ["paused", "running"]


def test_stop_while_paused_wakes_the_run_up():
    run = Run()
    run.control.pause()
    run.control.stop()
    run.wait_if_paused()
    assert run.stopping


def test_cancel_raises_and_discard_removes_the_folder(tmp_path):
    run = Run(tmp_path / "run")
    run.phase("load")
    run.control.cancel()
    with pytest.raises(Cancelled):
        run.wait_if_paused()
    run.discard()
    assert not (tmp_path / "run").exists()


def test_record_keeps_earlier_facts(tmp_path):
    run = Run(tmp_path / "run")
    run.describe(seed=4)
    run.set_state("done")
    record = read_record(run.folder)
    assert record["seed"] == 4 and record["state"] == "done" and record["versions"]["numpy"]


def test_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        read_record(tmp_path)


def test_line_cut_off_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert [record["step"] for record in read_lines(path)] == [1, 2]


def test_new_folders_never_collide(tmp_path):
    assert len({new_folder(tmp_path, "hybrid_wsi") for _ in range(5)}) == 5


def test_plain_takes_numpy_and_infinity():
    value = plain({"a": np.float32(1.5), "b": [np.int64(2), math.inf], "c": np.zeros(2)})
    assert json.dumps(value, allow_nan=False) == '{"a": 1.5, "b": [2, null], "c": [0.0, 0.0]}'


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_one_sentence(tmp_path):
    def write(path):
        with replacing(path) as temporary:
            temporary.write_text("x")
            raise OSError(28, "No space left on device")

    with pytest.raises(OpsinError, match=r"a\.json cannot be written: the disk is full; make room there\."):
        write(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_ends_the_run_at_the_next_boundary_in_one_sentence(tmp_path):
    """Whoever listens hears everything; what is reported meanwhile raises nothing in the middle of a batch."""
    heard = []
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    run = Run(tmp_path, heard.append)
    run.phase("first batch")
    run.log(step=1, loss=0.5)
    assert [event["event"] for event in heard] == ["phase", "metrics"]
    with pytest.raises(RunError, match=r"the disk is full; make room there, then resume it\.$"):
        run.wait_if_paused()
    run.message("the end", "error")
    run.close()
    assert heard[-1]["text"] == "the end"
    assert "the end" in (tmp_path / "log.txt").read_text()


def test_what_a_resumed_run_does_again_stands_in_its_numbers_once(tmp_path):
    for _ in range(2):
        run = Run(tmp_path / "run")
        run.log(step=1, loss=0.5)
        run.log(step=1, kept=0.25)
        run.log(step=1, loss=0.5)
        run.close()
    run = Run(tmp_path / "run")
    run.log(step=1, loss=0.75)
    run.log(loss=0.5)
    run.close()
    lines = [
        (line["step"], line.get("loss"), line.get("kept")) for line in read_lines(tmp_path / "run" / "metrics.jsonl")
    ]
    assert lines == [(1, 0.5, None), (1, None, 0.25), (1, 0.5, None), (1, 0.75, None), (None, 0.5, None)]
