"""Tracing: along pixel edges, tile by tile, and painting the outlines gives the same pixels again."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from opsin.engine.labels.classes import DEFAULT_CLASSES, LabelClass
from opsin.engine.labels.raster import raster_polygon
from opsin.engine.labels.store import LabelStore
from opsin.engine.labels.trace import heatmap_polygons, labels_to_outlines, trace
from opsin.engine.results import Heatmap
from opsin.engine.tiles import TILE, TilePyramid

ONE = np.arange(256) == 1


class Pixels:
    """The part of a pyramid that tracing reads, over an array: tiles without labels are absent."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = np.pad(pixels, [(0, -pixels.shape[0] % TILE), (0, -pixels.shape[1] % TILE)])

    def _part(self, row, column):
        if row < 0 or column < 0:
            return np.zeros((0, 0), np.uint8)
        return self.pixels[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]

    def keys(self, level):
        rows, columns = self.pixels.shape[0] // TILE, self.pixels.shape[1] // TILE
        return [(r, c) for r in range(rows) for c in range(columns) if self._part(r, c).any()]

    def uniform(self, level, row, column):
        part = self._part(row, column)
        return 0 if not part.size else int(part[0, 0]) if (part == part[0, 0]).all() else None

    def tile(self, level, row, column):
        return self._part(row, column)


def painted(regions, width, height):
    """The outlines painted with the label store's own rule."""
    mask = np.zeros((height, width), bool)
    for rings in regions:
        mask |= raster_polygon(rings, "evenodd", 0, 0, width, height)
    return mask


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 0.7, 0.95]), st.booleans())
def test_painting_the_outlines_gives_the_same_pixels(seed, share, blobs):
    rng = np.random.default_rng(seed)
    mask = np.zeros((600, 620), np.uint8)
    noise = rng.random((24, 30)) < share
    if blobs:
        noise = np.kron(noise[:8, :10], np.ones((3, 3), bool))
    mask[500:524, 495:525] = noise  # across the corner where four tiles meet
    regions = trace(Pixels(mask), ONE)
    assert np.array_equal(painted(regions, 620, 600), mask.astype(bool))
    for rings in regions:
        polygon = shapely.Polygon(rings[0], rings[1:])
        assert polygon.is_valid, "QuPath refuses a file with an invalid ring"
    assert sum(shapely.Polygon(r[0], r[1:]).area for r in regions) == mask.sum()


def test_regions_are_those_that_share_an_edge():
    mask = np.zeros((8, 8), np.uint8)
    mask[2, 2] = mask[3, 3] = 1
    mask[5:8, 5:8] = 1
    mask[6, 6] = 0
    regions = trace(Pixels(mask), ONE)
    assert sorted(len(rings) for rings in regions) == [1, 1, 2]
    hole = next(rings[1] for rings in regions if len(rings) == 2)
    assert sorted(map(tuple, hole.tolist())) == [(6, 6), (6, 7), (7, 6), (7, 7)]


def test_pixels_at_every_edge_of_a_tile_and_islands_in_holes():
    mask = np.zeros((1024, 1024), np.uint8)
    mask[0:1024, 0:1024] = 1
    mask[100:900, 100:900] = 0
    mask[511:513, 511:513] = 1
    mask[511, 300:700] = 1
    regions = trace(Pixels(mask), ONE)
    assert [len(rings) for rings in sorted(regions, key=len)] == [1, 2]
    assert np.array_equal(painted(regions, 1024, 1024), mask.astype(bool))


def test_corners_only_and_whole_tiles_by_their_border():
    mask = np.zeros((2048, 2048), np.uint8)
    mask[512:1536, 512:2048] = 1
    ((ring,),) = trace(Pixels(mask), ONE)
    assert sorted(map(tuple, ring.tolist())) == [(512, 512), (512, 1536), (2048, 512), (2048, 1536)]


def test_nothing_and_other_values_only():
    mask = np.full((40, 40), 2, np.uint8)
    assert trace(Pixels(mask), ONE) == []
    assert trace(Pixels(mask * 0), ONE) == []


def test_outlines_of_a_label_store_by_class(tmp_path):
    classes = [*DEFAULT_CLASSES, LabelClass(value=200, name="Vessel", color="#0072B2")]
    with LabelStore.create(tmp_path / "a.labels", 1500, 1200) as store:
        store.stroke([[500, 500], [1030, 520]], 40, 1)
        store.stroke([[700, 505]], 8, 200)
        outlines = labels_to_outlines(store, classes)
        areas = store.areas()
    assert [(o.class_name, o.color, len(o.rings)) for o in outlines] == [
        ("Tumour", DEFAULT_CLASSES[0].color, 2),
        ("Vessel", "#0072B2", 1),
    ]
    assert shapely.Polygon(outlines[0].rings[0], outlines[0].rings[1:]).area == areas[1]


def test_a_slide_of_gigapixels_is_traced_without_opening_it_up(tmp_path):
    with TilePyramid.create(tmp_path / "a.tiles", 200_000, 180_000) as pyramid:
        with pyramid.transaction():
            for row in range(100, 130):
                for column in range(100, 130):
                    pyramid.write(row, column, 1)
            pyramid.write(300, 300, np.eye(512, dtype=np.uint8))
        regions = trace(pyramid, ONE)
    assert len(regions) == 513
    assert max(shapely.Polygon(rings[0]).area for rings in regions) == (30 * 512) ** 2


@pytest.mark.parametrize(("threshold", "area"), [(0.5, 2), (100 / 254, 3), (0.0, 4)])
def test_heat_map_at_a_threshold(tmp_path, threshold, area):
    # 0 = not computed; value v means probability (v - 1) / 254; one pixel stands for 4 x 4 of the slide
    with TilePyramid.create(tmp_path / "a.heat", 2402, 2000, base=4, reduce="mean", meta={"kind": "heat"}) as pyramid:
        with pyramid.transaction():
            tile = np.zeros((512, 512), np.uint8)
            tile[10, 10:14] = [1, 101, 128, 255]
            pyramid.write(0, 0, tile)
            edge = np.zeros((512, 512), np.uint8)
            edge[3, 88] = 255  # the last column, only half of which lies on the slide
            pyramid.write(0, 1, edge)
    heatmap = Heatmap(tmp_path / "a.heat", threshold=threshold)
    left, right = sorted(heatmap_polygons(heatmap), key=lambda outline: outline.bounds[0])
    assert shapely.Polygon(left.rings[0]).area == area * 16
    assert left.bounds[2:] == (56, 44)
    assert right.bounds == (2400, 12, 2402, 16)
    assert left.class_name == "Tumor"
