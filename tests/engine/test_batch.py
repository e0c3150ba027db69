"""Prediction of many inputs: the state of each, going on, trying again what failed."""

import json
from pathlib import Path

import pytest

from opsin.engine import verbs
from opsin.engine.batch import read_states, summary
from opsin.engine.jobs import Job, JobSpec

from .toy_method import Toy, predict, slide, table


@pytest.fixture
def seen(monkeypatch):
    """Names of the inputs that were really predicted."""
    names = []
    real = Toy.predict

    def counted(self, checkpoint, sample, options, run):
        names.append(Path(sample).stem)
        yield from real(self, checkpoint, sample, options, run)

    monkeypatch.setattr(Toy, "predict", counted)
    return names


def states(folder="out"):
    return {name: record["state"] for name, record in read_states(Path(folder)).items()}


def test_each_input_has_a_state_and_only_what_is_missing_is_done(toy, seen):
    slide("a.txt", 0.5), slide("b.txt", "")
    assert predict(toy, "a.txt", "b.txt")[0] == 1
    assert states() == {"a": "done", "b": "failed"}
    assert read_states(Path("out"))["b"]["error"] == "b.txt is no slide."
    slide("b.txt", 0.7), slide("c.txt", 0.9)
    seen.clear()
    status, said = predict(toy, "a.txt", "b.txt", "c.txt", more=["--only", "missing"])
    assert status == 0 and seen == ["b", "c"] and "1 of 3 inputs were done already" in said
    assert {name: row["score"] for name, row in table().items()} == {"a": "0.5", "b": "0.7", "c": "0.9"}
    assert states() == {"a": "done", "b": "done", "c": "done"}


def test_only_what_failed_is_tried_again(toy, seen):
    slide("a.txt", 0.5), slide("b.txt", "")
    predict(toy, "a.txt", "b.txt")
    seen.clear()
    assert predict(toy, "a.txt", "b.txt", "never.txt", more=["--only", "failed"])[0] == 1
    assert seen == ["b"]
    slide("b.txt", 0.1)
    assert predict(toy, "a.txt", "b.txt", more=["--only", "failed"])[0] == 0
    seen.clear()
    assert predict(toy, "a.txt", "b.txt", more=["--only", "failed"])[0] == 0 and seen == []


@pytest.mark.parametrize("change", ["settings", "network", "file"])
def test_what_was_done_otherwise_is_missing(toy, seen, change):
    slide("a.txt", 0.5)
    predict(toy, "a.txt")
    seen.clear()
    more = ["--only", "missing"]
    predict(toy, "a.txt", more=more)
    assert seen == []
    if change == "settings":
        more.append("--set=level=1")
    elif change == "network":
        import torch

        from opsin.engine.checkpoints import Checkpoint

        Checkpoint("toy", {"w": torch.zeros(1)}).save(Path("c.safetensors"))
    else:
        Path("out/a.heat").unlink()
    predict(toy, "a.txt", more=more)
    assert seen == ["a"]


def test_a_folder_stands_for_what_lies_in_it(toy, seen):
    slide("many/a.txt", 0.5), slide("many/b.txt", 0.6)
    assert predict(toy, "many")[0] == 0 and seen == ["a", "b"]


def test_what_nobody_expected_of_one_input_leaves_the_others_alone(toy, monkeypatch):
    real = Toy.predict

    def stumbling(self, checkpoint, sample, options, run):
        if Path(sample).stem == "b":
            raise ZeroDivisionError("by zero")
        yield from real(self, checkpoint, sample, options, run)

    monkeypatch.setattr(Toy, "predict", stumbling)
    status, said = predict(toy, slide("a.txt", 0.1), slide("b.txt", 0.2), slide("c.txt", 0.3))
    assert status == 1 and "b.txt could not be predicted: ZeroDivisionError: by zero." in said
    assert states() == {"a": "done", "b": "failed", "c": "done"}
    assert "ZeroDivisionError" in Path("out/log.txt").read_text() and "Traceback" in Path("out/log.txt").read_text()
    assert "- b: b.txt could not be predicted" in Path("out/summary.md").read_text()


def test_a_full_disk_ends_the_batch(toy, seen, monkeypatch):
    def full(self, checkpoint, sample, options, run):
        seen.append(sample)
        raise OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(Toy, "predict", full)
    status, said = predict(toy, slide("a.txt", 0.1), slide("b.txt", 0.2))
    assert status == 1 and len(seen) == 1 and "The disk is full" in said


def test_one_that_was_cut_off_is_done_again(toy, seen):
    slide("a.txt", 0.5)
    predict(toy, "a.txt")
    file = Path("out/items/a.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "state": "running"}))
    Path("out/items/b.json").write_text("{ cut")
    seen.clear()
    predict(toy, "a.txt", slide("b.txt", 0.2), more=["--only", "missing"])
    assert seen == ["a", "b"]


def test_a_job_knows_the_state_of_each_input(toy):
    arguments = {
        "checkpoint": "c.safetensors",
        "inputs": [{"path": str(slide("a.txt", 0.1)), "id": "i1"}, {"path": str(slide("b.txt", "")), "id": "i2"}],
        "output": "out",
        "options": {},
    }
    spec = JobSpec("predict", "toy", arguments, "cpu")
    job = Job(spec)
    said = []
    verbs.execute(spec.plain(), lambda event: (job.apply(event), said.append(event)))
    assert [(e["item"], e["state"]) for e in said if e["event"] == "item"] == [
        ("i1", "running"), ("i1", "done"), ("i2", "running"), ("i2", "failed"),
    ]  # fmt: skip
    assert [(e["item"], e["error"]) for e in job.failed_items] == [("i2", "b.txt is no slide.")]
    assert job.step == 2 and job.value["kept"] == []


def test_kept_inputs_do_not_make_the_rest_look_quick():
    job = Job(JobSpec("predict", "toy", {"inputs": ["a", "b", "c"]}))
    item = {"event": "item", "total": 3, "item": None}
    job.apply({"event": "state", "state": "running", "time": 0.0})
    job.apply({**item, "input": "a", "done": 1, "state": "kept", "time": 0.0})
    job.apply({**item, "input": "b", "done": 1, "state": "running", "time": 0.0})
    job.apply({**item, "input": "b", "done": 2, "state": "done", "time": 10.0})
    assert job.seconds_left == pytest.approx(10.0)


def test_the_summary_counts_and_names():
    text = summary({"a": {"state": "done", "seconds": 2.0}, "b": {"state": "failed", "error": "It is empty."}})
    assert "1 done, 1 failed, 0 stopped, 2 in all." in text and "- b: It is empty." in text and "| a | 2 |" in text


def test_the_table_has_what_a_killed_process_had_done(toy, seen):
    slide("a.txt", 0.5), slide("b.txt", 0.6), slide("c.txt", 0.7)
    predict(toy, "a.txt", "b.txt")
    Path("out/scores.csv").unlink()  # the process was killed before it wrote the table
    assert predict(toy, "a.txt", "b.txt", "c.txt", more=["--only", "missing"])[0] == 0
    assert {name: row["score"] for name, row in table().items()} == {"a": "0.5", "b": "0.6", "c": "0.7"}
    Path("out/scores.csv").unlink()
    assert predict(toy, "a.txt", "b.txt", "c.txt", more=["--only", "missing"])[0] == 0
    assert list(table()) == ["a", "b", "c"], "also when nothing is left to do"


def test_the_table_is_written_while_the_batch_is_at_work(toy, monkeypatch):
    monkeypatch.setattr("opsin.engine.batch.TABLE_SECONDS", -1.0)
    known = []
    real = Toy.predict

    def looking(self, checkpoint, sample, options, run):
        known.append(list(table()) if Path("out/scores.csv").exists() else [])
        yield from real(self, checkpoint, sample, options, run)

    monkeypatch.setattr(Toy, "predict", looking)
    predict(toy, slide("a.txt", 0.1), slide("b.txt", 0.2), slide("c.txt", 0.3))
    assert known == [[], ["a"], ["a", "b"]]
