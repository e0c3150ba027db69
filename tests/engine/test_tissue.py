"""Tissue mask and tile grid beyond the golden: edges, small slides, scales, levels."""

import cv2
import numpy as np
import pytest

from opsin.engine.data.slides import Level
from opsin.engine.errors import SlideError
from opsin.engine.methods.hybrid_wsi.tissue import grey, grid, scale_of, slide_tissue, tissue_mask

from .test_heat import ArraySlide


class LayeredSlide(ArraySlide):
    """`ArraySlide` with reduced levels of the given factors; remembers what was read of which level."""

    def __init__(self, pixels, factors=(4, 16), mpp=None):
        super().__init__(pixels, mpp)
        self.arrays = [pixels]
        for factor in factors:
            height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
            self.arrays.append(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
            self.levels.append(Level(width, height, pixels.shape[1] / width, pixels.shape[0] / height, 256, 256))
        self.seen = {}

    def _pixels(self, level, x, y, width, height):
        self.seen[level] = max(self.seen.get(level, 0), width * height)
        return self.arrays[level][y : y + height, x : x + width]


def test_grey_is_opencvs_for_every_colour():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (500, 500, 3), np.uint8)
    assert np.array_equal(grey(colours), cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY))


def test_mask_closes_gaps_but_not_at_the_border_and_clears_padding():
    picture = np.full((40, 40, 3), 250, np.uint8)
    picture[10:20, 10:30] = 120
    picture[14, 10:30] = 250  # a gap of one pixel
    picture[0, 5] = 100  # a single dark pixel at the border must neither grow nor go
    picture[30:, 30:] = 0  # scanner padding
    mask = tissue_mask(picture)
    assert mask[10:20, 10:30].all() and mask.sum() == 200 + 1 and mask[0, 5]


@pytest.mark.parametrize(
    "width, height, size", [(5000, 4100, 1024), (1000, 3000, 1024), (700, 500, 1024), (3001, 2999, 333)]
)
@pytest.mark.parametrize("overlap", [0.0, 1 / 6, 0.5])
def test_grid_covers_every_place_and_stays_inside(width, height, size, overlap):
    mask = np.ones((max(1, height // 16), max(1, width // 16)), bool)
    tiles = grid(mask, width, height, size, overlap)
    covered = np.zeros((height, width), bool)
    for x, y, side in tiles:
        assert side == size and x >= 0 and y >= 0
        assert (x + side <= width or width < size) and (y + side <= height or height < size)
        covered[y : y + side, x : x + side] = True
    assert covered.all() and len(set(tiles)) == len(tiles)


def test_published_loop_leaves_the_edge_out_and_skips_small_slides():
    mask = np.ones((200, 300), bool)
    published = grid(mask, 4800, 3200, 1024, edges=False)
    assert max(x for x, _, _ in published) + 1024 < 4800
    assert grid(np.ones((30, 30), bool), 480, 480, 1024, edges=False) == []
    assert grid(np.ones((30, 30), bool), 480, 480, 1024) == [(0, 0, 1024)]
    assert grid(np.zeros((200, 300), bool), 4800, 3200, 1024) == []


def test_scale_follows_the_slides_resolution():
    assert scale_of(ArraySlide(np.zeros((4, 4, 3), np.uint8), 0.25), 0.25, 1024).size == 1024
    assert scale_of(ArraySlide(np.zeros((4, 4, 3), np.uint8), 0.5), 0.25, 1024).size == 512
    found = scale_of(ArraySlide(np.zeros((4, 4, 3), np.uint8), 0.243), 0.25, 1024)
    assert found.size == 1053 and found.downsample == pytest.approx(1053 / 1024) and found.warning is None
    as_it_is = scale_of(ArraySlide(np.zeros((4, 4, 3), np.uint8), 0.5), 0, 256)
    assert as_it_is.size == 256 and as_it_is.warning is None
    unknown = scale_of(ArraySlide(np.zeros((4, 4, 3), np.uint8)), 0.25, 256)
    assert unknown.size == 256 and "made.tif does not say its µm per pixel" in unknown.warning


@pytest.mark.parametrize("factors, level", [((4, 16), 2), ((2, 4, 8, 16, 32), 4), ((4, 13), 2), ((), 0)])
def test_tissue_comes_from_the_level_nearest_to_16(factors, level):
    pixels = np.full((1600, 2080, 3), 245, np.uint8)
    pixels[400:800, 320:960] = 130
    slide = LayeredSlide(pixels, factors)
    mask = slide_tissue(slide, 1024)
    assert set(slide.seen) == {level}
    ratio = mask.shape[1] / 2080
    assert 12 <= 1 / ratio <= 17
    rows, columns = np.nonzero(mask)
    assert abs(rows.min() / ratio - 400) <= 16 and abs(columns.max() / ratio - 960) <= 16
    small = slide_tissue(slide, 128)
    assert small.shape[0] >= 700, "small tiles need a finer mask"


@pytest.mark.parametrize("factors", [(4, 16), ()])
def test_unreadable_places_count_as_tissue_and_are_told(factors):
    """Whether the level of the mask is damaged, or the only one there is."""
    pixels = np.full((3072, 4096, 3), 245, np.uint8)
    pixels[:400, :400] = 130
    slide = LayeredSlide(pixels, factors)
    wanted, scale = slide_tissue(slide, 1024), 16
    level = len(factors)
    step = pixels.shape[1] // slide.levels[level].width
    bad = tuple(value // step for value in (2000, 1500, 2200, 1700))
    read = slide._pixels

    def damaged(at, x, y, width, height):
        if at == level and x < bad[2] and x + width > bad[0] and y < bad[3] and y + height > bad[1]:
            raise SlideError("made.tif: tile 77 cannot be read.")
        return read(at, x, y, width, height)

    slide._pixels = damaged
    said: list[str] = []
    mask = slide_tissue(slide, 1024, said.append)
    unknown = mask & ~wanted
    assert not (wanted & ~mask).any(), "the tissue that can be read is found as before"
    rows, columns = np.nonzero(unknown)
    assert unknown[1500 // scale : 1700 // scale, 2000 // scale : 2200 // scale].all()
    assert np.ptp(rows) < 100 and np.ptp(columns) < 100, "only near the damage"
    assert len(said) == 1 and "tile 77 cannot be read" in said[0]

    def broken(*_):
        raise SlideError("made.tif is cut off.")

    slide._pixels = broken
    with pytest.raises(SlideError, match="cut off"):
        slide_tissue(slide, 1024)


def test_real_slide_has_tissue_where_it_is_dark(data):
    from opsin.engine.data.slides import open_slide

    with open_slide(data / "wsi" / "slides" / "CMU-1-Small-Region.svs") as slide:
        mask = slide_tissue(slide)
        assert 0.3 < mask.mean() < 0.95
        tiles = grid(mask, slide.width, slide.height, 1024)
        assert {x for x, _, _ in tiles} >= {0, slide.width - 1024} and {y for _, y, _ in tiles} >= {
            0,
            slide.height - 1024,
        }
