"""Augmentation: the same draw gives the same crop, image and target move together, limits are kept."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from opsin.engine.methods.hybrid_wsi.augment import (
    augment,
    brightness,
    contrast,
    recoloured,
    sharpness,
    window_in,
)
from opsin.engine.methods.hybrid_wsi.losses import IGNORED, pixel_loss


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(30, 226, (16, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC))


def test_the_same_generator_gives_the_same_example(picture):
    target = (picture[..., 0] > 128).astype(np.float32)
    first = augment(np.random.default_rng(5), picture, target, 96, colour=True)
    second = augment(np.random.default_rng(5), picture, target, 96, colour=True)
    other = augment(np.random.default_rng(6), picture, target, 96, colour=True)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert not np.array_equal(first[0], other[0])


def test_image_and_target_are_turned_together_and_values_kept(picture):
    target = picture[..., 1].astype(np.float32) / 255
    seen = set()
    for seed in range(60):
        image, moved = augment(np.random.default_rng(seed), picture, target, 128, colour=False)
        assert image.shape == (3, 128, 128) and image.dtype == np.float32 and moved.dtype == np.float32
        np.testing.assert_allclose(image[1], moved, atol=1e-6)
        seen.add(moved.tobytes())
    assert len(seen) == 8  # the eight positions of a square, nothing else


def test_nearest_target_invents_no_value(picture):
    target = np.where(picture[..., 0] > 128, 1.0, IGNORED).astype(np.float32)
    _, moved = augment(np.random.default_rng(1), picture, target, 200, colour=False)
    assert set(np.unique(moved)) == {1.0, IGNORED}


def test_windows_lie_inside_and_have_all_sizes():
    rng = np.random.default_rng(0)
    found = np.array([window_in(rng, 1500, 1024, 1024, 384) for _ in range(3000)])
    x, y, side = found.T
    assert side.min() < 390 and side.max() > 1018
    assert (x >= 0).all() and (x + side <= 1500).all() and (y >= 0).all() and (y + side <= 1024).all()
    assert x.max() > 900 and (x + side > 1480).any()
    assert window_in(rng, 64, 64, 64, 64) == (0, 0, 64)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_enhancement_agrees_with_pillow(picture, factor):
    image = Image.fromarray(picture)
    for ours, theirs in (
        (brightness, ImageEnhance.Brightness),
        (contrast, ImageEnhance.Contrast),
        (sharpness, ImageEnhance.Sharpness),
    ):
        expected = np.asarray(theirs(image).enhance(factor)).astype(int)
        # Pillow leaves the outermost pixels unsmoothed, truncates, and rounds the grey of each pixel
        difference = np.abs(ours(picture, factor).astype(int) - expected)[1:-1, 1:-1]
        assert difference.max() <= 2, (ours.__name__, difference.max())


def test_colours_change_but_stay_near(picture):
    means = np.array([recoloured(np.random.default_rng(s), picture).mean((0, 1)) for s in range(200)])
    plain = picture.mean((0, 1))
    assert means.std(0).min() > 10
    assert np.abs(means.mean(0) - plain).max() < 25


def test_loss_is_the_mean_over_the_pixels_that_count():
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    target = torch.rand(2, 8, 8)
    target[0, :4] = IGNORED
    kept = target >= 0
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0][kept], target[kept])
    loss = pixel_loss(logits, target)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (logits.grad[0, 0, :4] == 0).all() and (logits.grad[0, 0, 4:] != 0).all()


def test_loss_of_nothing_is_zero_and_changes_nothing():
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = pixel_loss(logits, torch.full((1, 4, 4), IGNORED))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()
