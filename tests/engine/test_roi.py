"""Regions of interest: what lies outside counts nowhere. Each rule pixel by pixel."""

from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.marks import Mark
from opsin.engine.labels.roi import Region, counted_areas, inside
from opsin.engine.labels.store import LabelStore
from opsin.engine.labels.trace import labels_to_outlines
from opsin.engine.marked import MarkedRoles
from opsin.engine.methods.hybrid_wsi.data import SlideSample, class_states, open_data, read_snapshot
from opsin.engine.methods.hybrid_wsi.heat import SlideHeat, TileScore
from opsin.engine.methods.hybrid_wsi.losses import IGNORED
from opsin.engine.methods.hybrid_wsi.settings import HybridRecipe
from opsin.engine.methods.hybrid_wsi.tiles import EStep, Mix, Opened, Window, fine_windows, quantised
from opsin.engine.methods.hybrid_wsi.tissue import Scale
from opsin.engine.methods.hybrid_wsi.truth import add_pixels, detections
from opsin.engine.metrics.segmentation import Overlap
from opsin.engine.workspace import Workspace

from .test_heat import ArraySlide, PixelNetwork, heat_of, smooth
from .test_truth import heat_map

STATES = class_states(DEFAULT_CLASSES)
RECIPE = HybridRecipe(
    network="unet", width=4, mpp=0, tile=64, crop=64, crop_min=64, scale_augmentation=False, colour_augmentation=False,
    batch_size=4,
)  # fmt: skip
SIDE = 512
RING = ((100.0, 60.0), (300.0, 60.0), (300.0, 200.0), (180.0, 260.0), (100.0, 200.0))  # not along tiles
LEFT_OUT = ((120.0, 80.0), (150.0, 80.0), (150.0, 110.0), (120.0, 110.0))
REGION = Region([[np.array(RING), np.array(LEFT_OUT)]])
MASK = REGION.mask(0, 0, SIDE, SIDE)


def box(x0, y0, x1, y1):
    return [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)]


def painted(path, *, roi=True):
    """Tumour 80..220 x 80..220, normal 260..400 x 40..100, both half outside the region."""
    with closing(LabelStore.create(path, SIDE, SIDE)) as store:
        store.polygon(box(80, 80, 220, 220), 1)
        store.polygon(box(260, 40, 400, 100), 2)
        if roi:
            store.add_marks([Mark("roi", RING, (LEFT_OUT,))])
        store.flush()
    return path


LABELS = np.zeros((SIDE, SIDE), np.uint8)
LABELS[80:220, 80:220] = 1
LABELS[40:100, 260:400] = 2


def sample(tmp_path, **more):
    picture = tmp_path / "a.png"
    Image.fromarray(np.full((SIDE, SIDE, 3), (180, 120, 160), np.uint8)).save(picture)
    return SlideSample(id="a", path=picture, labels=painted(tmp_path / "a.labels"), **more)


# ---- training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outlined", [False, True])
@pytest.mark.parametrize("kind", ["fine", "negative", "self"])
def test_a_pixel_outside_is_never_trained_on(tmp_path, kind, outlined):
    one = sample(tmp_path, label=1, outlined=outlined)
    path = tmp_path / "e.npz"
    p = np.full((64, 64), 0.9, np.float32)
    EStep.save(path, SlideHeat([TileScore(0, 0, SIDE, 0.9, 0, 0)]), 0.5, {(0, 0): quantised(p)})
    mix = Mix(Opened([one], RECIPE), STATES, RECIPE, 1, {0: EStep.load(path)}, lambda _: None)
    for x, y in ((64.0, 32.0), (128.0, 160.0), (256.0, 64.0), (400.0, 300.0)):
        target = mix.target(kind, Window(0, 0, 0, SIDE, SIDE, 0), x, y, 64.0)
        here = MASK[int(y) : int(y) + 64, int(x) : int(x) + 64]
        labels = LABELS[int(y) : int(y) + 64, int(x) : int(x) + 64]
        assert (target[~here] == IGNORED).all()
        assert (target[here & (labels == 1)] == 1).all() and (target[here & (labels == 2)] == 0).all()
        rest = {"fine": 0 if outlined else IGNORED, "negative": 0, "self": 0 if outlined else p[0, 0]}[kind]
        assert target[here & (labels == 0)] == pytest.approx(rest, abs=1 / 255)


def test_reduced_training_pixels_obey_it_too(tmp_path):
    mix = Mix(Opened([sample(tmp_path, outlined=True)], RECIPE), STATES, RECIPE, 0, {}, lambda _: None)
    target = mix.target("fine", Window(0, 0, 0, SIDE, SIDE), 0.0, 0.0, float(SIDE))  # 8 level-0 px a pixel
    centre = MASK[4::8, 4::8]
    edge = np.zeros_like(centre)
    for dy in (0, 7):
        for dx in (0, 7):
            edge |= MASK[dy::8, dx::8] != centre
    assert np.array_equal((target != IGNORED)[~edge], centre[~edge]) and (~edge).sum() > 3000


def test_windows_lie_where_the_region_is(tmp_path):
    one = sample(tmp_path)
    for outlined in (False, True):
        windows = fine_windows(0, Opened([one], RECIPE), STATES, outlined)
        assert windows[0] and windows[1]
        for window in (*windows[0], *windows[1]):
            x, y = max(0, int(window.x)), max(0, int(window.y))
            assert MASK[y : y + int(window.height), x : x + int(window.width)].any()
    boxes = [(w.x, w.y, w.x + w.width, w.y + w.height) for w in windows[0]]
    assert min(b[0] for b in boxes) >= 100 - 64 and max(b[3] for b in boxes) <= 264, "only what is inside is outlined"


# ---- frozen with each round ---------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path):
    rng = np.random.default_rng(0)
    pictures = []
    for name in "ab":
        pictures.append(tmp_path / f"{name}.png")
        Image.fromarray(rng.integers(60, 200, (SIDE, SIDE, 3), np.uint8)).save(pictures[-1])
    workspace = Workspace.create(tmp_path / "w")
    workspace.add(pictures)
    yield workspace
    workspace.close()


def test_a_round_trains_on_the_regions_as_they_were_when_it_began(workspace, tmp_path):
    item, _ = workspace.items()
    store = workspace.labels(item)
    store.polygon(box(80, 80, 220, 220), 1)
    first = open_data(workspace.folder)
    before = first.fingerprint()
    zero = first.snapshot(tmp_path / "run", 0)
    store.add_marks([Mark("roi", RING)])
    store.flush()
    assert open_data(workspace.folder).fingerprint() != before
    one = first.snapshot(tmp_path / "run", 1)
    store.undo()
    store.flush()
    frozen = [read_snapshot(tmp_path / "run" / "snapshots" / f"round_{r}.json") for r in (0, 1)]
    assert [s.hash for s in frozen] == [zero.hash, one.hash] and zero.hash != one.hash
    regions = []
    for snapshot in frozen:
        with closing(snapshot.samples[0].open_labels()) as labels:
            regions.append(labels.roi())
            assert labels.areas() == {1: 140 * 140}
    assert regions[0] is None
    assert np.array_equal(regions[1].mask(0, 0, SIDE, SIDE), Region([[np.array(RING)]]).mask(0, 0, SIDE, SIDE))


@pytest.mark.parametrize(("ring", "label"), [(RING, 1), (((400.0, 400.0), (500.0, 400.0), (500.0, 500.0)), None)])
def test_tumour_outside_does_not_make_a_slide_positive_and_an_empty_region_no_slide_negative(
    workspace, tmp_path, ring, label
):
    item, _ = workspace.items()
    workspace.update(item.id, outlined=True)
    store = workspace.labels(item)
    store.polygon(box(80, 80, 220, 220), 1)
    store.add_marks([Mark("roi", ring)])
    store.flush()
    assert open_data(workspace.folder).snapshot(tmp_path / "run", 0).samples[0].label == label


# ---- inference ----------------------------------------------------------------------------------------------------------


class Watched(ArraySlide):
    """Notes which tiles are read (the tissue mask is read in strips, which are larger)."""

    def __init__(self, pixels):
        super().__init__(pixels)
        self.tiles = []

    def read_scaled(self, x, y, width, height, downsample):
        if width == height == 64:
            self.tiles.append((x, y))
        return super().read_scaled(x, y, width, height, downsample)


@pytest.mark.parametrize("base", [2, 16])
def test_the_heat_map_has_no_value_outside_and_tiles_outside_are_not_read(tmp_path, base):
    pixels = smooth(SIDE, SIDE)
    pixels[300:, 300:] = 190  # the most suspicious place is outside
    pixels[88:102, 128:142] = 195  # and one in the hole of the region
    slide = Watched(pixels)
    result, heat = heat_of(tmp_path, slide, Scale(64, 64), PixelNetwork(), base, region=REGION)
    covered = MASK.reshape(SIDE // base, base, SIDE // base, base).mean((1, 3))
    assert (heat[covered == 0] == 0).all() and (heat[covered == 1] > 0).all()
    assert len(slide.tiles) == len(set(slide.tiles)) == len(result.scores)
    for x, y in slide.tiles:
        assert MASK[int(y) : int(y) + 64, int(x) : int(x) + 64].any()
    for score in result.scores:
        y, x = round(score.py), round(score.px)  # the middle of 2 x 2 pixels
        assert MASK[y - 1 : y + 1, x - 1 : x + 1].any() or score.p == 0
    most = pixels[..., 0].reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))[MASK[::2, ::2]].max() / 255
    assert max(score.p for score in result.scores) == pytest.approx(most, abs=0.02)
    everywhere, _ = heat_of(tmp_path, Watched(pixels), Scale(64, 64), PixelNetwork(), base, "b")
    assert max(score.p for score in everywhere.scores) > most + 0.02 and len(everywhere.scores) > len(result.scores)


def test_a_region_without_tissue_reads_nothing(tmp_path):
    slide = Watched(smooth(SIDE, SIDE))
    region = Region([box(2000, 2000, 2100, 2100)])
    result, heat = heat_of(tmp_path, slide, Scale(64, 64), region=region)
    assert result.scores == [] and not heat.any() and slide.tiles == []


# ---- evaluation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outlined", [False, True])
@pytest.mark.parametrize("base", [2, 8])
def test_pixels_outside_count_neither_for_nor_against(tmp_path, outlined, base):
    p = np.random.default_rng(0).uniform(0, 1, (SIDE // base, SIDE // base))
    labels, overlap = painted(tmp_path / "a.labels"), Overlap()
    with heat_map(tmp_path / "a.heat", p, base) as heat:
        add_pixels(heat, labels, STATES, outlined, 0.5, overlap)
    called = np.kron(np.rint(p * 254) >= 127, np.ones((base, base), bool))
    counts = MASK & (np.ones_like(MASK) if outlined else LABELS > 0)
    true = counts & (LABELS == 1)
    assert overlap.dice == pytest.approx(2 * (called & true).sum() / ((called & counts).sum() + true.sum()), rel=1e-6)


def test_detections_and_lesions_outside_do_not_count(tmp_path):
    p = np.full((1024, 1024), np.nan)
    p[100:200, 100:200], p[700:800, 700:800] = 0.9, 0.95
    path = tmp_path / "a.labels"
    with closing(LabelStore.create(path, 2048, 2048)) as store:
        store.polygon(box(200, 200, 400, 400), 1)
        store.polygon(box(1400, 1400, 1600, 1600), 1)
        store.add_marks([Mark("roi", tuple(map(tuple, box(100, 100, 600, 600)[0])))])
    with heat_map(tmp_path / "a.heat", p) as heat:
        found = detections(heat, path, STATES, 5.0, 0.5)
    assert found.lesions == 1 and found.hit.tolist() == [1] and found.confidence == pytest.approx([0.9], abs=0.01)


# ---- what is counted as marked ------------------------------------------------------------------------------------------


def test_only_what_is_inside_counts_as_marked(workspace):
    item, _ = workspace.items()
    store = workspace.labels(item)
    store.polygon(box(80, 80, 220, 220), 1)
    store.polygon(box(400, 400, 500, 500), 2)
    roles = MarkedRoles(workspace.folder)
    store.flush()
    assert roles.look([item.id], workspace.classes) == {item.id: {"positive", "negative"}}
    assert workspace.update_marked(item.id) == pytest.approx((140 * 140 + 100 * 100) / SIDE**2)
    store.add_marks([Mark("roi", RING, (LEFT_OUT,))])
    store.flush()
    wanted = int((MASK[80:220, 80:220]).sum())
    assert counted_areas(store) == {1: wanted}
    assert store.areas() == {1: 140 * 140, 2: 10_000}, "the labels themselves stay"
    assert roles.look([item.id], workspace.classes) == {item.id: {"positive"}}
    assert workspace.update_marked(item.id) == pytest.approx(wanted / SIDE**2)
    assert workspace.item(item.id).marked == pytest.approx(wanted / SIDE**2)


def test_uniform_tiles_at_the_slides_edge_are_counted_to_the_pixel(tmp_path):
    with closing(LabelStore.create(tmp_path / "a.labels", 1200, 700)) as store:
        store.polygon(box(0, 0, 1200, 700), 1)
        store.add_marks([Mark("roi", ((-10.0, -10.0), (1300.0, -10.0), (1300.0, 600.0), (-10.0, 600.0)))])
        assert counted_areas(store) == {1: 1200 * 600}


# ---- exports ------------------------------------------------------------------------------------------------------------


def test_outlines_inside_are_cut_at_the_region_to_the_pixel(tmp_path):
    with closing(LabelStore.open(painted(tmp_path / "a.labels"), readonly=True)) as store:
        outlines = labels_to_outlines(inside(store), DEFAULT_CLASSES)
    with closing(LabelStore.create(tmp_path / "again.labels", SIDE, SIDE)) as again:
        again.polygons([(o.rings, {"Tumour": 1, "Normal": 2}[o.class_name]) for o in outlines])
        assert np.array_equal(again.region(0, 0, 0, SIDE, SIDE), np.where(MASK, LABELS, 0))


def test_clipped_labels_agree_with_themselves_at_every_level(tmp_path):
    with closing(LabelStore.create(tmp_path / "a.labels", 1500, 1300)) as store:
        store.polygon(box(0, 0, 1400, 1290), 1)
        store.add_marks([Mark("roi", tuple((x * 4, y * 4) for x, y in RING))])
        store.flush()
        clipped = inside(store)
        whole = clipped.region(0, 0, 0, 1500, 1300)
        region = store.roi()
        assert np.array_equal(whole, np.where(region.mask(0, 0, 1500, 1300), store.region(0, 0, 0, 1500, 1300), 0))
        for level in range(clipped.levels):
            width, height = clipped.level_size(level)
            now = clipped.region(level, 0, 0, width, height)
            assert np.array_equal(now, whole[:: 1 << level, :: 1 << level])
            for row, column in store.keys(level):
                tile, value = clipped.tile(level, row, column), clipped.uniform(level, row, column)
                part = now[row * 512 : (row + 1) * 512, column * 512 : (column + 1) * 512]
                assert value is None or (part == value).all()
                shown = np.zeros((512, 512), np.uint8) if tile is None else tile
                assert np.array_equal(shown[: part.shape[0], : part.shape[1]], part)
                assert ((row, column) in clipped.keys(level)) or not part.any()
