"""The cache of decoded tiles: bounded, safe in threads and after a fork, emptied by closing."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from opsin.engine.data.slides import open_slide
from opsin.engine.data.tiff import write_pyramid
from opsin.engine.data.tile_cache import BYTES, TILES, TileCache

from .slide_pixels import smooth


def tile(value: int, side: int = 10) -> np.ndarray:
    return np.full((side, side), value, np.uint8)


def test_the_latest_used_stay_within_the_limit():
    cache = TileCache(1000)
    for number in range(10):
        cache.put((1, 0, number), tile(number))
    assert cache.get((1, 0, 0)) is not None and cache.bytes == 1000
    cache.put((1, 0, 10), tile(10))
    assert cache.get((1, 0, 1)) is None and cache.get((1, 0, 0))[0, 0] == 0, "what was asked for lately stays"
    cache.put((1, 0, 11), tile(11, 100))
    assert cache.get((1, 0, 11)) is None and cache.bytes <= 1000, "nothing that would push out all else"
    cache.put((2, 0, 0), tile(7))
    cache.forget(1)
    assert cache.bytes == 100 and cache.get((2, 0, 0)) is not None


def test_kept_tiles_cannot_be_written_to():
    cache = TileCache(1000)
    cache.put((1, 0, 0), tile(1))
    with pytest.raises(ValueError):
        cache.get((1, 0, 0))[0, 0] = 5


def test_a_slide_gives_its_own_tiles_and_takes_them_along_when_it_closes(tmp_path):
    pictures = [smooth(600, 500, seed) for seed in range(2)]
    for number, picture in enumerate(pictures):
        write_pyramid(tmp_path / f"{number}.tif", picture, 600, 500, mpp=None, factors=(1,), compression="zstd")
    before = TILES.bytes
    slides = [open_slide(tmp_path / f"{number}.tif") for number in range(2)]

    def read(number: int) -> bool:
        x, y = number * 37 % 400, number * 53 % 300
        got = slides[number % 2].read(0, x, y, 200, 190)
        same = np.array_equal(got, pictures[number % 2][y : y + 190, x : x + 200])
        got[:] = 0  # what a caller does with its pixels must not reach the cache
        return same

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(80)))
    assert before < TILES.bytes <= BYTES
    assert np.array_equal(slides[0].tile(0, 0, 0), pictures[0][:256, :256])
    slides[0].tile(0, 0, 0)[:] = 0
    assert np.array_equal(slides[0].tile(0, 0, 0), pictures[0][:256, :256])
    for slide in slides:
        slide.close()
    assert TILES.bytes <= before


def test_a_forked_process_reads_though_a_thread_held_the_lock(tmp_path):
    picture = smooth(300, 300)
    write_pyramid(tmp_path / "a.tif", picture, 300, 300, mpp=None, factors=(1,), compression="zstd")
    slide = open_slide(tmp_path / "a.tif")
    slide.read(0, 0, 0, 300, 300)
    with TILES._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(slide.read(0, 0, 0, 300, 300), picture) else 1)
    assert os.waitpid(child, 0)[1] == 0
