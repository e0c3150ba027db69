"""Heat maps as OME-Zarr: what a reader finds in them, and that nothing half-written is left."""

import numpy as np
import pytest
import tifffile
import zarr

from opsin.engine.data.slides import open_slide
from opsin.engine.errors import OpsinError
from opsin.engine.results import Heatmap
from opsin.engine.tiles import TilePyramid


@pytest.fixture
def heat(tmp_path):
    """A map of a slide of 5,000 x 3,000 px at 0.5 µm, a value for each 4 px; its pixels."""
    values = np.random.default_rng(0).integers(0, 256, (750, 1250), dtype=np.uint8)
    meta = {"kind": "heat", "mpp": 0.5}
    with TilePyramid.create(tmp_path / "a.heat", 5000, 3000, base=4, reduce="mean", meta=meta) as pyramid:
        with pyramid.transaction():
            for row in range(2):
                for column in range(3):
                    pyramid.write(row, column, values[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512])
    return Heatmap(tmp_path / "a.heat", threshold=0.25), values


def test_values_scale_and_levels_are_there(heat, tmp_path):
    heatmap, values = heat
    target = tmp_path / "out.ome.zarr"
    heatmap.save(target)
    group = zarr.open_group(target, mode="r")
    facts = group.attrs["ome"]
    (image,) = facts["multiscales"]
    assert [d["path"] for d in image["datasets"]] == ["0", "1", "2"][: len(image["datasets"])]
    assert image["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [2.0, 2.0]}]
    assert image["datasets"][1]["coordinateTransformations"] == [{"type": "scale", "scale": [4.0, 4.0]}]
    expected = np.where(values == 0, 0, np.round((np.maximum(values, 1) - 1.0) * 255 / 254)).astype(np.uint8)
    assert np.array_equal(group["0"][:], expected)
    assert facts["omero"]["channels"][0]["window"]["start"] == 64
    with open_slide(target) as slide:  # another reader takes it for an image of that size
        assert (slide.width, slide.height) == (1250, 750) and slide.mpp == pytest.approx(2.0)


def test_a_name_that_is_taken_is_left_alone(heat, tmp_path):
    (tmp_path / "out.ome.zarr").mkdir()
    (tmp_path / "out.ome.zarr" / "mine").write_text("x")
    with pytest.raises(OpsinError, match="exists already"):
        heat[0].save(tmp_path / "out.ome.zarr")
    assert [p.name for p in (tmp_path / "out.ome.zarr").iterdir()] == ["mine"]


def test_a_broken_map_leaves_nothing(tmp_path):
    (tmp_path / "b.heat").write_bytes(b"no database")
    with pytest.raises(OpsinError):
        Heatmap(tmp_path / "b.heat").save(tmp_path / "b.ome.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["b.heat"]


def test_a_tiff_states_the_size_of_its_pixels(tmp_path):
    path = tmp_path / "h.heat"
    TilePyramid.create(path, 600, 400, base=4, reduce="mean", meta={"kind": "heat", "mpp": 0.5}).close()
    Heatmap(path).save(tmp_path / "h.tif")
    with tifffile.TiffFile(tmp_path / "h.tif") as tiff:
        tags = tiff.pages[0].tags
        assert tags["XResolution"].value[0] / tags["XResolution"].value[1] == pytest.approx(10_000 / 2.0)
        assert tags["ResolutionUnit"].value == 3
        assert "1 px = 4 level-0 px of a slide of 600 x 400" in tags["ImageDescription"].value
