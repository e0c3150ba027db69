"""LIFE end to end through the command line: train, stop and resume, predict, evaluate, import."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opsin.engine import method as registry
from opsin.engine.checkpoints import Checkpoint, load_state
from opsin.engine.cli import main
from opsin.engine.data.flow_files import read_flow
from opsin.engine.data.pairs import open_pairs
from opsin.engine.errors import Cancelled, RecipeError, RunError
from opsin.engine.methods.life import Life, LifeOptions, LifeRecipe
from opsin.engine.methods.life.model import SMALL, TINY, FlowNetwork
from opsin.engine.methods.life.published import pack
from opsin.engine.results import Flow
from opsin.engine.runs import Run

from .test_flow_geometry import views
from .test_flow_pairs import hpatches, kitti, table
from .test_flow_pairs import picture as noise


class Point:
    def load(self):
        return Life


@pytest.fixture
def life(tmp_path, monkeypatch, capsys):
    """Call the command line with the method; returns (status, what stands on standard error)."""
    monkeypatch.setattr(registry, "_found", lambda: {"life": Point()})
    registry.get_method.cache_clear()
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    pack(FlowNetwork(TINY), "tiny", "RGB").save(tmp_path / "c.safetensors")

    def call(*words):
        verb, *rest = [str(word) for word in words]
        status = main([verb, "life", *rest, *(["--device", "cpu"] if verb != "import" else [])])
        return status, capsys.readouterr().err

    yield call
    registry.get_method.cache_clear()


def posed(root, size=(60, 80)):
    """Two pairs with poses, in the layout of MegaDepth."""
    place = root / "train" / "0001" / "dense0" / "aligned"
    lines = []
    for seed, (view, name) in enumerate(zip(views(), ("a.png", "b.png"))):
        noise(place / "images" / name, size, seed)
        view = view.resized(size[1], size[0])
        k = view.intrinsics
        numbers = [*size[::-1], k[0, 0], k[1, 1], k[0, 2], k[1, 2], *view.rotation.ravel(), *view.translation]
        lines.append(f"{name} " + " ".join(repr(float(x)) for x in numbers))
    (place / "img_cam.txt").write_text("\n".join(lines))
    (place / "pairs.txt").write_text("a.png b.png\nb.png a.png\n")
    return root


def test_train_stop_and_resume_give_the_same_as_going_through(life, tmp_path):
    posed(tmp_path / "d")
    assert life("train", "--data", "d", "--recipe", "tiny", "--run", "whole")[0] == 0
    metrics = [json.loads(line) for line in Path("whole/metrics.jsonl").read_text().splitlines()]
    losses = [m for m in metrics if "loss" in m]
    assert [m["step"] for m in losses] == [1, 2, 3, 4]
    assert (
        all(m["epipolar"] > 0 and m["warp"] > 0 for m in losses) and "cycle" in losses[-1] and "cycle" not in losses[0]
    )
    judged = [m for m in metrics if "EPE of warps" in m]
    assert [m["step"] for m in judged] == [2, 4] and "held-out epipolar distance" in judged[0]
    assert (
        list(Path("whole/previews").glob("step_2_*.flo")) and "Flow network" in Path("whole/model_card.md").read_text()
    )

    data, recipe = open_pairs(tmp_path / "d"), Life.recipe("tiny")
    run = Run(tmp_path / "half")
    run._sinks.append(lambda e: run.control.stop() if e["event"] == "metrics" and "loss" in e["values"] else None)
    Life().train(recipe, data, run)
    run.close()
    assert load_state(tmp_path / "half/checkpoints/state.safetensors")["step"] == 1
    run = Run(tmp_path / "half")
    found = Life().train(recipe, data, run)
    run.close()
    expected = Checkpoint.load(Path("whole/checkpoints/final.safetensors"), "life")
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(value, expected.tensors[name]) for name, value in found.tensors.items())


@pytest.mark.parametrize("supervision", ["warps", "epipolar", "photometric", "flow"])
def test_every_supervision_trains_and_changes_the_weights(tmp_path, supervision):
    if supervision == "epipolar":
        data = open_pairs(posed(tmp_path / "d"))
    else:
        kitti(tmp_path / "d")
        data = open_pairs(tmp_path / "d")
    recipe = Life.recipe("tiny").model_copy(update={"supervision": supervision, "steps": 2, "preview_every": 0})
    torch.manual_seed(recipe.seed)
    before = FlowNetwork(TINY).state_dict()
    seen = []
    run = Run(None, seen.append)
    found = Life().train(recipe, data, run)
    losses = [e["values"] for e in seen if e["event"] == "metrics" and "loss" in e["values"]]
    assert len(losses) == 2 and all(np.isfinite(m["loss"]) for m in losses)
    assert ("photometric" in losses[0]) == (supervision == "photometric")
    assert sum(not torch.equal(found.tensors[n], before[n]) for n in before) > 0.9 * len(
        list(FlowNetwork(TINY).parameters())
    )


def test_training_needs_what_it_learns_from(tmp_path):
    kitti(tmp_path / "d")
    data = open_pairs(tmp_path / "d")
    with pytest.raises(RunError, match="holds no pairs with poses: choose other data, or learn from warps alone"):
        Life().train(Life.recipe("tiny"), data, Run())
    with pytest.raises(RecipeError, match="height and width are at least 128 px for the network 'basic'"):
        LifeRecipe.checked({"height": 64})
    assert LifeRecipe() == Life.recipe("paper") and Life.presets() == ["paper", "workstation", "quick", "tiny"]


def test_a_training_starts_from_published_weights(tmp_path):
    kitti(tmp_path / "d")
    torch.manual_seed(1)
    weights = FlowNetwork(SMALL).state_dict()
    torch.save(weights, tmp_path / "life.pth")
    values = {"supervision": "warps", "steps": 1, "batch_size": 1, "height": 128, "width": 128, "iterations": 1}
    values |= {"initial_checkpoint": str(tmp_path / "life.pth"), "preview_every": 0, "learning_rate": 1e-9}
    said = []
    found = Life().train(
        LifeRecipe.checked({**values, "network": "small"}), open_pairs(tmp_path / "d"), Run(None, said.append)
    )
    assert found.header["colours"] == "BGR"
    assert all(torch.allclose(found.tensors[n], w, atol=1e-6) for n, w in weights.items())
    assert any("expect BGR" in e.get("text", "") for e in said) and any(
        "Correlation volume" in e.get("text", "") for e in said
    )
    with pytest.raises(Exception, match="holds the network 'small', the recipe 'tiny'"):
        Life().train(LifeRecipe.checked({**values, "network": "tiny"}), open_pairs(tmp_path / "d"), Run())


def test_predict_any_size_both_directions(life, tmp_path):
    noise(Path("a.png"), (50, 90), 1)
    noise(Path("b.png"), (70, 60), 2)
    words = ["--checkpoint", "c.safetensors", "--input", "a.png", "--output", "out", "--set", "second=b.png"]
    status, said = life("predict", *words, "--set", "backward=true", "--set", "iterations=2")
    assert status == 0, said
    assert read_flow(Path("out/a.flo")).shape == (50, 90, 2) and read_flow(Path("out/a_back.flo")).shape == (70, 60, 2)
    with np.load("out/a_consistency.npz") as file:
        assert file["error"].shape == file["visible"].shape == (50, 90)
    assert "Correlation volume" in Path("out/log.txt").read_text()
    Flow(Path("out/a.flo")).save(Path("copy.pfm"))
    assert np.array_equal(read_flow(Path("copy.pfm")), read_flow(Path("out/a.flo")))
    status, said = life("predict", "--checkpoint", "c.safetensors", "--input", "a.png", "--output", "out2")
    assert status == 1 and "a.png is one picture: name the second one" in said
    status, said = life("predict", *words[:-1], "second=gone.png")
    assert status == 1 and "gone.png does not exist" in said


def test_predict_a_folder_and_a_list(life, tmp_path):
    kitti(tmp_path / "k")
    (tmp_path / "k" / "image_2" / "000000_11.png").write_bytes(b"no picture")
    words = ["predict", "--checkpoint", "c.safetensors", "--set", "iterations=1"]
    status, said = life(*words, "--input", "k", "--output", "out")
    assert status == 0 and "000000_11.png cannot be read" in said
    assert [path.name for path in sorted(Path("out").glob("*.flo"))] == ["000001_10.flo"]
    Path("list.txt").write_text("k/image_2/000001_10.png k/image_2/000001_11.png\n")
    assert life(*words, "--set", "format=png", "--input", "list.txt", "--output", "out2")[0] == 0
    expected = np.round(read_flow(Path("out/000001_10.flo")) * 64) / 64
    assert np.array_equal(read_flow(Path("out2/000001_10_000001_11.png")), expected)
    Path("list.txt").write_text("k/image_2/000001_10.png k/image_2/000000_11.png\n")
    status, said = life(*words, "--input", "list.txt", "--output", "out3")
    assert status == 1 and "No pair of" in said and not list(Path("out3").glob("*.flo"))


def test_with_and_without_a_volume_and_in_two_sizes_the_flow_is_alike(life):
    noise(Path("a.png"), (96, 120), 1)
    checkpoint = Checkpoint.load(Path("c.safetensors"), "life")
    found = {}
    for name, values in {
        "volume": {"memory": "volume"}, "demand": {"memory": "on_demand"}, "half": {"half_first": "yes"}
    }.items():  # fmt: skip
        options = LifeOptions(second="a.png", iterations=3, **values)
        (result,) = Life().predict(checkpoint, Path("a.png"), options, Run(Path(name)))
        found[name] = read_flow(result.path)
    assert np.abs(found["volume"] - found["demand"]).max() < 1e-3
    assert np.isfinite(found["half"]).all() and found["half"].shape == found["volume"].shape


def test_a_prediction_is_cancelled_between_iterations(life):
    noise(Path("a.png"))
    checkpoint = Checkpoint.load(Path("c.safetensors"), "life")
    done = []
    run = Run(Path("out"))
    run._sinks.append(lambda e: (done.append(e["done"]), run.control.cancel()) if e["event"] == "progress" else None)
    with pytest.raises(Cancelled):
        list(Life().predict(checkpoint, Path("a.png"), LifeOptions(second="a.png", iterations=9), run))
    run.close()
    assert done == [1] and not Path("out/a.flo").exists()


def test_evaluate_on_layouts(life, tmp_path):
    kitti(tmp_path / "k")
    hpatches(tmp_path / "h")
    (tmp_path / "h" / "v_two").rename(tmp_path / "v")
    for number in range(3, 7):  # two pictures are enough
        (tmp_path / "h" / "i_one" / f"H_1_{number}").unlink()
    table(tmp_path / "t")
    posed(tmp_path / "m")
    wanted = {
        "k": ("EPE", "Fl-all (%)", "PCK at 3 px"),
        "h": ("EPE", "homography within 3 px, guided SIFT", "MMA at 3 px, SIFT", "homography within 5 px, flow"),
        "t/test.csv": ("sparse PCK at 5 px",),
        "m": ("epipolar distance (px)", "epipolar distance within 3 px", "pose AUC at 10 degrees, flow"),
    }
    for path, names in wanted.items():
        status, said = life("evaluate", "--checkpoint", "c.safetensors", "--data", path, "--json", "e.json")
        assert status == 0, said
        found = json.loads(Path("e.json").read_text())
        assert all(isinstance(found[name], float) for name in names), (path, found)
        assert found["pairs"] == len(found["per pair"]) > 0


def test_evaluate_leaves_out_a_bad_pair_and_says_so(life, tmp_path):
    kitti(tmp_path / "k")
    Image.new("RGB", (10, 10)).save(tmp_path / "k" / "image_2" / "000000_10.png")
    status, said = life("evaluate", "--checkpoint", "c.safetensors", "--data", "k", "--json", "e.json")
    assert status == 0 and "000000_10 is left out." in said
    assert json.loads(Path("e.json").read_text())["pairs"] == 1


def test_import(life, tmp_path):
    torch.save({f"module.{k}": v for k, v in FlowNetwork(SMALL).state_dict().items()}, "raft.pth")
    assert life("import", "raft.pth", "--output", "raft.safetensors")[0] == 0
    header = Checkpoint.load(Path("raft.safetensors"), "life").header
    assert (header["network"], header["colours"], header["source"]) == ("small", "RGB", "raft.pth")


def test_settings_need_no_torch():
    code = "import sys; from opsin.engine.methods.life import Life; Life.recipe('quick'); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
