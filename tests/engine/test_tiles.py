"""The tile pyramid in a file: levels, sparse tiles, edges, readers beside a writer, full disk."""

import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from opsin.engine.errors import LabelError
from opsin.engine.tiles import SMALL, TILE, TilePyramid, pack, unpack

WIDTH, HEIGHT = 3000, 1700


@pytest.fixture
def pyramid(tmp_path):
    with TilePyramid.create(
        tmp_path / "a.heat", WIDTH, HEIGHT, base=2, reduce="mean", meta={"kind": "heat"}
    ) as pyramid:
        yield pyramid


def _fill(pyramid, image):
    with pyramid.transaction():
        for row in range(-(-image.shape[0] // TILE)):
            for column in range(-(-image.shape[1] // TILE)):
                part = image[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
                pyramid.write(row, column, part)


def _mean(image):
    """Mean of the nonzero ones among each four, rounded half up, zeros beyond the edge."""
    image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2)))
    four = np.stack([image[0::2, 0::2], image[0::2, 1::2], image[1::2, 0::2], image[1::2, 1::2]]).astype(float)
    count = (four > 0).sum(0)
    return np.floor(four.sum(0) / np.maximum(count, 1) + 0.5).astype(np.uint8)


def test_sizes_and_facts_survive_reopening(pyramid):
    pyramid.close()
    with TilePyramid.open(pyramid.path) as again:
        assert (again.width, again.height, again.base, again.reduce) == (WIDTH, HEIGHT, 2, "mean")
        assert again.meta == {"kind": "heat"}
        assert again.level_size(0) == (1500, 850) and again.levels == 3
        assert again.level_size(1) == (750, 425) and max(again.level_size(2)) <= TILE


@pytest.mark.parametrize("reduce", ["stride", "mean"])
def test_every_level_is_made_from_the_finer_one(tmp_path, reduce):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (851, 1501)).astype(np.uint8) * (rng.random((851, 1501)) < 0.6)
    with TilePyramid.create(tmp_path / "a", 1501, 851, reduce=reduce) as pyramid:
        _fill(pyramid, image)
        expected = image
        for level in range(pyramid.levels):
            width, height = pyramid.level_size(level)
            assert np.array_equal(pyramid.region(level, 0, 0, width, height), expected)
            expected = _mean(expected) if reduce == "mean" else expected[::2, ::2]


def test_coarser_levels_follow_single_tiles(tmp_path):
    rng = np.random.default_rng(1)
    image = np.zeros((1700, 2100), np.uint8)
    with TilePyramid.create(tmp_path / "a", 2100, 1700) as pyramid:
        for _ in range(30):
            row, column = int(rng.integers(0, 4)), int(rng.integers(0, 5))
            part = image[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            part[...] = rng.integers(0, 3) if rng.random() < 0.6 else rng.integers(0, 9, part.shape)
            with pyramid.transaction():
                pyramid.write(row, column, part)
            for level in range(pyramid.levels):
                size = pyramid.level_size(level)
                assert np.array_equal(pyramid.region(level, 0, 0, *size), image[:: 1 << level, :: 1 << level])


def test_regions_reach_beyond_the_slide_and_tiles_do_not(pyramid):
    with pyramid.transaction():
        pyramid.write(1, 2, np.full((TILE, TILE), 9, np.uint8))  # its right and lower part lie outside
        pyramid.write(0, 0, 7)
    assert (
        pyramid.region(0, -10, -10, 30, 30)[10:, 10:].min() == 7 and pyramid.region(0, -10, -10, 30, 30)[:10].max() == 0
    )
    tile = pyramid.tile(0, 1, 2)
    assert tile[: 850 - TILE, : 1500 - 2 * TILE].min() == 9
    assert tile[850 - TILE :].max() == 0 and tile[:, 1500 - 2 * TILE :].max() == 0
    assert pyramid.tile(0, 0, 1) is None and pyramid.tile(0, 50, -3) is None
    assert not tile.flags.writeable and not pyramid.tile(0, 0, 0).flags.writeable
    assert pyramid.keys() == [(0, 0), (1, 2)] and pyramid.uniform(0, 0, 0) == 7 and pyramid.uniform(0, 1, 2) is None


def test_uniform_tiles_take_one_byte_and_zero_none(pyramid):
    assert pack(np.full((TILE, TILE), 5, np.uint8)) == b"\x05" and pack(np.zeros((TILE, TILE), np.uint8)) is None
    half = np.zeros((TILE, TILE), np.uint8)
    half[:, 100:] = 3
    assert np.array_equal(unpack(pack(half)), half)
    with pyramid.transaction():
        pyramid.write(0, 0, half)
    with pyramid.transaction():
        pyramid.write(0, 0, 0)
    assert pyramid.keys() == [] and pyramid.tile(2, 0, 0) is None


def test_nothing_appears_before_the_end_and_nothing_on_an_error(pyramid):
    with pyramid.transaction():
        pyramid.write(0, 0, 7)
        assert pyramid.tile(0, 0, 0) is None and pyramid.current(0, 0) == 7
    with pytest.raises(RuntimeError), pyramid.transaction():
        pyramid.write(0, 1, 8)
        raise RuntimeError
    assert pyramid.keys() == [(0, 0)]
    with pytest.raises(LabelError, match="inside a transaction"):
        pyramid.write(0, 0, 1)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((600, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)])
def test_wrong_tiles_are_refused(pyramid, pixels):
    with pytest.raises(LabelError, match="A tile is uint8"), pyramid.transaction():
        pyramid.write(0, 0, pixels)
    with pytest.raises(LabelError, match="no tile in row 9"), pyramid.transaction():
        pyramid.write(9, 0, 1)


def test_reader_sees_what_another_process_writes_after_refresh(pyramid):
    noise = np.random.default_rng(0).integers(1, 255, (TILE, TILE)).astype(np.uint8)
    assert len(pack(noise)) > SMALL, "a tile that is not kept in memory is part of this"
    with pyramid.transaction():
        pyramid.write(0, 0, noise)
        pyramid.write(1, 1, 5)
    assert np.array_equal(pyramid.tile(0, 0, 0), noise)
    code = (
        "import sys, numpy as np\nfrom opsin.engine.tiles import TilePyramid\n"
        "with TilePyramid.open(sys.argv[1], readonly=True) as other:\n"
        "    print(other.tile(0, 0, 0).sum(dtype=int), other.tile(0, 1, 1).max(), flush=True)\n"
        "    input()\n"
        "    print(other.tile(0, 1, 1).max(), flush=True)\n"
        "    other.refresh((0, 0, 100, 100))\n"
        "    print(other.tile(0, 1, 1).max(), flush=True)\n"
        "    other.refresh((1024, 1024, 10, 10))\n"
        "    print(other.tile(0, 1, 1).max(), other.tile(1, 0, 0).max() > 0, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(pyramid.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline().split() == [str(noise.sum(dtype=int)), "5"]
    with pyramid.transaction():
        pyramid.write(1, 1, 6)
    rest, _ = child.communicate("\n")
    assert rest.split() == ["5", "5", "6", "True"], "only what lies in the rectangle was dropped"
    assert child.returncode == 0


def test_reader_cannot_write_and_leaves_nothing_behind(pyramid):
    pyramid.close()
    with (
        TilePyramid.open(pyramid.path, readonly=True) as reader,
        pytest.raises(LabelError, match="reading only"),
        reader.transaction(),
    ):
        pass
    assert [path.name for path in pyramid.path.parent.iterdir()] == ["a.heat"]


def test_full_disk_is_one_sentence_and_loses_nothing(pyramid):
    with pyramid.transaction():
        pyramid.write(0, 0, 7)
    pages = pyramid._connection.execute("PRAGMA page_count").fetchone()[0]
    pyramid._connection.execute(f"PRAGMA max_page_count = {pages}")
    noise = np.random.default_rng(0).integers(0, 255, (TILE, TILE)).astype(np.uint8)
    with pytest.raises(LabelError, match=r"a\.heat cannot be written: .* full"), pyramid.transaction():
        pyramid.write(0, 0, noise)
    assert pyramid.tile(0, 0, 0).max() == 7 and pyramid.uniform(0, 0, 0) == 7
    pyramid._connection.execute("PRAGMA max_page_count = 100000")
    with pyramid.transaction():
        pyramid.write(0, 0, noise)
    assert np.array_equal(pyramid.tile(0, 0, 0), noise)


def test_damaged_tile_is_one_sentence(pyramid):
    pyramid.close()
    connection = sqlite3.connect(pyramid.path)
    connection.execute("INSERT INTO tile VALUES(0, 0, 0, x'0102030405')")
    connection.commit()
    connection.close()
    with TilePyramid.open(pyramid.path) as again, pytest.raises(LabelError, match=r"a\.heat: tile .* is damaged"):
        again.tile(0, 0, 0)


def test_bad_files_and_sizes_are_one_sentence(tmp_path, pyramid):
    with pytest.raises(LabelError, match="exists already"):
        TilePyramid.create(pyramid.path, 10, 10)
    with pytest.raises(LabelError, match="does not exist"):
        TilePyramid.open(tmp_path / "none")
    with pytest.raises(LabelError, match="cannot be tiled"):
        TilePyramid.create(tmp_path / "b", 0, 10)
    with pytest.raises(LabelError, match="cannot be tiled"):
        TilePyramid.create(tmp_path / "b", 10, 10, base=3)
    with pytest.raises(LabelError, match="no way to reduce"):
        TilePyramid.create(tmp_path / "b", 10, 10, reduce="max")
    foreign = sqlite3.connect(tmp_path / "foreign")
    foreign.execute("CREATE TABLE a(b)")
    foreign.close()
    with pytest.raises(LabelError, match="damaged or no tiles file"):
        TilePyramid.open(tmp_path / "foreign")
    pyramid.close()
    connection = sqlite3.connect(pyramid.path)
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(LabelError, match="newer Opsin"):
        TilePyramid.open(pyramid.path)
    assert not (tmp_path / "b").exists()
