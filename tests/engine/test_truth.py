"""Heat maps against outlines: lesions as CAMELYON16 counts them, pixels pooled; on real outlines and small cases by hand."""

import json
from contextlib import closing

import numpy as np
import pytest
from scipy import ndimage

from opsin.engine.labels.classes import DEFAULT_CLASSES
from opsin.engine.labels.exchange import read_annotations
from opsin.engine.labels.store import LabelStore
from opsin.engine.methods.hybrid_wsi.data import SlideSample, class_states
from opsin.engine.methods.hybrid_wsi.truth import add_pixels, detections, label_file, label_shares, small_map
from opsin.engine.metrics.froc import SlideDetections, froc, lesions, matched
from opsin.engine.metrics.segmentation import Overlap
from opsin.engine.tiles import TILE, TilePyramid

STATES = class_states(DEFAULT_CLASSES)
BASE = 2


def heat_map(path, p, base=BASE):
    """Write probabilities float [h, w] (NaN = not computed) at `base` level-0 px a pixel; return the open pyramid."""
    height, width = p.shape
    values = np.where(np.isnan(p), 0, np.rint(np.nan_to_num(p) * 254) + 1).astype(np.uint8)
    pyramid = TilePyramid.create(path, width * base, height * base, base=base, reduce="mean", meta={"kind": "heat"})
    with pyramid.transaction():
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                tile = np.zeros((TILE, TILE), np.uint8)
                part = values[top : top + TILE, left : left + TILE]
                tile[: part.shape[0], : part.shape[1]] = part
                pyramid.write(top // TILE, left // TILE, tile)
    return pyramid


# ---- by hand --------------------------------------------------------------------------------------------------------


def detected(confidence, hit, count):
    return SlideDetections(np.array(confidence, float), np.array(hit, int), count)


def test_froc_by_hand():
    slides = [
        detected([0.9, 0.8, 0.3], [1, 0, 2], 2),  # two lesions, found at 0.9 and 0.3; one false alarm
        detected(
            [0.7, 0.6, 0.95], [1, 1, -1], 2
        ),  # one lesion found twice (0.7 counts), one missed; an ITC counts as nothing
        detected([0.5, 0.2], [0, 0], 0),
        detected([], [], 0),
    ]
    # false alarms 0.8, 0.5, 0.2 on 4 slides. 1/4 a slide allows one: lesions above 0.5 are found, 2 of 4. 1/2 allows two: above
    # 0.2, 3 of 4. More than 3 never come.
    assert froc(slides) == pytest.approx(np.mean([2 / 4, 3 / 4, 3 / 4, 3 / 4, 3 / 4, 3 / 4]))
    assert froc([detected([0.8], [0], 0)]) is None, "nothing to find"
    assert froc([detected([], [], 3)]) == 0
    perfect = [detected([0.9], [1], 1), detected([], [], 0)]
    assert froc(perfect) == 1
    # a false alarm as sure as the lesion counts against it where it is not allowed
    assert froc([detected([0.9, 0.9], [1, 0], 1)]) == pytest.approx(np.mean([0, 0, 1, 1, 1, 1]))


def test_lesions_that_are_near_are_one_and_holes_are_filled():
    mask = np.zeros((200, 300), bool)
    mask[20:120, 20:120] = True
    mask[60:80, 60:80] = False  # a hole of 100 µm
    mask[20:120, 130:180] = True  # 10 px = 50 µm away: nearer than 75
    mask[20:120, 200:280] = True  # 20 px = 100 µm away
    found, small = lesions(mask, 5.0)
    assert found.max() == 2 and not small
    assert found[70, 70] == found[70, 125] == found[70, 150] != found[70, 240] != 0


@pytest.mark.parametrize(("side", "itc"), [(10, True), (60, False)])
def test_a_lesion_below_275_micrometres_is_an_itc(side, itc):
    mask = np.zeros((200, 200), bool)
    mask[100 : 100 + side, 100 : 100 + side] = True
    found, small = lesions(mask, 5.0)
    assert (small == {1}) == itc
    hits = matched(np.array([[105, 104], [3, 3]]), np.array([0.9, 0.8]), found, small)
    assert hits.hit.tolist() == [-1 if itc else 1, 0] and hits.lesions == (0 if itc else 1)


def test_points_are_columns_and_rows_and_stay_inside():
    found = np.zeros((50, 100), int)
    found[40:50, 90:100] = 1
    hits = matched(np.array([[95, 45], [45, 45], [500, 500]]), np.array([0.5, 0.6, 0.7]), found, set())
    assert hits.hit.tolist() == [1, 0, 1]
    assert matched(np.zeros((0, 2)), np.zeros(0), found, set()).hit.tolist() == []


def test_the_small_map_is_a_32nd_and_nothing_computed_is_zero(tmp_path):
    p = np.full((64, 96), np.nan)
    p[:32] = 0.5
    with heat_map(tmp_path / "h.heat", p, base=2) as heat:
        small, step = small_map(heat)
    assert step == 32 and small.shape == (4, 6)
    assert (small[:2] == 128).all() and (small[2:] == 0).all()
    p = np.full((600, 640), np.nan)  # its pyramid has a level more
    p[:8, :16] = 0.5
    with heat_map(tmp_path / "larger.heat", p, base=4) as heat:
        small, step = small_map(heat)
    assert step == 32 and small.shape == (75, 80) and small[0, :2].tolist() == [128, 128] and small.sum() == 256
    with heat_map(tmp_path / "coarse.heat", np.full((3, 4), 1.0), base=64) as heat:
        small, step = small_map(heat)
    assert step == 64 and small.shape == (3, 4) and (small == 255).all()


def test_pixels_that_nobody_outlined_count_only_on_slides_outlined_completely(tmp_path):
    p = np.zeros((64, 64))
    p[:, :32] = 0.8  # the left half is called positive
    with closing(LabelStore.create(tmp_path / "a.labels", 128, 128)) as store:
        store.polygon([np.array([[0, 0], [128, 0], [128, 32], [0, 32]], float)], 1)  # the top quarter is tumour
        store.polygon(
            [np.array([[0, 96], [128, 96], [128, 128], [0, 128]], float)], 3
        )  # the bottom quarter is excluded
        store.flush()
    with heat_map(tmp_path / "h.heat", p) as heat:
        some, all_of_it = Overlap(), Overlap()
        add_pixels(heat, tmp_path / "a.labels", STATES, False, 0.5, some)
        add_pixels(heat, tmp_path / "a.labels", STATES, True, 0.5, all_of_it)
        nothing = Overlap()
        add_pixels(heat, None, STATES, True, 0.5, nothing)
    assert (some.both, some.predicted, some.true) == (16 * 32, 16 * 32, 16 * 64)
    assert (all_of_it.both, all_of_it.predicted, all_of_it.true) == (16 * 32, 48 * 32, 16 * 64)
    assert (nothing.both, nothing.predicted, nothing.true) == (0, 64 * 32, 0)
    assert some.dice == pytest.approx(2 / 3) and all_of_it.iou == pytest.approx(16 * 32 / (48 * 32 + 16 * 32))


def test_froc_ranks_regions_that_are_less_certain_than_the_threshold(tmp_path):
    with closing(LabelStore.create(tmp_path / "a.labels", 1024, 1024)) as store:
        store.polygon([np.array([[64, 64], [448, 64], [448, 448], [64, 448]], float)], 1)
        store.flush()
    p = np.full((512, 512), 0.05)
    p[32:224, 32:224] = 0.45  # the lesion, seen but not called
    p[400:480, 400:480] = 0.25
    p[432:448, 432:448] = 0.35  # the middle of the same false alarm
    with heat_map(tmp_path / "h.heat", p) as heat:
        found = detections(heat, tmp_path / "a.labels", STATES, 1.0, 0.5)
    assert found.confidence == pytest.approx([0.45, 0.35], abs=0.005) and found.hit.tolist() == [1, 0]
    assert froc([found]) == 1


@pytest.mark.parametrize("base", [1, 2, 8, 32, 128])
def test_an_outline_counts_where_it_lies_whatever_the_resolution(tmp_path, base):
    """A pixel of the map that an outline crosses counts by its share, on both sides alike: nothing is shifted."""
    width, edge = 16 * base, 5 * base
    for inward in {0, base // 4, base // 2, 3 * base // 4}:
        path = tmp_path / f"{inward}.labels"
        with closing(LabelStore.create(path, width, base)) as store:
            sides = [(edge + inward, 11 * base + inward)]
            store.polygons([([np.array([[a, 0], [b, 0], [b, base], [a, base]], float)], 1) for a, b in sides])
            store.flush()
            share = label_shares(store, STATES, base, 0, 0, 16, 1)[0, 0]
        lost = inward / base
        assert share.tolist() == [0] * 5 + [1 - lost] + [1] * 5 + [lost] + [0] * 4
        p = np.zeros((1, 16))
        p[:, 5:11] = 0.9
        overlap = Overlap()
        with heat_map(tmp_path / f"{inward}.heat", p, base=base) as heat:
            add_pixels(heat, path, STATES, True, 0.5, overlap)
        assert (overlap.both, overlap.predicted, overlap.true) == (6 - lost, 6, 6)


def test_pixels_beyond_the_slides_edge_do_not_count(tmp_path):
    with TilePyramid.create(tmp_path / "h.heat", 10, 4, base=4, reduce="mean", meta={"kind": "heat"}) as heat:
        with heat.transaction():
            heat.write(0, 0, 255)
        overlap = Overlap()
        add_pixels(heat, None, STATES, True, 0.5, overlap)
    assert overlap.predicted == 2.5


# ---- real outlines ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def composed(data):
    folder = data / "wsi" / "composed"
    return folder, json.loads((folder / "slides.json").read_text(encoding="utf-8"))


def cells(entry, kind):
    grid = np.array([list(row) for row in entry["grid"]]) == kind
    return np.repeat(np.repeat(grid, entry["cell"] // BASE, 0), entry["cell"] // BASE, 1)


def normal(entry):
    return np.array([list(row) for row in entry["grid"]]) == "n"


def labels_of(folder, entry):
    return folder / f"{entry['name']}.xml"


def shoelace(ring):
    x, y = ring.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def read(folder, entry, where):
    path, xml = folder / f"{entry['name']}.tif", labels_of(folder, entry)
    sample = SlideSample(entry["name"], path, entry["label"], outlined=True, outlines=xml if xml.exists() else None)
    return sample, label_file(sample, where, DEFAULT_CLASSES)


def test_outlines_of_composed_slides_are_their_tumour_cells(composed, tmp_path):
    folder, entries = composed
    tumour = [entry for entry in entries if entry["label"]]
    assert len(tumour) == 10
    overlap, area, pixels, spilt = Overlap(), 0.0, 0, 0
    for entry in tumour:
        _, labels = read(folder, entry, tmp_path)
        truth = cells(entry, "t")
        with heat_map(tmp_path / f"{entry['name']}.heat", np.where(truth, 0.9, 0.1)) as heat:
            add_pixels(heat, labels, STATES, True, 0.5, overlap)
        with closing(LabelStore.open(labels, readonly=True)) as store:
            drawn = store.region(0, 0, 0, *store.level_size(0)) == 1
        pixels += drawn.sum()
        spilt += (drawn & ~np.repeat(np.repeat(truth, BASE, 0), BASE, 1)).sum()
        area += sum(shoelace(outline.rings[0]) for outline in read_annotations(labels_of(folder, entry)))
    assert overlap.predicted == sum(entry["tumour_cells"] for entry in tumour) * (96 // BASE) ** 2
    assert overlap.true * BASE**2 == pixels and overlap.both * BASE**2 == pixels - spilt, "to the pixel"
    assert spilt < 0.001 * pixels, "next to nothing is outlined beside the tumour cells"
    assert overlap.true * BASE**2 == pytest.approx(area, rel=0.01)
    assert overlap.dice == pytest.approx(2 * overlap.both / (overlap.true + overlap.predicted)) and overlap.dice > 0.97


def test_froc_of_composed_slides(composed, tmp_path):
    """A map that finds every tumour, one that misses some and cries wolf, and one that is shifted."""
    folder, entries = composed
    found, blind, shifted, count = [], [], [], 0
    for number, entry in enumerate(entries[:8]):
        _, labels = read(folder, entry, tmp_path)
        truth = cells(entry, "t")
        with heat_map(tmp_path / f"{number}.heat", np.where(truth, 0.9, 0.1)) as heat:
            found.append(detections(heat, labels, STATES, entry["mpp"], 0.5))
        assert found[-1].confidence == pytest.approx(0.9, abs=0.005)
        assert (found[-1].hit > 0).all() and found[-1].lesions == len(set(found[-1].hit.tolist()))
        assert found[-1].lesions >= entry["label"]
        # tumour of the left half is not seen, and a normal cell of every slide, far from tumour, is a false alarm
        p = np.where(truth, 0.9, 0.1)
        p[:, : p.shape[1] // 2] = 0.1
        side = entry["cell"] // BASE
        far = ndimage.distance_transform_cdt(~truth[::side, ::side], "chessboard") if truth.any() else 9
        row, column = np.argwhere(normal(entry) & (far > 2))[0] * side
        p[row : row + side, column : column + side] = 0.95
        with heat_map(tmp_path / f"{number} blind.heat", p) as heat:
            blind.append(detections(heat, labels, STATES, entry["mpp"], 0.5))
        with heat_map(tmp_path / f"{number} shifted.heat", np.roll(p, 7 * side, 0)) as heat:
            shifted.append(detections(heat, labels, STATES, entry["mpp"], 0.5))
        count += found[-1].lesions
    assert froc(found) == 1
    assert sum(int((one.hit == 0).sum()) for one in blind) == 8
    seen = sum(len(set(one.hit[one.hit > 0].tolist())) for one in blind)
    assert 0 < seen < count
    # 0.95 is above every true detection: below one false alarm a slide nothing is found, from there on what was seen
    assert froc(blind) == pytest.approx((0 + 0 + 3 * seen / count + seen / count) / 6)
    assert froc(shifted) < froc(blind)


def test_a_slide_without_outlines_has_only_false_alarms(composed, tmp_path):
    folder, entries = composed
    entry = next(e for e in entries if not e["label"])
    _, labels = read(folder, entry, tmp_path)
    assert labels is None
    with heat_map(tmp_path / "h.heat", np.where(cells(entry, "n"), 0.7, np.nan)) as heat:
        found = detections(heat, labels, STATES, entry["mpp"], 0.5)
    assert found.lesions == 0 and len(found.hit) > 0 and not found.hit.any()
