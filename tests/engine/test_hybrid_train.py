"""The whole way of hybrid supervision on small pictures: train, stop, resume, predict, evaluate, from the shell and a worker."""

import json

import numpy as np
import pytest
import torch
from opsin.engine.cli import main
from opsin.engine.errors import RunError
from opsin.engine.methods.hybrid_wsi import HybridWSI
from opsin.engine.methods.hybrid_wsi.data import EXCLUDED, UNLABELLED, open_data
from opsin.engine.methods.hybrid_wsi.losses import pixel_loss
from opsin.engine.methods.hybrid_wsi.made import make_slide
from opsin.engine.methods.hybrid_wsi.tiles import Mix, Opened
from opsin.engine.runs import Control, read_lines, read_record
from opsin.engine.tiles import TilePyramid
from opsin.engine.verbs import execute, load_checkpoint
from opsin.engine.worker import WorkerProcess
from opsin.engine.workspace import Workspace
from PIL import Image


@pytest.fixture
def workspace(tmp_path):
    """Two outlined slides, two more of each label, two for validation; and one file that is gone."""
    rng = np.random.default_rng(0)
    (tmp_path / "slides").mkdir()
    with Workspace.create(tmp_path / "space") as space:
        for number in range(8):
            lesion = "A" if number % 2 == 0 else None
            picture, truth = make_slide(rng, lesion, False)
            path = tmp_path / "slides" / f"s{number}.png"
            Image.fromarray(picture).save(path)
            (item,) = space.add([path])
            split = "val" if number >= 6 else "train"
            space.update(item.id, label="positive" if lesion else "negative", split=split, outlined=number < 2)
            if number in (0, 6):
                points = np.argwhere(truth)[::7, ::-1] + 0.5
                for point in points:
                    space.labels(item).stroke([point], 3, 1)
    return tmp_path / "space"


def _job(verb, id="j", **arguments):
    return {"id": id, "verb": verb, "method": "hybrid_wsi", "device": "cpu", "arguments": arguments}


def _train(workspace, run, sink=None, control=None, resume=False, **changes):
    recipe = HybridWSI.recipe("tiny").model_copy(update=changes).model_dump(mode="json")
    job = _job("train", data=str(workspace), recipe=recipe, run=str(run), resume=resume, preset="tiny")
    return execute(job, sink, control)


def test_train_predict_evaluate(workspace, tmp_path):
    seen = []
    assert _train(workspace, tmp_path / "run", seen.append) == "done"
    record = read_record(tmp_path / "run")
    assert record["state"] == "done" and record["fingerprint"] and record["recipe"]["tile"] == 64
    kinds = {event["event"] for event in seen}
    assert {"phase", "progress", "metrics", "preview", "region", "checkpoint", "done"} <= kinds
    previews = [e for e in seen if e["event"] == "preview"]
    assert previews[0]["name"] == "pseudo labels, round 1" and previews[0]["info"]["item"]
    for name in ("model_card.md", "recipe.yaml", "metrics.jsonl", "snapshots/round_2.json", "tile_maxima_round_1.json"):
        assert (tmp_path / "run" / name).exists(), name
    slide = str(workspace.parent / "slides" / "s6.png")
    results = []
    job = _job("predict", checkpoint=str(tmp_path / "run"), inputs=[{"path": slide, "id": "x"}, str(tmp_path / "none.png")],
               output=str(tmp_path / "out"), options={"view": [100, 100, 50, 50]})  # fmt: skip
    assert execute(job, results.append) == "done"
    found = {e["kind"]: e for e in results if e["event"] == "result"}
    assert set(found) == {"Heatmap", "SlideScore"} and found["SlideScore"]["info"]["item"] == "x"
    assert (
        0 <= found["SlideScore"]["info"]["score"] <= 1 and found["SlideScore"]["info"]["source"] == "top-K classifier"
    )
    assert any("none.png" in e["text"] for e in results if e["event"] == "message")
    with TilePyramid.open(found["Heatmap"]["path"], readonly=True) as heat:
        assert heat.region(0, 0, 0, *heat.level_size(0)).min() > 0, "every place was computed"
    metrics = []
    assert execute(_job("evaluate", checkpoint=str(tmp_path / "run"), data=str(workspace)), metrics.append) == "done"
    value = next(e["value"] for e in metrics if e["event"] == "done")
    assert {"AUC", "specificity at 100 % sensitivity", "slide that sets it", "Dice"} <= value.keys()


@pytest.mark.parametrize("at", [3, 8])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(workspace, tmp_path, at):
    assert _train(workspace, tmp_path / "whole") == "done"
    control = Control()

    def stop(event):
        if event["event"] == "metrics" and event["step"] == at and "loss" in event["values"]:
            control.stop()

    assert _train(workspace, tmp_path / "half", stop, control) == "stopped"
    assert (tmp_path / "half" / "checkpoints" / "final.safetensors").exists(), (
        "stop and keep leaves a usable checkpoint"
    )
    assert _train(workspace, tmp_path / "half", resume=True) == "done"
    whole, half = (load_checkpoint(tmp_path / name, "hybrid_wsi").tensors for name in ("whole", "half"))
    assert whole.keys() == half.keys()
    for name, value in whole.items():
        assert torch.equal(value, half[name]), name


def test_cancel_discards_everything(workspace, tmp_path):
    control = Control()
    state = _train(
        workspace, tmp_path / "run", lambda e: control.cancel() if e["event"] == "metrics" else None, control
    )
    assert state == "cancelled" and not (tmp_path / "run").exists()


def test_correction_between_rounds_enters_the_next(workspace, tmp_path):
    def correct(event):
        if event["event"] == "phase" and event["name"] == "round 1: E-step":
            with Workspace.open(workspace) as space:
                item = space.items()[2]
                space.labels(item).stroke([[50, 50]], 20, 2)
                space.labels(item).flush()

    assert _train(workspace, tmp_path / "run", correct) == "done"
    tables = [json.loads((tmp_path / "run" / "snapshots" / f"round_{r}.json").read_text()) for r in range(3)]
    assert [t["samples"][2]["labels"] is not None for t in tables] == [False, False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"pixel_labels_only": True},
        {"self_training": True},
        {"hard_negatives": False},
        {"removal": False},
        {"stage2": False},
    ],
)
def test_every_ablation_runs_with_equal_steps(workspace, tmp_path, changes):
    assert _train(workspace, tmp_path / "run", **changes) == "done"
    steps = [r["step"] for r in read_lines(tmp_path / "run" / "metrics.jsonl") if "loss" in r]
    assert max(steps) == 14


def test_nothing_outlined_is_one_sentence(workspace, tmp_path):
    with Workspace.open(workspace) as space:
        for item in space.items():
            space.update(item.id, outlined=False)
            if space.has_labels(item):
                space.labels(item).undo()
                while space.labels(item).undo():
                    pass
    seen = []
    assert _train(workspace, tmp_path / "run", seen.append) == "failed"
    (error,) = [e["text"] for e in seen if e["event"] == "message" and e["level"] == "error"]
    assert error.startswith("No training slide is outlined")


def test_missing_slide_is_left_out_and_named(workspace, tmp_path):
    (workspace.parent / "slides" / "s4.png").unlink()
    seen = []
    assert _train(workspace, tmp_path / "run", seen.append) == "done"
    assert any("s4" in e["text"] for e in seen if e["event"] == "message" and e["level"] == "warning")


def test_pixel_states_decide_the_targets(workspace, tmp_path):
    data = open_data(workspace)
    snapshot = data.snapshot(tmp_path / "run", 0)
    opened = Opened(snapshot.training, HybridWSI.recipe("tiny"))
    mix = Mix(opened, snapshot.states, HybridWSI.recipe("tiny"), 0, {}, print)
    batch = mix.batch(0)
    assert batch["image"].shape == (4, 3, 64, 64) and batch["target"].shape == (4, 64, 64)
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert torch.equal(batch["image"], mix.batch(0)["image"]), "a step's batch depends on its number alone"
    assert not torch.equal(batch["image"], mix.batch(1)["image"])
    states = mix._states(0, np.array([-5.0, 0.5]), np.array([0.5, 300.0]))
    assert states[0, 0] == EXCLUDED and states[1, 1] == EXCLUDED and states[0, 1] in (UNLABELLED, 1)
    opened.close()


def test_pixels_that_do_not_count_change_nothing():
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    target = torch.zeros(2, 4, 4)
    target[0] = -1
    pixel_loss(logits, target).backward()
    assert not logits.grad[0].any() and logits.grad[1].all()


def test_shell_trains_and_a_finished_run_is_protected(workspace, tmp_path, capsys):
    run = str(tmp_path / "run")
    words = ["train", "hybrid_wsi", "--data", str(workspace), "--recipe", "tiny", "--run", run, "--device", "cpu"]
    assert main([*words, "--set", "rounds=0", "--set", "stage2=false"]) == 0
    assert main(words) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert main(["train", "hybrid_wsi", "--data", str(workspace), "--recipe", "tiny", "--set", "tile=5"]) == 1
    assert "'tile' is 5" in capsys.readouterr().err
    command = read_record(tmp_path / "run")["command"]
    assert command.startswith("opsin train hybrid_wsi --data") and "recipe.yaml" in command
    assert main(["export", "hybrid_wsi", "--checkpoint", run, "--output", str(tmp_path / "net.pt2")]) == 0
    program = torch.export.load(tmp_path / "net.pt2").module()
    assert program(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_worker_process_pauses_stops_and_reports(workspace, tmp_path):
    worker = WorkerProcess(threads=1)
    recipe = HybridWSI.recipe("tiny").model_copy(update={"steps_initial": 5000}).model_dump(mode="json")
    worker.send(_job("train", "t1", data=str(workspace), recipe=recipe, run=str(tmp_path / "run")))
    states, steps = [], 0
    asked = False
    while not states or states[-1] not in ("stopped", "done", "failed"):
        for event in worker.poll(20):
            assert event["job"] == "t1"
            if event["event"] == "state":
                states.append(event["state"])
                if event["state"] == "paused":
                    worker.control("resume", "t1")
                    worker.control("stop", "t1")
            steps += event["event"] == "metrics"
        if steps > 5 and not asked:
            worker.control("pause", "t1")
            asked = True
        assert worker.alive, worker.stderr_tail
    assert states == ["running", "paused", "stopped"] or states == ["running", "paused", "running", "stopped"]
    worker.close_input()
    assert worker.wait(20) == 0
    assert read_record(tmp_path / "run")["state"] == "stopped"


def test_unknown_work_is_refused(tmp_path):
    with pytest.raises(RunError, match="is no folder"):
        open_data(tmp_path / "nothing")
