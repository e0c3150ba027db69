"""Corrections by hand win over every later proposal, pixel by pixel, and the run tells of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opsin.engine.checkpoints import Checkpoint
from opsin.engine.continuing import continued, first_recipe, parent_of, told
from opsin.engine.errors import RunError
from opsin.engine.labels.store import LabelStore
from opsin.engine.methods.hybrid_wsi import train as training
from opsin.engine.methods.hybrid_wsi.corrections import without_rejected
from opsin.engine.methods.hybrid_wsi.data import open_data, read_snapshot
from opsin.engine.methods.hybrid_wsi.heat import SlideHeat, TileScore
from opsin.engine.methods.hybrid_wsi.made import MadeSlides
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.tiles import EStep, Mix
from opsin.engine.methods.hybrid_wsi.train import train
from opsin.engine.runs import CHECKPOINT, Run
from opsin.engine.workspace import Workspace

RECIPE = HybridRecipe(
    network="unet", width=4, mpp=0, tile=64, crop=64, crop_min=48, batch_size=4, steps_initial=4, steps_round=6, rounds=2,
    K=2, stage2_epochs=1, stage2_batch=2, seed=3, removal=False, scale_augmentation=False,
)  # fmt: skip
RIGHT = (60, 40, 120, 100)  # "this is right": x0, y0, x1, y1
WRONG = (130, 130, 200, 190)  # "this is wrong"


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


@pytest.fixture
def workspace(tmp_path):
    """One slide outlined completely, then a positive, a negative and an unknown one with nothing on it."""
    made = MadeSlides(1, tmp_path / "made", weak=1, test=0)
    chosen = [s for s in made.samples if s.id in ("outlined_0", "train_0", "train_1")]
    chosen.append(next(s for s in made.samples if s.id == "outlined_5"))
    paths = []
    for sample in chosen:
        paths.append(tmp_path / f"{sample.id}.png")
        Image.fromarray(sample.pixels).save(paths[-1])
    with Workspace.create(tmp_path / "ws") as found:
        items = {item.name: item for item in found.add(paths)}
        first = items["outlined_0"]
        found.update(first.id, label="positive", outlined=True)
        found.labels(first).polygon([box(20, 20, 90, 90)], 1)
        found.update(items["train_0"].id, label="positive")
        found.update(items["train_1"].id, label="negative")
        found.flush()
        yield found


def names(workspace) -> dict[str, str]:
    return {item.id: item.name for item in workspace.items()}


def correct_all_but_the_first(workspace) -> None:
    for item in workspace.items()[1:]:
        store = workspace.labels(item)
        store.polygon([box(*RIGHT)], 1)
        store.polygon([box(*WRONG)], 2)
        store.flush()


@pytest.mark.parametrize("self_training", [False, True])
def test_over_two_rounds_no_proposal_overwrites_a_corrected_pixel(workspace, tmp_path, monkeypatch, self_training):
    """Corrections made in round 0 are the targets in rounds 1 and 2, on positive, negative and unknown slides alike."""
    drawn = []
    original = Mix.target

    def target(self, kind, window, x, y, side):
        found = original(self, kind, window, x, y, side)
        drawn.append((self.round, kind, self.opened.samples[window.slide].name, x, y, side, found.copy()))
        return found

    monkeypatch.setattr(Mix, "target", target)
    done = False

    def sink(event):
        nonlocal done
        if event["event"] == "metrics" and not done:
            done = True
            correct_all_but_the_first(workspace)

    changes = ["stage2=false", "batch_size=12", "steps_round=14", *["self_training=true"][: int(self_training)]]
    recipe = RECIPE.changed(changes)
    run = Run(tmp_path / "run", sink)
    train(recipe, open_data(workspace.folder), run)
    run.close()
    seen: set[tuple[int, str, str, int]] = set()
    for round, kind, name, x, y, side, found in drawn:
        if name == "outlined_0":
            continue
        assert round > 0, "nothing was painted there before"
        places = (np.arange(len(found)) + 0.5) * side / len(found)
        xs, ys = (x + places)[None], (y + places)[:, None]
        for value, (x0, y0, x1, y1) in ((1, RIGHT), (0, WRONG)):
            inside = (xs >= x0) & (xs < x1) & (ys >= y0) & (ys < y1)
            assert (found[inside] == value).all(), (round, kind, name)
            if inside.any():
                seen.add((round, kind, name, value))
    for round in (1, 2):
        for name in ("train_0", "train_1", "outlined_5"):
            for value in (0, 1):
                assert (round, "fine", name, value) in seen
        kinds = {kind for r, kind, _, _ in seen if r == round}
        assert kinds == ({"fine", "self"} if self_training else {"fine", "negative", "positive"})


def test_the_run_tells_what_was_corrected_in_each_round_and_where(workspace, tmp_path):
    events = []

    def sink(event):
        events.append(event)
        if event["event"] == "phase" and event["name"] == "round 1: E-step":
            item = workspace.items()[1]
            store = workspace.labels(item)
            store.polygon([box(0, 0, 10, 20)], 0)  # takes back part of what was said below: 80 px
            store.flush()
            workspace.update(workspace.items()[3].id, label="positive")
        elif event["event"] == "phase" and event["name"] == "round 0: load":
            item = workspace.items()[1]
            store = workspace.labels(item)
            store.polygon([box(0, 0, 10, 8)], 1)
            store.polygon([box(100, 100, 120, 110)], 2)
            store.flush()

    run = Run(tmp_path / "run", sink)
    checkpoint = train(RECIPE.model_copy(update={"stage2": False}), open_data(workspace.folder), run)
    run.close()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    found = {
        r: [(e["name"], e["positive"], e["negative"], e["withdrawn"], e["label"]) for e in entries]
        for r, entries in record["corrections"].items()
    }
    assert found == {
        "1": [("train_0", 80, 200, 0, "")],
        "2": [("train_0", 0, 0, 80, ""), ("outlined_5", 0, 0, 0, "positive")],
    }
    assert checkpoint.header["corrections"] == record["corrections"]
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert "- corrected by hand before round 1: 280 pixels on train_0" in card
    texts = [e["text"] for e in events if e["event"] == "message"]
    assert "Before round 1, 280 pixels were corrected by hand: train_0 (80 to positive, 200 to negative)." in texts
    assert any("slide label positive" in text for text in texts)


def test_a_resumed_run_tells_of_all_rounds_but_says_each_once(workspace, tmp_path):
    class Crash(Exception):
        pass

    def correct(event):
        if event["event"] == "phase" and event["name"] == "round 0: load":
            correct_all_but_the_first(workspace)
        if event["event"] == "phase" and event["name"] == "round 2: E-step":
            raise Crash

    recipe = RECIPE.model_copy(update={"stage2": False})
    run = Run(tmp_path / "run", correct)
    with pytest.raises(Crash):
        train(recipe, open_data(workspace.folder), run)
    run.close()
    again: list = []
    run = Run(tmp_path / "run", again.append)
    checkpoint = train(recipe, open_data(workspace.folder), run)
    run.close()
    assert list(checkpoint.header["corrections"]) == ["1"] and len(checkpoint.header["corrections"]["1"]) == 3
    assert not any("corrected by hand" in e.get("text", "") for e in again)


# ---- rejected places in what the E-step proposes


def stored(folder: Path, p: dict[tuple[int, int], np.ndarray]) -> EStep:
    """An E-step with tiles of 64 px as it is read from disk."""
    scores, maps = [], {}
    for (x, y), values in p.items():
        row, column = divmod(int(values.argmax()), values.shape[1])
        scores.append(TileScore(x, y, 64, float(values.max()), x + 2 * column + 1, y + 2 * row + 1))
        maps[x, y] = np.rint(values * 255).astype(np.uint8)
    EStep.save(folder / "s.npz", SlideHeat(scores), 0.4, maps)
    return EStep.load(folder / "s.npz")


@pytest.fixture
def one(tmp_path):
    """A picture of 256 px, its label store, and the states of the default classes."""
    from opsin.engine.data.slides import open_slide
    from opsin.engine.labels.classes import DEFAULT_CLASSES
    from opsin.engine.methods.hybrid_wsi.data import class_states

    Image.fromarray(np.full((256, 256, 3), 200, np.uint8)).save(tmp_path / "one.png")
    with open_slide(tmp_path / "one.png") as slide, LabelStore.create(tmp_path / "one.labels", 256, 256) as store:
        yield slide, store, class_states(DEFAULT_CLASSES)


def test_a_rejected_region_no_longer_keeps_its_tile(one, tmp_path):
    slide, store, states = one
    low, both = np.full((32, 32), 0.1, np.float32), np.full((32, 32), 0.2, np.float32)
    low[4:8, 4:8] = 0.9  # level-0 pixels 8 .. 16
    both[4:8, 4:8], both[20:24, 20:24] = 0.95, 0.6
    proposed = stored(tmp_path, {(0, 0): low, (64, 0): both, (128, 0): both})
    assert without_rejected(proposed, slide, store, states, 0.4) is proposed, "nothing is painted as negative"
    store.polygon([box(6, 6, 18, 18)], 2)
    store.polygon([box(70, 6, 82, 18)], 2)
    store.polygon([box(132, 4, 150, 20)], 1)
    store.polygon([box(168, 40, 176, 48)], 3)
    found = without_rejected(proposed, slide, store, states, 0.4)
    assert found.kept.tolist() == [1, 2]
    assert found.scores[0].p == pytest.approx(0.1, abs=0.002)
    assert found.scores[1].p == pytest.approx(0.6, abs=0.002)
    assert (found.scores[1].px, found.scores[1].py) == (64 + 41, 41)
    assert found.scores[2] == proposed.scores[2], "a tile without a rejected pixel is as it was"
    assert np.array_equal(found.maps[0], proposed.maps[1]) and np.array_equal(found.maps[1], proposed.maps[2])
    assert len(found.maps) == 2


def test_a_region_rejected_after_the_proposal_is_gone_in_the_next_round(workspace, tmp_path, monkeypatch):
    """Stage 2 and the M-step of round 1 do not see what was rejected once the E-step had begun."""
    whole = box(0, 0, 256, 256)
    seen = {}
    original = training._Training._m_step

    def m_step(self, round, snapshot, proposals):
        seen[round] = {snapshot.samples[i].name: len(e.kept) for i, e in proposals.items()}
        return original(self, round, snapshot, proposals)

    monkeypatch.setattr(training._Training, "_m_step", m_step)

    def sink(event):
        if event["event"] == "phase" and event["name"] == "round 1: slide classifier":
            store = workspace.labels(workspace.items()[1])
            store.polygon([whole], 2)
            store.flush()

    run = Run(tmp_path / "run", sink)
    train(RECIPE.model_copy(update={"threshold": 0.01, "removal": True}), open_data(workspace.folder), run)
    run.close()
    assert seen[1]["train_0"] > 0 and seen[2]["train_0"] == 0


# ---- training on from there


def test_a_run_goes_on_from_the_best_weights_of_its_parent(workspace, tmp_path):
    folder = tmp_path / "first"
    recipe = RECIPE.model_copy(update={"rounds": 1, "stage2": False})

    def finish(folder: Path, recipe: HybridRecipe) -> Checkpoint:
        run = Run(folder)
        run.describe(verb="train", method="hybrid_wsi", recipe=recipe.model_dump(mode="json"))
        checkpoint = train(recipe, open_data(workspace.folder), run)
        run.set_state("done")
        run.close()
        checkpoint.save(folder / CHECKPOINT)
        return checkpoint

    with pytest.raises(RunError, match="no run|not"):
        continued(folder)
    best = finish(folder, recipe)
    values = continued(folder)
    assert values["initial_checkpoint"] == str(folder / CHECKPOINT) and values["steps_initial"] == 1
    assert values["steps_round"] == 6 and parent_of(values) == folder
    assert "1 first steps instead of 4" in told(values, first_recipe(folder))
    correct_all_but_the_first(workspace)
    child = HybridRecipe.checked(values)
    model = training._Training(child, None, Run(), tmp_path_of(tmp_path)).model
    assert all((value == best.tensors[f"patch.{name}"]).all() for name, value in model.state_dict().items())
    found = finish(tmp_path / "second", child)
    assert {e["name"] for e in found.header["corrections"]["0"]} == {"train_0", "train_1", "outlined_5"}
    again = continued(tmp_path / "second")
    assert again["steps_initial"] == 1 and first_recipe(tmp_path / "second")["steps_initial"] == 4
    before, after = (read_snapshot(tmp_path / n / "snapshots" / "round_0.json") for n in ("first", "second"))
    assert before.hash != after.hash


def tmp_path_of(folder: Path) -> Path:
    made = folder / "scratch"
    made.mkdir()
    return made


def test_epochs_are_cut_where_there_are_no_steps(tmp_path):
    from opsin.engine.continuing import fewer_steps

    assert fewer_steps({"steps_initial": None, "initial_epochs": 3.0}) == {"initial_epochs": 0.75}
    assert fewer_steps({"steps_initial": 80, "initial_epochs": 3.0}) == {"steps_initial": 20}
    assert "0.75 first epochs instead of 3" in told({"initial_epochs": 0.75}, {"initial_epochs": 3.0})
    assert parent_of({"initial_checkpoint": str(tmp_path / "gone.safetensors")}) is None
