"""The made world of the small-scale proof, and that the proof's plumbing holds."""

import numpy as np
import pytest

from opsin.engine.methods.hybrid_wsi.made import ArraySlide, MadeSlides, make_slide
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe

from ..benchmarks import proof_hybrid


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> MadeSlides:
    return MadeSlides(1, tmp_path_factory.mktemp("made"), weak=10, test=5)


def test_the_sets_have_the_sizes_of_the_card(world):
    outlined = [s for s in world.samples if s.outlined]
    assert [s.label for s in outlined] == [1] * 8 + [0] * 4
    weak = [s for s in world.samples if s.trains and not s.outlined]
    assert [s.label for s in weak] == [1] * 10 + [0] * 10 and all(s.labels is None for s in weak)
    assert [s.label for s in world.testing] == [1] * 5 + [0] * 5
    assert all(s.truth.any() == bool(s.label) for s in world.samples)


def test_outlines_are_the_truth(world):
    sample = world.samples[0]
    with sample.open_labels() as labels:
        assert np.array_equal(labels.region(0, 0, 0, 256, 256) == 1, sample.truth)


def test_the_same_seed_makes_the_same_world(world, tmp_path):
    again = MadeSlides(1, tmp_path, weak=10, test=5)
    other = MadeSlides(2, tmp_path / "other", weak=10, test=5)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(world.samples, again.samples))
    assert not np.array_equal(world.samples[0].pixels, other.samples[0].pixels)


def test_the_background_has_the_colour_and_the_noise_of_the_card():
    pictures = np.stack([make_slide(np.random.default_rng(s), None, False)[0] for s in range(20)]).astype(float)
    middle = np.median(pictures.reshape(-1, 3), axis=0)
    np.testing.assert_allclose(middle, (225, 180, 205), atol=8)
    fine = pictures[:, :, 1:] - pictures[:, :, :-1]
    noise = np.median(np.abs(fine[..., 1])) / 0.6745 / np.sqrt(2)
    assert 5.5 < noise < 7


@pytest.mark.parametrize(("lesion", "share"), [("A", (0.01, 0.13)), ("B", (0.006, 0.07))])
def test_lesions_are_darker_and_of_the_right_size(lesion, share):
    made = [make_slide(np.random.default_rng(s), lesion, False) for s in range(30)]
    area = np.mean([truth.mean() for _, truth in made])
    assert share[0] < area < share[1]
    inside = np.mean([picture[truth].mean() for picture, truth in made])
    outside = np.mean([picture[~truth].mean() for picture, truth in made])
    assert inside < outside - 10


def test_look_alikes_are_no_lesions_but_as_dark():
    made = [make_slide(np.random.default_rng(s), None, True) for s in range(20)]
    plain = [make_slide(np.random.default_rng(s), None, False) for s in range(20)]
    assert not any(truth.any() for _, truth in made)
    assert np.mean([p.mean() for p, _ in made]) < np.mean([p.mean() for p, _ in plain]) - 2


def test_an_array_is_read_like_a_slide():
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    with ArraySlide(pixels) as slide:
        assert (slide.width, slide.height) == (70, 50)
        assert np.array_equal(slide.read_scaled(10, 20, 30, 25, 1.0), pixels[20:45, 10:40])
        outside = slide.read(0, -5, -5, 10, 10)
        assert (outside[:5] == 255).all() and np.array_equal(outside[5:, 5:], pixels[:5, :5])


@pytest.mark.parametrize("variant", list(proof_hybrid.VARIANTS))
def test_every_variant_of_the_proof_runs(variant):
    small = HybridRecipe.model_validate(
        proof_hybrid.RECIPE.model_dump()
        | {"steps_initial": 2, "steps_round": 2, "rounds": 1, "width": 4, "batch_size": 4}
    )
    found = proof_hybrid.measure(proof_hybrid.recipe_of(1, variant, small), weak=2, test=3)
    assert set(found) == set(proof_hybrid.METRICS)
    assert all(0 <= value <= 1 for value in found.values())


def test_the_proof_uses_the_cards_settings():
    recipe = proof_hybrid.RECIPE
    assert (recipe.steps_initial, recipe.steps_round, recipe.rounds, recipe.batch_size) == (150, 150, 3, 16)
    assert (recipe.network, recipe.width, recipe.tile, recipe.threshold, recipe.reweighting) == (
        "unet",
        8,
        64,
        0.4,
        4.0,
    )
    assert (recipe.negative_upto, recipe.positive_upto, recipe.learning_rate) == (40, 50, 1e-3)
