"""Kinds of TIFF and plain pictures: compressions, colours, orientations, OME-TIFF, resolutions."""

import cv2
import imagecodecs
import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from opsin.engine.data.ome import ome_scale
from opsin.engine.data.picture import PictureSlide
from opsin.engine.data.slides import (
    mpp_of_resolution,
    open_slide,
)
from opsin.engine.data.tiff import write_pyramid
from opsin.engine.data.tiff_codecs import ycbcr_to_rgb
from opsin.engine.errors import SlideError

from .slide_pixels import by_openslide, smooth

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
