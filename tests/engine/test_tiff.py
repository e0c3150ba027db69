"""Writing pyramids and heat maps: what OpenSlide and tifffile make of them, bounded memory, nothing left half done."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from opsin.engine.data.slides import open_slide
from opsin.engine.data.tiff import write_heatmap, write_pyramid
from opsin.engine.errors import OpsinError
from opsin.engine.results import Heatmap
from opsin.engine.tiles import TilePyramid


def picture(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(4)
    small = rng.integers(0, 256, (height // 32 + 3, width // 32 + 3, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def test_others_take_the_aperio_style_for_an_aperio_slide(tmp_path):
    path = tmp_path / "slide.svs"
    write_pyramid(path, picture(1500, 1100), 1500, 1100, mpp=0.5, magnification=20)
    with openslide.OpenSlide(str(path)) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.level_dimensions == ((1500, 1100), (375, 275), (93, 68))
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert slide.properties["openslide.objective-power"] == "20"
        assert list(slide.associated_images) == ["thumbnail"]
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_svs
        assert [(s.name, len(s.levels)) for s in tiff.series] == [("Baseline", 3), ("Thumbnail", 1)]
    with open_slide(path) as slide:
        assert (slide.vendor, slide.mpp, slide.mpp_source, slide.magnification) == (
            "aperio",
            0.5,
            "file (Aperio MPP)",
            20,
        )


def test_the_generic_style_carries_its_scale_in_the_resolution_tags(tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, picture(600, 500), 600, 500, mpp=0.25, factors=(1, 2), style="generic")
    with tifffile.TiffFile(path) as tiff:
        for page, factor in zip(tiff.pages, (1, 2)):
            numerator, denominator = page.tags["XResolution"].value
            assert numerator / denominator == pytest.approx(10_000 / (0.25 * factor))
            assert page.tags["ResolutionUnit"].value == 3
            assert page.tags["NewSubfileType"].value == (factor > 1)
    with open_slide(path) as slide:
        assert (slide.mpp, slide.mpp_source) == (pytest.approx(0.25), "file (resolution tag)")


@pytest.mark.parametrize("compression", ["deflate", "zstd", "none"])
def test_lossless_pyramids_hold_the_pixels_and_their_means(tmp_path, compression):
    path, pixels = tmp_path / "slide.tif", picture(901, 643)
    write_pyramid(path, pixels, 901, 643, mpp=None, factors=(1, 2, 8), compression=compression, style="generic")
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(0, 0, 0, 901, 643), pixels)
        before, last = pixels, 1
        for number, factor in ((1, 2), (2, 8)):
            step = factor // last
            width, height = 901 // factor, 643 // factor
            whole = np.ascontiguousarray(before[: height * step, : width * step])
            before, last = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), factor
            assert np.array_equal(slide.read(number, 0, 0, width, height), before)
        assert slide.mpp is None


def test_jpeg_stays_close_and_every_reader_sees_the_same(tmp_path):
    path, pixels = tmp_path / "slide.svs", picture(700, 500)
    write_pyramid(path, pixels, 700, 500, mpp=0.5, quality=90)
    with open_slide(path) as slide, openslide.OpenSlide(str(path)) as other:
        ours = slide.read(0, 0, 0, 700, 500)
        assert np.array_equal(ours, np.asarray(other.read_region((0, 0), 0, (700, 500)))[..., :3])
    assert np.abs(ours.astype(int) - pixels).mean() < 3


def test_rows_are_asked_for_once_and_from_the_top(tmp_path):
    pixels, asked = picture(400, 900), []

    def strips(y: int, rows: int) -> np.ndarray:
        asked.append((y, rows))
        return pixels[y : y + rows]

    write_pyramid(tmp_path / "a.tif", strips, 400, 900, mpp=None, compression="zstd", style="generic")
    assert asked == [(0, 256), (256, 256), (512, 256), (768, 132)]
    assert np.array_equal(open_slide(tmp_path / "a.tif").read(0, 0, 0, 400, 900), pixels)


def test_memory_holds_rows_of_tiles_and_not_the_slide(tmp_path):
    """A slide of 300 MB is written with a small part of it in memory."""
    width, height = 5000, 20_000
    row = picture(width, 256)
    tracemalloc.start()
    try:
        write_pyramid(tmp_path / "long.svs", lambda y, rows: row[:rows], width, height, mpp=0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6
    with open_slide(tmp_path / "long.svs") as slide:
        assert slide.levels[-1].height == height // 16


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "slide.tif"
    path.write_bytes(b"precious")

    def strips(y: int, rows: int) -> np.ndarray:
        if y:
            raise RuntimeError("no more rows")
        return np.zeros((rows, 600, 3), np.uint8)

    with pytest.raises(RuntimeError, match="no more rows"):
        write_pyramid(path, strips, 600, 600, mpp=None)
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["slide.tif"]


def test_wrong_factors_and_rows_are_refused(tmp_path):
    for factors in ((), (2, 4), (1, 4, 6), (1, 4, 4)):
        with pytest.raises(ValueError, match="factors"):
            write_pyramid(tmp_path / "a.tif", picture(64, 64), 64, 64, mpp=None, factors=factors)
    with pytest.raises(ValueError, match="uint8"):
        write_pyramid(tmp_path / "a.tif", np.zeros((64, 64, 3)), 64, 64, mpp=None)
    assert not list(tmp_path.iterdir())


def heat(folder: Path, mpp: float | None) -> tuple[Heatmap, np.ndarray]:
    """A heat map over a slide of 2600 x 1900 px, one value per 2 px, and the values as kept."""
    values = np.zeros((950, 1300), np.uint8)
    values[:700, :1100] = np.add.outer(np.arange(700), np.arange(1100)) % 255 + 1
    path = folder / "slide.heat"
    meta = {"kind": "heat"} if mpp is None else {"kind": "heat", "mpp": mpp}
    pyramid = TilePyramid.create(path, 2600, 1900, base=2, reduce="mean", meta=meta)
    padded = np.zeros((1024, 1536), np.uint8)
    padded[:950, :1300] = values
    with pyramid.transaction():
        for row in range(2):
            for column in range(3):
                part = padded[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512]
                pyramid.write(row, column, np.ascontiguousarray(part))
    pyramid.close()
    return Heatmap(path), values


def test_heat_maps_become_tiled_tiffs_of_probability(tmp_path):
    heatmap, values = heat(tmp_path, 0.5)
    write_heatmap(heatmap, tmp_path / "heat.tif")
    with tifffile.TiffFile(tmp_path / "heat.tif") as tiff:
        page = tiff.pages[0]
        assert (page.shape, page.dtype, page.tilewidth) == ((950, 1300), np.uint8, 512)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert [p.shape for p in tiff.pages] == [(950, 1300), (475, 650), (237, 325)]
        stored = page.asarray()
        numerator, denominator = page.tags["XResolution"].value
        assert numerator / denominator == pytest.approx(10_000 / (0.5 * 2))  # one value per 2 pixels of the slide
    probability = np.where(values > 0, (values.astype(float) - 1) / 254, 0)
    assert np.abs(stored / 255 - probability).max() <= 0.5 / 255 + 1e-9
    assert stored.max() == 255


def test_a_heat_map_without_scale_or_file(tmp_path):
    heatmap, _ = heat(tmp_path, None)
    heatmap.save(tmp_path / "heat.tif")
    with open_slide(tmp_path / "heat.tif") as slide:
        assert slide.mpp is None
    with pytest.raises(OpsinError, match="not on disk"):
        write_heatmap(Heatmap(None), tmp_path / "none.tif")
