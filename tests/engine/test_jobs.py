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


# ---- the whole job


PLAN = ["round 0: load", "round 1: E-step", "round 1: load", "round 2: E-step", "round 2: load"]


def _at(job, time, name):
    job.apply({"event": "phase", "name": name, "time": time})


def _progress(job, time, done, total=10):
    job.apply({"event": "progress", "done": done, "total": total, "what": "steps", "time": time})


def test_time_left_and_share_are_those_of_the_whole_training():
    job = _job()
    job.apply({"event": "plan", "steps": PLAN, "time": 100.0})
    assert job.share == 0 and job.seconds_left is None
    _at(job, 100.0, PLAN[0])
    _progress(job, 102.0, 0)
    _progress(job, 107.0, 5)
    assert job.step == 0 and job.share == 0.5 / 5
    assert job.step_seconds_left == 5.0
    assert job.seconds_left is None, "nobody knows how long an E-step takes"
    _at(job, 112.0, PLAN[1])
    assert job.seconds_left is None
    _progress(job, 112.0, 0)
    _progress(job, 114.0, 2)
    # 8 s of this E-step, 12 s of training, 10 s of the next E-step, 12 s of the last training
    assert job.seconds_left == 8 + 12 + 10 + 12
    _at(job, 122.0, PLAN[2])
    assert job.seconds_left == 12 + 10 + 12
    _at(job, 132.0, PLAN[3])
    _at(job, 142.0, "a phase that is no step of the plan")
    assert job.share == 3 / 5
    assert job.seconds_left == 0 + 10, "the last training of this kind took 10 s"


def test_time_left_of_a_prediction_counts_all_its_slides():
    job = Job(JobSpec("predict", "hybrid_wsi", {"inputs": ["a", "b", "c", "d"]}), Recorder())
    job.apply({"event": "state", "state": "running", "time": 100.0})
    _progress(job, 101.0, 0)
    _progress(job, 102.0, 5)
    assert job.seconds_left == 1 + 3 * 3, "the first slide takes 3 s in all, so do the others"
    job.apply({"event": "item", "done": 1, "total": 4, "time": 104.0})
    assert job.share == 0.25 and job.seconds_left == 3 * 4
    job.apply({"event": "item", "done": 4, "total": 4, "time": 116.0})
    assert job.share == 1.0


def test_a_pause_does_not_count_as_work():
    job = _job()
    job.apply({"event": "state", "state": "paused", "time": 110.0})
    assert job.worked(1000.0) == 10
    job.apply({"event": "state", "state": "running", "time": 1000.0})
    job.apply({"event": "state", "state": "done", "time": 1005.0})
    assert job.worked() == 15


def test_a_resumed_run_keeps_curves_log_and_time_of_its_earlier_part():
    def loss(step, value, time):
        return {"event": "metrics", "step": step, "values": {"loss": value}, "time": time}

    earlier = [
        {"event": "state", "state": "running", "time": 100.0},
        {"event": "message", "level": "error", "text": "the disk was full", "time": 101.0},
        *(loss(step, 1.0, 100.0 + step) for step in range(1, 6)),
        {"event": "state", "state": "stopped", "time": 110.0},
    ]
    job = Job(JobSpec("train", "hybrid_wsi", {}), Recorder())
    job.apply({"event": "state", "state": "starting", "time": 500.0})
    job.apply({"event": "earlier", "events": earlier, "time": 110.0})
    assert job.state == "starting" and not job.final and job.error == ""
    assert len(job.metrics["loss"][0]) == 5 and "the disk was full" in job.log[0]
    job.apply({"event": "state", "state": "running", "time": 502.0}, loss(4, 0.5, 503.0), loss(5, 0.4, 504.0))
    assert job.metrics["loss"] == ([1, 2, 3, 4, 5], [1.0, 1.0, 1.0, 0.5, 0.4]), "steps made again replace the lost ones"
    job.apply({"event": "state", "state": "done", "time": 506.0})
    assert job.worked() == 10 + 6


def test_a_run_that_was_killed_and_resumed_is_read_back_without_the_gap():
    job = Job(JobSpec("train", "hybrid_wsi", {}))
    job.apply({"event": "state", "state": "running", "time": 100.0})
    job.apply({"event": "metrics", "step": 1, "values": {"loss": 1.0}, "time": 108.0})
    job.apply({"event": "state", "state": "running", "time": 900.0})
    job.apply({"event": "metrics", "step": 1, "values": {"loss": 0.5}, "time": 901.0})
    job.apply({"event": "state", "state": "done", "time": 902.0})
    assert job.worked() == 8 + 2
    assert job.metrics["loss"] == ([1], [0.5])


def test_jobs_are_named_in_words():
    assert JobSpec("train", "m", {"preset": "quick"}).words == "Training quick"
    assert JobSpec("train", "m", {}).words == "Training"
    assert JobSpec("predict", "m", {}, title="Predict 3 slides").words == "Predict 3 slides"
