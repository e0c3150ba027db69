"""Hybrid supervision against the published implementation: network, tissue, tiles, targets, slide features, staging."""

import numpy as np
import pytest
import torch

from opsin.engine.checkpoints import Checkpoint
from opsin.engine.methods.hybrid_wsi.forest import heat_features, patient_stage
from opsin.engine.methods.hybrid_wsi.pseudo import pseudo_label
from opsin.engine.methods.hybrid_wsi.published import import_published, unpack
from opsin.engine.methods.hybrid_wsi.tissue import grid, tissue_mask

from .compare import Golden
from .fill import image

# What the golden chose and its json says only in words: strides of what was kept.
STRIDES = {"features": (8, 2), "level5": (8, 1), "ida_0": (8, 1), "ida_1": (8, 2)}
TOLERANCE = {
    "logits": 1e-6,
    "features": 5e-6,
    "level5": 5e-6,
    "ida_0": 5e-6,
    "ida_1": 5e-6,
    "level_mean": 5e-6,
    "level_std": 5e-6,
}


@pytest.fixture(scope="module")
def golden():
    return Golden("hybrid_wsi")


@pytest.fixture
def network(golden, tmp_path):
    def run(weights):
        path = tmp_path / "published.pth.tar"
        wrapped = {f"module.{name}": value for name, value in weights.items()}
        torch.save({"epoch": 1, "arch": "dla34up", "state_dict": wrapped, "best_prec1": 0.0}, path)
        model = unpack(import_published(path)).patch
        x = torch.from_numpy(image(golden.json["network_input"]["seed"], tuple(golden.json["network_input"]["shape"])))
        with torch.inference_mode():
            levels = model.base(x)
            up = model.dla_up
            first = up.ida_0(list(levels[4:]))
            second = up.ida_1([levels[3], levels[4], *first])
            found = {
                "logits": model.coarse(x),
                "features": up(levels[1:]),
                "level5": levels[5],
                "ida_0": first[-1],
                "ida_1": second[-1],
            }
            full = model(x)
        assert torch.equal(full[..., ::2, ::2], found["logits"]) and torch.equal(full[..., 1::2, 1::2], found["logits"])
        arrays = {name: value.numpy() for name, value in found.items()}
        for name, (channels, step) in STRIDES.items():
            arrays[name] = arrays[name][:, ::channels, ::step, ::step]
        arrays["level_mean"] = np.array([float(v.mean()) for v in levels])
        arrays["level_std"] = np.array([float(v.std(correction=0)) for v in levels])
        return arrays

    return run


def test_network(golden, network):
    worst = golden.compare(network(golden.weights()), TOLERANCE)
    print({name: f"{value:.1e}" for name, value in worst.items()})


def test_comparison_notices_one_changed_weight(golden, network):
    golden.must_fail(network, "base.level5.tree2.conv2.weight", TOLERANCE)


def test_checkpoint_keeps_the_network(golden, network, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": golden.weights()}, path)
    checkpoint = import_published(path)
    checkpoint.save(tmp_path / "a.safetensors")
    again = unpack(Checkpoint.load(tmp_path / "a.safetensors", "hybrid_wsi"))
    for name, value in unpack(checkpoint).patch.state_dict().items():
        assert torch.equal(value, again.patch.state_dict()[name]), name


def test_tissue_and_tiles(golden):
    facts = golden.json["thumbnail"]
    rows, columns = facts["rows_columns"]
    picture = (image(facts["seed"], (3, rows, columns)) * 255).astype(np.uint8).transpose(1, 2, 0)
    picture = np.clip(picture.astype(int) + 90, 0, 255).astype(np.uint8)
    picture[:6] = 0
    picture[90:200, 150:300] = 250
    mask = tissue_mask(picture)
    expected = np.unpackbits(golden.arrays["tissue_mask"])[: rows * columns].reshape(rows, columns).astype(bool)
    assert np.array_equal(mask, expected)
    width, height = facts["level0_width_height"]
    tiles = [(x, y) for x, y, _ in grid(mask, width, height, 1024, edges=False)]
    assert np.array_equal(np.array(tiles), golden.arrays["tiles"])
    with_edges = {(x, y) for x, y, _ in grid(mask, width, height, 1024)}
    assert set(tiles) < with_edges


@pytest.mark.parametrize("ours, theirs", [("fine", "finegrain"), ("positive", "pseudo"), ("negative", "neg")])
def test_pseudo_label_rule(golden, ours, theirs):
    target = pseudo_label(golden.arrays["label_in"], ours)
    assert np.abs(target - golden.arrays[f"target_{theirs}"]).max() <= 1e-6


def test_slide_features(golden):
    heat = golden.arrays["heat"]
    np.testing.assert_allclose(heat_features(heat), golden.arrays["heat_features"], rtol=1e-6)
    half = (heat * 0.5).astype(np.uint8)
    np.testing.assert_allclose(heat_features(half), golden.arrays["heat_features_empty"], rtol=1e-6)


def test_patient_stages(golden):
    assert [patient_stage(nodes) for nodes in golden.json["node_lists"]] == golden.arrays["stage_of"].tolist()
