"""Fluorescence: channels as the file describes them, as they are shown, and as they are stored."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from opsin.engine.data.channels import COLOURS, Channel, composite, described, rgb_of
from opsin.engine.data.slides import open_slide

from .slide_pixels import smooth

BLUE, GREEN = "#0000ff", "#00ff00"


def cells(count: int, dtype: type = np.uint16, width: int = 256, height: int = 192) -> np.ndarray:
    """[C, height, width]; 16-bit and float values go far beyond 255."""
    planes = np.stack([smooth(width, height, seed, 1)[..., 0] for seed in range(1, count + 1)])
    return planes.astype(dtype) * dtype(1 if dtype is np.uint8 else 17)


def scaled(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((plane.astype(float) - low) / (high - low), 0, 1) * 255


@pytest.fixture
def two(tmp_path):
    """OME-TIFF with two 16-bit channels as pages, named and coloured."""
    values = cells(2)
    path = tmp_path / "cells.ome.tif"
    facts = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC"], "Color": [0x0000FFFF, 0x00FF00FF]}}
    tifffile.imwrite(path, values, tile=(64, 64), photometric="minisblack", metadata=facts, ome=True)
    return path, values


def test_names_and_colours_come_from_the_file_and_windows_from_percentiles(two):
    path, values = two
    with open_slide(path) as slide:
        assert [(c.name, c.color, c.visible) for c in slide.channels] == [("DAPI", BLUE, True), ("FITC", GREEN, True)]
        for channel, plane in zip(slide.channels, values):
            assert (channel.low, channel.high) == tuple(np.percentile(plane, (0.1, 99.9)))
        assert slide.display == slide.channels


def test_channels_are_added_in_their_colours(two):
    path, values = two
    with open_slide(path) as slide:
        got = slide.read(0, 0, 0, 256, 192).astype(float)
        for colour, number in ((2, 0), (1, 1)):
            window = slide.channels[number].low, slide.channels[number].high
            assert np.abs(got[..., colour] - scaled(values[number], *window)).max() <= 1
        assert got[..., 0].max() == 0


def test_stored_values_come_as_they_are(two):
    path, values = two
    with open_slide(path) as slide:
        got = slide.read_channels(0, 30, 50, 100, 90)
        assert got.dtype == np.uint16 and np.array_equal(got, values[:, 50:140, 30:130])
        beyond = slide.read_channels(0, -5, 180, 20, 20)
        assert np.array_equal(beyond[:, :12, 5:], values[:, 180:, :15]) and not beyond[:, 12:].any()
        assert not slide.read(0, -5, 180, 5, 20).any(), "black outside"


def test_a_changed_display_shows_at_once_in_every_kind_of_read_and_only_here(two):
    path, _ = two
    with open_slide(path) as slide, open_slide(path) as other:
        before = slide.read(0, 0, 0, 256, 192)
        shown = (
            Channel("DAPI", "#ff0000", 100, 2000),
            Channel("FITC", GREEN, 0, 1, visible=False),
        )
        slide.display = shown
        expected = np.zeros((192, 256, 3))
        expected[..., 0] = scaled(slide.read_channels(0, 0, 0, 256, 192)[0], 100, 2000)
        for got, part in (
            (slide.read(0, 0, 0, 256, 192), expected),
            (slide.tile(0, 1, 2), expected[64:128, 128:192]),
            (slide.read_scaled(10, 20, 50, 60, 1.0), expected[20:80, 10:60]),
            (slide.thumbnail(256), expected),
        ):
            assert np.abs(got - part).max() <= 1
        assert slide.channels == other.channels == other.display
        assert np.array_equal(other.read(0, 0, 0, 256, 192), before), "who opens the file reads the file's defaults"
        with pytest.raises(ValueError, match="2 channels, not 1"):
            slide.display = shown[:1]


def test_each_read_shows_one_display_whole_however_many_threads_read(two):
    path, values = two
    with open_slide(path) as slide, ThreadPoolExecutor(4) as pool:
        choices = [tuple(Channel(c.name, color, 0, 4335) for c in slide.channels) for color in ("#ff0000", "#0000ff")]
        expected = [composite(values, display) for display in choices]
        slide.display = choices[0]
        reads = []
        for number in range(40):
            reads.append(pool.submit(slide.read, 0, 0, 0, 256, 192))
            slide.display = choices[number % 2]
        assert all(any(np.array_equal(read.result(), e) for e in expected) for read in reads)
        assert np.array_equal(slide.read(0, 0, 0, 256, 192), expected[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", ["pages", "planar", "interleaved", "levels", "stripped", "imagej", "ome strips"])
def test_every_layout_of_channels_in_a_tiff(tmp_path, dtype, layout):
    values = cells(4, dtype)
    path = tmp_path / "cells.tif"
    options = {"photometric": "minisblack", "tile": (64, 64)}
    whole = {"photometric": "minisblack"}
    if layout == "stripped":
        tifffile.imwrite(path, values, planarconfig="separate", metadata=None, compression="zlib", **whole)
    elif layout == "imagej":
        tifffile.imwrite(path, values, imagej=True, metadata={"axes": "CYX"}, **whole)
    elif layout == "ome strips":
        tifffile.imwrite(path, values, ome=True, metadata={"axes": "CYX"}, compression="zlib", **whole)
    elif layout == "pages":
        with tifffile.TiffWriter(path) as tiff:
            for plane in values:
                tiff.write(plane, contiguous=False, metadata=None, **options)
    elif layout == "planar":
        tifffile.imwrite(path, values, planarconfig="separate", metadata=None, **options)
    elif layout == "interleaved":
        tifffile.imwrite(path, values.transpose(1, 2, 0), planarconfig="contig", metadata=None, **options)
    else:
        with tifffile.TiffWriter(path, ome=True) as tiff:
            tiff.write(values, subifds=1, metadata={"axes": "CYX"}, **options)
            tiff.write(values[:, ::2, ::2], subfiletype=1, **options)
    with open_slide(path) as slide:
        assert len(slide.channels) == 4 and [c.color for c in slide.channels] == list(COLOURS[:4])
        got = slide.read_channels(0, 0, 0, 256, 192)
        assert got.dtype == dtype and np.array_equal(got, values)
        if layout == "levels":
            assert np.array_equal(slide.read_channels(1, 0, 0, 128, 96), values[:, ::2, ::2])
        assert np.array_equal(slide.read(0, 0, 0, 256, 192), composite(values, slide.display))


def test_one_deep_grey_channel_is_white_between_its_percentiles(tmp_path):
    grey = cells(1)[0] + 100
    tifffile.imwrite(tmp_path / "deep.tif", grey, tile=(64, 64), photometric="minisblack", metadata=None)
    with open_slide(tmp_path / "deep.tif") as slide:
        (channel,) = slide.channels
        assert channel.color == "#ffffff" and (channel.low, channel.high) == tuple(np.percentile(grey, (0.1, 99.9)))
        got = slide.read(0, 0, 0, 256, 192)
        assert np.abs(got - scaled(grey, channel.low, channel.high)[..., None]).max() <= 1


def test_turned_channels(tmp_path):
    values = cells(2)
    path = tmp_path / "turned.tif"
    tag = [(274, "H", 1, 6, True)]
    tifffile.imwrite(path, values, tile=(64, 64), photometric="minisblack", planarconfig="separate", extratags=tag,
                     metadata=None)  # fmt: skip
    with open_slide(path) as slide:
        assert (slide.width, slide.height) == (192, 256)
        expected = np.rot90(values, -1, (1, 2))
        assert np.array_equal(slide.read_channels(0, 0, 0, 192, 256), expected)
        assert np.array_equal(slide.read(0, 3, 4, 50, 60), composite(expected[:, 4:64, 3:53], slide.display))


def test_of_further_planes_the_note_speaks(tmp_path):
    stack = np.stack([cells(2) + z for z in range(3)])
    path = tmp_path / "z.ome.tif"
    tifffile.imwrite(path, stack, tile=(64, 64), photometric="minisblack", metadata={"axes": "ZCYX"}, ome=True)
    with open_slide(path) as slide:
        assert slide.note == "Only the first plane of 3 in depth is shown."
        assert np.array_equal(slide.read_channels(0, 0, 0, 256, 192), stack[0])


def test_rgb_slides_have_no_channels_but_their_three_can_be_read(data):
    with open_slide(data / "wsi/slides/CMU-1-Small-Region.svs") as slide:
        assert slide.channels == () == slide.display and slide.note == ""
        rgb = slide.read(0, 100, 200, 50, 40)
        assert np.array_equal(slide.read_channels(0, 100, 200, 50, 40), rgb.transpose(2, 0, 1))


def test_what_is_no_channel_is_refused():
    for wrong in ({"color": "blue"}, {"low": 5}, {"low": float("nan")}):
        with pytest.raises(ValueError):
            Channel(**{"name": "a", "color": BLUE, "low": 0, "high": 1, **wrong})
    assert rgb_of("#102030") == (16, 32, 48)


def test_windows_are_never_empty_and_not_a_number_is_black():
    values = np.zeros((3, 10, 10), np.float32)
    values[1] = np.nan
    values[2, 0, 0] = 5  # one speck, beyond the percentiles' reach
    channels = described(values, 3)
    assert all(c.low < c.high for c in channels) and channels[2].high <= 5
    picture = composite(values, channels)
    assert picture.dtype == np.uint8 and not picture[5:, 5:].any() and picture[0, 0].any()


def test_what_imagej_says_of_its_windows_and_scale(tmp_path):
    values = cells(2)
    facts = {"axes": "CYX", "Ranges": (10.0, 900.0, 20.0, 4000.0), "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata=facts, resolution=(2.0, 2.0))
    with open_slide(tmp_path / "a.tif") as slide:
        assert [(c.low, c.high) for c in slide.channels] == [(10, 900), (20, 4000)]
        assert (slide.mpp, slide.mpp_source) == (0.5, "file (ImageJ)")


def test_deep_rgb_without_tiles_keeps_its_colours(tmp_path):
    pixels = smooth(300, 200).astype(np.uint16) * 200
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", metadata=None)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.channels == ()
        assert np.abs(slide.read(0, 0, 0, 300, 200) - pixels * (255 / pixels.max())).max() <= 1


def test_a_large_picture_of_channels_gets_levels(tmp_path):
    values = cells(2, width=1301, height=905)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata=None, planarconfig="separate")
    with open_slide(tmp_path / "a.tif") as slide:
        assert [(level.width, level.downsample_x) for level in slide.levels] == [(1301, 1), (650, 2), (325, 4)]
        exact = values[:, :904, :1300].astype(float).reshape(2, 452, 2, 650, 2).mean((2, 4))
        assert np.abs(slide.read_channels(1, 0, 0, 650, 452) - exact).max() <= 1
