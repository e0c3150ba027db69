"""Made slides: repeatable, outlines that hold what they say, and a giant one that is cheap."""

import numpy as np
import openslide
import pytest

from opsin.engine.data.slides import open_slide
from opsin.engine.labels.raster import raster_polygon
from opsin.engine.made_nuclei import NUCLEI, scatter
from opsin.engine.made_tissue import paint
from opsin.engine.samples import make_giant_slide, make_slides

SMALL = (1536, 1152)


def inside(outline: np.ndarray, width: int, height: int) -> np.ndarray:
    return raster_polygon([outline], "evenodd", 0, 0, width, height, 1)


def test_slides_are_pyramids_with_their_truth(tmp_path):
    made = make_slides(tmp_path, 4, 0, SMALL)
    assert [slide.label for slide in made] == ["positive", "negative", "positive", "negative"]
    assert [slide.path.name for slide in made] == [f"made_00{i}.svs" for i in range(4)]
    for slide in made:
        assert bool(slide.polygons) == (slide.label == "positive")
        assert len(slide.kinds) == len(slide.polygons) and set(slide.kinds) <= {"sheet", "nests"}
        for outline in slide.polygons + slide.look_alikes:
            assert outline.ndim == 2 and outline.shape[1] == 2
            assert (outline >= 0).all() and (outline <= SMALL).all()
        with open_slide(slide.path) as opened:
            assert (opened.width, opened.height) == SMALL
            assert (opened.mpp, opened.magnification, opened.vendor) == (0.5, 20, "aperio")
            assert len(opened.levels) == 2
    assert all(slide.look_alike for slide in made if slide.label == "negative")


def test_a_slide_depends_on_its_number_alone(tmp_path):
    together = make_slides(tmp_path / "a", 2, 6, (768, 640))
    alone = make_slides(tmp_path / "b", 1, 7, (768, 640))[0]
    assert together[1].path.read_bytes() == alone.path.read_bytes()
    assert together[0].path.read_bytes() != alone.path.read_bytes()


def test_lesions_are_dark_inside_their_outlines_and_do_not_overlap():
    """The strong purple of crowded nuclei lies within the outlines of lesions and look-alikes, and fills them."""
    width, height = SMALL
    tissue = paint(np.random.default_rng(3), width, height, 0.5, 2, 1)
    assert len(tissue.lesions) == 2 and len(tissue.look_alikes) == 1
    picture = tissue.picture.astype(int)
    purple = picture[..., 2] - picture[..., 0] > 25
    covered = np.zeros((height, width), int)
    for region in tissue.lesions:
        mask = inside(region.outline, width, height)
        covered += mask
        assert purple[mask].mean() > 0.25
    for region in tissue.look_alikes:
        covered += inside(region.outline, width, height)
    assert covered.max() == 1
    assert purple[covered == 0].mean() < 0.06


@pytest.mark.parametrize("kind", sorted(NUCLEI))
def test_nuclei_keep_their_size_in_micrometres(kind):
    """Their area is that of their radius in µm, and four times the pixels at half the µm per pixel."""

    def area(pixels_per_um: float) -> float:
        stain = np.zeros((900, 900), np.float32)
        places = np.mgrid[50:900:100, 50:900:100].reshape(2, -1).astype(float)
        scatter(stain, NUCLEI[kind], np.random.default_rng(1), *places, (1.0, 1.0), pixels_per_um)
        return float((stain > 0.4).sum()) / places.shape[1]

    small, large = NUCLEI[kind].radius
    assert 0.8 * np.pi * small**2 < area(2) / 4 < 1.25 * np.pi * large**2
    assert 3.3 < area(2) / area(1) < 4.8


def test_glass_surrounds_the_tissue():
    picture = paint(np.random.default_rng(8), *SMALL, 0.5, 1, 1).picture
    edge = np.concatenate([picture[:8].reshape(-1, 3), picture[-8:].reshape(-1, 3), picture[:, :8].reshape(-1, 3)])
    assert edge.min() > 225
    share = (picture.min(2) < 215).mean()
    assert 0.3 < share < 0.9


def test_impossible_sizes_say_so(tmp_path):
    with pytest.raises(ValueError, match="too small for a lesion"):
        make_slides(tmp_path, 1, 0, (40, 32))
    assert not list(tmp_path.iterdir())


def test_the_giant_slide_is_large_cheap_and_right(tmp_path):
    path = make_giant_slide(tmp_path / "giant.svs", 40_000, 30_000)
    assert path.stat().st_size < 20e6
    with open_slide(path) as slide, openslide.OpenSlide(str(path)) as other:
        assert (slide.width, slide.height, slide.mpp) == (40_000, 30_000, 0.5)
        assert other.properties["openslide.vendor"] == "aperio"
        assert [(level.width, level.height) for level in slide.levels] == list(other.level_dimensions)
        assert slide.levels[-1].downsample_x == 64
        for x, y in ((20_011, 15_007), (39_500, 29_600)):
            expected = np.asarray(other.read_region((x, y), 0, (300, 300)))[..., :3]
            width, height = min(300, 40_000 - x), min(300, 30_000 - y)
            assert np.array_equal(slide.read(0, x, y, width, height), expected[:height, :width])
        # the levels show the same places
        for number, level in enumerate(slide.levels):
            factor = round(level.downsample_y)
            got = slide.read(number, 16_384 // factor, 12_288 // factor, 4096 // factor, 4096 // factor)
            fine = slide.read(0, 16_384, 12_288, 4096, 4096)
            means = fine.reshape(4096 // factor, factor, 4096 // factor, factor, 3).mean((1, 3))
            assert np.abs(got - means).mean() < 6
