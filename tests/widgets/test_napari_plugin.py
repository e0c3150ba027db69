"""The readers give napari layers whose pixels are those of the slide and of the label store; the manifest names them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import opsin
from opsin.engine.labels.store import LabelStore
from opsin.engine.tiles import TilePyramid
from opsin.widgets import napari_plugin


def test_slide_layer_has_the_slides_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    reader = napari_plugin.slide_reader(str(path))
    data, settings, kind = reader(str(path))[0]
    assert kind == "image" and settings["rgb"] and settings["multiscale"]
    level = data[0]
    assert level.shape == (60, 90, 3)
    for key in (
        np.s_[:], np.s_[10:50:3, 5:80:2], np.s_[7], np.s_[7, 8], np.s_[-1, 3:9], np.s_[..., 0], np.s_[20:, ..., 1], np.s_[5:5],
    ):  # fmt: skip
        assert np.array_equal(level[key], pixels[key]), key
    assert np.array_equal(np.asarray(level), pixels)


def test_label_layer_has_the_stores_pixels(tmp_path):
    path = tmp_path / "a.labels"
    with LabelStore.create(path, 1300, 700) as store:
        store.stroke(np.array([[600.0, 300.0]]), 100, 3)
        store.flush()
        expected = store.region(0, 0, 0, 1300, 700)
    data, _, kind = napari_plugin.label_reader(str(path))(str(path))[0]
    assert kind == "labels"
    assert np.array_equal(np.asarray(data[0]), expected)
    assert data[1].shape == (350, 650)
    assert data[0][300, 600] == 3
    data[0].store.close()


def test_readers_leave_other_files_alone():
    assert napari_plugin.slide_reader("a.txt") is None
    assert napari_plugin.label_reader("a.svs") is None
    assert napari_plugin.slide_reader([]) is None


def test_manifest_is_valid_and_its_commands_exist():
    import npe2

    manifest = npe2.PluginManifest.from_file(Path(opsin.__file__).parent / "napari.yaml")
    assert manifest.contributions.readers
    for command in manifest.contributions.commands:
        module, _, name = str(command.python_name).partition(":")
        assert module == "opsin.widgets.napari_plugin"
        assert callable(getattr(napari_plugin, name))


def test_labels_of_a_workspace_have_its_names_and_colours(workspace):
    item = workspace.items()[0]
    store = workspace.labels(item)
    store.stroke(np.array([[20.0, 20.0]]), 8, 1)
    store.flush()
    path = workspace.folder / "labels" / f"{item.id}.labels"
    data, settings, kind = napari_plugin.read_labels(str(path))[0]
    assert kind == "labels"
    assert settings["name"] == f"{item.name} labels"
    colours = settings["colormap"]
    assert colours[0] == colours[None] == "transparent"
    assert {c.value: c.color for c in workspace.classes}.items() <= colours.items()
    assert settings["features"]["class"][1] == workspace.classes[0].name
    data[0].store.close()


def test_napari_shows_slide_and_labels_as_layers_that_cannot_be_edited(workspace):
    """In a napari without a window, so that no display is needed; a process of its own, as napari stays out of this one."""
    item = workspace.items()[0]
    workspace.labels(item).stroke(np.array([[20.0, 20.0]]), 8, 1)
    workspace.labels(item).flush()
    paths = [str(workspace.slide_path(item)), str(workspace.folder / "labels" / f"{item.id}.labels")]
    code = (
        "import json, sys\n"
        "from napari.components import ViewerModel\n"
        "from opsin.widgets.napari_plugin import fill\n"
        "viewer = ViewerModel()\n"
        "fill(viewer, sys.argv[1:])\n"
        "image, labels = viewer.layers\n"
        "print(json.dumps({'names': [image.name, labels.name], 'editable': labels.editable, 'size': [\n"
        "    image.extent.world[1].tolist(), labels.extent.world[1].tolist()], 'value': int(labels.get_value((20, 20))[1]),\n"
        "    'colour': [round(255 * float(part)) for part in labels.get_color(1)][:3], 'nothing': labels.get_color(0)}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    color = workspace.classes[0].color
    assert found == {
        "names": [item.name, f"{item.name} labels"],
        "editable": False,
        "size": [[47.0, 63.0], [47.0, 63.0]],
        "value": 1,
        "colour": [int(color[i : i + 2], 16) for i in (1, 3, 5)],
        "nothing": None,
    }


def test_a_place_outside_of_a_level_is_an_error_and_ends_a_loop_over_it(tmp_path):
    """A loop over an array ends at the first IndexError; without one it never does."""
    path = tmp_path / "small.labels"
    with LabelStore.create(path, 64, 48) as store:
        level = napari_plugin.TileLevel(store, 0)
        assert len(list(level)) == 48
        assert level[-48].shape == (64,)
        for place in (48, -49):
            with pytest.raises(IndexError):
                level[place]


def test_what_has_one_level_gets_a_second_so_that_napari_sees_a_pyramid(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (61, 90, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    data = napari_plugin.read_slides(str(path))[0][0]
    assert len(data) == 2
    half = pixels[:60:2, ::2]
    assert data[1].shape == half.shape and data[1].size == half.size
    assert np.array_equal(np.asarray(data[1]), half)
    assert np.array_equal(data[1][3:20:2, -5:, 1], half[3:20:2, -5:, 1])


@pytest.fixture
def stained(tmp_path):
    """A fluorescence slide of two channels, and its values [C, h, w]."""
    values = np.random.default_rng(3).integers(0, 4000, (2, 300, 500)).astype(np.uint16)
    path = tmp_path / "stained.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "CD8"]}}
    tifffile.imwrite(path, values, tile=(256, 256), photometric="minisblack", metadata=metadata)
    return path, values


def test_a_fluorescence_slide_is_a_layer_for_each_channel_with_the_file_s_own_values(stained):
    path, values = stained
    layers = napari_plugin.read_slides(str(path))
    assert [settings["name"] for _, settings, _ in layers] == ["stained.ome: DAPI", "stained.ome: CD8"]
    for number, (data, settings, kind) in enumerate(layers):
        assert kind == "image" and not settings["rgb"] and settings["blending"] == "additive"
        assert data[0].dtype == np.uint16 and data[0].shape == (300, 500)
        assert np.array_equal(data[0][20:200:3, -40:], values[number, 20:200:3, -40:])
        low, high = settings["contrast_limits"]
        assert 0 <= low < high <= 4000


def test_channels_share_what_is_read_of_the_file(stained, monkeypatch):
    layers = napari_plugin.read_slides(str(stained[0]))
    planes = layers[0][0][0].planes
    reads = []
    read = planes.slide.read_channels
    monkeypatch.setattr(planes.slide, "read_channels", lambda *at: reads.append(at) or read(*at))
    for data, _, _ in layers:
        data[0][10:200, 20:90]
    assert reads == [(0, 20, 10, 70, 190)]


def test_channels_are_shown_as_they_were_in_opsin(stained):
    look = {"rotation": 0, "channels": [["DAPI", "#102030", 5.0, 900.0, False], ["CD8", "#ff0000", 1.0, 2.0, True]]}
    first = napari_plugin.read_slides(str(stained[0]), look)[0][1]
    assert not first["visible"] and first["contrast_limits"] == (5.0, 900.0)
    assert np.allclose(first["colormap"]["colors"][-1], [16 / 255, 32 / 255, 48 / 255, 1])


def test_a_heat_map_lies_on_the_slide(workspace):
    item = workspace.items()[0]
    path = workspace.folder / "heatmaps" / "first" / f"{item.id}.heat"
    path.parent.mkdir(parents=True)
    values = np.zeros((6, 8), np.uint8)
    values[2, 3] = 200
    with TilePyramid.create(path, 64, 48, base=8, reduce="mean") as pyramid, pyramid.transaction():
        pyramid.write(0, 0, values)
    data, settings, kind = napari_plugin.heat_reader(str(path))(str(path))[0]
    assert kind == "image" and settings["name"] == f"{item.name} heat map (first)"
    assert np.array_equal(np.asarray(data[0]), values)
    assert settings["scale"] == (8, 8) and settings["translate"] == (3.5, 3.5)
    assert settings["colormap"]["colors"][0][3] == 0, "what was not computed is clear"
    assert napari_plugin.heat_reader("a.labels") is None
    data[0].store.close()


def test_napari_takes_channels_and_heat_maps(stained, workspace):
    """In a napari without a window, as above."""
    item = workspace.items()[0]
    heat = workspace.folder / "heatmaps" / "first" / f"{item.id}.heat"
    heat.parent.mkdir(parents=True)
    with TilePyramid.create(heat, 500, 300, base=4, reduce="mean") as pyramid, pyramid.transaction():
        pyramid.write(0, 0, np.full((75, 125), 255, np.uint8))
    code = (
        "import json, sys\n"
        "from napari.components import ViewerModel\n"
        "from opsin.widgets.napari_plugin import fill\n"
        "viewer = ViewerModel()\n"
        "fill(viewer, sys.argv[1:])\n"
        "print(json.dumps([[layer.name, layer.blending, layer.multiscale, layer.extent.world[1].tolist(),\n"
        "    layer.colormap.colors[-1].tolist()] for layer in viewer.layers]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stained[0]), str(heat)], capture_output=True, text=True, timeout=55
    )
    assert done.returncode == 0, done.stderr
    dapi, cd8, map = json.loads(done.stdout.splitlines()[-1])
    assert dapi[:4] == ["stained.ome: DAPI", "additive", True, [299, 499]]
    assert cd8[:4] == ["stained.ome: CD8", "additive", True, [299, 499]]
    assert map[0] == f"{item.name} heat map (first)" and map[3] == [297.5, 497.5], "middle of its last pixel"
