"""Opening and reading slides: our tile reader against OpenSlide, scales, threads, fingerprints."""

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from opsin.engine.data import fingerprints
from opsin.engine.data.openslide_slide import OpenSlideSlide
from opsin.engine.data.slides import (
    file_fingerprint,
    open_slide,
    sampled_fingerprint,
)
from opsin.engine.data.tiff import write_pyramid
from opsin.engine.data.tiled_tiff import TiledTiffSlide
from opsin.engine.errors import SlideError

from .slide_pixels import by_openslide, smooth


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


def test_levels_whose_sizes_are_rounded_show_the_same_places(data):
    """300 x 250 shrunk by 2, 4 and 8 and cut: the quotients of the sizes (4.03, 8.1) would drift towards the far edge."""
    with open_slide(data / "wsi/slides/small_HE_levels.tiff") as slide:
        assert [(level.downsample_x, level.downsample_y) for level in slide.levels] == [(1, 1), (2, 2), (4, 4), (8, 8)]
        fine = slide.read(0, 0, 0, 300, 250)
        for level, factor in zip(slide.levels, (1, 2, 4, 8)):
            number = slide.levels.index(level)
            part = fine[: level.height * factor, : level.width * factor]
            expected = cv2.resize(part, (level.width, level.height), interpolation=cv2.INTER_AREA)
            got = slide.read(number, 0, 0, level.width, level.height)
            assert np.abs(got.astype(int) - expected).mean() < 0.1


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_orientation_tag_is_applied_alike_at_all_levels(data, orientation):
    """The four files store the same pixels and differ in the tag alone."""
    plain = open_slide(data / "wsi/slides/test_orient1.tif")
    turned = open_slide(data / f"wsi/slides/test_orient{orientation}.tif")
    quarters = {3: 2, 6: -1, 8: 1}[orientation]
    for number, size in enumerate(plain.levels):
        expected = np.rot90(plain.read(number, 0, 0, size.width, size.height), quarters)
        height, width = expected.shape[:2]
        assert (turned.levels[number].width, turned.levels[number].height) == (width, height)
        assert np.array_equal(turned.read(number, 0, 0, width, height), expected)
        assert np.array_equal(turned.read(number, 5, 7, 11, 13), expected[7:20, 5:16])
        assert np.array_equal(turned.tile(number, 0, 0), expected[:64, :64])


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
        monkeypatch.setattr("opsin.engine.data.slide._BLOCK_PIXELS", 64 * 64)
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
    monkeypatch.setattr(fingerprints, "_HASHED_WHOLE", 1 << 16)  # so that these files count as large
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
