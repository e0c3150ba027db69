"""Levels whose factors are not exact, and turned slides: the same place at every level, by every way of reading."""

import cv2
import numpy as np
import pytest
import tifffile

from opsin.engine.data.orientation import stored_rectangle, upright
from opsin.engine.data.slide import level_factors
from opsin.engine.data.slides import open_slide

from .slide_pixels import smooth


def write(path, levels: list[np.ndarray], orientation: int = 1, tile: int = 128) -> None:
    extra = [(274, "H", 1, orientation, True)]
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            tiff.write(level, photometric="rgb", tile=(tile, tile), compression="zstd", metadata=None,
                       extratags=extra if number == 0 else None, subfiletype=int(number > 0))  # fmt: skip


def stripes(width: int, height: int) -> np.ndarray:
    """A slow wave along x (red) and y (green), whose phase tells the place to a hundredth of a pixel."""
    y, x = np.mgrid[:height, :width] + 0.5
    wave = np.stack([np.sin(x * 2 * np.pi / 64), np.sin(y * 2 * np.pi / 64), np.zeros_like(x)], 2)
    return np.round(wave * 110 + 127.5).astype(np.uint8)


def place(line: np.ndarray, at: np.ndarray, period: float = 64) -> float:
    """By how many level-0 pixels a sampled wave lies beside where it should be."""
    turn = 2 * np.pi / period
    fit = np.linalg.lstsq(np.stack([np.sin(turn * at), np.cos(turn * at), np.ones_like(at)], 1), line, rcond=None)[0]
    return float(np.arctan2(fit[1], fit[0]) / turn)


@pytest.mark.parametrize(
    ("size", "level", "factors"),
    [
        ((300, 250), (37, 31), (8, 8)),  # rounded down on both axes
        ((301, 251), (76, 63), (4, 4)),  # rounded up
        ((100_003, 80_001), (25_000, 20_000), (4, 4)),  # 4.0001
        ((10_000, 5_000), (625, 312), (16, 16)),
        ((4003, 2001), (1000, 500), (4, 4)),
        ((100_000, 80_000), (24_998, 19_998), (100_000 / 24_998, 80_000 / 19_998)),  # resized: 4.0003 and 4.0004
        ((900, 600), (600, 400), (1.5, 1.5)),
        ((1000, 1000), (333, 250), (1000 / 333, 4.0)),  # each axis its own
        ((7, 5), (1, 1), (4, 4)),
    ],
)
def test_the_factor_of_a_level_is_told_from_the_sizes(size, level, factors):
    assert level_factors(*size, *level) == pytest.approx(factors)


@pytest.mark.parametrize("kind", ["cut", "resized"])
def test_no_level_drifts_at_the_far_edge(tmp_path, kind):
    """4003 columns: cut to 1000 at factor 4; or resized to 998, factor 4.011, where a factor of 4 would be 44 pixels off."""
    width, height = 4003, 515
    fine = stripes(width, height)
    if kind == "cut":
        coarse = cv2.resize(fine[: 128 * 4, : 1000 * 4], (1000, 128), interpolation=cv2.INTER_AREA)
    else:
        coarse = cv2.resize(fine, (998, 128), interpolation=cv2.INTER_AREA)
    write(tmp_path / "a.tif", [fine, coarse])
    with open_slide(tmp_path / "a.tif") as slide:
        level = slide.levels[1]
        x0 = level.width - 120
        at = (x0 + np.arange(120) + 0.5) * level.downsample_x
        direct = slide.read(1, x0, 20, 120, 60)[..., 0].mean(0)
        assert abs(place(direct, at)) < 0.1, "read"
        last = slide.levels[1].columns - 1
        tile = slide.tile(1, 0, last)
        assert np.array_equal(tile, slide.read(1, last * 128, 0, tile.shape[1], tile.shape[0])), "tile is read"
        for downsample in (4.0, 4.5, level.downsample_x):
            columns = int(380 / downsample)
            corner = width - 400.0
            scaled = slide.read_scaled(corner, 80, columns, 40, downsample)[..., 0].mean(0)
            assert abs(place(scaled, corner + (np.arange(columns) + 0.5) * downsample)) < 0.15, downsample


def test_the_last_part_of_a_pixel_is_no_white_edge(tmp_path):
    """A level cut to whole pixels ends short of the slide: what lies between is like its last pixel, beyond is white."""
    fine = np.full((303, 303, 3), 40, np.uint8)
    write(tmp_path / "a.tif", [fine, fine[:75, :75]])
    with open_slide(tmp_path / "a.tif") as slide:
        got = slide.read_scaled(0, 0, 80, 80, 4.0)
        assert (got[:76, :76] == 40).all() and (got[76:] == 255).all() and (got[:, 76:] == 255).all()
        assert (slide.thumbnail(70) < 60).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_to_all_levels_and_ways_of_reading(tmp_path, orientation):
    fine = smooth(400, 304)
    levels = [fine, np.ascontiguousarray(fine[::2, ::2]), np.ascontiguousarray(fine[::4, ::4])]
    write(tmp_path / "a.tif", levels, orientation)
    turns = {1: [], 2: ["x"], 3: ["x", "y"], 4: ["y"], 5: ["t"], 6: ["t", "x"], 7: ["t", "x", "y"], 8: ["t", "y"]}
    with open_slide(tmp_path / "a.tif") as slide:
        for number, stored in enumerate(levels):
            expected = stored
            for turn in turns[orientation]:
                expected = (
                    expected.swapaxes(0, 1) if turn == "t" else expected[:, ::-1] if turn == "x" else expected[::-1]
                )
            height, width = expected.shape[:2]
            level = slide.levels[number]
            assert (level.width, level.height, level.downsample_x) == (width, height, 2**number)
            assert np.array_equal(slide.read(number, 0, 0, width, height), expected)
            assert np.array_equal(slide.read(number, 13, 7, 40, 31), expected[7:38, 13:53])
            joined = np.vstack(
                [np.hstack([slide.tile(number, r, c) for c in range(level.columns)]) for r in range(level.rows)]
            )
            assert np.array_equal(joined, expected)
            scaled = slide.read_scaled(16, 8, 30, 20, float(2**number))
            assert np.array_equal(scaled, expected[8 >> number :, 16 >> number :][:20, :30])


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_turned_levels_that_were_cut_do_not_shift(tmp_path, orientation):
    """Of a mirrored level the part of a pixel that is missing lies at the near edge."""
    swap = orientation in (6, 7)
    upright_picture = stripes(1003, 807)
    stored = upright(8 if orientation == 6 else orientation, upright_picture)
    height, width = (side // 4 for side in stored.shape[:2])
    coarse = cv2.resize(stored[: height * 4, : width * 4], (width, height), interpolation=cv2.INTER_AREA)
    write(tmp_path / "a.tif", [stored, coarse], orientation)
    with open_slide(tmp_path / "a.tif") as slide:
        assert (slide.width, slide.height) == (1003, 807) and swap == (stored.shape[0] == 1003)
        assert np.array_equal(slide.read(0, 0, 0, 1003, 807), upright_picture)
        got = slide.read_scaled(40, 60, 200, 150, 4.0)
        assert abs(place(got[..., 0].mean(0), 40 + (np.arange(200) + 0.5) * 4)) < 0.1
        assert abs(place(got[..., 1].mean(1), 60 + (np.arange(150) + 0.5) * 4)) < 0.1
        assert slide.read_scaled(0, 0, 30, 30, 4.0).max() < 255, "no white at the near edge"


def test_rectangles_go_back_to_where_they_are_stored():
    picture = np.arange(7 * 5).reshape(5, 7)
    for orientation in range(1, 9):
        turned = upright(orientation, picture)
        size = turned.shape[1], turned.shape[0]
        x, y, width, height = stored_rectangle(orientation, size, 1, 2, 3, 2)
        assert np.array_equal(upright(orientation, picture[y : y + height, x : x + width]), turned[2:4, 1:4])


def test_an_untiled_picture_with_an_orientation(tmp_path):
    pixels = smooth(60, 40)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", metadata=None, extratags=[(274, "H", 1, 6, True)])
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(0, 0, 0, 40, 60), np.rot90(pixels, -1))
    deep = pixels[..., 0].astype(np.uint16) * 9
    tifffile.imwrite(tmp_path / "b.tif", deep, metadata=None, extratags=[(274, "H", 1, 8, True)])
    with open_slide(tmp_path / "b.tif") as slide:
        assert np.array_equal(slide.read_channels(0, 0, 0, 40, 60)[0], np.rot90(deep))
