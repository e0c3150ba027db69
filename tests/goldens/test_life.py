"""LIFE against the published implementation: network, wrapper, epipolar distance, warp grids, KITTI's metrics."""

import numpy as np
import pytest
import torch

from opsin.engine.methods.life.correlation import FullVolume, OnDemand
from opsin.engine.methods.life.estimate import estimate
from opsin.engine.methods.life.losses import CLAMP, PUBLISHED_EPS, epipolar_distance, epipolar_loss
from opsin.engine.methods.life.model import pixel_grid
from opsin.engine.methods.life.published import import_published, unpack
from opsin.engine.methods.life.warps import affine_grid, homography_grid, homography_of_corners, spline_grid
from opsin.engine.metrics.flow import FlowScores

from .compare import Golden
from .fill import image

FEATURES = {"fmap1": 1e-4, "cnet": 1e-4, "corr0": 1e-4}
FLOWS = {
    "low1": 2e-3, "up1": 2e-3, "low4": 2e-3, "low12": 2e-3, "up12": 2e-3, "low3_init": 2e-3,
    "estimate_same": 2e-3, "estimate_resized": 0.5,
}  # fmt: skip
TOLERANCE = {**FEATURES, **FLOWS}


def picture(seed, height, width):
    return torch.from_numpy(image(seed, (1, 3, height, width)) * 255)


def bytes_of(seed, height, width):
    return np.round(image(seed, (3, height, width)) * 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture(scope="module")
def golden():
    return Golden("life")


@pytest.fixture
def network(golden, tmp_path):
    def load(weights):
        path = tmp_path / "raft-things.pth"
        torch.save({f"module.{name}": value for name, value in weights.items()}, path)
        return unpack(import_published(path))

    return load


@torch.inference_mode()
def outputs(model, correlate=FullVolume, which=TOLERANCE):
    first, second = picture(11, 136, 168), picture(12, 136, 168)
    found = {}
    if "fmap1" in which:
        a, b = model.encode(first, context=True), model.encode(second, context=False)
        found["fmap1"] = a.features[:, ::32]
        found["cnet"] = model.cnet(2 * (first / 255) - 1)[:, ::32]
        found["corr0"] = correlate(a.features, b.features, 4, 4)(pixel_grid(a.features))[:, ::9]
    for count in (1, 4, 12):
        if f"low{count}" in which:
            low, (full,) = model(first, second, count, correlate=correlate)
            found |= {f"low{count}": low, f"up{count}": full[:, :, ::4, ::4]}
    if "low3_init" in which:
        start = torch.from_numpy(image(13, (1, 2, 17, 21)) * 8 - 4)
        found["low3_init"] = model(first, second, 3, start, correlate=correlate).low
    if "estimate_same" in which:
        settings = {"iterations": 4, "centred": False, "correlate": correlate}
        one = bytes_of(14, 130, 150)
        found["estimate_same"] = estimate(model, one, bytes_of(15, 130, 150), **settings)[:, :, ::3, ::3]
        found["estimate_resized"] = estimate(model, one, bytes_of(16, 141, 173), **settings)[:, :, ::3, ::3]
    return {name: value.numpy() for name, value in found.items()}


def test_network_and_wrapper(golden, network):
    worst = golden.compare(outputs(network(golden.weights())), TOLERANCE)
    print({name: f"{value:.1e}" for name, value in worst.items()})


def test_correlation_without_a_volume_passes_too(golden, network):
    fewer = {name: TOLERANCE[name] for name in ("fmap1", "cnet", "corr0", "low4")}
    golden.compare(outputs(network(golden.weights()), OnDemand, fewer), fewer)


def test_comparison_notices_one_changed_weight(golden, network):
    few = {"low1": 2e-3, "up1": 2e-3}
    for name in ("update_block.gru.convq2.weight", "update_block.mask.0.weight", "fnet.conv2.weight"):
        golden.must_fail(lambda w: outputs(network(w), which=few), name, few)


def test_of_a_norm_under_two_names_the_second_counts(golden, network):
    weights = golden.weights()
    for name in list(weights):
        if ".norm3." in name and name.startswith("cnet"):
            weights[name] = torch.full_like(weights[name], 3)
    few = {"cnet": 1e-4, "low1": 2e-3}
    few_and_features = {"fmap1": 1e-4, "corr0": 1e-4, **few}
    golden.compare(outputs(network(weights), which=few_and_features), few_and_features)
    only_second = {name: value for name, value in weights.items() if ".norm3." not in name}
    golden.compare(outputs(network(only_second), which=few_and_features), few_and_features)


def test_epipolar_distance(golden):
    flow = torch.from_numpy(image(17, (1, 2, 80, 104)) * 40 - 20)
    matrix = torch.from_numpy(golden.arrays["fundamental"])[None]
    distance = epipolar_distance(flow, matrix, eps=PUBLISHED_EPS)
    losses = [epipolar_loss(flow, m, eps=PUBLISHED_EPS) for m in (matrix, matrix.transpose(1, 2))]
    found = [*map(float, losses), float((distance > CLAMP).double().mean())]
    # the golden was computed in float32, whose places around column 100 are exact to 1e-5 px
    np.testing.assert_allclose(distance[0, ::3, ::3], golden.arrays["sed_map"], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(found, golden.arrays["sed_loss"], rtol=1e-5)
    assert abs(found[0] - found[1]) > 0.01 * found[0]


def test_warp_grids(golden):
    theta = {name: torch.from_numpy(golden.arrays[f"{name}_theta"]) for name in ("hom", "tps", "aff")}
    found = {
        "hom_matrix": homography_of_corners(theta["hom"]).reshape(1, 9),
        "hom_grid": homography_grid(theta["hom"], 60, 90)[::6, ::6],
        "tps_grid": spline_grid(theta["tps"], 60, 90)[::6, ::6],
        "aff_grid": affine_grid(theta["aff"], 60, 90)[::6, ::6],
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, golden.arrays[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_metrics_of_kitti(golden):
    scores = FlowScores()
    for seed in (40, 44, 48):
        truth = image(seed, (2, 40, 60)) * 160 - 80
        found = truth + image(seed + 1, (2, 40, 60)) * 12 - 6
        valid = image(seed + 2, (40, 60)) >= 0.5
        scores.add(found.transpose(1, 2, 0), truth.transpose(1, 2, 0), valid)
    np.testing.assert_allclose([scores.epe, scores.fl], golden.arrays["kitti"], rtol=1e-5)
