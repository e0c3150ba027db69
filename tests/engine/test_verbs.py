"""Folders of jobs: what belongs to one is not overwritten by another, and what did not begin can begin again."""

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from opsin.engine import verbs
from opsin.engine.cli import main
from opsin.engine.runs import Run, read_record
from opsin.engine.workspace import Workspace

from .toy_method import predict, slide, table

# ---- a folder belongs to one job ------------------------------------------------------------------------------------


def test_a_prediction_does_not_go_into_the_folder_of_a_training(toy):
    assert toy("train", "--data", "data", "--run", "run", "--set", "steps=1")[0] == 1
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    status, said = predict(toy, slide("a.txt", 0.5), output="run")
    assert status == 1 and "run is the folder of a training; choose another one for a prediction." in said
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before
    assert predict(toy, "a.txt")[0] == 0
    for more in ([], ["--resume"]):
        (Path("out") / "recipe.yaml").write_text("steps: 2")
        status, said = toy("train", "--data", "data", "--run", "out", *more)
        assert status == 1 and "out is the folder of a prediction" in said
    assert read_record(Path("out"))["verb"] == "predict"


# ---- inputs of one name ---------------------------------------------------------------------------------------------


def test_slides_of_one_name_keep_apart(toy):
    slides = [slide("s1/x.txt", 0.1), slide("s2/x.txt", 0.2), slide("s3/X.txt", 0.3), slide("s4/x_2.txt", 0.4)]
    assert predict(toy, *slides)[0] == 0
    assert {name: float(row["score"]) for name, row in table().items()} == {
        "x": 0.1,
        "x_2": 0.2,
        "X_3": 0.3,
        "x_2_2": 0.4,
    }
    assert {path.name: path.read_text() for path in Path("out").glob("*.heat")} == {
        "x.heat": "0.1", "x_2.heat": "0.2", "X_3.heat": "0.3", "x_2_2.heat": "0.4",
    }  # fmt: skip
    assert [Path(row["input"]) for row in table().values()] == [path.resolve() for path in slides]


def test_a_second_prediction_adds_to_the_table_and_replaces_what_was_done_again(toy, monkeypatch):
    predict(toy, slide("s1/x.txt", 0.1), slide("y.txt", 0.5))
    assert predict(toy, slide("s2/x.txt", 0.2))[0] == 0
    slide("s1/x.txt", 0.9)
    monkeypatch.chdir("s1")
    assert toy("predict", "--checkpoint", "../c.safetensors", "--output", "../out", "--input", "x.txt")[0] == 0
    found = {name: float(row["score"]) for name, row in table("../out").items()}
    assert found == {"y": 0.5, "x_2": 0.2, "x": 0.9}
    assert Path("../out/x.heat").read_text() == "0.9" and Path("../out/x_2.heat").read_text() == "0.2"


def test_names_given_by_the_window_stay(toy):
    entries = [{"path": str(slide(f"s{n}/x.txt", n / 10)), "id": f"i{n}", "options": {"item": f"i{n}"}} for n in (1, 2)]
    arguments = {"checkpoint": "c.safetensors", "inputs": entries, "output": "out", "options": {}}
    assert verbs.execute({"verb": "predict", "method": "toy", "arguments": arguments, "device": "cpu"}) == "done"
    assert sorted(path.name for path in Path("out").glob("*.heat")) == ["i1.heat", "i2.heat"]
    assert list(table()) == ["i1", "i2"]


def test_what_could_not_be_predicted_is_in_the_table_and_in_the_status(toy):
    status, said = predict(toy, slide("a.txt", 0.5), slide("b.txt", ""), "c.txt")
    assert status == 1 and "2 of 3 inputs could not be used" in said
    assert table()["b"]["error"] == "b.txt is no slide." and table()["b"]["score"] == ""
    assert table()["a"]["error"] == "" and table()["a"]["score"] == "0.5"
    slide("b.txt", 0.7)
    assert predict(toy, "b.txt")[0] == 0
    assert table()["b"]["error"] == "" and table()["b"]["score"] == "0.7"


# ---- going on, or beginning again -----------------------------------------------------------------------------------


def test_a_run_does_not_go_on_with_other_data(toy):
    assert toy("train", "--data", "data", "--run", "run", "--set", "steps=1")[0] == 1
    before = read_record(Path("run"))
    status, said = toy("train", "--data", "other", "--run", "run", "--resume")
    assert status == 1 and f"was started with other data ({Path('data').resolve()})" in said
    after = read_record(Path("run"))
    assert (after["data"], after["command"]) == (before["data"], before["command"])
    Path("data/content").write_text("with more labels")  # labels may change: each round takes a new snapshot
    assert "The disk is gone" in toy("train", "--data", "data", "--run", "run", "--resume")[1]
    Path("data").rename("moved")
    assert "The disk is gone" in toy("train", "--data", "moved", "--run", "run", "--resume")[1]
    assert read_record(Path("run"))["data"] == str(Path("moved").resolve())


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_start_that_failed_is_corrected_in_its_folder(toy, resume):
    words = ["--data", "other", "--run", "run", "--set", "steps=2"]
    assert toy("train", *words, "--set", "weights=typo.pth")[0] == 1
    Path("weights.pth").write_text("")
    words[1] = "data"
    status, said = toy("train", *words, "--set", "weights=weights.pth", *resume)
    assert status == 0, said
    record = read_record(Path("run"))
    assert record["state"] == "done" and record["recipe"]["weights"] == "weights.pth"
    assert yaml.safe_load(Path("run/recipe.yaml").read_text()) == record["recipe"]
    assert record["data"] == str(Path("data").resolve())


def test_a_run_that_failed_after_a_step_stays_as_it_is(toy):
    words = ["--data", "data", "--run", "run"]
    assert toy("train", *words, "--set", "steps=3")[0] == 1
    status, said = toy("train", *words, "--set", "steps=2")
    assert status == 1 and "already holds a run (failed)" in said
    status, said = toy("train", *words, "--set", "steps=2", "--resume")
    assert status == 1 and "was started with other settings (steps)" in said
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 3


def test_a_failed_start_with_a_file_of_somebody_else_is_not_cleared(toy):
    words = ["--data", "data", "--run", "run", "--set", "steps=2"]
    toy("train", *words, "--set", "weights=typo.pth")
    Path("run/notes.txt").write_text("mine")
    assert "already holds a run (failed)" in toy("train", *words)[1]
    assert Path("run/notes.txt").read_text() == "mine"


def test_wrong_weights_are_corrected_in_a_real_run(tmp_path, capsys):
    """The method of the paper writes nothing before its first step that would stand in the way."""
    for name in ("a", "b"):
        pixels = np.random.default_rng(0).integers(0, 150, (128, 128, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    with Workspace.create(tmp_path / "w") as workspace:
        for item, label in zip(workspace.add([tmp_path / "a.png", tmp_path / "b.png"]), ("positive", "negative")):
            workspace.update(item.id, label=label, split="train", mpp=0.5)
    run = tmp_path / "run"
    words = ["train", "hybrid_wsi", "--data", str(tmp_path / "w"), "--run", str(run), "--device", "cpu"]
    words += ["--recipe", "tiny", "--set", "rounds=0", "--set", "steps_initial=1"]
    assert main([*words, "--set", f"imagenet_weights={tmp_path / 'typo.pth'}"]) == 1
    assert "typo.pth" in capsys.readouterr().err and read_record(run)["state"] == "failed"
    main(words)
    said = capsys.readouterr().err
    assert "already holds a run" not in said and read_record(run)["recipe"]["imagenet_weights"] is None


# ---- what is said ---------------------------------------------------------------------------------------------------


def test_the_command_that_repeats_a_job_is_shown_and_kept(toy):
    status, said = toy("train", "--data", "data", "--run", "run", "--set", "steps=2")
    command = read_record(Path("run"))["command"]
    assert status == 0 and said.count("repeat it with: ") == 1 and f"repeat it with: {command}\n" in said
    assert main(shlex.split(command)[1:]) == 0
    status, said = predict(toy, slide("a.txt", 0.5), more=["--set", "level=2"])
    command = read_record(Path("out"))["command"]
    assert [word for word in shlex.split(command) if word.startswith("--set")] == ["--set=level=2"]
    assert f"repeat it with: {command}\n" in said
    status, said = toy("evaluate", "--checkpoint", "c.safetensors", "--data", "data")
    assert "repeat it with: opsin evaluate toy --checkpoint c.safetensors --data data" in said
    assert "repeat it with" not in predict(toy, "missing.txt")[1], "nothing is to be repeated that failed"


def test_the_command_keeps_what_of_a_batch_was_asked_for(toy):
    job = {"verb": "predict", "method": "toy",
           "arguments": {"checkpoint": "c", "inputs": ["a.txt"], "output": "out", "only": "failed"}}  # fmt: skip
    expected = "opsin predict toy --checkpoint c --output out --only failed --input a.txt --device auto"
    assert verbs.command_line(job) == expected
    job["arguments"]["only"] = "all"
    assert "--only" not in verbs.command_line(job)


def test_a_training_that_was_stopped_says_how_to_go_on(toy, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Run, "stopping", True)
        status, said = toy("train", "--data", "data", "--run", "run", "--set", "steps=2")
    assert status == 130 and "repeat it with" not in said
    command = said.splitlines()[-1].partition("stopped; go on with: ")[2]
    assert shlex.split(command)[:8] == ["opsin", "train", "toy", "--data", "data", "--run", "run", "--resume"]
    assert main(shlex.split(command)[1:]) == 0 and read_record(Path("run"))["state"] == "done"


def test_the_command_of_a_prediction_from_the_window_has_the_resolution_but_not_the_view(toy):
    entries = [{"path": f"{n}.txt", "id": n, "options": {"item": n, "slide_mpp": 0.25}} for n in "ab"]
    arguments = {"checkpoint": "c", "inputs": entries, "output": "out", "options": {"level": 0}}
    job = {"verb": "predict", "method": "toy", "arguments": arguments}
    expected = "opsin predict toy --checkpoint c --output out --set=slide_mpp=0.25 --input a.txt b.txt --device auto"
    assert verbs.command_line(job) == expected
    entries[1]["options"]["slide_mpp"] = 0.5  # no single command says that
    assert "slide_mpp" not in verbs.command_line(job)


def test_the_command_of_a_training_names_machines_and_processes(toy, monkeypatch):
    class Pair(type(verbs.ALONE)):
        world = 4

    def join(device):
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)
        return Pair()

    monkeypatch.setattr(verbs, "join", join)
    for local, run, end in ((4, "one", ["--devices", "4"]), (2, "two", ["--nodes", "2", "--devices", "2"]),
                            (1, "three", ["--nodes", "4", "--devices", "1"])):  # fmt: skip
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
        arguments = {"data": "data", "recipe": {"steps": 2}, "run": run}
        events: list = []
        job = {"verb": "train", "method": "toy", "arguments": arguments, "device": "cpu"}
        assert verbs.execute(job, events.append) == "done", json.dumps(events)
        words = shlex.split(read_record(Path(run))["command"])
        assert words[-len(end) :] == end
        assert ("--run" in words) == ("--nodes" in words), "machines must agree on a folder"


def test_the_target_of_the_metrics_is_checked_first(toy, tmp_path):
    (tmp_path / "file").write_text("")
    for target, reason in (("file/m.json", "file is no folder"), ("data", "is a folder; name a file")):
        status, said = toy("evaluate", "--checkpoint", "c.safetensors", "--data", "data", "--json", target)
        assert status == 1 and reason in said and said.count("\n") == 1, said
    assert toy("evaluate", "--checkpoint", "c.safetensors", "--data", "data", "--json", "new/m.json")[0] == 0
    assert json.loads(Path("new/m.json").read_text()) == {"AUC": 1.0}
