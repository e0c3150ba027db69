"""A job answers the user at once and believes the worker afterwards."""

from opsin.engine.jobs import Job, JobSpec


class Recorder:
    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda: self.calls.append(name)


def _job():
    job = Job(JobSpec("train", "hybrid_wsi", {}), Recorder())
    job.apply({"event": "state", "state": "running", "time": 100.0})
    return job


def test_asking_changes_the_state_at_once_and_reaches_the_worker():
    job = _job()
    job.pause()
    assert job.state == "pausing" and job.controller.calls == ["pause"]
    job.apply({"event": "state", "state": "paused", "time": 101.0})
    assert job.state == "paused" and job.seconds_waited == 0
    job.resume()
    job.stop()
    assert job.state == "stopping" and job.controller.calls == ["pause", "resume", "stop"]
    job.apply({"event": "state", "state": "stopped", "time": 102.0})
    assert job.final and job.ended == 102.0


def test_what_is_not_possible_now_is_ignored():
    job = _job()
    job.apply({"event": "state", "state": "done", "time": 101.0})
    job.pause()
    job.cancel()
    assert job.state == "done" and job.controller.calls == []


def test_late_running_does_not_undo_stopping():
    job = _job()
    job.stop()
    job.apply({"event": "state", "state": "running", "time": 101.0})
    assert job.state == "stopping"


def test_time_left_follows_the_pace():
    job = _job()
    job.apply({"event": "progress", "done": 10, "total": 100, "what": "steps", "time": 100.0})
    assert job.seconds_left is None
    job.apply({"event": "progress", "done": 20, "total": 100, "what": "steps", "time": 105.0})
    assert job.seconds_left == 40.0


def test_metrics_collect_and_batches_emit_once():
    job = _job()
    seen = []
    job.changed.connect(seen.append)
    job.apply(*({"event": "metrics", "step": s, "values": {"loss": s / 2}, "time": 1.0} for s in range(3)))
    assert job.metrics["loss"] == ([0, 1, 2], [0.0, 0.5, 1.0])
    assert seen == [{"metrics"}]
