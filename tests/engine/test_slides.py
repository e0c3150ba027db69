"""Opening and reading slides: our tile reader against OpenSlide and tifffile, damaged files, scales, threads."""

import gc
import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import openslide
import psutil
import pytest
import tifffile
from PIL import Image

from opsin.engine.data import slides
from opsin.engine.data.openslide_slide import OpenSlideSlide
from opsin.engine.data.picture import PictureSlide
from opsin.engine.data.slides import (
    SUFFIXES,
    file_fingerprint,
    is_slide,
    mpp_of_resolution,
    open_slide,
    sampled_fingerprint,
)
from opsin.engine.data.tiff import write_pyramid
from opsin.engine.data.tiff_codecs import ycbcr_to_rgb
from opsin.engine.data.tiff_levels import ome_scale
from opsin.engine.data.tiled_tiff import TiledTiffSlide
from opsin.engine.errors import SlideError


def smooth(width: int, height: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """A picture with structure at all scales that JPEG can hold well: uint8 [height, width, channels]."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 24 + 3, width // 24 + 3, channels)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def by_openslide(path: Path, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
    """RGB of a rectangle in pixels of the level, transparent parts on white."""
    with openslide.OpenSlide(str(path)) as slide:
        corner = (round(x * slide.level_downsamples[level]), round(y * slide.level_downsamples[level]))
        region = slide.read_region(corner, level, (width, height))
    white = Image.new("RGBA", region.size, "white")
    return np.asarray(Image.alpha_composite(white, region).convert("RGB"))


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """An Aperio-style slide whose size is no multiple of its tiles, lossless, and its pixels."""
    path = tmp_path_factory.mktemp("slides") / "slide.svs"
    pixels = smooth(1001, 777)
    write_pyramid(path, pixels, 1001, 777, mpp=0.25, magnification=40, factors=(1, 2, 8), compression="zstd")
    return path, pixels


# -- real files ----------------------------------------------------------------------------------


def test_the_real_aperio_slide_is_bit_identical_to_openslide(data):
    path = data / "wsi/slides/CMU-1-Small-Region.svs"
    with open_slide(path) as slide:
        assert isinstance(slide, TiledTiffSlide)
        assert (slide.width, slide.height, slide.vendor) == (2220, 2967, "aperio")
        assert (slide.mpp, slide.mpp_source, slide.magnification) == (0.499, "file (Aperio MPP)", 20)
        assert np.array_equal(slide.read(0, 0, 0, 2220, 2967), by_openslide(path, 0, 0, 0, 2220, 2967))
        # a rectangle across tiles and beyond the edge
        assert np.array_equal(slide.read(0, 2100, 2900, 300, 200), by_openslide(path, 0, 2100, 2900, 300, 200))


def test_composed_slides_are_bit_identical_to_openslide_at_every_level(data):
    paths = sorted((data / "wsi/composed").glob("*.tif"))
    assert len(paths) == 20
    for path in paths[::4]:
        with open_slide(path) as slide:
            assert slide.reader == "Opsin tile reader"
            assert slide.mpp == pytest.approx(0.972) and slide.mpp_source == "file (resolution tag)"
            assert slide.magnification == 10
            for number, level in enumerate(slide.levels):
                expected = by_openslide(path, number, 0, 0, level.width, level.height)
                assert np.array_equal(slide.read(number, 0, 0, level.width, level.height), expected)


@pytest.mark.parametrize(
    ("name", "reader", "size", "mpp", "source"),
    [
        ("test3-DAPI-2-387.ndpi", "OpenSlide", (3968, 4864), 0.2282, "file (hamamatsu)"),
        ("sm_image.dcm", "OpenSlide", (50, 50), 0.499, "file (dicom)"),
        ("small_HE_levels.tiff", "Opsin tile reader", (300, 250), None, "unknown"),
        ("yb10kx5k.zstd.tiff", "Opsin tile reader", (10000, 5000), None, "unknown"),
    ],
)
def test_every_real_format_opens_with_its_scale(data, name, reader, size, mpp, source):
    path = data / "wsi/slides" / name
    with open_slide(path) as slide:
        assert slide.reader == reader
        assert (slide.width, slide.height) == size
        assert slide.mpp == (pytest.approx(mpp, rel=1e-3) if mpp else None)
        assert slide.mpp_source == source
        last = slide.levels[-1]
        expected = by_openslide(path, len(slide.levels) - 1, 0, 0, last.width, last.height)
        assert np.array_equal(slide.read(len(slide.levels) - 1, 0, 0, last.width, last.height), expected)


def test_72_dpi_is_no_scale_and_a_scale_set_by_hand_goes_first(data):
    path = data / "wsi/slides/small_HE_levels.tiff"
    with open_slide(path, mpp=0.5) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.5, "set by you")


def test_levels_with_inexact_factors_show_the_same_places(data):
    """Factors 2, 4.03 and 8.1: each axis has its own, and the whole picture fits onto the whole level."""
    with open_slide(data / "wsi/slides/small_HE_levels.tiff") as slide:
        last = slide.levels[-1]
        assert (last.downsample_x, last.downsample_y) == (300 / 37, 250 / 31)
        fine = slide.read(0, 0, 0, 300, 250)
        for number in range(1, len(slide.levels)):
            level = slide.levels[number]
            expected = cv2.resize(fine, (level.width, level.height), interpolation=cv2.INTER_AREA)
            got = slide.read(number, 0, 0, level.width, level.height)
            both = [cv2.GaussianBlur(a, (0, 0), 1).astype(float).ravel() for a in (got, expected)]
            assert np.corrcoef(*both)[0, 1] > 0.97


def test_the_orientation_tag_is_ignored_alike_at_all_levels(data):
    plain = open_slide(data / "wsi/slides/test_orient1.tif")
    for number in (3, 6, 8):
        turned = open_slide(data / f"wsi/slides/test_orient{number}.tif")
        for level, size in enumerate(plain.levels):
            assert turned.levels[level] == size
            expected = plain.read(level, 0, 0, size.width, size.height)
            assert np.array_equal(turned.read(level, 0, 0, size.width, size.height), expected)


def test_the_thumbnail_is_the_tissue_and_never_the_label(data):
    """CMU-1 carries a label and a macro image; its thumbnail must look like level 0."""
    with open_slide(data / "wsi/slides/CMU-1-Small-Region.svs") as slide:
        thumbnail = slide.thumbnail(300)
        # 300 of 2967 rows; 224 columns at the same scale end at 2215 of 2220
        expected = cv2.resize(slide.read(0, 0, 0, 2215, 2967), (224, 300), interpolation=cv2.INTER_AREA)
    assert max(thumbnail.shape) == 300
    assert np.abs(thumbnail.astype(int) - expected).mean() < 1


# -- reading -------------------------------------------------------------------------------------


def test_reads_across_tiles_and_edges_give_the_stored_pixels(pyramid):
    path, pixels = pyramid
    white = np.full((777 + 1000, 1001 + 1000, 3), 255, np.uint8)
    white[500:1277, 500:1501] = pixels
    rng = np.random.default_rng(1)
    with open_slide(path) as slide:
        for _ in range(60):
            x, y = int(rng.integers(-400, 1100)), int(rng.integers(-400, 900))
            width, height = int(rng.integers(1, 400)), int(rng.integers(1, 400))
            expected = white[500 + y : 500 + y + height, 500 + x : 500 + x + width]
            assert np.array_equal(slide.read(0, x, y, width, height), expected)


def test_tiles_are_cut_at_the_edge_of_the_slide(pyramid):
    path, pixels = pyramid
    with open_slide(path) as slide:
        level = slide.levels[0]
        assert (level.rows, level.columns) == (4, 4)
        for row in range(level.rows):
            for column in range(level.columns):
                expected = pixels[row * 256 : row * 256 + 256, column * 256 : column * 256 + 256]
                assert np.array_equal(slide.tile(0, row, column), expected)
        with pytest.raises(IndexError):
            slide.tile(0, 4, 0)


def test_the_nearest_finer_level_is_chosen(pyramid):
    with open_slide(pyramid[0]) as slide:
        assert [slide.best_level(d) for d in (0.5, 1, 1.9, 2, 4, 7.9, 8, 100)] == [0, 0, 0, 1, 1, 1, 2, 2]


def shift(wave: np.ndarray, at: np.ndarray, period: float) -> float:
    """By how many pixels samples at places `at` of a sine of this period lie beside where they say they are."""
    turn = 2 * np.pi / period
    fit = np.linalg.lstsq(np.stack([np.sin(turn * at), np.cos(turn * at), np.ones_like(at)], 1), wave, rcond=None)[0]
    return float(np.arctan2(fit[1], fit[0]) / turn)


@pytest.mark.parametrize("downsample", [0.7, 1.0, 1.3, 1.9, 2.0, 3.1, 5.0, 8.0, 13.7])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (100.0, 60.0), (37.25, 41.75), (-13.5, 7.3)])
def test_scaled_reads_are_exact_to_a_fraction_of_a_pixel(tmp_path, downsample, corner):
    """A wave must come out in phase with the centres of the output pixels, whatever the scale and the place."""
    width, height = 1200, 900
    y, x = np.mgrid[:height, :width] + 0.5
    wave = np.stack([np.sin(x * 2 * np.pi / 90), np.sin(y * 2 * np.pi / 110), np.zeros_like(x)], axis=2) * 120 + 127.5
    path = tmp_path / "wave.tif"
    pixels = np.round(wave).astype(np.uint8)
    write_pyramid(path, pixels, width, height, mpp=None, factors=(1, 4), compression="zstd", style="generic")
    columns, rows = int(1000 / downsample), int(750 / downsample)
    with open_slide(path) as slide:
        got = slide.read_scaled(*corner, columns, rows, downsample).astype(float)
    at_x = corner[0] + (np.arange(columns) + 0.5) * downsample
    at_y = corner[1] + (np.arange(rows) + 0.5) * downsample
    inside_x, inside_y = (
        at_x > downsample + 1,
        at_y > downsample + 1,
    )  # pixels that touch the white outside are left out
    got = got[inside_y][:, inside_x]
    assert abs(shift(got[..., 0].mean(0), at_x[inside_x], 90)) < 0.04
    assert abs(shift(got[..., 1].mean(1), at_y[inside_y], 110)) < 0.04
    assert np.abs(got[..., 2] - 127.5).max() <= 0.5
    assert got[..., 0].std() > 65  # the wave itself is still there


def test_scaled_reads_average_what_they_skip(tmp_path):
    """A checkerboard of single pixels becomes even grey: nothing is picked out."""
    board = np.indices((512, 512)).sum(0) % 2 * 255
    path = tmp_path / "board.tif"
    pixels = np.repeat(board[..., None], 3, 2).astype(np.uint8)
    write_pyramid(path, pixels, 512, 512, mpp=None, factors=(1,), compression="zstd", style="generic")
    with open_slide(path) as slide:
        for downsample in (2.0, 4.0, 3.5, 8.0):
            grey = slide.read_scaled(32, 32, 40, 40, downsample)
            assert np.abs(grey.astype(int) - 127.5).max() < 30
            assert abs(grey.mean() - 127.5) < 2


def test_large_scaled_reads_go_in_blocks_and_show_no_seams(pyramid, monkeypatch):
    path, _ = pyramid
    with open_slide(path) as slide:
        whole = slide.read_scaled(3.5, 2.25, 280, 200, 3.4)
        monkeypatch.setattr("opsin.engine.data.slides._BLOCK_PIXELS", 64 * 64)
        parts = slide.read_scaled(3.5, 2.25, 280, 200, 3.4)
    assert np.abs(whole.astype(int) - parts).max() <= 1


@pytest.mark.parametrize("kind", ["tiles", "openslide", "picture"])
def test_many_threads_may_read_at_once(pyramid, tmp_path, kind):
    path, pixels = pyramid
    if kind == "tiles":
        slide = open_slide(path)
    elif kind == "openslide":
        slide = OpenSlideSlide(path)
    else:
        Image.fromarray(pixels).save(tmp_path / "p.png")
        slide = open_slide(tmp_path / "p.png")

    def read(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        for _ in range(15):
            x, y = int(rng.integers(0, 800)), int(rng.integers(0, 600))
            if not np.array_equal(slide.read(0, x, y, 200, 170), pixels[y : y + 170, x : x + 200]):
                return False
        return True

    with slide, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_closing_under_readers_gives_pixels_or_an_error_and_frees_the_file(pyramid):
    path, pixels = pyramid
    before = psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else None
    slide = open_slide(path)
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(slide.read, 0, 100, 100, 500, 500) for _ in range(40)]
        slide.close()
        for read in reads:
            if read.exception() is None:
                assert np.array_equal(read.result(), pixels[100:600, 100:600])
            else:
                assert "is closed" in str(read.exception())
    with pytest.raises(SlideError, match="is closed"):
        slide.read(0, 0, 0, 10, 10)
    del read, reads
    gc.collect()
    assert before is None or psutil.Process().num_fds() <= before


def test_the_fingerprint_survives_a_move_and_sees_a_change(pyramid, tmp_path):
    path, _ = pyramid
    copy = tmp_path / "other name.svs"
    copy.write_bytes(path.read_bytes())
    assert open_slide(copy).fingerprint() == open_slide(path).fingerprint()
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    assert open_slide(copy).fingerprint() != open_slide(path).fingerprint()


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_fingerprint_of_a_large_file_sees_any_pixel_that_is_stored_as_it_is(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(slides, "_HASHED_WHOLE", 1 << 16)  # so that these files count as large
    pixels = np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8)
    prints = []
    for changed in range(2):
        pixels[300, 300] = changed
        path = tmp_path / f"{changed}.tif"
        tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression=compression)
        prints.append(file_fingerprint(path))
        assert (prints[-1] == sampled_fingerprint(path)) == bool(compression), (
            "of compressed ones only samples are read"
        )
    assert compression or prints[0] != prints[1]


# -- kinds of TIFF -------------------------------------------------------------------------------


def test_missing_tiles_are_white(tmp_path):
    path = tmp_path / "holes.tif"
    pixels = smooth(512, 512)
    write_pyramid(path, pixels, 512, 512, mpp=None, factors=(1,), compression="zstd", style="generic")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages[0].tags
        counts, offsets = list(tags["TileByteCounts"].value), list(tags["TileOffsets"].value)
        counts[1] = offsets[1] = 0
        tags["TileByteCounts"].overwrite(counts)
        tags["TileOffsets"].overwrite(offsets)
    with open_slide(path) as slide:
        got = slide.read(0, 0, 0, 512, 512)
    expected = pixels.copy()
    expected[:256, 256:] = 255
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "lzw", "adobe_deflate", "zstd", "webp", "packbits", None])
def test_every_usual_compression_is_read(tmp_path, compression):
    path = tmp_path / "slide.tif"
    pixels = smooth(300, 280)
    options = {"level": 95} if compression == "jpeg" else {}
    predictor = compression in ("lzw", "adobe_deflate")
    tifffile.imwrite(
        path,
        pixels,
        tile=(128, 128),
        compression=compression,
        compressionargs=options,
        photometric="rgb",
        predictor=predictor,
    )
    with open_slide(path) as slide:
        assert slide.reader == "Opsin tile reader"
        got = slide.read(0, 0, 0, 300, 280)
        assert np.array_equal(got, tifffile.imread(path))
    assert np.abs(got.astype(int) - pixels).mean() < 3


def test_jpeg_as_rgb_is_bit_identical_to_openslide(tmp_path):
    """Aperio stores RGB (not YCbCr) in JPEG without saying so inside."""
    path = tmp_path / "slide.tif"
    tiles = smooth(256, 256).reshape(2, 128, 2, 128, 3).swapaxes(1, 2).reshape(4, 128, 128, 3)
    encoded = [imagecodecs.jpeg8_encode(t, level=90, colorspace="RGB", outcolorspace="RGB") for t in tiles]
    tifffile.imwrite(
        path,
        iter(encoded),
        shape=(256, 256, 3),
        dtype=np.uint8,
        tile=(128, 128),
        compression="jpeg",
        compressionargs={"outcolorspace": "rgb"},  # else tifffile writes YCbCr into the tag
        photometric="rgb",
        metadata=None,
    )
    with open_slide(path) as slide:
        got = slide.read(0, 0, 0, 256, 256)
    assert np.array_equal(got, by_openslide(path, 0, 0, 0, 256, 256))
    assert np.abs(got.astype(int) - smooth(256, 256)).mean() < 3


def test_aperio_jpeg2000_in_ycbcr_is_bit_identical_to_openslide(tmp_path):
    """Compression 33003 keeps YCbCr inside JPEG 2000; written here by patching the tag of plain JPEG 2000."""
    path = tmp_path / "slide.svs"
    pixels = smooth(256, 256)
    encoded = [
        imagecodecs.jpeg2k_encode(
            np.ascontiguousarray(pixels[y : y + 128, x : x + 128]), mct=False, codecformat="j2k", reversible=True
        )
        for y in (0, 128)
        for x in (0, 128)
    ]
    tifffile.imwrite(
        path,
        iter(encoded),
        shape=(256, 256, 3),
        dtype=np.uint8,
        tile=(128, 128),
        compression="jpeg2000",
        photometric="rgb",
        metadata=None,
        description="Aperio Image Library|AppMag = 20|MPP = 0.5",
    )
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(33003)
    with open_slide(path) as slide:
        got = slide.read(0, 0, 0, 256, 256)
    assert np.array_equal(got, ycbcr_to_rgb(pixels))
    assert np.array_equal(got, by_openslide(path, 0, 0, 0, 256, 256))


def test_grey_inverted_and_palette_become_rgb(tmp_path):
    grey = smooth(200, 150, channels=1)[..., 0]
    tifffile.imwrite(tmp_path / "grey.tif", grey, tile=(64, 64), photometric="minisblack")
    tifffile.imwrite(tmp_path / "white.tif", grey, tile=(64, 64), photometric="miniswhite")
    colours = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", grey, tile=(64, 64), photometric="palette", colormap=colours)
    read = {p.stem: open_slide(p).read(0, 0, 0, 200, 150) for p in tmp_path.glob("*.tif")}
    assert np.array_equal(read["grey"], np.repeat(grey[..., None], 3, 2))
    assert np.array_equal(read["white"], 255 - read["grey"])
    assert np.array_equal(read["palette"], (colours >> 8).astype(np.uint8).T[grey])


def test_separate_colour_planes_are_joined(tmp_path):
    pixels = smooth(200, 150)
    tifffile.imwrite(
        tmp_path / "planes.tif", pixels.transpose(2, 0, 1), tile=(64, 64), photometric="rgb", planarconfig="separate"
    )
    assert np.array_equal(open_slide(tmp_path / "planes.tif").read(0, 0, 0, 200, 150), pixels)


def test_sixteen_bits_are_scaled_by_the_range_of_the_coarsest_level(tmp_path):
    grey = (smooth(300, 200, channels=1)[..., 0].astype(np.uint16) + 100) * 10
    tifffile.imwrite(tmp_path / "deep.tif", grey, tile=(64, 64), photometric="minisblack")
    low, high = int(grey.min()), int(grey.max())
    expected = (grey - low) * (255 / (high - low))
    with open_slide(tmp_path / "deep.tif") as slide:
        got = slide.read(0, 0, 0, 300, 200)
        assert np.array_equal(got[..., 0], got[..., 1])
        assert np.abs(got[..., 0] - expected).max() <= 1
        assert np.array_equal(slide.tile(0, 0, 0), got[:64, :64])


def test_ome_tiff_with_levels_in_subifds(tmp_path):
    """The usual layout of Bio-Formats: levels as SubIFDs, scale in the XML."""
    path = tmp_path / "slide.ome.tif"
    pixels = smooth(512, 384)
    with tifffile.TiffWriter(path, ome=True) as tiff:
        options = {"photometric": "rgb", "tile": (128, 128), "compression": "zstd"}
        scale = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}
        tiff.write(pixels, subifds=2, metadata={"axes": "YXS", **scale}, **options)
        tiff.write(pixels[::2, ::2], subfiletype=1, **options)
        tiff.write(pixels[::4, ::4], subfiletype=1, **options)
    with open_slide(path) as slide:
        assert [(level.width, level.height) for level in slide.levels] == [(512, 384), (256, 192), (128, 96)]
        assert (slide.mpp, slide.mpp_source, slide.vendor) == (pytest.approx(0.25), "file (OME)", "ome-tiff")
        for number, step in enumerate((1, 2, 4)):
            part = pixels[::step, ::step]
            assert np.array_equal(slide.read(number, 0, 0, part.shape[1], part.shape[0]), part)


@pytest.mark.parametrize("scale", [0.25, None])
def test_of_an_ome_tiff_with_a_macro_image_the_scale_of_the_slide_counts(tmp_path, scale):
    path = tmp_path / "slide.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for pixels, mpp in ((smooth(128, 128), 8.0), (smooth(512, 384), scale), (smooth(128, 64), 2.0)):
            facts = {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm"} if mpp else {}
            tiff.write(pixels, photometric="rgb", tile=(128, 128), metadata={"axes": "YXS", **facts})
    with open_slide(path) as slide:
        assert (slide.width, slide.mpp) == (512, scale)
        assert slide.mpp_source == ("file (OME)" if scale else "unknown")


def test_the_objective_of_an_ome_image_is_the_one_that_it_names():
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="Instrument:0">'
        '<Objective ID="Objective:0" NominalMagnification="1.25"/><Objective ID="Objective:1" NominalMagnification="40"/>'
        '</Instrument><Image ID="Image:0">{0}<Pixels SizeX="100" SizeY="90" PhysicalSizeX="8"/></Image>'
        '<Image ID="Image:1">{1}<Pixels SizeX="800" SizeY="720" PhysicalSizeX="0.25"/></Image></OME>'
    )
    named = xml.format(*(f'<ObjectiveSettings ID="Objective:{number}"/>' for number in range(2)))
    assert ome_scale(named, 800, 720) == (0.25, 40) and ome_scale(named, 100, 90) == (8, 1.25)
    assert ome_scale(xml.format("", ""), 800, 720) == (0.25, None)
    assert ome_scale(named, 7, 7) == (None, None) == ome_scale("<OME", 7, 7)


def test_fluorescence_channels_are_added_in_their_colours(tmp_path):
    """Two 16-bit channels as pages of an OME-TIFF: the first blue, the second green."""
    path = tmp_path / "cells.ome.tif"
    channels = np.stack([smooth(256, 192, seed, 1)[..., 0].astype(np.uint16) * 17 for seed in (1, 2)])
    tifffile.imwrite(path, channels, tile=(64, 64), photometric="minisblack", metadata={"axes": "CYX"}, ome=True)
    got = open_slide(path).read(0, 0, 0, 256, 192).astype(float)
    for colour, channel in ((2, channels[0]), (1, channels[1])):
        low, high = float(channel.min()), float(channel.max())
        assert np.abs(got[..., colour] - (channel - low) * (255 / (high - low))).max() <= 1
    assert got[..., 0].max() == 0


def test_of_a_stack_the_first_plane_is_shown(tmp_path):
    stack = np.stack([smooth(200, 150, seed) for seed in range(3)])
    tifffile.imwrite(
        tmp_path / "z.ome.tif", stack, tile=(64, 64), photometric="rgb", metadata={"axes": "ZYXS"}, ome=True
    )
    assert np.array_equal(open_slide(tmp_path / "z.ome.tif").read(0, 0, 0, 200, 150), stack[0])


@pytest.mark.parametrize(
    ("pixels", "unit", "mpp"),
    [
        (72, 2, None),
        (96, 2, None),
        (96 / 2.54, 3, None),
        (300, 2, None),
        (20_000, 3, 0.5),
        (0, 3, None),
        (5, 1, None),
        (50_800, 2, 0.5),
    ],
)
def test_resolutions_of_print_are_no_scale(pixels, unit, mpp):
    assert mpp_of_resolution(pixels, unit) == (None if mpp is None else pytest.approx(mpp))


# -- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_pictures_become_pyramids(tmp_path, suffix):
    pixels = smooth(1300, 900)
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(pixels).save(tmp_path / f"p{suffix}", **options)
    with open_slide(tmp_path / f"p{suffix}") as slide:
        assert isinstance(slide, PictureSlide)
        assert [(level.width, level.height) for level in slide.levels] == [(1300, 900), (650, 450), (325, 225)]
        assert np.array_equal(slide.read(0, 0, 0, 1300, 900), pixels)
        half = cv2.resize(pixels, (650, 450), interpolation=cv2.INTER_AREA)
        assert np.array_equal(slide.read(1, 0, 0, 650, 450), half)
        assert (slide.mpp, slide.mpp_source) == (None, "unknown")


def test_transparent_pictures_lie_on_white_and_cameras_are_held_upright(tmp_path):
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[:, 15:] = (10, 200, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    got = open_slide(tmp_path / "alpha.png").read(0, 0, 0, 30, 20)
    assert (got[:, :15] == 255).all() and (got[:, 15:] == (10, 200, 30)).all()
    turned = Image.fromarray(smooth(40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "camera.png", exif=exif)
    slide = open_slide(tmp_path / "camera.png")
    assert (slide.width, slide.height) == (20, 40)
    assert np.array_equal(slide.read(0, 0, 0, 20, 40), np.rot90(smooth(40, 20), -1))


def test_sixteen_bit_pictures_are_scaled(tmp_path):
    deep = (smooth(60, 40, channels=1)[..., 0].astype(np.uint16)) * 200
    Image.fromarray(deep).save(tmp_path / "deep.png")
    got = open_slide(tmp_path / "deep.png").read(0, 0, 0, 60, 40)
    expected = (deep - deep.min()) * (255 / (int(deep.max()) - int(deep.min())))
    assert np.abs(got[..., 0] - expected).max() <= 1


def test_a_picture_too_large_for_the_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.fromarray(smooth(2000, 1500)).save(tmp_path / "big.png")

    class Free:
        available = 60_000_000

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Free)
    monkeypatch.setattr("opsin.engine.data.picture._rgb", lambda image: pytest.fail("was decoded"))
    with pytest.raises(SlideError, match=r"big\.png has 2,000 x 1,500 pixels .* pyramidal tiled TIFF"):
        open_slide(tmp_path / "big.png")


# -- damage --------------------------------------------------------------------------------------


def one_sentence(error: pytest.ExceptionInfo[SlideError], name: str) -> str:
    text = str(error.value)
    assert name in text and text.endswith(".") and "\n" not in text and "Traceback" not in text
    return text


def test_noise_with_the_name_of_a_slide(data):
    with pytest.raises(SlideError) as error:
        open_slide(data / "wsi/slides/broken.svs")
    assert "copy it again" in one_sentence(error, "broken.svs")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_under_the_name_of_a_slide(tmp_path, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_text("These are my notes about the slide.\n" * 50)
    with pytest.raises(SlideError) as error:
        open_slide(path)
    one_sentence(error, path.name)


def test_missing_empty_and_folder(tmp_path):
    (tmp_path / "empty.svs").touch()
    (tmp_path / "folder.svs").mkdir()
    for name, word in (("gone.svs", "does not exist"), ("empty.svs", "empty"), ("folder.svs", "folder")):
        with pytest.raises(SlideError, match=word) as error:
            open_slide(tmp_path / name)
        one_sentence(error, name)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("style", ["aperio", "generic"])
def test_a_truncated_slide_is_refused(tmp_path, share, style):
    path = tmp_path / "cut.svs"
    write_pyramid(path, smooth(700, 600), 700, 600, mpp=0.5, factors=(1, 4), style=style)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(SlideError) as error:
        open_slide(path)
    one_sentence(error, "cut.svs")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_truncated_picture_is_refused(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(smooth(300, 200)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SlideError) as error:
        open_slide(path)
    one_sentence(error, path.name)


def test_one_damaged_tile_is_named_and_the_rest_can_be_read(tmp_path):
    path = tmp_path / "hurt.svs"
    pixels = smooth(1024, 768)
    write_pyramid(path, pixels, 1024, 768, mpp=0.5, factors=(1, 4))
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[6], tiff.pages[0].databytecounts[6]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = b"\x55" * count
    path.write_bytes(content)
    with open_slide(path) as slide:
        for read in (lambda: slide.tile(0, 1, 2), lambda: slide.read(0, 500, 200, 200, 200)):
            with pytest.raises(SlideError, match=r"row 1, column 2 of level 0") as error:
                read()
            one_sentence(error, "hurt.svs")
        assert np.abs(slide.read(0, 0, 0, 512, 768).astype(int) - pixels[:, :512]).mean() < 4


def test_after_an_unreadable_place_openslide_goes_on(tmp_path):
    """An OpenSlide handle is dead after its first error; ours is renewed."""
    path = tmp_path / "hurt.svs"
    write_pyramid(path, smooth(1024, 768), 1024, 768, mpp=0.5, factors=(1, 4))
    whole = OpenSlideSlide(path).read(0, 0, 0, 256, 256)
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[6], tiff.pages[0].databytecounts[6]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = b"\x55" * count
    path.write_bytes(content)
    with OpenSlideSlide(path) as slide:
        with pytest.raises(SlideError) as error:
            slide.read(0, 512, 256, 256, 256)
        one_sentence(error, "hurt.svs")
        assert np.array_equal(slide.read(0, 0, 0, 256, 256), whole)


def test_opening_and_reading_leave_the_file_alone(pyramid):
    path, _ = pyramid
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with open_slide(path) as slide:
        slide.thumbnail(64)
        slide.fingerprint()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_names_of_slides():
    assert is_slide("a/B.SVS") and is_slide(Path("x.ome.tiff")) and is_slide("p.jpeg")
    assert not is_slide("notes.txt") and not is_slide("labels.xml")


def test_a_damaged_slide_is_one_sentence_and_nothing_else_on_the_console(tmp_path):
    path = tmp_path / "cut.tif"
    write_pyramid(path, smooth(512, 512), 512, 512, mpp=None, factors=(1, 2), style="generic")
    path.write_bytes(path.read_bytes()[:300])
    script = (
        "import sys\nfrom opsin.engine.data.slides import open_slide\n"
        "try: open_slide(sys.argv[1])\nexcept Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=50)
    assert done.stdout.startswith("cut.tif is truncated: it ends at byte 300") and done.stderr == ""
