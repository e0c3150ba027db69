"""OME-Zarr: NGFF 0.4 and 0.5, channels and colours, shards, zips, what is broken."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from opsin.engine.data.channels import COLOURS, composite
from opsin.engine.data.sets import is_slide_folder, slide_files
from opsin.engine.data.slides import file_fingerprint, is_slide, open_slide
from opsin.engine.errors import SlideError

from .slide_pixels import one_sentence, smooth


def make_zarr(
    path: Path,
    values: np.ndarray,
    axes: str = "cyx",
    version: str = "0.4",
    omero: dict | None = None,
    levels: int = 3,
    shards: bool = False,
) -> Path:
    """An image of NGFF as its text describes it; levels are every second, fourth, … pixel."""
    old = version != "0.5"
    group = zarr.open_group(path, mode="w", zarr_format=2 if old else 3)
    datasets = []
    for level in range(levels):
        step = tuple(slice(None, None, 2**level) if axis in "yx" else slice(None) for axis in axes)
        part = values[step]
        chunks = tuple(min(64, side) if axis in "yx" else 1 for axis, side in zip(axes, part.shape))
        whole = {"shards": tuple(c * 2 if c == 64 else c for c in chunks)} if shards and level == 0 else {}
        names = {} if old else {"dimension_names": list(axes)}
        group.create_array(str(level), data=part, chunks=chunks, **whole, **names)
        scale = [0.5 * 2**level if axis in "yx" else 1.0 for axis in axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"t": "time", "c": "channel"}
    listed = [{"name": a, "type": kinds.get(a, "space")} | ({"unit": "micrometer"} if a in "yx" else {}) for a in axes]
    image = {"multiscales": [{"version": version, "axes": listed, "datasets": datasets}]} | (
        {"omero": omero} if omero else {}
    )
    group.attrs.update(image if old else {"ome": {"version": "0.5", **image}})
    return path


def cells(count: int = 2, dtype: type = np.uint16) -> np.ndarray:
    planes = np.stack([smooth(300, 200, seed, 1)[..., 0] for seed in range(count)])
    return planes.astype(dtype) * dtype(1 if dtype is np.uint8 else 11)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_both_versions_and_all_numbers(tmp_path, version, dtype):
    values = cells(2, dtype)
    path = make_zarr(tmp_path / "a.ome.zarr", values, version=version, shards=version == "0.5")
    assert is_slide(path) and is_slide_folder(path) and slide_files([tmp_path]) == [path]
    with open_slide(path) as slide:
        assert (slide.vendor, slide.width, slide.height, slide.note) == ("ome-zarr", 300, 200, "")
        assert (slide.mpp, slide.mpp_source) == (0.5, "file (OME)")
        assert [(level.width, level.downsample_x) for level in slide.levels] == [(300, 1), (150, 2), (75, 4)]
        assert [c.color for c in slide.channels] == list(COLOURS[:2])
        got = slide.read_channels(0, 20, 30, 200, 100)
        assert got.dtype == dtype and np.array_equal(got, values[:, 30:130, 20:220])
        assert np.array_equal(slide.read_channels(2, 0, 0, 75, 50), values[:, ::4, ::4])
        assert np.array_equal(slide.read(1, 0, 0, 150, 100), composite(values[:, ::2, ::2], slide.display))


def test_colours_names_and_windows_of_omero(tmp_path):
    channels = [
        {
            "label": "DAPI",
            "color": "0000FF",
            "window": {"start": 10, "end": 900, "min": 0, "max": 65535},
            "active": True,
        },
        {"label": "Ki-67", "color": "FF00AA", "window": {"start": 5, "end": 5}, "active": False},
    ]
    with open_slide(make_zarr(tmp_path / "a.zarr", cells(), omero={"channels": channels})) as slide:
        first, second = slide.channels
        assert (first.name, first.color, first.low, first.high, first.visible) == ("DAPI", "#0000ff", 10, 900, True)
        assert (second.name, second.color, second.visible) == ("Ki-67", "#ff00aa", False)
        assert second.low < second.high, "an empty window gives way to percentiles"


@pytest.mark.parametrize("colors", [None, ("FF0000", "00FF00", "0000FF")])
def test_three_colours_of_eight_bits_are_rgb(tmp_path, colors):
    pixels = smooth(300, 200)
    omero = {"channels": [{"color": c, "window": {"start": 0, "end": 255}} for c in colors]} if colors else None
    with open_slide(make_zarr(tmp_path / "a.zarr", pixels.transpose(2, 0, 1), omero=omero)) as slide:
        assert slide.channels == ()
        assert np.array_equal(slide.read(0, 0, 0, 300, 200), pixels)


def test_grey_depth_and_time(tmp_path):
    stack = np.stack([cells(1, np.uint8)] * 6).reshape(2, 1, 3, 200, 300)
    with open_slide(make_zarr(tmp_path / "a.zarr", stack, axes="tczyx")) as slide:
        assert slide.channels == () and slide.note == "Only the first plane of 2 in time and 3 in depth is shown."
        assert np.array_equal(slide.read(0, 0, 0, 300, 200), np.repeat(stack[0, 0, 0][..., None], 3, 2))


def test_the_first_image_of_bioformats2raw(tmp_path):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    values = cells()
    make_zarr(tmp_path / "a.zarr" / "0", values)
    with open_slide(tmp_path / "a.zarr") as slide:
        assert np.array_equal(slide.read_channels(0, 0, 0, 300, 200), values)


def test_a_zip_of_one(tmp_path):
    values = cells()
    make_zarr(tmp_path / "a.zarr", values, version="0.5")
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in sorted((tmp_path / "a.zarr").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(tmp_path / "a.zarr"))
    assert is_slide(tmp_path / "a.zarr.zip")
    with open_slide(tmp_path / "a.zarr.zip") as slide:
        assert np.array_equal(slide.read_channels(0, 0, 0, 300, 200), values)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_fingerprint_survives_a_move_and_sees_other_pixels(tmp_path, version):
    values = cells()
    make_zarr(tmp_path / "a.zarr", values, version=version)
    before = file_fingerprint(tmp_path / "a.zarr")
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert file_fingerprint(tmp_path / "b.zarr") == before
    values[0, 100, 100] += 1
    make_zarr(tmp_path / "c.zarr", values, version=version)
    assert file_fingerprint(tmp_path / "c.zarr") != before


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "harm", ["no metadata", "cut", "no level", "huge chunks", "huge size", "words", "chunk", "no axes"]
)
def test_a_broken_store_is_one_sentence(tmp_path, version, harm):
    path = make_zarr(tmp_path / "a.zarr", cells(), version=version)
    facts = path / (".zattrs" if version == "0.4" else "zarr.json")
    array = path / "0" / (".zarray" if version == "0.4" else "zarr.json")
    shape = json.loads(array.read_text())
    if harm == "no metadata":
        facts.write_text("{}")
    elif harm == "cut":
        facts.write_bytes(facts.read_bytes()[:40])
    elif harm == "no level":
        shutil.rmtree(path / "0")
    elif harm == "words":
        facts.write_text(facts.read_text().replace('"path": "0"', '"path": 7').replace("multiscales", "multiscale"))
    elif harm == "no axes":
        facts.write_text(facts.read_text().replace('"name": "x"', '"name": "q"'))
    elif harm == "chunk":
        for part in (path / "0").rglob("*"):
            if part.is_file() and part != array:
                part.write_bytes(b"\x55" * 100)
    else:
        side = 1 << 40
        if harm == "huge size":
            shape["shape"] = [2, side, side]
        elif version == "0.4":
            shape["chunks"] = [1, side, side]
        else:
            shape["chunk_grid"]["configuration"]["chunk_shape"] = [1, side, side]
        array.write_text(json.dumps(shape))
    with pytest.raises(SlideError) as error:
        with open_slide(path) as slide:
            slide.read(0, 0, 0, 64, 64)
    one_sentence(error, "a.zarr")
