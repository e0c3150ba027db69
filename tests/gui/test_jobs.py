"""The job queue, with worker processes that do nothing but speak the protocol, fail and crash on demand."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from opsin.engine import worker
from opsin.engine.jobs import JobSpec
from opsin.engine.replay import EventFile, job_of, state_of, thin
from opsin.engine.runs import FINAL, Run
from opsin.gui.jobs import JobQueue
from opsin.gui.supervise import cause

# Stands in for the worker: same protocol, no torch. `arguments["act"]` says how it behaves.
ACTOR = textwrap.dedent(
    """
    import json, os, queue, signal, sys, threading, time

    box = queue.Queue()
    detached = []

    def listen():
        for line in sys.stdin:
            record = json.loads(line)
            if record.get("control") == "detach":
                detached.append(True)
            box.put(record)
        if not detached:
            box.put({"control": "stop"})
        box.put(None)

    threading.Thread(target=listen, daemon=True).start()

    def say(event, **content):
        try:
            print(json.dumps({"job": job["id"], "event": event, "time": time.time(), **content}), flush=True)
        except OSError:
            pass

    def wait(seconds):
        try:
            return box.get(timeout=seconds)
        except queue.Empty:
            return {}

    while (job := box.get()) is not None:
        if "verb" not in job:
            continue
        act = job["arguments"].get("act", "work")
        say("state", state="running")
        say("message", level="info", text=f"pid {os.getpid()}")
        say("phase", name="first batch")
        if act == "crash":
            print("something terrible happened", file=sys.stderr, flush=True)
            os._exit(3)
        if act == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "memory":
            print("torch.OutOfMemoryError: CUDA out of memory.", file=sys.stderr, flush=True)
            os._exit(1)
        if act == "flood":
            for step in range(3000):
                say("metrics", step=step, values={"loss": 1.0 / (step + 1)})
                say("progress", done=step + 1, total=3000, what="steps")
        if act == "deaf":
            time.sleep(1000)
        if act in ("long", "until asked"):
            step, asked = 0, {}
            paused = False
            while asked is not None and asked.get("control") not in ("stop", "cancel"):
                asked = wait(0.02)
                if asked is None and detached:
                    asked = {}
                if asked and asked.get("control") == "pause":
                    paused = True
                    say("state", state="paused")
                if asked and asked.get("control") == "resume":
                    paused = False
                    say("state", state="running")
                if not paused:
                    step += 1
                    say("progress", done=step, total=1000, what="steps")
                if "touch" in job["arguments"]:
                    with open(job["arguments"]["touch"], "a") as file:
                        file.write("x")
                    if detached and step > 20:
                        os._exit(0)
            say("state", state="cancelled" if (asked or {}).get("control") == "cancel" else "stopped")
            continue
        say("done", value={"metrics": {}})
        say("state", state="done")
    """
)


@pytest.fixture
def jobs(qapp, tmp_path, monkeypatch):
    script = tmp_path / "actor.py"
    script.write_text(ACTOR)
    monkeypatch.setattr(worker, "worker_command", lambda: [sys.executable, "-u", str(script)])
    queue = JobQueue()
    yield queue
    queue.close("cancel", grace=0.5)
    assert not queue.running


def spec(act: str = "work", verb: str = "train", **arguments) -> JobSpec:
    return JobSpec(verb, "hybrid_wsi", {"act": act, **arguments}, device="cpu")


def until(qtbot, condition, seconds=15):
    qtbot.waitUntil(condition, timeout=int(seconds * 1000))


def pid_of(job) -> int:
    line = next(text for text in job.log if "pid" in text)
    return int(line.rsplit(" ", 1)[1])


def test_a_job_goes_from_queued_to_done_and_is_announced(jobs, qtbot):
    seen = []
    jobs.added.connect(seen.append)
    with qtbot.waitSignal(jobs.finished, timeout=15000):
        job = jobs.submit(spec())
    assert seen == [job]
    assert job.state == "done"
    assert job.phase == "first batch"
    assert not jobs.busy


def test_one_job_at_a_time_on_a_device(jobs, qtbot):
    first, second = jobs.submit(spec("long")), jobs.submit(spec())
    until(qtbot, lambda: first.done > 3)
    assert second.state == "queued"
    assert jobs.waiting() == [second]
    first.stop()
    until(qtbot, lambda: second.state == "done")
    assert first.state == "stopped"


def test_waiting_jobs_can_be_reordered_and_removed(jobs, qtbot, tmp_path):
    running = jobs.submit(spec("long"))
    empty, used = tmp_path / "empty", tmp_path / "used"
    for folder in (empty, used):
        folder.mkdir()
    (used / "run.json").write_text("{}")
    a, b, c = (jobs.submit(spec(run=str(f))) for f in (empty, used, tmp_path / "c"))
    jobs.move(c, -2)
    assert jobs.waiting() == [c, a, b]
    jobs.move(c, 5)
    assert jobs.waiting() == [a, b, c]
    jobs.remove(a)
    b.cancel()
    assert jobs.waiting() == [c]
    assert a.state == b.state == "cancelled"
    assert not empty.exists(), "the unused folder of a removed job is of no use"
    assert used.exists(), "an earlier part of a run is never thrown away with a waiting job"
    jobs.move(running, 1)
    running.stop()
    until(qtbot, lambda: c.state == "done")


def test_pause_and_resume_are_answered_at_once_and_done_soon(jobs, qtbot):
    job = jobs.submit(spec("long"))
    until(qtbot, lambda: job.done > 2)
    start = time.monotonic()
    job.pause()
    assert job.state == "pausing"
    assert time.monotonic() - start < 0.2
    until(qtbot, lambda: job.state == "paused")
    steps = job.done
    job.resume()
    until(qtbot, lambda: job.done > steps + 3)
    assert job.state == "running"


def test_a_training_gets_its_own_process_which_ends_with_it(jobs, qtbot):
    first, second = jobs.submit(spec()), jobs.submit(spec())
    until(qtbot, lambda: second.final and not jobs.busy)
    assert pid_of(first) != pid_of(second)
    assert not psutil.pid_exists(pid_of(first)) or psutil.Process(pid_of(first)).status() == "zombie"


def test_predictions_share_one_warm_process_until_a_training_needs_the_device(jobs, qtbot):
    first, second = jobs.submit(spec(verb="predict")), jobs.submit(spec(verb="predict"))
    until(qtbot, lambda: second.final and not jobs.busy)
    warm = pid_of(first)
    assert warm == pid_of(second)
    training = jobs.submit(spec())
    until(qtbot, lambda: training.final and not jobs.busy)
    third = jobs.submit(spec(verb="predict"))
    until(qtbot, lambda: third.final)
    assert len({warm, pid_of(training), pid_of(third)}) == 3


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        ("crash", "exit status 3"),
        ("killed", "memory was full"),
        ("memory", "The device's memory was full"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "predict"])
def test_a_process_that_dies_is_a_failed_job_with_one_sentence(act, sentence, verb, jobs, qtbot):
    job = jobs.submit(spec(act, verb))
    until(qtbot, lambda: job.final)
    assert job.state == "failed"
    assert sentence in job.error
    assert job.error.count("\n") == 0
    after = jobs.submit(spec(verb=verb))
    until(qtbot, lambda: after.final)
    assert after.state == "done", "the queue lives on"


def test_the_last_lines_of_a_crash_are_in_the_log(jobs, qtbot):
    job = jobs.submit(spec("crash"))
    until(qtbot, lambda: job.final)
    assert any("something terrible happened" in line for line in job.log)


def test_a_worker_that_cannot_start_is_a_failed_job(jobs, qtbot, monkeypatch):
    monkeypatch.setattr(worker, "worker_command", lambda: ["/no/such/program"])
    job = jobs.submit(spec())
    until(qtbot, lambda: job.final and not jobs.busy)
    assert job.state == "failed"
    assert "program" in job.error


def test_a_waiting_job_says_what_it_waits_for(jobs, qtbot):
    first, second = jobs.submit(spec("long", preset="quick")), jobs.submit(spec(verb="predict"))
    assert second.waits_for == "Training quick"
    second.stop()
    assert second.state == "cancelled" and second not in jobs.waiting()
    first.stop()
    until(qtbot, lambda: first.final)


def test_a_resumed_job_begins_with_what_the_run_reported_before(jobs, qtbot, tmp_path):
    folder = tmp_path / "run"
    write_run(folder, None, "stopped", [*EVENTS, {"event": "state", "state": "stopped", "time": 5.0}])
    job = jobs.submit(spec("flood", run=str(folder), resume=True))
    until(qtbot, lambda: job.final)
    assert job.state == "done"
    assert job.metrics["loss"][1][:2] == [1.0, 0.5] and len(job.metrics["loss"][0]) == 3000
    assert any("round 1" in line for line in job.log)


def test_a_deaf_process_is_ended_and_its_run_stays_resumable(jobs, qtbot, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"state": "running", "method": "hybrid_wsi"}))
    job = jobs.submit(spec("deaf", run=str(folder)))
    until(qtbot, lambda: job.phase == "first batch")
    job.stop()
    assert job.state == "stopping"
    job.kill()
    until(qtbot, lambda: job.final)
    assert job.state == "stopped"
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"
    assert "resumed" in job.log[-1]


def test_cancel_then_kill_discards_the_run(jobs, qtbot, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    job = jobs.submit(spec("deaf", run=str(folder)))
    until(qtbot, lambda: job.phase == "first batch")
    job.cancel()
    job.kill()
    until(qtbot, lambda: job.final)
    assert job.state == "cancelled"
    assert not folder.exists()


def test_events_arrive_in_batches_on_the_window_thread(jobs, qtbot):
    batches, threads = [], set()
    job = None

    def note(what):
        batches.append(what)
        threads.add(threading.current_thread())

    jobs.added.connect(lambda job: job.changed.connect(note))
    start = time.monotonic()
    job = jobs.submit(spec("flood"))
    until(qtbot, lambda: job.final)
    seconds = time.monotonic() - start
    assert threads == {threading.main_thread()}
    assert len(job.metrics["loss"][0]) == 3000, "no number is lost"
    assert job.done == 3000
    assert len(batches) <= 10 * seconds + 6


def test_closing_by_stopping_ends_everything(jobs, qtbot):
    running, waiting = jobs.submit(spec("long")), jobs.submit(spec())
    until(qtbot, lambda: running.done > 1)
    assert jobs.busy
    jobs.close("stop")
    assert running.state == "stopped"
    assert waiting.state == "cancelled"
    assert not jobs.busy
    assert not psutil.pid_exists(pid_of(running)) or psutil.Process(pid_of(running)).status() == "zombie"


def test_closing_ends_a_process_that_does_not_answer(jobs, qtbot):
    job = jobs.submit(spec("deaf"))
    until(qtbot, lambda: job.phase == "first batch")
    jobs.close("stop", grace=0.5)
    assert job.state == "stopped"


@pytest.mark.parametrize("verb", ["train", "predict"])
def test_closing_by_detaching_leaves_the_run_going(jobs, qtbot, tmp_path, verb):
    trace = tmp_path / "trace"
    job = jobs.submit(spec("until asked", verb, touch=str(trace)))
    until(qtbot, lambda: job.done > 1)
    jobs.close("detach")
    process = psutil.Process(pid_of(job))
    size = trace.stat().st_size
    until(qtbot, lambda: trace.stat().st_size > size + 5)
    process.wait(15)  # goes to its own end


def test_a_closed_queue_starts_nothing_more(jobs, qtbot):
    jobs.close("stop")
    job = jobs.submit(spec())
    assert job.state == "queued"
    jobs.remove(job)


# ---- runs of other processes


def write_run(folder: Path, process: psutil.Process | None, state: str, events: list[dict]) -> None:
    folder.mkdir(exist_ok=True)
    record = {"state": state, "method": "hybrid_wsi", "verb": "train", "recipe": {"rounds": 2}}
    if process is not None:
        record.update(pid=process.pid, process_started=process.create_time())
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


EVENTS = [
    {"event": "state", "state": "running", "time": 1.0},
    {"event": "phase", "name": "round 1", "time": 2.0},
    {"event": "metrics", "step": 1, "values": {"loss": 0.5}, "time": 3.0},
]


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_run_left_going_is_followed_and_can_be_ended(jobs, qtbot, tmp_path, sleeper):
    folder = tmp_path / "run"
    write_run(folder, psutil.Process(sleeper.pid), "running", EVENTS)
    job = jobs.attach(folder)
    until(qtbot, lambda: job.phase == "round 1")
    assert jobs.attach(folder) is job
    assert not jobs.busy, "it does not keep the window from closing"
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": "metrics", "step": 2, "values": {"loss": 0.25}, "time": 4.0}) + "\n")
    until(qtbot, lambda: len(job.metrics["loss"][0]) == 2)
    reaper = threading.Thread(target=sleeper.wait)
    reaper.start()
    job.kill()
    until(qtbot, lambda: job.final)
    reaper.join()
    assert job.state == "stopped"
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"


def test_a_run_left_going_that_listens_is_paused_and_stopped_gently(jobs, qtbot, tmp_path, sleeper):
    folder = tmp_path / "run"
    write_run(folder, psutil.Process(sleeper.pid), "running", EVENTS)
    job = jobs.attach(folder)
    assert job.controller.only == {"kill"}
    job.pause()
    assert job.state == "running", "nobody would hear it"
    (folder / worker.WISHES).write_text("")
    until(qtbot, lambda: "pause" in job.controller.only)
    job.pause()
    job.stop()
    until(qtbot, lambda: (folder / worker.WISHES).read_text().split() == ["pause", "stop"])
    assert job.state == "stopping"
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": "state", "state": "stopped", "time": 4.0}) + "\n")
    until(qtbot, lambda: job.final)
    assert job.state == "stopped" and sleeper.poll() is None


def test_a_run_left_going_that_is_thrown_away_ends_as_cancelled(jobs, qtbot, tmp_path, sleeper):
    folder = tmp_path / "run"
    write_run(folder, psutil.Process(sleeper.pid), "running", EVENTS)
    job = jobs.attach(folder)
    until(qtbot, lambda: job.phase == "round 1")
    shutil.rmtree(folder)
    until(qtbot, lambda: job.final)
    assert job.state == "cancelled"


def test_a_detached_worker_carries_out_what_is_asked_in_its_letter_box(tmp_path):
    """The worker's own side, without a process: the box is put out, each word is heard once."""
    run = Run(tmp_path / "run")
    server = worker._Server(io.StringIO(), io.StringIO())
    server.run = run
    worker.ask(run.folder, "stop")
    assert not worker.listens(run.folder), "no box is made by who asks"
    server._hear(run)
    assert worker.listens(run.folder)
    worker.ask(run.folder, "pause")
    worker.ask(run.folder, "nonsense")
    server._hear(run)
    assert run.control.pausing and not run.control.stop_asked
    run.control.resume()
    server._hear(run)
    assert not run.control.pausing
    worker.ask(run.folder, "stop")
    server._hear(run)
    assert run.control.stop_asked
    run.close()


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the system keeps no entries of ended processes")
def test_a_process_that_ended_and_was_not_asked_after_is_not_alive(tmp_path, sleeper):
    write_run(tmp_path / "run", psutil.Process(sleeper.pid), "running", EVENTS)
    os.kill(sleeper.pid, 9)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # it has ended; its entry stays
    assert state_of(json.loads((tmp_path / "run" / "run.json").read_text())) == "interrupted"


def test_a_run_whose_process_died_is_interrupted(tmp_path, sleeper):
    folder = tmp_path / "run"
    write_run(folder, psutil.Process(sleeper.pid), "running", EVENTS)
    assert state_of(json.loads((folder / "run.json").read_text())) == "running"
    sleeper.kill()
    sleeper.wait()
    assert state_of(json.loads((folder / "run.json").read_text())) == "interrupted"
    assert job_of(folder).state == "interrupted"
    write_run(folder, None, "done", EVENTS)
    assert state_of(json.loads((folder / "run.json").read_text())) == "done"


def test_an_event_file_is_read_as_it_grows_and_half_a_line_waits(tmp_path):
    path = tmp_path / "events.jsonl"
    file = EventFile(tmp_path)
    assert file.read() == []
    path.write_text(json.dumps(EVENTS[0]) + "\n" + '{"event": "pha')
    assert file.read() == EVENTS[:1]
    assert file.read() == []
    with path.open("a") as more:
        more.write('se", "name": "x", "time": 2.0}\nnot json\n')
    assert [e["event"] for e in file.read()] == ["phase"]


def test_thinning_keeps_the_newest_progress_and_every_number():
    events = [{"event": kind, "n": n} for n in range(3) for kind in ("progress", "metrics", "heartbeat")]
    kept = thin(events)
    assert [e["n"] for e in kept if e["event"] == "metrics"] == [0, 1, 2]
    assert [e["n"] for e in kept if e["event"] != "metrics"] == [2, 2]


@pytest.mark.parametrize("status", [None, 0, 1, 137, -6, -9, -11, -15, -99])
def test_every_cause_is_one_sentence(status):
    text = cause(status, "")
    assert text.endswith(".")
    assert "\n" not in text


def test_the_queue_imports_no_torch():
    code = "import sys, opsin.gui.jobs; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0
    assert "done" in FINAL
