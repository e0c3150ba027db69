"""Damaged slides: one sentence each, the rest readable, files left alone."""

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from opsin.engine.data.openslide_slide import OpenSlideSlide
from opsin.engine.data.slides import (
    SUFFIXES,
    is_slide,
    open_slide,
)
from opsin.engine.data.tiff import write_pyramid
from opsin.engine.errors import SlideError

from .made_formats import make_dicom, make_mrxs, make_ndpi, make_scn, make_vmu
from .slide_pixels import one_sentence, smooth


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """An Aperio-style slide whose size is no multiple of its tiles, lossless, and its pixels."""
    path = tmp_path_factory.mktemp("slides") / "slide.svs"
    pixels = smooth(1001, 777)
    write_pyramid(path, pixels, 1001, 777, mpp=0.25, magnification=40, factors=(1, 2, 8), compression="zstd")
    return path, pixels


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


# -- declared sizes that would end the process ---------------------------------------------------------------------


def refused(path: Path, pattern: str) -> None:
    with pytest.raises(SlideError, match=pattern) as error:
        open_slide(path)
    one_sentence(error, path.name)


@pytest.mark.parametrize(
    ("old", "new", "pattern"),
    [
        ("BitsPerPixel=36", "BitsPerPixel=24", "36 bits"),  # OpenSlide 4.0 crashes on it
        ("PixelOrder=RGB", "PixelOrder=BGR", "36 bits"),
        ("a-MapFile.ngr", "b.ngr", "not beside it"),
    ],
)
def test_a_vmu_of_other_pixels(tmp_path, old, new, pattern):
    make_vmu(tmp_path / "a.vmu", smooth(128, 64))
    text = (tmp_path / "a.vmu").read_text()
    (tmp_path / "a.vmu").write_text(text.replace(old, new))
    refused(tmp_path / "a.vmu", pattern)


def test_a_vmu_whose_pictures_are_shorter_than_they_say(tmp_path):
    make_vmu(tmp_path / "a.vmu", smooth(128, 64))
    part = tmp_path / "a-ImageFile.ngr"
    content = bytearray(part.read_bytes())
    content[4:16] = struct.pack("<3i", 1 << 30, 1 << 30, 1 << 30)
    part.write_bytes(content)
    refused(tmp_path / "a.vmu", "truncated or damaged")


@pytest.mark.parametrize(
    ("key", "value"),
    [("DIGITIZER_WIDTH=64", "DIGITIZER_WIDTH=2000000000"), ("IMAGENUMBER_Y=2", "IMAGENUMBER_Y=900000000")],
)
def test_a_mirax_slide_of_huge_sizes(tmp_path, key, value):
    make_mrxs(tmp_path / "a.mrxs", smooth(256, 128), empty_columns=2)
    facts = tmp_path / "a" / "Slidedat.ini"
    facts.write_bytes(facts.read_bytes().replace(key.encode(), value.encode()))
    refused(tmp_path / "a.mrxs", "Slidedat|images")


def test_a_dicom_slide_of_huge_sizes(tmp_path):
    files = make_dicom(tmp_path / "slide", smooth(300, 200))
    content = files[2].read_bytes()
    whole = struct.pack("<HH2sHI", 0x48, 6, b"UL", 4, 300)
    files[2].write_bytes(content.replace(whole, whole[:8] + struct.pack("<I", 0xFFFFFFFF)))
    refused(tmp_path / "slide", "tiles")
    frame = struct.pack("<HH2sH", 0x28, 0x11, b"US", 2)
    files[2].write_bytes(content.replace(frame + b"\x40\0", frame + b"\xff\xff").replace(
        struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 64), struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 65535)))  # fmt: skip
    refused(tmp_path / "slide", "tiles of 65,535 x 65,535")


def test_an_ndpi_level_that_is_one_huge_picture(tmp_path):
    """The size in the JPEG itself counts; it would be decoded into 17 GB."""
    make_ndpi(tmp_path / "a.ndpi", smooth(256, 192))
    content = bytearray((tmp_path / "a.ndpi").read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">2H", 65_000, 65_000)
    (tmp_path / "a.ndpi").write_bytes(content)
    refused(tmp_path / "a.ndpi", "tiles of 65000 x 65000")


@pytest.mark.parametrize("tag", ["TileWidth", "ImageWidth", "ImageLength", "BitsPerSample", "SamplesPerPixel"])
@pytest.mark.parametrize("suffix", [".tif", ".scn"])
def test_tiffs_that_declare_huge_sizes(tmp_path, tag, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".scn":
        make_scn(path, smooth(256, 192), (100, 60), (600, 400))
    else:
        write_pyramid(path, smooth(256, 192), 256, 192, mpp=0.5, factors=(1, 2), compression="zstd", style="generic")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for page in list(tiff.pages):
            if tag in page.tags:
                page.tags[tag].overwrite(65_520 if page.tags[tag].dtype == 3 else 1 << 30)
    before = psutil.Process().memory_info().rss
    try:
        with open_slide(path) as slide:
            slide.read(0, 0, 0, 256, 256)
            slide.thumbnail(64)
    except SlideError as error:
        assert path.name in str(error) and str(error).endswith(".")
    assert psutil.Process().memory_info().rss - before < 300 << 20
