"""Pictures without tiles that become pyramids."""

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from opsin.engine.convert import convert
from opsin.engine.data import picture_pyramid as module
from opsin.engine.data.picture_pyramid import picture_pyramid
from opsin.engine.data.slides import open_slide
from opsin.engine.errors import SlideError

from .slide_pixels import smooth


@pytest.mark.parametrize("kind", ["png", "jpg", "strips", "grey strips", "one strip"])
def test_a_picture_becomes_a_pyramid_of_the_same_pixels(tmp_path, kind):
    pixels = smooth(1300, 900)
    source = tmp_path / f"big.{kind if kind in ('png', 'jpg') else 'tif'}"
    if kind in ("png", "jpg"):
        Image.fromarray(pixels).save(source)
    else:
        pixels = np.repeat(pixels[..., :1], 3, 2) if kind == "grey strips" else pixels
        stored = pixels[..., 0] if kind == "grey strips" else pixels
        rows = 900 if kind == "one strip" else 37
        options = {"photometric": "minisblack" if kind == "grey strips" else "rgb", "compression": "zlib"}
        tifffile.imwrite(source, stored, rowsperstrip=rows, metadata=None, **options)
    assert picture_pyramid(source, tmp_path / "out.tif") == (1300, 900)
    with open_slide(tmp_path / "out.tif") as slide:
        assert slide.reader == "Opsin tile reader"
        assert [(level.width, level.downsample_x) for level in slide.levels] == [(1300, 1), (650, 2), (325, 4)]
        assert np.abs(slide.read(0, 0, 0, 1300, 900).astype(int) - pixels).mean() < 3


def test_strips_are_read_one_by_one(tmp_path, monkeypatch):
    """A memory too small for the picture is large enough for its strips."""
    tifffile.imwrite(tmp_path / "big.tif", smooth(1300, 900), rowsperstrip=10, photometric="rgb", metadata=None)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Free", (), {"available": 1_000_000}))
    with pytest.raises(SlideError, match=r"opsin convert big\.tif big\.tif|free memory"):
        open_slide(tmp_path / "big.tif")
    assert picture_pyramid(tmp_path / "big.tif", tmp_path / "out.tif") == (1300, 900)
    assert "1,300 x 900 pixels" in convert(tmp_path / "big.tif", tmp_path / "also.tif"), "the way out that was named"


def test_what_must_be_decoded_whole_is_refused_when_it_does_not_fit(tmp_path, monkeypatch):
    Image.fromarray(smooth(1300, 900)).save(tmp_path / "big.png")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Free", (), {"available": 1_000_000}))
    monkeypatch.setattr(module, "_rgb", lambda image: pytest.fail("was decoded"))
    with pytest.raises(SlideError, match=r"big\.png can only be decoded whole.* libvips"):
        picture_pyramid(tmp_path / "big.png", tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_damaged_picture_leaves_nothing(tmp_path, suffix):
    source = tmp_path / f"a.{suffix}"
    if suffix == "png":
        Image.fromarray(smooth(300, 200)).save(source)
    else:
        tifffile.imwrite(
            source, smooth(300, 200), rowsperstrip=10, photometric="rgb", metadata=None, compression="zlib"
        )
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(SlideError):
        picture_pyramid(source, tmp_path / "out.tif")
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name]
