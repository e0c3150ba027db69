"""The rounds: resume equals not stopping, bit for bit; stop keeps; the switches do what they say; corrections enter."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from opsin.engine.checkpoints import Checkpoint, load_state
from opsin.engine.errors import RunError
from opsin.engine.labels.store import LabelStore
from opsin.engine.methods.hybrid_wsi import HybridWSI
from opsin.engine.methods.hybrid_wsi.data import Snapshot
from opsin.engine.methods.hybrid_wsi.made import MadeSlides
from opsin.engine.methods.hybrid_wsi.published import unpack
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.train import train
from opsin.engine.runs import Control, Run, read_lines
from opsin.engine.tiles import TilePyramid
from opsin.engine.verbs import execute

RECIPE = HybridRecipe(
    network="unet", width=4, mpp=0, tile=64, crop=64, crop_min=48, batch_size=4, steps_initial=5, steps_round=4, rounds=2,
    K=2, stage2_epochs=1, stage2_batch=2, seed=3,
)  # fmt: skip


class Few(MadeSlides):
    """Two outlined slides (one with tumour), two positive and two negative ones; nothing to test on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(1, folder, weak=2, test=0)
        self.samples = [s for s in self.samples if s.id in ("outlined_0", "outlined_11") or s.id.startswith("train")]


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Few:
    return Few(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory) -> tuple[Checkpoint, Path]:
    """A training that nobody disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    run = Run(folder)
    checkpoint = train(RECIPE, few, run)
    run.close()
    return checkpoint, folder


class Crash(Exception):
    """The process dies here."""


def interrupted(few: Few, folder: Path, after: int, stop: bool, recipe: HybridRecipe = RECIPE) -> Checkpoint | None:
    """Train until `after` reports, then stop as the user does, or die on the spot."""
    control, seen = Control(), 0

    def sink(event):
        nonlocal seen
        seen += event["event"] in ("metrics", "preview", "progress")
        if seen == after:
            seen += 1
            if stop:
                control.stop()
            else:
                raise Crash

    run = Run(folder, sink, control)
    try:
        return train(recipe, few, run)
    except Crash:
        return None
    finally:
        run.close()


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return a.tensors.keys() == b.tensors.keys() and all(torch.equal(v, b.tensors[k]) for k, v in a.tensors.items())


def test_a_finished_training_leaves_everything(whole):
    checkpoint, folder = whole
    assert any(k.startswith("patch.") for k in checkpoint.tensors)
    assert any(k.startswith("slide.") for k in checkpoint.tensors)
    assert (folder / "model_card.md").read_text().startswith("---")
    losses = checkpoint.header["stage2_losses"]
    assert set(losses) == {"1", "2"}
    assert checkpoint.header["round"] == min((1, 2), key=lambda r: losses[str(r)])
    for round in (1, 2):
        table = json.loads((folder / f"tile_maxima_round_{round}.json").read_text())
        assert sum(table["positive"]) > 0 and sum(table["negative"]) > 0
        assert len(table["bins"]) == len(table["positive"]) + 1


def test_the_pseudo_labels_of_each_round_are_shown(whole):
    events = read_lines(whole[1] / "events.jsonl")
    previews = [e for e in events if e["event"] == "preview"]
    assert {e["info"]["round"] for e in previews} == {1, 2}
    assert {e["name"] for e in previews} == {"pseudo labels, round 1", "pseudo labels, round 2"}
    assert all(e["kind"] == "Heatmap" for e in previews)
    with TilePyramid.open(Path(previews[0]["path"]), readonly=True) as heat:
        computed = heat.region(0, 0, 0, *heat.level_size(0)) > 0
        assert computed[8:-8, 8:-8].all()  # tiles cover the slide
        assert computed.mean() > 0.97  # at its border pale places, which no second tile sees, may be left out


@pytest.mark.parametrize(
    ("after", "stop"), [(2, True), (9, False), (14, True), (21, False), (27, False), (33, True), (38, True)]
)
def test_resumed_training_equals_uninterrupted_training(few, whole, tmp_path, after, stop):
    first = interrupted(few, tmp_path, after, stop)
    assert first is None or not same(first, whole[0])
    run = Run(tmp_path)
    assert same(train(RECIPE, few, run), whole[0])
    run.close()


def test_killed_again_and_again(few, whole, tmp_path):
    for after in (4, 3, 6, 5):
        interrupted(few, tmp_path, after, stop=False)
    run = Run(tmp_path)
    assert same(train(RECIPE, few, run), whole[0])
    run.close()


@pytest.mark.parametrize("after", [3, 15, 30])
def test_stop_and_keep_gives_a_usable_checkpoint(few, tmp_path, after):
    kept = interrupted(few, tmp_path / "run", after, stop=True)
    kept.save(tmp_path / "kept.safetensors")
    network = unpack(Checkpoint.load(tmp_path / "kept.safetensors", "hybrid_wsi")).patch
    assert torch.isfinite(network.eval()(torch.rand(1, 3, 64, 64))).all()


def stopped_in(few: Few, folder: Path, phase: str, recipe: HybridRecipe = RECIPE, steps: int = 2) -> Checkpoint | None:
    """Train until `steps` steps are made in a phase (0: as it begins), then stop as the user does."""
    control, at, made = Control(), "", 0

    def sink(event):
        nonlocal at, made
        if event["event"] == "phase":
            at, made = event["name"], 0
        made += event["event"] == "metrics" and "loss" in event["values"]
        if at.startswith(phase) and made == steps:
            control.stop()

    run = Run(folder, sink, control)
    try:
        return train(recipe, few, run)
    finally:
        run.close()


@pytest.mark.parametrize(("round", "select"), [(0, True), (1, True), (2, False)])
def test_a_checkpoint_of_a_stopped_round_says_so(few, tmp_path, round, select):
    recipe = RECIPE.model_copy(update={"select_round": select})
    kept = stopped_in(few, tmp_path, f"round {round}: training", recipe)
    step = kept.header["step"]
    assert kept.header["round"] == round and 0 < step < kept.header["steps"]
    state = load_state(tmp_path / "checkpoints" / "state.safetensors")
    assert (state["round"], state["step"]) == (round, step)
    assert all(torch.equal(value, kept.tensors[f"patch.{name}"]) for name, value in state["model"].items())
    assert not any(name.startswith("slide.") for name in kept.tensors), "that of the round before does not belong to it"
    card = (tmp_path / "model_card.md").read_text()
    assert f"kept: round {round} of 2, stopped after step {step} of {kept.header['steps']}" in card


def test_stopped_between_rounds_the_finished_round_is_kept_with_its_classifier(few, tmp_path):
    recipe = RECIPE.model_copy(update={"select_round": False})
    kept = stopped_in(few, tmp_path, "round 2: E-step", recipe, steps=0)
    assert kept.header["round"] == 1 and "step" not in kept.header
    finished = Checkpoint.load(tmp_path / "checkpoints" / "round_1.safetensors", "hybrid_wsi")
    assert all(torch.equal(value, kept.tensors[name]) for name, value in finished.tensors.items())
    assert any(name.startswith("slide.") for name in kept.tensors)


def test_stopped_before_the_first_step_nothing_is_kept(few, tmp_path, monkeypatch):
    assert stopped_in(few, tmp_path / "run", "round 0: load", steps=0) is None
    assert not (tmp_path / "run" / "model_card.md").exists()
    monkeypatch.setattr(HybridWSI, "open", lambda self, path: few)
    control, events = Control(), []

    def sink(event):
        events.append(event)
        if event["event"] == "phase" and event["name"] == "round 0: load":
            control.stop()

    arguments = {"data": str(tmp_path), "run": str(tmp_path / "job"), "recipe": RECIPE.model_dump(mode="json")}
    job = {"id": "1", "verb": "train", "method": "hybrid_wsi", "arguments": arguments, "device": "cpu"}
    assert execute(job, sink, control) == "stopped"
    assert not (tmp_path / "job" / "checkpoints" / "final.safetensors").exists()
    assert any("no weights to keep" in e.get("text", "") for e in events)


@pytest.mark.parametrize("label", [0, 1])
def test_without_slides_of_both_labels_there_is_no_slide_classifier(few, tmp_path, label):
    alike = Few.__new__(Few)
    alike.folder = few.folder
    alike.samples = [replace(s, label=label) for s in few.samples]
    recipe, events = RECIPE.model_copy(update={"rounds": 1}), []
    run = Run(tmp_path, events.append)
    checkpoint = train(recipe, alike, run)
    run.close()
    assert not any(name.startswith("slide.") for name in checkpoint.tensors)
    assert checkpoint.header["stage2_losses"] == {} and checkpoint.header["round"] == 1
    (warning,) = [e["text"] for e in events if e["event"] == "message" and e["level"] == "warning"]
    assert warning.startswith("The slide classifier is not trained") and warning in checkpoint.header["problems"]
    again = train(recipe, alike, Run(tmp_path))  # it is read from what the run has left
    assert same(again, checkpoint) and again.header == checkpoint.header


def test_the_same_seed_gives_the_same_weights_and_another_does_not(few, whole):
    assert same(train(RECIPE, few, Run()), whole[0])
    assert not same(train(RECIPE.model_copy(update={"seed": 4}), few, Run()), whole[0])


def test_without_outlines_there_is_one_clear_sentence(few):
    bare = Few.__new__(Few)
    bare.samples = [s for s in few.samples if not s.outlined]
    with pytest.raises(RunError, match="No training slide is outlined"):
        train(RECIPE, bare, Run())


def steps(folder: Path) -> int:
    return sum("loss" in line for line in read_lines(folder / "metrics.jsonl"))


def test_outlines_only_takes_as_many_steps_as_all_rounds(few, whole, tmp_path):
    run = Run(tmp_path)
    checkpoint = train(RECIPE.model_copy(update={"supervision": "pixel_only"}), few, run)
    run.close()
    assert steps(tmp_path) == steps(whole[1]) == 5 + 2 * 4
    assert checkpoint.header["round"] == 0
    assert not list((tmp_path / "previews").glob("round_1/*"))


@pytest.mark.parametrize(
    "change",
    [
        {"reweighting": 1.0},
        {"hard_negatives": False},
        {"supervision": "self_training"},
        {"negative_upto": 10},
        {"positive_upto": 90},
        {"clip": 0.9},
        {"scale_augmentation": False},
        {"colour_augmentation": False},
        {"learning_rate": 1e-2},
        {"overlap": 0.5},
        {"steps_round": 3},
        {"batch_size": 3},
        {"crop_min": 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_switch_changes_what_is_learnt(few, change):
    base = RECIPE.model_copy(update={"stage2": False, "rounds": 1, "positive_upto": 80})
    plain, other = (train(r, few, Run()) for r in (base, base.model_copy(update=change)))
    assert not same(plain, other)


@pytest.mark.parametrize("change", [{"removal": False}, {"threshold": 0.2}], ids=["removal", "threshold"])
def test_tiles_below_the_threshold_are_removed(few, change):
    base = RECIPE.model_copy(update={"stage2": False, "rounds": 1, "threshold": 1.0})
    nothing = base.model_copy(update={"negative_upto": 0, "positive_upto": 0})
    removed, without, other = (train(r, few, Run()) for r in (base, nothing, base.model_copy(update=change)))
    assert not same(removed, other)
    # the share of an empty kind goes to the outlined tiles
    assert same(removed, without)


class WithBroken(Few):
    """A slide that cannot be opened among the others."""

    def snapshot(self, folder: Path, round: int) -> Snapshot:
        from opsin.engine.methods.hybrid_wsi.data import SlideSample

        found = super().snapshot(folder, round)
        broken = self.folder / "broken.svs"
        broken.write_bytes(bytes(range(256)))
        samples = [SlideSample("broken", broken, 1, "train", outlined=True, name="broken.svs"), *found.samples]
        return Snapshot(round, samples, found.states, found.hash)


def test_an_unreadable_slide_is_listed_and_the_others_train(tmp_path):
    run = Run(tmp_path / "run")
    checkpoint = train(RECIPE, WithBroken(tmp_path / "made"), run)
    run.close()
    assert any("broken.svs" in text for text in checkpoint.header["problems"])
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("warning: broken.svs is no slide") == 1
    assert steps(tmp_path / "run") == 13


def test_a_correction_made_meanwhile_enters_with_the_next_round(tmp_path):
    """What the user paints during round 0 is trained on in round 1, and the run keeps both versions."""
    from PIL import Image

    from opsin.engine.methods.hybrid_wsi.data import open_data
    from opsin.engine.workspace import Workspace

    made = Few(tmp_path / "made")
    paths = []
    for sample in made.samples:
        paths.append(tmp_path / f"{sample.id}.png")
        Image.fromarray(sample.pixels).save(paths[-1])
    with Workspace.create(tmp_path / "ws") as workspace:
        items = workspace.add(paths)
        for item, sample in zip(items, made.samples):
            workspace.update(item.id, label="positive" if sample.label else "negative", outlined=sample.outlined)
        store = workspace.labels(items[0])
        box = np.array([[40.0, 40], [200, 40], [200, 200], [40, 200]])
        store.polygon([box], 1)
        store.flush()
        before = store.content_hash()
        painted = False

        def sink(event):
            nonlocal painted
            if event["event"] == "metrics" and not painted:
                painted = True
                store.polygon([box / 2], 2)
                store.flush()

        run = Run(tmp_path / "run", sink)
        train(RECIPE.model_copy(update={"rounds": 1, "stage2": False}), open_data(tmp_path / "ws"), run)
        run.close()
        after = store.content_hash()
    assert before != after
    hashes = []
    for round in (0, 1):
        table = json.loads((tmp_path / "run" / "snapshots" / f"round_{round}.json").read_text())
        name = next(s["labels"] for s in table["samples"] if s["labels"])
        with LabelStore.open(tmp_path / "run" / "snapshots" / "labels" / name, readonly=True) as frozen:
            hashes.append(frozen.content_hash())
    assert hashes == [before, after]
    shutil.rmtree(tmp_path / "ws")  # the run is complete by itself
    assert (tmp_path / "run" / "snapshots" / "labels" / name).exists()


def test_outlined_slides_that_are_held_back_meanwhile_are_named_and_resume_sees_them_put_back(tmp_path):
    """The round that had nothing to learn from does not keep its snapshot: what is put right counts when it is resumed."""
    from PIL import Image

    from opsin.engine.methods.hybrid_wsi.data import open_data
    from opsin.engine.workspace import Workspace

    made = Few(tmp_path / "made")
    paths = []
    for sample in made.samples:
        paths.append(tmp_path / f"{sample.id}.png")
        Image.fromarray(sample.pixels).save(paths[-1])
    recipe = RECIPE.model_copy(update={"rounds": 1, "stage2": False})
    with Workspace.create(tmp_path / "ws") as workspace:
        items = workspace.add(paths)
        for item, sample in zip(items, made.samples):
            workspace.update(item.id, label="positive" if sample.label else "negative", outlined=sample.outlined)
        workspace.labels(items[0]).polygon([np.array([[40.0, 40], [200, 40], [200, 200], [40, 200]])], 1)
        workspace.flush()
        outlined = [item.id for item, sample in zip(items, made.samples) if sample.outlined]
        held = False

        def sink(event):
            nonlocal held
            if event["event"] == "metrics" and not held:  # in round 0
                held = True
                workspace.edit({id: {"split": "test"} for id in outlined})

        run = Run(tmp_path / "run", sink)
        with pytest.raises(RunError, match="put 'outlined_0' and 'outlined_11' back into training, then resume"):
            train(recipe, open_data(tmp_path / "ws"), run)
        run.close()
        workspace.edit({id: {"split": "train"} for id in outlined})
        run = Run(tmp_path / "run")
        assert train(recipe, open_data(tmp_path / "ws"), run) is not None
        run.close()
    assert (tmp_path / "run" / "snapshots" / "round_1.json").exists()
