"""Losses, warps, features and metrics of LIFE: what the golden does not reach."""

import numpy as np
import pytest
import torch

from opsin.engine.geometry.epipolar import fundamental
from opsin.engine.geometry.homography import homography_flow
from opsin.engine.methods.life import losses, warps
from opsin.engine.methods.life.matching import Features, at, guided, sift, unguided
from opsin.engine.methods.life.samples import fitted_flow
from opsin.engine.methods.life.train import learning_rate
from opsin.engine.metrics.flow import (
    FlowScores,
    area_under_curve,
    corner_error,
    homography_accuracy,
    matching_accuracy,
    sparse_pck,
)  # fmt: skip

from .test_flow_geometry import views


def _plane_flow(a, b, depth=4.0):
    """Flow of a plane in front of the first camera, float64 [1, 2, H, W]."""
    y, x = np.mgrid[: a.height, : a.width]
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(a.intrinsics).T
    world = (rays * depth - a.translation) @ a.rotation
    seen = (world @ b.rotation.T + b.translation) @ b.intrinsics.T
    return torch.from_numpy(seen[..., :2] / seen[..., 2:] - np.stack([x, y], -1)).permute(2, 0, 1)[None]


def test_true_flow_has_no_epipolar_distance_and_the_turned_matrix_is_for_the_way_back():
    a, b = (v.resized(64, 48) for v in views())
    matrix = torch.from_numpy(fundamental(a, b))[None]
    flow = _plane_flow(a, b)
    assert float(losses.epipolar_loss(flow, matrix)) < 1e-3
    assert float(losses.epipolar_loss(flow, matrix.transpose(1, 2))) > 0.5
    moved = flow + torch.tensor([0.0, 3.0]).view(1, 2, 1, 1)
    assert float(losses.epipolar_loss(moved, matrix)) > 1
    assert float(losses.epipolar_loss(moved, matrix, form="sum")) > float(losses.epipolar_loss(moved, matrix))
    # an unscaled matrix of small numbers fades with the published epsilon and not with ours
    faint = matrix * 1e-5
    kept = losses.epipolar_loss(moved, matrix)
    assert float(losses.epipolar_loss(moved, faint, eps=losses.PUBLISHED_EPS)) < 0.5 * float(kept)


def test_no_epipolar_distance_exceeds_the_clamp_and_beyond_it_nothing_pulls():
    a, b = (v.resized(64, 48) for v in views())
    matrix = torch.from_numpy(fundamental(a, b)).float()[None].expand(3, 3, 3)
    flow = (_plane_flow(a, b).float() + 1e4).expand(3, -1, -1, -1).clone().requires_grad_()
    loss = losses.epipolar_loss(flow, matrix)
    assert float(loss.detach()) == losses.CLAMP
    assert float(torch.autograd.grad(loss, flow)[0].abs().max()) == 0
    still = torch.zeros(1, 2, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.epipolar_loss(still, torch.zeros(1, 3, 3)), still)
    assert torch.isfinite(gradient).all()


def test_losses_of_a_batch_are_the_mean_of_its_samples():
    torch.manual_seed(0)
    flow, target = torch.randn(2, 3, 2, 8, 9)
    matrix, known = torch.randn(3, 3, 3), torch.rand(3, 8, 9) > 0.3
    for loss in (
        lambda i: losses.epipolar_loss(flow[i], matrix[i]),
        lambda i: losses.sequence_loss(flow[i], target[i], known[i]),
    ):
        each = [float(loss(slice(n, n + 1))) for n in range(3)]
        assert float(loss(slice(None))) == pytest.approx(np.mean(each), rel=1e-5)


def test_supervised_loss_leaves_out_what_is_unknown_or_goes_far():
    flow = torch.zeros(1, 2, 4, 4)
    target, known = torch.full_like(flow, 2.0), torch.ones(1, 4, 4, dtype=torch.bool)
    target[0, :, 0, 0] = torch.nan
    known[0, 0, 0] = False
    target[0, :, 1, 1] = 500
    assert float(losses.sequence_loss(flow, target, known)) == pytest.approx(2 * 14 / 16)
    assert float(losses.warp_loss(flow, target.clamp(max=2), known)) == pytest.approx(4)
    weighted = losses.over_iterations([flow, flow], lambda f: losses.warp_loss(f, target.clamp(max=2), known))
    assert float(weighted) == pytest.approx(4 * 1.8)


def test_cycle_counts_where_both_ways_are_known():
    there = torch.zeros(1, 2, 20, 30)
    there[:, 0] = 4
    back = -there
    assert float(losses.cycle_loss(there, back)) < 1e-3
    error, on = losses.cycle_error(there, back + 1)
    assert on.sum() == 20 * 26 and float(error[on].mean()) == pytest.approx(2**0.5, rel=1e-3)
    assert float(losses.cycle_loss(there, -there + 50)) == 0  # too far off to be the same place


def test_photometric_loss_is_least_at_the_true_flow():
    torch.manual_seed(0)
    first = torch.rand(1, 3, 16, 24) * 255
    second = torch.roll(first, 3, 3)
    flow = torch.zeros(1, 2, 16, 24)
    flow[:, 0] = 3
    assert float(losses.photometric_loss(flow, first, second)) < 0.01
    assert float(losses.photometric_loss(flow + 1, first, second)) > 0.1


@pytest.mark.parametrize("seed", range(6))
def test_warped_pair_is_right_both_ways(seed):
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    image = torch.stack([x, y, torch.zeros_like(x)])  # a picture that holds its own coordinates
    grid = warps.random_grid(60, 80, generator, 0.3)
    warped, forth, forth_known, back, back_known = warps.warped_pair(image, image - 500, grid)
    assert forth_known.float().mean() > 0.2 and back_known.float().mean() > 0.2
    read = warped[:2] - torch.stack([x, y])
    assert float((read - back).abs().amax(0)[back_known].max()) < 1e-2
    places = torch.stack([x, y])[None] + forth[None]
    returned = losses.sampled(warped[None], places)[0, :2]
    error = (returned - image[:2]).norm(dim=0)[forth_known]
    assert float(error.quantile(0.85)) < 0.01  # but at edges, where the background is mixed in
    again = warps.random_grid(60, 80, torch.Generator().manual_seed(seed), 0.3)
    assert torch.equal(again, grid)


def test_rate_rises_then_falls():
    rates = [learning_rate(step, 1000, 1e-3) for step in range(1000)]
    assert rates[0] == pytest.approx(4e-5) and max(rates) == rates[50] == 1e-3 and 0 < rates[-1] < 2e-6
    assert rates[:51] == sorted(rates[:51]) and rates[50:] == sorted(rates[50:], reverse=True)


def test_resized_flow_is_scaled():
    flow = np.zeros((8, 12, 2), np.float32)
    flow[:, :6], flow[:, 6:] = (4, 2), (8, -6)
    small, known = fitted_flow(flow, np.ones((8, 12), bool), 4, 4)
    assert small[0, 0].tolist() == pytest.approx([4 / 3, 1]) and small[3, 3].tolist() == pytest.approx([8 / 3, -3])
    assert known.all() and known.shape == (4, 4)


def test_a_guide_finds_what_repeats():
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(30, 200, 20), np.arange(30, 150, 20)), -1).reshape(-1, 2).astype(float)
    same = rng.random((1, 16)) + rng.normal(0, 1e-3, (len(places), 16))
    first = Features(places, same.astype(np.float32))
    second = Features(places + (7, 3), (same[:1] + rng.normal(0, 1e-3, same.shape)).astype(np.float32))
    flow = np.full((160, 220, 2), (7.0, 3.0), np.float32)
    alone = unguided(first, second)  # everything looks alike
    assert np.isclose(alone.second - alone.first, (7, 3)).all(1).sum() < 0.2 * len(places)
    found = guided(first, second, flow, -flow)
    assert len(found) == len(places) and np.allclose(found.second - found.first, (7, 3))
    assert len(guided(first, second, flow, flow)) == 0  # there and back disagree
    nothing = Features(np.zeros((0, 2)), np.zeros((0, 16), np.float32))
    assert len(guided(nothing, second, flow, -flow)) == len(unguided(first, nothing)) == 0
    grey = np.full((40, 40, 3), 7, np.uint8)
    assert len(sift(grey).points) == 0


def test_reading_between_pixels():
    y, x = np.mgrid[:10, :12]
    flow = np.stack([x, y], -1).astype(float)
    assert np.allclose(at(flow, np.array([[3.25, 4.5], [99.0, -5.0]])), [[3.25, 4.5], [11, 0]])


def test_metrics_by_hand():
    scores = FlowScores()
    truth = np.zeros((1, 4, 2))
    truth[0, 3] = (100, 0)
    found = truth + np.array([[[0.5, 0], [2, 0], [4, 0], [4, 0]]])
    assert scores.add(found, truth) == pytest.approx(2.625)
    assert (scores.fl, scores.pck(1), scores.pck(3), scores.pck(5)) == (25, 0.25, 0.5, 1)
    truth[0, 0] = np.nan
    assert FlowScores().add(found, truth) == pytest.approx(10 / 3)
    assert FlowScores().add(found, np.full_like(truth, np.nan)) is None and FlowScores().metrics()["EPE"] is None
    assert sparse_pck([np.array([0.5, 4]), np.array([9.0, 9])], (1, 5)) == {"PCK at 1 px": 0.25, "PCK at 5 px": 0.5}
    moved = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
    assert corner_error(np.eye(3), moved, 50, 60) == pytest.approx(2) and corner_error(None, moved, 5, 5) == np.inf
    assert homography_accuracy([2, np.inf], (1, 3)) == {"homography within 1 px": 0, "homography within 3 px": 0.5}
    points = np.array([[1.0, 1], [5, 5]])
    found_matches = matching_accuracy([(points, points + (2, 0), moved), (points[:0], points[:0], moved)], (1,))
    assert found_matches == {"MMA at 1 px": 0.5}
    assert area_under_curve([1.0, 30.0], (10,))[0] == pytest.approx((0.25 + 0.5 * 9) / 10)
    flow, _ = homography_flow(moved, 4, 4, (4, 4))
    assert (flow == (2, 0)).all()
