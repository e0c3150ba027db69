"""Inference over a slide: whatever the tiling, scale and chunking, the map is the network's answer at each place."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from opsin.engine.data.slides import Level, Slide
from opsin.engine.errors import Cancelled, SlideError
from opsin.engine.methods.hybrid_wsi import merge
from opsin.engine.methods.hybrid_wsi.heat import Network, SlideHeat, TileScore, map_base, predict_slide
from opsin.engine.methods.hybrid_wsi.tissue import Scale, scale_of
from opsin.engine.results import Heatmap
from opsin.engine.runs import Control, Run
from opsin.engine.tiles import TilePyramid


class ArraySlide(Slide):
    """A slide in memory; reading inside `bad` (x0, y0, x1, y1) fails, as on a damaged file."""

    vendor = reader = "array"

    def __init__(self, pixels, mpp=None, bad=None):
        super().__init__(Path("made.tif"))
        height, width = pixels.shape[:2]
        self.levels = [Level(width, height, 1.0, 1.0, 256, 256)]
        self.pixels, self.mpp, self.bad, self.threads = pixels, mpp, bad, set()

    def _pixels(self, level, x, y, width, height):
        self.threads.add(threading.current_thread().name.split("_")[0])
        small = width * height <= 200 * 200  # tiles, not the strips of the tissue mask
        if (
            self.bad
            and small
            and x < self.bad[2]
            and x + width > self.bad[0]
            and y < self.bad[3]
            and y + height > self.bad[1]
        ):
            raise SlideError("made.tif: a tile is damaged.")
        return self.pixels[y : y + height, x : x + width]


class PixelNetwork(torch.nn.Module):
    """A network without neighbourhood: logit from the red of a pixel (mean of 2x2 with stride 2)."""

    def __init__(self, stride=2):
        super().__init__()
        self.stride = stride

    def coarse(self, x):
        p = torch.nn.functional.avg_pool2d(x[:, :1], self.stride).clamp(0.002, 0.998)
        return torch.log(p / (1 - p))


def smooth(height, width, seed=0):
    """Dark smooth picture: everything is tissue."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 180, (height // 64 + 2, width // 64 + 2)).astype(np.float32)
    rows, columns = np.arange(height) / 64, np.arange(width) / 64
    i, j = rows.astype(int), columns.astype(int)
    a, b = (rows - i)[:, None], (columns - j)[None]
    red = (coarse[i][:, j] * (1 - a) + coarse[i + 1][:, j] * a) * (1 - b)
    red += (coarse[i][:, j + 1] * (1 - a) + coarse[i + 1][:, j + 1] * a) * b
    return np.stack([red.astype(np.uint8)] * 3, -1)


def expected(pixels, base):
    """Heat-map values of `PixelNetwork` at `base`: means over what each map pixel covers."""
    height, width = pixels.shape[:2]
    rows, columns = -(-height // base), -(-width // base)
    red = np.pad(pixels[..., 0].astype(float), ((0, rows * base - height), (0, columns * base - width)), mode="edge")
    return red.reshape(rows, base, columns, base).mean((1, 3)) / 255


def heat_of(tmp_path, slide, scale, network=None, base=None, name="a", run=None, **arguments):
    network = network or PixelNetwork()
    base = base or map_base(scale, network.stride)
    path = tmp_path / f"{name}.heat"
    with TilePyramid.create(
        path, slide.width, slide.height, base=base, reduce="mean", meta={"kind": "heat"}
    ) as pyramid:
        result = predict_slide(
            network, slide, scale, run or Run(), heatmap=Heatmap(path), pyramid=pyramid, prepared=network, **arguments
        )
        return result, pyramid.region(0, 0, 0, *pyramid.level_size(0))


@pytest.mark.parametrize(
    "tile, size, base, stride, tolerance",
    [
        (64, 64, 2, 1, 0.51),
        (64, 64, 2, 2, 2.2),  # tiles at odd places: the network's 2 x 2 blocks lie across the map's
        (64, 64, 8, 2, 1.01),
        (64, 128, 4, 2, 2.2),
        (64, 83, 2, 2, 4.5),  # fractional scale: the slide itself is interpolated
        (64, 32, 1, 2, 2.2),  # enlarged
    ],
)
def test_map_is_the_networks_answer_at_each_place(tmp_path, tile, size, base, stride, tolerance):
    slide = ArraySlide(smooth(301, 407))
    scale = Scale(tile, size)
    assert map_base(scale, stride) == base or base == 8
    result, heat = heat_of(tmp_path, slide, scale, PixelNetwork(stride), base)
    assert heat.min() >= 1 and not result.skipped
    wanted = expected(slide.pixels, base) * 254 + 1
    inside = np.s_[1 : 301 // base - 1, 1 : 407 // base - 1]  # at the slide's edge the white around it mixes in
    assert np.abs(heat.astype(float) - wanted)[inside].max() <= tolerance
    assert slide.threads >= {"tile"}, "tiles are read beside the computation"
    best = max(result.scores, key=lambda s: s.p)
    assert best.p == pytest.approx(slide.pixels[..., 0].max() / 255, abs=0.02)
    assert abs(int(slide.pixels[int(best.py), int(best.px), 0]) - best.p * 255) < 6


def test_overlaps_are_averaged_linearly(tmp_path):
    class Alternating(PixelNetwork):
        calls = 0

        def coarse(self, x):
            self.calls += 1
            return torch.full((len(x), 1, 32, 32), 10.0 if self.calls % 2 else -10.0)

    slide = ArraySlide(np.full((64, 96, 3), 100, np.uint8))
    _, heat = heat_of(tmp_path, slide, Scale(64, 64), Alternating(), 2, overlap=0.5, batch=1)
    middle = heat[16, 16:32].astype(float)
    assert (heat[16, :16] == 255).all() and (heat[16, 33:] == 1).all()
    assert np.all(np.diff(middle) < 0) and np.abs(np.diff(middle, 2)).max() <= 1, "a straight ramp over the overlap"


def test_no_lines_stand_along_tiles_on_glass(tmp_path):
    """A network sure of tumour in the outermost pixels of each tile, as its padding may make it."""

    class Framed(PixelNetwork):
        def coarse(self, x):
            p = torch.full((len(x), 1, 32, 32), -10.0)
            p[:, :, [0, -1], :] = p[:, :, :, [0, -1]] = 10.0
            return p

    pixels = np.full((512, 512, 3), 245, np.uint8)
    pixels[200:280, 190:300] = 90
    _, heat = heat_of(tmp_path, ArraySlide(pixels), Scale(64, 64), Framed(), 2, overlap=1 / 4)
    tissue = np.zeros(heat.shape, bool)
    tissue[100:140, 95:150] = True
    near = np.zeros(heat.shape, bool)
    near[92:148, 87:158] = True  # the mask is closed with 5 x 5 of its pixels
    assert heat[tissue].all(), "tissue keeps what was computed"
    assert not (heat[~near] > 127).any(), "no line on glass"
    assert (heat[~near] > 0).any(), "glass well inside a tile keeps it too"


def test_chunks_that_wait_on_disk_give_the_same_bytes(tmp_path, monkeypatch):
    slide = ArraySlide(smooth(1200, 1300))
    parked = []
    monkeypatch.setattr(merge, "WRITE_SECONDS", 1e9)
    monkeypatch.setattr(merge, "OPEN_CHUNKS", 1)
    monkeypatch.setattr(
        merge.np, "save", lambda path, values, save=np.save, **k: (parked.append(path), save(path, values, **k))
    )
    _, one = heat_of(tmp_path, slide, Scale(96, 96), PixelNetwork(1), 1, "one", view=(600, 600, 10, 10))
    monkeypatch.undo()
    _, many = heat_of(tmp_path, slide, Scale(96, 96), PixelNetwork(1), 1, "many", view=(600, 600, 10, 10))
    assert np.array_equal(one, many) and one.all()
    assert parked and not parked[0].parent.exists(), "they went to disk, and the files are gone"


def test_unreadable_tiles_are_left_out_and_counted(tmp_path):
    seen = []
    slide = ArraySlide(smooth(256, 512), bad=(256, 0, 320, 256))
    result, heat = heat_of(tmp_path, slide, Scale(64, 64), run=Run(None, seen.append), overlap=0.0)
    assert result.skipped == 4 and len(result.scores) == 28
    assert not heat[:, 128:160].any() and heat[:, :128].all() and heat[:, 160:].all()
    warnings = [e["text"] for e in seen if e["event"] == "message"]
    assert len(warnings) == 3 and "a tile is damaged" in warnings[0]


def test_nearest_to_the_view_first_and_each_written_part_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "WRITE_SECONDS", 0.0)
    seen = []
    slide = ArraySlide(smooth(2300, 2300))
    result, heat = heat_of(
        tmp_path, slide, Scale(256, 256), run=Run(None, seen.append), view=(1900, 1900, 200, 200), batch=4
    )
    assert (1900 - 256) <= result.scores[0].x <= 2100 and (1900 - 256) <= result.scores[0].y <= 2100
    rects = [e["rect"] for e in seen if e["event"] == "region"]
    assert rects[0][0] == 1024 and rects[0][1] == 1024
    assert {tuple(r) for r in rects} == {(x, y, 1024, 1024) for x in (0, 1024, 2048) for y in (0, 1024, 2048)}
    assert heat.all()


def test_stopping_keeps_what_there_is_and_cancelling_raises(tmp_path):
    control = Control()

    def after_two(event):
        if event["event"] == "progress" and event["done"] >= 8:
            control.stop()

    def cancel(event):
        if event["event"] == "progress":
            control.cancel()

    slide = ArraySlide(smooth(512, 512))
    result, heat = heat_of(tmp_path, slide, Scale(64, 64), run=Run(None, after_two, control), batch=4)
    assert len(result.scores) == 8 and heat.any() and not heat.all()
    control = Control()
    with pytest.raises(Cancelled):
        heat_of(tmp_path, slide, Scale(64, 64), run=Run(None, cancel, control), name="b")


def test_only_tissue_is_computed_and_what_lies_beyond_the_edge_does_not_count(tmp_path):
    pixels = np.full((300, 400, 3), 240, np.uint8)
    pixels[:100, :100] = 60
    result, heat = heat_of(tmp_path, ArraySlide(pixels), Scale(64, 64))
    assert heat[:50, :50].all() and not heat[110:, 130:].any() and len(result.scores) < 10
    tiny = ArraySlide(np.full((40, 50, 3), 90, np.uint8))  # the tile is padded with white, which PixelNetwork likes
    result, heat = heat_of(tmp_path, tiny, Scale(64, 64), name="b")
    (score,) = result.scores
    assert score.p == pytest.approx(90 / 255, abs=1e-3) and heat.shape == (20, 25) and heat.all()
    empty = ArraySlide(np.full((80, 90, 3), 250, np.uint8))
    result, heat = heat_of(tmp_path, empty, Scale(64, 64), name="c")
    assert not result.scores and not heat.any() and result.mean_of_maxima(10) is None


def test_same_tissue_at_two_resolutions_gives_the_same_map(tmp_path):
    fine = np.repeat(np.repeat(smooth(256, 256), 2, 0), 2, 1)
    coarse = fine[::2, ::2]
    maps = []
    for name, slide in (("fine", ArraySlide(fine, 0.25)), ("coarse", ArraySlide(coarse, 0.5))):
        scale = scale_of(slide, 0.5, 64)
        maps.append(heat_of(tmp_path, slide, scale, name=name)[1])
    assert maps[0].shape == maps[1].shape and np.abs(maps[0].astype(int) - maps[1]).max() <= 1


def test_memory_that_does_not_suffice_halves_the_batch():
    class Hungry(PixelNetwork):
        def coarse(self, x):
            if len(x) > 2:
                raise torch.cuda.OutOfMemoryError("full")
            return super().coarse(x)

    seen = []
    network = Network(Hungry(), Run(None, seen.append), "float32")
    images = np.random.default_rng(0).integers(0, 255, (7, 32, 32, 3), np.uint8)
    found = network(images)
    assert found.shape == (7, 16, 16) and network.most in (1, 2)
    torch.testing.assert_close(found, Network(PixelNetwork(), Run(), "float32")(images))
    assert any("Out of memory" in e["text"] for e in seen)


def test_best_tiles_come_first_and_ties_by_place():
    heat = SlideHeat([TileScore(5, 0, 1, 0.2, 0, 0), TileScore(0, 9, 1, 0.9, 0, 0), TileScore(0, 3, 1, 0.9, 0, 0)])
    assert [(s.x, s.y) for s in heat.top(2)] == [(0, 3), (0, 9)]
    assert heat.mean_of_maxima(2) == pytest.approx(0.9) and heat.mean_of_maxima(9) == pytest.approx(2 / 3)
