"""The patch networks, their weights in and out, and what a recipe may say. The golden compares the outputs."""

import math
import sys
from subprocess import run

import pytest
import torch
from pydantic import ValidationError

from opsin.engine.checkpoints import Checkpoint
from opsin.engine.errors import CheckpointError, RecipeError
from opsin.engine.method import get_method, method_names
from opsin.engine.methods.hybrid_wsi.model import DLA34Up, UNet, build, for_inference
from opsin.engine.methods.hybrid_wsi.published import DEAD, import_published, load_imagenet, load_initial, pack, unpack
from opsin.engine.methods.hybrid_wsi.settings import HybridOptions, HybridRecipe
from opsin.engine.methods.hybrid_wsi.stage2 import TileClassifier

TINY = HybridRecipe(network="unet", width=4)


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(1)
    return DLA34Up().eval()


def test_size_and_shapes_are_the_published_ones(published):
    assert sum(p.numel() for p in published.parameters()) == 17_539_537
    x = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        levels = published.base(x)
        assert [tuple(v.shape[1:]) for v in levels] == [
            (16, 64, 96), (32, 32, 48), (64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3),
        ]  # fmt: skip
        assert published(x).shape == (1, 1, 64, 96) and published.coarse(x).shape == (1, 1, 32, 48)


def test_initialisation_is_that_of_the_card(published):
    conv = published.base.level4.tree2.tree1.conv1.weight
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.01)
    up = published.dla_up.ida_2.up_3.weight
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(up[5, 0], torch.outer(line, line)) and up.requires_grad
    assert published.fc[0].bias.item() == 0
    plane = torch.ones(1, 64, 6, 6)
    raised = published.dla_up.ida_2.up_3(plane)
    assert torch.allclose(raised[..., 1:-1, 1:-1], torch.ones(())), "bilinear weights keep a constant"


@pytest.mark.parametrize("recipe", [TINY, HybridRecipe()])
def test_folding_batch_norms_changes_nothing_but_the_time(recipe):
    torch.manual_seed(0)
    model = build(recipe)
    model.train()
    with torch.no_grad():
        model(torch.rand(2, 3, 64, 64))  # batch norms that are not trivial
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    x = torch.rand(1, 3, 64, 96)
    folded = for_inference(model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(folded.coarse(x), model.coarse(x), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.features(x).shape[1] == model.feature_channels


def test_checkpoint_brings_back_both_networks(tmp_path):
    torch.manual_seed(0)
    patch = UNet(4)
    slide = TileClassifier(patch)
    pack(TINY, patch, slide, round=2).save(tmp_path / "a.safetensors")
    state = torch.random.get_rng_state()
    again = unpack(Checkpoint.load(tmp_path / "a.safetensors", "hybrid_wsi"))
    assert torch.equal(state, torch.random.get_rng_state()), "reading a checkpoint draws no random numbers"
    assert again.recipe == TINY and again.header["round"] == 2 and not again.patch.training
    for ours, theirs in ((patch, again.patch), (slide, again.slide)):
        assert all(torch.equal(v, theirs.state_dict()[n]) for n, v in ours.state_dict().items())
    other = UNet(4)
    load_initial(other, tmp_path / "a.safetensors")
    assert torch.equal(other.fc.weight, patch.fc.weight)
    with pytest.raises(CheckpointError, match="wants"):
        load_initial(UNet(8), tmp_path / "a.safetensors")


def test_a_training_starts_from_a_run_folder_or_a_checkpoint_of_any_name(tmp_path):
    patch = UNet(4)
    run = tmp_path / "run"
    checkpoint = pack(TINY, patch, None)
    checkpoint.save(run / "checkpoints" / "final.safetensors")
    checkpoint.save(tmp_path / "imported.pth")
    for path in (run, tmp_path / "imported.pth"):
        other = UNet(4)
        load_initial(other, path)
        assert torch.equal(other.fc.weight, patch.fc.weight)
    with pytest.raises(CheckpointError, match="checkpoints holds no finished training"):
        load_initial(UNet(4), run / "checkpoints")


def test_dead_entries_are_accepted_and_anything_else_is_not(published, tmp_path):
    weights = dict(published.state_dict())
    assert not any(name.startswith(DEAD) for name in weights)
    dead = {"base.fc.weight": torch.zeros(1000, 512, 1, 1), "base.level3.project.0.weight": torch.zeros(128, 64, 1, 1)}
    torch.save({"state_dict": {f"module.{k}": v for k, v in (weights | dead).items()}}, tmp_path / "a.pth.tar")
    found = unpack(import_published(tmp_path / "a.pth.tar"))
    assert torch.equal(found.patch.fc[0].weight, published.fc[0].weight) and found.slide is None
    torch.save({"state_dict": weights | {"base.level7.0.weight": torch.zeros(1)}}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="b.pth has the unknown weight 'base.level7.0.weight'"):
        import_published(tmp_path / "b.pth")
    weights.pop("fc.0.bias")
    torch.save({"state_dict": weights}, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="c.pth lacks weight 'fc.0.bias'"):
        import_published(tmp_path / "c.pth")


def test_backbone_starts_from_imagenet_weights(published, tmp_path):
    weights = dict(published.base.state_dict()) | {
        "fc.weight": torch.zeros(1000, 512, 1, 1),
        "fc.bias": torch.zeros(1000),
    }
    torch.save(weights, tmp_path / "dla34-ba72cf86.pth")
    model = DLA34Up()
    load_imagenet(model, tmp_path / "dla34-ba72cf86.pth")
    for name, value in published.base.state_dict().items():
        assert torch.equal(value, model.base.state_dict()[name]), name
    with pytest.raises(CheckpointError, match="for the network 'dla34'"):
        load_imagenet(UNet(4), tmp_path / "dla34-ba72cf86.pth")


def test_presets_are_valid_and_the_published_one_is_the_default():
    method = get_method("hybrid_wsi")
    assert "hybrid_wsi" in method_names() and method.presets() == ["paper", "workstation", "quick", "tiny"]
    assert method.recipe("paper") == HybridRecipe()
    assert method.recipe("workstation").network == "dla34" and method.recipe("tiny").tile == 64


def test_every_setting_says_what_it_is():
    for model in (HybridRecipe, HybridOptions):
        for name, field in model.model_fields.items():
            assert field.title and field.description and field.description.endswith("."), name


def test_settings_refuse_what_makes_no_sense():
    with pytest.raises(RecipeError, match="'tile' is 100"):
        HybridRecipe.checked({"tile": 100})
    with pytest.raises(ValidationError, match="two baselines"):
        HybridRecipe(pixel_labels_only=True, self_training=True)
    with pytest.raises(ValidationError, match="power of two"):
        HybridOptions(base=3)
    assert HybridRecipe(removal=False).tile_threshold == 0 and HybridRecipe().tile_threshold == 0.4


def test_method_and_settings_load_no_torch():
    code = "import sys, opsin.engine.method as m; m.get_method('hybrid_wsi').recipe('quick'); print('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
